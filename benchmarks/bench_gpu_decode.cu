/* Whole decode steps on the GPU against the time that their bytes take at the read bandwidth measured in the same run.
 * Dimensions are true, weights random and made on the device, every sequence has pages of its own. */
#include "bench_gpu_common.cuh"
#include "bench_gpu_model.cuh"
#include "engine_cuda_device.cuh"
#include "engine_cuda_fast.cuh"

#include "engine_synthetic.h"
#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <cuda_profiler_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM = 6, STEPS = 24, ROUNDS = 5, BATCH_MAX = 1024 };

static const char usage[] =
    "usage: bench_gpu_decode [--slice] [--7b] [--upload] [--rows N] [--context N] [--direct] "
    "[--profile]\n"
    "\n"
    "Decode steps in a graph, sampling included; their bytes; the share of the byte roofline.\n"
    "  --slice      4 layers of DeepSeek-V3 (1 dense, 3 with 256 experts), FP8, with its head: N = "
    "128, context 2048\n"
    "  --7b         the 7B shape, BF16, whole: N = 1 and 32, context 1024   (default: both "
    "models)\n"
    "  --rows N     sequences of a step\n"
    "  --context N  tokens that each attends to\n"
    "  --direct     without graphs\n"
    "  --profile    one step, kernel by kernel, for a profiler that waits for "
    "cudaProfilerStart()\n";

/* ---- The models ---- */

static engine_config slice_config(uint32_t positions)
{
    engine_config c = {};
    c.arch = ENGINE_ARCH_DEEPSEEK;
    c.vocab_size = 129280;
    c.hidden_size = 7168;
    c.layers = 4;
    c.heads = c.kv_heads = 128;
    c.head_dim = 192;
    c.intermediate_size = 18432;
    c.max_positions = positions;
    c.norm_eps = 1e-6;
    c.rope.kind = ENGINE_ROPE_YARN;
    c.rope.theta = 10000;
    c.rope.factor = 40;
    c.rope.original_positions = 4096;
    c.rope.beta_fast = 32;
    c.rope.beta_slow = 1;
    c.rope.mscale = c.rope.mscale_all_dim = 1;
    c.rope.truncate = true;
    c.mla = {1536, 512, 128, 64, 128};
    c.moe.routed = 256;
    c.moe.shared = 1;
    c.moe.per_token = 8;
    c.moe.intermediate_size = 2048;
    c.moe.groups = 8;
    c.moe.groups_kept = 4;
    c.moe.first_dense = 1;
    c.moe.layer_freq = 1;
    c.moe.norm_topk = true;
    c.moe.scale = 2.5;
    c.moe.scoring = ENGINE_SCORING_SIGMOID;
    c.moe.topk = ENGINE_TOPK_NOAUX;
    c.quant.fp8 = true;
    c.quant.block_rows = c.quant.block_cols = 128;
    return c;
}

/* ---- The ceiling ---- */

/* Bytes a second over the weights. */
static double read_bandwidth(const engine_device *d)
{
    return bench_read_rate(d->stream, d->arenas.weights.base, d->arenas.weights.used,
                           d->model.processors);
}

/* ---- A batch ---- */

static __global__ void cache_kernel(uint32_t *to, size_t words)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
        uint32_t x = (uint32_t)i * 2654435761U;
        x ^= x >> 15;
        x *= 2246822519U;
        x ^= x >> 13;
        to[i] = (x & 0x807f807fU) | 0x3f003f00U; /* two bf16 numbers of size 0.5 .. 1 */
    }
}

struct decode {
    uint32_t rows;
    uint32_t tokens[BATCH_MAX];
    uint32_t logit_rows[BATCH_MAX];
    engine_batch_seq seqs[BATCH_MAX];
    engine_draw draws[BATCH_MAX];
    uint32_t *pages;
};

static void make_decode(decode *d, uint32_t rows, uint32_t context, uint32_t vocab)
{
    uint32_t each = (context + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
    memset(d, 0, sizeof *d);
    d->rows = rows;
    d->pages = (uint32_t *)pv_calloc((size_t)rows * each, sizeof *d->pages);
    if (d->pages == NULL) {
        fail("memory", "short");
    }
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t p = 0; p < each; p++) { /* the sequences' pages lie between one another */
            d->pages[i * each + p] = p * rows + i;
        }
        d->tokens[i] = (uint32_t)(pv_mix64(i + 1) % vocab);
        d->logit_rows[i] = i;
        d->seqs[i] = {d->pages + (size_t)i * each, each, context - 1, 1};
        d->draws[i] = {pv_mix64(i), context - 1, i, ENGINE_NO_TOKEN, 1.0F, 0, 0.95F, 0.0F};
    }
}

