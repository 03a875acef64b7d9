/* bench_gpu_pointwise: what is done to rows between the products, at the shapes of DeepSeek-Prover-V2 671B.
 *
 *     bench_gpu_pointwise            prints one line a case; needs a Hopper GPU
 *
 * A graph of many chained launches is timed, its median over replays taken: what a launch adds to a step. Inputs rotate
 * over more memory than L2 holds (weights of the router, residual streams, logits); what a step has just written may be
 * in L2, as it is in a step. "ceiling": the bytes that a launch must move, at the rate of a kernel that only reads,
 * measured in the same run. At few rows the ceiling is no goal: a chained launch that does nothing is printed first. */
#include "bench_gpu_common.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_pointwise.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_router.cuh"
#include "engine_cuda_sampler.cuh"

#include <algorithm>
#include <functional>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

enum {
    COLS = 7168,
    EXPERTS = 256,
    ROWS = 1024,
    SETS = 8,
    WEIGHTS = 32,
    VOCAB = 129280,
    DRAWS = 128
};

static cudaStream_t stream;
static double read_rate; /* bytes a second */

__global__ void narrow_kernel(uint16_t *p, const float *from, size_t n, float size)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        p[i] = (uint16_t)(__float_as_uint(from[i % 1000003] * size) >> 16);
    }
}

__global__ void nothing(uint32_t *p)
{
    cuda_chain_wait();
    cuda_chain_release();
    if (threadIdx.x > 10000) {
        *p = 0;
    }
}

static float *take_normals(size_t n, uint32_t seed)
{
    return bench_floats(n, true, 1, seed);
}

/* Seconds of a launch: call(i) enqueues the i-th. */
static double measure(const std::function<cudaError_t(uint32_t)> &call, uint32_t launches = 64)
{
    return bench_graph_seconds(stream, 15,
                               [&] {
                                   for (uint32_t i = 0; i < launches; i++) {
                                       TRY(call(i));
                                   }
                               }) /
           launches;
}

static void line(const char *what, uint32_t rows, double seconds, double bytes)
{
    double ceiling = bytes / read_rate;
    printf("%-44s rows %5u  %8.2f us   %8.2f us at the rate of reading (%4.0f %%)\n", what, rows,
           seconds * 1e6, ceiling * 1e6, 100 * ceiling / seconds);
    fflush(stdout);
}

static void measure_rate(const float *big, size_t bytes, uint32_t processors)
{
    uint32_t *out = bench_take<uint32_t>(1);
    read_rate = bench_read_rate(stream, big, bytes, processors);
    printf("reading: %.0f GB/s\n", read_rate * 1e-9);
    double s = measure([&](uint32_t) {
        cuda_shape shape = {dim3(1), dim3(32), 0};
        return cuda_launch(nothing, shape, stream, out);
    });
    printf("a chained launch that does nothing: %.2f us\n", s * 1e6);
}

static cuda_rows take_rows(uint32_t capacity, uint32_t cols)
{
    cuda_rows m = {};
    m.type = CUDA_E4M3;
    m.capacity = capacity;
    m.cols = cols;
    m.k_blocks = cols / 128;
    m.data = bench_take<uint8_t>((size_t)capacity * cols);
    m.scale = bench_take<float>((size_t)m.k_blocks * capacity);
    return m;
}

