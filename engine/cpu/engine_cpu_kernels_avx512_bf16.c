#include "engine_cpu_kernels.h"

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__) && defined(__AVX512BW__) &&                 \
    defined(__AVX512DQ__) && defined(__AVX512VL__)

#include "engine_cpu_simd_avx512.h"

#include <string.h>

#define BF16_INLINE static inline __attribute__((always_inline))

BF16_INLINE __mmask32 first_of_32(size_t n)
{
    return (__mmask32)((1ULL << n) - 1ULL);
}

BF16_INLINE __m512i load_pairs(const void *p, size_t k)
{
    return _mm512_loadu_si512((const uint16_t *)p + k);
}

BF16_INLINE __m512i load_pairs_n(const void *p, size_t k, size_t n)
{
    return _mm512_maskz_loadu_epi16(first_of_32(n), (const uint16_t *)p + k);
}

/* The address may lie past the matrix: a prefetch does not fault. */
BF16_INLINE void fetch(const void *p, size_t offset)
{
    __builtin_prefetch((const void *)((uintptr_t)p + offset), 0, 2);
}

/* 32 registers: a tile of 24 sums, 6 vectors of x, 1 of w. */
#define DOT_INLINE BF16_INLINE
#define DOT_STEP   32
#define DOT_ROWS   4
#define DOT_TOKENS 6
#define DOT_PAIRS  1
typedef __m512 dot_acc;
typedef __m512i dot_x;
typedef __m512i dot_w;
#define dot_acc_zero()                  _mm512_setzero_ps()
#define dot_x_load(p, k)                load_pairs(p, k)
#define dot_x_load_n(p, k, n)           load_pairs_n(p, k, n)
#define dot_w_load(type, p, k)          load_pairs(p, k)
#define dot_w_load_n(type, p, k, n)     load_pairs_n(p, k, n)
#define dot_prefetch(type, p, k, ahead) fetch(p, 2 * (k) + (ahead))
#define dot_step(acc, w, x)             _mm512_dpbf16_ps(acc, (__m512bh)(w), (__m512bh)(x))
#define dot_add(a, b)                   v16_add(a, b)
#define dot_sum(acc)                    v16_sum(acc)
#define dot_sum4(out, a, b, c, d)       v16_sum4(out, a, b, c, d)
#include "engine_cpu_dot_impl.h"

static void dot_bf16(const engine_cpu_dot *d)
{
    dot_all(d, ENGINE_CPU_BF16);
}

/* ---- e4m3 ---- */

/* The two bytes of the bf16 number for each of the 128 magnitudes. As a table, because bf16 has normal numbers for the
 * subnormal ones of e4m3 (2^-9 .. 7 * 2^-9), and the dot product would read an unadjusted bit pattern as 0. */
typedef struct fp8_table {
    __m512i low[2];
    __m512i high[2];
} fp8_table;

/* magnitude m >= 8: exponent m >> 3 rebiased by 127 - 7, fraction m & 7 to the top of seven bits: (m << 4) + (120 << 7).
 * m < 8: m * 2^-9. m = 127: NaN. */
#define BITS_NORMAL(m) ((m)*16 + 15360)
#define BITS_SMALL(m)                                                                              \
    ((m) == 0   ? 0                                                                                \
     : (m) == 1 ? 118 * 128                                                                        \
     : (m) < 4  ? 119 * 128 + ((m)-2) * 64                                                         \
                : 120 * 128 + ((m)-4) * 32)
#define BITS(m) ((m) == 127 ? 0x7fc0 : (m) < 8 ? BITS_SMALL(m) : BITS_NORMAL(m))
#define LOW(m)  (BITS(m) & 0xff)
#define HIGH(m) (BITS(m) >> 8)
#define EIGHT(f, m)                                                                                \
    f(m), f((m) + 1), f((m) + 2), f((m) + 3), f((m) + 4), f((m) + 5), f((m) + 6), f((m) + 7)
#define SIXTY_FOUR(f, m)                                                                           \
    EIGHT(f, m), EIGHT(f, (m) + 8), EIGHT(f, (m) + 16), EIGHT(f, (m) + 24), EIGHT(f, (m) + 32),    \
        EIGHT(f, (m) + 40), EIGHT(f, (m) + 48), EIGHT(f, (m) + 56)

static const uint8_t fp8_low[128] = {SIXTY_FOUR(LOW, 0), SIXTY_FOUR(LOW, 64)};
static const uint8_t fp8_high[128] = {SIXTY_FOUR(HIGH, 0), SIXTY_FOUR(HIGH, 64)};

BF16_INLINE fp8_table fp8_table_load(void)
{
    fp8_table t;
    for (int i = 0; i < 2; i++) {
        t.low[i] = _mm512_loadu_si512(fp8_low + 64 * i);
        t.high[i] = _mm512_loadu_si512(fp8_high + 64 * i);
    }
    return t;
}

/* 64 bytes to 2 x 32 bf16 numbers in order. The byte permutes use the low 7 bits; the sign goes on top. Quadwords are
 * first put so that unpacking, which works within 128-bit lanes, leaves the numbers in order. */
BF16_INLINE void fp8_widen(const fp8_table *t, __m512i bytes, __m512i out[2])
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    __m512i b = _mm512_permutexvar_epi64(order, bytes);
    __m512i low = _mm512_permutex2var_epi8(t->low[0], b, t->low[1]);
    __m512i high = _mm512_permutex2var_epi8(t->high[0], b, t->high[1]);
    /* high | (b & 0x80) */
    high = _mm512_ternarylogic_epi64(high, b, _mm512_set1_epi8((char)0x80), 0xf8);
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
}

