/* cuda_fixture: what the tests of the cuda backend share: a GPU or a skip with the reason, models, batches. */
#ifndef CUDA_FIXTURE_H
#define CUDA_FIXTURE_H

#include "engine_backend.h"
#include "engine_synthetic.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CUDA_UNUSED __attribute__((unused))

enum { CUDA_TOKENS_MAX = 1024, CUDA_PAGES_MAX = 16 };

/* ---- Models that the fast kernels take, small in everything but the dimensions they insist on ---- */

CUDA_UNUSED static engine_config cuda_llama_config(void)
{
    engine_config c = {.arch = ENGINE_ARCH_LLAMA,
                       .vocab_size = 1000,
                       .hidden_size = 512,
                       .layers = 3,
                       .heads = 8,
                       .kv_heads = 2,
                       .head_dim = 128,
                       .intermediate_size = 1408,
                       .max_positions = CUDA_TOKENS_MAX,
                       .norm_eps = 1e-6,
                       .rope = {.kind = ENGINE_ROPE_PLAIN, .theta = 10000, .factor = 1}};
    c.rope.original_positions = c.max_positions;
    return c;
}

CUDA_UNUSED static engine_config cuda_deepseek_config(void)
{
    engine_config c = {.arch = ENGINE_ARCH_DEEPSEEK,
                       .vocab_size = 1000,
                       .hidden_size = 1024,
                       .layers = 3,
                       .heads = 16,
                       .kv_heads = 16,
                       .head_dim = 192,
                       .intermediate_size = 1536,
                       .max_positions = CUDA_TOKENS_MAX,
                       .norm_eps = 1e-6,
                       .rope = {.kind = ENGINE_ROPE_YARN,
                                .theta = 10000,
                                .factor = 40,
                                .original_positions = 64,
                                .beta_fast = 32,
                                .beta_slow = 1,
                                .mscale = 1,
                                .mscale_all_dim = 1,
                                .truncate = true},
                       .mla = {.q_lora_rank = 256,
                               .kv_lora_rank = 512,
                               .nope_dim = 128,
                               .rope_dim = 64,
                               .v_dim = 128},
                       .moe = {.routed = 16,
                               .shared = 1,
                               .per_token = 4,
                               .intermediate_size = 256,
                               .groups = 4,
                               .groups_kept = 2,
                               .first_dense = 1,
                               .layer_freq = 1,
                               .norm_topk = true,
                               .scale = 2.5,
                               .scoring = ENGINE_SCORING_SIGMOID,
                               .topk = ENGINE_TOPK_NOAUX},
                       .quant = {.fp8 = true, .block_rows = 128, .block_cols = 128}};
    return c;
}

/* ---- A GPU, or a skip ---- */

CUDA_UNUSED static void cuda_show_log(void *user, pv_log_level level, const char *line)
{
    (void)user;
    (void)level;
    printf("  log: %s\n", line);
}

#define cuda_skip(...)                                                                             \
    do {                                                                                           \
        char reason_[1200];                                                                        \
        snprintf(reason_, sizeof reason_, __VA_ARGS__);                                            \
        fprintf(stderr, "SKIPPED: %s\n", reason_);                                                 \
        cr_skip_test("%s", reason_);                                                               \
    } while (0)

/* Leaves the test where the backend was not built or no GPU answers. */
CUDA_UNUSED static const engine_backend *cuda_or_skip(void)
{
    const engine_backend *cuda = engine_backend_cuda();
    if (cuda == NULL) {
        cuda_skip("the cuda backend was not built (PROVER_CUDA)");
    } else {
        engine_config config = cuda_llama_config();
        engine_synthetic *model = NULL;
        engine_memory memory;
        pv_error err = {0};
        cr_assert_eq(engine_synthetic_shapes(&model, &config, ENGINE_DTYPE_BF16, &err), PV_OK);
        pv_status status = cuda->plan(&memory, engine_synthetic_weights(model), NULL, &err);
        engine_synthetic_close(model);
        if (status != PV_OK) {
            cuda_skip("no GPU to test on: %s", err.msg);
        }
    }
    pv_log_set(cuda_show_log, NULL, PV_LOG_WARN);
    return cuda;
}

/* ---- Batches ---- */

typedef struct cuda_run { /* a device and what was last computed on it */
    const engine_backend *backend;
    engine_device *device;
    uint32_t vocab;
} cuda_run;

CUDA_UNUSED static cuda_run cuda_open_run(const engine_backend *backend, const engine_weights *w,
                                          const engine_backend_options *options)
{
    cuda_run r = {backend, NULL, w->config->vocab_size};
    pv_error err = {0};
    cr_assert_eq(backend->open(&r.device, w, options, &err), PV_OK, "%s", err.msg);
    return r;
}

CUDA_UNUSED static void cuda_fill_tokens(uint32_t *out, uint32_t n, uint32_t vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (uint32_t)(pv_mix64(seed * 100000 + i) % vocab);
    }
}

/* Rows [start, start + rows) of a sequence on its own; logits of the last `wanted` rows. */
CUDA_UNUSED static void cuda_rows_of(const cuda_run *r, const uint32_t *tokens,
                                     const uint32_t *pages, uint32_t start, uint32_t rows,
                                     uint32_t wanted, float *logits)
{
    uint32_t logit_rows[CUDA_TOKENS_MAX];
    for (uint32_t i = 0; i < wanted; i++) {
        logit_rows[i] = rows - wanted + i;
    }
    engine_batch_seq seq = {
        .pages = pages, .page_count = CUDA_PAGES_MAX, .start = start, .rows = rows};
    engine_batch batch = {.tokens = tokens + start,
                          .rows = rows,
                          .seqs = &seq,
                          .seq_count = 1,
                          .logit_rows = wanted == 0 ? NULL : logit_rows,
                          .logit_count = wanted};
    pv_error err = {0};
    cr_assert_eq(r->backend->forward(r->device, &batch, logits, &err), PV_OK, "%s", err.msg);
}

CUDA_UNUSED static void cuda_page_range(uint32_t *pages, uint32_t first)
{
    for (uint32_t i = 0; i < CUDA_PAGES_MAX; i++) {
        pages[i] = first + i;
    }
}

/* ||a - b|| / ||b||; a NaN is an infinite error */
CUDA_UNUSED static double cuda_error(const float *a, const float *b, size_t n)
{
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    double error = sqrt(difference / norm);
    return isfinite(error) ? error : INFINITY;
}

#endif
