/* bench_gpu_attention: paged attention of a llama 7B layer (32 heads of 128, all with their own keys and values).
 *
 *     bench_gpu_attention [decode | prefill]         prints one line a case; needs a Hopper GPU
 *
 * Decode: bytes of keys and values that must be read once, over the time of the two launches, against the rate of a
 * kernel that only reads, measured in the same run. Prefill: operations of the scores and values that causality leaves,
 * against wgmma's rate from shared memory, measured in the same run. Layers rotate so that L2 does not serve them; a
 * graph of many launches is timed, and the median of its replays taken. */
#include "bench_gpu_common.cuh"
#include "engine_cuda_attention.cuh"

#include <algorithm>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

enum { DIM = 128, MAX_ROWS = 2048, MAX_PAGES = 32768, MAX_SLOTS = 8192, LAYERS = 16 };

static const size_t POOL_BYTES = (size_t)20 << 30;

static uint8_t *pool;
static cudaStream_t stream;
static uint32_t processors;
static double read_rate; /* bytes a second  */
static double mma_rate;  /* operations a second */

static void measure_ceilings(void)
{
    read_rate = bench_read_rate(stream, pool, (size_t)4 << 30, processors);
    mma_rate = bench_product_rate<CUDA_BF16>(stream, processors);
    printf("read ceiling %.0f GB/s, wgmma ceiling %.0f TFLOPS\n", read_rate * 1e-9,
           mma_rate * 1e-12);
}

struct sequence {
    std::vector<uint32_t> pages;
    uint32_t start, rows;
};

struct buffers {
    void *q, *plan, *states;
    uint8_t *out;
};

/* Layers' planes lie one after the other in the pool; as many as fit, LAYERS at most. */
static void bench(const char *name, const cuda_attention_shape &shape, uint32_t page_count,
                  const std::vector<sequence> &batch, buffers &b)
{
    cuda_attention_limits limits = {MAX_ROWS, MAX_PAGES, MAX_SLOTS};
    std::vector<engine_batch_seq> seqs;
    uint32_t rows = 0;
    double operations = 0;
    for (const sequence &s : batch) {
        seqs.push_back({s.pages.data(), (uint32_t)s.pages.size(), s.start, s.rows});
        rows += s.rows;
        for (uint32_t i = 0; i < s.rows; i++) {
            operations += 4.0 * shape.head_dim * shape.heads * (s.start + i + 1);
        }
    }
    std::vector<uint8_t> host(cuda_attention_plan_bytes(&limits));
    cuda_attention_plan_result plan;
    struct timespec a, z;
    clock_gettime(CLOCK_MONOTONIC, &a);
    bool ok = cuda_attention_plan(&plan, host.data(), &limits, &shape, seqs.data(),
                                  (uint32_t)seqs.size(), rows, processors);
    clock_gettime(CLOCK_MONOTONIC, &z);
    if (!ok) {
        printf("%s: plan refused\n", name);
        return;
    }
    TRY(cudaMemcpy(b.plan, host.data(), plan.used, cudaMemcpyHostToDevice));
    size_t plane = (size_t)page_count * shape.kv_heads * cuda_kv_head_bytes(shape.head_dim);
    uint32_t layers = (uint32_t)std::min<size_t>(LAYERS, POOL_BYTES / (2 * plane));
    uint32_t repeats = layers < 4 ? 4 : layers;
    auto layer = [&](uint32_t i) {
        cuda_attention op = {};
        op.shape = shape;
        op.rows = rows;
        op.scale = 1.0f / sqrtf((float)shape.head_dim);
        op.q = b.q;
        op.keys = pool + (i % layers) * 2 * plane;
        op.values = op.keys + plane;
        op.plan = b.plan;
        op.states = b.states;
        uint32_t cols = shape.heads * shape.head_dim;
        op.out = {b.out, NULL, CUDA_BF16, MAX_ROWS, cols, cols / 64};
        TRY(cuda_attention_run(&op, processors, stream));
    };
    double s = bench_graph_seconds(stream, 9, [&] {
        for (uint32_t i = 0; i < repeats; i++) {
            layer(i);
        }
    });
    s /= repeats;
    double bytes = 2.0 * page_count * shape.kv_heads * cuda_kv_head_bytes(shape.head_dim);
    printf("%-34s %8.1f us  %6.0f GB/s %5.1f%%  %6.1f TFLOPS %5.1f%%  plan: %5.1f us %5u wide "
           "%5u narrow %5u slots, %u layers\n",
           name, s * 1e6, bytes / s * 1e-9, 100 * bytes / s / read_rate, operations / s * 1e-12,
           100 * operations / s / mma_rate,
           (z.tv_sec - a.tv_sec) * 1e6 + (z.tv_nsec - a.tv_nsec) * 1e-3, plan.wide, plan.narrow,
           plan.slots, layers);
    fflush(stdout);
}

/* `count` sequences with `shared` common and `own` other tokens, the last `rows` of them in this batch; pages in a
 * random order. */
static uint32_t make_batch(std::vector<sequence> &batch, uint32_t count, uint32_t shared,
                           uint32_t own, uint32_t rows)
{
    uint32_t each = (own + 63) / 64, prefix = shared / 64, pages = prefix + count * each;
    std::vector<uint32_t> order(pages);
    uint32_t x = 12345;
    for (uint32_t i = 0; i < pages; i++) {
        x = x * 1664525u + 1013904223u;
        uint32_t j = (x >> 8) % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        sequence s;
        for (uint32_t page = 0; page < prefix + each; page++) {
            s.pages.push_back(order[page < prefix ? page : page + i * each]);
        }
        s.start = shared + own - rows;
        s.rows = rows;
        batch.push_back(s);
    }
    return pages;
}

