/* fixture_invariance: the engine with small checkpoints on a backend: a result is the same to the bit alone, among fifteen
 * others, from the cache, with prompts cut into small chunks, and after making room for others.
 *     invariance_check(engine_backend_cpu(), "ds_plain"); */
#ifndef ENGINE_FIXTURE_INVARIANCE_H
#define ENGINE_FIXTURE_INVARIANCE_H

#include "fixture.h"

#include "engine.h"
#include "pv_hash.h"

#define MODELS_DIR TEST_SOURCE_DIR "/tests/golden/models"

enum { PREFIX = 100, SAMPLES = 2, LENGTH = 24, OTHERS = 15 };

typedef struct result {
    uint32_t tokens[LENGTH];
    float logprobs[LENGTH];
    size_t count;
} result;

static void on_done(void *user, const engine_result *r)
{
    result *out = (result *)user + r->sample;
    cr_assert_neq(r->finish, ENGINE_FINISH_FAILED, "%s", r->error != NULL ? r->error->msg : "");
    out->count = r->token_count;
    memcpy(out->tokens, r->tokens, r->token_count * sizeof *r->tokens);
    memcpy(out->logprobs, r->logprobs, r->token_count * sizeof *r->logprobs);
}

static const engine_backend *invariance_backend;

static engine *open_engine(const engine_model *m, engine_options options)
{
    engine *e = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_open(&e, m, invariance_backend, &options, &err), PV_OK, "%s", err.msg);
    return e;
}

static void ask(engine *e, const uint32_t *prefix, size_t n, uint64_t key, result *out)
{
    engine_request r = {.prefix = prefix,
                        .prefix_len = n,
                        .samples = SAMPLES,
                        .max_tokens = LENGTH,
                        .sampling = {.temperature = 1, .top_p = 0.95f},
                        .seed = 30,
                        .key = key,
                        .ignore_eos = true,
                        .on_done = on_done,
                        .user = out};
    pv_error err = {0};
    cr_assert_eq(engine_submit(e, &r, NULL, &err), PV_OK, "%s", err.msg);
}

static void run(engine *e)
{
    for (bool busy = true; busy;) {
        pv_error err = {0};
        cr_assert_eq(engine_step(e, &busy, &err), PV_OK, "%s", err.msg);
    }
}

static void expect_same(const char *name, const char *how, const result *want, const result *got)
{
    for (int i = 0; i < SAMPLES; i++) {
        cr_expect_eq(got[i].count, LENGTH);
        cr_expect_eq(memcmp(&want[i], &got[i], sizeof *want), 0, "%s: sample %d differs %s", name,
                     i, how);
    }
}

static void fill(uint32_t *out, uint32_t vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < PREFIX; i++) {
        out[i] = (uint32_t)(pv_mix64(seed * 1000 + i) % vocab);
    }
}

static void check_crowd(const engine_model *m, const char *name, const uint32_t *prefix,
                        const result *want)
{
    static result got[SAMPLES];
    static result others[OTHERS][SAMPLES];
    engine *e = open_engine(m, (engine_options){.backend = {.threads = 2, .kv_pages = 200}});
    for (uint32_t i = 0; i < OTHERS; i++) {
        uint32_t p[PREFIX];
        fill(p, m->config.vocab_size, i / 3 == 0 ? 1 : i); /* three begin as this one does */
        ask(e, p, PREFIX - 3 * i, i, others[i]);
        if (i == 7) {
            ask(e, prefix, PREFIX, 99, got);
        }
    }
    run(e);
    expect_same(name, "in a crowd", want, got);
    memset(got, 0, sizeof got);
    ask(e, prefix, PREFIX, 99, got);
    run(e);
    expect_same(name, "from the cache", want, got);
    engine_close(e);
}

static void check_pressed(const engine_model *m, const char *name, const uint32_t *prefix,
                          const result *want)
{
    static result got[SAMPLES];
    static result older[SAMPLES];
    engine_options o = {
        .backend = {.threads = 1, .kv_pages = 5, .max_rows = 7, .max_logit_rows = 3}};
    engine *e = open_engine(m, o);
    uint32_t p[PREFIX];
    fill(p, m->config.vocab_size, 77);
    ask(e, p, PREFIX, 5, older);
    ask(e, prefix, PREFIX, 99, got);
    run(e);
    expect_same(name, "under pressure, in chunks", want, got);
    engine_close(e);
}

/* Of a model that is open already. */
static void invariance_check_model(const engine_backend *backend, const engine_model *m,
                                   const char *name)
{
    invariance_backend = backend;
    static result want[SAMPLES];
    uint32_t prefix[PREFIX];
    fill(prefix, m->config.vocab_size, 1);
    engine *e = open_engine(m, (engine_options){.backend = {.threads = 1}});
    ask(e, prefix, PREFIX, 99, want);
    run(e);
    engine_close(e);
    check_crowd(m, name, prefix, want);
    check_pressed(m, name, prefix, want);
}

FIXTURE_UNUSED static void invariance_check(const engine_backend *backend, const char *name)
{
    char dir[600];
    snprintf(dir, sizeof dir, "%s/%s", MODELS_DIR, name);
    engine_model *m = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_model_open(&m, dir, ENGINE_MODEL_NO_TOKENIZER, &err), PV_OK, "%s", err.msg);
    invariance_check_model(backend, m, name);
    engine_model_close(m);
}

#endif