static void bench_rows(float *const *h, const float *w)
{
    const uint32_t counts[] = {1, 4, 16, 64, 128, 256, ROWS};
    cuda_rows x = take_rows(ROWS, COLS);
    cuda_rows q = take_rows(ROWS, 1536);
    float *factor = bench_take<float>(ROWS);
    std::vector<uint32_t> page(ROWS), slot(ROWS);
    for (uint32_t i = 0; i < ROWS; i++) {
        page[i] = i;
        slot[i] = i % 64;
    }
    uint32_t *dpage = bench_take<uint32_t>(ROWS), *dslot = bench_take<uint32_t>(ROWS);
    TRY(cudaMemcpy(dpage, page.data(), ROWS * 4, cudaMemcpyHostToDevice));
    TRY(cudaMemcpy(dslot, slot.data(), ROWS * 4, cudaMemcpyHostToDevice));
    uint8_t *cache = bench_take<uint8_t>((size_t)ROWS * 73728);
    float2 *rotation = (float2 *)take_normals((size_t)ROWS * 64, 5);
    uint16_t *table = bench_take<uint16_t>((size_t)4096 * COLS);
    for (uint32_t rows : counts) {
        cuda_embed embed = {};
        embed.table = table;
        embed.type = CUDA_NUMBER_BF16;
        embed.cols = COLS;
        embed.rows = rows;
        embed.token = dpage;
        line("embed", rows, measure([&](uint32_t i) {
                 embed.h = h[i % SETS];
                 return cuda_embed_run(&embed, stream);
             }),
             rows * COLS * 6.0);
        cuda_norm norm = {};
        norm.ld = COLS;
        norm.rows = rows;
        norm.cols = COLS;
        norm.weight = w;
        norm.eps = 1e-6f;
        norm.out = x;
        norm.factor = factor;
        line("norm 7168 -> e4m3", rows, measure([&](uint32_t i) {
                 norm.x = h[i % SETS];
                 return cuda_norm_run(&norm, stream);
             }),
             rows * COLS * 5.0);
        cuda_latents latents = {};
        latents.ld = 2112;
        latents.rows = rows;
        latents.eps = 1e-6f;
        latents.q_cols = 1536;
        latents.q_weight = w;
        latents.q = q;
        latents.kv_column = 1536;
        latents.kv_weight = w;
        latents.rotation = rotation;
        latents.page = dpage;
        latents.slot = dslot;
        latents.cache = cache;
        line("latents (1536, 512 + 64)", rows, measure([&](uint32_t i) {
                 latents.x = h[i % SETS];
                 return cuda_latents_run(&latents, stream);
             }),
             rows * (2112 * 4.0 + 1536 + 1152));
        cuda_silu silu = {};
        silu.ld = 4096;
        silu.rows = rows;
        silu.out = take_rows(ROWS, 2048);
        line("silu 2048 -> e4m3", rows, measure([&](uint32_t i) {
                 silu.x = h[i % SETS];
                 return cuda_silu_run(&silu, stream);
             }),
             rows * 2048 * 9.0);
        TRY(cudaFree(silu.out.data));
        TRY(cudaFree(silu.out.scale));
    }
}

static void bench_experts(float *const *h, const float *w, const float *normals)
{
    const uint32_t counts[] = {1, 4, 8, 16, 32, 64, 128, 256, 512, ROWS};
    cuda_routing_shape shape = {};
    shape.moe.routed = EXPERTS;
    shape.moe.per_token = 8;
    shape.moe.groups = 8;
    shape.moe.groups_kept = 4;
    shape.moe.norm_topk = true;
    shape.moe.scale = 2.5;
    shape.moe.scoring = ENGINE_SCORING_SIGMOID;
    shape.moe.topk = ENGINE_TOPK_NOAUX;
    shape.cols = COLS;
    shape.rows_max = ROWS;
    shape.shared = true;
    uint32_t capacity = (cuda_routing_capacity(&shape, ROWS) + 127) / 128 * 128;
    uint16_t *weights[WEIGHTS];
    for (uint16_t *&p : weights) {
        p = bench_take<uint16_t>((size_t)EXPERTS * COLS);
        narrow_kernel<<<1056, 256>>>(p, normals, (size_t)EXPERTS * COLS, 0.03f);
    }
    cuda_router router = {};
    router.shape = shape;
    router.out = cuda_routing_at(&shape, bench_take<uint8_t>(cuda_routing_bytes(&shape)));
    router.bias = bench_take<float>(EXPERTS);
    router.factor = w; /* of any size */
    router.norm = w;
    cuda_gather gather = {};
    gather.shape = shape;
    gather.routing = router.out;
    gather.x = take_rows(ROWS, COLS);
    gather.out = take_rows(capacity, COLS);
    float *out = bench_take<float>((size_t)capacity * COLS);
    TRY(cuda_router_prepare());
    for (uint32_t rows : counts) {
        router.rows = rows;
        gather.rows = rows;
        double w_bytes = (double)EXPERTS * COLS * 2;
        double x_bytes = (double)rows * COLS * 4;
        auto with = [&](uint32_t i) {
            router.w = weights[i % WEIGHTS];
            router.h = h[i % SETS];
        };
        for (int wide = 0; wide < 2; wide++) {
            line(wide ? "router logits, wide" : "router logits, narrow", rows,
                 measure([&](uint32_t i) {
                     with(i);
                     return cuda_router_logits(&router, wide != 0, stream);
                 }),
                 w_bytes + x_bytes);
        }
        for (int fused = 0; fused < (rows <= 4 ? 2 : 1); fused++) {
            line(fused ? "router choice and places, fused" : "router choice and places", rows,
                 measure([&](uint32_t) { return cuda_router_choose(&router, fused != 0, stream); }),
                 rows * (EXPERTS * 32.0));
        }
        line("router, all of it", rows, measure([&](uint32_t i) {
                 with(i);
                 return cuda_router_run(&router, stream);
             }),
             w_bytes + x_bytes);
        line("gather (8 + 1 experts, e4m3)", rows,
             measure([&](uint32_t) { return cuda_gather_run(&gather, stream); }),
             rows * COLS * 10.0);
        cuda_mix mix = {};
        mix.out = out;
        mix.cols = COLS;
        mix.rows = rows;
        mix.per_token = 8;
        mix.shared = true;
        mix.weights = router.out.weights;
        mix.place = router.out.place;
        cuda_norm norm = {};
        norm.ld = COLS;
        norm.rows = rows;
        norm.cols = COLS;
        norm.weight = w;
        norm.eps = 1e-6f;
        norm.out = gather.x;
        for (int bf16 = 0; bf16 < 2; bf16++) {
            mix.out_bf16 = bf16 != 0;
            double bytes = rows * COLS * (bf16 ? 9 * 2 + 8.0 : 9 * 4 + 8.0);
            line(bf16 ? "mix, bf16" : "mix, float32", rows, measure([&](uint32_t i) {
                     mix.h = h[i % SETS];
                     return cuda_mix_run(&mix, stream);
                 }),
                 bytes);
            line(bf16 ? "mix and norm, bf16" : "mix and norm, float32", rows,
                 measure([&](uint32_t i) {
                     mix.h = h[i % SETS];
                     norm.x = mix.h;
                     return cuda_mix_norm_run(&mix, &norm, stream);
                 }),
                 bytes + rows * COLS);
        }
    }
}

