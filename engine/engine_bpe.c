#include "engine_bpe.h"

#include "pv_hash.h"
#include "pv_mem.h"

#include <string.h>

enum { SHORT = 24 }; /* up to here scanning beats the heap */

void enginep_bpe_release(enginep_bpe *bpe)
{
    pv_free(bpe->merges);
    memset(bpe, 0, sizeof *bpe);
}

void enginep_bpe_scratch_release(enginep_bpe_scratch *s)
{
    pv_free(s->ids);
    pv_free(s->next);
    pv_free(s->prev);
    pv_free(s->ranks);
    pv_free(s->results);
    pv_free(s->heap);
    memset(s, 0, sizeof *s);
}

const enginep_merge *enginep_bpe_find(const enginep_bpe *bpe, uint32_t left, uint32_t right)
{
    size_t mask = bpe->slot_count - 1;
    size_t at = pv_mix64((uint64_t)left << 32 | right) & mask;
    for (;; at = (at + 1) & mask) {
        const enginep_merge *m = &bpe->merges[at];
        if (m->result == ENGINEP_NO_TOKEN) {
            return NULL;
        }
        if (m->left == left && m->right == right) {
            return m;
        }
    }
}

static pv_status bytes_to_ids(const enginep_bpe *bpe, const char *piece, size_t n, uint32_t *ids,
                              pv_error *err)
{
    for (size_t i = 0; i < n; i++) {
        ids[i] = bpe->byte_ids[(unsigned char)piece[i]];
        if (ids[i] == ENGINEP_NO_TOKEN) {
            return pv_fail(err, PV_E_INVALID, "the vocabulary has no token for the byte 0x%02x",
                           (unsigned)(unsigned char)piece[i]);
        }
    }
    return PV_OK;
}

static pv_status push_all(engine_tokens *out, const uint32_t *ids, size_t n, pv_error *err)
{
    if (out->capacity - out->len < n &&
        pv_grow((void **)&out->ids, &out->capacity, out->len + n, sizeof *out->ids) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for tokens");
    }
    memcpy(out->ids + out->len, ids, n * sizeof *ids);
    out->len += n;
    return PV_OK;
}

static uint32_t rank_of(const enginep_bpe *bpe, const uint32_t *ids, size_t i, uint32_t *result)
{
    const enginep_merge *m = enginep_bpe_find(bpe, ids[i], ids[i + 1]);
    *result = m == NULL ? ENGINEP_NO_TOKEN : m->result;
    return m == NULL ? ENGINEP_NO_TOKEN : m->rank;
}

static size_t lowest(const uint32_t *ranks, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (ranks[i] < ranks[best]) {
            best = i;
        }
    }
    return best;
}

/* Merges ids[0..n) in place by scanning; returns how many remain. */
static size_t merge_short(const enginep_bpe *bpe, uint32_t *ids, size_t n)
{
    uint32_t ranks[SHORT];
    uint32_t results[SHORT];
    for (size_t i = 0; i + 1 < n; i++) {
        ranks[i] = rank_of(bpe, ids, i, &results[i]);
    }
    while (n > 1) {
        size_t at = lowest(ranks, n - 1);
        if (ranks[at] == ENGINEP_NO_TOKEN) {
            break;
        }
        size_t tail = n - at - 2;
        ids[at] = results[at];
        memmove(ids + at + 1, ids + at + 2, tail * sizeof *ids);
        if (tail > 0) {
            memmove(ranks + at + 1, ranks + at + 2, (tail - 1) * sizeof *ranks);
            memmove(results + at + 1, results + at + 2, (tail - 1) * sizeof *results);
            ranks[at] = rank_of(bpe, ids, at, &results[at]);
        }
        n--;
        if (at > 0) {
            ranks[at - 1] = rank_of(bpe, ids, at - 1, &results[at - 1]);
        }
    }
    return n;
}

static pv_status encode_short(const enginep_bpe *bpe, const char *piece, size_t n,
                              engine_tokens *out, pv_error *err)
{
    uint32_t ids[SHORT];
    pv_status status = bytes_to_ids(bpe, piece, n, ids, err);
    return status != PV_OK ? status : push_all(out, ids, merge_short(bpe, ids, n), err);
}

static bool reserve_one(uint32_t **items, size_t n)
{
    uint32_t *grown = pv_realloc(*items, n * sizeof **items);
    *items = grown != NULL ? grown : *items;
    return grown != NULL;
}

