/* fake_backend: a backend without a model, strict about its callers.
 *
 * A page slot holds what a real one depends on: the token, its position, and a digest of everything before it. The
 * logits of a row are a function of the digests that are really stored in the pages named, slot by slot, so that a wrong
 * page, a missed copy or a slot written by somebody else changes them. Batches are held against the rules of
 * engine_backend.h, and what breaks one is counted in fake_state.broken.
 *
 * fake_backend_ahead also has submit() and collect(). It is as late as the rules allow: a step runs when its ticket is
 * collected or forward() is called, and copies wait behind the steps before them. So what a caller takes back, or
 * changes, after it was enqueued shows. */
#ifndef ENGINE_FAKE_BACKEND_H
#define ENGINE_FAKE_BACKEND_H

#include "engine_backend.h"
#include "engine_random.h"
#include "engine_sampler.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <math.h>
#include <stdlib.h>
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
    uint32_t under_way; /* steps submitted and not collected                         */
    uint32_t most_under_way;
    uint32_t drawn_inputs; /* tokens that were taken from the step before            */
} fake_state;

static fake_state fake;

/* A step or a copy that waits, with copies of all that it was given. */
typedef struct fake_op {
    uint64_t ticket; /* 0: a copy */
    uint32_t to, from, tokens;
    engine_batch batch;
    engine_draw *draws;
    uint32_t draw_count;
    engine_drawn *drawn; /* NULL until it has run */
    pv_error failure;
} fake_op;

enum { FAKE_OPS_MAX = 8192 };

