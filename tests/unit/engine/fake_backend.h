/* fake_backend: a backend without a model, strict about its callers.
 *
 * A page slot holds what a real one depends on: the token, its position, and a digest of everything before it. The
 * logits of a row are a function of the digests that are really stored in the pages named, slot by slot, so that a wrong
 * page, a missed copy or a slot written by somebody else changes them. Batches are held against the rules of
 * engine_backend.h, and what breaks one is counted in fake_state.broken. */
#ifndef ENGINE_FAKE_BACKEND_H
#define ENGINE_FAKE_BACKEND_H

#include "engine_backend.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <string.h>

#define FAKE_UNUSED __attribute__((unused))

typedef struct fake_slot {
    uint64_t digest;
    uint32_t token;
    uint32_t position;
} fake_slot;

/* One fake device at a time; tests read and set this. */
typedef struct fake_state {
    uint64_t forwards;
    uint64_t rows;
    uint64_t copies;
    uint32_t largest_batch;
    uint32_t broken;      /* rules of a batch that were broken                         */
    const char *rule;     /* the last one                                              */
    int64_t fail_at;      /* this forward fails with PV_E_DEVICE, and all later; < 0: none */
    int64_t fail_copy_at; /* the same for copies                                       */
    uint32_t nan_token;   /* a row of this token gives NaN; 0: none                    */
    uint32_t eos_every;   /* 0, or: eos_id gets the greatest logit at positions % n    */
    uint32_t eos_id;
    uint32_t sharpness; /* 0 = 8: the spread of the logits                           */
} fake_state;

static fake_state fake;

struct engine_device {
    const engine_config *config;
    engine_backend_options options;
    fake_slot *slots;
    uint32_t *writer; /* of each page in the batch under way: 1 + sequence */
    uint32_t *reader;
    bool dead;
};

FAKE_UNUSED static void fake_broke(const char *rule)
{
    fake.broken++;
    fake.rule = rule;
}

FAKE_UNUSED static pv_status fake_plan(engine_memory *out, const engine_weights *weights,
                                       const engine_backend_options *options, pv_error *err)
{
    (void)weights;
    (void)err;
    memset(out, 0, sizeof *out);
    out->kv_pages = options->kv_pages;
    return PV_OK;
}

FAKE_UNUSED static void fake_close(engine_device *d)
{
    if (d != NULL) {
        pv_free(d->slots);
        pv_free(d->writer);
        pv_free(d->reader);
        pv_free(d);
    }
}

FAKE_UNUSED static pv_status fake_open(engine_device **out, const engine_weights *weights,
                                       const engine_backend_options *options, pv_error *err)
{
    engine_device *d = pv_calloc(1, sizeof *d);
    if (d == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a fake device");
    }
    d->config = weights->config;
    d->options = *options;
    size_t slots = (size_t)options->kv_pages * ENGINE_PAGE_TOKENS;
    d->slots = pv_malloc(slots * sizeof *d->slots);
    d->writer = pv_calloc(options->kv_pages, sizeof *d->writer);
    d->reader = pv_calloc(options->kv_pages, sizeof *d->reader);
    if (d->slots == NULL || d->writer == NULL || d->reader == NULL) {
        fake_close(d);
        return pv_fail(err, PV_E_NOMEM, "no memory for a fake device");
    }
    memset(d->slots, 0xee, slots * sizeof *d->slots);
    *out = d;
    return PV_OK;
}

static fake_slot *fake_slot_at(engine_device *d, const engine_batch_seq *s, uint32_t position)
{
    uint32_t page = s->pages[position / ENGINE_PAGE_TOKENS];
    return &d->slots[(size_t)page * ENGINE_PAGE_TOKENS + position % ENGINE_PAGE_TOKENS];
}

/* Who reads and writes which page. A page that is written must belong to one sequence alone. */
static void fake_check_pages(engine_device *d, const engine_batch *b)
{
    memset(d->writer, 0, d->options.kv_pages * sizeof *d->writer);
    memset(d->reader, 0, d->options.kv_pages * sizeof *d->reader);
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < b->seq_count; i++) {
            const engine_batch_seq *s = &b->seqs[i];
            uint32_t last = (s->start + s->rows - 1) / ENGINE_PAGE_TOKENS;
            for (uint32_t p = 0; p <= last && p < s->page_count; p++) {
                if (s->pages[p] >= d->options.kv_pages) {
                    fake_broke("a page number is too large");
                    return;
                }
                uint32_t *writer = &d->writer[s->pages[p]];
                if (pass == 0 && p >= s->start / ENGINE_PAGE_TOKENS) {
                    if (*writer != 0) {
                        fake_broke("a page is written twice");
                    }
                    *writer = 1 + i;
                } else if (pass == 1 && *writer != 0 && *writer != 1 + i) {
                    fake_broke("a page is read that another sequence writes");
                }
            }
        }
    }
}

