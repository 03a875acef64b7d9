/* v16 without vector instructions: the oracle, and the path of processors that we have no kernels for.
 *
 * A v16 is 16 float32 lanes on every instruction set, and every operation here rounds once, as IEEE 754 says. So the
 * kernels that are written with it give the same bits whichever of the three headers they are compiled with. */
#ifndef ENGINE_CPU_SIMD_SCALAR_H
#define ENGINE_CPU_SIMD_SCALAR_H

#include "engine_cpu_number.h"

#include <math.h>
#include <string.h>

typedef struct v16 {
    float v[16];
} v16;

#define V16_EACH(i) for (int i = 0; i < 16; i++)

static inline v16 v16_set1(float x)
{
    v16 r;
    V16_EACH(i) r.v[i] = x;
    return r;
}

static inline v16 v16_zero(void)
{
    return v16_set1(0);
}

static inline v16 v16_load(const float *p)
{
    v16 r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}

static inline void v16_store(float *p, v16 a)
{
    memcpy(p, a.v, sizeof a.v);
}

/* The first n (1 .. 16) lanes; the others are 0 and nothing is read for them. */
static inline v16 v16_load_n(const float *p, size_t n)
{
    v16 r = v16_zero();
    memcpy(r.v, p, n * sizeof *p);
    return r;
}

static inline void v16_store_n(float *p, v16 a, size_t n)
{
    memcpy(p, a.v, n * sizeof *p);
}

static inline v16 v16_load_bf16(const void *p)
{
    uint16_t bits[16];
    v16 r;
    memcpy(bits, p, sizeof bits);
    V16_EACH(i) r.v[i] = engine_cpu_from_bf16(bits[i]);
    return r;
}

static inline v16 v16_load_f16(const void *p)
{
    uint16_t bits[16];
    v16 r;
    memcpy(bits, p, sizeof bits);
    V16_EACH(i) r.v[i] = engine_cpu_from_f16(bits[i]);
    return r;
}

static inline v16 v16_load_fp8(const void *p)
{
    const uint8_t *bytes = p;
    v16 r;
    V16_EACH(i) r.v[i] = engine_cpu_from_fp8(bytes[i]);
    return r;
}

static inline void v16_store_bf16(uint16_t *p, v16 a)
{
    V16_EACH(i) p[i] = engine_cpu_to_bf16(a.v[i]);
}

static inline v16 v16_add(v16 a, v16 b)
{
    V16_EACH(i) a.v[i] += b.v[i];
    return a;
}

static inline v16 v16_sub(v16 a, v16 b)
{
    V16_EACH(i) a.v[i] -= b.v[i];
    return a;
}

static inline v16 v16_mul(v16 a, v16 b)
{
    V16_EACH(i) a.v[i] *= b.v[i];
    return a;
}

static inline v16 v16_div(v16 a, v16 b)
{
    V16_EACH(i) a.v[i] /= b.v[i];
    return a;
}

/* a * b + c, rounded once */
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    V16_EACH(i) c.v[i] = fmaf(a.v[i], b.v[i], c.v[i]);
    return c;
}

/* As x86 does: b when either is NaN. */
static inline v16 v16_max(v16 a, v16 b)
{
    V16_EACH(i) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return a;
}

static inline v16 v16_min(v16 a, v16 b)
{
    V16_EACH(i) a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return a;
}

/* To the nearest integer, ties to even. */
static inline v16 v16_round(v16 a)
{
    V16_EACH(i) a.v[i] = rintf(a.v[i]);
    return a;
}

/* 2^n of integral n in [-126, 127] */
static inline v16 v16_pow2(v16 n)
{
    V16_EACH(i)
    {
        uint32_t bits = (uint32_t)((int32_t)n.v[i] + 127) << 23;
        memcpy(&n.v[i], &bits, sizeof bits);
    }
    return n;
}

/* a where x >= limit, else 0 */
static inline v16 v16_keep_from(v16 a, v16 x, float limit)
{
    V16_EACH(i) a.v[i] = x.v[i] >= limit ? a.v[i] : 0.0F;
    return a;
}

/* The one order in which 16 lanes are added: halves, quarters, pairs, the last two. */
static inline float v16_sum(v16 a)
{
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            a.v[i] += a.v[i + width];
        }
    }
    return a.v[0];
}

static inline float v16_greatest(v16 a)
{
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            a.v[i] = a.v[i] > a.v[i + width] ? a.v[i] : a.v[i + width];
        }
    }
    return a.v[0];
}

/* out[i] = v16_sum(a[i]) for four */
static inline void v16_sum4(float *out, v16 a, v16 b, v16 c, v16 d)
{
    out[0] = v16_sum(a);
    out[1] = v16_sum(b);
    out[2] = v16_sum(c);
    out[3] = v16_sum(d);
}

#endif
