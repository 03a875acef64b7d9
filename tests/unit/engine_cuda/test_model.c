/* The fast kernels as a whole model: against the cpu backend, and a row's bits in every surrounding. */
#include "cuda_fixture.h"

#include <stdlib.h>

#ifndef MODEL_LENGTH
#define MODEL_LENGTH 150 /* less under a sanitizer of the GPU */
#endif

enum { LENGTH = MODEL_LENGTH, OTHERS = 15, MANY = 200, KV_PAGES = 300 };

typedef struct subject {
    engine_config config;
    engine_synthetic *model;
    uint32_t tokens[CUDA_TOKENS_MAX];
} subject;

static void open_subject(subject *s, engine_config config, engine_dtype matrices)
{
    pv_error err = {0};
    s->config = config;
    s->model = NULL;
    cr_assert_eq(engine_synthetic_open(&s->model, &s->config, matrices, 7, &err), PV_OK, "%s",
                 err.msg);
    cuda_fill_tokens(s->tokens, CUDA_TOKENS_MAX, config.vocab_size, 1);
}

static cuda_run open_on(const engine_backend *backend, const subject *s, engine_precision precision)
{
    engine_backend_options options = {.kv_pages = KV_PAGES,
                                      .max_rows = 640,
                                      .max_logit_rows = 256,
                                      .precision = precision,
                                      .threads = 2};
    return cuda_open_run(backend, engine_synthetic_weights(s->model), &options);
}

/* ---- against the cpu ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void check_logits(const engine_backend *cuda, const subject *s, const char *name,
                         double bound)
{
    uint32_t pages[CUDA_PAGES_MAX];
    cuda_page_range(pages, 20);
    size_t n = (size_t)LENGTH * s->config.vocab_size;
    float *want = pv_calloc(n, sizeof *want);
    float *got = pv_malloc(n * sizeof *got);
    memset(got, 0xff, n * sizeof *got);
    cuda_run cpu = open_on(engine_backend_cpu(), s, ENGINE_PRECISION_F32);
    cuda_rows_of(&cpu, s->tokens, pages, 0, LENGTH, LENGTH, want);
    cpu.backend->close(cpu.device);
    cuda_run gpu = open_on(cuda, s, ENGINE_PRECISION_AUTO);
    cuda_rows_of(&gpu, s->tokens, pages, 0, LENGTH, LENGTH, got);
    double error = cuda_error(got, want, n);
    double rows[LENGTH];
    for (uint32_t i = 0; i < LENGTH; i++) {
        size_t at = (size_t)i * s->config.vocab_size;
        rows[i] = cuda_error(got + at, want + at, s->config.vocab_size);
    }
    qsort(rows, LENGTH, sizeof *rows, compare);
    printf("%-24s relative error %.3e (of rows: least %.3e, median %.3e, greatest %.3e)\n", name,
           error, rows[0], rows[LENGTH / 2], rows[LENGTH - 1]);
    cr_expect_lt(error, bound, "%s: %.3e", name, error);
    gpu.backend->close(gpu.device);
    pv_free(want);
    pv_free(got);
}

/* ---- invariance ---- */

static void expect_bits(const char *name, const char *how, const float *want, const float *got,
                        uint32_t n)
{
    uint32_t differ = 0;
    uint32_t at = 0;
    for (uint32_t i = n; i-- > 0;) {
        if (memcmp(&want[i], &got[i], sizeof *want) != 0) {
            differ++;
            at = i;
        }
    }
    printf("%-24s %-28s %s (%u of %u differ)\n", name, how, differ == 0 ? "same" : "DIFFERENT",
           differ, n);
    cr_expect_eq(differ, 0, "%s: %u of %u logits differ %s; the first is %u: %a and %a", name,
                 differ, n, how, at, (double)want[at], (double)got[at]);
}

