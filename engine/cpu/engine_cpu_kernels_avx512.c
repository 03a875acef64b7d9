#include "engine_cpu_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include "engine_cpu_simd_avx512.h"

/* 32 registers: a tile of 24 sums, 6 vectors of x, 1 of w. */
#define KERNELS_ISA ENGINE_ISA_AVX512
#define DOT_ROWS    4
#define DOT_TOKENS  6
#define MIX_ROWS    4
#define MIX_VECTORS 4
#include "engine_cpu_kernels_impl.h"

const engine_cpu_kernels *engine_cpu_kernels_avx512(void)
{
    static const engine_cpu_kernels table = {KERNELS_FLOAT32};
    return &table;
}

#else

const engine_cpu_kernels *engine_cpu_kernels_avx512(void)
{
    return NULL;
}

#endif
