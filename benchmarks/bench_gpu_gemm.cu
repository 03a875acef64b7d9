/* bench_gpu_gemm: the rate of the wide product (many rows) and the tensor cores' own peak in the same run.
 *
 * usage: bench_gpu_gemm [fp8|bf16|grouped|all]
 *
 * Inputs are about normal (the chip's clock depends on the bits that toggle) and rotate over three sets. A figure is the
 * median of 9 runs of 6 products each, timed with events. The peak is a loop of wgmma over operands that stay in
 * shared memory, on every multiprocessor, for about as long. What a library reaches: benchmarks/bench_gpu_gemm.py. */
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_wgmma.cuh"

#include <algorithm>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

enum { SETS = 3, PRODUCTS = 6, RUNS = 9 };

static void check(cudaError_t status, const char *what)
{
    if (status != cudaSuccess) {
        fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
        exit(1);
    }
}

/* ---- Inputs ---- */

__device__ static float hash_unit(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (float)((uint32_t)(z >> 40)) / 16777216.0f;
}

__device__ static float hash_normal(uint64_t i)
{
    uint64_t z = i * 0x9E3779B97F4A7C15ull;
    return (hash_unit(z) + hash_unit(z + 1) + hash_unit(z + 2) + hash_unit(z + 3) - 2.0f) * 1.7f;
}

__global__ static void fill_numbers(uint8_t *data, size_t bytes, cuda_type type, uint64_t seed)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < bytes / 2; i += step) {
        uint64_t at = seed + i * 2;
        if (type == CUDA_E4M3) {
            uint16_t pair;
            asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
                : "=h"(pair)
                : "f"(hash_normal(at) * 100.0f), "f"(hash_normal(at + 1) * 100.0f));
            ((uint16_t *)data)[i] = pair;
        } else {
            ((uint16_t *)data)[i] = (uint16_t)(__float_as_uint(hash_normal(at) * 0.125f) >> 16);
        }
    }
}

__global__ static void fill_scales(float *scale, size_t count, uint64_t seed)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        scale[i] = 0.002f * (0.5f + hash_unit((seed + i) * 0x9E3779B97F4A7C15ull));
    }
}

static void *allocate(size_t bytes)
{
    void *p;
    check(cudaMalloc(&p, bytes), "cudaMalloc");
    return p;
}

static uint8_t *numbers(size_t bytes, cuda_type type, uint64_t seed)
{
    uint8_t *p = (uint8_t *)allocate(bytes);
    fill_numbers<<<1024, 256>>>(p, bytes, type, seed << 40);
    return p;
}

static float *scales(size_t count, uint64_t seed)
{
    float *p = (float *)allocate(count * sizeof(float));
    fill_scales<<<256, 256>>>(p, count, seed << 40);
    return p;
}

/* ---- The peak ---- */

template <cuda_type TYPE>
__global__ void __launch_bounds__(256, 1) peak_kernel(int rounds, float *out)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    for (uint32_t i = threadIdx.x; i < 49152 / 2; i += 256) {
        float a = hash_normal(i * 2 + 7), b = hash_normal(i * 2 + 8);
        if (TYPE == CUDA_E4M3) {
            uint16_t pair;
            asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
                : "=h"(pair)
                : "f"(a * 100.0f), "f"(b * 100.0f));
            ((uint16_t *)shared)[i] = pair;
        } else {
            ((uint16_t *)shared)[i] = (uint16_t)(__float_as_uint(a) >> 16);
        }
    }
    cuda_proxy_fence();
    __syncthreads();
    uint64_t a = cuda_wgmma_operand(cuda_smem(shared) + threadIdx.x / 128 * 8192);
    uint64_t b = cuda_wgmma_operand(cuda_smem(shared) + 16384);
    float d[128] = {};
    cuda_wgmma_hold(d);
    for (int i = 0; i < rounds; i++) {
        cuda_wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (TYPE == CUDA_E4M3) {
                cuda_wgmma<256>::e4m3(d, a + 2 * k, b + 2 * k, true);
            } else {
                cuda_wgmma<256>::bf16(d, a + 2 * k, b + 2 * k, true);
            }
        }
        cuda_wgmma_commit();
        cuda_wgmma_wait<1>();
    }
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(d);
    float sum = 0.0f;
    for (int i = 0; i < 128; i++) {
        sum += d[i];
    }
    out[blockIdx.x * 256 + threadIdx.x] = sum;
}

static double median_of(std::vector<float> &ms)
{
    std::sort(ms.begin(), ms.end());
    return ms[ms.size() / 2];
}

struct clock_pair {
    cudaEvent_t begin, end;
};

static clock_pair clocks(void)
{
    clock_pair c;
    check(cudaEventCreate(&c.begin), "event");
    check(cudaEventCreate(&c.end), "event");
    return c;
}

