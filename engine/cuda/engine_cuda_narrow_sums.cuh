/* engine_cuda_narrow_sums: what the consumers of the narrow kernel do with the stages of an item.
 *
 * TILES is 2 if gate and up are summed by the same warpgroup, N the number of token columns of the products. */
#ifndef ENGINE_CUDA_NARROW_SUMS_CUH
#define ENGINE_CUDA_NARROW_SUMS_CUH

#include "engine_cuda_narrow.cuh"
#include "engine_cuda_wgmma.cuh"

/* Waits for a stage, and starts its products: from zero, or onto what `block` holds. */
template <cuda_type TYPE, int TILES, int N>
__device__ __forceinline__ void start_stage(const narrow_plan &p, const uint8_t *shared,
                                            const narrow_ring &ring, float (&block)[TILES][N / 2],
                                            bool accumulate)
{
    cuda_barrier_wait(cuda_smem(shared + p.at.full) + 8 * ring.stage, ring.parity);
    uint32_t stage = cuda_smem(shared + ring.stage * p.at.stage_bytes);
    uint32_t half = threadIdx.x / 128 * (CUDA_TILE_BYTES / 2);
    uint64_t b = cuda_wgmma_operand(stage + p.at.tokens);
    cuda_wgmma_fence();
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        uint64_t a = cuda_wgmma_operand(stage + half + t * CUDA_TILE_BYTES);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (TYPE == CUDA_E4M3) {
                cuda_wgmma<N>::e4m3(block[t], a + 2 * k, b + 2 * k, accumulate || k > 0);
            } else {
                cuda_wgmma<N>::bf16(block[t], a + 2 * k, b + 2 * k, accumulate || k > 0);
            }
        }
    }
    cuda_wgmma_commit();
}

template <int PENDING, int TILES, int HALF>
__device__ __forceinline__ void wait_products(float (&block)[TILES][HALF])
{
    cuda_wgmma_wait<PENDING>();
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        cuda_wgmma_hold(block[t]);
    }
}

/* sum = fma(block, x_scale * w_scale, sum); scales are those of this thread's columns. */
template <int N>
__device__ __forceinline__ void add_scaled(float (&sum)[N / 2], const float (&block)[N / 2],
                                           const float2 (&x_scale)[N / 8], float w_scale)
{
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
        float even = __fmul_rn(x_scale[j].x, w_scale);
        float odd = __fmul_rn(x_scale[j].y, w_scale);
        sum[4 * j] = __fmaf_rn(block[4 * j], even, sum[4 * j]);
        sum[4 * j + 1] = __fmaf_rn(block[4 * j + 1], odd, sum[4 * j + 1]);
        sum[4 * j + 2] = __fmaf_rn(block[4 * j + 2], even, sum[4 * j + 2]);
        sum[4 * j + 3] = __fmaf_rn(block[4 * j + 3], odd, sum[4 * j + 3]);
    }
}

/* Warp: it needs nothing more of the stage. */
__device__ __forceinline__ void release_stage(const narrow_plan &p, const uint8_t *shared,
                                              uint32_t stage)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        cuda_barrier_arrive(cuda_smem(shared + p.at.empty) + 8 * stage);
    }
}

/* The scales of an item's weights: each lane holds that of one of 32 K blocks. */
template <int TILES> struct narrow_scales {
    const float *from;
    float mine[TILES];
};

template <int TILES>
__device__ __forceinline__ float scale_of(narrow_scales<TILES> &scales, const cuda_weight &w,
                                          uint32_t kb, uint32_t turn, int t)
{
    if (t == 0 && turn % 32 == 0) {
        uint32_t mine = kb + threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            scales.mine[i] = mine < w.k_blocks ? scales.from[i * w.k_blocks + mine] : 0.0f;
        }
    }
    return __shfl_sync(0xFFFFFFFFu, scales.mine[t], turn % 32);
}

/* Adds the products of K block kb, which are in `now`, after all but PENDING groups of products have ended. */
template <int PENDING, int TILES, int N>
__device__ __forceinline__ void
end_stage(const narrow_plan &p, const uint8_t *shared, uint32_t stage, uint32_t kb, uint32_t turn,
          narrow_scales<TILES> &scales, float (&sum)[TILES][N / 2], float (&now)[TILES][N / 2])
{
    float2 x_scale[N / 8];
    const float *from = (const float *)(shared + p.at.scales) + stage * p.columns;
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
        x_scale[j] = *(const float2 *)(from + 8 * j + 2 * (threadIdx.x % 4));
    }
    wait_products<PENDING>(now);
    release_stage(p, shared, stage);
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        add_scaled<N>(sum[t], now[t], x_scale, scale_of(scales, p.g.w, kb, turn, t));
    }
}

