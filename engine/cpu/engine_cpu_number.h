/* engine_cpu_number: bf16, f16 and e4m3 numbers one at a time, exactly. Formats: bf16 is the upper half of a float32;
 * f16 is IEEE 754 binary16; e4m3 is the "fn" variant (1-4-3, bias 7, no infinity, NaN = S.1111.111, greatest 448). */
#ifndef ENGINE_CPU_NUMBER_H
#define ENGINE_CPU_NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float engine_cpu_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t engine_cpu_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float engine_cpu_from_bf16(uint16_t h)
{
    return engine_cpu_from_bits((uint32_t)h << 16);
}

/* Nearest, ties to even; a NaN stays one. */
static inline uint16_t engine_cpu_to_bf16(float f)
{
    uint32_t bits = engine_cpu_to_bits(f);
    if ((bits & 0x7fffffffU) > 0x7f800000U) {
        return (uint16_t)((bits >> 16) | 0x40U);
    }
    return (uint16_t)((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

/* `bits` less its sign is a number with `mantissa` low bits of fraction; its exponent is rebiased by a product, which
 * is exact for normal and subnormal numbers alike. */
static inline float engine_cpu_rebias(uint32_t bits, int mantissa, float factor)
{
    return engine_cpu_from_bits(bits << (23 - mantissa)) * factor;
}

static inline float engine_cpu_from_f16(uint16_t h)
{
    uint32_t magnitude = h & 0x7fffU;
    float f = magnitude >= 0x7c00U /* infinity and NaN */
                  ? engine_cpu_from_bits(0x7f800000U | (magnitude << 13))
                  : engine_cpu_rebias(magnitude, 10, 0x1p112F);
    return h & 0x8000U ? -f : f;
}

static inline float engine_cpu_from_fp8(uint8_t b)
{
    uint32_t magnitude = b & 0x7fU;
    float f = magnitude == 0x7fU ? engine_cpu_from_bits(0x7fc00000U)
                                 : engine_cpu_rebias(magnitude, 3, 0x1p120F);
    return b & 0x80U ? -f : f;
}

#endif
