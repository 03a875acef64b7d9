/* Steps that draw on the device: the tokens of the host's sampler, without a wait between two steps. */
#include "cuda_fixture.h"

#include "engine_random.h"
#include "engine_sampler.h"

enum { PROMPT = 40, STEPS = 12, SEQS = 5 };

typedef struct sequence {
    uint32_t tokens[PROMPT + STEPS + 1];
    float logprobs[STEPS];
    uint32_t pages[CUDA_PAGES_MAX];
    engine_draw draw;
} sequence;

static void make_sequences(sequence *s, uint32_t vocab)
{
    for (uint32_t i = 0; i < SEQS; i++) {
        memset(&s[i], 0, sizeof s[i]);
        cuda_fill_tokens(s[i].tokens, PROMPT, vocab, 9 + i);
        cuda_page_range(s[i].pages, i * CUDA_PAGES_MAX);
        s[i].draw = (engine_draw){.key = engine_sample_key(3, 4, i),
                                  .token = ENGINE_NO_TOKEN,
                                  .temperature = i == 0 ? 0 : 0.5f * (float)i,
                                  .top_k = i == 2 ? 40 : 0,
                                  .top_p = i == 3 ? 0.9f : 0,
                                  .min_p = i == 4 ? 0.05f : 0};
    }
}

/* Fills `batch` with the prompts (step 0) or one row for each sequence. */
static uint32_t make_batch(const sequence *s, uint32_t step, engine_batch_seq *seqs,
                           uint32_t *tokens, uint32_t *logit_rows, bool drawn)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < SEQS; i++) {
        uint32_t n = step == 0 ? PROMPT : 1;
        uint32_t start = step == 0 ? 0 : PROMPT + step - 1;
        seqs[i] = (engine_batch_seq){
            .pages = s[i].pages, .page_count = CUDA_PAGES_MAX, .start = start, .rows = n};
        memcpy(tokens + rows, s[i].tokens + start, n * sizeof *tokens);
        if (step > 0 && drawn) {
            tokens[rows] = ENGINE_TOKEN_FROM_ROW(i);
        }
        rows += n;
        logit_rows[i] = rows - 1;
    }
    return rows;
}

static void run_on_host(const cuda_run *r, sequence *s)
{
    engine_sampler sampler = {0};
    pv_error err = {0};
    float *logits = pv_calloc((size_t)SEQS * r->vocab, sizeof *logits);
    cr_assert_eq(engine_sampler_init(&sampler, r->vocab, &err), PV_OK);
    for (uint32_t step = 0; step < STEPS; step++) {
        engine_batch_seq seqs[SEQS];
        uint32_t tokens[SEQS * PROMPT];
        uint32_t logit_rows[SEQS];
        uint32_t rows = make_batch(s, step, seqs, tokens, logit_rows, false);
        engine_batch batch = {tokens, rows, seqs, SEQS, logit_rows, SEQS};
        cr_assert_eq(r->backend->forward(r->device, &batch, logits, &err), PV_OK, "%s", err.msg);
        for (uint32_t i = 0; i < SEQS; i++) {
            const engine_draw *d = &s[i].draw;
            engine_sampling sampling = {d->temperature, d->top_k, d->top_p, d->min_p};
            cr_assert_eq(
                engine_sampler_load(&sampler, logits + (size_t)i * r->vocab, &sampling, &err),
                PV_OK, "%s", err.msg);
            engine_pick pick =
                engine_sampler_draw(&sampler, engine_uniform(d->key, PROMPT + step - 1));
            s[i].tokens[PROMPT + step] = pick.token;
            s[i].logprobs[step] = pick.logprob;
        }
    }
    engine_sampler_release(&sampler);
    pv_free(logits);
}

static void collect(const cuda_run *r, uint64_t ticket, uint32_t step, sequence *s)
{
    engine_drawn drawn[SEQS];
    pv_error err = {0};
    cr_assert_eq(r->backend->collect(r->device, ticket, drawn, &err), PV_OK, "%s", err.msg);
    for (uint32_t i = 0; i < SEQS; i++) {
        s[i].tokens[PROMPT + step] = drawn[i].token;
        s[i].logprobs[step] = drawn[i].logprob;
    }
}

