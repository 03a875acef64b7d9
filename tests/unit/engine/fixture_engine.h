/* fixture_engine: an engine on the fake backend, and what its requests gave. */
#ifndef ENGINE_FIXTURE_ENGINE_H
#define ENGINE_FIXTURE_ENGINE_H

#include "fixture.h"

#include "engine.h"
#include "fake_backend.h"

enum { FIXTURE_VOCAB = 860, FIXTURE_EOS = 857, FIXTURE_TOKENS_MAX = 2048 };

/* How far the engines of a test run ahead; 0: on the backend that has no submit(). TEST_AHEAD runs a test both ways. */
static uint32_t fixture_ahead;

#define TEST_AHEAD(suite, name, ...)                                                               \
    static void suite##_##name(void);                                                              \
    Test(suite, name, __VA_ARGS__)                                                                 \
    {                                                                                              \
        suite##_##name();                                                                          \
    }                                                                                              \
    Test(suite, name##_running_ahead, __VA_ARGS__)                                                 \
    {                                                                                              \
        for (fixture_ahead = 1; fixture_ahead <= ENGINE_STEPS_AHEAD; fixture_ahead++) {            \
            suite##_##name();                                                                      \
            cr_assert_leq(fake.most_under_way, fixture_ahead);                                     \
        }                                                                                          \
        fixture_ahead = 0;                                                                         \
    }                                                                                              \
    static void suite##_##name(void)

/* Steps by which results come later than on a backend without submit(). */
FIXTURE_UNUSED static uint32_t fixture_lag(void)
{
    return fixture_ahead > 0 ? fixture_ahead - 1 : 0;
}

FIXTURE_UNUSED static const engine_backend *fixture_backend(void)
{
    return fixture_ahead > 0 ? &fake_backend_ahead : &fake_backend;
}

/* A model without weights: the fake backend needs none. `with_text`: with the small tokenizer. */
FIXTURE_UNUSED static engine_model fixture_model(bool with_text)
{
    engine_model m = {0};
    m.config.arch = ENGINE_ARCH_LLAMA;
    m.config.vocab_size = FIXTURE_VOCAB;
    m.config.max_positions = 4096;
    m.config.layers = m.config.heads = m.config.kv_heads = 1;
    m.config.hidden_size = m.config.head_dim = 8;
    m.config.eos_ids[0] = FIXTURE_EOS;
    m.config.eos_count = 1;
    if (with_text) {
        pv_buf text = fixture_read(GOLDEN_DIR "/small.json");
        pv_error err = {0};
        cr_assert_eq(engine_tokenizer_parse(&m.tokenizer, pv_buf_text(&text), text.len, &err),
                     PV_OK, "%s", err.msg);
        pv_buf_release(&text);
    }
    return m;
}

/* weights.config points into the model, so it is set where the model lies. */
FIXTURE_UNUSED static engine *fixture_open(engine_model *m, const engine_options *options)
{
    m->weights.config = &m->config;
    engine *e = NULL;
    pv_error err = {0};
    engine_options mine = {0};
    if (options != NULL) {
        mine = *options;
    }
    mine.steps_ahead = fixture_ahead;
    cr_assert_eq(engine_open(&e, m, fixture_backend(), &mine, &err), PV_OK, "%s", err.msg);
    return e;
}

typedef struct outcome { /* of one sample */
    uint32_t done;       /* times on_done was called */
    engine_finish finish;
    uint32_t sample;
    uint32_t tokens[FIXTURE_TOKENS_MAX];
    float logprobs[FIXTURE_TOKENS_MAX];
    size_t count;
    char text[4 * FIXTURE_TOKENS_MAX];
    size_t text_len;
    uint32_t streamed; /* tokens seen by on_token */
    char stream[4 * FIXTURE_TOKENS_MAX];
    size_t stream_len;
    pv_error error;
} outcome;

typedef struct outcomes { /* the user of a request: its samples by index */
    outcome *items;
    uint32_t first;
    uint32_t capacity;
    uint32_t done;
} outcomes;

FIXTURE_UNUSED static outcomes outcomes_new(uint32_t n)
{
    outcomes o = {calloc(n, sizeof(outcome)), 0, n, 0};
    cr_assert_not_null(o.items);
    return o;
}

FIXTURE_UNUSED static void outcomes_free(outcomes *o)
{
    free(o->items);
}

FIXTURE_UNUSED static void outcomes_on_done(void *user, const engine_result *r)
{
    outcomes *o = user;
    uint32_t at = r->sample - o->first;
    cr_assert_lt(at, o->capacity);
    outcome *x = &o->items[at];
    cr_assert_leq(r->token_count, FIXTURE_TOKENS_MAX);
    o->done++;
    x->done++;
    x->finish = r->finish;
    x->sample = r->sample;
    x->count = r->token_count;
    for (size_t i = 0; i < r->token_count; i++) {
        x->tokens[i] = r->tokens[i];
        x->logprobs[i] = r->logprobs[i];
    }
    cr_assert_lt(r->text_len, sizeof x->text);
    memcpy(x->text, r->text, r->text_len + 1);
    x->text_len = r->text_len;
    cr_assert_eq(r->error != NULL, r->finish == ENGINE_FINISH_FAILED);
    if (r->error != NULL) {
        x->error = *r->error;
    }
}

FIXTURE_UNUSED static void outcomes_on_token(void *user, const engine_token *t)
{
    outcomes *o = user;
    outcome *x = &o->items[t->sample - o->first];
    cr_assert_eq(x->done, 0);
    cr_assert_eq(t->index, x->streamed);
    x->tokens[x->streamed] = t->token;
    x->logprobs[x->streamed++] = t->logprob;
    memcpy(x->stream + x->stream_len, t->text, t->text_len);
    x->stream_len += t->text_len;
}

FIXTURE_UNUSED static void expect_same(const outcome *a, const outcome *b)
{
    cr_assert_eq(a->finish, b->finish, "%s and %s", engine_finish_text(a->finish),
                 engine_finish_text(b->finish));
    cr_assert_eq(a->count, b->count, "%zu and %zu tokens", a->count, b->count);
    cr_assert_eq(memcmp(a->tokens, b->tokens, a->count * sizeof *a->tokens), 0);
    cr_assert_eq(memcmp(a->logprobs, b->logprobs, a->count * sizeof *a->logprobs), 0);
    cr_assert(a->text_len == b->text_len && memcmp(a->text, b->text, a->text_len) == 0);
}

/* Steps until nothing is left; the batches have kept all rules. */
FIXTURE_UNUSED static void run_all(engine *e)
{
    bool busy = true;
    for (int i = 0; busy; i++) {
        pv_error err = {0};
        cr_assert_eq(engine_step(e, &busy, &err), PV_OK, "%s", err.msg);
        cr_assert_eq(fake.broken, 0, "%s", fake.rule);
        cr_assert_lt(i, 1000000, "the engine does not come to an end");
    }
}

FIXTURE_UNUSED static uint64_t submit(engine *e, const engine_request *r)
{
    pv_error err = {0};
    uint64_t id = 0;
    cr_assert_eq(engine_submit(e, r, &id, &err), PV_OK, "%s", err.msg);
    return id;
}

/* Tokens that a seed stands for, ids below 256 (no special ones). */
FIXTURE_UNUSED static void fill_tokens(uint32_t *out, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint32_t)(pv_mix64(seed * 1000003 + i) % 256);
    }
}

FIXTURE_UNUSED static engine_options small_options(uint32_t pages, uint32_t rows,
                                                   uint32_t logit_rows)
{
    engine_options o = {
        .backend = {.kv_pages = pages, .max_rows = rows, .max_logit_rows = logit_rows}};
    return o;
}

FIXTURE_UNUSED static engine_request request(const uint32_t *prefix, size_t n, outcomes *o)
{
    engine_request r = {.prefix = prefix,
                        .prefix_len = n,
                        .samples = o->capacity,
                        .max_tokens = 40,
                        .sampling = {.temperature = 1, .top_p = 0.9f},
                        .seed = 30,
                        .key = 7,
                        .ignore_eos = true,
                        .on_done = outcomes_on_done,
                        .user = o};
    return r;
}

FIXTURE_UNUSED static engine_stats stats(const engine *e)
{
    engine_stats s;
    engine_stats_get(e, &s);
    return s;
}

/* The request on an engine of its own. */
FIXTURE_UNUSED static void solo(engine_model *m, const engine_options *options,
                                const engine_request *r, outcomes *o)
{
    engine *e = fixture_open(m, options);
    engine_request mine = *r;
    mine.user = o;
    submit(e, &mine);
    run_all(e);
    engine_close(e);
}

#endif
