#include "engine_cpu_kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "engine_cpu_simd_avx2.h"

/* 16 registers: 2 x 2 tiles of two registers each, 4 for operands. */
#define KERNELS_ISA ENGINE_ISA_AVX2
#define DOT_ROWS    2
#define DOT_TOKENS  2
#define MIX_ROWS    2
#define MIX_VECTORS 2
#include "engine_cpu_kernels_impl.h"

const engine_cpu_kernels *engine_cpu_kernels_avx2(void)
{
    static const engine_cpu_kernels table = {KERNELS_FLOAT32};
    return &table;
}

#else

const engine_cpu_kernels *engine_cpu_kernels_avx2(void)
{
    return NULL;
}

#endif
