#include "engine_cuda_pointwise.cuh"

#include "engine_cuda_epilogue.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_mla.cuh"
#include "engine_cuda_ptx.cuh"

#include <cooperative_groups.h>
#include <cuda_fp16.h>

namespace
{

constexpr uint32_t ALL = 0xFFFFFFFFu;

enum {
    UNIT = 128,        /* columns that a warp reduces at once */
    UNITS_MAX = 256,   /* of a row */
    UNITS_NEAR = 56,   /* of a row that one block reduces */
    NORM_BLOCKS = 264, /* two for each multiprocessor of an H100 */
    CLUSTER = 8        /* thread blocks that share a row */
};

uint32_t units_of(uint32_t cols)
{
    return (cols + UNIT - 1) / UNIT;
}

/* ---- Pieces ---- */

/* Butterflies: every lane ends with the same bits, since a + b == b + a. */
__device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        v = __fadd_rn(v, __shfl_xor_sync(ALL, v, distance));
    }
    return v;
}

__device__ __forceinline__ float4 load4(const float *row, uint32_t column, uint32_t cols)
{
    return column < cols ? *(const float4 *)(row + column) : make_float4(0, 0, 0, 0);
}

/* The squares of a unit, over the warp. */
__device__ __forceinline__ float unit_squares(float4 v)
{
    float sum = __fmul_rn(v.x, v.x);
    sum = __fmaf_rn(v.y, v.y, sum);
    sum = __fmaf_rn(v.z, v.z, sum);
    sum = __fmaf_rn(v.w, v.w, sum);
    return warp_sum(sum);
}

/* 1 / sqrt(mean + eps) from the units' sums, which all threads see. */
__device__ __forceinline__ float factor_of(const float *part, uint32_t units, uint32_t cols,
                                           float eps)
{
    float sum = 0;
    for (uint32_t u = threadIdx.x % 32; u < units; u += 32) {
        sum = __fadd_rn(sum, part[u]);
    }
    float mean = __fdiv_rn(warp_sum(sum), (float)cols);
    return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
}

__device__ __forceinline__ float4 normalised(float4 v, float factor, float4 w)
{
    return make_float4(
        __fmul_rn(__fmul_rn(v.x, factor), w.x), __fmul_rn(__fmul_rn(v.y, factor), w.y),
        __fmul_rn(__fmul_rn(v.z, factor), w.z), __fmul_rn(__fmul_rn(v.w, factor), w.w));
}

__device__ __forceinline__ uint2 bf16_of(float4 v)
{
    return make_uint2(cuda_bf16_pair(v.x, v.y), cuda_bf16_pair(v.z, v.w));
}

/* x / scale, rounded as a division is: with the reciprocal rounded to nearest, one correction makes the quotient right
 * (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990). Where it could
 * underflow, the quotient is far below what e4m3 can hold. */
__device__ __forceinline__ float quotient(float x, float scale, float reciprocal)
{
    float q = __fmul_rn(x, reciprocal);
    q = __fmaf_rn(__fmaf_rn(-q, scale, x), reciprocal, q);
    return __uint_as_float(__float_as_uint(q) | (__float_as_uint(x) & 0x80000000u)); /* -0 */
}

__device__ __forceinline__ uint32_t e4m3_of(float4 v, float scale)
{
    float reciprocal = __frcp_rn(scale);
    uint16_t low;
    uint16_t high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(low)
        : "f"(quotient(v.y, scale, reciprocal)), "f"(quotient(v.x, scale, reciprocal)));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(high)
        : "f"(quotient(v.w, scale, reciprocal)), "f"(quotient(v.z, scale, reciprocal)));
    return low | (uint32_t)high << 16;
}

