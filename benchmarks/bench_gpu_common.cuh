/* bench_gpu_common: what the benchmarks of the GPU share: checked calls, memory, random numbers, times, and the two ceilings
 * (reading, products of the tensor cores). Everything stops the program with a message when a call fails. One thread. */
#ifndef BENCH_GPU_COMMON_CUH
#define BENCH_GPU_COMMON_CUH

#include "engine_cuda_matrix.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_wgmma.cuh"

#include <algorithm>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        cudaError_t status_ = (call);                                                              \
        if (status_ != cudaSuccess) {                                                              \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                          \
                    cudaGetErrorString(status_));                                                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* ---- Memory ---- */

/* n zeros on the device. */
template <class T> T *bench_take(size_t n)
{
    T *p = NULL;
    TRY(cudaMalloc((void **)&p, (n > 0 ? n : 1) * sizeof(T)));
    TRY(cudaMemset(p, 0, n * sizeof(T)));
    return p;
}

template <class T> T *bench_copy(const std::vector<T> &v)
{
    T *p = bench_take<T>(v.size());
    TRY(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}

/* ---- Random numbers ---- */

__device__ __forceinline__ uint32_t bench_hash(uint64_t i)
{
    uint64_t z = i * 0x9E3779B97F4A7C15ull + 0x1234567;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (uint32_t)(z >> 32);
}

/* 0 .. 1 */
__device__ __forceinline__ float bench_unit(uint64_t i)
{
    return (float)(bench_hash(i) >> 8) * (1.0f / 16777216.0f);
}

/* Nearly normal: the sum of four uniform bytes, of variance 1. */
__device__ __forceinline__ float bench_normal(uint64_t i)
{
    uint32_t h = bench_hash(i);
    uint32_t sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
    return (float)sum / 147.8f - 3.4506f;
}

/* bytes / 2 bf16 numbers or bytes e4m3 ones, normal, times `size`. */
__device__ __forceinline__ uint16_t bench_pair(uint64_t i, cuda_type type, float size)
{
    float a = bench_normal(i) * size;
    if (type == CUDA_BF16) {
        return (uint16_t)(__float_as_uint(a) >> 16);
    }
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(pair)
        : "f"(a), "f"(bench_normal(i + ((uint64_t)1 << 60)) * size));
    return pair;
}

static __global__ void bench_fill_kernel(uint16_t *to, size_t pairs, cuda_type type, float size,
                                         uint64_t seed)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < pairs; i += step) {
        to[i] = bench_pair(i + (seed << 40), type, size);
    }
}

static __global__ void bench_fill_floats_kernel(float *to, size_t count, bool normal, float size,
                                                uint64_t seed)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += step) {
        uint64_t at = i + (seed << 40);
        to[i] = size * (normal ? bench_normal(at) : 0.5f + bench_unit(at));
    }
}

/* `bytes` of matrix numbers of the type, normal of deviation `size`. */
static inline void bench_fill(void *to, size_t bytes, cuda_type type, float size, uint64_t seed)
{
    bench_fill_kernel<<<1056, 256>>>((uint16_t *)to, bytes / 2, type, size, seed);
    TRY(cudaGetLastError());
    TRY(cudaDeviceSynchronize());
}

/* Normal numbers of deviation `size`, or scales of 0.5 .. 1.5 times `size`. */
static inline float *bench_floats(size_t count, bool normal, float size, uint64_t seed)
{
    float *to = bench_take<float>(count);
    bench_fill_floats_kernel<<<1056, 256>>>(to, count, normal, size, seed);
    TRY(cudaGetLastError());
    TRY(cudaDeviceSynchronize());
    return to;
}

/* ---- Times ---- */

static inline double bench_between(cudaEvent_t from, cudaEvent_t to)
{
    float ms = 0;
    TRY(cudaEventElapsedTime(&ms, from, to));
    return 1e-3 * ms;
}

static inline double bench_median(std::vector<double> &seconds)
{
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
}

/* Seconds from the moment f(i) is called until the stream is idle again, launches included: the median of `times`, after
 * two to warm up. */
template <class F> double bench_seconds(cudaStream_t stream, int times, F &&f)
{
    cudaEvent_t begin;
    cudaEvent_t end;
    TRY(cudaEventCreate(&begin));
    TRY(cudaEventCreate(&end));
    TRY(cudaDeviceSynchronize()); /* copies in front went through another stream */
    std::vector<double> seconds;
    for (int i = 0; i < times + 2; i++) {
        TRY(cudaEventRecord(begin, stream));
        f(i);
        TRY(cudaEventRecord(end, stream));
        TRY(cudaGetLastError());
        TRY(cudaEventSynchronize(end));
        if (i >= 2) {
            seconds.push_back(bench_between(begin, end));
        }
    }
    TRY(cudaEventDestroy(begin));
    TRY(cudaEventDestroy(end));
    return bench_median(seconds);
}

/* Seconds of a graph of what `enqueue` launches into the stream, replayed one behind the other: the median of `times`,
 * after two to warm up. */