struct timing {
    double step_ms; /* on the GPU */
    double wall_ms; /* a step, as a caller sees it that stays ahead */
};

/* STEPS steps, submitted ahead; every other word of a token changes with the step. */
static timing run_steps(engine_device *dev, decode *d, bool sampled, uint32_t steps)
{
    const engine_backend *be = engine_backend_cuda();
    static engine_drawn drawn[BATCH_MAX];
    uint64_t tickets[STEPS + WARM];
    pv_error err = {};
    cudaEvent_t from;
    cudaEvent_t to;
    TRY(cudaEventCreate(&from));
    TRY(cudaEventCreate(&to));
    TRY(cudaStreamSynchronize(dev->stream));
    uint64_t began = pv_clock_ns();
    TRY(cudaEventRecord(from, dev->stream));
    uint32_t done = 0;
    for (uint32_t s = 0; s < steps; s++) {
        if (s - done == ENGINE_STEPS_AHEAD) {
            check(be->collect(dev, tickets[done++], drawn, &err), &err);
        }
        engine_batch batch = {d->tokens, d->rows, d->seqs, d->rows, d->logit_rows, d->rows};
        check(be->submit(dev, &batch, d->draws, sampled ? d->rows : 0, &tickets[s], &err), &err);
    }
    TRY(cudaEventRecord(to, dev->stream));
    while (done < steps) {
        check(be->collect(dev, tickets[done++], drawn, &err), &err);
    }
    TRY(cudaEventSynchronize(to));
    uint64_t ended = pv_clock_ns();
    float ms = 0;
    TRY(cudaEventElapsedTime(&ms, from, to));
    TRY(cudaEventDestroy(from));
    TRY(cudaEventDestroy(to));
    return {(double)ms / steps, (double)(ended - began) * 1e-6 / steps};
}

/* ---- Figures ---- */

struct bytes_read {
    double weights;
    double cache;
    double experts; /* touched, on average over the layers that have any */
};

static double weight_bytes(const cuda_weight *w)
{
    double tiles = (double)w->row_blocks * w->k_blocks;
    return tiles * CUDA_TILE_BYTES + (w->scale != NULL ? tiles * 4 : 0);
}

static bytes_read count_bytes(const engine_device *dev, uint32_t rows, uint32_t context)
{
    const cuda_fast *f = (const cuda_fast *)dev->state;
    const engine_config *c = dev->model.config;
    bytes_read b = {};
    double touched = cuda_fast_experts_touched(f);
    for (uint32_t l = 0; l < c->layers; l++) {
        const cuda_fast_layer *w = &f->layers[l];
        b.weights += weight_bytes(&w->first) + weight_bytes(&w->q) + weight_bytes(&w->o) +
                     weight_bytes(&w->gate_up) + weight_bytes(&w->down);
        if (w->kv_b.data != NULL) {
            b.weights += (double)w->kv_b.heads * cuda_mla_head_bytes(w->kv_b.type);
        }
        if (w->router != NULL) {
            b.weights += 2.0 * c->moe.routed * c->hidden_size;
            b.weights +=
                touched * (weight_bytes(&w->expert_gate_up) + weight_bytes(&w->expert_down));
            b.experts = touched;
        }
    }
    b.weights += weight_bytes(&f->head);
    b.cache = (double)rows * context * engine_config_kv_values(c) * 2 * c->layers;
    return b;
}

static void profile_step(engine_device *dev, uint32_t rows, uint32_t context)
{
    static decode d;
    make_decode(&d, rows, context, dev->model.config->vocab_size);
    (void)run_steps(dev, &d, true, 2);
    TRY(cudaProfilerStart());
    (void)run_steps(dev, &d, true, 1);
    TRY(cudaProfilerStop());
    pv_free(d.pages);
}

