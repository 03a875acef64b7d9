/* engine_cuda_ptx: the instructions of Hopper that CUDA C++ has no word for: barriers that count bytes, bulk copies
 * from global to shared memory, and what orders matrix products.
 *
 * Addresses of shared memory are 32-bit (cuda_smem()). Source: PTX ISA 8.x, "Parallel Synchronization and Communication
 * Instructions" (mbarrier), "Data Movement" (cp.async.bulk), "Asynchronous Warpgroup Level Matrix Instructions".
 * What needs a chip names it: sm_80 (cp.async, mma.sync), sm_90 (mbarrier, bulk copies), sm_90a (wgmma, setmaxnreg). */
#ifndef ENGINE_CUDA_PTX_CUH
#define ENGINE_CUDA_PTX_CUH

#include <stdint.h>

__device__ __forceinline__ uint32_t cuda_smem(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* ---- Barriers in shared memory (8 bytes, 8-aligned) ---- */

__device__ __forceinline__ void cuda_barrier_init(uint32_t barrier, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}

/* After the inits, before another thread (or the copy engine) uses them; a __syncthreads() must follow. */
__device__ __forceinline__ void cuda_barrier_init_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void cuda_barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Arrives, and expects `bytes` more from bulk copies before the phase ends. */
__device__ __forceinline__ void cuda_barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ bool cuda_barrier_test(uint32_t barrier, uint32_t parity)
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.b32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return done != 0;
}

/* Waits for the end of the phase of that parity: 0 for the first, then 1, 0, ... */
__device__ __forceinline__ void cuda_barrier_wait(uint32_t barrier, uint32_t parity)
{
    while (!cuda_barrier_test(barrier, parity)) {
    }
}

/* ---- Copies ---- */

/* One thread: `bytes` (a multiple of 16) from global to shared memory, both 16-aligned; counted on `barrier`. */
__device__ __forceinline__ void cuda_bulk_load(uint32_t to, const void *from, uint32_t bytes,
                                               uint32_t barrier)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(to),
        "l"(from), "r"(bytes), "r"(barrier)
        : "memory");
}

/* The same, and L2 forgets the bytes first: for weights, which a step reads once. */
__device__ __forceinline__ void cuda_bulk_load_once(uint32_t to, const void *from, uint32_t bytes,
                                                    uint32_t barrier)
{
    const uint64_t evict_first = 0x12F0000000000000ull;
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, "
                 "[%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier), "l"(evict_first)
                 : "memory");
}

/* One thread: `bytes` (a multiple of 16) from global memory into the L2 cache. */
__device__ __forceinline__ void cuda_bulk_fetch(const void *from, uint32_t bytes)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

/* A store that L2 keeps longest: for what another block reads soon. */
__device__ __forceinline__ void cuda_store_kept(float4 *to, float4 v)
{
    const uint64_t evict_last = 0x14F0000000000000ull;
    asm volatile("st.global.L2::cache_hint.v4.f32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(to), "f"(v.x),
                 "f"(v.y), "f"(v.z), "f"(v.w), "l"(evict_last)
                 : "memory");
}

/* sm_80: 16 bytes a thread, `valid` of them from memory and the rest zero. */
__device__ __forceinline__ void cuda_async_16(uint32_t to, const void *from, uint32_t valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid)
                 : "memory");
}

__device__ __forceinline__ void cuda_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int PENDING> __device__ __forceinline__ void cuda_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* Shared memory that ordinary stores wrote is read next by wgmma or the copy engine: each writer, then a barrier. */
__device__ __forceinline__ void cuda_proxy_fence(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- Matrix products of a warpgroup (sm_90a) ---- */

__device__ __forceinline__ void cuda_wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void cuda_wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int PENDING> __device__ __forceinline__ void cuda_wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* Accumulators are read or written by ordinary code next: the compiler must not move that across the product. */
template <int N> __device__ __forceinline__ void cuda_wgmma_hold(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        asm volatile("" : "+f"(d[i])::"memory");
    }
}

/* The descriptor of a K-major operand in the 128-byte swizzle: rows of 128 bytes, atoms of 8 rows (1 KiB, aligned to
 * it) one after the other. Add 2 for each 32 bytes along K. */
__device__ __forceinline__ uint64_t cuda_wgmma_operand(uint32_t smem)
{
    uint64_t descriptor = (uint64_t)1 << 62;   /* 128-byte swizzle                          */
    descriptor |= (uint64_t)(1024 >> 4) << 32; /* from atom to atom                         */
    descriptor |= (uint64_t)1 << 16;           /* leading offset: not used in this swizzle  */
    descriptor |= (uint64_t)((smem & 0x3FFFF) >> 4);
    return descriptor;
}

/* ---- Warps ---- */

/* Threads of several warps meet: `id` 1..15 (0 is __syncthreads()), `threads` a multiple of 32. */
__device__ __forceinline__ void cuda_named_sync(uint32_t id, uint32_t threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void cuda_named_arrive(uint32_t id, uint32_t threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

template <int REGISTERS> __device__ __forceinline__ void cuda_registers_take(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> __device__ __forceinline__ void cuda_registers_give(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* ---- Shared memory by address ---- */

__device__ __forceinline__ uint4 cuda_load_16(uint32_t smem)
{
    uint4 q;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(q.x), "=r"(q.y), "=r"(q.z), "=r"(q.w)
                 : "r"(smem)
                 : "memory");
    return q;
}

__device__ __forceinline__ void cuda_store_16(uint32_t smem, uint4 q)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(smem), "r"(q.x), "r"(q.y),
                 "r"(q.z), "r"(q.w)
                 : "memory");
}

__device__ __forceinline__ void cuda_store_2(uint32_t smem, uint16_t value)
{
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(smem), "h"(value) : "memory");
}

__device__ __forceinline__ void cuda_store_8(uint32_t smem, float low, float high)
{
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(smem), "f"(low), "f"(high) : "memory");
}

__device__ __forceinline__ float cuda_load_float(uint32_t smem)
{
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(smem) : "memory");
    return value;
}

/* A warp stores four 8 x 8 matrices of 16-bit numbers: lane i names row i % 8 (16 bytes) of matrix i / 8, and holds of
 * each the numbers of row i / 4, columns 2 * (i % 4) and the next. */
__device__ __forceinline__ void cuda_store_matrices(uint32_t smem, uint32_t m0, uint32_t m1,
                                                    uint32_t m2, uint32_t m3)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem),
                 "r"(m0), "r"(m1), "r"(m2), "r"(m3)
                 : "memory");
}

/* ---- Chained launches (sm_90): the next kernel of a stream may start before this one has ended ---- */

/* Before the first read of what the kernel in front wrote. Nothing when the launch was an ordinary one. */
__device__ __forceinline__ void cuda_chain_wait(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* From here on the next kernel may be scheduled (its own cuda_chain_wait() still waits for the end of this one). */
__device__ __forceinline__ void cuda_chain_release(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#endif