/* Sequences of lengths all over the place: 200 to 2,100 tokens, one in ten 4,000. */
static void bench_mixed(const cuda_attention_shape &shape, buffers &b, uint32_t count)
{
    std::vector<sequence> batch;
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tokens = i % 10 == 3 ? 4000 : 200 + i * 7919 % 1900;
        sequence s;
        for (uint32_t page = 0; page < (tokens + 63) / 64; page++) {
            s.pages.push_back(next++);
        }
        s.start = tokens - 1;
        s.rows = 1;
        batch.push_back(s);
    }
    char name[100];
    snprintf(name, sizeof name, "%u/%u: %u x 1 row at 200 to 4000", shape.heads, shape.kv_heads,
             count);
    bench(name, shape, next, batch, b);
}

static void bench_case(const cuda_attention_shape &shape, buffers &b, uint32_t count,
                       uint32_t shared, uint32_t own, uint32_t rows)
{
    std::vector<sequence> batch;
    uint32_t pages = make_batch(batch, count, shared, own, rows);
    char name[100];
    snprintf(name, sizeof name, "%u/%u: %u x %u row%s at %u%s", shape.heads, shape.kv_heads, count,
             rows, rows > 1 ? "s" : "", shared + own - rows, shared ? " (1024 shared)" : "");
    bench(name, shape, pages, batch, b);
}

/* Rotation and cache writes of `rows` tokens, float32 products in. */
static void bench_rope(const cuda_attention_shape &shape, buffers &b, uint32_t rows)
{
    const uint32_t heads = shape.heads + 2 * shape.kv_heads;
    const size_t numbers = (size_t)rows * heads * shape.head_dim;
    float *qkv, *angles;
    uint32_t *zero;
    TRY(cudaMalloc(&qkv, numbers * 4));
    TRY(cudaMalloc(&angles, (size_t)rows * shape.head_dim / 2 * 4));
    TRY(cudaMalloc(&zero, rows * 4));
    TRY(cudaMemset(qkv, 0x3C, numbers * 4));
    TRY(cudaMemset(angles, 0x3C, (size_t)rows * shape.head_dim / 2 * 4));
    TRY(cudaMemset(zero, 0, rows * 4));
    cuda_rope_write op = {
        shape, rows, qkv, true, angles, angles, zero, zero, b.q, pool, pool + POOL_BYTES / 2};
    double s = bench_graph_seconds(stream, 9, [&] {
        for (int i = 0; i < 16; i++) {
            TRY(cuda_rope_write_run(&op, stream));
        }
    });
    s /= 16;
    printf("%u/%u: rope and cache, %4u rows  %8.1f us\n", shape.heads, shape.kv_heads, rows,
           s * 1e6);
    TRY(cudaFree(qkv));
    TRY(cudaFree(angles));
    TRY(cudaFree(zero));
}

static const cuda_attention_shape mha = {32, 32, DIM}, gqa = {32, 8, DIM};

static void bench_decode(buffers &b)
{
    bench_case(mha, b, 1, 0, 64, 1); /* what two launches cost */
    for (uint32_t context : {1024u, 4096u}) {
        for (uint32_t count : {1u, 8u, 32u, 64u, 128u}) {
            bench_case(mha, b, count, 0, context, 1);
        }
    }
    for (uint32_t count : {8u, 32u, 64u, 128u, 256u}) {
        bench_case(mha, b, count, 1024, 256, 1);
    }
    bench_mixed(mha, b, 16);
    bench_mixed(mha, b, 64);
    bench_case(gqa, b, 8, 0, 4096, 1);
    bench_case(gqa, b, 64, 0, 4096, 1);
}

static void bench_prefill(buffers &b)
{
    for (uint32_t rows : {128u, 512u, 1024u, 2048u}) {
        bench_case(mha, b, 1, 0, rows, rows);
        bench_case(mha, b, 1, 0, 4096, rows);
    }
    bench_case(gqa, b, 1, 0, 4096, 2048);
    bench_case(mha, b, 16, 1024, 64, 16);
    for (uint32_t rows : {1u, 128u, 2048u}) {
        bench_rope(mha, b, rows);
    }
}

int main(int argc, char **argv)
{
    const bool decode = argc < 2 || strcmp(argv[1], "decode") == 0;
    const bool prefill = argc < 2 || strcmp(argv[1], "prefill") == 0;
    cudaDeviceProp properties;
    TRY(cudaGetDeviceProperties(&properties, 0));
    if (properties.major != 9) {
        printf("skipped: needs a Hopper GPU\n");
        return 77;
    }
    processors = (uint32_t)properties.multiProcessorCount;
    TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    printf("%s, %u processors\n", properties.name, processors);
    TRY(cudaMalloc(&pool, POOL_BYTES));
    bench_fill(pool, POOL_BYTES, CUDA_BF16, 1, 1);
    TRY(cuda_attention_prepare());
    cuda_attention_limits limits = {MAX_ROWS, MAX_PAGES, MAX_SLOTS};
    buffers b;
    size_t row_bytes = (size_t)MAX_ROWS * 32 * DIM * 2;
    TRY(cudaMalloc(&b.q, row_bytes));
    TRY(cudaMalloc(&b.out, row_bytes));
    TRY(cudaMalloc(&b.plan, cuda_attention_plan_bytes(&limits)));
    TRY(cudaMalloc(&b.states, cuda_attention_state_bytes(&limits, &mha)));
    TRY(cudaMemset(b.states, 0, 256));
    bench_fill(b.q, row_bytes, CUDA_BF16, 1, 2);
    measure_ceilings();
    if (decode) {
        bench_decode(b);
    }
    if (prefill) {
        bench_prefill(b);
    }
    return 0;
}
