/* What a small model decodes in a search's own batches: samples after one prompt, over and over, as `prover prove` asks for
 * them. The model is synthetic: given dimensions, FP8 blocks (or BF16), random weights.
 *
 * Figure: tokens drawn a second, of wall time and of processor time (which counts what this process got of a machine that
 * Lean uses too). Floor beside it: the same rows through forward() alone. */
#define _GNU_SOURCE

#include "engine.h"
#include "engine_synthetic.h"
#include "pv_clock.h"
#include "pv_hash.h"
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] = "usage: bench_engine_samples [--NAME VALUE]...\n"
                            "\n"
                            "A deepseek_v3 model with random weights draws `samples` continuations "
                            "of `tokens` tokens after a prompt of `prompt` "
                            "tokens.\n"
                            "  shape: hidden 384, layers 8, heads 6, nope 64, rope 32, value 64, "
                            "kv-lora 128, q-lora 0, experts 16, top 4,\n"
                            "         inner 128 (of an expert), shared 1, dense 1 (layers), "
                            "dense-inner 1024, vocab 4096, bf16 0\n"
                            "  work:  prompt 200, samples 16, tokens 24, requests 1 (at one time), "
                            "rounds 20, threads 0 (each processor)\n";

enum {
    HIDDEN,
    LAYERS,
    HEADS,
    NOPE,
    ROPE,
    VALUE,
    KV_LORA,
    Q_LORA,
    EXPERTS,
    TOP,
    INNER,
    SHARED,
    DENSE,
    DENSE_INNER,
    VOCAB,
    BF16,
    PROMPT,
    SAMPLES,
    TOKENS,
    REQUESTS,
    ROUNDS,
    THREADS,
    UNPINNED,
    SETTINGS
};

static setting settings[SETTINGS] = {
    {"hidden", 384}, {"layers", 8},    {"heads", 6},    {"nope", 64},          {"rope", 32},
    {"value", 64},   {"kv-lora", 128}, {"q-lora", 0},   {"experts", 16},       {"top", 4},
    {"inner", 128},  {"shared", 1},    {"dense", 1},    {"dense-inner", 1024}, {"vocab", 4096},
    {"bf16", 0},     {"prompt", 200},  {"samples", 16}, {"tokens", 24},        {"requests", 1},
    {"rounds", 20},  {"threads", 0},   {"unpinned", 0},
};

static void check(pv_status status, const pv_error *err)
{
    if (status != PV_OK) {
        fprintf(stderr, "bench_engine_samples: %s\n", err->msg);
        exit(1);
    }
}

static uint32_t of(int which)
{
    return settings[which].value;
}

static engine_config config_of_settings(void)
{
    engine_config c = {.arch = ENGINE_ARCH_DEEPSEEK};
    c.vocab_size = of(VOCAB);
    c.hidden_size = of(HIDDEN);
    c.layers = of(LAYERS);
    c.heads = c.kv_heads = of(HEADS);
    c.mla = (engine_mla){of(Q_LORA), of(KV_LORA), of(NOPE), of(ROPE), of(VALUE)};
    c.head_dim = of(NOPE) + of(ROPE);
    c.intermediate_size = of(DENSE_INNER);
    c.max_positions = 2048;
    c.norm_eps = 1e-6;
    c.rope = (engine_rope){.theta = 10000, .factor = 1, .original_positions = 2048};
    c.moe = (engine_moe){.routed = of(EXPERTS),
                         .shared = of(SHARED),
                         .per_token = of(TOP),
                         .intermediate_size = of(INNER),
                         .groups = 1,
                         .groups_kept = 1,
                         .first_dense = of(DENSE),
                         .layer_freq = 1,
                         .norm_topk = true,
                         .scale = 1,
                         .scoring = ENGINE_SCORING_SIGMOID,
                         .topk = ENGINE_TOPK_NOAUX};
    c.quant = (engine_quant){.fp8 = of(BF16) == 0, .block_rows = 128, .block_cols = 128};
    return c;
}

/* ---- clocks ---- */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double wall_seconds(void)
{
    return (double)pv_clock_ns() * 1e-9;
}

static struct {
    double wall, cpu;
    uint64_t rows;
} model_time;

