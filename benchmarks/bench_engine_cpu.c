/* The cpu backend against the machine's own ceilings, measured in the same run: bytes a second read from memory, and
 * multiply-adds a second. Models are synthetic: real dimensions, random weights. */
#define _GNU_SOURCE

#include "cpu/engine_cpu_pool.h"
#include "engine_backend.h"
#include "engine_synthetic.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    STREAM_BYTES = 512 << 20, /* far more than any cache */
    PEAK_LOOPS = 2000000,
    PEAK_SUMS = 24,
    STEPS = 24,
    PREFILL = 512,
    PREFILL_ROUNDS = 3,
    BATCH_MAX = 32,
    CONTEXT = 40 /* tokens cached before decoding: weights, not the cache, are what is measured */
};

static const char usage[] =
    "usage: bench_engine_cpu [--threads N] [--isa scalar|avx2|avx512|avx512_bf16] [--f32]\n"
    "                        [--llama] [--moe] [--moe-layer] [--cpu-time]\n"
    "\n"
    "Prints the read bandwidth and the multiply-add peak of this machine, then for each model "
    "tokens/s and the share\n"
    "of these ceilings: decode with 1 and 8 (experts: 32) sequences, prefill of 512 tokens.\n"
    "  --llama      BF16 llama, 1.5 GB        (default: --llama --moe)\n"
    "  --moe        FP8 mixture of experts with latent attention, 2.6 GB\n"
    "  --moe-layer  one DeepSeek-V3 layer at true dimension: 256 experts, FP8, 11.6 GB of memory\n"
    "  --f32        float32 arithmetic throughout (ENGINE_PRECISION_F32)\n"
    "  --cpu-time   rates by processor time a thread instead of wall time, for a machine that "
    "others use too\n"
    "  --threads N  default: one for each processor\n"
    "Figures are the best of several rounds: on a shared machine others' load only lowers them.\n";

static volatile uint64_t sink;

static uint32_t cpu_time_threads; /* --cpu-time: of so many threads; 0: wall time */

/* Processor time counts what the process got, so that on a shared machine rates are those of an idle one, but for
 * others' use of the caches and the memory. */
