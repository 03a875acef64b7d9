/* bench_gpu_mla: latent attention with 128 heads: time, TFLOPS, bytes, against ceilings of the same run (bf16 products,
 * reads) and FlashMLA's times on an H200 (engine.md 4.1b).
 *
 * call: events around one call, the launch included, as those were taken. chained: a graph of calls one after the other,
 * the way the engine runs. Calls rotate over page tables, so that L2 does not hold what they read. Medians. */
#include "bench_gpu_common.cuh"
#include "engine_cuda_mla.cuh"

#include <algorithm>
#include <random>
#include <stdio.h>
#include <vector>

static cudaStream_t g_stream;
static uint32_t g_blocks;

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
    g.tflops = bench_product_rate<CUDA_BF16>(g_stream, g_blocks) * 1e-12;
    g.gbs = 1e-9 *
            bench_read_rate(g_stream, g.cache, (size_t)POOL_PAGES * CUDA_MLA_PAGE_BYTES, g_blocks);
    printf("ceilings: bf16 products %.0f TFLOPS, reads %.0f GB/s\n", g.tflops, g.gbs);
}

/* `batch` sequences of `length` keys, a row each; or (chunk) the last `batch` rows of one. piece: as
 * cuda_mla_plan_pieces(), 0 as the engine plans. */
static void bench_attend(uint32_t batch, uint32_t heads, uint32_t length, double anchor_us,
                         uint32_t piece, bool chunk = false)
{
    uint32_t each = (length + 63) / 64;
    uint32_t table = each * (chunk ? 1 : batch);
    uint32_t variants = std::min<uint32_t>(VARIANTS, POOL_PAGES / table);
    std::vector<uint32_t> order(POOL_PAGES);
    for (uint32_t i = 0; i < POOL_PAGES; i++) {
        order[i] = i;
    }
    std::mt19937 random(1);
    std::shuffle(order.begin(), order.end(), random);
    uint32_t *pages = bench_copy(order);
    std::vector<uint32_t> lengths(batch, length), sequence(batch);
    double keys = 0;
    for (uint32_t i = 0; i < batch; i++) {
        sequence[i] = chunk ? 0 : i;
        lengths[i] -= chunk ? batch - 1 - i : 0;
        keys += lengths[i];
    }
    std::vector<uint8_t> plan(cuda_mla_plan_bytes(batch, heads));
    uint32_t slots = piece == 0 ? cuda_mla_plan(plan.data(), sequence.data(), lengths.data(), batch,
                                                heads, g_blocks)
                                : cuda_mla_plan_pieces(plan.data(), sequence.data(), lengths.data(),
                                                       batch, heads, g_blocks, piece);
    uint8_t *d_plan = bench_copy(plan);
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
        b.pages = pages + (size_t)((uint32_t)i % variants) * table;
        TRY(cuda_mla_attend_run(&b, g_stream));
    };
    double call = 1e6 * bench_seconds(g_stream, 15, one);
    double chained = 1e6 / CHAIN * bench_graph_seconds(g_stream, 7, [&] {
                         for (int i = 0; i < CHAIN; i++) {
                             one(i);
                         }
                     });
    double flops = 2.0 * keys * heads * (576 + 512);
    double bytes = (chunk ? length : keys) * 1152.0 + batch * heads * (1152.0 + 1024.0);
    double floor_us = std::max(flops / g.tflops / 1e6, bytes / g.gbs / 1e3);
    printf("%s %4u heads %3u length %6u slots %3u: call %7.1f us, chained %7.1f us, %4.0f TFLOPS "
           "(%.2f of ceiling), %5.0f GB/s (%.2f), floor %6.1f us (%.2f)",
           chunk ? "chunk" : "B", batch, heads, length, slots, call, chained, flops / chained / 1e6,
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
        double us = 1e6 / (2 * LAYERS) * bench_graph_seconds(g_stream, 9, [&] {
                        for (int i = 0; i < 2 * LAYERS; i++) {
                            one(i);
                        }
                    });
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
    g.cache = bench_take<uint8_t>(pool);
    g.queries = bench_take<uint8_t>(queries);
    g.out = bench_take<__nv_bfloat16>((size_t)1024 * HEADS * CUDA_MLA_LATENT);
    g.scratch = bench_take<uint8_t>(cuda_mla_scratch_bytes(g_blocks));
    bench_fill(g.cache, pool, CUDA_BF16, 1, 1);
    bench_fill(g.queries, queries, CUDA_BF16, 1, 2);
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
    for (uint32_t rows : {128u, 512u, 1024u}) {
        bench_attend(rows, HEADS, 2048, 0, 0, true);
    }
    for (uint32_t rows : {1u, 8u, 32u, 128u, 1024u}) {
        bench_heads(rows);
    }
    if (argc > 1) { /* plans side by side */
        for (uint32_t piece : {1u, 2u, 4u}) {
            bench_attend(32, HEADS, 4096, 99, piece);
        }
        for (uint32_t piece : {1u, 2u, 4u}) {
            bench_attend(100, HEADS, 4096, 0, piece);
        }
        bench_attend(128, HEADS, 512, 0, 0);
    }
    return 0;
}