static float elapsed(const clock_pair &c)
{
    float ms;
    check(cudaEventSynchronize(c.end), "wait");
    check(cudaEventElapsedTime(&ms, c.begin, c.end), "elapsed");
    return ms;
}

template <cuda_type TYPE> static double peak(int processors)
{
    const int rounds = 4000; /* of 64 x 256 x 32 bytes, four products, two warpgroups */
    float *out = (float *)allocate((size_t)processors * 256 * 4);
    check(
        cudaFuncSetAttribute(peak_kernel<TYPE>, cudaFuncAttributeMaxDynamicSharedMemorySize, 49152),
        "attribute");
    clock_pair c = clocks();
    std::vector<float> ms;
    for (int i = 0; i < RUNS + 1; i++) {
        check(cudaEventRecord(c.begin), "event");
        peak_kernel<TYPE><<<processors, 256, 49152>>>(rounds, out);
        check(cudaEventRecord(c.end), "event");
        check(cudaGetLastError(), "peak");
        ms.push_back(elapsed(c));
    }
    check(cudaFree(out), "free");
    double operations =
        2.0 * 64 * 256 * (TYPE == CUDA_E4M3 ? 32 : 16) * 4 * 2 * rounds * processors;
    return operations / (median_of(ms) * 1e9);
}

/* ---- Products ---- */

struct bench_case {
    cuda_type type;
    uint32_t rows, n, k; /* rows: of a group */
    uint32_t groups;     /* 0: dense         */
    cuda_epilogue epilogue;
    double reference; /* TFLOPS measured elsewhere, 0: none */
};

static cuda_gemm make(const bench_case &c, uint32_t set, uint32_t capacity)
{
    uint32_t block = cuda_block_numbers(c.type), groups = c.groups == 0 ? 1 : c.groups;
    cuda_gemm g = {};
    g.w.type = g.x.type = c.type;
    g.w.rows = c.n;
    g.w.cols = g.x.cols = c.k;
    g.w.row_blocks = (c.n + 127) / 128;
    g.w.k_blocks = g.x.k_blocks = (c.k + block - 1) / block;
    g.w.segments = cuda_weight_segments(c.type, g.w.row_blocks, g.w.k_blocks);
    g.x.capacity = capacity;
    size_t tiles = (size_t)groups * g.w.row_blocks * g.w.k_blocks;
    g.w.data = numbers(tiles * CUDA_TILE_BYTES, c.type, set * 4 + 1);
    g.x.data = numbers((size_t)g.x.k_blocks * capacity * CUDA_BLOCK_BYTES, c.type, set * 4 + 2);
    if (c.type == CUDA_E4M3) {
        g.w.scale = scales(tiles, set * 4 + 3);
        g.x.scale = scales((size_t)g.x.k_blocks * capacity, set * 4 + 4);
    }
    g.rows = capacity;
    g.epilogue = c.epilogue;
    g.ld = c.n;
    if (c.epilogue == CUDA_OUT_GATED) {
        g.gated = {nullptr, nullptr, c.type, capacity, c.n / 2, c.n / 2 / block};
        g.gated.data = (uint8_t *)allocate((size_t)g.gated.k_blocks * capacity * CUDA_BLOCK_BYTES);
        g.gated.scale = scales((size_t)g.gated.k_blocks * capacity, 0);
    } else {
        size_t bytes = (size_t)capacity * c.n * (c.epilogue == CUDA_OUT_BF16 ? 2 : 4);
        g.out = allocate(bytes);
        check(cudaMemset(g.out, 0, bytes), "memset");
    }
    return g;
}

static void drop(const cuda_gemm &g)
{
    const void *all[] = {g.w.data, g.w.scale,    g.x.data,     g.x.scale,
                         g.out,    g.gated.data, g.gated.scale};
    for (const void *p : all) {
        check(cudaFree((void *)p), "free");
    }
}

