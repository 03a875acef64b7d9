/* bench_gpu_moe: the products of a decode step on one Hopper GPU, against the rate at which the same GPU reads memory.
 *
 *     bench_gpu_moe            a MoE layer of DeepSeek-V3 (256 experts and the shared one, e4m3, 11.3 GB)
 *     bench_gpu_moe --dense    the 7B model's bf16 products and DeepSeek's dense e4m3 ones
 *     bench_gpu_moe --cross    the narrow and the wide kernel side by side: where the one should follow the other
 *     --json                   also one JSON object a line
 *
 * Routing is random: each row takes 8 of the 256 experts, from a fixed seed. Weights are random finite bytes. Times are
 * medians of graph replays; each replay launches a chain, as a decode step does, over data that L2 cannot hold. Bytes are
 * those of the weights (with scales) that were touched. */
#include "bench_gpu_common.cuh"
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_launch.cuh"

#include <algorithm>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <vector>

namespace
{

cudaStream_t stream;
double ceiling; /* bytes a second of the read-only kernel */
bool json;

float number_size(cuda_type type)
{
    return type == CUDA_E4M3 ? 100.0f : 0.125f;
}

cuda_weight make_weight(cuda_type type, uint32_t groups, uint32_t rows, uint32_t cols)
{
    cuda_weight w = {};
    uint32_t per = cuda_block_numbers(type);
    w.type = type;
    w.rows = rows;
    w.cols = cols;
    w.row_blocks = (rows + 127) / 128;
    w.k_blocks = (cols + per - 1) / per;
    w.segments = cuda_weight_segments(type, w.row_blocks, w.k_blocks);
    size_t tiles = (size_t)groups * w.row_blocks * w.k_blocks;
    uint8_t *data = bench_take<uint8_t>(tiles * CUDA_TILE_BYTES);
    bench_fill(data, tiles * CUDA_TILE_BYTES, type, number_size(type), 1);
    w.data = data;
    if (type == CUDA_E4M3) {
        w.scale = bench_floats(tiles, false, 1e-4f, 2);
    }
    return w;
}

size_t weight_bytes(const cuda_weight &w)
{
    size_t tiles = (size_t)w.row_blocks * w.k_blocks;
    return tiles * CUDA_TILE_BYTES + (w.scale == NULL ? 0 : tiles * 4);
}

cuda_rows make_rows(cuda_type type, uint32_t rows, uint32_t cols)
{
    cuda_rows x = {};
    x.type = type;
    x.cols = cols;
    x.capacity = (rows + 127) / 128 * 128;
    x.k_blocks = (cols + cuda_block_numbers(type) - 1) / cuda_block_numbers(type);
    size_t bytes = (size_t)x.k_blocks * x.capacity * CUDA_BLOCK_BYTES;
    x.data = bench_take<uint8_t>(bytes);
    bench_fill(x.data, bytes, type, number_size(type), 3);
    if (type == CUDA_E4M3) {
        x.scale = bench_floats((size_t)x.k_blocks * x.capacity, false, 1e-3f, 4);
    }
    return x;
}

void print_rate(const char *what, uint32_t batch, double bytes, double seconds)
{
    double rate = bytes / seconds;
    printf("  %-28s B %5u  %9.1f us  %7.0f GB/s  %5.1f %% of reading\n", what, batch, seconds * 1e6,
           rate * 1e-9, 100.0 * rate / ceiling);
    if (json) {
        printf("{\"what\": \"%s\", \"rows\": %u, \"us\": %.2f, \"gb_s\": %.1f, \"ceiling_gb_s\": "
               "%.1f, "
               "\"ratio\": %.4f}\n",
               what, batch, seconds * 1e6, rate * 1e-9, ceiling * 1e-9, rate / ceiling);
    }
}

/* ---- A MoE layer ---- */

enum { EXPERTS = 256, GROUPS = 257, TOP = 8, HIDDEN = 7168, EXPERT_WIDTH = 2048 };

struct routing {
    cuda_groups groups;
    uint32_t rows;    /* with padding */
    uint32_t touched; /* groups       */
};

/* Experts are groups 0 .. 255; group 256 is the shared one, which sees every row. */
routing make_routing(uint32_t batch, uint64_t seed)
{
    std::vector<uint32_t> sizes(GROUPS, 0), begin(GROUPS, 0);
    uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
    for (uint32_t row = 0; row < batch; row++) {
        bool taken[EXPERTS] = {};
        for (uint32_t i = 0; i < TOP;) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            uint32_t expert = (uint32_t)(state >> 40) % EXPERTS;
            if (!taken[expert]) {
                taken[expert] = true;
                sizes[expert]++;
                i++;
            }
        }
    }
    sizes[EXPERTS] = batch;
    routing r = {};
    for (uint32_t g = 0; g < GROUPS; g++) {
        begin[g] = r.rows;
        r.rows += (sizes[g] + 7) / 8 * 8;
        r.touched += sizes[g] > 0;
        r.groups.rows_max = std::max(r.groups.rows_max, sizes[g]);
    }
    r.groups.count = GROUPS;
    r.groups.settled =
        true; /* in a model, the kernel in front gathers rows or is the other product */
    r.groups.begin = bench_copy(begin);
    r.groups.rows = bench_copy(sizes);
    return r;
}

