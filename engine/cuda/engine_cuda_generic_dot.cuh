/* engine_cuda_generic_dot: numbers of every stored type as float32, and the dot product of a warp that all products and
 * scores of the generic path are made of. */
#ifndef ENGINE_CUDA_GENERIC_DOT_CUH
#define ENGINE_CUDA_GENERIC_DOT_CUH

#include "engine_cuda_generic.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { CUDA_GENERIC_LANE = 4, CUDA_GENERIC_STEP = 32 * CUDA_GENERIC_LANE };

/* ---- Numbers ---- */

/* Each type: `raw`, and exact conversions of one number, and of `four` that lie together on a multiple of their size. */
struct cuda_generic_f32 {
    typedef float raw;
    typedef float4 pack;

    static __device__ __forceinline__ float one(const raw *p) { return *p; }

    static __device__ __forceinline__ void unpack(float (&out)[4], pack v)
    {
        out[0] = v.x;
        out[1] = v.y;
        out[2] = v.z;
        out[3] = v.w;
    }
};

struct cuda_generic_bf16 {
    typedef uint16_t raw;
    typedef uint2 pack;

    static __device__ __forceinline__ float one(const raw *p)
    {
        return __uint_as_float((uint32_t)*p << 16);
    }

    static __device__ __forceinline__ void unpack(float (&out)[4], pack v)
    {
        out[0] = __uint_as_float(v.x << 16);
        out[1] = __uint_as_float(v.x & 0xffff0000u);
        out[2] = __uint_as_float(v.y << 16);
        out[3] = __uint_as_float(v.y & 0xffff0000u);
    }
};

__device__ __forceinline__ float2 cuda_generic_half2(uint32_t bits)
{
    return __half22float2(*(const __half2 *)&bits);
}

struct cuda_generic_f16 {
    typedef uint16_t raw;
    typedef uint2 pack;

    static __device__ __forceinline__ float one(const raw *p) { return cuda_generic_half2(*p).x; }

    static __device__ __forceinline__ void unpack(float (&out)[4], pack v)
    {
        float2 low = cuda_generic_half2(v.x);
        float2 high = cuda_generic_half2(v.y);
        out[0] = low.x;
        out[1] = low.y;
        out[2] = high.x;
        out[3] = high.y;
    }
};

/* The low two bytes, e4m3, as two f16 numbers. Before the instruction for it (sm_89): the fields moved to their places
 * with an exponent that is 8 too small. */
__device__ __forceinline__ float2 cuda_generic_e4m3x2(uint32_t bytes)
{
#if __CUDA_ARCH__ >= 890
    uint32_t halves;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"((uint16_t)bytes));
    return cuda_generic_half2(halves);
#else
    uint32_t spread = (bytes & 0xffu) | (bytes & 0xff00u) << 8;
    uint32_t magnitude = spread & 0x007f007fu;
    float2 v = cuda_generic_half2((spread & 0x00800080u) << 8 | magnitude << 7);
    float quiet = __int_as_float(0x7fc00000);
    v.x = (magnitude & 0xffffu) == 0x7fu ? quiet : v.x * 256.0F;
    v.y = magnitude >> 16 == 0x7fu ? quiet : v.y * 256.0F;
    return v;
#endif
}

struct cuda_generic_e4m3 {
    typedef uint8_t raw;
    typedef uint32_t pack;

    static __device__ __forceinline__ float one(const raw *p) { return cuda_generic_e4m3x2(*p).x; }

    static __device__ __forceinline__ void unpack(float (&out)[4], pack v)
    {
        float2 low = cuda_generic_e4m3x2(v & 0xffffu);
        float2 high = cuda_generic_e4m3x2(v >> 16);
        out[0] = low.x;
        out[1] = low.y;
        out[2] = high.x;
        out[3] = high.y;
    }
};

template <class W>
__device__ __forceinline__ void cuda_generic_four(float (&out)[4], const typename W::raw *p)
{
    W::unpack(out, *(const typename W::pack *)p);
}

/* ---- Dot products ---- */

/* Adds v[0 .. COUNT - 1] over the lanes of a warp, as a tree of distances 16, 8, 4, 2, 1. Lanes share the work: this one
 * is left with the sums of the values first .. first + kept - 1, in v[0 .. kept - 1]; where kept would be less than one
 * several lanes have the same. */
template <int COUNT>
__device__ __forceinline__ uint32_t cuda_generic_fold(float (&v)[COUNT], uint32_t lane)
{
    uint32_t first = 0;
    int count = COUNT;
#pragma unroll
    for (int distance = 16; distance >= 1; distance /= 2) {
        if (count > 1) {
            count /= 2;
            bool upper = (lane & (uint32_t)distance) != 0;
            first += upper ? (uint32_t)count : 0;
#pragma unroll
            for (int i = 0; i < COUNT / 2; i++) {
                if (i < count) {
                    float mine = upper ? v[i + count] : v[i];
                    float other = upper ? v[i] : v[i + count];
                    v[i] = mine + __shfl_xor_sync(0xffffffffu, other, distance);
                }
            }
        } else {
            v[0] += __shfl_xor_sync(0xffffffffu, v[0], distance);
        }
    }
    return first;
}