/* Each merge adds at most two pairs and there are fewer than n merges, so 3n bounds the heap. */
static pv_status reserve(enginep_bpe_scratch *s, size_t n, pv_error *err)
{
    if (n <= s->capacity) {
        return PV_OK;
    }
    if (n >= UINT32_MAX ||
        pv_grow((void **)&s->heap, &s->heap_capacity, 3 * n, sizeof *s->heap) != 0 ||
        !reserve_one(&s->ids, n) || !reserve_one(&s->next, n) || !reserve_one(&s->prev, n) ||
        !reserve_one(&s->ranks, n) || !reserve_one(&s->results, n)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a piece of %zu bytes", n);
    }
    s->capacity = n;
    return PV_OK;
}

static void heap_push(enginep_bpe_scratch *s, uint64_t key)
{
    size_t at = s->heap_len++;
    while (at > 0 && s->heap[(at - 1) / 2] > key) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = key;
}

static uint64_t heap_pop(enginep_bpe_scratch *s)
{
    uint64_t top = s->heap[0];
    uint64_t key = s->heap[--s->heap_len];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_len) {
            break;
        }
        if (child + 1 < s->heap_len && s->heap[child + 1] < s->heap[child]) {
            child++;
        }
        if (s->heap[child] >= key) {
            break;
        }
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = key;
    return top;
}

/* Looks up the pair that begins at `at`, and queues it when it can be merged. */
static void consider(const enginep_bpe *bpe, enginep_bpe_scratch *s, uint32_t at)
{
    const enginep_merge *m = s->next[at] == ENGINEP_NO_TOKEN
                                 ? NULL
                                 : enginep_bpe_find(bpe, s->ids[at], s->ids[s->next[at]]);
    s->ranks[at] = m == NULL ? ENGINEP_NO_TOKEN : m->rank;
    if (m != NULL) {
        s->results[at] = m->result;
        heap_push(s, (uint64_t)m->rank << 32 | at);
    }
}

static void merge_at(const enginep_bpe *bpe, enginep_bpe_scratch *s, uint32_t at)
{
    uint32_t gone = s->next[at];
    s->ids[at] = s->results[at];
    s->next[at] = s->next[gone];
    s->ranks[gone] = ENGINEP_NO_TOKEN; /* its queued pair is stale now */
    if (s->next[at] != ENGINEP_NO_TOKEN) {
        s->prev[s->next[at]] = at;
    }
    consider(bpe, s, at);
    if (s->prev[at] != ENGINEP_NO_TOKEN) {
        consider(bpe, s, s->prev[at]);
    }
}

static void merge_long(const enginep_bpe *bpe, enginep_bpe_scratch *s, uint32_t n)
{
    s->heap_len = 0;
    for (uint32_t i = 0; i < n; i++) {
        s->prev[i] = i - 1; /* the first has none: ENGINEP_NO_TOKEN */
        s->next[i] = i + 1 < n ? i + 1 : ENGINEP_NO_TOKEN;
    }
    for (uint32_t i = 0; i < n; i++) {
        consider(bpe, s, i);
    }
    while (s->heap_len > 0) {
        uint64_t top = heap_pop(s);
        uint32_t at = (uint32_t)top;
        /* A pair that changed since has another rank: ranks are unique, so equal ranks mean the same pair. */
        if (s->ranks[at] == (uint32_t)(top >> 32)) {
            merge_at(bpe, s, at);
        }
    }
}

static pv_status encode_long(const enginep_bpe *bpe, enginep_bpe_scratch *s, const char *piece,
                             size_t n, engine_tokens *out, pv_error *err)
{
    pv_status status = reserve(s, n, err);
    if (status == PV_OK) {
        status = bytes_to_ids(bpe, piece, n, s->ids, err);
    }
    if (status != PV_OK) {
        return status;
    }
    merge_long(bpe, s, (uint32_t)n);
    size_t kept = 0;
    for (uint32_t i = 0; i != ENGINEP_NO_TOKEN; i = s->next[i]) {
        s->ids[kept++] = s->ids[i]; /* kept <= i: nothing unread is overwritten */
    }
    return push_all(out, s->ids, kept, err);
}

pv_status enginep_bpe_encode(const enginep_bpe *bpe, enginep_bpe_scratch *scratch,
                             const char *piece, size_t n, engine_tokens *out, pv_error *err)
{
    if (n == 0) {
        return PV_OK;
    }
    if (bpe->ignore_merges) {
        uint32_t whole = enginep_vocab_find(bpe->vocab, piece, n);
        /* The entry of a control token is not for plain text, however it is spelled. */
        if (whole != ENGINEP_NO_TOKEN &&
            (enginep_vocab_flags(bpe->vocab, whole) & ENGINEP_TOKEN_ADDED) == 0) {
            return push_all(out, &whole, 1, err);
        }
    }
    return n <= SHORT ? encode_short(bpe, piece, n, out, err)
                      : encode_long(bpe, scratch, piece, n, out, err);
}
