/* engine_cuda_narrow_store: how the narrow kernel stores what an item comes to. */
#ifndef ENGINE_CUDA_NARROW_STORE_CUH
#define ENGINE_CUDA_NARROW_STORE_CUH

#include "engine_cuda_epilogue.cuh"
#include "engine_cuda_narrow.cuh"

#include <cuda_bf16.h>

/* Register i of the thread is weight row row_of() (of the 128) and token column_of(). */
__device__ __forceinline__ uint32_t row_of(uint32_t i)
{
    uint32_t t = threadIdx.x;
    return 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2);
}

__device__ __forceinline__ uint32_t column_of(uint32_t i)
{
    return 8 * (i / 4) + 2 * (threadIdx.x % 4) + i % 2;
}

/* The biases of the thread's two weight rows; zero is never added where there are none. */
struct narrow_bias {
    bool any;
    float value[2];
};

__device__ __forceinline__ narrow_bias bias_of(const cuda_gemm &g, uint32_t first)
{
    narrow_bias bias = {g.bias != NULL, {0.0f, 0.0f}};
    if (bias.any) {
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t n = first + row_of(2 * i);
            bias.value[i] = n < g.w.rows ? g.bias[n] : 0.0f;
        }
    }
    return bias;
}

__device__ __forceinline__ float with_bias(const narrow_bias &bias, float sum, uint32_t i)
{
    return bias.any ? __fadd_rn(sum, bias.value[i / 2 % 2]) : sum;
}

/* F32 and ADD: lanes that differ by 4 write neighbours. What is added to is read before anything is written, or each
 * number would wait for the one before. */
template <int N>
__device__ void store_float(const cuda_gemm &g, const narrow_item &item, uint32_t first,
                            const float (&sum)[N / 2])
{
    narrow_bias bias = bias_of(g, first);
    float *out = (float *)g.out + (size_t)item.row * g.ld;
    float value[N / 2];
#pragma unroll
    for (uint32_t i = 0; i < N / 2; i++) {
        uint32_t n = first + row_of(i), column = column_of(i);
        value[i] = with_bias(bias, sum[i], i);
        if (g.epilogue == CUDA_OUT_ADD && n < g.w.rows && column < item.rows) {
            value[i] = __fadd_rn(__ldcg(out + (size_t)column * g.ld + n), value[i]);
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < N / 2; i++) {
        uint32_t n = first + row_of(i), column = column_of(i);
        if (n < g.w.rows && column < item.rows) {
            out[(size_t)column * g.ld + n] = value[i];
        }
    }
}

/* Lanes that differ by 4 hold neighbours: they swap, so that each writes two numbers of one token. */
template <int N>
__device__ void store_bf16(const cuda_gemm &g, const narrow_item &item, uint32_t first,
                           const float (&sum)[N / 2])
{
    bool odd = threadIdx.x / 4 % 2 != 0;
    narrow_bias bias = bias_of(g, first);
#pragma unroll
    for (uint32_t i = 0; i < N / 2; i += 2) {
        uint32_t n = first + row_of(i);
        float even_column = with_bias(bias, sum[i], i);
        float odd_column = with_bias(bias, sum[i + 1], i);
        float other = __shfl_xor_sync(0xFFFFFFFFu, odd ? even_column : odd_column, 4);
        uint32_t column = column_of(i) + odd;
        n -= odd;
        if (column < item.rows && n < g.w.rows) {
            __nv_bfloat16 *out = (__nv_bfloat16 *)g.out + (size_t)(item.row + column) * g.ld + n;
            uint32_t pair =
                odd ? cuda_bf16_pair(other, odd_column) : cuda_bf16_pair(even_column, other);
            if (n + 1 < g.w.rows) {
                *(uint32_t *)out = pair;
            } else {
                *(uint16_t *)out = (uint16_t)pair;
            }
        }
    }
}

/* The largest magnitude of each token over the 128 columns, then its scale: to shared memory and to the output. */
template <int N>
__device__ const float *gated_scales(const narrow_plan &p, uint8_t *shared, const narrow_item &item,
                                     const float (&value)[N / 2])
{
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *amax = (float *)(shared + p.at.amax);
    float *scale = amax + NARROW_CONSUMERS * p.columns;
#pragma unroll
    for (uint32_t j = 0; j < N / 8; j++) {
#pragma unroll
        for (uint32_t e = 0; e < 2; e++) {
            float most = fmaxf(fabsf(value[4 * j + e]), fabsf(value[4 * j + e + 2]));
#pragma unroll
            for (uint32_t step = 4; step < 32; step *= 2) {
                most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, step));
            }
            if (lane < 4) {
                amax[warp * p.columns + 8 * j + 2 * lane + e] = most;
            }
        }
    }
    consumers_sync(p);
    uint32_t column = threadIdx.x;
    if (column < N) {
        float most = amax[column];
#pragma unroll
        for (uint32_t i = 1; i < NARROW_CONSUMERS; i++) {
            most = fmaxf(most, amax[i * p.columns + column]);
        }
        scale[column] = cuda_e4m3_scale(most);
        if (column < item.rows) {
            p.g.gated.scale[(size_t)item.unit * p.g.gated.capacity + item.row + column] =
                scale[column];
        }
    }
    consumers_sync(p);
    return scale;
}