void bench_layer(uint32_t processors)
{
    cuda_weight gate_up = make_weight(CUDA_E4M3, GROUPS, 2 * EXPERT_WIDTH, HIDDEN);
    cuda_weight down = make_weight(CUDA_E4M3, GROUPS, HIDDEN, EXPERT_WIDTH);
    TRY(cudaDeviceSynchronize());
    ceiling = bench_read_rate(stream, gate_up.data, weight_bytes(gate_up) / 4 * GROUPS / 16 * 16,
                              processors);
    printf("reading: %.0f GB/s\nMoE layer, e4m3, %u experts of %u and the shared one, top %u\n",
           ceiling * 1e-9, EXPERTS, EXPERT_WIDTH, TOP);
    uint32_t *counter = bench_take<uint32_t>(1);
    const uint32_t batches[] = {1, 8, 32, 64, 128, 256, 512, 1024};
    const uint32_t rows_most = 1024 * 9 + 8 * GROUPS;
    cuda_rows x = make_rows(CUDA_E4M3, rows_most, HIDDEN);
    cuda_rows middle = make_rows(CUDA_E4M3, rows_most, EXPERT_WIDTH);
    uint16_t *out = bench_take<uint16_t>((size_t)rows_most * HIDDEN);
    for (uint32_t batch : batches) {
        std::vector<routing> routings;
        double touched = 0.0;
        uint32_t chain = batch == 1 ? 16 : batch <= 8 ? 8 : 4;
        for (uint32_t i = 0; i < chain; i++) {
            routings.push_back(make_routing(batch, 1 + i));
            touched += routings.back().touched / (double)chain;
        }
        auto enqueue = [&](bool first, bool second) {
            for (const routing &r : routings) {
                cuda_gemm g = {};
                g.rows = r.rows;
                g.w = gate_up;
                g.x = x;
                g.epilogue = CUDA_OUT_GATED;
                g.gated = middle;
                if (first) {
                    TRY(cuda_gemm_run_grouped(&g, &r.groups, counter, stream));
                }
                g.w = down;
                g.x = middle;
                g.epilogue = CUDA_OUT_BF16;
                g.out = out;
                g.ld = HIDDEN;
                if (second) {
                    TRY(cuda_gemm_run_grouped(&g, &r.groups, counter, stream));
                }
            }
        };
        int repeats = batch <= 8 ? 31 : 9;
        double t_up = bench_graph_seconds(stream, repeats, [&] { enqueue(true, false); }) / chain;
        double t_down = bench_graph_seconds(stream, repeats, [&] { enqueue(false, true); }) / chain;
        double t_both = bench_graph_seconds(stream, repeats, [&] { enqueue(true, true); }) / chain;
        print_rate("gate, up", batch, touched * weight_bytes(gate_up), t_up);
        print_rate("down", batch, touched * weight_bytes(down), t_down);
        print_rate("gate, up, down in a chain", batch,
                   touched * (weight_bytes(gate_up) + weight_bytes(down)), t_both);
        for (routing &r : routings) {
            TRY(cudaFree((void *)r.groups.begin));
            TRY(cudaFree((void *)r.groups.rows));
        }
    }
}