static void bench_sampler(const float *normals)
{
    struct kind {
        const char *name;
        float temperature;
        uint32_t top_k;
        float top_p;
        float min_p;
        float size;
    };

    const kind kinds[] = {{"sampler: greedy", 0, 0, 0, 0, 2},
                          {"sampler: temperature 1", 1, 0, 0, 0, 2},
                          {"sampler: temperature 0.7, min-p 0.05", 0.7f, 0, 0, 0.05f, 2},
                          {"sampler: top-p 0.95", 0.7f, 0, 0.95f, 0, 2},
                          {"sampler: top-k 40", 0.7f, 40, 0, 0, 2},
                          {"sampler: top-k 40, top-p 0.95", 0.7f, 40, 0.95f, 0, 2}};
    const uint32_t counts[] = {1, 16, DRAWS};
    engine_draw *draws = bench_take<engine_draw>(DRAWS);
    engine_drawn *drawn = bench_take<engine_drawn>(DRAWS);
    void *scratch = bench_take<uint8_t>(cuda_sampler_bytes(VOCAB, DRAWS, DRAWS));
    for (uint32_t rows : counts) {
        for (const kind &k : kinds) {
            std::vector<engine_draw> d(rows);
            for (uint32_t i = 0; i < rows; i++) {
                d[i] = {};
                d[i].key = i;
                d[i].logit = i;
                d[i].token = ENGINE_NO_TOKEN;
                d[i].temperature = k.temperature;
                d[i].top_k = k.top_k;
                d[i].top_p = k.top_p;
                d[i].min_p = k.min_p;
            }
            TRY(cudaMemcpy(draws, d.data(), rows * sizeof *draws, cudaMemcpyHostToDevice));
            cuda_sampler op = {};
            op.vocab = VOCAB;
            op.rows = rows;
            op.draws = draws;
            op.draw_count = rows;
            op.cuts = cuda_sampler_cuts(d.data(), rows);
            op.drawn = drawn;
            op.scratch = scratch;
            line(k.name, rows,
                 measure(
                     [&](uint32_t i) {
                         op.logits = normals + (size_t)(i % 4) * DRAWS * VOCAB;
                         return cuda_sampler_run(&op, stream);
                     },
                     16),
                 rows * (double)VOCAB * 4);
        }
    }
}

int main(void)
{
    TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    cudaDeviceProp device;
    TRY(cudaGetDeviceProperties(&device, 0));
    printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);
    const size_t big = (size_t)16 * DRAWS * VOCAB; /* 1 GB */
    float *normals = take_normals(big, 1);
    float *w = take_normals(32768, 2);
    float *h[SETS];
    for (uint32_t i = 0; i < SETS; i++) {
        h[i] = take_normals((size_t)ROWS * COLS, 3 + i);
    }
    TRY(cudaDeviceSynchronize());
    measure_rate(normals, big * sizeof(float), (uint32_t)device.multiProcessorCount);
    bench_rows(h, w);
    bench_experts(h, w, normals);
    bench_sampler(normals);
    return 0;
}
