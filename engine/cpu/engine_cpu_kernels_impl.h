/* The float32 kernels over v16, written once; engine_cpu_kernels_{scalar,avx2,avx512}.c include this file after one
 * of the three v16 headers. The includer defines KERNELS_ISA, DOT_ROWS, DOT_TOKENS, MIX_ROWS and MIX_VECTORS. */

#include "engine_cpu_kernels.h"
#include "engine_cpu_number.h"

#include <math.h>
#include <string.h>

#define KERNEL_INLINE static inline __attribute__((always_inline))

KERNEL_INLINE size_t type_bytes(engine_cpu_type type)
{
    return type == ENGINE_CPU_FP8 ? 1 : type == ENGINE_CPU_F32 ? 4 : 2;
}

/* 16 elements from element k on, as float32 */
KERNEL_INLINE v16 load_as(engine_cpu_type type, const void *p, size_t k)
{
    const char *at = (const char *)p + k * type_bytes(type);
    switch (type) {
    case ENGINE_CPU_BF16:
        return v16_load_bf16(at);
    case ENGINE_CPU_F16:
        return v16_load_f16(at);
    case ENGINE_CPU_FP8:
        return v16_load_fp8(at);
    default:
        return v16_load((const float *)(const void *)at);
    }
}

/* n < 16 elements, the other lanes 0; nothing past them is read. */
KERNEL_INLINE v16 load_as_n(engine_cpu_type type, const void *p, size_t k, size_t n)
{
    char lanes[64] = {0};
    memcpy(lanes, (const char *)p + k * type_bytes(type), n * type_bytes(type));
    return load_as(type, lanes, 0);
}

/* Once for each cache line. The address may lie past the matrix: a prefetch does not fault. */
KERNEL_INLINE void fetch(engine_cpu_type type, const char *p, size_t k, size_t ahead)
{
    if (k * type_bytes(type) % 64 == 0) {
        __builtin_prefetch((const void *)((uintptr_t)p + k * type_bytes(type) + ahead), 0, 2);
    }
}

/* ---- dot ---- */

#define DOT_INLINE KERNEL_INLINE
#define DOT_STEP   16
#define DOT_PAIRS  0
typedef v16 dot_acc;
typedef v16 dot_x;
typedef v16 dot_w;
#define dot_acc_zero()                  v16_zero()
#define dot_x_load(p, k)                v16_load((const float *)(p) + (k))
#define dot_x_load_n(p, k, n)           v16_load_n((const float *)(p) + (k), n)
#define dot_w_load(type, p, k)          load_as(type, p, k)
#define dot_w_load_n(type, p, k, n)     load_as_n(type, p, k, n)
#define dot_prefetch(type, p, k, ahead) fetch(type, p, k, ahead)
#define dot_step(acc, w, x)             v16_fma(w, x, acc)
#define dot_sum(acc)                    v16_sum(acc)
#define dot_sum4(out, a, b, c, d)       v16_sum4(out, a, b, c, d)
#include "engine_cpu_dot_impl.h"

/* ---- mix ---- */