/* ---- Plain products ---- */

/* One shape in a chain over `copies` weights. */
typedef cudaError_t gemm_fn(const cuda_gemm *, const cuda_groups *, uint32_t *, cudaStream_t);

/* The wide product under the narrow one's type; it deals out its tiles in a fixed order and counts nothing. */
cudaError_t wide_product(const cuda_gemm *gemm, const cuda_groups *groups, uint32_t *,
                         cudaStream_t stream)
{
    return cuda_gemm_wide(gemm, groups, stream);
}

cudaError_t run_chosen(const cuda_gemm *gemm, const cuda_groups *groups, uint32_t *counter,
                       cudaStream_t s)
{
    return groups == NULL ? cuda_gemm_run(gemm, s)
                          : cuda_gemm_run_grouped(gemm, groups, counter, s);
}

double plain_seconds(const std::vector<cuda_weight> &copies, const cuda_rows &x,
                     const cuda_rows &gated, void *out, uint32_t rows, cuda_epilogue epilogue,
                     gemm_fn *run = run_chosen)
{
    return bench_graph_seconds(stream, 15,
                               [&] {
                                   for (const cuda_weight &w : copies) {
                                       cuda_gemm g = {};
                                       g.w = w;
                                       g.x = x;
                                       g.rows = rows;
                                       g.epilogue = epilogue;
                                       g.out = out;
                                       g.ld = w.rows;
                                       g.gated = gated;
                                       TRY(run(&g, NULL, NULL, stream));
                                   }
                               }) /
           (double)copies.size();
}

/* Stands for what lies between products: norms, attention. */
__global__ void small_kernel(float *p)
{
    cuda_chain_release();
    cuda_chain_wait();
    p[blockIdx.x * blockDim.x + threadIdx.x] += 1.0f;
}

