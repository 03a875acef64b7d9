/* check_gemm: the products of engine_cuda_gemm.cuh on a GPU of sm_90a, against float64 sums, and their bits against each
 * other: of a row alone and in a batch, of a group and a plain product, of the narrow and the wide kernel.
 *
 * usage: check_gemm [small]    small: the narrow kernel alone, for compute-sanitizer
 * Prints a line a check; exit status 0: all right, 1: not, 77: no such GPU. */
#include "check_common.cuh"
#include "engine_cuda_epilogue.cuh"
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_ptx.cuh"

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

namespace
{

void report(bool ok, const std::string &what, const std::string &detail)
{
    printf("%s %s: %s\n", ok ? "ok  " : "FAIL", what.c_str(), detail.c_str());
    failures += !ok;
}

std::string text(const char *format, ...)
{
    char buffer[256];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    return buffer;
}

/* ---- Matrices ---- */

/* Random numbers of a matrix as they lie in a row-major checkpoint, bytes as stored. */
std::vector<uint8_t> random_numbers(cuda_type type, size_t count)
{
    uint16_t some[4096]; /* rounding each number by itself would take longer than all the rest */
    for (uint16_t &v : some) {
        float value = random_unit() + random_unit();
        if (type == CUDA_E4M3) {
            v = __nv_cvt_float_to_fp8(value * 100.0f, __NV_SATFINITE, __NV_E4M3);
        } else {
            __nv_bfloat16 b = __float2bfloat16(value);
            memcpy(&v, &b, 2);
        }
    }
    std::vector<uint8_t> bytes(type == CUDA_E4M3 ? count : 2 * count);
    for (size_t i = 0; i < count; i++) {
        uint16_t v = some[random_word() % 4096];
        if (type == CUDA_E4M3) {
            bytes[i] = (uint8_t)v;
        } else {
            memcpy(&bytes[2 * i], &v, 2);
        }
    }
    return bytes;
}

struct matrix {
    cuda_type type;
    uint32_t rows, cols, groups;
    std::vector<float> scale;
    uint8_t *plain; /* device, row-major, groups * rows x cols */
    cuda_weight w;  /* as weights, or ... */
    cuda_rows x;    /* ... as tokens      */
    float *plain_scale;
};

matrix make_weight(cuda_type type, uint32_t groups, uint32_t rows, uint32_t cols)
{
    matrix m = {};
    m.type = type;
    m.rows = rows;
    m.cols = cols;
    m.groups = groups;
    uint32_t per = cuda_block_numbers(type), size = type == CUDA_E4M3 ? 1 : 2;
    cuda_weight &w = m.w;
    w.type = type;
    w.rows = rows;
    w.cols = cols;
    w.row_blocks = (rows + 127) / 128;
    w.k_blocks = (cols + per - 1) / per;
    w.segments = cuda_weight_segments(type, w.row_blocks, w.k_blocks);
    std::vector<uint8_t> plain = random_numbers(type, (size_t)groups * rows * cols);
    size_t group_bytes = (size_t)w.row_blocks * w.k_blocks * CUDA_TILE_BYTES;
    std::vector<uint8_t> tiled(groups * group_bytes, 0);
    for (uint32_t g = 0; g < groups; g++) {
        for (uint32_t r = 0; r < rows; r++) {
            for (uint32_t byte = 0; byte < cols * size; byte += 16) {
                uint32_t n = cols * size - byte < 16 ? cols * size - byte : 16;
                memcpy(&tiled[g * group_bytes + cuda_weight_offset(w, r, byte / CUDA_BLOCK_BYTES,
                                                                   byte % CUDA_BLOCK_BYTES / 16)],
                       &plain[((size_t)g * rows + r) * cols * size + byte], n);
            }
        }
    }
    m.plain = to_device(plain);
    w.data = to_device(tiled);
    if (type == CUDA_E4M3) {
        m.scale.resize((size_t)groups * w.row_blocks * w.k_blocks);
        for (float &s : m.scale) {
            s = 0.001f * (1.5f + random_unit());
        }
        w.scale = m.plain_scale = to_device(m.scale);
    }
    return m;
}

/* Tokens: `rows` of them, in a matrix of the next capacity. Padding rows stay zero. */
matrix make_tokens(cuda_type type, uint32_t rows, uint32_t cols)
{
    matrix m = {};
    m.type = type;
    m.rows = rows;
    m.cols = cols;
    uint32_t per = cuda_block_numbers(type), size = type == CUDA_E4M3 ? 1 : 2;
    cuda_rows &x = m.x;
    x.type = type;
    x.cols = cols;
    x.capacity = (rows + 127) / 128 * 128;
    x.k_blocks = (cols + per - 1) / per;
    std::vector<uint8_t> plain = random_numbers(type, (size_t)rows * cols);
    std::vector<uint8_t> packed((size_t)x.k_blocks * x.capacity * CUDA_BLOCK_BYTES, 0);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t byte = 0; byte < cols * size; byte += 16) {
            uint32_t n = cols * size - byte < 16 ? cols * size - byte : 16;
            memcpy(&packed[cuda_rows_offset(x, r, byte / CUDA_BLOCK_BYTES,
                                            byte % CUDA_BLOCK_BYTES / 16)],
                   &plain[(size_t)r * cols * size + byte], n);
        }
    }
    m.plain = to_device(plain);
    x.data = to_device(packed);
    if (type == CUDA_E4M3) {
        m.scale.assign((size_t)x.k_blocks * x.capacity, 0.0f);
        for (uint32_t kb = 0; kb < x.k_blocks; kb++) {
            for (uint32_t r = 0; r < rows; r++) {
                m.scale[(size_t)kb * x.capacity + r] = 0.01f * (1.5f + random_unit());
            }
        }
        x.scale = m.plain_scale = to_device(m.scale);
    }
    return m;
}