template <class F> double bench_graph_seconds(cudaStream_t stream, int times, F &&enqueue)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    TRY(cudaDeviceSynchronize());
    TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    enqueue();
    TRY(cudaStreamEndCapture(stream, &graph));
    TRY(cudaGraphInstantiate(&exec, graph, 0));
    std::vector<cudaEvent_t> ends((size_t)times + 2);
    for (cudaEvent_t &end : ends) {
        TRY(cudaEventCreate(&end));
        TRY(cudaGraphLaunch(exec, stream));
        TRY(cudaEventRecord(end, stream));
    }
    TRY(cudaStreamSynchronize(stream));
    std::vector<double> seconds;
    for (size_t i = 2; i < ends.size(); i++) {
        seconds.push_back(bench_between(ends[i - 1], ends[i]));
    }
    for (cudaEvent_t end : ends) {
        TRY(cudaEventDestroy(end));
    }
    TRY(cudaGraphExecDestroy(exec));
    TRY(cudaGraphDestroy(graph));
    return bench_median(seconds);
}

/* ---- Ceilings ---- */

/* n numbers of 16 bytes are read; `out` is there so that the reads are not left out. */
static __global__ void __launch_bounds__(512)
    bench_read_kernel(const uint4 *p, size_t n, uint32_t *out)
{
    uint32_t x = 0;
    size_t step = (size_t)gridDim.x * blockDim.x;
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    for (; i + 7 * step < n; i += 8 * step) {
        uint4 v[8];
#pragma unroll
        for (int k = 0; k < 8; k++) {
            v[k] = __ldcs(p + i + k * step);
        }
#pragma unroll
        for (int k = 0; k < 8; k++) {
            x ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
        }
    }
    for (; i < n; i += step) {
        uint4 v = __ldcs(p + i);
        x ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (x == 0x12345678u) {
        *out = x;
    }
}

/* Bytes a second that a kernel which does nothing else reads: the best of a few grids. `bytes` more than L2 holds. */
static inline double bench_read_rate(cudaStream_t stream, const void *data, size_t bytes,
                                     uint32_t processors)
{
    uint32_t *out = bench_take<uint32_t>(1);
    double best = 0;
    for (uint32_t blocks : {4u, 8u, 16u}) {
        double s = bench_seconds(stream, 5, [&](int) {
            bench_read_kernel<<<blocks * processors, 512, 0, stream>>>((const uint4 *)data,
                                                                       bytes / 16, out);
        });
        best = std::max(best, (double)bytes / s);
    }
    TRY(cudaFree(out));
    return best;
}

enum { BENCH_PRODUCT_SHARED = 49152, BENCH_PRODUCT_ROUNDS = 4000 };

/* Two warpgroups, each 64 x 256 products of 128 bytes from shared memory, over and over. */
template <cuda_type TYPE> __global__ void __launch_bounds__(256, 1) bench_product_kernel(float *out)
{
    extern __shared__ __align__(1024) uint8_t bench_shared[];
    for (uint32_t i = threadIdx.x; i < BENCH_PRODUCT_SHARED / 2; i += 256) {
        ((uint16_t *)bench_shared)[i] = bench_pair(i, TYPE, TYPE == CUDA_E4M3 ? 100.0f : 1.0f);
    }
    cuda_proxy_fence();
    __syncthreads();
    uint64_t a = cuda_wgmma_operand(cuda_smem(bench_shared) + threadIdx.x / 128 * 8192);
    uint64_t b = cuda_wgmma_operand(cuda_smem(bench_shared) + 16384);
    float d[128] = {};
    cuda_wgmma_hold(d);
    for (int i = 0; i < BENCH_PRODUCT_ROUNDS; i++) {
        cuda_wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (TYPE == CUDA_E4M3) {
                cuda_wgmma<256>::e4m3(d, a + 2 * k, b + 2 * k, true);
            } else {
                cuda_wgmma<256>::bf16(d, a + 2 * k, b + 2 * k, true);
            }
        }
        cuda_wgmma_commit();
        cuda_wgmma_wait<1>();
    }
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(d);
    float sum = 0.0f;
    for (int i = 0; i < 128; i++) {
        sum += d[i];
    }
    out[blockIdx.x * 256 + threadIdx.x] = sum;
}

/* Operations a second of the tensor cores of all multiprocessors, operands in shared memory. */
template <cuda_type TYPE> double bench_product_rate(cudaStream_t stream, uint32_t processors)
{
    float *out = bench_take<float>((size_t)processors * 256);
    TRY(cudaFuncSetAttribute(bench_product_kernel<TYPE>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, BENCH_PRODUCT_SHARED));
    double s = bench_seconds(stream, 9, [&](int) {
        bench_product_kernel<TYPE><<<processors, 256, BENCH_PRODUCT_SHARED, stream>>>(out);
    });
    TRY(cudaFree(out));
    return 2.0 * 64 * 256 * (TYPE == CUDA_E4M3 ? 32 : 16) * 4 * 2 * BENCH_PRODUCT_ROUNDS *
           processors / s;
}

#endif