void bench_7b(uint32_t processors)
{
    enum { LAYERS = 8, H = 4096, WIDTH = 11008, VOCABULARY = 102400, ROWS = 128 };

    std::vector<cuda_weight> qkv, o, gate_up, down, head;
    for (int i = 0; i < LAYERS; i++) {
        qkv.push_back(make_weight(CUDA_BF16, 1, 3 * H, H));
        o.push_back(make_weight(CUDA_BF16, 1, H, H));
        gate_up.push_back(make_weight(CUDA_BF16, 1, 2 * WIDTH, H));
        down.push_back(make_weight(CUDA_BF16, 1, H, WIDTH));
    }
    head.push_back(make_weight(CUDA_BF16, 1, VOCABULARY, H));
    TRY(cudaDeviceSynchronize());
    ceiling = bench_read_rate(stream, head[0].data, weight_bytes(head[0]), processors);
    printf("reading: %.0f GB/s\n7B model, bf16\n", ceiling * 1e-9);
    cuda_rows x = make_rows(CUDA_BF16, ROWS, H), wide = make_rows(CUDA_BF16, ROWS, WIDTH);
    float *out = bench_take<float>((size_t)ROWS * VOCABULARY), *small = bench_take<float>(8192);
    for (uint32_t batch : {1u, 8u, 16u, 32u, 64u, 128u}) {
        struct {
            const char *name;
            const std::vector<cuda_weight> &w;
            const cuda_rows &x;
            cuda_epilogue epilogue;
        } const shapes[] = {{"qkv 12288x4096", qkv, x, CUDA_OUT_BF16},
                            {"o 4096x4096", o, x, CUDA_OUT_ADD},
                            {"gate, up 22016x4096", gate_up, x, CUDA_OUT_GATED},
                            {"down 4096x11008", down, wide, CUDA_OUT_ADD},
                            {"lm_head 102400x4096", head, x, CUDA_OUT_F32}};

        double bytes = 0.0;
        for (const auto &s : shapes) {
            double t = plain_seconds(s.w, s.x, wide, out, batch, s.epilogue);
            print_rate(s.name, batch, weight_bytes(s.w[0]), t);
            bytes += (s.w.size() == 1 ? 1.0 : 30.0) * weight_bytes(s.w[0]);
        }
        for (bool between : {false, true}) {
            double t = bench_graph_seconds(stream, 9, [&] {
                for (int i = 0; i < 31; i++) {
                    for (int j = 0; j < 5; j++) {
                        if ((j == 4) != (i == 30)) {
                            continue;
                        }
                        if (between) {
                            TRY(cuda_launch(small_kernel, {dim3(32), dim3(256), 0}, stream, small));
                        }
                        cuda_gemm g = {};
                        g.w = shapes[j].w[i % shapes[j].w.size()];
                        g.x = shapes[j].x;
                        g.rows = batch;
                        g.epilogue = shapes[j].epilogue;
                        g.out = out;
                        g.ld = g.w.rows;
                        g.gated = wide;
                        TRY(cuda_gemm_run(&g, stream));
                    }
                }
            });
            print_rate(between ? "30 layers, with small kernels" : "30 layers and lm_head", batch,
                       bytes, t);
        }
    }
}

void bench_deepseek(void)
{
    const uint32_t shapes[][2] = {
        {2112, 7168}, {24576, 1536}, {7168, 16384}, {4096, 7168}, {7168, 2048}};
    printf("DeepSeek's dense products, e4m3\n");
    for (const auto &shape : shapes) {
        uint32_t n = shape[0], k = shape[1];
        uint32_t copies = (uint32_t)(600e6 / ((double)n * k)) + 2;
        std::vector<cuda_weight> w;
        for (uint32_t i = 0; i < copies; i++) {
            w.push_back(make_weight(CUDA_E4M3, 1, n, k));
        }
        cuda_rows x = make_rows(CUDA_E4M3, 128, k);
        void *out = bench_take<uint16_t>((size_t)128 * n);
        char name[64];
        snprintf(name, sizeof name, "%ux%u", n, k);
        for (uint32_t batch : {1u, 8u, 32u, 64u, 128u}) {
            double t = plain_seconds(w, x, cuda_rows(), out, batch, CUDA_OUT_BF16);
            print_rate(name, batch, weight_bytes(w[0]), t);
        }
        for (cuda_weight &one : w) {
            TRY(cudaFree((void *)one.data));
            TRY(cudaFree((void *)one.scale));
        }
        TRY(cudaFree(x.data));
        TRY(cudaFree(x.scale));
        TRY(cudaFree(out));
    }
}

/* ---- Narrow against wide ---- */