void free_matrix(matrix &m)
{
    cudaFree(m.plain);
    cudaFree((void *)m.w.data);
    cudaFree(m.x.data);
    cudaFree(m.plain_scale);
}

cuda_rows make_gated(cuda_type type, uint32_t rows, uint32_t cols)
{
    cuda_rows m = {};
    m.type = type;
    m.cols = cols;
    m.capacity = (rows + 127) / 128 * 128;
    m.k_blocks = cols / cuda_block_numbers(type);
    m.data = device_zeros<uint8_t>((size_t)m.k_blocks * m.capacity * CUDA_BLOCK_BYTES);
    m.scale = type == CUDA_E4M3 ? device_zeros<float>((size_t)m.k_blocks * m.capacity) : NULL;
    return m;
}

/* ---- References ---- */

__device__ double number(const uint8_t *bytes, cuda_type type, size_t i)
{
    if (type == CUDA_E4M3) {
        __nv_fp8_e4m3 v;
        v.__x = bytes[i];
        return (double)(float)v;
    }
    return (double)__bfloat162float(((const __nv_bfloat16 *)bytes)[i]);
}

struct reference_input {
    const uint8_t *w, *x;
    const float *w_scale, *x_scale;
    cuda_type type;
    uint32_t rows, cols, k_blocks, capacity, first_row;
};

/* One warp an output: out[row * in.rows + n]. */
__global__ void reference_sums(double *out, reference_input in)
{
    uint32_t n = blockIdx.x, row = blockIdx.y;
    double sum = 0.0;
    for (uint32_t k = threadIdx.x; k < in.cols; k += 32) {
        double v = number(in.w, in.type, (size_t)n * in.cols + k) *
                   number(in.x, in.type, (size_t)(in.first_row + row) * in.cols + k);
        if (in.type == CUDA_E4M3) {
            v *= (double)in.w_scale[(size_t)(n / 128) * in.k_blocks + k / 128] *
                 (double)in.x_scale[(size_t)(k / 128) * in.capacity + in.first_row + row];
        }
        sum += v;
    }
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, step);
    }
    if (threadIdx.x == 0) {
        out[(size_t)row * in.rows + n] = sum;
    }
}

std::vector<double> reference(const matrix &w, uint32_t group, const matrix &x, uint32_t first,
                              uint32_t rows)
{
    size_t size = w.type == CUDA_E4M3 ? 1 : 2;
    reference_input in = {};
    in.w = w.plain + (size_t)group * w.rows * w.cols * size;
    in.x = x.plain;
    in.w_scale = w.plain_scale == NULL
                     ? NULL
                     : w.plain_scale + (size_t)group * w.w.row_blocks * w.w.k_blocks;
    in.x_scale = x.plain_scale;
    in.type = w.type;
    in.rows = w.rows;
    in.cols = w.cols;
    in.k_blocks = w.w.k_blocks;
    in.capacity = x.x.capacity;
    in.first_row = first;
    double *out = device_zeros<double>((size_t)rows * w.rows);
    reference_sums<<<dim3(w.rows, rows), 32>>>(out, in);
    TRY(cudaGetLastError());
    std::vector<double> v = to_host(out, (size_t)rows * w.rows);
    cudaFree(out);
    return v;
}

