/* check_gemm_wide: the wide product against a plain one with the operands' roles swapped (weights as the 64-row operand,
 * as the narrow kernel has them), bit for bit in every output, and that one against float64 sums on the host. Also:
 * nothing outside the outputs is written.
 *
 * usage: check_gemm_wide [small|narrow]
 *     small     what compute-sanitizer gets through in reasonable time
 *     narrow    the same cases with the narrow kernel: the two give the same bits */
#include "check_common.cuh"
#include "engine_cuda_epilogue.cuh"
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_wgmma.cuh"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

/* The wide product under the narrow one's type; it deals out its tiles in a fixed order and counts nothing. */
static cudaError_t wide_product(const cuda_gemm *gemm, const cuda_groups *groups, uint32_t *,
                                cudaStream_t stream)
{
    return cuda_gemm_wide(gemm, groups, stream);
}

static cudaError_t (*product)(const cuda_gemm *, const cuda_groups *, uint32_t *,
                              cudaStream_t) = wide_product;

static float random_part(void) /* 0 .. 1 */
{
    return (float)(random_word() >> 8) / 16777216.0f;
}

/* About normal, standard deviation 0.5 (bf16) or 30 (e4m3). */
static float random_spread(void)
{
    return (random_part() + random_part() + random_part() + random_part() - 2.0f) * 0.87f;
}

static uint8_t random_e4m3(void)
{
    static uint8_t table[4096];
    static bool ready;
    if (!ready) {
        for (int i = 0; i < 4096; i++) {
            float v = random_spread() * 60.0f, best = INFINITY;
            for (int b = 0; b < 256; b++) {
                if ((b & 0x7F) != 0x7F && fabsf(e4m3_value((uint8_t)b) - v) < best) {
                    best = fabsf(e4m3_value((uint8_t)b) - v);
                    table[i] = (uint8_t)b;
                }
            }
        }
        ready = true;
    }
    return table[random_word() % 4096];
}

/* ---- The plain product: 64 weight rows are the rows of the operand in registers' order, 64 tokens its columns ---- */

template <cuda_type TYPE>
__global__ void __launch_bounds__(128)
    plain_product(cuda_weight w, uint32_t group, cuda_rows x, uint32_t begin, uint32_t rows,
                  float *sums, uint32_t ld)
{
    __shared__ __align__(1024) uint8_t operands[2 * 8192];
    uint32_t a_row = blockIdx.x * 64, x_row = begin + blockIdx.y * 64;
    uint32_t smem = cuda_smem(operands);
    float sum[32] = {}, block[32] = {};
    uint32_t segment = 0, segment_end = cuda_segment_begin(w.k_blocks, w.segments, 1);
    bool fresh = true;
    for (uint32_t kb = 0; kb < w.k_blocks; kb++) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < 512; i += 128) {
            uint32_t r = i / 8, c = i % 8;
            size_t from = ((size_t)group * w.row_blocks + a_row / 128) * w.k_blocks * 16384 +
                          cuda_weight_offset(w, a_row % 128 + r, kb, c);
            *(uint4 *)(operands + cuda_swizzle(r, c)) = *(const uint4 *)(w.data + from);
            uint4 q = make_uint4(0, 0, 0, 0);
            if (x_row + r < begin + rows) {
                q = *(const uint4 *)(x.data + cuda_rows_offset(x, x_row + r, kb, c));
            }
            *(uint4 *)(operands + 8192 + cuda_swizzle(r, c)) = q;
        }
        cuda_proxy_fence();
        __syncthreads();
        uint64_t a = cuda_wgmma_operand(smem), b = cuda_wgmma_operand(smem + 8192);
        cuda_wgmma_hold(block);
        for (int k = 0; k < 4; k++) {
            cuda_wgmma_fence();
            if (TYPE == CUDA_E4M3) {
                cuda_wgmma<64>::e4m3(block, a + 2 * k, b + 2 * k, k > 0);
            } else {
                cuda_wgmma<64>::bf16(block, a + 2 * k, b + 2 * k, k > 0 || !fresh);
            }
            cuda_wgmma_commit();
            cuda_wgmma_wait<0>();
        }
        cuda_wgmma_hold(block);
        fresh = false;
        if (TYPE == CUDA_E4M3) {
            float scale = w.scale[((size_t)group * w.row_blocks + a_row / 128) * w.k_blocks + kb];
            for (int i = 0; i < 32; i++) {
                uint32_t n = x_row + (uint32_t)i / 4 * 8 + threadIdx.x % 4 * 2 + (uint32_t)i % 2;
                float xs = n < begin + rows ? x.scale[(size_t)kb * x.capacity + n] : 0.0f;
                sum[i] = __fmaf_rn(block[i], __fmul_rn(xs, scale), sum[i]);
            }
        } else if (kb + 1 == segment_end) {
            for (int i = 0; i < 32; i++) {
                sum[i] = segment == 0 ? block[i] : __fadd_rn(sum[i], block[i]);
            }
            segment++;
            segment_end = cuda_segment_begin(w.k_blocks, w.segments, segment + 1);
            fresh = true;
        }
    }
    for (int i = 0; i < 32; i++) {
        uint32_t m = a_row + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + (uint32_t)i / 2 % 2 * 8;
        uint32_t n = x_row + (uint32_t)i / 4 * 8 + threadIdx.x % 4 * 2 + (uint32_t)i % 2;
        if (n < begin + rows) {
            sums[(size_t)n * ld + m] = sum[i];
        }
    }
}

