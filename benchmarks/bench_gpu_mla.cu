/* bench_gpu_mla: latent attention with 128 heads: time, TFLOPS, bytes, against ceilings of the same run (bf16 products,
 * reads) and FlashMLA's times on an H200 (engine.md 4.1b).
 *
 * call: events around one call, the launch included, as those were taken. chained: a graph of calls one after the other,
 * the way the engine runs. Calls rotate over page tables, so that L2 does not hold what they read. Medians. */
#include "engine_cuda_mla.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_wgmma.cuh"

#include <algorithm>
#include <random>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        cudaError_t status_ = (call);                                                              \
        if (status_ != cudaSuccess) {                                                              \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status_));     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static cudaStream_t g_stream;
static uint32_t g_blocks;

template <class F> static double median_us(int repeats, int per, F &&f)
{
    cudaEvent_t begin, end;
    TRY(cudaEventCreate(&begin));
    TRY(cudaEventCreate(&end));
    std::vector<double> us;
    for (int i = 0; i < repeats + 2; i++) {
        TRY(cudaEventRecord(begin, g_stream));
        f(i);
        TRY(cudaEventRecord(end, g_stream));
        TRY(cudaEventSynchronize(end));
        float ms;
        TRY(cudaEventElapsedTime(&ms, begin, end));
        if (i >= 2) {
            us.push_back(ms * 1e3 / per);
        }
    }
    TRY(cudaEventDestroy(begin));
    TRY(cudaEventDestroy(end));
    std::sort(us.begin(), us.end());
    return us[us.size() / 2];
}

__device__ __forceinline__ uint32_t hash(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9E3779B97F4A7C15ull;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9ull;
    return (uint32_t)(x >> 32);
}

/* Random bf16 numbers of about normal distribution. */
__global__ void fill(uint32_t *to, size_t words, uint64_t seed)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < words;
         i += (size_t)gridDim.x * blockDim.x) {
        float x[2];
        for (int j = 0; j < 2; j++) {
            uint32_t h = hash((i * 2 + j) ^ seed << 40);
            x[j] =
                (float)((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24)) / 147.0F - 3.469F;
        }
        __nv_bfloat162 pair = __floats2bfloat162_rn(x[0], x[1]);
        to[i] = *(uint32_t *)&pair;
    }
}

__global__ void read_all(const uint4 *from, size_t count, uint32_t *out)
{
    uint32_t sum = 0;
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i + 3 * step < count;
         i += 4 * step) {
        for (int j = 0; j < 4; j++) {
            uint4 x = __ldcs(from + i + j * step);
            sum += x.x ^ x.y ^ x.z ^ x.w;
        }
    }
    if (sum == 12345) {
        *out = sum;
    }
}

/* 64 x 256 x 16 products from shared memory, two warpgroups: 2048 of them each. */
__global__ void __launch_bounds__(256, 1) product_peak(const uint4 *from, float *out)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    for (uint32_t i = threadIdx.x; i < 49152 / 16; i += 256) {
        ((uint4 *)shared)[i] = from[i];
    }
    cuda_proxy_fence();
    __syncthreads();
    float d[128] = {};
    uint64_t a = cuda_wgmma_operand(cuda_smem(shared) + threadIdx.x / 128 * 8192);
    uint64_t b = cuda_wgmma_operand(cuda_smem(shared) + 16384);
    for (int i = 0; i < 512; i++) {
        cuda_wgmma_fence();
        for (int step = 0; step < 4; step++) {
            cuda_wgmma<256>::bf16(d, a + 2 * step, b + 2 * step, true);
        }
        cuda_wgmma_commit();
        cuda_wgmma_wait<0>();
    }
    cuda_wgmma_hold(d);
    float sum = 0;
    for (int i = 0; i < 128; i++) {
        sum += d[i];
    }
    if (sum == 12345) {
        *out = sum;
    }
}

enum { POOL_PAGES = 128 * 128 + 64, HEADS = 128, VARIANTS = 16, CHAIN = 16 };

static struct {
    uint8_t *cache;
    uint8_t *queries;
    __nv_bfloat16 *out;
    void *scratch;
    double tflops; /* ceilings */
    double gbs;
} g;

