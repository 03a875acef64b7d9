/* engine_detokenizer: the text of a token stream while it grows.
 *
 * A token may end inside a UTF-8 sequence; its bytes are held back until the sequence is complete or broken. What
 * comes out is always valid UTF-8, and all of it together equals engine_decode() of all the ids: a broken sequence
 * becomes one U+FFFD for each maximal prefix of a well-formed one (Unicode 15, section 3.9, "U+FFFD Substitution of
 * Maximal Subparts"). With ENGINE_DECODE_EXACT_BYTES nothing is held back or replaced.
 * Embedded: `engine_detokenizer d; engine_detokenizer_init(&d, tokenizer, 0);`; nothing to release, and a copy of the
 * struct forks the stream. Threads: one at a time per stream. */
#ifndef ENGINE_DETOKENIZER_H
#define ENGINE_DETOKENIZER_H

#include "engine_tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_detokenizer {
    const engine_tokenizer *tokenizer; /* borrowed                                 */
    unsigned flags;                    /* ENGINE_DECODE_*                          */
    unsigned char held[4];             /* a well-formed sequence that is not whole */
    uint32_t held_len;
} engine_detokenizer;

void engine_detokenizer_init(engine_detokenizer *d, const engine_tokenizer *tokenizer,
                             unsigned flags);

/* Appends to *out the text that is certain once `id` is known (may be nothing). Check pv_buf_ok(out). */
void engine_detokenizer_push(engine_detokenizer *d, uint32_t id, pv_buf *out);

/* The stream has ended: held bytes become U+FFFD. The detokenizer is as after init. */
void engine_detokenizer_finish(engine_detokenizer *d, pv_buf *out);

/* The same state machine for bytes from elsewhere: appends text[0..n) with malformed sequences replaced. */
void engine_utf8_lossy(const char *text, size_t n, pv_buf *out);

#ifdef __cplusplus
}
#endif
#endif