double relative_error(const float *out, const double *ref, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)out[i] - ref[i];
        error += d * d; /* NaN stays NaN, and fails the test */
        norm += ref[i] * ref[i];
    }
    return sqrt(error / norm);
}

/* What a gated product must give, from the plain sums of the same weights, with the very functions of the kernels. */
__global__ void reference_gated(cuda_rows out, const float *sums, uint32_t ld)
{
    __shared__ float most[128];
    uint32_t j = blockIdx.x, row = blockIdx.y, n = threadIdx.x;
    const float *at = sums + (size_t)row * ld + 256 * j;
    float value = cuda_gated(at[n], at[n + 128]);
    most[n] = fabsf(value);
    __syncthreads();
    for (uint32_t i = 64; i > 0; i /= 2) {
        if (n < i) {
            most[n] = fmaxf(most[n], most[n + i]);
        }
        __syncthreads();
    }
    if (out.type == CUDA_E4M3) {
        float scale = cuda_e4m3_scale(most[0]);
        out.data[cuda_rows_offset(out, row, j, n / 16) + n % 16] =
            (uint8_t)cuda_e4m3_pair(value, 0.0f, scale);
        if (n == 0) {
            out.scale[(size_t)j * out.capacity + row] = scale;
        }
    } else {
        *(__nv_bfloat16 *)(out.data + cuda_rows_offset(out, row, 2 * j + n / 64, n % 64 / 8) +
                           n % 8 * 2) = __float2bfloat16_rn(value);
    }
}

/* ---- Checks ---- */

typedef cudaError_t gemm_fn(const cuda_gemm *, const cuda_groups *, uint32_t *, cudaStream_t);

/* The wide product under the narrow one's type; it deals out its tiles in a fixed order and counts nothing. */
cudaError_t wide_product(const cuda_gemm *gemm, const cuda_groups *groups, uint32_t *,
                         cudaStream_t stream)
{
    return cuda_gemm_wide(gemm, groups, stream);
}

struct kernel_under_test {
    const char *name;
    gemm_fn *run;
};

constexpr float POISON = 12345.678f;

std::vector<float> run_plain(const kernel_under_test &kernel, const matrix &w, const matrix &x,
                             uint32_t rows, uint32_t room, cuda_epilogue epilogue = CUDA_OUT_F32,
                             const float *bias = NULL)
{
    std::vector<float> poison((size_t)room * w.rows, POISON);
    float *out = to_device(poison);
    cuda_gemm g = {};
    g.w = w.w;
    g.x = x.x;
    g.rows = rows;
    g.epilogue = epilogue;
    g.out = out;
    g.ld = w.rows;
    g.bias = bias;
    TRY(kernel.run(&g, NULL, NULL, 0));
    TRY(cudaDeviceSynchronize());
    std::vector<float> v = to_host(out, poison.size());
    cudaFree(out);
    return v;
}

size_t differences(const void *a, const void *b, size_t words, size_t *first)
{
    size_t count = 0;
    for (size_t i = 0; i < words; i++) {
        if (((const uint32_t *)a)[i] != ((const uint32_t *)b)[i] && count++ == 0) {
            *first = i;
        }
    }
    return count;
}

const char *type_name(cuda_type type)
{
    return type == CUDA_E4M3 ? "e4m3" : "bf16";
}