struct engine_device {
    const engine_config *config;
    engine_backend_options options;
    fake_slot *slots;
    uint32_t *writer; /* of each page in the batch under way: 1 + sequence */
    uint32_t *reader;
    uint64_t *digests; /* of the rows of the batch under way */
    uint32_t *positions;
    bool dead;
    fake_op *ops; /* a ring */
    uint64_t op_begin, op_end;
    uint64_t op_run; /* the first that has not run */
    uint64_t next_ticket;
    uint32_t last_draws;      /* of the last submit() */
    engine_drawn *last_drawn; /* of the last step that ran */
    engine_sampler sampler;
    float *logits;
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

static void fake_free_op(fake_op *op)
{
    for (uint32_t i = 0; op->batch.seqs != NULL && i < op->batch.seq_count; i++) {
        free((void *)(uintptr_t)op->batch.seqs[i].pages);
    }
    free((void *)(uintptr_t)op->batch.seqs);
    free((void *)(uintptr_t)op->batch.tokens);
    free((void *)(uintptr_t)op->batch.logit_rows);
    free(op->draws);
    free(op->drawn);
}

FAKE_UNUSED static void fake_close(engine_device *d)
{
    if (d == NULL) {
        return;
    }
    for (; d->op_begin < d->op_end; d->op_begin++) {
        fake_free_op(&d->ops[d->op_begin % FAKE_OPS_MAX]);
    }
    engine_sampler_release(&d->sampler);
    free(d->ops);
    free(d->last_drawn);
    pv_free(d->logits);
    pv_free(d->digests);
    pv_free(d->positions);
    pv_free(d->slots);
    pv_free(d->writer);
    pv_free(d->reader);
    pv_free(d);
    fake.under_way = 0;
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
    d->digests = pv_calloc(options->max_rows, sizeof *d->digests);
    d->positions = pv_calloc(options->max_rows, sizeof *d->positions);
    d->next_ticket = 1;
    if (d->slots == NULL || d->writer == NULL || d->reader == NULL || d->digests == NULL ||
        d->positions == NULL) {
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

/* Runs a batch; its digests and positions are the device's. */
static pv_status fake_run_batch(engine_device *d, const engine_batch *b, pv_error *err)
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
    uint32_t row = 0;
    for (uint32_t i = 0; i < b->seq_count; i++) {
        for (uint32_t k = 0; k < b->seqs[i].rows; k++, row++) {
            if (b->tokens[row] >= d->config->vocab_size) {
                fake_broke("a token is out of range");
            }
            d->positions[row] = b->seqs[i].start + k;
            d->digests[row] = fake_write(d, &b->seqs[i], d->positions[row], b->tokens[row]);
        }
    }
    return PV_OK;
}

static pv_status fake_small_memory(pv_error *err) /* a chance for a test to let it fail */
{
    void *p = pv_malloc(1);
    pv_free(p);
    return p != NULL ? PV_OK : pv_fail(err, PV_E_NOMEM, "no memory for a fake batch");
}

static void fake_logits_of(engine_device *d, const engine_batch *b, uint32_t i, float *out)
{
    uint32_t r = b->logit_rows[i];
    fake_logits(d, d->digests[r], d->positions[r], b->tokens[r], out);
}

static pv_status fake_catch_up(engine_device *d, uint64_t end, pv_error *err);

FAKE_UNUSED static pv_status fake_forward(engine_device *d, const engine_batch *b, float *logits,
                                          pv_error *err)
{
    pv_status status = fake_small_memory(err);
    if (status == PV_OK) {
        status = fake_catch_up(d, d->op_end, err);
    }
    if (status == PV_OK) {
        status = fake_run_batch(d, b, err);
    }
    for (uint32_t i = 0; status == PV_OK && i < b->logit_count; i++) {
        fake_logits_of(d, b, i, logits + (size_t)i * d->config->vocab_size);
    }
    return status;
}

static pv_status fake_copy_now(engine_device *d, uint32_t to, uint32_t from, uint32_t tokens,
                               pv_error *err)
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

/* ---- Steps that wait ---- */

static engine_drawn fake_draw(engine_device *d, const engine_draw *draw)
{
    engine_sampling p = {draw->temperature, draw->top_k, draw->top_p, draw->min_p};
    bool given = draw->token != ENGINE_NO_TOKEN;
    if (engine_sampler_load(&d->sampler, d->logits, given ? NULL : &p, NULL) != PV_OK) {
        return (engine_drawn){given ? draw->token : 0, NAN};
    }
    if (given) {
        return (engine_drawn){draw->token, engine_sampler_logprob(&d->sampler, draw->token)};
    }
    engine_pick pick = engine_sampler_draw(&d->sampler, engine_uniform(draw->key, draw->position));
    return (engine_drawn){pick.token, pick.logprob};
}

static void fake_run_step(engine_device *d, fake_op *op)
{
    uint32_t *tokens = (uint32_t *)(uintptr_t)op->batch.tokens;
    for (uint32_t i = 0; i < op->batch.rows; i++) {
        if ((tokens[i] & (uint32_t)ENGINE_TOKEN_DRAWN) != 0) {
            tokens[i] = d->last_drawn[tokens[i] & ~(uint32_t)ENGINE_TOKEN_DRAWN].token;
            fake.drawn_inputs++;
        }
    }
    op->drawn = calloc(op->draw_count + 1, sizeof *op->drawn);
    if (fake_run_batch(d, &op->batch, &op->failure) == PV_OK) {
        for (uint32_t i = 0; i < op->draw_count; i++) {
            const engine_draw *draw = &op->draws[i];
            if (d->positions[op->batch.logit_rows[draw->logit]] != draw->position) {
                fake_broke("a draw has the wrong position");
            }
            fake_logits_of(d, &op->batch, draw->logit, d->logits);
            op->drawn[i] = fake_draw(d, draw);
        }
    }
    free(d->last_drawn);
    d->last_drawn = calloc(op->draw_count + 1, sizeof *d->last_drawn);
    memcpy(d->last_drawn, op->drawn, op->draw_count * sizeof *op->drawn);
}

/* Runs what was enqueued before `end`. */
static pv_status fake_catch_up(engine_device *d, uint64_t end, pv_error *err)
{
    for (; d->op_run < end; d->op_run++) {
        fake_op *op = &d->ops[d->op_run % FAKE_OPS_MAX];
        if (op->ticket != 0) {
            fake_run_step(d, op);
        } else if (fake_copy_now(d, op->to, op->from, op->tokens, &op->failure) != PV_OK) {
            continue; /* whoever asks next is told */
        }
    }
    while (d->op_begin < d->op_run && d->ops[d->op_begin % FAKE_OPS_MAX].ticket == 0) {
        d->op_begin++;
    }
    return d->dead ? pv_fail(err, PV_E_DEVICE, "the fake device has died, as it was told to")
                   : PV_OK;
}

static fake_op *fake_push(engine_device *d)
{
    if (d->ops == NULL) {
        d->ops = calloc(FAKE_OPS_MAX, sizeof *d->ops);
    }
    if (d->op_end - d->op_begin == FAKE_OPS_MAX) {
        abort();
    }
    fake_op *op = &d->ops[d->op_end++ % FAKE_OPS_MAX];
    memset(op, 0, sizeof *op);
    return op;
}

FAKE_UNUSED static pv_status fake_copy_page(engine_device *d, uint32_t to, uint32_t from,
                                            uint32_t tokens, pv_error *err)
{
    if (d->op_run == d->op_end || d->dead) {
        return fake_copy_now(d, to, from, tokens, err);
    }
    fake_op *op = fake_push(d);
    op->to = to;
    op->from = from;
    op->tokens = tokens;
    return PV_OK;
}

static void *fake_copy(const void *from, size_t n)
{
    void *to = malloc(n + 1);
    if (n > 0) {
        memcpy(to, from, n);
    }
    return to;
}

static void fake_check_step(engine_device *d, const engine_batch *b, const engine_draw *draws,
                            uint32_t n)
{
    pv_error why = {0};
    if (engine_batch_check(b, d->config, &d->options, true, &why) != PV_OK) {
        fake_broke("engine_batch_check() refuses a batch");
    }
    if (engine_draws_check(draws, n, b, d->config, &d->options, &why) != PV_OK) {
        fake_broke("engine_draws_check() refuses a batch");
    }
    for (uint32_t i = 0; i < b->rows; i++) {
        uint32_t drawn = b->tokens[i] & ~(uint32_t)ENGINE_TOKEN_DRAWN;
        if (drawn != b->tokens[i] && drawn >= d->last_draws) {
            fake_broke("a token is that of a draw which the last step did not make");
        }
    }
    for (uint32_t i = 0; i < b->logit_count; i++) {
        bool used = false;
        for (uint32_t k = 0; k < n && !used; k++) {
            used = draws[k].logit == i;
        }
        if (!used) {
            fake_broke("logits that no draw is of");
        }
    }
    if (fake.under_way == ENGINE_STEPS_AHEAD) {
        fake_broke("too many steps are under way");
    }
}

FAKE_UNUSED static pv_status fake_submit(engine_device *d, const engine_batch *b,
                                         const engine_draw *draws, uint32_t draw_count,
                                         uint64_t *ticket, pv_error *err)
{
    if (d->dead) {
        return pv_fail(err, PV_E_DEVICE, "the fake device has died, as it was told to");
    }
    pv_status status = fake_small_memory(err);
    if (status != PV_OK) {
        return status;
    }
    fake_check_step(d, b, draws, draw_count);
    if (fake.broken > 0) {
        return pv_fail(err, PV_E_MISUSE, "%s", fake.rule);
    }
    fake_op *op = fake_push(d);
    engine_batch_seq *seqs = fake_copy(b->seqs, b->seq_count * sizeof *seqs);
    for (uint32_t i = 0; i < b->seq_count; i++) {
        seqs[i].pages = fake_copy(seqs[i].pages, seqs[i].page_count * sizeof *seqs[i].pages);
    }
    op->batch = *b;
    op->batch.seqs = seqs;
    op->batch.tokens = fake_copy(b->tokens, b->rows * sizeof *b->tokens);
    op->batch.logit_rows = fake_copy(b->logit_rows, b->logit_count * sizeof *b->logit_rows);
    op->draws = fake_copy(draws, draw_count * sizeof *draws);
    op->draw_count = d->last_draws = draw_count;
    op->ticket = *ticket = d->next_ticket++;
    fake.under_way++;
    fake.most_under_way =
        fake.under_way > fake.most_under_way ? fake.under_way : fake.most_under_way;
    return PV_OK;
}

FAKE_UNUSED static pv_status fake_collect(engine_device *d, uint64_t ticket, engine_drawn *out,
                                          pv_error *err)
{
    uint64_t at = d->op_begin;
    while (at < d->op_end && d->ops[at % FAKE_OPS_MAX].ticket == 0) {
        at++; /* copies that came before it */
    }
    fake_op *op = &d->ops[at % FAKE_OPS_MAX];
    if (at == d->op_end || op->ticket != ticket) {
        fake_broke("a ticket is collected twice, or out of turn");
        return pv_fail(err, PV_E_MISUSE, "%s", fake.rule);
    }
    if (d->op_run <= at) {
        (void)fake_catch_up(d, at + 1, NULL);
    }
    d->op_begin = at + 1;
    fake.under_way--;
    pv_error failure = op->failure;
    if (failure.status == PV_OK) {
        memcpy(out, op->drawn, op->draw_count * sizeof *out);
    }
    fake_free_op(op);
    return failure.status == PV_OK ? PV_OK : pv_fail(err, failure.status, "%s", failure.msg);
}

FAKE_UNUSED static pv_status fake_open_ahead(engine_device **out, const engine_weights *weights,
                                             const engine_backend_options *options, pv_error *err)
{
    engine_device *d = NULL;
    pv_status status = fake_open(&d, weights, options, err);
    if (status != PV_OK) {
        return status;
    }
    status = engine_sampler_init(&d->sampler, d->config->vocab_size, err);
    d->logits = pv_calloc(d->config->vocab_size, sizeof *d->logits);
    if (status == PV_OK && d->logits == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "no memory for a fake device");
    }
    if (status != PV_OK) {
        fake_close(d);
        return status;
    }
    *out = d;
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

static const engine_backend fake_backend_ahead FAKE_UNUSED = {
    .name = "fake",
    .plan = fake_plan,
    .open = fake_open_ahead,
    .close = fake_close,
    .forward = fake_forward,
    .copy_page = fake_copy_page,
    .memory = fake_memory,
    .submit = fake_submit,
    .collect = fake_collect,
};

FAKE_UNUSED static void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.fail_at = fake.fail_copy_at = -1;
}

#endif
