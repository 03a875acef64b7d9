/* v16 as two AVX2 registers. Meaning of each function: engine_cpu_simd_scalar.h. */
#ifndef ENGINE_CPU_SIMD_AVX2_H
#define ENGINE_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    __m256 lo;
    __m256 hi;
} v16;

#define V16_INLINE static inline __attribute__((always_inline))

V16_INLINE v16 v16_both(__m256 lo, __m256 hi)
{
    v16 r;
    r.lo = lo;
    r.hi = hi;
    return r;
}

V16_INLINE v16 v16_set1(float x)
{
    return v16_both(_mm256_set1_ps(x), _mm256_set1_ps(x));
}

V16_INLINE v16 v16_zero(void)
{
    return v16_both(_mm256_setzero_ps(), _mm256_setzero_ps());
}

V16_INLINE v16 v16_load(const float *p)
{
    return v16_both(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}

V16_INLINE void v16_store(float *p, v16 a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}

V16_INLINE v16 v16_load_n(const float *p, size_t n)
{
    float lanes[16] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return v16_load(lanes);
}

V16_INLINE void v16_store_n(float *p, v16 a, size_t n)
{
    float lanes[16];
    v16_store(lanes, a);
    memcpy(p, lanes, n * sizeof *p);
}

V16_INLINE __m256 v16_half_bf16(const void *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

V16_INLINE v16 v16_load_bf16(const void *p)
{
    return v16_both(v16_half_bf16(p), v16_half_bf16((const char *)p + 16));
}

V16_INLINE v16 v16_load_f16(const void *p)
{
    return v16_both(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1)));
}

/* Through f16: the same fields with another exponent bias, 2^8 apart, subnormal numbers included. */
V16_INLINE v16 v16_load_fp8(const void *p)
{
    __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    __m256i magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7f));
    __m256i sign = _mm256_slli_epi16(_mm256_xor_si256(wide, magnitude), 8);
    __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f)),
                                   _mm256_set1_epi16(0x7e00));
    __m256i half = _mm256_or_si256(_mm256_slli_epi16(magnitude, 7), _mm256_or_si256(sign, nan));
    __m256 factor = _mm256_set1_ps(256.0F);
    return v16_both(_mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), factor),
                    _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), factor));
}

/* 8 lanes to bf16 in the low half of 32-bit lanes */
V16_INLINE __m256i v16_round_bf16(__m256 a)
{
    __m256i bits = _mm256_castps_si256(a);
    __m256i upper = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), quiet, nan);
}

V16_INLINE void v16_store_bf16(uint16_t *p, v16 a)
{
    __m256i packed = _mm256_packus_epi32(v16_round_bf16(a.lo), v16_round_bf16(a.hi));
    packed = _mm256_permute4x64_epi64(packed, 0xd8); /* packus works within 128-bit lanes */
    _mm256_storeu_si256((__m256i *)(void *)p, packed);
}

V16_INLINE v16 v16_add(v16 a, v16 b)
{
    return v16_both(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi));
}

V16_INLINE v16 v16_sub(v16 a, v16 b)
{
    return v16_both(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi));
}

V16_INLINE v16 v16_mul(v16 a, v16 b)
{
    return v16_both(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi));
}

V16_INLINE v16 v16_div(v16 a, v16 b)
{
    return v16_both(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi));
}

V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    return v16_both(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}

V16_INLINE v16 v16_max(v16 a, v16 b)
{
    return v16_both(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi));
}

V16_INLINE v16 v16_min(v16 a, v16 b)
{
    return v16_both(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi));
}

V16_INLINE v16 v16_round(v16 a)
{
    return v16_both(_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                    _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

V16_INLINE __m256 v16_half_pow2(__m256 n)
{
    __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}

V16_INLINE v16 v16_pow2(v16 n)
{
    return v16_both(v16_half_pow2(n.lo), v16_half_pow2(n.hi));
}

V16_INLINE v16 v16_keep_from(v16 a, v16 x, float limit)
{
    __m256 edge = _mm256_set1_ps(limit);
    return v16_both(_mm256_and_ps(a.lo, _mm256_cmp_ps(x.lo, edge, _CMP_GE_OQ)),
                    _mm256_and_ps(a.hi, _mm256_cmp_ps(x.hi, edge, _CMP_GE_OQ)));
}

V16_INLINE float v16_sum(v16 a)
{
    __m256 eight = _mm256_add_ps(a.lo, a.hi);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

V16_INLINE float v16_greatest(v16 a)
{
    __m256 eight = _mm256_max_ps(a.lo, a.hi);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

V16_INLINE void v16_sum4(float *out, v16 a, v16 b, v16 c, v16 d)
{
    out[0] = v16_sum(a);
    out[1] = v16_sum(b);
    out[2] = v16_sum(c);
    out[3] = v16_sum(d);
}

#endif