static uint64_t now_ns(void)
{
    if (cpu_time_threads == 0) {
        return pv_clock_ns();
    }
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return ((uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec) / cpu_time_threads;
}

static double seconds_since(uint64_t start)
{
    return (double)(now_ns() - start) * 1e-9;
}

/* ---- ceilings ---- */

typedef struct stream {
    const uint64_t *data;
    size_t share; /* words a task reads */
    int lanes;    /* streams read side by side */
    uint64_t *sums;
} stream;

/* Reads its share as `lanes` parallel runs, each asked for ahead of its use. */
static void stream_task(void *user, uint32_t task, uint32_t thread)
{
    (void)thread;
    const stream *s = user;
    const uint64_t *p = s->data + task * s->share;
    size_t run = s->share / (size_t)s->lanes;
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t c = 0;
    uint64_t d = 0;
    for (size_t i = 0; i < run; i += 8) {
        for (int lane = 0; lane < s->lanes; lane++) {
            const uint64_t *q = p + (size_t)lane * run + i;
            __builtin_prefetch(q + 2048, 0, 2);
            a += q[0] ^ q[4];
            b += q[1] ^ q[5];
            c += q[2] ^ q[6];
            d += q[3] ^ q[7];
        }
    }
    s->sums[task] = a + b + c + d;
}

/* One reading of the whole memory block, by each way of reading it; the best bytes a second. */
static double stream_round(engine_cpu_pool *pool, const stream *memory, uint32_t tasks)
{
    double best = 0;
    for (int lanes = 1; lanes <= 4; lanes *= 2) {
        stream s = *memory;
        s.lanes = lanes;
        uint64_t start = now_ns();
        engine_cpu_pool_run(pool, tasks, stream_task, &s);
        best = fmax(best, (double)s.share * 8 * tasks / seconds_since(start));
        sink = s.sums[0];
    }
    return best;
}

typedef double peak_fn(void); /* multiply-adds done */

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16"))) static double peak_bf16(void)
{
    __m512 acc[PEAK_SUMS];
    __m512i x = _mm512_set1_epi16(0x3f80);
    for (int i = 0; i < PEAK_SUMS; i++) {
        acc[i] = _mm512_setzero_ps();
    }
    for (int n = 0; n < PEAK_LOOPS; n++) {
#pragma GCC unroll 24
        for (int i = 0; i < PEAK_SUMS; i++) {
            acc[i] = _mm512_dpbf16_ps(acc[i], (__m512bh)x, (__m512bh)x);
        }
        __asm__ volatile("" : "+v"(x));
    }
    for (int i = 1; i < PEAK_SUMS; i++) {
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    }
    sink = (uint64_t)_mm512_reduce_add_ps(acc[0]);
    return 32.0 * PEAK_SUMS * PEAK_LOOPS;
}

__attribute__((target("avx512f"))) static double peak_avx512(void)
{
    __m512 acc[PEAK_SUMS];
    __m512 x = _mm512_set1_ps(1);
    for (int i = 0; i < PEAK_SUMS; i++) {
        acc[i] = _mm512_setzero_ps();
    }
    for (int n = 0; n < PEAK_LOOPS; n++) {
#pragma GCC unroll 24
        for (int i = 0; i < PEAK_SUMS; i++) {
            acc[i] = _mm512_fmadd_ps(x, x, acc[i]);
        }
        __asm__ volatile("" : "+v"(x));
    }
    for (int i = 1; i < PEAK_SUMS; i++) {
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    }
    sink = (uint64_t)_mm512_reduce_add_ps(acc[0]);
    return 16.0 * PEAK_SUMS * PEAK_LOOPS;
}

__attribute__((target("avx2,fma"))) static double peak_avx2(void)
{
    __m256 acc[PEAK_SUMS / 2];
    __m256 x = _mm256_set1_ps(1);
    for (int i = 0; i < PEAK_SUMS / 2; i++) {
        acc[i] = _mm256_setzero_ps();
    }
    for (int n = 0; n < PEAK_LOOPS; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_SUMS / 2; i++) {
            acc[i] = _mm256_fmadd_ps(x, x, acc[i]);
        }
        __asm__ volatile("" : "+x"(x));
    }
    for (int i = 1; i < PEAK_SUMS / 2; i++) {
        acc[0] = _mm256_add_ps(acc[0], acc[i]);
    }
    sink = (uint64_t)_mm256_cvtss_f32(acc[0]);
    return 8.0 * PEAK_SUMS / 2 * PEAK_LOOPS;
}
#endif

static double peak_scalar(void)
{
    float acc[8] = {0};
    for (int n = 0; n < PEAK_LOOPS; n++) {
        for (int i = 0; i < 8; i++) {
            acc[i] = acc[i] * 0.5F + 1.0F;
        }
    }
    sink = (uint64_t)acc[0];
    return 8.0 * PEAK_LOOPS;
}

static peak_fn *peak_for(engine_isa isa, bool f32)
{
#if defined(__x86_64__)
    engine_isa use = isa == ENGINE_ISA_AUTO ? engine_isa_detect() : isa;
    if (use == ENGINE_ISA_AVX512_BF16 && !f32) {
        return peak_bf16;
    }
    if (use >= ENGINE_ISA_AVX512) {
        return peak_avx512;
    }
    if (use == ENGINE_ISA_AVX2) {
        return peak_avx2;
    }
#endif
    (void)isa;
    (void)f32;
    return peak_scalar;
}

static void peak_task(void *user, uint32_t task, uint32_t thread)
{
    (void)task;
    (void)thread;
    (*(peak_fn **)user)();
}

static double peak_round(engine_cpu_pool *pool, peak_fn *fn)
{
    uint32_t threads = engine_cpu_pool_threads(pool);
    uint64_t start = now_ns();
    engine_cpu_pool_run(pool, threads, peak_task, (void *)&fn);
    double s = seconds_since(start);
    return fn() * threads / s;
}

/* ---- models ---- */

static engine_config llama_config(void)
{
    engine_config c = {.arch = ENGINE_ARCH_LLAMA, .vocab_size = 32000, .hidden_size = 2048};
    c.layers = 12;
    c.heads = c.kv_heads = 16;
    c.head_dim = 128;
    c.intermediate_size = 5632;
    c.max_positions = 4096;
    c.norm_eps = 1e-6;
    c.rope = (engine_rope){.theta = 10000, .factor = 1, .original_positions = 4096};
    return c;
}

