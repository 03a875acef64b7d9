/* engine_cuda_epilogue: the last steps of a product, written once so that the narrow and the wide kernel give the same
 * bits. Every operation is named with its rounding: the compiler may not fuse any of them. */
#ifndef ENGINE_CUDA_EPILOGUE_CUH
#define ENGINE_CUDA_EPILOGUE_CUH

#include <stdint.h>

/* silu(gate) * up */
__device__ __forceinline__ float cuda_gated(float gate, float up)
{
    float silu = __fdiv_rn(gate, __fadd_rn(1.0f, expf(-gate)));
    return __fmul_rn(silu, up);
}

/* The scale of 128 numbers whose largest magnitude is amax. */
__device__ __forceinline__ float cuda_e4m3_scale(float amax)
{
    return __fdiv_rn(fmaxf(amax, 1e-4f), 448.0f);
}

/* Two numbers over their scale, rounded to nearest even: `low` in the low byte. Too large becomes 448. */
__device__ __forceinline__ uint16_t cuda_e4m3_pair(float low, float high, float scale)
{
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(pair)
        : "f"(__fdiv_rn(high, scale)), "f"(__fdiv_rn(low, scale)));
    return pair;
}

/* Two numbers as bf16: `low` in the low half. */
__device__ __forceinline__ uint32_t cuda_bf16_pair(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

#endif