/* Plain products: against float64, all epilogues, and every number of rows against the bits of the largest. */
void check_plain(const kernel_under_test &kernel, cuda_type type, uint32_t n, uint32_t k,
                 std::vector<float> *bits)
{
    const uint32_t most = 136;
    random_state = 88172645463325252ull + n + 3 * (uint64_t)k;
    matrix w = make_weight(type, 1, n, k), x = make_tokens(type, most, k);
    std::string name =
        text("%s %s %ux%u segments %u", kernel.name, type_name(type), n, k, w.w.segments);
    std::vector<float> all = run_plain(kernel, w, x, most, most);
    std::vector<double> ref = reference(w, 0, x, 0, most);
    double error = relative_error(all.data(), ref.data(), ref.size());
    report(error < (type == CUDA_E4M3 ? 1e-3 : 1e-5), name, text("error %.2e", error));
    if (!(error < 1e-3)) {
        for (size_t i = 0, shown = 0; i < ref.size() && shown < 6; i++) {
            if (!(fabs(all[i] - ref[i]) < 1e-2 * fabs(ref[i]) + 1e-2)) {
                printf("     row %zu column %zu: %g, not %g\n", i / n, i % n, all[i], ref[i]);
                shown++;
            }
        }
    }
    size_t first = 0, wrong = 0, lost = 0;
    for (uint32_t rows : {1u, 2u, 7u, 8u, 9u, 16u, 17u, 31u, 33u, 40u, 41u, 56u, 57u, 64u, 65u, 72u,
                          100u, 128u, 129u}) {
        std::vector<float> some = run_plain(kernel, w, x, rows, most);
        size_t d = differences(some.data(), all.data(), (size_t)rows * n, &first);
        if (d > 0 && wrong == 0) {
            printf("     rows %u: %zu bits differ, first at row %zu column %zu: %g, not %g\n", rows,
                   d, first / n, first % n, some[first], all[first]);
        }
        wrong += d;
        for (size_t i = (size_t)rows * n; i < some.size(); i++) {
            lost += some[i] != POISON;
        }
    }
    report(wrong == 0 && lost == 0, name,
           text("rows 1..129: %zu bits differ, %zu past the end", wrong, lost));
    std::vector<float> bias(n);
    for (float &b : bias) {
        b = random_unit();
    }
    float *d_bias = to_device(bias);
    for (uint32_t rows : {5u, 64u}) {
        std::vector<float> biased = run_plain(kernel, w, x, rows, rows, CUDA_OUT_F32, d_bias);
        std::vector<float> added = run_plain(kernel, w, x, rows, rows, CUDA_OUT_ADD, d_bias);
        std::vector<float> rounded = run_plain(kernel, w, x, rows, rows, CUDA_OUT_BF16, d_bias);
        size_t bad_bias = 0, bad_add = 0, bad_round = 0;
        for (size_t i = 0; i < (size_t)rows * n; i++) {
            float expected = all[i] + bias[i % n];
            bad_bias += biased[i] != expected;
            bad_add += added[i] != POISON + expected;
            __nv_bfloat16 b = __float2bfloat16_rn(expected);
            bad_round += memcmp((uint8_t *)rounded.data() + 2 * i, &b, 2) != 0;
        }
        report(
            bad_bias + bad_add + bad_round == 0, name,
            text("rows %u: bias %zu, add %zu, bf16 %zu wrong", rows, bad_bias, bad_add, bad_round));
    }
    cudaFree(d_bias);
    if (bits != NULL) {
        if (bits->empty()) {
            *bits = all;
        } else {
            size_t d = differences(bits->data(), all.data(), all.size(), &first);
            report(d == 0, name, text("%zu bits differ from the first kernel's", d));
        }
    }
    free_matrix(w);
    free_matrix(x);
}

size_t compare_gated(const cuda_rows &a, const cuda_rows &b, uint32_t row, uint32_t row_b,
                     uint32_t rows)
{
    std::vector<uint8_t> da = to_host(a.data, (size_t)a.k_blocks * a.capacity * CUDA_BLOCK_BYTES);
    std::vector<uint8_t> db = to_host(b.data, (size_t)b.k_blocks * b.capacity * CUDA_BLOCK_BYTES);
    std::vector<float> sa, sb;
    if (a.type == CUDA_E4M3) {
        sa = to_host(a.scale, (size_t)a.k_blocks * a.capacity);
        sb = to_host(b.scale, (size_t)b.k_blocks * b.capacity);
    }
    size_t wrong = 0;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t kb = 0; kb < a.k_blocks; kb++) {
            for (uint32_t c = 0; c < 8; c++) {
                wrong += memcmp(&da[cuda_rows_offset(a, row + r, kb, c)],
                                &db[cuda_rows_offset(b, row_b + r, kb, c)], 16) != 0;
            }
            wrong += !sa.empty() && sa[(size_t)kb * a.capacity + row + r] !=
                                        sb[(size_t)kb * b.capacity + row_b + r];
        }
    }
    return wrong;
}