static void report(const char *name, engine_device *dev, uint32_t rows, uint32_t context,
                   double bandwidth)
{
    static decode d;
    make_decode(&d, rows, context, dev->model.config->vocab_size);
    (void)run_steps(dev, &d, true, WARM);
    timing best = {1e30, 1e30};
    timing bare = {1e30, 1e30};
    for (int i = 0; i < ROUNDS; i++) {
        timing t = run_steps(dev, &d, true, STEPS);
        best.step_ms = t.step_ms < best.step_ms ? t.step_ms : best.step_ms;
        best.wall_ms = t.wall_ms < best.wall_ms ? t.wall_ms : best.wall_ms;
        t = run_steps(dev, &d, false, STEPS);
        bare.step_ms = t.step_ms < bare.step_ms ? t.step_ms : bare.step_ms;
    }
    bytes_read b = count_bytes(dev, rows, context);
    double floor_ms = (b.weights + b.cache) / bandwidth * 1e3;
    printf("%s, B = %u, context %u: %.3f ms a step (%.3f without sampling, %.3f on the caller's "
           "clock), %.0f tok/s\n"
           "    %.3f GB of weights, %.3f GB of cache: %.3f ms at %.3f TB/s, share %.1f %% (%.1f %% "
           "without sampling)",
           name, rows, context, best.step_ms, bare.step_ms, best.wall_ms, rows / best.wall_ms * 1e3,
           b.weights / 1e9, b.cache / 1e9, floor_ms, bandwidth / 1e12,
           floor_ms / best.step_ms * 100, floor_ms / bare.step_ms * 100);
    if (b.experts > 0) {
        printf("; %.0f experts touched", b.experts);
    }
    printf("\n");
    pv_free(d.pages);
}

enum { CHUNK = 512, CHUNKS = 4 };

/* CHUNKS chunks one after the other: what a prompt of CHUNKS * CHUNK tokens takes. */
static void report_prefill(const char *name, engine_device *dev)
{
    const engine_backend *be = engine_backend_cuda();
    const engine_config *c = dev->model.config;
    static uint32_t tokens[CHUNK];
    static uint32_t pages[CHUNK * CHUNKS / ENGINE_PAGE_TOKENS];
    static float logits[1 << 18];
    for (uint32_t i = 0; i < CHUNK * CHUNKS / ENGINE_PAGE_TOKENS; i++) {
        pages[i] = i;
    }
    for (uint32_t i = 0; i < CHUNK; i++) {
        tokens[i] = (uint32_t)(pv_mix64(i) % c->vocab_size);
    }
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t began = pv_clock_ns();
        for (uint32_t i = 0; i < CHUNKS; i++) {
            uint32_t last = CHUNK - 1;
            engine_batch_seq seq = {pages, CHUNK * CHUNKS / ENGINE_PAGE_TOKENS, i * CHUNK, CHUNK};
            engine_batch batch = {tokens, CHUNK, &seq, 1, &last, i + 1 == CHUNKS};
            pv_error err = {};
            check(be->forward(dev, &batch, logits, &err), &err);
        }
        double ms = (double)(pv_clock_ns() - began) * 1e-6;
        best = ms < best ? ms : best;
    }
    printf("%s, prompt of %d tokens in chunks of %d: %.2f ms, %.0f tok/s\n", name, CHUNK * CHUNKS,
           CHUNK, best, CHUNK * CHUNKS / best * 1e3);
}

struct arguments {
    bool slice, seven, upload, prefill, direct, profile;
    uint32_t rows, context;
};

static engine_device *open_model(const engine_config *config, engine_dtype dtype, uint32_t rows,
                                 uint32_t context, const arguments *a, engine_synthetic **model)
{
    engine_device *dev = NULL;
    pv_error err = {};
    uint64_t seed = 1;
    check(engine_synthetic_shapes(model, config, dtype, &err), &err);
    engine_backend_options o = {};
    o.kv_pages = rows * ((context + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS);
    o.max_rows = a->prefill ? (uint32_t)CHUNK : rows;
    o.max_logit_rows = rows;
    if (a->prefill) {
        o.kv_pages = CHUNK * CHUNKS / ENGINE_PAGE_TOKENS;
    }
    check(cuda_device_open(&dev, engine_synthetic_weights(*model), &o, &seed, &err), &err);
    dev->direct = a->direct;
    cache_kernel<<<1024, 256, 0, dev->stream>>>((uint32_t *)dev->arenas.kv.base,
                                                dev->arenas.kv.used / 4);
    TRY(cudaGetLastError());
    return dev;
}

static void run_model(const char *name, const engine_config *config, engine_dtype dtype,
                      const uint32_t *rows, uint32_t count, uint32_t context, const arguments *a)
{
    engine_synthetic *model = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        most = rows[i] > most ? rows[i] : most;
    }
    engine_device *dev = open_model(config, dtype, most, context, a, &model);
    if (dev->runner != &cuda_runner_fast) {
        fail(name, "the fast kernels do not take it here");
    }
    if (a->prefill) {
        report_prefill(name, dev);
        count = 0;
    }
    double bandwidth = a->profile || a->prefill ? 0 : read_bandwidth(dev);
    for (uint32_t i = 0; i < count; i++) {
        if (a->profile) {
            profile_step(dev, rows[i], context);
            continue;
        }
        report(name, dev, rows[i], context, bandwidth);
    }
    engine_backend_cuda()->close(dev);
    engine_synthetic_close(model);
}