/* A warp stores columns 128 unit + 4 lane .. + 3 of a row; past the end v is zero. */
__device__ __forceinline__ void store_unit(const cuda_rows &out, uint32_t row, uint32_t unit,
                                           float4 v)
{
    uint32_t lane = threadIdx.x % 32;
    if (out.type == CUDA_E4M3) {
        float amax = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
        /* magnitudes are ordered as their bits are */
        amax = __uint_as_float(__reduce_max_sync(ALL, __float_as_uint(amax)));
        float scale = cuda_e4m3_scale(amax);
        size_t at = cuda_rows_offset(out, row, unit, lane / 4) + lane % 4 * 4;
        *(uint32_t *)(out.data + at) = e4m3_of(v, scale);
        if (lane == 0) {
            out.scale[(size_t)unit * out.capacity + row] = scale;
        }
        return;
    }
    uint32_t kb = 2 * unit + lane / 16;
    if (kb < out.k_blocks) {
        size_t at = cuda_rows_offset(out, row, kb, lane % 16 / 2) + lane % 2 * 8;
        *(uint2 *)(out.data + at) = bf16_of(v);
    }
}

/* ---- Embedding ---- */

__device__ __forceinline__ float4 widen4(const cuda_embed &p, size_t at)
{
    if (p.type == CUDA_NUMBER_F32) {
        return *(const float4 *)((const float *)p.table + at);
    }
    uint2 u = *(const uint2 *)((const uint16_t *)p.table + at);
    if (p.type == CUDA_NUMBER_BF16) {
        return make_float4(__uint_as_float(u.x << 16), __uint_as_float(u.x & 0xFFFF0000u),
                           __uint_as_float(u.y << 16), __uint_as_float(u.y & 0xFFFF0000u));
    }
    float2 a = __half22float2(*(const __half2 *)&u.x);
    float2 b = __half22float2(*(const __half2 *)&u.y);
    return make_float4(a.x, a.y, b.x, b.y);
}

__global__ void __launch_bounds__(256) embed_kernel(const __grid_constant__ cuda_embed p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    uint32_t column = (blockIdx.y * 256 + threadIdx.x) * 4;
    uint32_t token = p.token[row];
    if (p.drawn != NULL && (token & ENGINE_TOKEN_DRAWN) != 0) {
        token = p.drawn[token & ~(uint32_t)ENGINE_TOKEN_DRAWN].token;
    }
    if (column < p.cols) {
        *(float4 *)(p.h + (size_t)row * p.cols + column) =
            widen4(p, (size_t)token * p.cols + column);
    }
}

/* ---- Mix ---- */

__device__ __forceinline__ float4 expert4(const cuda_mix &p, uint32_t place, uint32_t column)
{
    size_t at = (size_t)place * p.cols + column;
    if (!p.out_bf16) {
        return __ldcs((const float4 *)((const float *)p.out + at));
    }
    uint2 u = __ldcs((const uint2 *)((const uint16_t *)p.out + at));
    return make_float4(__uint_as_float(u.x << 16), __uint_as_float(u.x & 0xFFFF0000u),
                       __uint_as_float(u.y << 16), __uint_as_float(u.y & 0xFFFF0000u));
}

__device__ __forceinline__ void add_weighted(float4 &sum, float weight, float4 v)
{
    sum.x = __fmaf_rn(weight, v.x, sum.x);
    sum.y = __fmaf_rn(weight, v.y, sum.y);
    sum.z = __fmaf_rn(weight, v.z, sum.z);
    sum.w = __fmaf_rn(weight, v.w, sum.w);
}

__device__ __forceinline__ void add4(float4 &sum, float4 v)
{
    sum.x = __fadd_rn(sum.x, v.x);
    sum.y = __fadd_rn(sum.y, v.y);
    sum.z = __fadd_rn(sum.z, v.z);
    sum.w = __fadd_rn(sum.w, v.w);
}

/* v[i] (columns at[i] ..) += the experts of `row`. Called by whole warps: lane i keeps the i-th place. The shared
 * expert's fma with weight 1 rounds as an addition does. */