/* Gated products against the plain sums of the same weights. */
void check_gated(const kernel_under_test &kernel, cuda_type type, cuda_type out, uint32_t n,
                 uint32_t k)
{
    const uint32_t most = 130;
    matrix w = make_weight(type, 1, n, k), x = make_tokens(type, most, k);
    std::string name =
        text("%s %s gated to %s %ux%u", kernel.name, type_name(type), type_name(out), n, k);
    std::vector<float> sums = run_plain(kernel, w, x, most, most);
    float *d_sums = to_device(sums);
    cuda_rows expected = make_gated(out, most, n / 2), got = make_gated(out, most, n / 2);
    reference_gated<<<dim3(n / 256, most), 128>>>(expected, d_sums, n);
    TRY(cudaGetLastError());
    size_t wrong = 0, lost = 0;
    for (uint32_t rows : {1u, 8u, 13u, 24u, 32u, 43u, 64u, 90u, 130u}) {
        TRY(cudaMemset(got.data, 0x7F, (size_t)got.k_blocks * got.capacity * CUDA_BLOCK_BYTES));
        cuda_gemm g = {};
        g.w = w.w;
        g.x = x.x;
        g.rows = rows;
        g.epilogue = CUDA_OUT_GATED;
        g.gated = got;
        TRY(kernel.run(&g, NULL, NULL, 0));
        TRY(cudaDeviceSynchronize());
        size_t d = compare_gated(got, expected, 0, 0, rows);
        if (d > 0 && wrong == 0) {
            printf("     rows %u: %zu pieces wrong\n", rows, d);
        }
        wrong += d;
        std::vector<uint8_t> bytes =
            to_host(got.data, (size_t)got.k_blocks * got.capacity * CUDA_BLOCK_BYTES);
        uint32_t past = (rows + 7) / 8 * 8; /* the rest of the last atom may hold anything finite */
        for (uint32_t r = past; r < got.capacity; r++) {
            for (uint32_t kb = 0; kb < got.k_blocks; kb++) {
                lost += bytes[cuda_rows_offset(got, r, kb, 0)] != 0x7F;
            }
        }
    }
    report(wrong == 0 && lost == 0, name, text("%zu pieces wrong, %zu past the end", wrong, lost));
    cudaFree(d_sums);
    cudaFree(expected.data);
    cudaFree(expected.scale);
    cudaFree(got.data);
    cudaFree(got.scale);
    free_matrix(w);
    free_matrix(x);
}