void cross_plain(void)
{
    const struct {
        cuda_type type;
        uint32_t n, k;
        bool gated;
    } shapes[] = {{CUDA_BF16, 12288, 4096, false}, {CUDA_BF16, 4096, 4096, false},
                  {CUDA_BF16, 22016, 4096, true},  {CUDA_BF16, 4096, 11008, false},
                  {CUDA_E4M3, 2112, 7168, false},  {CUDA_E4M3, 24576, 1536, false},
                  {CUDA_E4M3, 7168, 16384, false}, {CUDA_E4M3, 36864, 7168, true}};

    for (const auto &shape : shapes) {
        std::vector<cuda_weight> w;
        double bytes = 0.0;
        do {
            w.push_back(make_weight(shape.type, 1, shape.n, shape.k));
            bytes += weight_bytes(w.back());
        } while (bytes < 300e6);
        cuda_rows x = make_rows(shape.type, 512, shape.k);
        cuda_rows gated = make_rows(shape.type, 512, shape.n / 2);
        void *out = bench_take<uint16_t>((size_t)512 * shape.n);
        cuda_epilogue epilogue = shape.gated ? CUDA_OUT_GATED : CUDA_OUT_BF16;
        for (uint32_t rows : {64u, 96u, 128u, 160u, 192u, 256u, 384u, 512u}) {
            double narrow = plain_seconds(w, x, gated, out, rows, epilogue, cuda_gemm_narrow);
            double wide = plain_seconds(w, x, gated, out, rows, epilogue, wide_product);
            printf("  %s %5ux%-5u rows %3u: narrow %8.1f us, wide %8.1f us\n",
                   shape.type == CUDA_E4M3 ? "e4m3" : "bf16", shape.n, shape.k, rows, narrow * 1e6,
                   wide * 1e6);
        }
        for (cuda_weight &one : w) {
            TRY(cudaFree((void *)one.data));
            TRY(cudaFree((void *)one.scale));
        }
        TRY(cudaFree(x.data));
        TRY(cudaFree(x.scale));
        TRY(cudaFree(gated.data));
        TRY(cudaFree(gated.scale));
        TRY(cudaFree(out));
    }
}

void cross_grouped(void)
{
    cuda_weight gate_up = make_weight(CUDA_E4M3, GROUPS, 2 * EXPERT_WIDTH, HIDDEN);
    cuda_weight down = make_weight(CUDA_E4M3, GROUPS, HIDDEN, EXPERT_WIDTH);
    const uint32_t rows_most = 4096 * 9 + 8 * GROUPS;
    cuda_rows x = make_rows(CUDA_E4M3, rows_most, HIDDEN);
    cuda_rows middle = make_rows(CUDA_E4M3, rows_most, EXPERT_WIDTH);
    uint16_t *out = bench_take<uint16_t>((size_t)rows_most * HIDDEN);
    uint32_t *counter = bench_take<uint32_t>(1);
    for (uint32_t batch : {512u, 1024u, 2048u, 4096u}) {
        routing r = make_routing(batch, 7);
        gemm_fn *const kernels[] = {cuda_gemm_narrow, wide_product};
        for (int second = 0; second < 2; second++) {
            double t[2];
            for (int i = 0; i < 2; i++) {
                cuda_gemm g = {};
                g.rows = r.rows;
                g.w = second ? down : gate_up;
                g.x = second ? middle : x;
                g.epilogue = second ? CUDA_OUT_BF16 : CUDA_OUT_GATED;
                g.gated = middle;
                g.out = out;
                g.ld = HIDDEN;
                t[i] = bench_graph_seconds(
                    stream, 5, [&] { TRY(kernels[i](&g, &r.groups, counter, stream)); });
            }
            printf("  %-8s B %4u, %4.0f rows a group: narrow %8.1f us, wide %8.1f us\n",
                   second ? "down" : "gate, up", batch, r.rows / (double)GROUPS, t[0] * 1e6,
                   t[1] * 1e6);
        }
    }
}

} // namespace

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    bool dense = false, cross = false;
    for (int i = 1; i < argc; i++) {
        dense = dense || strcmp(argv[i], "--dense") == 0;
        cross = cross || strcmp(argv[i], "--cross") == 0;
        json = json || strcmp(argv[i], "--json") == 0;
    }
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || properties.major != 9) {
        printf("no GPU of sm_90\n");
        return 77;
    }
    printf("%s, %d processors\n", properties.name, properties.multiProcessorCount);
    TRY(cuda_gemm_prepare());
    TRY(cudaStreamCreate(&stream));
    uint32_t processors = (uint32_t)properties.multiProcessorCount;
    if (cross) {
        cross_plain();
        cross_grouped();
    } else if (dense) {
        bench_7b(processors);
        bench_deepseek();
    } else {
        bench_layer(processors);
    }
    return 0;
}
