/* engine_vocab: the bytes behind every token id. Internal to engine/.
 *
 * A byte-level vocabulary spells bytes by printable characters (GPT-2's table); entries are kept as the bytes that
 * they mean. Entries with characters outside the table are no byte-level tokens: they are kept as they are spelled,
 * and the BPE never makes them. */
#ifndef ENGINE_VOCAB_H
#define ENGINE_VOCAB_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ENGINEP_VOCAB_MAX = 1 << 22, /* ids; more is a damaged file */
    ENGINEP_TOKEN_DEFINED = 1,
    ENGINEP_TOKEN_BYTE_LEVEL = 2,
    ENGINEP_TOKEN_ADDED = 4,
    ENGINEP_TOKEN_SPECIAL = 8,
    ENGINEP_TOKEN_MERGED = 16, /* plain text can give this id: a byte, or a merge's result */
};

#define ENGINEP_NO_TOKEN UINT32_MAX

typedef struct enginep_token {
    uint32_t offset; /* in `arena` */
    uint32_t len;
    uint32_t flags;
} enginep_token;

typedef struct enginep_vocab { /* embedded; {0} is empty */
    pv_buf arena;
    enginep_token *tokens; /* owned; by id */
    size_t size;
    size_t capacity;
    uint32_t *slots; /* owned; byte-level tokens by their bytes, id + 1 */
    size_t slot_count;
} enginep_vocab;

void enginep_vocab_release(enginep_vocab *v);

/* Makes room for `tokens` byte-level entries to be found by their bytes. Once, before the first add. */
PV_NODISCARD pv_status enginep_vocab_reserve(enginep_vocab *v, size_t tokens, pv_error *err);

/* Adds an entry as a vocabulary spells it. Fails: PV_E_INVALID when the id or the bytes are taken. */
PV_NODISCARD pv_status enginep_vocab_add_spelled(enginep_vocab *v, uint32_t id, const char *text,
                                                 size_t n, pv_error *err);

/* Adds an added token's content under `id`, or marks the entry that is already there with the same spelling. */
PV_NODISCARD pv_status enginep_vocab_add_content(enginep_vocab *v, uint32_t id, const char *text,
                                                 size_t n, uint32_t flags, pv_error *err);

/* The byte-level token with exactly these bytes, or ENGINEP_NO_TOKEN. */
uint32_t enginep_vocab_find(const enginep_vocab *v, const char *bytes, size_t n);

/* The bytes that a byte-level spelling means, appended to *out; false (nothing appended) when it is none. */
bool enginep_vocab_unspell(const char *text, size_t n, pv_buf *out);

static inline uint32_t enginep_vocab_flags(const enginep_vocab *v, uint32_t id)
{
    return id < v->size ? v->tokens[id].flags : 0;
}

static inline const char *enginep_vocab_bytes(const enginep_vocab *v, uint32_t id)
{
    return v->arena.data + v->tokens[id].offset;
}

#endif