/* Groups of many sizes against plain products of the same rows, bit for bit, and against float64. */
void check_grouped(const kernel_under_test &kernel, cuda_type type, uint32_t n, uint32_t k)
{
    const std::vector<uint32_t> sizes = {3, 0, 64, 1, 129, 8, 0, 40, 17, 65, 0, 200, 5, 0};
    uint32_t count = (uint32_t)sizes.size(), rows = 0;
    std::vector<uint32_t> begin;
    for (uint32_t size : sizes) {
        begin.push_back(rows);
        rows += (size + 7) / 8 * 8;
    }
    matrix w = make_weight(type, count, n, k), x = make_tokens(type, rows, k);
    std::string name = text("%s %s %u groups %ux%u", kernel.name, type_name(type), count, n, k);
    uint32_t *d_begin = to_device(begin), *d_sizes = to_device(sizes);
    uint32_t *counter = device_zeros<uint32_t>(1);
    cuda_groups groups = {count, d_begin, d_sizes, 200, false};
    cuda_groups settled = groups;
    settled.settled = true;
    float *out = to_device(std::vector<float>((size_t)rows * n, POISON));
    cuda_rows gated = make_gated(type, rows, n / 2), alone = make_gated(type, 256, n / 2);
    cuda_gemm g = {};
    g.w = w.w;
    g.x = x.x;
    g.rows = rows;
    g.epilogue = CUDA_OUT_F32;
    g.out = out;
    g.ld = n;
    g.gated = gated;
    cuda_gemm with_gate = g;
    with_gate.epilogue = CUDA_OUT_GATED;
    for (int i = 0; i < 5; i++) {
        TRY(kernel.run(&with_gate, &groups, counter, 0));
        TRY(kernel.run(&g, &settled, counter, 0));
    }
    TRY(cudaDeviceSynchronize());
    report(to_host(counter, 1)[0] == 0, name, "counter is zero again");
    std::vector<float> got = to_host(out, (size_t)rows * n);
    size_t wrong = 0, wrong_gated = 0, lost = 0;
    double worst = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        for (size_t j = (size_t)(begin[i] + sizes[i]) * n;
             j < (size_t)(begin[i] + (sizes[i] + 7) / 8 * 8) * n; j++) {
            lost += got[j] != POISON;
        }
        if (sizes[i] == 0) {
            continue;
        }
        /* The same rows as a plain product: x from the group's first row on. */
        matrix part_w = w, part_x = x;
        size_t tiles = (size_t)w.w.row_blocks * w.w.k_blocks;
        part_w.w.data += i * tiles * CUDA_TILE_BYTES;
        part_w.w.scale = w.w.scale == NULL ? NULL : w.w.scale + i * tiles;
        part_x.x.data += (size_t)begin[i] / 8 * CUDA_ATOM_BYTES;
        part_x.x.scale = x.x.scale == NULL ? NULL : x.x.scale + begin[i];
        std::vector<float> plain = run_plain(kernel, part_w, part_x, sizes[i], sizes[i]);
        size_t first = 0;
        size_t d = differences(plain.data(), &got[(size_t)begin[i] * n], plain.size(), &first);
        if (d > 0 && wrong == 0) {
            printf("     group %u of %u rows: %zu bits, first at row %zu column %zu: %g, not %g\n",
                   i, sizes[i], d, first / n, first % n, got[(size_t)begin[i] * n + first],
                   plain[first]);
        }
        wrong += d;
        std::vector<double> ref = reference(w, i, x, begin[i], sizes[i]);
        worst = fmax(worst, relative_error(&got[(size_t)begin[i] * n], ref.data(), ref.size()));
        cuda_gemm p = with_gate;
        p.w = part_w.w;
        p.x = part_x.x;
        p.rows = sizes[i];
        p.gated = alone;
        TRY(kernel.run(&p, NULL, NULL, 0));
        TRY(cudaDeviceSynchronize());
        wrong_gated += compare_gated(gated, alone, begin[i], 0, sizes[i]);
    }
    report(worst < 1e-3 && lost == 0, name, text("error %.2e, %zu past the end", worst, lost));
    report(wrong == 0 && wrong_gated == 0, name,
           text("%zu bits, %zu gated pieces differ from plain products", wrong, wrong_gated));
    cudaFree(d_begin);
    cudaFree(d_sizes);
    cudaFree(counter);
    cudaFree(out);
    cudaFree(gated.data);
    cudaFree(gated.scale);
    cudaFree(alone.data);
    cudaFree(alone.scale);
    free_matrix(w);
    free_matrix(x);
}

/* A chain of launches, each of which reads what the one in front wrote, in a graph: against the same, one at a time. */
void check_chain(const kernel_under_test &kernel, cuda_type type)
{
    const uint32_t rows = 21, hidden = 1024, wide = 8192, depth = 40;
    matrix up = make_weight(type, 1, 2 * wide, hidden), x = make_tokens(type, rows, hidden);
    matrix down = make_weight(type, 1, 2 * hidden, wide);
    cuda_rows a = make_gated(type, rows, wide), b = make_gated(type, rows, hidden);
    float *out = device_zeros<float>((size_t)rows * 2 * hidden);
    cudaStream_t stream;
    TRY(cudaStreamCreate(&stream));
    auto step = [&](uint32_t i, bool apart) {
        cuda_gemm g = {};
        g.w = up.w;
        g.x = i % 2 == 0 ? x.x : b;
        g.rows = rows;
        g.epilogue = CUDA_OUT_GATED;
        g.gated = a;
        TRY(kernel.run(&g, NULL, NULL, stream));
        if (apart) {
            TRY(cudaStreamSynchronize(stream));
        }
        g.w = down.w;
        g.x = a;
        g.gated = b;
        TRY(kernel.run(&g, NULL, NULL, stream));
        if (apart) {
            TRY(cudaStreamSynchronize(stream));
        }
        g.epilogue = CUDA_OUT_ADD;
        g.out = out;
        g.ld = 2 * hidden;
        TRY(kernel.run(&g, NULL, NULL, stream));
        if (apart) {
            TRY(cudaStreamSynchronize(stream));
        }
    };
    for (uint32_t i = 0; i < depth; i++) {
        step(i, true);
    }
    std::vector<float> expected = to_host(out, (size_t)rows * 2 * hidden);
    TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (uint32_t i = 0; i < depth; i++) {
        step(i, false);
    }
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    TRY(cudaStreamEndCapture(stream, &graph));
    TRY(cudaGraphInstantiate(&exec, graph, 0));
    size_t wrong = 0, first = 0;
    for (int i = 0; i < 10; i++) {
        TRY(cudaMemset(out, 0, (size_t)rows * 2 * hidden * 4));
        TRY(cudaDeviceSynchronize());
        TRY(cudaGraphLaunch(exec, stream));
        TRY(cudaStreamSynchronize(stream));
        std::vector<float> got = to_host(out, (size_t)rows * 2 * hidden);
        wrong += differences(got.data(), expected.data(), got.size(), &first);
    }
    report(wrong == 0, text("%s %s chain of %u launches", kernel.name, type_name(type), 3 * depth),
           text("%zu bits differ from launches one at a time", wrong));
    TRY(cudaGraphExecDestroy(exec));
    TRY(cudaGraphDestroy(graph));
    TRY(cudaStreamDestroy(stream));
    cudaFree(out);
    cudaFree(a.data);
    cudaFree(a.scale);
    cudaFree(b.data);
    cudaFree(b.scale);
    free_matrix(up);
    free_matrix(down);
    free_matrix(x);
}