static void print_ceilings(void)
{
    TRY(cudaFuncSetAttribute(product_peak, cudaFuncAttributeMaxDynamicSharedMemorySize, 65536));
    double us = median_us(7, 1, [&](int) {
        product_peak<<<g_blocks, 256, 65536, g_stream>>>((const uint4 *)g.cache, (float *)g.out);
    });
    g.tflops = g_blocks * 2.0 * 2048 * 2 * 64 * 256 * 16 / us / 1e6;
    size_t bytes = (size_t)POOL_PAGES * CUDA_MLA_PAGE_BYTES;
    us = median_us(7, 1, [&](int) {
        read_all<<<g_blocks * 8, 512, 0, g_stream>>>((const uint4 *)g.cache, bytes / 16,
                                                     (uint32_t *)g.out);
    });
    g.gbs = bytes / us / 1e3;
    TRY(cudaGetLastError());
    printf("ceilings: bf16 products %.0f TFLOPS, reads %.0f GB/s\n", g.tflops, g.gbs);
}

static void bench_attend(uint32_t batch, uint32_t heads, uint32_t length, double anchor_us,
                         uint32_t piece)
{
    uint32_t each = (length + 63) / 64;
    uint32_t variants = std::min<uint32_t>(VARIANTS, POOL_PAGES / (each * batch));
    std::vector<uint32_t> order(POOL_PAGES);
    for (uint32_t i = 0; i < POOL_PAGES; i++) {
        order[i] = i;
    }
    std::mt19937 random(1);
    std::shuffle(order.begin(), order.end(), random);
    uint32_t *pages;
    TRY(cudaMalloc(&pages, POOL_PAGES * 4));
    TRY(cudaMemcpy(pages, order.data(), POOL_PAGES * 4, cudaMemcpyHostToDevice));
    std::vector<uint32_t> lengths(batch, length), sequence(batch);
    for (uint32_t i = 0; i < batch; i++) {
        sequence[i] = i;
    }
    std::vector<uint8_t> plan(cuda_mla_plan_bytes(batch, heads));
    uint32_t slots = piece == 0 ? cuda_mla_plan(plan.data(), sequence.data(), lengths.data(), batch,
                                                heads, g_blocks)
                                : cuda_mla_plan_pieces(plan.data(), sequence.data(), lengths.data(),
                                                       batch, heads, g_blocks, piece);
    void *d_plan;
    TRY(cudaMalloc(&d_plan, plan.size()));
    TRY(cudaMemcpy(d_plan, plan.data(), plan.size(), cudaMemcpyHostToDevice));
    cuda_mla_attend a = {};
    a.queries = g.queries;
    a.cache = g.cache;
    a.page_stride = each;
    a.heads = heads;
    a.blocks = g_blocks;
    a.scale = 0.1352337788608801F;
    a.plan = d_plan;
    a.scratch = g.scratch;
    a.out = g.out;
    auto one = [&](int i) {
        cuda_mla_attend b = a;
        b.pages = pages + (size_t)((uint32_t)i % variants) * batch * each;
        TRY(cuda_mla_attend_run(&b, g_stream));
    };
    double call = median_us(15, 1, one);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    TRY(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < CHAIN; i++) {
        one(i);
    }
    TRY(cudaStreamEndCapture(g_stream, &graph));
    TRY(cudaGraphInstantiate(&exec, graph, 0));
    double chained = median_us(7, CHAIN, [&](int) { TRY(cudaGraphLaunch(exec, g_stream)); });
    TRY(cudaGraphExecDestroy(exec));
    TRY(cudaGraphDestroy(graph));
    double flops = 2.0 * batch * heads * length * (576 + 512);
    double bytes = (double)batch * length * 1152 + batch * heads * (1152.0 + 1024.0);
    double floor_us = std::max(flops / g.tflops / 1e6, bytes / g.gbs / 1e3);
    printf("B %3u heads %3u length %6u slots %3u: call %7.1f us, chained %7.1f us, %4.0f TFLOPS "
           "(%.2f of ceiling), %5.0f GB/s (%.2f), floor %6.1f us (%.2f)",
           batch, heads, length, slots, call, chained, flops / chained / 1e6,
           flops / chained / 1e6 / g.tflops, bytes / chained / 1e3, bytes / chained / 1e3 / g.gbs,
           floor_us, floor_us / chained);
    if (anchor_us > 0) {
        printf(", FlashMLA on H200 %.0f us: x%.2f", anchor_us, anchor_us / call);
    }
    printf("\n");
    fflush(stdout);
    TRY(cudaFree(d_plan));
    TRY(cudaFree(pages));
}