static pv_status timed_forward(engine_device *d, const engine_batch *b, float *logits,
                               pv_error *err)
{
    double wall = wall_seconds();
    double cpu = cpu_seconds();
    pv_status status = engine_backend_cpu()->forward(d, b, logits, err);
    model_time.wall += wall_seconds() - wall;
    model_time.cpu += cpu_seconds() - cpu;
    model_time.rows += b->rows;
    return status;
}

/* ---- work ---- */

static void on_done(void *user, const engine_result *r)
{
    if (r->finish != ENGINE_FINISH_LENGTH) {
        fprintf(stderr, "bench_engine_samples: a sample ended as %s\n",
                engine_finish_text(r->finish));
        exit(1);
    }
    *(uint64_t *)user += r->token_count;
}

static void submit(engine *e, uint64_t key, uint64_t *tokens)
{
    static uint32_t prefix[4096];
    for (uint32_t i = 0; i < of(PROMPT); i++) {
        prefix[i] = (uint32_t)(pv_mix64(key * 8192 + i) % of(VOCAB));
    }
    engine_request r = {.prefix = prefix,
                        .prefix_len = of(PROMPT),
                        .samples = of(SAMPLES),
                        .max_tokens = of(TOKENS),
                        .sampling = {.temperature = 0.25F, .top_p = 0.95F},
                        .ignore_eos = true,
                        .key = key,
                        .on_done = on_done,
                        .user = tokens};
    pv_error err = {0};
    check(engine_submit(e, &r, NULL, &err), &err);
}

static void run_rounds(engine *e, uint32_t rounds, uint64_t *tokens)
{
    pv_error err = {0};
    static uint64_t key;
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t k = 0; k < of(REQUESTS); k++) {
            submit(e, ++key, tokens);
        }
        for (bool busy = true; busy;) {
            check(engine_step(e, &busy, &err), &err);
        }
    }
}

static void report(const engine_weights *w, uint64_t tokens, double wall, double cpu)
{
    double rows = (double)model_time.rows;
    printf(
        "hidden %u, %u layers, %u experts of %u, top %u, vocabulary %u, %s: %.1f MB of weights\n",
        of(HIDDEN), of(LAYERS), of(EXPERTS), of(INNER), of(TOP), of(VOCAB),
        of(BF16) ? "BF16" : "FP8", (double)w->plan.bytes_total * 1e-6);
    printf("  %u samples of %u tokens after %u: %8.0f tokens/s wall, %8.0f a processor second; "
           "%.2f processors\n",
           of(REQUESTS) * of(SAMPLES), of(TOKENS), of(PROMPT), (double)tokens / wall,
           (double)tokens / cpu, cpu / wall);
    printf("  model alone: %8.0f rows/s wall, %8.0f a processor second; beside the model %.1f %% "
           "of wall, %.1f us a row\n",
           rows / model_time.wall, rows / model_time.cpu, 100 * (1 - model_time.wall / wall),
           (wall - model_time.wall) / rows * 1e6);
}

int main(int argc, char **argv)
{
    if (!settings_read(settings, SETTINGS, 1, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    pv_error err = {0};
    engine_model m = {0};
    m.config = config_of_settings();
    engine_synthetic *synthetic = NULL;
    engine_dtype dtype = of(BF16) ? ENGINE_DTYPE_BF16 : ENGINE_DTYPE_F8_E4M3;
    check(engine_synthetic_open(&synthetic, &m.config, dtype, 1, &err), &err);
    m.weights = *engine_synthetic_weights(synthetic);
    engine_backend timed = *engine_backend_cpu();
    timed.forward = timed_forward;
    engine_options o = {0};
    o.backend.threads = of(THREADS);
    o.backend.unpinned = of(UNPINNED) != 0;
    o.backend.kv_pages = 1024;
    engine *e = NULL;
    check(engine_open(&e, &m, &timed, &o, &err), &err);
    uint64_t tokens = 0;
    run_rounds(e, 3, &tokens);
    tokens = 0;
    memset(&model_time, 0, sizeof model_time);
    double wall = wall_seconds();
    double cpu = cpu_seconds();
    run_rounds(e, of(ROUNDS), &tokens);
    report(&m.weights, tokens, wall_seconds() - wall, cpu_seconds() - cpu);
    engine_close(e);
    engine_synthetic_close(synthetic);
    return 0;
}
