/* engine_tokenizer: text to token ids and back, from a Hugging Face tokenizer.json (byte-level BPE).
 *
 * The tokenizer is immutable and shared by all threads; an engine_encoder holds one thread's scratch memory and word
 * cache. Ids equal those of the Hugging Face library (docs/engine.md, "Tokenizer", says how that is tested). No
 * post-processor runs: begin-of-sequence tokens are the prompt template's business.
 *
 * Untrusted text (statements, Lean's messages) is encoded without ENGINE_ENCODE_SPECIAL: it then never yields the id
 * of a special token, whatever it spells (a tokenizer whose merges could make one is refused). Generated tokens are kept as ids and never encoded again.
 *
 *     engine_encoder *enc = NULL;
 *     engine_tokens ids = {0};
 *     status = engine_encoder_new(&enc, tokenizer, &err);
 *     status = engine_encode(enc, text, strlen(text), 0, &ids, &err);
 *     ...
 *     engine_tokens_release(&ids);
 *     engine_encoder_free(enc); */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_tokenizer engine_tokenizer; /* immutable: any thread         */
typedef struct engine_encoder engine_encoder;     /* one thread at a time          */

typedef struct engine_tokens { /* embedded; {0} is empty */
    uint32_t *ids;             /* owned                  */
    size_t len;
    size_t capacity;
} engine_tokens;

PV_NODISCARD pv_status engine_tokens_push(engine_tokens *tokens, uint32_t id, pv_error *err);
void engine_tokens_release(engine_tokens *tokens);

/* Reads DIR/tokenizer.json. Fails: PV_E_NOTFOUND, PV_E_IO, PV_E_INVALID (damaged, contradictory), PV_E_UNSUPPORTED
 * (another model than BPE, a normaliser or pre-tokenizer that is not known here: named), PV_E_NOMEM. */
PV_NODISCARD pv_status engine_tokenizer_open(engine_tokenizer **out, const char *dir,
                                             pv_error *err);

/* The same from memory; the bytes are borrowed for the call. */
PV_NODISCARD pv_status engine_tokenizer_parse(engine_tokenizer **out, const char *json, size_t n,
                                              pv_error *err);

void engine_tokenizer_free(engine_tokenizer *tokenizer); /* NULL allowed */

/* One more than the largest id defined. Ids below may be undefined (holes). */
uint32_t engine_tokenizer_size(const engine_tokenizer *tokenizer);

/* The exact bytes that token `id` stands for; NULL for an id that is not defined. Borrowed; not NUL-terminated. */
const char *engine_tokenizer_bytes(const engine_tokenizer *tokenizer, uint32_t id, size_t *len);

/* Is `id` an added token (of the tokenizer's list, such as control tokens), and one marked special? */
bool engine_tokenizer_is_added(const engine_tokenizer *tokenizer, uint32_t id);
bool engine_tokenizer_is_special(const engine_tokenizer *tokenizer, uint32_t id);

/* Can plain text yield `id`, as a byte or as the result of a merge? */
bool engine_tokenizer_is_plain(const engine_tokenizer *tokenizer, uint32_t id);

/* The id of the added token whose content is `text`; false when there is none. */
bool engine_tokenizer_find_added(const engine_tokenizer *tokenizer, const char *text, uint32_t *id);

PV_NODISCARD pv_status engine_encoder_new(engine_encoder **out, const engine_tokenizer *tokenizer,
                                          pv_error *err); /* borrows the tokenizer */
void engine_encoder_free(engine_encoder *encoder);        /* NULL allowed          */
const engine_tokenizer *engine_encoder_tokenizer(const engine_encoder *encoder);

enum {
    ENGINE_ENCODE_SPECIAL = 1, /* added tokens are recognised in the text                       */
    ENGINE_ENCODE_EXACT_BYTES =
        2 /* bytes that are not UTF-8 are kept as byte tokens; without it  */
          /* each malformed sequence becomes U+FFFD                        */
};

/* Appends the ids of text[0..n) to *out, which is unchanged on failure.
 * Fails: PV_E_NOMEM, PV_E_LIMIT (the text is too hard for a pattern), PV_E_INVALID (a byte the vocabulary lacks). */
PV_NODISCARD pv_status engine_encode(engine_encoder *encoder, const char *text, size_t n,
                                     unsigned flags, engine_tokens *out, pv_error *err);

enum {
    ENGINE_DECODE_SKIP_SPECIAL =
        1,                        /* special tokens give no text                                 */
    ENGINE_DECODE_EXACT_BYTES = 2 /* the tokens' bytes as they are, UTF-8 or not                 */
};

/* Appends the text of ids[0..n) to *out (check pv_buf_ok). Undefined ids give nothing. */
void engine_decode(const engine_tokenizer *tokenizer, const uint32_t *ids, size_t n, unsigned flags,
                   pv_buf *out);

#ifdef __cplusplus
}
#endif
#endif