/* One block a row and output block of 128. */
__global__ void plain_gated(const float *sums, uint32_t ld, uint32_t begin, cuda_rows gated)
{
    __shared__ float largest[128];
    uint32_t row = begin + blockIdx.x, j = blockIdx.y, t = threadIdx.x;
    const float *s = sums + (size_t)row * ld + j * 256;
    float v = cuda_gated(s[t], s[t + 128]);
    if (gated.type == CUDA_BF16) {
        uint32_t pair = cuda_bf16_pair(v, 0.0f);
        size_t at = cuda_rows_offset(gated, row, j * 2 + t / 64, t % 64 / 8) + t % 8 * 2;
        *(uint16_t *)(gated.data + at) = (uint16_t)pair;
        return;
    }
    largest[t] = fabsf(v);
    __syncthreads();
    float amax = 0.0f;
    for (int i = 0; i < 128; i++) {
        amax = fmaxf(amax, largest[i]);
    }
    float scale = cuda_e4m3_scale(amax);
    gated.data[cuda_rows_offset(gated, row, j, t / 16) + t % 16] =
        (uint8_t)cuda_e4m3_pair(v, 0.0f, scale);
    if (t == 0) {
        gated.scale[(size_t)j * gated.capacity + row] = scale;
    }
}

/* ---- A case ---- */

struct shape {
    cuda_type type;
    uint32_t rows; /* 0: the groups' rows */
    uint32_t n, k;
    cuda_epilogue epilogue;
    cuda_type gated;
    bool bias;
    uint32_t ld_more;
    std::vector<uint32_t> groups;
};

struct operands {
    cuda_weight w;
    cuda_rows x;
    std::vector<uint8_t> w_data, x_data;
    std::vector<float> w_scale, x_scale;
};

static void fill(operands &o, const shape &s, uint32_t groups, uint32_t rows)
{
    uint32_t numbers = cuda_block_numbers(s.type);
    cuda_weight &w = o.w;
    cuda_rows &x = o.x;
    w = {};
    x = {};
    w.type = x.type = s.type;
    w.rows = s.n;
    w.cols = x.cols = s.k;
    w.row_blocks = (s.n + 127) / 128;
    w.k_blocks = x.k_blocks = (s.k + numbers - 1) / numbers;
    w.segments = cuda_weight_segments(s.type, w.row_blocks, w.k_blocks);
    x.capacity = (rows + 127) / 128 * 128;
    o.w_data.assign((size_t)groups * w.row_blocks * w.k_blocks * CUDA_TILE_BYTES, 0);
    o.x_data.assign((size_t)x.k_blocks * x.capacity * CUDA_BLOCK_BYTES, 0);
    uint32_t bytes = s.type == CUDA_E4M3 ? 1 : 2;
    for (int which = 0; which < 2; which++) {
        size_t lines = which == 0 ? (size_t)groups * s.n : x.capacity;
        for (size_t r = 0; r < lines; r++) {
            for (uint32_t c = 0; c < s.k; c++) {
                uint32_t kb = c / numbers, at = c % numbers * bytes;
                uint8_t *to;
                if (which == 0) {
                    to = o.w_data.data() +
                         r / s.n * w.row_blocks * w.k_blocks * (size_t)CUDA_TILE_BYTES +
                         cuda_weight_offset(w, (uint32_t)(r % s.n), kb, at / 16) + at % 16;
                } else {
                    to = o.x_data.data() + cuda_rows_offset(x, (uint32_t)r, kb, at / 16) + at % 16;
                }
                if (bytes == 1) {
                    *to = random_e4m3();
                } else {
                    uint16_t b = bf16_bits(random_spread());
                    memcpy(to, &b, 2);
                }
            }
        }
    }
    if (s.type == CUDA_E4M3) {
        o.w_scale.resize((size_t)groups * w.row_blocks * w.k_blocks);
        o.x_scale.resize((size_t)x.k_blocks * x.capacity);
        for (float &f : o.w_scale) {
            f = 1e-3f * (0.3f + random_part());
        }
        for (float &f : o.x_scale) {
            f = 1e-2f * (0.3f + random_part());
        }
        w.scale = to_device(o.w_scale);
        x.scale = to_device(o.x_scale);
    }
    w.data = to_device(o.w_data);
    x.data = to_device(o.x_data);
}

