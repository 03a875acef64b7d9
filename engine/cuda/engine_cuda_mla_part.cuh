/* engine_cuda_mla_part: partial results of latent attention, between the kernel that makes them and the one that merges the
 * pieces of a row: their layout, the one merge, and how they become a row's result. */
#ifndef ENGINE_CUDA_MLA_PART_CUH
#define ENGINE_CUDA_MLA_PART_CUH

#include "engine_cuda_mla_plan.cuh"
#include "engine_cuda_ptx.cuh"

/* 2^d for a whole d <= 0 (or minus infinity), exactly. */
__device__ __forceinline__ float mla_power(float d)
{
    return __int_as_float((max(__float2int_rz(d), -127) + 127) << 23);
}

__device__ __forceinline__ uint32_t mla_pack(float low, float high)
{
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

/* A thread holds two rows of the sums: row 0 is lane / 4 of its warp's 16, row 1 eight further. */
struct mla_pair {
    float row[2];
};

/* A partial result in memory: number i (of 32) of thread t at [i * 256 + t], (m, l) of its two rows at i = 32. A thread
 * reads what the thread of the same number wrote, so a part may be written again by who has read it. */
struct mla_state {
    mla_pair m;
    mla_pair l;
};

struct mla_mix { /* factors of a merge */
    mla_pair left;
    mla_pair right;
};

__device__ __forceinline__ float4 mla_packed(const mla_state &s)
{
    return make_float4(s.m.row[0], s.l.row[0], s.m.row[1], s.l.row[1]);
}

__device__ __forceinline__ mla_state mla_unpacked(const float4 &s)
{
    return {{{s.x, s.z}}, {{s.y, s.w}}};
}

/* The one merge: every result of two parts is made by this and mla_mixed(). */
__device__ __forceinline__ mla_mix mla_merge(const mla_state &left, const mla_state &right,
                                             mla_state *sum)
{
    mla_mix mix;
    mla_state s;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        s.m.row[r] = fmaxf(left.m.row[r], right.m.row[r]);
        mix.left.row[r] = mla_power(left.m.row[r] - s.m.row[r]);
        mix.right.row[r] = mla_power(right.m.row[r] - s.m.row[r]);
        s.l.row[r] =
            __fmaf_rn(left.l.row[r], mix.left.row[r], __fmul_rn(right.l.row[r], mix.right.row[r]));
    }
    *sum = s;
    return mix;
}

__device__ __forceinline__ float mla_mixed(float left, float right, const mla_mix &mix, int row)
{
    return __fmaf_rn(left, mix.left.row[row], __fmul_rn(right, mix.right.row[row]));
}

__device__ __forceinline__ float4 mla_mixed4(const float4 &left, const float4 &right,
                                             const mla_mix &mix)
{
    return make_float4(mla_mixed(left.x, right.x, mix, 0), mla_mixed(left.y, right.y, mix, 0),
                       mla_mixed(left.z, right.z, mix, 1), mla_mixed(left.w, right.w, mix, 1));
}

/* The part at `part`, then what the registers hold. */
__device__ __forceinline__ void mla_merge_from(const float4 *part, float (&o)[128],
                                               mla_state *state, uint32_t thread)
{
    mla_mix mix =
        mla_merge(mla_unpacked(__ldcg(part + 32 * CUDA_MLA_THREADS + thread)), *state, state);
#pragma unroll
    for (int i = 0; i < 32; i += 8) {
        float4 left[8];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            left[j] = __ldcg(part + (i + j) * CUDA_MLA_THREADS + thread);
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float *x = o + 4 * (i + j);
            float4 sum = mla_mixed4(left[j], make_float4(x[0], x[1], x[2], x[3]), mix);
            x[0] = sum.x;
            x[1] = sum.y;
            x[2] = sum.z;
            x[3] = sum.w;
        }
    }
}

__device__ __forceinline__ void mla_store_part(float4 *part, const float (&o)[128],
                                               const mla_state &s, uint32_t thread)
{
#pragma unroll
    for (int i = 0; i < 32; i++) {
        cuda_store_kept(part + i * CUDA_MLA_THREADS + thread,
                        make_float4(o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]));
    }
    cuda_store_kept(part + 32 * CUDA_MLA_THREADS + thread, mla_packed(s));
}

/* Lane i of a quad gives word j of column group j as w[j]; it gets word j of group i from lane j. */
__device__ __forceinline__ void mla_quad_transpose(uint32_t (&w)[4], uint32_t lane)
{
#pragma unroll
    for (uint32_t bit = 1; bit <= 2; bit *= 2) {
        bool high = (lane & bit) != 0;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            if ((i & bit) == 0) {
                uint32_t mine = high ? w[i] : w[i | bit];
                uint32_t theirs = __shfl_xor_sync(0xFFFFFFFFu, mine, bit);
                w[i] = high ? theirs : w[i];
                w[i | bit] = high ? w[i | bit] : theirs;
            }
        }
    }
}

/* Numbers 4 k .. 4 k + 3 of a part, as the row's result. out: of a tile of heads, row h at h * 512, at the first column. */
__device__ __forceinline__ void mla_store_columns(__nv_bfloat16 *out, uint32_t heads,
                                                  const float4 (&x)[4], const mla_state &s,
                                                  uint32_t row, uint32_t lane)
{
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) {
        float inverse = 1.0F / s.l.row[r];
        uint32_t head = row + 8 * r;
        uint32_t w[4];
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            w[j] = r == 0 ? mla_pack(x[j].x * inverse, x[j].y * inverse)
                          : mla_pack(x[j].z * inverse, x[j].w * inverse);
        }
        mla_quad_transpose(w, lane);
        if (head < heads) {
            *(uint4 *)(out + (size_t)head * CUDA_MLA_LATENT + 8 * (lane % 4)) =
                make_uint4(w[0], w[1], w[2], w[3]);
        }
    }
}

/* All of them; `column`: of the warpgroup's half. */
__device__ __forceinline__ void mla_store_out(__nv_bfloat16 *out, uint32_t heads,
                                              const float (&o)[128], const mla_state &s,
                                              uint32_t row, uint32_t column, uint32_t lane)
{
#pragma unroll
    for (uint32_t i = 0; i < 32; i += 4) {
        float4 x[4];
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            const float *from = o + 4 * (i + j);
            x[j] = make_float4(from[0], from[1], from[2], from[3]);
        }
        mla_store_columns(out + column + 8 * i, heads, x, s, row, lane);
    }
}

#endif