static engine_config moe_config(void)
{
    engine_config c = {.arch = ENGINE_ARCH_DEEPSEEK, .vocab_size = 32000, .hidden_size = 2048};
    c.layers = 5;
    c.heads = c.kv_heads = 16;
    c.mla = (engine_mla){.kv_lora_rank = 512, .nope_dim = 128, .rope_dim = 64, .v_dim = 128};
    c.head_dim = 192;
    c.intermediate_size = 10944;
    c.max_positions = 4096;
    c.norm_eps = 1e-6;
    c.rope = (engine_rope){.theta = 10000, .factor = 1, .original_positions = 4096};
    c.moe = (engine_moe){.routed = 64,
                         .shared = 2,
                         .per_token = 6,
                         .intermediate_size = 1408,
                         .groups = 1,
                         .groups_kept = 1,
                         .first_dense = 1,
                         .layer_freq = 1,
                         .scale = 1,
                         .scoring = ENGINE_SCORING_SOFTMAX,
                         .topk = ENGINE_TOPK_GREEDY};
    c.quant = (engine_quant){.fp8 = true, .block_rows = 128, .block_cols = 128};
    return c;
}

static engine_config layer_config(void)
{
    engine_config c = moe_config();
    c.vocab_size = 1024;
    c.hidden_size = 7168;
    c.layers = 1;
    c.heads = c.kv_heads = 128;
    c.mla.q_lora_rank = 1536;
    c.intermediate_size = 18432;
    c.moe = (engine_moe){.routed = 256,
                         .shared = 1,
                         .per_token = 8,
                         .intermediate_size = 2048,
                         .groups = 8,
                         .groups_kept = 4,
                         .layer_freq = 1,
                         .norm_topk = true,
                         .scale = 2.5,
                         .scoring = ENGINE_SCORING_SIGMOID,
                         .topk = ENGINE_TOPK_NOAUX};
    return c;
}

static double bytes_of(const engine_view *v)
{
    return (double)v->rows * v->cols * engine_dtype_bytes(v->dtype) +
           4.0 * v->scale_rows * v->scale_cols;
}

static double bytes_of_mlp(const engine_mlp *m)
{
    return bytes_of(&m->gate) + bytes_of(&m->up) + bytes_of(&m->down);
}

static double params_of_mlp(const engine_mlp *m)
{
    return 3.0 * m->gate.rows * m->gate.cols;
}

typedef struct cost {
    double fixed;   /* bytes of weights that every step reads                       */
    double experts; /* bytes of the experts one row takes                           */
    double macs;    /* multiply-adds of a row with weights                          */
    double context; /* and with each key and value that it attends to               */
} cost;

static cost cost_of(const engine_weights *w)
{
    const engine_config *c = w->config;
    cost sum = {.fixed = bytes_of(&w->lm_head)};
    bool mla = c->arch == ENGINE_ARCH_DEEPSEEK;
    uint32_t per_key = mla ? 2 * c->mla.kv_lora_rank + c->mla.rope_dim : 2 * c->head_dim;
    sum.context = (double)c->layers * c->heads * per_key;
    for (uint32_t i = 0; i < c->layers; i++) {
        const engine_layer *l = &w->layers[i];
        const engine_view *parts[] = {&l->q,    &l->k,    &l->v, &l->q_a,   &l->q_b,
                                      &l->kv_a, &l->kv_b, &l->o, &l->router};
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            sum.fixed += bytes_of(parts[p]);
            sum.macs += (double)parts[p]->rows * parts[p]->cols;
        }
        sum.fixed += bytes_of_mlp(&l->mlp) + bytes_of_mlp(&l->shared);
        sum.macs += params_of_mlp(&l->mlp) + params_of_mlp(&l->shared);
        if (l->is_moe) {
            sum.experts += c->moe.per_token * bytes_of_mlp(&l->experts[0]);
            sum.macs += c->moe.per_token * params_of_mlp(&l->experts[0]);
        }
    }
    return sum;
}

/* ---- runs ---- */

