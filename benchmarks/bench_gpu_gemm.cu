/* bench_gpu_gemm: the rate of the wide product (many rows) and the tensor cores' own peak in the same run.
 *
 * usage: bench_gpu_gemm [fp8|bf16|grouped|all]
 *
 * Inputs are about normal (the chip's clock depends on the bits that toggle) and rotate over three sets. A figure is the
 * median of 9 runs of 6 products each, timed with events. The peak is a loop of wgmma over operands that stay in
 * shared memory, on every multiprocessor, for about as long. What a library reaches: benchmarks/bench_gpu_gemm.py. */
#include "bench_gpu_common.cuh"
#include "engine_cuda_gemm.cuh"

#include <stdio.h>
#include <string.h>
#include <vector>

enum { SETS = 3, PRODUCTS = 6, RUNS = 9 };

/* ---- Products ---- */

struct bench_case {
    cuda_type type;
    uint32_t rows, n, k; /* rows: of a group */
    uint32_t groups;     /* 0: dense         */
    cuda_epilogue epilogue;
    double reference; /* TFLOPS measured elsewhere, 0: none */
};

static uint8_t *numbers(size_t bytes, cuda_type type, uint64_t seed)
{
    uint8_t *p = bench_take<uint8_t>(bytes);
    bench_fill(p, bytes, type, type == CUDA_E4M3 ? 100.0f : 0.125f, seed);
    return p;
}

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
        g.w.scale = bench_floats(tiles, false, 0.002f, set * 4 + 3);
        g.x.scale = bench_floats((size_t)g.x.k_blocks * capacity, false, 0.002f, set * 4 + 4);
    }
    g.rows = capacity;
    g.epilogue = c.epilogue;
    g.ld = c.n;
    if (c.epilogue == CUDA_OUT_GATED) {
        g.gated = {nullptr, nullptr, c.type, capacity, c.n / 2, c.n / 2 / block};
        g.gated.data = bench_take<uint8_t>((size_t)g.gated.k_blocks * capacity * CUDA_BLOCK_BYTES);
        g.gated.scale = bench_take<float>((size_t)g.gated.k_blocks * capacity);
    } else {
        g.out = bench_take<uint8_t>((size_t)capacity * c.n * (c.epilogue == CUDA_OUT_BF16 ? 2 : 4));
    }
    return g;
}

static void drop(const cuda_gemm &g)
{
    const void *all[] = {g.w.data, g.w.scale,    g.x.data,     g.x.scale,
                         g.out,    g.gated.data, g.gated.scale};
    for (const void *p : all) {
        TRY(cudaFree((void *)p));
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
    uint32_t *begin_at = bench_copy(begin);
    uint32_t *rows_at = bench_copy(rows);
    cuda_groups groups = {};
    groups.count = c.groups;
    groups.begin = begin_at;
    groups.rows = rows_at;
    groups.rows_max = c.rows * 2;
    cuda_gemm set[SETS];
    uint32_t sets = c.groups == 0 ? SETS : 1; /* the groups' weights are larger than L2 */
    for (uint32_t i = 0; i < sets; i++) {
        set[i] = make(c, i, capacity);
    }
    double time = bench_seconds(0, RUNS, [&](int) {
        for (uint32_t i = 0; i < PRODUCTS; i++) {
            TRY(cuda_gemm_wide(&set[i % sets], c.groups == 0 ? nullptr : &groups, 0));
        }
    });
    time *= 1e3 / PRODUCTS; /* milliseconds of one */
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
    TRY(cudaFree(begin_at));
    TRY(cudaFree(rows_at));
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    bool all = strcmp(what, "all") == 0;
    cudaDeviceProp device;
    TRY(cudaGetDeviceProperties(&device, 0));
    printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);
    uint32_t processors = (uint32_t)device.multiProcessorCount;
    TRY(cuda_gemm_wide_prepare(processors));
    double fp8 = 1e-12 * bench_product_rate<CUDA_E4M3>(0, processors);
    double bf16 = 1e-12 * bench_product_rate<CUDA_BF16>(0, processors);
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