/* Is this the lane that stores, where several have the same sum? */
template <int COUNT> __device__ __forceinline__ bool cuda_generic_stores(uint32_t lane)
{
    const uint32_t same = COUNT >= 32 ? 1 : 32 / COUNT;
    return lane % same == 0;
}

/* The scales of N rows of an e4m3 matrix, or none. */
struct cuda_generic_no_scale {
    __device__ __forceinline__ float at(uint32_t, uint32_t) const { return 1.0F; }

    __device__ __forceinline__ uint32_t column(uint32_t) const { return 0; }

    static const bool scaled = false;
};

template <int N> struct cuda_generic_row_scale {
    const float *grid;
    uint32_t row[N]; /* where the row's scales begin */
    uint32_t block_cols;

    __device__ __forceinline__ float at(uint32_t n, uint32_t column) const
    {
        return __ldg(grid + row[n] + column);
    }

    __device__ __forceinline__ uint32_t column(uint32_t k) const { return k / block_cols; }

    static const bool scaled = true;
};

/* What a lane adds at k: four numbers of each row of x and w. */
template <class W, int M, int N> struct cuda_generic_step {
    float4 x[M];
    typename W::pack w[N];
    float scale[N];

    template <class Scale>
    __device__ __forceinline__ void load(const float *x_from, const uint32_t (&x_at)[M],
                                         const typename W::raw *w_from, const uint32_t (&w_at)[N],
                                         uint32_t k, const Scale &scales)
    {
        uint32_t column = scales.column(k);
#pragma unroll
        for (int n = 0; n < N; n++) {
            w[n] = *(const typename W::pack *)(w_from + w_at[n] + k);
            scale[n] = scales.at(n, column);
        }
#pragma unroll
        for (int m = 0; m < M; m++) {
            x[m] = *(const float4 *)(x_from + x_at[m] + k);
        }
    }

    template <class Scale> __device__ __forceinline__ void add(float (&acc)[M * N]) const
    {
#pragma unroll
        for (int n = 0; n < N; n++) {
            float ws[4];
            W::unpack(ws, w[n]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                ws[i] = Scale::scaled ? ws[i] * scale[n] : ws[i];
            }
#pragma unroll
            for (int m = 0; m < M; m++) {
                float a = acc[m * N + n];
                a = fmaf(x[m].x, ws[0], a);
                a = fmaf(x[m].y, ws[1], a);
                a = fmaf(x[m].z, ws[2], a);
                acc[m * N + n] = fmaf(x[m].w, ws[3], a);
            }
        }
    }
};

/* acc[m * N + n] += this lane's part of the product of x + x_at[m] and w + w_at[n]. cols and all offsets are multiples of
 * 4, and a scale covers a multiple of 4 columns. Small tiles, which wait for memory, have several steps under way. */
template <class W, int M, int N, class Scale>
__device__ __forceinline__ void
cuda_generic_dot(float (&acc)[M * N], const float *x, const uint32_t (&x_at)[M],
                 const typename W::raw *w, const uint32_t (&w_at)[N], uint32_t cols, uint32_t lane,
                 const Scale &scale)
{
    const int ahead = M * N <= 4 ? 4 : M * N <= 16 ? 2 : 1;
    uint32_t k = lane * CUDA_GENERIC_LANE;
    if (ahead > 1) {
        for (; k + (ahead - 1) * CUDA_GENERIC_STEP < cols; k += ahead * CUDA_GENERIC_STEP) {
            cuda_generic_step<W, M, N> steps[ahead];
#pragma unroll
            for (int i = 0; i < ahead; i++) {
                steps[i].load(x, x_at, w, w_at, k + (uint32_t)i * CUDA_GENERIC_STEP, scale);
            }
#pragma unroll
            for (int i = 0; i < ahead; i++) {
                steps[i].template add<Scale>(acc);
            }
        }
    }
#pragma unroll 1
    for (; k < cols; k += CUDA_GENERIC_STEP) {
        cuda_generic_step<W, M, N> step;
        step.load(x, x_at, w, w_at, k, scale);
        step.template add<Scale>(acc);
    }
}

/* The same for any cols, offsets of w and blocks of scales. */
template <class W, int M, int N, class Scale>
__device__ __forceinline__ void
cuda_generic_dot_odd(float (&acc)[M * N], const float *x, const uint32_t (&x_at)[M],
                     const typename W::raw *w, const uint32_t (&w_at)[N], uint32_t cols,
                     uint32_t lane, const Scale &scale)
{
    for (uint32_t k = lane * CUDA_GENERIC_LANE; k < cols; k += CUDA_GENERIC_STEP) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            if (k + i < cols) {
                uint32_t column = scale.column(k + i);
#pragma unroll
                for (int n = 0; n < N; n++) {
                    float one = W::one(w + w_at[n] + k + i);
                    one = Scale::scaled ? one * scale.at(n, column) : one;
#pragma unroll
                    for (int m = 0; m < M; m++) {
                        acc[m * N + n] = fmaf(x[x_at[m] + k + i], one, acc[m * N + n]);
                    }
                }
            }
        }
    }
}

#endif