/* The row after `LENGTH - 1` cached ones, as one of OTHERS + 1. `odd`: the others are prefill chunks of odd lengths. */
static void among_others(const cuda_run *r, const subject *s, const uint32_t *pages, bool odd,
                         float *logits)
{
    static uint32_t others[OTHERS][CUDA_PAGES_MAX];
    uint32_t tokens[CUDA_TOKENS_MAX];
    engine_batch_seq seqs[OTHERS + 1];
    uint32_t rows = 0;
    uint32_t mine = 0;
    for (uint32_t i = 0; i <= OTHERS; i++) {
        bool me = i == 7;
        uint32_t n = me || !odd ? 1 : 1 + 5 * i;
        uint32_t start = me ? LENGTH - 1 : 0;
        uint32_t at = i < 7 ? i : i - 1;
        mine = me ? rows : mine;
        if (!me) {
            cuda_page_range(others[at], 40 + at * CUDA_PAGES_MAX);
        }
        cuda_fill_tokens(tokens + rows, n, s->config.vocab_size, 50 + i);
        tokens[rows] = me ? s->tokens[LENGTH - 1] : tokens[rows];
        seqs[i] = (engine_batch_seq){.pages = me ? pages : others[at],
                                     .page_count = CUDA_PAGES_MAX,
                                     .start = start,
                                     .rows = n};
        rows += n;
    }
    engine_batch batch = {.tokens = tokens,
                          .rows = rows,
                          .seqs = seqs,
                          .seq_count = OTHERS + 1,
                          .logit_rows = &mine,
                          .logit_count = 1};
    pv_error err = {0};
    cr_assert_eq(r->backend->forward(r->device, &batch, logits, &err), PV_OK, "%s", err.msg);
}

/* The same row as the last of MANY, each other one a sequence's first. */
static void among_many(const cuda_run *r, const subject *s, const uint32_t *pages, float *logits)
{
    static uint32_t others[MANY];
    static engine_batch_seq seqs[MANY];
    uint32_t tokens[MANY];
    uint32_t mine = MANY - 1;
    cuda_fill_tokens(tokens, MANY, s->config.vocab_size, 77);
    for (uint32_t i = 0; i < mine; i++) {
        others[i] = 40 + i;
        seqs[i] = (engine_batch_seq){.pages = &others[i], .page_count = 1, .start = 0, .rows = 1};
    }
    tokens[mine] = s->tokens[LENGTH - 1];
    seqs[mine] = (engine_batch_seq){
        .pages = pages, .page_count = CUDA_PAGES_MAX, .start = LENGTH - 1, .rows = 1};
    engine_batch batch = {tokens, MANY, seqs, MANY, &mine, 1};
    pv_error err = {0};
    cr_assert_eq(r->backend->forward(r->device, &batch, logits, &err), PV_OK, "%s", err.msg);
}

static void in_chunks(const cuda_run *r, const subject *s, const uint32_t *pages, uint32_t chunk,
                      float *logits)
{
    for (uint32_t at = 0; at < LENGTH; at += chunk) {
        uint32_t rows = LENGTH - at < chunk ? LENGTH - at : chunk;
        cuda_rows_of(r, s->tokens, pages, at, rows, at + rows == LENGTH, logits);
    }
}

static void check_invariance(const engine_backend *cuda, const subject *s, const char *name)
{
    uint32_t pages[CUDA_PAGES_MAX];
    uint32_t vocab = s->config.vocab_size;
    float *want = pv_calloc(vocab, sizeof *want);
    float *got = pv_calloc(vocab, sizeof *got);
    cuda_run r = open_on(cuda, s, ENGINE_PRECISION_AUTO);
    cuda_page_range(pages, 20);
    in_chunks(&r, s, pages, LENGTH, want);
    for (int i = 0; i < 3; i++) { /* the second is captured, the third replayed */
        cuda_rows_of(&r, s->tokens, pages, LENGTH - 1, 1, 1, got);
        expect_bits(name, i == 0 ? "from the cache" : "from the cache, captured", want, got, vocab);
    }
    for (int i = 0; i < 3; i++) {
        among_others(&r, s, pages, false, got);
        expect_bits(name, i == 0 ? "in a batch of 16" : "in a batch of 16, captured", want, got,
                    vocab);
    }
    for (int i = 0; i < 3; i++) {
        among_many(&r, s, pages, got);
        expect_bits(name, i == 0 ? "in a batch of 200" : "in a batch of 200, captured", want, got,
                    vocab);
    }
    among_others(&r, s, pages, true, got);
    expect_bits(name, "among prefill chunks", want, got, vocab);
    cuda_page_range(pages, 2);
    for (uint32_t chunk = 1; chunk < LENGTH; chunk = chunk * 4 + 3) { /* 1, 7, 31, 127 */
        char how[40];
        snprintf(how, sizeof how, "in chunks of %u", chunk);
        in_chunks(&r, s, pages, chunk, got);
        expect_bits(name, how, want, got, vocab);
    }
    uint32_t copied[CUDA_PAGES_MAX];
    memcpy(copied, pages, sizeof copied);
    copied[LENGTH / ENGINE_PAGE_TOKENS] = 290;
    pv_error err = {0};
    cr_assert_eq(cuda->copy_page(r.device, 290, pages[LENGTH / ENGINE_PAGE_TOKENS],
                                 (LENGTH - 1) % ENGINE_PAGE_TOKENS, &err),
                 PV_OK, "%s", err.msg);
    cuda_rows_of(&r, s->tokens, copied, LENGTH - 1, 1, 1, got);
    expect_bits(name, "after a copied page", want, got, vocab);
    cuda->close(r.device);
    pv_free(want);
    pv_free(got);
}

