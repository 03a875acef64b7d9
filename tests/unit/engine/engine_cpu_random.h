/* Seeded random numbers and bit comparisons for the tests of engine/cpu. */
#ifndef ENGINE_CPU_RANDOM_H
#define ENGINE_CPU_RANDOM_H

#include "cpu/engine_cpu_kernels.h"
#include "cpu/engine_cpu_number.h"
#include "pv_hash.h"

static uint64_t random_state = 1;

static inline uint64_t random_bits(void)
{
    return pv_mix64(random_state++);
}

static inline uint32_t random_below(uint32_t n)
{
    return (uint32_t)(random_bits() % n);
}

/* Uniform in [-1, 1). */
static inline float random_float(void)
{
    return (float)(random_bits() >> 40) * 0x1p-23F - 1.0F;
}

/* n elements of the type at `out`; FP8 without NaN, f16 of size 2^-10 .. 1. */
static inline void random_fill(engine_cpu_type type, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t r = random_bits();
        if (type == ENGINE_CPU_F32) {
            float f = random_float();
            memcpy((char *)out + 4 * i, &f, 4);
        } else if (type == ENGINE_CPU_FP8) {
            ((uint8_t *)out)[i] = (uint8_t)((r & 0x80U) | (r >> 8) % 0x60U);
        } else {
            uint16_t h = type == ENGINE_CPU_BF16
                             ? engine_cpu_to_bf16(random_float())
                             : (uint16_t)((r & 0x8000U) | (0x1400U + (r >> 16) % 0x2800U));
            memcpy((char *)out + 2 * i, &h, 2);
        }
    }
}

static inline double element(engine_cpu_type type, const void *p, size_t i)
{
    uint16_t h;
    float f;
    switch (type) {
    case ENGINE_CPU_F32:
        memcpy(&f, (const char *)p + 4 * i, 4);
        return (double)f;
    case ENGINE_CPU_FP8:
        return (double)engine_cpu_from_fp8(((const uint8_t *)p)[i]);
    default:
        memcpy(&h, (const char *)p + 2 * i, 2);
        return (double)(type == ENGINE_CPU_BF16 ? engine_cpu_from_bf16(h) : engine_cpu_from_f16(h));
    }
}

static inline bool same_bits(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

#endif