/* All steps are submitted ahead as far as may be; tokens come from the step before. */
static void run_on_device(const cuda_run *r, sequence *s)
{
    uint64_t tickets[STEPS];
    uint32_t done = 0;
    pv_error err = {0};
    for (uint32_t step = 0; step < STEPS; step++) {
        if (step - done == ENGINE_STEPS_AHEAD) {
            collect(r, tickets[done], done, s);
            done++;
        }
        engine_batch_seq seqs[SEQS];
        uint32_t tokens[SEQS * PROMPT];
        uint32_t logit_rows[SEQS];
        engine_draw draws[SEQS];
        uint32_t rows = make_batch(s, step, seqs, tokens, logit_rows, true);
        for (uint32_t i = 0; i < SEQS; i++) {
            draws[i] = s[i].draw;
            draws[i].position = PROMPT + step - 1;
            draws[i].logit = i;
        }
        engine_batch batch = {tokens, rows, seqs, SEQS, logit_rows, SEQS};
        cr_assert_eq(r->backend->submit(r->device, &batch, draws, SEQS, &tickets[step], &err),
                     PV_OK, "%s", err.msg);
        memset(tokens, 0xff, sizeof tokens); /* borrowed for the call only */
        memset(draws, 0xff, sizeof draws);
    }
    for (; done < STEPS; done++) {
        collect(r, tickets[done], done, s);
    }
}

static void check(const engine_weights *w, const engine_backend_options *options, const char *name)
{
    static sequence host[SEQS];
    static sequence device[SEQS];
    cuda_run r = cuda_open_run(engine_backend_cuda(), w, options);
    make_sequences(host, r.vocab);
    make_sequences(device, r.vocab);
    run_on_host(&r, host);
    run_on_device(&r, device);
    double worst = 0;
    uint32_t differ = 0;
    for (uint32_t i = 0; i < SEQS; i++) {
        for (uint32_t step = 0; step < STEPS; step++) {
            differ += host[i].tokens[PROMPT + step] != device[i].tokens[PROMPT + step];
            worst = fmax(worst,
                         fabs((double)host[i].logprobs[step] - (double)device[i].logprobs[step]));
        }
    }
    printf("%s: %u of %u tokens differ, log-probabilities by %.2e at most\n", name, differ,
           SEQS * STEPS, worst);
    cr_expect_eq(differ, 0, "%s: %u tokens differ", name, differ);
    cr_expect_lt(worst, 1e-4, "%s: %.3e", name, worst);
    r.backend->close(r.device);
}

Test(engine_cuda_steps, draw_what_the_host_draws)
{
    (void)cuda_or_skip();
    engine_config config = cuda_llama_config();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_open(&model, &config, ENGINE_DTYPE_BF16, 3, &err), PV_OK);
    engine_backend_options options = {.kv_pages = SEQS * CUDA_PAGES_MAX};
    check(engine_synthetic_weights(model), &options, "fast kernels");
    options.precision = ENGINE_PRECISION_F32;
    check(engine_synthetic_weights(model), &options, "generic kernels");
    engine_synthetic_close(model);
}

static pv_status submit_one(const cuda_run *r, uint32_t token, uint64_t *ticket, pv_error *err)
{
    uint32_t pages[1] = {0};
    uint32_t row = 0;
    engine_batch_seq seq = {.pages = pages, .page_count = 1, .start = 0, .rows = 1};
    engine_batch batch = {&token, 1, &seq, 1, &row, 1};
    engine_draw draw = {.token = ENGINE_NO_TOKEN};
    return r->backend->submit(r->device, &batch, &draw, 1, ticket, err);
}

Test(engine_cuda_steps, keep_their_rules)
{
    (void)cuda_or_skip();
    engine_config config = cuda_llama_config();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_open(&model, &config, ENGINE_DTYPE_BF16, 3, &err), PV_OK);
    const engine_weights *w = engine_synthetic_weights(model);
    cuda_run r = cuda_open_run(engine_backend_cuda(), w, NULL);
    uint64_t ticket[ENGINE_STEPS_AHEAD + 1];
    engine_drawn out[1];
    cr_expect_eq(submit_one(&r, ENGINE_TOKEN_FROM_ROW(0), &ticket[0], NULL), PV_E_MISUSE);
    cr_expect_eq(r.backend->collect(r.device, 1, out, NULL), PV_E_MISUSE);
    for (uint32_t i = 0; i < ENGINE_STEPS_AHEAD; i++) {
        cr_assert_eq(submit_one(&r, i == 0 ? 5 : ENGINE_TOKEN_FROM_ROW(0), &ticket[i], &err), PV_OK,
                     "%s", err.msg);
    }
    cr_expect_eq(submit_one(&r, 5, &ticket[ENGINE_STEPS_AHEAD], NULL), PV_E_LIMIT);
    cr_expect_eq(r.backend->collect(r.device, ticket[1], out, NULL), PV_E_MISUSE);
    cr_expect_eq(r.backend->collect(r.device, ticket[0], out, NULL), PV_OK);
    r.backend->close(r.device); /* with three steps under way */
    engine_synthetic_close(model);
    cr_assert_eq(pv_mem_live(), 0);
}