/* The products around attention: weights of several layers in turn, so that they come from memory. */
static void bench_heads(uint32_t rows)
{
    enum { LAYERS = 8 };

    size_t weights = HEADS * cuda_mla_head_bytes(CUDA_E4M3);
    uint8_t *data = g.cache; /* any bits: time does not depend on them */
    float2 *rotation = (float2 *)(g.cache + LAYERS * weights);
    const float *scale = (const float *)rotation;
    cuda_rows out = {g.queries + cuda_mla_query_offset(1024, 0, HEADS, 0),
                     (float *)g.scratch,
                     CUDA_E4M3,
                     1024,
                     HEADS * 128,
                     HEADS};
    for (int which = 0; which < 2; which++) {
        auto one = [&](int i) {
            cuda_mla_weight w = {data + (size_t)(i % LAYERS) * weights, scale, CUDA_E4M3, HEADS};
            cuda_mla_absorb a = {w, rows, (const __nv_bfloat16 *)g.out, rotation, g.queries};
            cuda_mla_up u = {w, rows, g.out, out};
            TRY(which == 0 ? cuda_mla_absorb_run(&a, g_stream) : cuda_mla_up_run(&u, g_stream));
        };
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        TRY(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal));
        for (int i = 0; i < 2 * LAYERS; i++) {
            one(i);
        }
        TRY(cudaStreamEndCapture(g_stream, &graph));
        TRY(cudaGraphInstantiate(&exec, graph, 0));
        double us = median_us(9, 2 * LAYERS, [&](int) { TRY(cudaGraphLaunch(exec, g_stream)); });
        TRY(cudaGraphExecDestroy(exec));
        TRY(cudaGraphDestroy(graph));
        double flops = 2.0 * rows * HEADS * 128 * 512;
        double bytes = weights / 2.0 +
                       (double)rows * HEADS * (which == 0 ? (192 + 576) * 2 : 512 * 2 + 128 + 4);
        double floor_us = std::max(flops / g.tflops / 1e6, bytes / g.gbs / 1e3);
        printf("%-6s rows %4u: chained %6.1f us, %4.0f TFLOPS, %5.0f GB/s (%.2f of ceiling), "
               "floor %5.1f us (%.2f)\n",
               which == 0 ? "absorb" : "up", rows, us, flops / us / 1e6, bytes / us / 1e3,
               bytes / us / 1e3 / g.gbs, floor_us, floor_us / us);
    }
    fflush(stdout);
}

int main(int argc, char **)
{
    cudaDeviceProp device;
    TRY(cudaGetDeviceProperties(&device, 0));
    TRY(cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking));
    g_blocks = (uint32_t)device.multiProcessorCount;
    printf("%s, %u multiprocessors\n", device.name, g_blocks);
    size_t pool = (size_t)POOL_PAGES * CUDA_MLA_PAGE_BYTES;
    size_t queries = 2 * cuda_mla_query_offset(1024, 0, HEADS, 0);
    TRY(cudaMalloc(&g.cache, pool));
    TRY(cudaMalloc(&g.queries, queries));
    TRY(cudaMalloc(&g.out, (size_t)1024 * HEADS * CUDA_MLA_LATENT * 2));
    TRY(cudaMalloc(&g.scratch, cuda_mla_scratch_bytes(g_blocks)));
    fill<<<1024, 256, 0, g_stream>>>((uint32_t *)g.cache, pool / 4, 1);
    fill<<<1024, 256, 0, g_stream>>>((uint32_t *)g.queries, queries / 4, 2);
    TRY(cudaGetLastError());
    TRY(cuda_mla_prepare());
    print_ceilings();
    bench_attend(1, HEADS, 4096, 51, 0);
    bench_attend(8, HEADS, 4096, 61, 0);
    bench_attend(32, HEADS, 4096, 99, 0);
    bench_attend(64, HEADS, 4096, 0, 0);
    bench_attend(128, HEADS, 4096, 255, 0);
    bench_attend(128, HEADS, 1024, 96, 0);
    bench_attend(128, HEADS, 8192, 484, 0);
    bench_attend(1, HEADS, 32768, 0, 0);
    bench_attend(32, 16, 4096, 0, 0);
    for (uint32_t rows : {1u, 8u, 32u, 128u, 1024u}) {
        bench_heads(rows);
    }
    if (argc > 1) { /* plans side by side */
        for (uint32_t piece = 1; piece <= 8; piece *= 2) {
            bench_attend(32, HEADS, 4096, 99, piece);
        }
        for (uint32_t piece = 2; piece <= 8; piece *= 2) {
            bench_attend(100, HEADS, 4096, 0, piece);
        }
        bench_attend(128, HEADS, 512, 0, 0);
    }
    return 0;
}