template <int N>
__device__ __forceinline__ void mix_into(const cuda_mix &p, uint32_t row, const uint32_t (&at)[N],
                                         float4 (&v)[N])
{
    uint32_t lane = threadIdx.x % 32;
    uint32_t places = p.per_token + p.shared;
    /* all three loads under way before the first is needed; a padding row's are not used */
    uint32_t active = p.active != NULL ? *p.active : UINT32_MAX;
    uint32_t place = lane < places ? p.place[(size_t)row * places + lane] : 0;
    float weight = lane < p.per_token ? p.weights[(size_t)row * p.per_token + lane] : 1.0f;
    uint32_t least = p.range != NULL ? p.range[0] : 0;
    uint32_t below = p.range != NULL ? p.range[p.range_end] : UINT32_MAX;
    if (row >= active) {
        return;
    }
    float4 sum[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        sum[i] = make_float4(0, 0, 0, 0);
    }
#pragma unroll(N == 1 ? 9 : 3)
    for (uint32_t e = 0; e < places; e++) {
        uint32_t from = __shfl_sync(ALL, place, e);
        float factor = __shfl_sync(ALL, weight, e);
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (at[i] < p.cols && from >= least && from < below) {
                add_weighted(sum[i], factor, expert4(p, from, at[i]));
            }
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        add4(v[i], sum[i]);
        if (at[i] < p.cols) {
            *(float4 *)(p.h + (size_t)row * p.cols + at[i]) = v[i];
        }
    }
}

__global__ void __launch_bounds__(128) mix_kernel(const __grid_constant__ cuda_mix p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    uint32_t at[1] = {(blockIdx.y * 128 + threadIdx.x) * 4};
    float4 v[1] = {load4(p.h + (size_t)row * p.cols, at[0], p.cols)};
    mix_into<1>(p, row, at, v);
}

/* ---- Norms ---- */

/* For many rows: a block takes row after row and keeps the weights; warp w has units w, w + warps, ... The next row is
 * loaded while this one is reduced. */
template <int PER>
__global__ void __launch_bounds__(UNITS_NEAR * 8, 2)
    norm_kernel(const __grid_constant__ cuda_norm p)
{
    __shared__ float part[2][UNITS_NEAR];
    uint32_t lane = threadIdx.x % 32;
    uint32_t units = (p.cols + UNIT - 1) / UNIT;
    uint32_t warps = blockDim.x / 32;
    uint32_t first = threadIdx.x / 32;
    float4 w[PER];
    float4 v[PER];
    float4 next[PER];
#pragma unroll
    for (int i = 0; i < PER; i++) {
        w[i] = load4(p.weight, (first + i * warps) * UNIT + lane * 4, p.cols);
    }
    cuda_chain_wait();
    cuda_chain_release();
    auto load_row = [&](uint32_t row) {
        const float *x = p.x + (size_t)(p.pick == NULL ? row : p.pick[row]) * p.ld;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            next[i] = load4(x, (first + i * warps) * UNIT + lane * 4, p.cols);
        }
    };
    load_row(blockIdx.x);
    for (uint32_t row = blockIdx.x, turn = 0; row < p.rows; row += gridDim.x, turn ^= 1) {
#pragma unroll
        for (int i = 0; i < PER; i++) {
            v[i] = next[i];
        }
        if (row + gridDim.x < p.rows) {
            load_row(row + gridDim.x);
        }
#pragma unroll
        for (int i = 0; i < PER; i++) {
            float sum = unit_squares(v[i]);
            if (lane == 0 && first + i * warps < units) {
                part[turn][first + i * warps] = sum;
            }
        }
        __syncthreads(); /* two parts: nobody still reads the one that is written next */
        float factor = factor_of(part[turn], units, p.cols, p.eps);
        if (threadIdx.x == 0 && p.factor != NULL) {
            p.factor[row] = factor;
        }
#pragma unroll
        for (int i = 0; i < PER; i++) {
            if (first + i * warps < units) {
                store_unit(p.out, row, first + i * warps, normalised(v[i], factor, w[i]));
            }
        }
    }
}

/* What is added to a row before it is normalised. */
struct nothing {
};

__device__ __forceinline__ void add_first(const nothing &, uint32_t, const uint32_t (&)[1],
                                          float4 (&)[1])
{
}

__device__ __forceinline__ void add_first(const cuda_mix &mix, uint32_t row,
                                          const uint32_t (&at)[1], float4 (&v)[1])
{
    mix_into<1>(mix, row, at, v);
}

__device__ __forceinline__ void add_first(const cuda_parts &p, uint32_t row,
                                          const uint32_t (&at)[1], float4 (&v)[1])
{
    const float *part = p.at + (size_t)row * p.cols;
    float4 sum = load4(part, at[0], p.cols);
    for (uint32_t r = 1; r < p.ranks; r++) {
        add4(sum, load4(part + r * p.step, at[0], p.cols));
    }
    add4(v[0], sum);
    if (at[0] < p.cols) {
        *(float4 *)(p.h + (size_t)row * p.cols + at[0]) = v[0];
    }
}

