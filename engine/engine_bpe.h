/* engine_bpe: byte-pair encoding of one piece of text. Internal to engine/.
 *
 * The rule (Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units", ACL 2016): begin
 * with one token a byte; while some neighbours can be merged, merge the pair of the lowest rank, the leftmost of
 * equals. Short pieces scan all pairs each time; long ones keep them in a heap, O(n log n).
 * Threads: an enginep_bpe is immutable after build; a scratch belongs to one thread. */
#ifndef ENGINE_BPE_H
#define ENGINE_BPE_H

#include "engine_tokenizer.h"
#include "engine_vocab.h"

#include <jansson.h>

typedef struct enginep_merge {
    uint32_t left;
    uint32_t right;
    uint32_t rank;
    uint32_t result; /* ENGINEP_NO_TOKEN: a free slot */
} enginep_merge;

typedef struct enginep_bpe { /* embedded; {0} can be released */
    const enginep_vocab *vocab;
    enginep_merge *merges; /* owned; open addressing by (left, right) */
    size_t slot_count;
    uint32_t byte_ids[256]; /* ENGINEP_NO_TOKEN where the vocabulary lacks the byte */
    bool ignore_merges;     /* a piece that is a token is that token                */
} enginep_bpe;

typedef struct enginep_bpe_scratch { /* embedded; {0} is empty */
    uint32_t *ids;                   /* owned, as all below    */
    uint32_t *next;
    uint32_t *prev;
    uint32_t *ranks;   /* of the pair that begins here; ENGINEP_NO_TOKEN: none */
    uint32_t *results; /* what that pair becomes                               */
    uint64_t *heap;    /* rank << 32 | position                                */
    size_t heap_len;
    size_t heap_capacity;
    size_t capacity;
} enginep_bpe_scratch;

/* Reads the "model" object of a tokenizer.json into `vocab` and `bpe`, which keeps a pointer to `vocab`. */
PV_NODISCARD pv_status enginep_bpe_build(enginep_bpe *bpe, enginep_vocab *vocab,
                                         const json_t *model, pv_error *err);
void enginep_bpe_release(enginep_bpe *bpe);
void enginep_bpe_scratch_release(enginep_bpe_scratch *scratch);

/* Appends the tokens of piece[0..n). Fails: PV_E_NOMEM, PV_E_INVALID for a byte without a token. */
PV_NODISCARD pv_status enginep_bpe_encode(const enginep_bpe *bpe, enginep_bpe_scratch *scratch,
                                          const char *piece, size_t n, engine_tokens *out,
                                          pv_error *err);

/* The merge of (left, right), or NULL. */
const enginep_merge *enginep_bpe_find(const enginep_bpe *bpe, uint32_t left, uint32_t right);

#endif
