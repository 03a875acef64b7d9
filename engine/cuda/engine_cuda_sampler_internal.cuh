/* engine_cuda_sampler_internal: what the files of the sampler share: the scratch, and the arithmetic of
 * engine_sampler.c. */
#ifndef ENGINE_CUDA_SAMPLER_INTERNAL_CUH
#define ENGINE_CUDA_SAMPLER_INTERNAL_CUH

#include "engine_cuda_sampler.cuh"

#include <float.h>
#include <math.h>

namespace cuda_sampling
{

constexpr uint32_t ALL = 0xFFFFFFFFu;
constexpr float TEMPERATURE_MIN = 1e-30f; /* as engine_sampler.c */

enum {
    CHUNK = 2048, /* logits of a thread block: a part of the order of sums */
    CHUNKS_MAX = CUDA_SAMPLER_VOCAB / CHUNK,

    CUT_THREADS = 1024,
    BINS = 1024,
    LIST = 2 * CUT_THREADS, /* candidates that are sorted */
    CUT_PARTS = 16,         /* blocks that share a row in the kernels that cut, at most ... */
    CUT_BLOCKS = 264        /* ... and of all rows, unless these are more */
};

static_assert(BINS == CUT_THREADS, "a thread a bin");

struct row_part {            /* of a chunk of a row */
    unsigned long long best; /* key of the greatest logit, and the complement of its id */
    uint32_t damaged;
    uint32_t unused;
};

struct draw_part { /* of a chunk, for one draw */
    double kept;   /* weights at the draw's temperature, after all cuts */
    double all;    /* at temperature 1 */
};

struct limit { /* kept are keys above, and those equal to it up to an id */
    uint32_t key;
    uint32_t id;
};

struct cut_border { /* what is to be listed: bins first .. bin */
    uint32_t bin;   /* or NO_BIN: nothing is cut; ALONE: one block does it without a list */
    uint32_t first;
    double before; /* count or weight in front of `first` */
    double want;   /* count or weight that is kept */
};

struct cut_state { /* of a draw; zero in front of the kernels that cut */
    uint32_t turn[2];
    uint32_t listed;
    uint32_t unused;
    unsigned long long rest;
    cut_border border;
};

struct space {                 /* scratch */
    row_part *rows;            /* [rows][chunks] */
    draw_part *draws;          /* [draws][chunks] */
    limit *limits;             /* [draws] */
    cut_state *states;         /* [draws] */
    uint32_t *bins;            /* [draws][parts][2][BINS] */
    unsigned long long *lists; /* [draws][LIST] */
};

struct arguments {
    cuda_sampler op;
    space s;
    uint32_t chunks;
};

/* Fills in work.s.limits; the greatest logits must be known, and work.s.states zero. */
cudaError_t cut(const arguments &work, cudaStream_t stream);

/* ---- Numbers ---- */

/* Ordered as the numbers are; never 0. -0 counts as 0. */
__device__ __forceinline__ uint32_t key_of(float x)
{
    uint32_t bits = __float_as_uint(x + 0.0f);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float number_of(uint32_t key)
{
    return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

/* exp_nonpositive() of engine_sampler.c, the same bits: no operation is fused. */
__device__ __forceinline__ float weight_of(float x)
{
    bool keep = x >= -87.0f;
    x = keep ? x : 0.0f;
    float n = __fadd_rn(__fmul_rn(x, 1.44269504f), 12582912.0f);
    n = __fsub_rn(n, 12582912.0f);
    float r = __fsub_rn(x, __fmul_rn(n, 0.693359375f));
    r = __fadd_rn(r, __fmul_rn(n, 2.12194440e-4f));
    float p = 1.0f / 5040;
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 720);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 120);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 24);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 6);
    p = __fadd_rn(__fmul_rn(p, r), 0.5f);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f);
    float power = __int_as_float(((int)n + 127) << 23);
    return keep ? __fmul_rn(p, power) : 0.0f;
}

__device__ __forceinline__ float scaled(float logit, float max, float scale)
{
    return __fmul_rn(__fsub_rn(logit, max), scale);
}

__device__ __forceinline__ float scale_of(float temperature)
{
    return __fdiv_rn(1.0f, fmaxf(temperature, TEMPERATURE_MIN));
}

/* Logits id .. id + 3; -infinity past the end. */
__device__ __forceinline__ float4 load4(const float *row, uint32_t id, uint32_t vocab)
{
    if (vocab % 4 == 0) {
        return id < vocab ? *(const float4 *)(row + id)
                          : make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    }
    return make_float4(id < vocab ? row[id] : -INFINITY, id + 1 < vocab ? row[id + 1] : -INFINITY,
                       id + 2 < vocab ? row[id + 2] : -INFINITY,
                       id + 3 < vocab ? row[id + 3] : -INFINITY);
}

/* ---- Reductions, each in one order ---- */

__device__ __forceinline__ double warp_sum(double v)
{
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        v += __shfl_xor_sync(ALL, v, distance);
    }
    return v;
}

/* Inclusive sums over the lanes. */
template <class T> __device__ __forceinline__ T warp_scan(T v)
{
    uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t distance = 1; distance < 32; distance *= 2) {
        T other = __shfl_up_sync(ALL, v, distance);
        v += lane >= distance ? other : 0;
    }
    return v;
}

/* Inclusive sums over a block of WARPS warps; `part` is shared. Ends with a barrier behind the last read of `part`. */
template <int WARPS, class T> __device__ T block_scan(T v, T *part)
{
    uint32_t warp = threadIdx.x / 32;
    v = warp_scan(v);
    if (threadIdx.x % 32 == 31) {
        part[warp] = v;
    }
    __syncthreads();
    T before = threadIdx.x % 32 < warp ? part[threadIdx.x % 32] : 0;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        before += __shfl_xor_sync(ALL, before, distance);
    }
    __syncthreads();
    return before + v;
}

/* ---- The greatest logit ---- */

__device__ __forceinline__ unsigned long long greater(unsigned long long a, unsigned long long b)
{
    return a > b ? a : b;
}

struct row_top {
    float max;
    uint32_t id;
    bool damaged;
};

/* A warp puts the row's chunks together. */
__device__ inline row_top top_of(const arguments &a, uint32_t row)
{
    const row_part *parts = a.s.rows + (size_t)row * a.chunks;
    unsigned long long best = 0;
    uint32_t damaged = 0;
    for (uint32_t c = threadIdx.x % 32; c < a.chunks; c += 32) {
        best = greater(best, parts[c].best);
        damaged |= parts[c].damaged;
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        best = greater(best, __shfl_xor_sync(ALL, best, distance));
    }
    row_top top;
    top.max = number_of((uint32_t)(best >> 32));
    top.id = ~(uint32_t)best;
    top.damaged = __any_sync(ALL, damaged != 0) || !(top.max <= FLT_MAX && top.max >= -FLT_MAX);
    return top;
}

/* ---- Draws ---- */

__device__ __forceinline__ bool within(limit cut, float logit, uint32_t id)
{
    uint32_t key = key_of(logit);
    return key > cut.key || (key == cut.key && id <= cut.id);
}

__device__ __forceinline__ bool draws_one(const engine_draw &d)
{
    return d.token == ENGINE_NO_TOKEN && d.temperature != 0;
}

} // namespace cuda_sampling

#endif