/* A cluster a row, a warp a unit: for few rows, whose loads would otherwise all go through one multiprocessor. */
template <class FIRST>
__global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(1024)
    norm_cluster_kernel(const __grid_constant__ cuda_norm p, const __grid_constant__ FIRST first)
{
    namespace groups = cooperative_groups;
    __shared__ float part[UNITS_MAX];
    groups::cluster_group cluster = groups::this_cluster();
    uint32_t lane = threadIdx.x % 32;
    uint32_t units = (p.cols + UNIT - 1) / UNIT;
    uint32_t row = blockIdx.x / CLUSTER;
    uint32_t unit = blockIdx.x % CLUSTER * (blockDim.x / 32) + threadIdx.x / 32;
    uint32_t at[1] = {unit * UNIT + lane * 4};
    float4 w = load4(p.weight, at[0], p.cols);
    cluster.sync(); /* all blocks of the cluster run before their memory is written */
    cuda_chain_wait();
    cuda_chain_release();
    const float *x = p.x + (size_t)(p.pick == NULL ? row : p.pick[row]) * p.ld;
    float4 v[1] = {load4(x, at[0], p.cols)};
    add_first(first, row, at, v);
    float sum = unit_squares(v[0]);
    if (lane < CLUSTER && unit < units) {
        *cluster.map_shared_rank(&part[unit], lane) = sum;
    }
    cluster.sync();
    float factor = factor_of(part, units, p.cols, p.eps);
    if (unit == 0 && lane == 0 && p.factor != NULL) {
        p.factor[row] = factor;
    }
    if (unit < units) {
        store_unit(p.out, row, unit, normalised(v[0], factor, w));
    }
}

/* ---- Latents ---- */

/* blockIdx.y: 0 the query's, 1 what is cached. Warp w has units w and w + 8; warp 4 rotates. */
__global__ void __launch_bounds__(256) latents_kernel(const __grid_constant__ cuda_latents p)
{
    __shared__ float part[16];
    uint32_t lane = threadIdx.x % 32;
    uint32_t warp = threadIdx.x / 32;
    uint32_t row = blockIdx.x;
    bool cached = blockIdx.y == 1 || p.q_cols == 0;
    uint32_t cols = cached ? (uint32_t)CUDA_MLA_LATENT : p.q_cols;
    uint32_t units = (cols + UNIT - 1) / UNIT;
    uint32_t at[2] = {warp * UNIT + lane * 4, (warp + 8) * UNIT + lane * 4};
    const float *weight = cached ? p.kv_weight : p.q_weight;
    float4 w[2] = {load4(weight, at[0], cols), load4(weight, at[1], cols)};
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t page_number = cached ? p.page[row] : 0;
    uint32_t slot = cached ? p.slot[row] : 0;
    const float *x = p.x + (size_t)row * p.ld + (cached ? p.kv_column : 0);
    float4 v[2] = {load4(x, at[0], cols), load4(x, at[1], cols)};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = unit_squares(v[i]);
        if (lane == 0) {
            part[warp + 8 * i] = sum;
        }
    }
    __syncthreads();
    float factor = factor_of(part, units, cols, p.eps);
    if (!cached) {
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            if (warp + 8 * i < units) {
                store_unit(p.q, row, warp + 8 * i, normalised(v[i], factor, w[i]));
            }
        }
        return;
    }
    uint8_t *page = p.cache + (size_t)page_number * CUDA_MLA_PAGE_BYTES;
    if (warp < 4) {
        *(uint2 *)(page + cuda_mla_cache_offset(slot, at[0])) =
            bf16_of(normalised(v[0], factor, w[0]));
    } else if (warp == 4) {
        float2 a = *(const float2 *)(x + CUDA_MLA_LATENT + 2 * lane);
        float2 r = p.rotation[(size_t)row * (CUDA_MLA_ROPE / 2) + lane];
        float even = __fsub_rn(__fmul_rn(a.x, r.x), __fmul_rn(a.y, r.y));
        float odd = __fadd_rn(__fmul_rn(a.y, r.x), __fmul_rn(a.x, r.y));
        *(uint32_t *)(page + cuda_mla_cache_offset(slot, CUDA_MLA_LATENT + 2 * lane)) =
            cuda_bf16_pair(even, odd);
    }
}