/* A block of 128 columns of the gated output, arranged in shared memory as it lies in `gated`, then copied. */
template <int N>
__device__ void store_gated(const narrow_plan &p, uint8_t *shared, const narrow_item &item,
                            float (&gate)[N / 2], const float (&up)[N / 2])
{
    const cuda_rows &to = p.g.gated;
    bool e4m3 = to.type == CUDA_E4M3;
    uint8_t *staged = shared + p.at.gated;
    uint32_t block_bytes = N * CUDA_BLOCK_BYTES;
#pragma unroll
    for (uint32_t i = 0; i < N / 2; i++) {
        gate[i] = cuda_gated(gate[i], up[i]);
    }
    const float *scale = NULL;
    if (e4m3) {
        scale = gated_scales<N>(p, shared, item, gate);
    } else {
        consumers_sync(p); /* the item before has left `staged` */
    }
#pragma unroll
    for (uint32_t i = 0; i < N / 2; i++) {
        uint32_t n = row_of(i), column = column_of(i);
        uint32_t byte = e4m3 ? n : n % 64 * 2;
        uint32_t at =
            (e4m3 ? 0 : n / 64 * block_bytes) + cuda_swizzle(column, byte / 16) + byte % 16;
        if (e4m3) {
            staged[at] = (uint8_t)cuda_e4m3_pair(gate[i], 0.0f, scale[column]);
        } else {
            *(__nv_bfloat16 *)(staged + at) = __float2bfloat16_rn(gate[i]);
        }
    }
    consumers_sync(p);
    uint32_t blocks = e4m3 ? 1 : 2;
    for (uint32_t chunk = threadIdx.x; chunk < blocks * N * 8; chunk += p.consumers) {
        uint32_t block = chunk / (N * 8), byte = chunk % (N * 8) * 16;
        if (byte / CUDA_BLOCK_BYTES < item.rows) {
            uint8_t *out = to.data + cuda_rows_offset(to, item.row, blocks * item.unit + block, 0);
            *(uint4 *)(out + byte) = *(const uint4 *)(staged + block * block_bytes + byte);
        }
    }
}

/* bf16: the second warpgroup holds 64 rows of up, and hands them to the first, which holds those of gate. The unit is a
 * K block of the output. */
template <int N>
__device__ void store_paired(const narrow_plan &p, uint8_t *shared, const narrow_item &item,
                             const float (&sum)[N / 2])
{
    float *up = (float *)(shared + p.at.gated) + threadIdx.x % 128;
    consumers_sync(p); /* the sums of the item before have been read */
    if (threadIdx.x >= 128) {
#pragma unroll
        for (uint32_t i = 0; i < N / 2; i++) {
            up[i * 128] = sum[i];
        }
    }
    consumers_sync(p);
    if (threadIdx.x >= 128) {
        return;
    }
    bool odd = threadIdx.x / 4 % 2 != 0;
#pragma unroll
    for (uint32_t i = 0; i < N / 2; i += 2) {
        float even_column = cuda_gated(sum[i], up[i * 128]);
        float odd_column = cuda_gated(sum[i + 1], up[(i + 1) * 128]);
        float other = __shfl_xor_sync(0xFFFFFFFFu, odd ? even_column : odd_column, 4);
        uint32_t n = row_of(i) - odd, column = column_of(i) + odd;
        if (column < item.rows) {
            size_t at = cuda_rows_offset(p.g.gated, item.row + column, item.unit, n / 8);
            *(uint32_t *)(p.g.gated.data + at + n % 8 * 2) =
                odd ? cuda_bf16_pair(other, odd_column) : cuda_bf16_pair(even_column, other);
        }
    }
}

#endif