static void bench(const bench_case &c, double peak_rate)
{
    std::vector<uint32_t> begin, rows;
    uint32_t all = 0, real = 0;
    for (uint32_t i = 0; i < c.groups; i++) { /* from half to one and a half of c.rows */
        uint32_t r = c.rows / 2 + (uint32_t)((i * 2654435761u) >> 8) % (c.rows + 1);
        begin.push_back(all);
        rows.push_back(r);
        all += (r + 7) / 8 * 8;
        real += r;
    }
    if (c.groups == 0) {
        all = real = c.rows;
    }
    uint32_t capacity = (all + 127) / 128 * 128;
    uint32_t *lists = (uint32_t *)allocate((c.groups + 1) * 8);
    check(cudaMemcpy(lists, begin.data(), c.groups * 4, cudaMemcpyHostToDevice), "copy");
    check(cudaMemcpy(lists + c.groups, rows.data(), c.groups * 4, cudaMemcpyHostToDevice), "copy");
    cuda_groups groups = {};
    groups.count = c.groups;
    groups.begin = lists;
    groups.rows = lists + c.groups;
    groups.rows_max = c.rows * 2;
    cuda_gemm set[SETS];
    uint32_t sets = c.groups == 0 ? SETS : 1; /* the groups' weights are larger than L2 */
    for (uint32_t i = 0; i < sets; i++) {
        set[i] = make(c, i, capacity);
    }
    uint32_t *counter = (uint32_t *)allocate(4);
    check(cudaMemset(counter, 0, 4), "memset");
    clock_pair t = clocks();
    std::vector<float> ms;
    for (int run = 0; run < RUNS + 1; run++) {
        check(cudaEventRecord(t.begin), "event");
        for (uint32_t i = 0; i < PRODUCTS; i++) {
            check(cuda_gemm_wide(&set[i % sets], c.groups == 0 ? nullptr : &groups, counter, 0),
                  "launch");
        }
        check(cudaEventRecord(t.end), "event");
        ms.push_back(elapsed(t) / PRODUCTS);
    }
    double time = median_of(ms);
    double rate = 2.0 * real * c.n * c.k / (time * 1e9);
    static const char *const names[] = {"f32", "bf16", "add", "gated"};
    printf("%s %6u rows", c.type == CUDA_E4M3 ? "e4m3" : "bf16", real);
    if (c.groups != 0) {
        printf(" in %3u groups", c.groups);
    }
    printf(" n %5u k %5u -> %-5s %8.1f us %7.0f TFLOPS, %.2f of the peak", c.n, c.k,
           names[c.epilogue], time * 1e3, rate, rate / peak_rate);
    if (c.reference > 0.0) {
        printf(", %.2f of %.0f", rate / c.reference, c.reference);
    }
    if (c.groups != 0) {
        printf(", weights at %.0f GB/s", (double)c.groups * c.n * c.k / (time * 1e6));
    }
    printf("\n");
    fflush(stdout);
    for (uint32_t i = 0; i < sets; i++) {
        drop(set[i]);
    }
    check(cudaFree(lists), "free");
    check(cudaFree(counter), "free");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    bool all = strcmp(what, "all") == 0;
    cudaDeviceProp device;
    check(cudaGetDeviceProperties(&device, 0), "device");
    printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);
    check(cuda_gemm_wide_prepare((uint32_t)device.multiProcessorCount), "prepare");
    double fp8 = peak<CUDA_E4M3>(device.multiProcessorCount);
    double bf16 = peak<CUDA_BF16>(device.multiProcessorCount);
    printf("peak of the tensor cores: e4m3 %.0f TFLOPS, bf16 %.0f TFLOPS\n", fp8, bf16);
    /* References of fp8: DeepGEMM 54e2261, measured on an H200. */
    const bench_case dense[] = {
        {CUDA_E4M3, 4096, 4096, 7168, 0, CUDA_OUT_BF16, 1108},
        {CUDA_E4M3, 4096, 7168, 2048, 0, CUDA_OUT_BF16, 640},
        {CUDA_E4M3, 4096, 24576, 1536, 0, CUDA_OUT_BF16, 896},
        {CUDA_E4M3, 4096, 7168, 16384, 0, CUDA_OUT_BF16, 1334},
        {CUDA_E4M3, 4096, 7168, 2048, 0, CUDA_OUT_ADD, 0},
        {CUDA_E4M3, 4096, 36864, 7168, 0, CUDA_OUT_GATED, 0},
        {CUDA_E4M3, 512, 7168, 16384, 0, CUDA_OUT_ADD, 0},
    };
    const bench_case half[] = {
        {CUDA_BF16, 4096, 12288, 4096, 0, CUDA_OUT_BF16, 0},
        {CUDA_BF16, 4096, 22016, 4096, 0, CUDA_OUT_BF16, 0},
        {CUDA_BF16, 4096, 4096, 11008, 0, CUDA_OUT_BF16, 0},
        {CUDA_BF16, 4096, 22016, 4096, 0, CUDA_OUT_GATED, 0},
        {CUDA_BF16, 4096, 4096, 4096, 0, CUDA_OUT_ADD, 0},
    };
    const bench_case grouped[] = {
        {CUDA_E4M3, 128, 4096, 7168, 64, CUDA_OUT_GATED, 0},
        {CUDA_E4M3, 128, 7168, 2048, 64, CUDA_OUT_BF16, 0},
        {CUDA_E4M3, 512, 4096, 7168, 32, CUDA_OUT_GATED, 0},
        {CUDA_E4M3, 512, 7168, 2048, 32, CUDA_OUT_BF16, 0},
    };
    for (const bench_case &c : dense) {
        if (all || strcmp(what, "fp8") == 0) {
            bench(c, fp8);
        }
    }
    for (const bench_case &c : half) {
        if (all || strcmp(what, "bf16") == 0) {
            bench(c, bf16);
        }
    }
    for (const bench_case &c : grouped) {
        if (all || strcmp(what, "grouped") == 0) {
            bench(c, fp8);
        }
    }
    return 0;
}