/* Relative error of sampled plain sums against float64. */
static double sampled_error(const operands &o, const std::vector<float> &sums, uint32_t ld,
                            const std::vector<uint32_t> &begin, const std::vector<uint32_t> &rows)
{
    double error = 0.0, norm = 0.0;
    uint32_t numbers = cuda_block_numbers(o.w.type);
    for (int i = 0; i < 300; i++) {
        uint32_t g = random_word() % (uint32_t)rows.size();
        if (rows[g] == 0) {
            continue;
        }
        uint32_t row = begin[g] + (i < 4 ? rows[g] - 1 : random_word() % rows[g]);
        uint32_t n = i < 4 ? o.w.rows - 1 : random_word() % o.w.rows;
        double sum = 0.0;
        for (uint32_t c = 0; c < o.w.cols; c++) {
            uint32_t kb = c / numbers;
            size_t group_at = (size_t)g * o.w.row_blocks * o.w.k_blocks;
            size_t w_at = group_at * CUDA_TILE_BYTES;
            if (o.w.type == CUDA_E4M3) {
                uint32_t at = c % numbers;
                double a =
                    e4m3_value(o.w_data[w_at + cuda_weight_offset(o.w, n, kb, at / 16) + at % 16]);
                double b = e4m3_value(o.x_data[cuda_rows_offset(o.x, row, kb, at / 16) + at % 16]);
                sum += a * b * o.w_scale[group_at + (size_t)(n / 128) * o.w.k_blocks + kb] *
                       o.x_scale[(size_t)kb * o.x.capacity + row];
            } else {
                uint32_t at = c % numbers * 2;
                uint16_t a, b;
                memcpy(&a, &o.w_data[w_at + cuda_weight_offset(o.w, n, kb, at / 16) + at % 16], 2);
                memcpy(&b, &o.x_data[cuda_rows_offset(o.x, row, kb, at / 16) + at % 16], 2);
                sum += (double)bf16_value(a) * bf16_value(b);
            }
        }
        double d = sums[(size_t)row * ld + n] - sum;
        error += d * d;
        norm += sum * sum;
    }
    return norm > 0.0 ? sqrt(error / norm) : 0.0;
}

struct tally {
    size_t wrong, total, first;
};

template <class T> static tally compare(const std::vector<T> &got, const std::vector<T> &expected)
{
    tally t = {0, got.size(), 0};
    for (size_t i = 0; i < got.size(); i++) {
        if (memcmp(&got[i], &expected[i], sizeof(T)) != 0) {
            t.first = t.wrong == 0 ? i : t.first;
            t.wrong++;
        }
    }
    return t;
}

static const char *epilogue_name(const shape &s)
{
    static const char *const names[] = {"f32", "bf16", "add"};
    return s.epilogue == CUDA_OUT_GATED ? (s.gated == CUDA_E4M3 ? "gated-e4m3" : "gated-bf16")
                                        : names[s.epilogue];
}

static void report(const shape &s, uint32_t rows, double error, const tally &t, uint32_t unit)
{
    double bound = s.type == CUDA_E4M3 ? 2e-3 : 1e-4;
    bool good = t.wrong == 0 && error < bound; /* a NaN fails */
    failures += good ? 0 : 1;
    printf("%s %s rows=%u groups=%zu n=%u k=%u %s%s: float64 %.1e, bits differ %zu of %zu",
           good ? "ok  " : "FAIL", s.type == CUDA_E4M3 ? "e4m3" : "bf16", rows, s.groups.size(),
           s.n, s.k, epilogue_name(s), s.bias ? " bias" : "", error, t.wrong, t.total);
    if (t.wrong != 0) {
        printf(", first at row %zu column %zu", t.first / unit, t.first % unit);
    }
    printf("\n");
    fflush(stdout);
}