/* vectors <= MIX_VECTORS, or 0 for a last column group of `cols` < 16 */
KERNEL_INLINE void mix_tile(const engine_cpu_mix *m, engine_cpu_type type, uint32_t r0, size_t c0,
                            int rows, int vectors)
{
    int groups = vectors == 0 ? 1 : vectors;
    size_t rest = m->cols - c0;
    v16 acc[MIX_ROWS][MIX_VECTORS];
    const float *a[MIX_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        a[r] = m->a[r0 + (uint32_t)r];
        const float *out = m->out[r0 + (uint32_t)r] + c0;
#pragma GCC unroll 8
        for (int v = 0; v < groups; v++) {
            if (m->keep == NULL) {
                acc[r][v] = v16_zero();
            } else {
                v16 old = vectors == 0 ? v16_load_n(out, rest) : v16_load(out + 16 * v);
                acc[r][v] = v16_mul(old, v16_set1(m->keep[r0 + (uint32_t)r]));
            }
        }
    }
    const char *row = m->b;
    for (uint32_t i = 0; i < m->n; i++, row += m->b_stride) {
        v16 b[MIX_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < groups; v++) {
            b[v] = vectors == 0 ? load_as_n(type, row, c0, rest)
                                : load_as(type, row, c0 + 16 * (size_t)v);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            v16 factor = v16_set1(a[r][i]);
#pragma GCC unroll 8
            for (int v = 0; v < groups; v++) {
                acc[r][v] = v16_fma(factor, b[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        float *out = m->out[r0 + (uint32_t)r] + c0;
#pragma GCC unroll 8
        for (int v = 0; v < groups; v++) {
            if (vectors == 0) {
                v16_store_n(out, acc[r][v], rest);
            } else {
                v16_store(out + 16 * v, acc[r][v]);
            }
        }
    }
}

KERNEL_INLINE void mix_band(const engine_cpu_mix *m, engine_cpu_type type, size_t c0, int vectors)
{
    uint32_t r = 0;
    for (; r + MIX_ROWS <= m->rows; r += MIX_ROWS) {
        mix_tile(m, type, r, c0, MIX_ROWS, vectors);
    }
    for (; r < m->rows; r++) {
        mix_tile(m, type, r, c0, 1, vectors);
    }
}

KERNEL_INLINE void mix_all(const engine_cpu_mix *m, engine_cpu_type type)
{
    size_t c = 0;
    for (; c + 16 * MIX_VECTORS <= m->cols; c += 16 * MIX_VECTORS) {
        mix_band(m, type, c, MIX_VECTORS);
    }
    for (; c + 16 <= m->cols; c += 16) {
        mix_band(m, type, c, 1);
    }
    if (c < m->cols) {
        mix_band(m, type, c, 0);
    }
}

#define KERNEL_OF_TYPE(name, type)                                                                 \
    static void dot_##name(const engine_cpu_dot *d)                                                \
    {                                                                                              \
        dot_all(d, type);                                                                          \
    }                                                                                              \
    static void mix_##name(const engine_cpu_mix *m)                                                \
    {                                                                                              \
        mix_all(m, type);                                                                          \
    }                                                                                              \
    static void widen_##name(float *out, const void *in, size_t n)                                 \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + 16 <= n; i += 16) {                                                             \
            v16_store(out + i, load_as(type, in, i));                                              \
        }                                                                                          \
        if (i < n) {                                                                               \
            v16_store_n(out + i, load_as_n(type, in, i, n - i), n - i);                            \
        }                                                                                          \
    }

KERNEL_OF_TYPE(bf16, ENGINE_CPU_BF16)
KERNEL_OF_TYPE(f16, ENGINE_CPU_F16)
KERNEL_OF_TYPE(f32, ENGINE_CPU_F32)
KERNEL_OF_TYPE(fp8, ENGINE_CPU_FP8)

/* ---- element by element ---- */

/* Runs `expr`, in which `load(p)` reads 16 lanes of p, over n elements of `out`. */
#define EACH(out, n, expr)                                                                         \
    do {                                                                                           \
        size_t i = 0;                                                                              \
        for (; i + 16 <= (n); i += 16) {                                                           \
            v16_store((out) + i, expr(v16_load_at));                                               \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            size_t rest = (n)-i;                                                                   \
            v16_store_n((out) + i, expr(v16_load_rest), rest);                                     \
        }                                                                                          \
    } while (0)
#define v16_load_at(p)   v16_load((p) + i)
#define v16_load_rest(p) v16_load_n((p) + i, rest)

static void narrow(uint16_t *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16_store_bf16(out + i, v16_load(x + i));
    }
    for (; i < n; i++) {
        out[i] = engine_cpu_to_bf16(x[i]);
    }
}

static void scale(float *out, const float *x, float s, size_t n)
{
    v16 factor = v16_set1(s);
#define EXPR(load) v16_mul(load(x), factor)
    EACH(out, n, EXPR);
#undef EXPR
}

static void add(float *out, const float *x, size_t n)
{
#define EXPR(load) v16_add(load(out), load(x))
    EACH(out, n, EXPR);
#undef EXPR
}

static void axpy(float *out, const float *x, float s, size_t n)
{
    v16 factor = v16_set1(s);
#define EXPR(load) v16_fma(load(x), factor, load(out))
    EACH(out, n, EXPR);
#undef EXPR
}

/* exp(x), relative error below 2e-7 for x in [-87, 88], 0 below, exp(88) above. Range reduction by ln 2 in two parts
 * and the polynomial of Cephes' expf (S. Moshier, netlib.org/cephes, single/expf.c). */
KERNEL_INLINE v16 v16_exp(v16 x)
{
    const float least = -87.0F;
    v16 c = v16_min(v16_max(x, v16_set1(least)), v16_set1(88.0F));
    v16 n = v16_round(v16_mul(c, v16_set1(1.44269504088896341F)));
    v16 r = v16_fma(n, v16_set1(-0.693359375F), c);
    r = v16_fma(n, v16_set1(2.12194440e-4F), r);
    v16 p = v16_set1(1.9875691500e-4F);
    p = v16_fma(p, r, v16_set1(1.3981999507e-3F));
    p = v16_fma(p, r, v16_set1(8.3334519073e-3F));
    p = v16_fma(p, r, v16_set1(4.1665795894e-2F));
    p = v16_fma(p, r, v16_set1(1.6666665459e-1F));
    p = v16_fma(p, r, v16_set1(5.0000001201e-1F));
    p = v16_fma(p, v16_mul(r, r), v16_add(r, v16_set1(1.0F)));
    return v16_keep_from(v16_mul(p, v16_pow2(n)), x, least);
}

KERNEL_INLINE v16 v16_silu(v16 x)
{
    v16 one = v16_set1(1.0F);
    return v16_div(x, v16_add(one, v16_exp(v16_sub(v16_zero(), x))));
}

static void silu_mul(float *out, const float *gate, const float *up, size_t n)
{
#define EXPR(load) v16_mul(v16_silu(load(gate)), load(up))
    EACH(out, n, EXPR);
#undef EXPR
}

/* ---- rows ---- */

static void rms_norm(float *out, const float *x, const float *w, double eps, size_t n)
{
    v16 sum = v16_zero();
    size_t k = 0;
    for (; k + 16 <= n; k += 16) {
        v16 v = v16_load(x + k);
        sum = v16_fma(v, v, sum);
    }
    if (k < n) {
        v16 v = v16_load_n(x + k, n - k);
        sum = v16_fma(v, v, sum);
    }
    float mean = v16_sum(sum) / (float)n;
    v16 factor = v16_set1(1.0F / sqrtf(mean + (float)eps));
#define EXPR(load) v16_mul(v16_mul(load(x), factor), load(w))
    EACH(out, n, EXPR);
#undef EXPR
}

static float softmax(float *s, uint32_t n, float factor, float *max, float *sum)
{
    uint32_t padded = (n + 15U) / 16U * 16U;
    for (uint32_t i = n; i < padded; i++) {
        s[i] = -INFINITY;
    }
    v16 greatest = v16_set1(*max);
    for (uint32_t i = 0; i < padded; i += 16) {
        v16 v = v16_mul(v16_load(s + i), v16_set1(factor));
        v16_store(s + i, v);
        greatest = v16_max(v, greatest);
    }
    float top = v16_greatest(greatest);
    v16 shift = v16_set1(top);
    v16 total = v16_zero();
    for (uint32_t i = 0; i < padded; i += 16) {
        v16 p = v16_exp(v16_sub(v16_load(s + i), shift));
        v16_store(s + i, p);
        total = v16_add(total, p);
    }
    float keep[16];
    v16_store(keep, v16_exp(v16_sub(v16_set1(*max), shift)));
    *sum = *sum * keep[0] + v16_sum(total);
    *max = top;
    return keep[0];
}

#define KERNELS_FLOAT32                                                                            \
    .isa = KERNELS_ISA, .dot = {dot_bf16, dot_f16, dot_f32, dot_fp8},                              \
    .mix = {mix_bf16, mix_f16, mix_f32, mix_fp8},                                                  \
    .widen = {widen_bf16, widen_f16, widen_f32, widen_fp8}, .narrow = narrow, .scale = scale,      \
    .add = add, .axpy = axpy, .silu_mul = silu_mul, .rms_norm = rms_norm, .softmax = softmax