/* ---- Uploading ---- */

enum { UPLOAD_ROWS = 32768, UPLOAD_COLS = 16384, UPLOADS = 4, PINNED_BYTES = 256 << 20 };

static double pinned_bandwidth(uint8_t *to)
{
    void *from = NULL;
    TRY(cudaMallocHost(&from, PINNED_BYTES));
    memset(from, 1, PINNED_BYTES);
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t began = pv_clock_ns();
        TRY(cudaMemcpy(to, from, PINNED_BYTES, cudaMemcpyHostToDevice));
        double rate = (double)PINNED_BYTES / (double)(pv_clock_ns() - began);
        best = rate > best ? rate : best;
    }
    TRY(cudaFreeHost(from));
    return best; /* GB/s */
}

static void run_upload(void)
{
    size_t bytes = (size_t)UPLOAD_ROWS * UPLOAD_COLS * 2;
    uint8_t *host = (uint8_t *)malloc(bytes * UPLOADS);
    uint8_t *tiles = NULL;
    if (host == NULL) {
        fail("memory", "short");
    }
    memset(host, 1, bytes * UPLOADS);
    TRY(cudaMalloc(&tiles, bytes));
    double ceiling = pinned_bandwidth(tiles);
    cuda_weight w = {
        tiles, NULL, CUDA_BF16, UPLOAD_ROWS, UPLOAD_COLS, UPLOAD_ROWS / 128, UPLOAD_COLS / 64, 1};
    cuda_upload *upload = NULL;
    pv_error err = {};
    check(cuda_upload_open(&upload, NULL, 1, &err), &err);
    for (int i = 0; i < UPLOADS; i++) {
        engine_view view = {};
        view.data = host + (size_t)i * bytes;
        view.dtype = ENGINE_DTYPE_BF16;
        view.rows = UPLOAD_ROWS;
        view.cols = UPLOAD_COLS;
        check(cuda_upload_tiles(upload, &w, 0, 1, &view, &err), &err);
    }
    uint64_t began = pv_clock_ns();
    check(cuda_upload_run(upload, &err), &err);
    double rate = (double)bytes * UPLOADS / (double)(pv_clock_ns() - began);
    printf("uploading %.1f GB to tiles: %.1f GB/s; copies of page-locked memory: %.1f GB/s; share "
           "%.0f %%\n",
           (double)bytes * UPLOADS / 1e9, rate, ceiling, rate / ceiling * 100);
    cuda_upload_close(upload);
    TRY(cudaFree(tiles));
    free(host);
}

static void show(void *user, pv_log_level level, const char *line)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static arguments parse(int argc, char **argv)
{
    arguments a = {};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--slice") == 0) {
            a.slice = true;
        } else if (strcmp(argv[i], "--7b") == 0) {
            a.seven = true;
        } else if (strcmp(argv[i], "--prefill") == 0) {
            a.prefill = true;
        } else if (strcmp(argv[i], "--upload") == 0) {
            a.upload = true;
        } else if (strcmp(argv[i], "--direct") == 0) {
            a.direct = true;
        } else if (strcmp(argv[i], "--profile") == 0) {
            a.direct = a.profile = true;
        } else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc) {
            a.rows = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--context") == 0 && i + 1 < argc) {
            a.context = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else {
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (a.rows > BATCH_MAX) {
        fail("--rows", "at most 1024");
    }
    if (!a.slice && !a.seven && !a.upload) {
        a.slice = a.seven = true;
        a.upload = !a.prefill;
    }
    return a;
}

int main(int argc, char **argv)
{
    arguments a = parse(argc, argv);
    pv_log_set(show, NULL, PV_LOG_INFO);
    if (a.upload) {
        run_upload();
    }
    if (a.seven) {
        static const uint32_t two[] = {1, 32};
        uint32_t context = a.context != 0 ? a.context : a.prefill ? CHUNK * CHUNKS : 1024;
        engine_config c = config_7b(context);
        run_model("7B, BF16, whole", &c, ENGINE_DTYPE_BF16, a.rows != 0 ? &a.rows : two,
                  a.rows != 0 ? 1 : 2, context, &a);
    }
    if (a.slice) {
        static const uint32_t one[] = {128};
        uint32_t context = a.context != 0 ? a.context : 2048;
        engine_config c = slice_config(context);
        run_model("671B, FP8, 4 layers and head", &c, ENGINE_DTYPE_F8_E4M3,
                  a.rows != 0 ? &a.rows : one, 1, context, &a);
    }
    return 0;
}
