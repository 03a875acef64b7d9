/* engine_cuda_attention_state: what the attention kernel and the merge share: their arguments, the one definition of how
 * states are merged and finished. Inside attention only.
 *
 * A state is head_dim floats o (not divided yet), then m, l and 8 bytes of padding; state `slot` of query head h lies at
 * states + (slot * heads + h) * (head_dim + 4). */
#ifndef ENGINE_CUDA_ATTENTION_STATE_CUH
#define ENGINE_CUDA_ATTENTION_STATE_CUH

#include "engine_cuda_attention.cuh"
#include "engine_cuda_attention_plan.cuh"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

enum { CUDA_STATES_FIRST = 64 }; /* floats in front of the states: the counters */

struct cuda_attention_args {
    const uint8_t *plan;
    const uint8_t *keys;
    const uint8_t *values;
    const __nv_bfloat16 *q;
    float *states;
    uint32_t *taken; /* units of narrow and wide items that blocks took beside their first */
    cuda_rows out;
    float scale_log2; /* scale * log2(e): exponentials are powers of two */
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t group; /* heads / kv_heads */
};

/* Merges what the attention kernel left, and makes its counters zero again. */
cudaError_t cuda_attention_merge(const cuda_attention_args &a, uint32_t head_dim, uint32_t rows,
                                 cudaStream_t stream);

__device__ __forceinline__ const cuda_plan_header &cuda_plan_of(const cuda_attention_args &a)
{
    return *reinterpret_cast<const cuda_plan_header *>(a.plan);
}

/* ---- A finished row ---- */

/* The merge of a state into the one on its left; the one definition of this arithmetic. */
struct cuda_merge_weights {
    float left, right;
};

__device__ __forceinline__ float cuda_power2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ cuda_merge_weights cuda_merge_begin(float &m, float &l, float m_right,
                                                               float l_right)
{
    float top = fmaxf(m, m_right);
    cuda_merge_weights w = {cuda_power2(__fsub_rn(m, top)), cuda_power2(__fsub_rn(m_right, top))};
    l = __fmaf_rn(l_right, w.right, __fmul_rn(l, w.left));
    m = top;
    return w;
}

__device__ __forceinline__ float cuda_merge_number(float left, float right, cuda_merge_weights w)
{
    return __fmaf_rn(right, w.right, __fmul_rn(left, w.left));
}

/* The sum keeps a zero from being negative: whether a page of masked keys was looked at must not show. */
__device__ __forceinline__ float cuda_finish_number(float o, float l_inverse)
{
    return __fadd_rn(__fmul_rn(o, l_inverse), 0.0f);
}

__device__ __forceinline__ uint32_t cuda_pack_bf16(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&pair);
}

__device__ __forceinline__ float cuda_e4m3_scale(float amax)
{
    return __fdiv_rn(fmaxf(amax, 1e-4f), 448.0f);
}

__device__ __forceinline__ uint16_t cuda_pack_e4m3(float low, float high, float scale)
{
    return __nv_cvt_float2_to_fp8x2(make_float2(__fdiv_rn(low, scale), __fdiv_rn(high, scale)),
                                    __NV_SATFINITE, __NV_E4M3);
}

#endif
