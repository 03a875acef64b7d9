/* Text to ids: added tokens, then pre-tokenizer pieces, then a cache of pieces in front of the BPE. */
#include "engine_detokenizer.h"
#include "engine_tokenizer_internal.h"
#include "pv_hash.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

enum {
    CACHE_SLOTS = 1 << 15, /* 2 MiB: fits a core's second-level cache, nearly */
    CACHE_BYTES = 26,      /* longest piece kept                              */
    CACHE_IDS = 9,         /* most tokens kept                                */
};

typedef struct cache_slot { /* 64 bytes: one line; a newer piece replaces the older one */
    unsigned char len;      /* 0: free */
    unsigned char count;
    char piece[CACHE_BYTES];
    uint32_t ids[CACHE_IDS];
} cache_slot;

struct engine_encoder {
    const engine_tokenizer *tokenizer;
    enginep_matcher *matcher;
    enginep_bpe_scratch bpe;
    pv_buf lossy;  /* the text with malformed sequences replaced */
    pv_buf prefix; /* a piece with a space before it             */
    engine_tokens *out;
    cache_slot *cache;
};

void engine_encoder_free(engine_encoder *encoder)
{
    if (encoder != NULL) {
        enginep_matcher_free(encoder->matcher);
        enginep_bpe_scratch_release(&encoder->bpe);
        pv_buf_release(&encoder->lossy);
        pv_buf_release(&encoder->prefix);
        pv_free(encoder->cache);
        pv_free(encoder);
    }
}

pv_status engine_encoder_new(engine_encoder **out, const engine_tokenizer *tokenizer, pv_error *err)
{
    engine_encoder *e = pv_calloc(1, sizeof *e);
    if (e != NULL) {
        e->tokenizer = tokenizer;
        e->cache = pv_calloc(CACHE_SLOTS, sizeof *e->cache);
    }
    pv_status status = e == NULL || e->cache == NULL
                           ? pv_fail(err, PV_E_NOMEM, "out of memory for an encoder")
                           : enginep_matcher_new(&e->matcher, err);
    if (status != PV_OK) {
        engine_encoder_free(e);
        return status;
    }
    *out = e;
    return PV_OK;
}

const engine_tokenizer *engine_encoder_tokenizer(const engine_encoder *encoder)
{
    return encoder->tokenizer;
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

/* Quick and only for this cache; the order of bytes in a word does not matter. n <= CACHE_BYTES. */
static uint64_t hash_piece(const char *piece, size_t n)
{
    uint64_t h = n;
    for (; n > 8; n -= 8, piece += 8) {
        h = (h ^ load(piece, 8)) * 0x9fb21c651e98df25u;
        h ^= h >> 32;
    }
    return pv_mix64(h ^ load(piece, n));
}

static pv_status put_ids(engine_tokens *out, const uint32_t *ids, size_t n, pv_error *err)
{
    if (out->capacity - out->len < n &&
        pv_grow((void **)&out->ids, &out->capacity, out->len + n, sizeof *ids) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for tokens");
    }
    memcpy(out->ids + out->len, ids, n * sizeof *ids);
    out->len += n;
    return PV_OK;
}

static void keep(cache_slot *slot, const char *piece, size_t n, const uint32_t *ids, size_t count)
{
    if (count <= CACHE_IDS) {
        slot->len = (unsigned char)n;
        slot->count = (unsigned char)count;
        memcpy(slot->piece, piece, n);
        memcpy(slot->ids, ids, count * sizeof *ids);
    }
}

static pv_status encode_piece(void *user, const char *piece, size_t n, pv_error *err)
{
    engine_encoder *e = user;
    engine_tokens *out = e->out;
    if (n > CACHE_BYTES) {
        return enginep_bpe_encode(&e->tokenizer->bpe, &e->bpe, piece, n, out, err);
    }
    cache_slot *slot = &e->cache[hash_piece(piece, n) % CACHE_SLOTS];
    if (slot->len == n && memcmp(slot->piece, piece, n) == 0) {
        return put_ids(out, slot->ids, slot->count, err);
    }
    size_t before = out->len;
    pv_status status = enginep_bpe_encode(&e->tokenizer->bpe, &e->bpe, piece, n, out, err);
    if (status == PV_OK) {
        keep(slot, piece, n, out->ids + before, out->len - before);
    }
    return status;
}

/* Plain text: valid UTF-8 through the pre-tokenizer, other bytes (kept on request) straight to the BPE. */
static pv_status encode_plain(engine_encoder *e, const char *text, size_t n, pv_error *err)
{
    enginep_pieces to = {encode_piece, e, e->matcher, &e->prefix};
    pv_status status = PV_OK;
    while (n > 0 && status == PV_OK) {
        size_t valid = pv_utf8_valid(text, n);
        status = enginep_pretokenizer_run(&e->tokenizer->pre, &to, text, valid, err);
        text += valid;
        n -= valid;
        size_t broken = 0;
        while (broken < n && pv_utf8_valid(text + broken, n - broken < 4 ? n - broken : 4) == 0) {
            broken++;
        }
        if (broken > 0 && status == PV_OK) {
            status = enginep_bpe_encode(&e->tokenizer->bpe, &e->bpe, text, broken, e->out, err);
        }
        text += broken;
        n -= broken;
    }
    return status;
}

static pv_status encode_section(void *user, uint32_t id, const char *text, size_t n, pv_error *err)
{
    engine_encoder *e = user;
    return id == ENGINEP_NO_TOKEN ? encode_plain(e, text, n, err) : put_ids(e->out, &id, 1, err);
}

static pv_status encode_text(engine_encoder *e, const char *text, size_t n, unsigned flags,
                             pv_error *err)
{
    bool all = (flags & ENGINE_ENCODE_SPECIAL) != 0;
    enginep_sections to = {encode_section, e, e->matcher,
                           all ? ENGINEP_FIND_ALL : ENGINEP_FIND_LETTERS};
    return enginep_added_split(&e->tokenizer->added, &to, text, n, err);
}

pv_status engine_encode(engine_encoder *encoder, const char *text, size_t n, unsigned flags,
                        engine_tokens *out, pv_error *err)
{
    size_t before = out->len;
    bool exact = (flags & ENGINE_ENCODE_EXACT_BYTES) != 0;
    if (!exact && pv_utf8_valid(text, n) != n) {
        pv_buf_clear(&encoder->lossy);
        engine_utf8_lossy(text, n, &encoder->lossy);
        if (!pv_buf_ok(&encoder->lossy)) {
            pv_buf_release(&encoder->lossy);
            return pv_fail(err, PV_E_NOMEM, "out of memory for a text of %zu bytes", n);
        }
        text = pv_buf_text(&encoder->lossy);
        n = encoder->lossy.len;
    }
    encoder->out = out;
    pv_status status = n == 0 ? PV_OK : encode_text(encoder, text, n, flags, err);
    encoder->out = NULL;
    if (status != PV_OK) {
        out->len = before;
    }
    return status;
}