/* ---- Activation ---- */

/* A warp a unit of 128 outputs. */
__global__ void __launch_bounds__(256) silu_kernel(const __grid_constant__ cuda_silu p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    uint32_t unit = blockIdx.y * 8 + threadIdx.x / 32;
    if (unit * UNIT >= p.out.cols) {
        return;
    }
    const float *x = p.x + (size_t)row * p.ld + unit * 2 * UNIT + threadIdx.x % 32 * 4;
    float4 gate = *(const float4 *)x;
    float4 up = *(const float4 *)(x + UNIT);
    store_unit(p.out, row, unit,
               make_float4(cuda_gated(gate.x, up.x), cuda_gated(gate.y, up.y),
                           cuda_gated(gate.z, up.z), cuda_gated(gate.w, up.w)));
}

/* ---- Launches ---- */

/* Rows up to which a cluster a row is faster. */
enum { CLUSTER_ROWS = 32, CLUSTER_ROWS_MIX = 48 };

template <class FIRST>
cudaError_t run_cluster(const cuda_norm *op, const FIRST &first, cudaStream_t stream)
{
    uint32_t units = units_of(op->cols);
    if (units > UNITS_MAX) {
        return cudaErrorInvalidValue;
    }
    uint32_t warps = (units + CLUSTER - 1) / CLUSTER;
    cuda_shape shape = {dim3(op->rows * CLUSTER), dim3(warps * 32), 0};
    return cuda_launch(norm_cluster_kernel<FIRST>, shape, stream, *op, first);
}

} // namespace

cudaError_t cuda_embed_run(const cuda_embed *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->rows, (op->cols + 1023) / 1024), dim3(256), 0};
    return cuda_launch(embed_kernel, shape, stream, *op);
}

cudaError_t cuda_mix_run(const cuda_mix *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->rows, (op->cols + 511) / 512), dim3(128), 0};
    return cuda_launch(mix_kernel, shape, stream, *op);
}

cudaError_t cuda_norm_run(const cuda_norm *op, cudaStream_t stream)
{
    uint32_t units = units_of(op->cols);
    if (units > UNITS_NEAR || (op->rows <= CLUSTER_ROWS && units >= CLUSTER)) {
        return run_cluster(op, nothing(), stream);
    }
    uint32_t blocks = op->rows < NORM_BLOCKS ? op->rows : (uint32_t)NORM_BLOCKS;
    cuda_shape shape = {dim3(blocks), dim3((units + 3) / 4 * 32), 0};
    return cuda_launch(norm_kernel<4>, shape, stream, *op);
}

cudaError_t cuda_mix_norm_run(const cuda_mix *mix, const cuda_norm *op, cudaStream_t stream)
{
    if (op->rows <= CLUSTER_ROWS_MIX) {
        return run_cluster(op, *mix, stream);
    }
    cudaError_t error = cuda_mix_run(mix, stream);
    return error != cudaSuccess ? error : cuda_norm_run(op, stream);
}

cudaError_t cuda_parts_norm_run(const cuda_parts *parts, const cuda_norm *op, cudaStream_t stream)
{
    return op->rows > CUDA_PARTS_ROWS ? cudaErrorInvalidValue : run_cluster(op, *parts, stream);
}

cudaError_t cuda_latents_run(const cuda_latents *op, cudaStream_t stream)
{
    if (op->q_cols > 16 * UNIT) {
        return cudaErrorInvalidValue;
    }
    cuda_shape shape = {dim3(op->rows, op->q_cols == 0 ? 1 : 2), dim3(256), 0};
    return cuda_launch(latents_kernel, shape, stream, *op);
}

cudaError_t cuda_silu_run(const cuda_silu *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->rows, (units_of(op->out.cols) + 7) / 8), dim3(256), 0};
    return cuda_launch(silu_kernel, shape, stream, *op);
}