/* ---- the models ---- */

#ifndef CUDA_TEST_SECONDS
#define CUDA_TEST_SECONDS 200
#endif
TestSuite(engine_cuda_model, .timeout = CUDA_TEST_SECONDS);

static void check(engine_config config, engine_dtype matrices, const char *name, double bound)
{
    const engine_backend *cuda = cuda_or_skip();
    static subject s;
    open_subject(&s, config, matrices);
    check_logits(cuda, &s, name, bound);
    check_invariance(cuda, &s, name);
    engine_synthetic_close(s.model);
}

Test(engine_cuda_model, llama)
{
    check(cuda_llama_config(), ENGINE_DTYPE_BF16, "llama", 2e-2);
}

Test(engine_cuda_model, llama_with_biases_and_a_tied_head)
{
    engine_config c = cuda_llama_config();
    c.attention_bias = true;
    c.tie_embeddings = true;
    c.kv_heads = c.heads;
    check(c, ENGINE_DTYPE_BF16, "llama, biases, tied", 2e-2);
}

Test(engine_cuda_model, llama_fp8)
{
    engine_config c = cuda_llama_config();
    c.quant = (engine_quant){.fp8 = true, .block_rows = 128, .block_cols = 128};
    check(c, ENGINE_DTYPE_F8_E4M3, "llama, fp8", 0.1);
}

/* Activations of 8 bits: an error of 2 to 3 % in each product. */
Test(engine_cuda_model, deepseek_dense_fp8)
{
    engine_config c = cuda_deepseek_config();
    c.moe = (engine_moe){.routed = 0};
    check(c, ENGINE_DTYPE_F8_E4M3, "deepseek, dense, fp8", 0.2);
}

Test(engine_cuda_model, deepseek_dense_bf16)
{
    engine_config c = cuda_deepseek_config();
    c.moe = (engine_moe){.routed = 0};
    c.quant = (engine_quant){.fp8 = false};
    check(c, ENGINE_DTYPE_BF16, "deepseek, dense, bf16", 2e-2);
}

/* Every expert is taken, so that no rounding can turn into another choice. */
static engine_config all_experts(void)
{
    engine_config c = cuda_deepseek_config();
    c.moe.routed = c.moe.per_token = 8;
    c.moe.groups_kept = c.moe.groups;
    return c;
}

Test(engine_cuda_model, deepseek_all_experts_fp8)
{
    check(all_experts(), ENGINE_DTYPE_F8_E4M3, "deepseek, all experts, fp8", 0.2);
}

Test(engine_cuda_model, deepseek_all_experts_bf16)
{
    engine_config c = all_experts();
    c.quant = (engine_quant){.fp8 = false};
    check(c, ENGINE_DTYPE_BF16, "deepseek, all experts, bf16", 2e-2);
}

/* Where scores are close, a rounding chooses another expert: random ones have nothing in common. */
Test(engine_cuda_model, deepseek_fp8)
{
    check(cuda_deepseek_config(), ENGINE_DTYPE_F8_E4M3, "deepseek, fp8", 0.6);
}

Test(engine_cuda_model, deepseek_bf16)
{
    engine_config c = cuda_deepseek_config();
    c.quant = (engine_quant){.fp8 = false};
    check(c, ENGINE_DTYPE_BF16, "deepseek, bf16", 0.3);
}

Test(engine_cuda_model, deepseek_without_query_compression)
{
    engine_config c = cuda_deepseek_config();
    c.mla.q_lora_rank = 0;
    c.moe.shared = 2;
    c.moe.groups = c.moe.groups_kept = 1;
    c.moe.scoring = ENGINE_SCORING_SOFTMAX;
    c.moe.topk = ENGINE_TOPK_GREEDY;
    check(c, ENGINE_DTYPE_F8_E4M3, "deepseek, no q lora", 0.6);
}