typedef struct bench {
    engine_backend_options options;
    engine_cpu_pool *pool; /* of the ceilings */
    stream memory;
    uint32_t tasks;
    peak_fn *peak_of;
    double bandwidth; /* bytes a second, best so far */
    double peak;      /* multiply-adds a second, best so far */
    bool cpu_time;
    engine_device *device;
    const engine_weights *weights;
    float *logits;
} bench;

static void die(const pv_error *err)
{
    fprintf(stderr, "bench_engine_cpu: %s\n", err->msg);
    exit(1);
}

static double run_batch(bench *b, uint32_t seqs, uint32_t start, uint32_t rows, bool logits)
{
    static uint32_t tokens[PREFILL];
    uint32_t pages[BATCH_MAX][PREFILL / ENGINE_PAGE_TOKENS + 1];
    engine_batch_seq seq[BATCH_MAX];
    uint32_t last[BATCH_MAX];
    pv_error err = {0};
    uint32_t per_seq = (start + rows + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
    for (uint32_t s = 0; s < seqs; s++) {
        for (uint32_t p = 0; p < per_seq; p++) {
            pages[s][p] = s * per_seq + p;
        }
        seq[s] = (engine_batch_seq){pages[s], per_seq, start, rows};
        last[s] = (s + 1) * rows - 1;
        for (uint32_t i = 0; i < rows; i++) {
            tokens[s * rows + i] =
                (s * 131 + (start + i) * 17 + 5) % b->weights->config->vocab_size;
        }
    }
    engine_batch batch = {tokens, seqs * rows, seq, seqs, last, logits ? seqs : 0};
    uint64_t begin = now_ns();
    if (engine_backend_cpu()->forward(b->device, &batch, b->logits, &err) != PV_OK) {
        die(&err);
    }
    return seconds_since(begin);
}

/* Ceilings are measured between the steps that are held against them, so that what others do to the machine meets
 * both. */
static void measure_ceilings(bench *b, bool peak)
{
    if (peak) {
        b->peak = fmax(b->peak, peak_round(b->pool, b->peak_of));
    } else {
        b->bandwidth = fmax(b->bandwidth, stream_round(b->pool, &b->memory, b->tasks));
    }
}

static double best_decode(bench *b, uint32_t seqs)
{
    double best = INFINITY;
    for (uint32_t i = 0; i < CONTEXT; i += 8) {
        run_batch(b, seqs, i, 8, false);
    }
    for (uint32_t i = 0; i < STEPS; i++) {
        if (i % 4 == 0) {
            measure_ceilings(b, false);
        }
        best = fmin(best, run_batch(b, seqs, CONTEXT + i, 1, true));
    }
    return best;
}

static double report_decode(bench *b, uint32_t seqs)
{
    cost c = cost_of(b->weights);
    double s = best_decode(b, seqs);
    printf("  decode b=%-3u %9.2f ms %9.1f tokens/s", seqs, s * 1e3, seqs / s);
    if (seqs == 1 || c.experts == 0) {
        double rate = (c.fixed + c.experts) / s;
        printf("   %6.2f GB/s, %3.0f %% of the read bandwidth of %.2f GB/s", rate * 1e-9,
               100 * rate / b->bandwidth, b->bandwidth * 1e-9);
    }
    printf("\n");
    return seqs / s;
}

static void report_prefill(bench *b)
{
    double best = INFINITY;
    for (int i = 0; i < PREFILL_ROUNDS; i++) {
        measure_ceilings(b, true);
        best = fmin(best, run_batch(b, 1, 0, PREFILL, true));
    }
    cost c = cost_of(b->weights);
    double rate = (c.macs + c.context * (PREFILL + 1) / 2) * PREFILL / best;
    printf("  prefill %d %8.1f ms %9.1f tokens/s   %6.1f GMAC/s, %3.0f %% of the peak of %.1f "
           "GMAC/s\n",
           PREFILL, best * 1e3, PREFILL / best, rate * 1e-9, 100 * rate / b->peak, b->peak * 1e-9);
}

static void run_model(bench *b, const char *name, engine_config config, engine_dtype dtype,
                      bool layer)
{
    pv_error err = {0};
    engine_synthetic *model = NULL;
    if (engine_synthetic_open(&model, &config, dtype, 1, &err) != PV_OK) {
        die(&err);
    }
    b->weights = engine_synthetic_weights(model);
    b->options.kv_pages = 2 * BATCH_MAX;
    b->options.max_rows = PREFILL;
    if (engine_backend_cpu()->open(&b->device, b->weights, &b->options, &err) != PV_OK) {
        die(&err);
    }
    b->logits = pv_malloc((size_t)BATCH_MAX * config.vocab_size * sizeof(float));
    cost c = cost_of(b->weights);
    printf("%s: %.2f GB of weights, %.2f GB read for a token\n", name,
           (double)b->weights->plan.bytes_total * 1e-9, (c.fixed + c.experts) * 1e-9);
    double one = report_decode(b, 1);
    printf("  batch 8 against 1: %.2f times the tokens/s\n", report_decode(b, 8) / one);
    if (layer) {
        report_decode(b, 32);
    }
    report_prefill(b);
    pv_free(b->logits);
    engine_backend_cpu()->close(b->device);
    engine_synthetic_close(model);
}

static void open_ceilings(bench *b)
{
    pv_error err = {0};
    if (engine_cpu_pool_open(&b->pool, b->options.threads, true, &err) != PV_OK) {
        die(&err);
    }
    cpu_time_threads = b->cpu_time ? engine_cpu_pool_threads(b->pool) : 0;
    b->tasks = 8 * engine_cpu_pool_threads(b->pool);
    uint64_t *data = pv_malloc(STREAM_BYTES);
    b->memory.data = data;
    b->memory.sums = pv_calloc(b->tasks, sizeof *b->memory.sums);
    b->memory.share = STREAM_BYTES / 8 / b->tasks / 64 * 64;
    if (data == NULL || b->memory.sums == NULL) {
        (void)pv_fail(&err, PV_E_NOMEM, "out of memory for the bandwidth measurement");
        die(&err);
    }
    memset(data, 1, STREAM_BYTES);
    b->peak_of = peak_for(b->options.isa, b->options.precision == ENGINE_PRECISION_F32);
}

typedef struct choice {
    bool llama;
    bool moe;
    bool layer;
    bool help;
} choice;

static bool parse(int argc, char **argv, bench *b, choice *what)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--llama") == 0) {
            what->llama = true;
        } else if (strcmp(argv[i], "--moe") == 0) {
            what->moe = true;
        } else if (strcmp(argv[i], "--moe-layer") == 0) {
            what->layer = true;
        } else if (strcmp(argv[i], "--cpu-time") == 0) {
            b->cpu_time = true;
        } else if (strcmp(argv[i], "--f32") == 0) {
            b->options.precision = ENGINE_PRECISION_F32;
        } else if (strcmp(argv[i], "--threads") == 0 && more) {
            b->options.threads = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--isa") == 0 && more) {
            i++;
            while (b->options.isa < ENGINE_ISA_AVX512_BF16 &&
                   strcmp(engine_isa_text(b->options.isa), argv[i]) != 0) {
                b->options.isa++;
            }
        } else {
            what->help = true;
            return strcmp(argv[i], "--help") == 0;
        }
    }
    if (!what->llama && !what->moe && !what->layer) {
        what->llama = what->moe = true;
    }
    return true;
}

int main(int argc, char **argv)
{
    bench b = {0};
    choice what = {0};
    bool ok = parse(argc, argv, &b, &what);
    if (what.help) {
        fputs(usage, ok ? stdout : stderr);
        return ok ? 0 : 2;
    }
    open_ceilings(&b);
    printf("%u threads, best instruction set %s, %s\n", engine_cpu_pool_threads(b.pool),
           engine_isa_text(engine_isa_detect()), b.cpu_time ? "processor time" : "wall time");
    if (what.llama) {
        run_model(&b, "llama BF16", llama_config(), ENGINE_DTYPE_BF16, false);
    }
    if (what.moe) {
        run_model(&b, "mixture FP8", moe_config(), ENGINE_DTYPE_F8_E4M3, false);
    }
    if (what.layer) {
        run_model(&b, "DeepSeek-V3 layer FP8", layer_config(), ENGINE_DTYPE_F8_E4M3, true);
    }
    engine_cpu_pool_close(b.pool);
    pv_free((void *)(uintptr_t)b.memory.data);
    pv_free(b.memory.sums);
    return 0;
}