static void fp8_to_bf16(uint16_t *out, const uint8_t *in, size_t n)
{
    fp8_table t = fp8_table_load();
    __m512i wide[2];
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        fetch(in, i + 4 * n); /* rows lie one after another, four make a panel */
        fp8_widen(&t, _mm512_loadu_si512(in + i), wide);
        _mm512_storeu_si512(out + i, wide[0]);
        _mm512_storeu_si512(out + i + 32, wide[1]);
    }
    if (i < n) {
        __mmask64 some = (1ULL << (n - i)) - 1ULL;
        uint16_t lanes[64];
        fp8_widen(&t, _mm512_maskz_loadu_epi8(some, in + i), wide);
        _mm512_storeu_si512(lanes, wide[0]);
        _mm512_storeu_si512(lanes + 32, wide[1]);
        memcpy(out + i, lanes, (n - i) * sizeof *lanes);
    }
}

/* 64 columns of a tile from w and x on; `bytes` says which are there. rows (at most 4) and tokens (at most 2) are
 * constants where this is inlined. */
BF16_INLINE void fp8_step(const engine_cpu_dot *d, const fp8_table *table, const uint8_t *w,
                          const uint16_t *const x[2], size_t k, int rows, int tokens,
                          __mmask64 bytes, __m512 acc[4][2])
{
    __m512i xs[2][2];
#pragma GCC unroll 2
    for (int t = 0; t < tokens; t++) {
        xs[t][0] = _mm512_maskz_loadu_epi16((__mmask32)bytes, x[t] + k);
        xs[t][1] = _mm512_maskz_loadu_epi16((__mmask32)(bytes >> 32), x[t] + k + 32);
    }
    w += k;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        __m512i wide[2];
        fetch(w, d->ahead);
        fp8_widen(table, _mm512_maskz_loadu_epi8(bytes, w), wide);
#pragma GCC unroll 2
        for (int t = 0; t < tokens; t++) {
            acc[r][t] = dot_step(acc[r][t], wide[0], xs[t][0]);
            acc[r][t] = dot_step(acc[r][t], wide[1], xs[t][1]);
        }
        w += d->w_stride;
    }
}

/* Lanes and order are those of dot_bf16. */
BF16_INLINE void fp8_tile(const engine_cpu_dot *d, uint32_t r0, uint32_t t0, int rows, int tokens)
{
    const uint8_t *w = (const uint8_t *)d->w + r0 * d->w_stride;
    const uint16_t *x[2];
    fp8_table table = fp8_table_load();
    __m512 acc[4][2];
#pragma GCC unroll 2
    for (int t = 0; t < tokens; t++) {
        x[t] = d->x[t0 + (uint32_t)t];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            acc[r][t] = _mm512_setzero_ps();
        }
    }
    size_t k = 0;
    for (; k + 64 <= d->cols; k += 64) {
        fp8_step(d, &table, w, x, k, rows, tokens, ~0ULL, acc);
    }
    if (k < d->cols) {
        fp8_step(d, &table, w, x, k, rows, tokens, (1ULL << (d->cols - k)) - 1ULL, acc);
    }
    size_t at = d->y_first + r0;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++, at++) {
        if (tokens == 2 && d->pairs) {
            d->y[t0 / 2][at] = v16_sum(v16_add(acc[r][0], acc[r][1]));
            continue;
        }
#pragma GCC unroll 2
        for (int t = 0; t < tokens; t++) {
            d->y[t0 + (uint32_t)t][at] = v16_sum(acc[r][t]);
        }
    }
}

BF16_INLINE void fp8_band(const engine_cpu_dot *d, uint32_t r, int rows)
{
    uint32_t t = 0;
    for (; t + 2 <= d->tokens; t += 2) {
        fp8_tile(d, r, t, rows, 2);
    }
    if (t < d->tokens) {
        fp8_tile(d, r, t, rows, 1);
    }
}

static void dot_fp8(const engine_cpu_dot *d)
{
    uint32_t r = 0;
    for (; r + 4 <= d->rows; r += 4) {
        fp8_band(d, r, 4);
    }
    for (; r < d->rows; r++) {
        fp8_band(d, r, 1);
    }
}

static void round_bf16(uint16_t *out, const float *x, float s, size_t n)
{
    __m512 factor = _mm512_set1_ps(s);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), factor);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), (__m256i)_mm512_cvtneps_pbh(v));
    }
    if (i < n) {
        __m512 v = _mm512_mul_ps(v16_load_n(x + i, n - i), factor);
        _mm256_mask_storeu_epi16(out + i, v16_first(n - i), (__m256i)_mm512_cvtneps_pbh(v));
    }
}

static void split_bf16(uint16_t *high, uint16_t *low, const float *x, float s, size_t n)
{
    __m512 factor = _mm512_set1_ps(s);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 some = v16_first(n - i < 16 ? n - i : 16);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(some, x + i), factor);
        __m256i upper = (__m256i)_mm512_cvtneps_pbh(v);
        __m512i back = _mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16);
        __m512 rest = _mm512_sub_ps(v, _mm512_castsi512_ps(back));
        _mm256_mask_storeu_epi16(high + i, some, upper);
        _mm256_mask_storeu_epi16(low + i, some, (__m256i)_mm512_cvtneps_pbh(rest));
    }
}

const engine_cpu_bf16_kernels *engine_cpu_kernels_avx512_bf16(void)
{
    static const engine_cpu_bf16_kernels table = {.dot = dot_bf16,
                                                  .dot_fp8 = dot_fp8,
                                                  .fp8_to_bf16 = fp8_to_bf16,
                                                  .round = round_bf16,
                                                  .split = split_bf16};
    return &table;
}

#else

const engine_cpu_bf16_kernels *engine_cpu_kernels_avx512_bf16(void)
{
    return NULL;
}

#endif