static void fake_check_batch(engine_device *d, const engine_batch *b)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < b->seq_count; i++) {
        const engine_batch_seq *s = &b->seqs[i];
        rows += s->rows;
        uint32_t end = s->start + s->rows;
        if (s->rows == 0 || end > d->config->max_positions) {
            fake_broke("a sequence is empty or too long");
        }
        if (s->page_count < (end + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS) {
            fake_broke("a sequence has too few pages");
        }
    }
    if (rows != b->rows || rows == 0 || rows > d->options.max_rows) {
        fake_broke("the number of rows is wrong");
    }
    if (b->logit_count > d->options.max_logit_rows) {
        fake_broke("too many rows with logits");
    }
    for (uint32_t i = 0; i < b->logit_count; i++) {
        if (b->logit_rows[i] >= b->rows) {
            fake_broke("logits of a row that is not there");
        }
    }
    for (uint32_t i = 0; i < b->rows; i++) {
        if (b->tokens[i] >= d->config->vocab_size) {
            fake_broke("a token is out of range");
        }
    }
    fake_check_pages(d, b);
}

/* The digest of a row reads every slot before it. */
static uint64_t fake_write(engine_device *d, const engine_batch_seq *s, uint32_t position,
                           uint32_t token)
{
    uint64_t digest = pv_mix64(token);
    for (uint32_t p = 0; p < position; p++) {
        const fake_slot *slot = fake_slot_at(d, s, p);
        if (slot->position != p) {
            fake_broke("a slot was read that was never written, or is another position's");
        }
        digest = digest * 0x9e3779b97f4a7c15u + slot->digest;
    }
    digest = pv_mix64(digest ^ position);
    fake_slot *slot = fake_slot_at(d, s, position);
    slot->digest = digest;
    slot->token = token;
    slot->position = position;
    return digest;
}

static void fake_logits(const engine_device *d, uint64_t digest, uint32_t position, uint32_t token,
                        float *out)
{
    float spread = fake.sharpness == 0 ? 8.0f : (float)fake.sharpness;
    for (uint32_t i = 0; i < d->config->vocab_size; i++) {
        float unit = (float)(pv_mix64(digest + i) >> 40) * 0x1p-24f;
        out[i] = unit * spread;
    }
    if (fake.eos_every != 0 && position % fake.eos_every == fake.eos_every - 1) {
        out[fake.eos_id] = 1000;
    }
    if (fake.nan_token != 0 && token == fake.nan_token) {
        out[1] = 0.0f / 0.0f;
    }
}

FAKE_UNUSED static pv_status fake_forward(engine_device *d, const engine_batch *b, float *logits,
                                          pv_error *err)
{
    d->dead |= fake.fail_at >= 0 && (int64_t)fake.forwards >= fake.fail_at;
    fake.forwards++;
    if (d->dead) {
        return pv_fail(err, PV_E_DEVICE, "the fake device has died, as it was told to");
    }
    fake_check_batch(d, b);
    if (fake.broken > 0) {
        return pv_fail(err, PV_E_MISUSE, "%s", fake.rule);
    }
    fake.rows += b->rows;
    fake.largest_batch = b->seq_count > fake.largest_batch ? b->seq_count : fake.largest_batch;
    uint64_t *digests = pv_malloc(b->rows * sizeof *digests);
    uint32_t *positions = pv_malloc(b->rows * sizeof *positions);
    if (digests == NULL || positions == NULL) {
        pv_free(digests);
        pv_free(positions);
        return pv_fail(err, PV_E_NOMEM, "no memory for a fake batch");
    }
    uint32_t row = 0;
    for (uint32_t i = 0; i < b->seq_count; i++) {
        for (uint32_t k = 0; k < b->seqs[i].rows; k++, row++) {
            positions[row] = b->seqs[i].start + k;
            digests[row] = fake_write(d, &b->seqs[i], positions[row], b->tokens[row]);
        }
    }
    for (uint32_t i = 0; i < b->logit_count; i++) {
        uint32_t r = b->logit_rows[i];
        fake_logits(d, digests[r], positions[r], b->tokens[r],
                    logits + (size_t)i * d->config->vocab_size);
    }
    pv_free(digests);
    pv_free(positions);
    return PV_OK;
}

FAKE_UNUSED static pv_status fake_copy_page(engine_device *d, uint32_t to, uint32_t from,
                                            uint32_t tokens, pv_error *err)
{
    d->dead |= fake.fail_copy_at >= 0 && (int64_t)fake.copies >= fake.fail_copy_at;
    if (d->dead) {
        return pv_fail(err, PV_E_DEVICE, "the fake device has died in a copy");
    }
    fake.copies++;
    fake_slot *dst = &d->slots[(size_t)to * ENGINE_PAGE_TOKENS];
    memset(dst, 0xee, ENGINE_PAGE_TOKENS * sizeof *dst);
    memcpy(dst, &d->slots[(size_t)from * ENGINE_PAGE_TOKENS], tokens * sizeof *dst);
    return PV_OK;
}

FAKE_UNUSED static void fake_memory(const engine_device *d, engine_memory *out)
{
    memset(out, 0, sizeof *out);
    out->kv_pages = d->options.kv_pages;
}

static const engine_backend fake_backend FAKE_UNUSED = {
    .name = "fake",
    .plan = fake_plan,
    .open = fake_open,
    .close = fake_close,
    .forward = fake_forward,
    .copy_page = fake_copy_page,
    .memory = fake_memory,
};

FAKE_UNUSED static void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.fail_at = fake.fail_copy_at = -1;
}

#endif
