#include "engine_cpu_kernels.h"

#include <stdbool.h>

#if defined(__x86_64__)

#include <cpuid.h>

/* Registers that the operating system saves: bits of XCR0. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6 };

static uint64_t saved_state(void)
{
    uint32_t low = 0;
    uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

static bool all_of(uint32_t value, uint32_t bits)
{
    return (value & bits) == bits;
}

/* Feature bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID. */
engine_isa engine_isa_detect(void)
{
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    uint32_t d = 0;
    uint32_t basic = 0;
    uint32_t b7 = 0;
    uint32_t c7 = 0;
    if (!__get_cpuid(1, &a, &b, &basic, &d) ||
        !all_of(basic, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C) ||
        !__get_cpuid_count(7, 0, &a, &b7, &c7, &d) || !all_of(b7, bit_AVX2)) {
        return ENGINE_ISA_SCALAR;
    }
    uint64_t saved = saved_state();
    if ((saved & XCR0_AVX) != XCR0_AVX) {
        return ENGINE_ISA_SCALAR;
    }
    const uint32_t wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((saved & XCR0_AVX512) != XCR0_AVX512 || !all_of(b7, wide)) {
        return ENGINE_ISA_AVX2;
    }
    a = 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !all_of(a, bit_AVX512BF16) ||
        !all_of(c7, bit_AVX512VBMI)) {
        return ENGINE_ISA_AVX512;
    }
    return ENGINE_ISA_AVX512_BF16;
}

#else

engine_isa engine_isa_detect(void)
{
    return ENGINE_ISA_SCALAR;
}

#endif

const char *engine_isa_text(engine_isa isa)
{
    static const char *const texts[] = {"auto", "scalar", "avx2", "avx512", "avx512_bf16"};
    return (size_t)isa < sizeof texts / sizeof *texts ? texts[isa] : "?";
}

const engine_cpu_kernels *engine_cpu_kernels_for(engine_isa isa)
{
    engine_isa best = engine_isa_detect();
    if (isa == ENGINE_ISA_AUTO) {
        isa = best;
    }
    if (isa > best) {
        return NULL;
    }
    switch (isa) {
    case ENGINE_ISA_AVX2:
        return engine_cpu_kernels_avx2();
    case ENGINE_ISA_AVX512:
    case ENGINE_ISA_AVX512_BF16:
        return engine_cpu_kernels_avx512();
    default:
        return engine_cpu_kernels_scalar();
    }
}

const engine_cpu_bf16_kernels *engine_cpu_bf16_kernels_for(engine_isa isa)
{
    engine_isa best = engine_isa_detect();
    if (isa == ENGINE_ISA_AUTO) {
        isa = best;
    }
    bool there = isa == ENGINE_ISA_AVX512_BF16 && best >= isa;
    return there ? engine_cpu_kernels_avx512_bf16() : NULL;
}

engine_cpu_type engine_cpu_type_of(engine_dtype dtype)
{
    switch (dtype) {
    case ENGINE_DTYPE_BF16:
        return ENGINE_CPU_BF16;
    case ENGINE_DTYPE_F16:
        return ENGINE_CPU_F16;
    case ENGINE_DTYPE_F8_E4M3:
        return ENGINE_CPU_FP8;
    default:
        return ENGINE_CPU_F32;
    }
}

size_t engine_cpu_type_bytes(engine_cpu_type type)
{
    static const unsigned char bytes[ENGINE_CPU_TYPE_COUNT] = {2, 2, 4, 1};
    return bytes[type];
}