void check_all(const std::vector<kernel_under_test> &kernels)
{
    const struct {
        cuda_type type;
        uint32_t n, k;
    } plain[] = {
        {CUDA_E4M3, 2112, 7168},  {CUDA_E4M3, 256, 128},   {CUDA_E4M3, 24576, 256},
        {CUDA_E4M3, 1000, 4224},  {CUDA_E4M3, 17024, 128}, {CUDA_BF16, 4096, 4096},
        {CUDA_BF16, 512, 11008},  {CUDA_BF16, 8192, 2112}, {CUDA_BF16, 17000, 512},
        {CUDA_BF16, 1000, 320},   {CUDA_E4M3, 20000, 640}, {CUDA_BF16, 20000, 576},
        {CUDA_BF16, 10496, 4096},
    };

    for (const auto &shape : plain) {
        std::vector<float> bits;
        for (const kernel_under_test &kernel : kernels) {
            check_plain(kernel, shape.type, shape.n, shape.k, &bits);
        }
    }
    for (const kernel_under_test &kernel : kernels) {
        check_gated(kernel, CUDA_E4M3, CUDA_E4M3, 4096, 1024);
        check_gated(kernel, CUDA_E4M3, CUDA_E4M3, 256, 5248);
        check_gated(kernel, CUDA_E4M3, CUDA_BF16, 512, 1024);
        check_gated(kernel, CUDA_BF16, CUDA_BF16, 1024, 4096);
        check_gated(kernel, CUDA_BF16, CUDA_BF16, 20736, 1024);
        check_gated(kernel, CUDA_E4M3, CUDA_E4M3, 37120, 640);
        check_grouped(kernel, CUDA_E4M3, 4096, 1408);
        check_grouped(kernel, CUDA_E4M3, 8448, 384);
        check_grouped(kernel, CUDA_BF16, 4352, 512);
        check_grouped(kernel, CUDA_BF16, 512, 2304);
        check_chain(kernel, CUDA_E4M3);
        check_chain(kernel, CUDA_BF16);
    }
}

/* What compute-sanitizer gets through in reasonable time: each way through the items once. */
void check_small(const std::vector<kernel_under_test> &kernels)
{
    for (const kernel_under_test &kernel : kernels) {
        check_plain(kernel, CUDA_E4M3, 200, 256, NULL);
        check_plain(kernel, CUDA_E4M3, 17024, 256, NULL);
        check_plain(kernel, CUDA_BF16, 300, 2112, NULL);
        check_plain(kernel, CUDA_BF16, 17000, 128, NULL);
        check_gated(kernel, CUDA_E4M3, CUDA_E4M3, 256, 256);
        check_gated(kernel, CUDA_BF16, CUDA_BF16, 512, 256);
        check_grouped(kernel, CUDA_E4M3, 2560, 128);
        check_grouped(kernel, CUDA_BF16, 256, 128);
    }
}

} // namespace

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || properties.major != 9) {
        printf("no GPU of sm_90\n");
        return 77;
    }
    TRY(cuda_gemm_prepare());
    std::vector<kernel_under_test> kernels = {{"narrow", cuda_gemm_narrow}, {"wide", wide_product}};
    if (argc > 1 && strcmp(argv[1], "small") == 0) {
        kernels.pop_back(); /* check_gemm_wide.cu does the same for wide */
        check_small(kernels);
    } else {
        check_all(kernels);
    }
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