/* The products of K block kb are on their way into `now`: starts the next ones, then adds these. */
template <int TILES, int N>
__device__ __forceinline__ void step_e4m3(const narrow_plan &p, const uint8_t *shared,
                                          const narrow_item &item, uint32_t kb, narrow_ring &ring,
                                          narrow_scales<TILES> &scales, float (&sum)[TILES][N / 2],
                                          float (&now)[TILES][N / 2], float (&next)[TILES][N / 2])
{
    uint32_t here = ring.stage;
    ring_advance(ring, p.at.stages);
    start_stage<CUDA_E4M3, TILES, N>(p, shared, ring, next, false);
    end_stage<1, TILES, N>(p, shared, here, kb, kb - item.kb, scales, sum, now);
}

template <int TILES, int N>
__device__ __forceinline__ void last_e4m3(const narrow_plan &p, const uint8_t *shared,
                                          const narrow_item &item, uint32_t kb, narrow_ring &ring,
                                          narrow_scales<TILES> &scales, float (&sum)[TILES][N / 2],
                                          float (&now)[TILES][N / 2])
{
    uint32_t here = ring.stage;
    ring_advance(ring, p.at.stages);
    end_stage<0, TILES, N>(p, shared, here, kb, kb - item.kb, scales, sum, now);
}

/* Goes on from `sum`. */
template <int TILES, int N>
__device__ void sum_e4m3(const narrow_plan &p, uint8_t *shared, const narrow_item &item,
                         narrow_ring &ring, float (&sum)[TILES][N / 2])
{
    constexpr bool AHEAD = TILES == 2 ? N <= 48 : N <= 32; /* as registers allow */
    const cuda_weight &w = p.g.w;
    narrow_scales<TILES> scales;
    scales.from = w.scale + (size_t)(item.group * w.row_blocks + first_block(p, item.unit, TILES)) *
                                w.k_blocks;
    uint32_t kb = item.kb;
    float even[TILES][N / 2];
    if constexpr (AHEAD) {
        float odd[TILES][N / 2];
        start_stage<CUDA_E4M3, TILES, N>(p, shared, ring, even, false);
        for (; kb + 2 < item.kb_end; kb += 2) {
            step_e4m3<TILES, N>(p, shared, item, kb, ring, scales, sum, even, odd);
            step_e4m3<TILES, N>(p, shared, item, kb + 1, ring, scales, sum, odd, even);
        }
        if (kb + 2 == item.kb_end) {
            step_e4m3<TILES, N>(p, shared, item, kb, ring, scales, sum, even, odd);
            last_e4m3<TILES, N>(p, shared, item, kb + 1, ring, scales, sum, odd);
        } else {
            last_e4m3<TILES, N>(p, shared, item, kb, ring, scales, sum, even);
        }
    } else {
        for (; kb < item.kb_end; kb++) {
            start_stage<CUDA_E4M3, TILES, N>(p, shared, ring, even, false);
            last_e4m3<TILES, N>(p, shared, item, kb, ring, scales, sum, even);
        }
    }
}

/* A run of K blocks, summed by the tensor cores alone. */
template <int TILES, int N>
__device__ __forceinline__ void run_bf16(const narrow_plan &p, uint8_t *shared, uint32_t kb,
                                         uint32_t end, bool accumulate, narrow_ring &ring,
                                         float (&block)[TILES][N / 2])
{
    uint32_t before = ring.stage;
    start_stage<CUDA_BF16, TILES, N>(p, shared, ring, block, accumulate);
    ring_advance(ring, p.at.stages);
    while (++kb < end) {
        start_stage<CUDA_BF16, TILES, N>(p, shared, ring, block, true);
        cuda_wgmma_wait<1>();
        release_stage(p, shared, before);
        before = ring.stage;
        ring_advance(ring, p.at.stages);
    }
    wait_products<0>(block);
    release_stage(p, shared, before);
}