static void run(const shape &s)
{
    bool refused = s.type == CUDA_BF16 && s.epilogue == CUDA_OUT_GATED && s.gated == CUDA_E4M3;
    if (product == cuda_gemm_narrow && refused) {
        return;
    }
    std::vector<uint32_t> begin, rows = s.groups;
    uint32_t all = 0;
    if (rows.empty()) {
        rows.push_back(s.rows);
    }
    for (uint32_t r : rows) {
        begin.push_back(all);
        all += (r + 7) / 8 * 8;
    }
    operands o;
    fill(o, s, (uint32_t)rows.size(), all);
    uint32_t padded = o.w.row_blocks * 128, capacity = o.x.capacity;
    float *sums;
    TRY(cudaMalloc(&sums, (size_t)capacity * padded * 4));
    TRY(cudaMemset(sums, 0xFF, (size_t)capacity * padded * 4));
    for (size_t g = 0; g < rows.size(); g++) {
        if (rows[g] != 0) {
            auto kernel = s.type == CUDA_E4M3 ? plain_product<CUDA_E4M3> : plain_product<CUDA_BF16>;
            kernel<<<dim3(padded / 64, (rows[g] + 63) / 64), 128>>>(o.w, (uint32_t)g, o.x, begin[g],
                                                                    rows[g], sums, padded);
        }
    }
    TRY(cudaDeviceSynchronize());
    std::vector<float> host_sums = to_host((const float *)sums, (size_t)capacity * padded);
    double error = sampled_error(o, host_sums, padded, begin, rows);

    cuda_gemm g = {};
    g.w = o.w;
    g.x = o.x;
    g.rows = s.groups.empty() ? s.rows : all;
    g.epilogue = s.epilogue;
    std::vector<float> bias(s.n);
    for (float &f : bias) {
        f = random_part() - 0.5f;
    }
    float *bias_device = to_device(bias);
    g.bias = s.bias ? bias_device : nullptr;
    uint32_t *begin_device = to_device(begin), *rows_device = to_device(rows);
    cuda_groups groups = {};
    groups.count = (uint32_t)rows.size();
    groups.begin = begin_device;
    groups.rows = rows_device;
    for (uint32_t r : rows) {
        groups.rows_max = r > groups.rows_max ? r : groups.rows_max;
    }
    uint32_t *counter;
    TRY(cudaMalloc(&counter, 4));
    TRY(cudaMemset(counter, 0, 4));
    const cuda_groups *groups_used = s.groups.empty() ? nullptr : &groups;

    if (s.epilogue == CUDA_OUT_GATED) {
        cuda_rows out[2];
        uint32_t columns = s.n / 2, numbers = cuda_block_numbers(s.gated);
        uint32_t k_blocks = (columns + numbers - 1) / numbers;
        size_t bytes = (size_t)k_blocks * capacity * 128, scales = (size_t)k_blocks * capacity;
        for (int i = 0; i < 2; i++) {
            out[i] = {nullptr, nullptr, s.gated, capacity, columns, k_blocks};
            TRY(cudaMalloc(&out[i].data, bytes));
            TRY(cudaMalloc(&out[i].scale, scales * 4));
            TRY(cudaMemset(out[i].data, 0xAB, bytes));
            TRY(cudaMemset(out[i].scale, 0xAB, scales * 4));
        }
        for (size_t j = 0; j < rows.size(); j++) {
            if (rows[j] != 0) {
                plain_gated<<<dim3(rows[j], s.n / 256), 128>>>(sums, padded, begin[j], out[0]);
            }
        }
        g.gated = out[1];
        TRY(product(&g, groups_used, counter, 0));
        TRY(cudaDeviceSynchronize());
        tally t = compare(to_host((const uint8_t *)out[1].data, bytes),
                          to_host((const uint8_t *)out[0].data, bytes));
        tally u = compare(to_host((const float *)out[1].scale, scales),
                          to_host((const float *)out[0].scale, scales));
        if (t.wrong == 0 && u.wrong != 0) {
            printf("     scales differ\n");
            t = u;
        }
        report(s, all, error, t, 128);
        for (int i = 0; i < 2; i++) {
            cudaFree(out[i].data);
            cudaFree(out[i].scale);
        }
    } else {
        uint32_t ld = s.n + (product == wide_product ? s.ld_more : 0),
                 bytes = s.epilogue == CUDA_OUT_BF16 ? 2 : 4;
        std::vector<float> initial((size_t)capacity * ld);
        for (float &f : initial) {
            f = random_part();
        }
        g.ld = ld;
        g.out = to_device(initial);
        TRY(product(&g, groups_used, counter, 0));
        TRY(cudaDeviceSynchronize());
        std::vector<float> expected = initial;
        uint16_t *half = (uint16_t *)expected.data();
        for (size_t j = 0; j < rows.size(); j++) {
            for (uint32_t r = begin[j]; r < begin[j] + rows[j]; r++) {
                for (uint32_t n = 0; n < s.n; n++) {
                    float v = host_sums[(size_t)r * padded + n];
                    v = s.bias ? v + bias[n] : v;
                    size_t at = (size_t)r * ld + n;
                    if (s.epilogue == CUDA_OUT_BF16) {
                        half[at] = bf16_bits(v);
                    } else {
                        expected[at] = s.epilogue == CUDA_OUT_ADD ? initial[at] + v : v;
                    }
                }
            }
        }
        if (bytes == 2) {
            std::vector<uint16_t> e(half, half + expected.size() * 2);
            report(s, all, error, compare(to_host((const uint16_t *)g.out, e.size()), e), ld);
        } else {
            report(s, all, error, compare(to_host((const float *)g.out, expected.size()), expected),
                   ld);
        }
        cudaFree(g.out);
    }
    const void *all_of_it[] = {sums,     bias_device, begin_device, rows_device, counter,
                               o.w.data, o.x.data,    o.w.scale,    o.x.scale};
    for (const void *p : all_of_it) {
        TRY(cudaFree((void *)p));
    }
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "small") == 0;
    int processors;
    TRY(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
    TRY(cuda_gemm_wide_prepare((uint32_t)processors));
    if (argc > 1 && strcmp(argv[1], "narrow") == 0) {
        TRY(cuda_gemm_narrow_prepare((uint32_t)processors));
        product = cuda_gemm_narrow;
    }
    const std::vector<uint32_t> none, few = {0, 1, 7, 129, 300, 0, 64, 65};
    std::vector<uint32_t> many;
    for (int i = 0; i < 70; i++) {
        many.push_back(i % 3 == 0 ? 0 : random_word() % 200);
    }
    for (int t = 0; t < 2; t++) {
        cuda_type type = t == 0 ? CUDA_E4M3 : CUDA_BF16;
        uint32_t k = t == 0 ? 2 : 1; /* as many K blocks with bf16 */
        run({type, 128, 256, 128 * k, CUDA_OUT_F32, CUDA_E4M3, false, 0, none});
        run({type, 1, 576, 576 * k, CUDA_OUT_BF16, CUDA_E4M3, false, 0, none});
        run({type, 300, 576, 192 * k, CUDA_OUT_F32, CUDA_E4M3, true, 0, none});
        run({type, 77, 200, 320 * k, CUDA_OUT_ADD, CUDA_E4M3, true, 1, none});
        run({type, 65, 130, 320 * k, CUDA_OUT_BF16, CUDA_E4M3, true, 3, none});
        run({type, 200, 512, 192 * k, CUDA_OUT_GATED, CUDA_E4M3, false, 0, none});
        run({type, 200, 512, 192 * k, CUDA_OUT_GATED, CUDA_BF16, false, 0, none});
        run({type, 0, 512, 320 * k, CUDA_OUT_GATED, CUDA_E4M3, false, 0, few});
        run({type, 0, 640, 320 * k, CUDA_OUT_BF16, CUDA_E4M3, false, 0, few});
        if (small) {
            continue;
        }
        run({type, 517, 2112, 640 * k, CUDA_OUT_ADD, CUDA_E4M3, true, 0, none});
        run({type, 1000, 2048, 3584 * k, CUDA_OUT_GATED, CUDA_E4M3, false, 0, none});
        run({type, 1000, 2048, 1000 * k, CUDA_OUT_GATED, CUDA_BF16, false, 0, none});
        run({type, 2500, 1536, 2112 * k, CUDA_OUT_BF16, CUDA_E4M3, false, 0, none});
        run({type, 4096, 4096, 1024 * k, CUDA_OUT_BF16, CUDA_E4M3, false, 0, none});
        run({type, 130, 6144, 2176 * k, CUDA_OUT_F32, CUDA_E4M3, false, 0, none});
        run({type, 300, 11008, 2048 * k, CUDA_OUT_BF16, CUDA_E4M3, false, 0, none});
        run({type, 0, 384, 448 * k, CUDA_OUT_F32, CUDA_E4M3, false, 0, few});
        run({type, 0, 512, 448 * k, CUDA_OUT_GATED, CUDA_BF16, false, 0, many});
        run({type, 0, 512, 448 * k, CUDA_OUT_ADD, CUDA_E4M3, false, 0, many});
    }
    printf("%s\n", failures == 0 ? "all ok" : "FAILED");
    return failures == 0 ? 0 : 1;
}