/* Goes on from `sum`, which is zero or was taken from another block (then there is one segment). */
template <int TILES, int N>
__device__ void sum_bf16(const narrow_plan &p, uint8_t *shared, const narrow_item &item,
                         narrow_ring &ring, float (&sum)[TILES][N / 2])
{
    uint32_t segments = p.apart > 1 ? 1 : p.g.w.segments;
    float block[TILES][N / 2];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            block[t][i] = sum[t][i];
        }
    }
    for (uint32_t s = 0; s < segments; s++) {
        uint32_t kb = item.kb, end = item.kb_end;
        if (segments > 1) {
            kb = cuda_segment_begin(p.g.w.k_blocks, segments, s);
            end = cuda_segment_begin(p.g.w.k_blocks, segments, s + 1);
        }
        run_bf16<TILES, N>(p, shared, kb, end, item.take > 0, ring, block);
#pragma unroll
        for (int t = 0; t < TILES; t++) {
#pragma unroll
            for (int i = 0; i < N / 2; i++) {
                sum[t][i] = s == 0 ? block[t][i] : __fadd_rn(sum[t][i], block[t][i]);
            }
        }
    }
}

/* ---- Sums that blocks hand to each other, register by register ---- */

__device__ float narrow_sums[NARROW_SUMS];
__device__ uint32_t narrow_left[NARROW_SLOTS]; /* how many have left sums; zero between launches */

template <int TILES, int N>
__device__ __forceinline__ void write_slot(const narrow_plan &p, uint32_t slot,
                                           const float (&sum)[TILES][N / 2])
{
    float *to = narrow_sums + slot * slot_numbers(p) + threadIdx.x;
#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            __stcg(to + (t * (N / 2) + i) * p.consumers, sum[t][i]);
        }
    }
    consumers_sync(p);
}

template <int TILES, int N>
__device__ __forceinline__ void read_slot(const narrow_plan &p, uint32_t slot,
                                          float (&sum)[TILES][N / 2])
{
    const float *from = narrow_sums + slot * slot_numbers(p) + threadIdx.x;
#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            sum[t][i] = __ldcg(from + (t * (N / 2) + i) * p.consumers);
        }
    }
}

/* An item goes on from the sums that another block has left. */
template <int TILES, int N>
__device__ void take_sums(const narrow_plan &p, uint32_t slot, float (&sum)[TILES][N / 2])
{
    if (threadIdx.x == 0) {
        uint32_t left;
        do {
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                         : "=r"(left)
                         : "l"(narrow_left + slot)
                         : "memory");
        } while (left == 0);
        narrow_left[slot] = 0;
    }
    consumers_sync(p);
    read_slot<TILES, N>(p, slot, sum);
}

template <int TILES, int N>
__device__ void leave_sums(const narrow_plan &p, uint32_t slot, const float (&sum)[TILES][N / 2])
{
    write_slot<TILES, N>(p, slot, sum);
    if (threadIdx.x == 0) {
        __threadfence(); /* the barrier in write_slot() puts all threads' sums in front of it */
        asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(narrow_left + slot), "r"(1)
                     : "memory");
    }
}

/* The sums of COUNT slots in ascending order, all read before any is added: from the first one on, or onto `sum`. */
template <int N, int COUNT, bool FRESH>
__device__ __forceinline__ void add_slots(const narrow_plan &p, uint32_t slot, float (&sum)[N / 2])
{
    float more[COUNT][1][N / 2];
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
        read_slot<1, N>(p, slot + j, more[j]);
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            sum[i] = FRESH && j == 0 ? more[j][0][i] : __fadd_rn(sum[i], more[j][0][i]);
        }
    }
}

/* Segments end in any order; the block of the last one adds all up, in ascending order. True: this is it. */
template <int N>
__device__ bool join_segments(const narrow_plan &p, uint8_t *shared, const narrow_item &item,
                              float (&sum)[1][N / 2])
{
    uint32_t *note = (uint32_t *)(shared + p.at.note);
    uint32_t slot = item.leave - 1, first = slot - item.segment;
    write_slot<1, N>(p, slot, sum);
    if (threadIdx.x == 0) {
        __threadfence();
        uint32_t before = atomicAdd(narrow_left + first, 1);
        __threadfence();
        *note = before + 1;
        if (before + 1 == p.apart) {
            narrow_left[first] = 0;
        }
    }
    consumers_sync(p);
    if (*(volatile uint32_t *)note != p.apart) {
        return false;
    }
    constexpr int AT_ONCE = N <= 32 ? 2 : 1; /* slots; wider sums would take too many registers */
    if (N <= 32 && p.apart == 4) {
        add_slots<N, 2 * AT_ONCE, true>(p, first, sum[0]);
    } else {
        add_slots<N, AT_ONCE, true>(p, first, sum[0]);
        for (uint32_t s = AT_ONCE; s < p.apart; s += AT_ONCE) {
            add_slots<N, AT_ONCE, false>(p, first + s, sum[0]);
        }
    }
    return true;
}

#endif
