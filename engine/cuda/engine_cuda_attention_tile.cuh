/* engine_cuda_attention_tile: what a warpgroup that computes does: 64 query rows against the pages of a unit. Inside the
 * attention kernel only. */
#ifndef ENGINE_CUDA_ATTENTION_TILE_CUH
#define ENGINE_CUDA_ATTENTION_TILE_CUH

#include "engine_cuda_attention_load.cuh"
#include "engine_cuda_attention_mma.cuh"
#include "engine_cuda_wgmma.cuh"

/* The warpgroup's place in the ring. */
struct cuda_ring_cursor {
    uint32_t stage;
    uint32_t phase; /* bit s: of stage s */
    uint32_t
        arrivals; /* of a warp that lets a stage go: 2 in narrow items, for the other warpgroup, too */
    bool wide;
};

template <int D> struct cuda_tile {
    float s[32];              /* scores, then exp2 of them less the maximum          */
    uint32_t p[4][4];         /* those in bf16 pairs                                 */
    float o[D / 2];           /* of this run                                         */
    float m[2], l[2];         /* l: of this thread's columns                         */
    float alpha[2];           /* what the last page's maximum makes of the ones before */
    float run_m[2], run_l[2]; /* of the run that ended */
    float sum[D / 2];         /* of the runs before, merged */
    float sum_m[2], sum_l[2];
    uint32_t position[2]; /* of the thread's two rows */
    uint32_t lowest;      /* of the warp's rows; ~0: it has none */
};

template <int D>
__device__ __forceinline__ void cuda_ring_wait(const cuda_ring_cursor &c, uint32_t base)
{
    cuda_barrier_wait(base + cuda_attention_config<D>::full + c.stage * 8,
                      (c.phase >> c.stage) & 1);
}

/* On to the next stage; returns the one that was waited for. */
template <int D>
__device__ __forceinline__ uint32_t cuda_ring_next(cuda_ring_cursor &c, uint32_t who)
{
    const cuda_ring_part part = cuda_ring_of<D>(who, c.wide);
    const uint32_t stage = c.stage;
    c.phase ^= 1u << stage;
    c.stage = stage + 1 == part.end ? part.first : stage + 1;
    return stage;
}

/* Done with a stage. */
template <int D>
__device__ __forceinline__ void cuda_ring_release(const cuda_ring_cursor &c, uint32_t stage,
                                                  uint32_t base)
{
    if (threadIdx.x % 32 == 0) {
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(
                         base + cuda_attention_config<D>::empty + stage * 8),
                     "r"(c.arrivals)
                     : "memory");
    }
}

/* Row of the warpgroup's tile that registers i with i / 2 % 2 == half belong to. */
__device__ __forceinline__ uint32_t cuda_tile_index(int half)
{
    return threadIdx.x % 128 / 32 * 16 + half * 8 + threadIdx.x % 32 / 4;
}

template <int D>
__device__ __forceinline__ void cuda_tile_begin(cuda_tile<D> &t, const cuda_tile_info &info)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        t.position[half] = info.rows[cuda_tile_index(half)].y;
    }
#pragma unroll
    for (int i = 0; i < 16; i++) { /* stays so where the warp has no rows */
        t.p[i / 4][i % 4] = 0;
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        t.sum_m[half] = -INFINITY;
        t.sum_l[half] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < D / 2; i++) {
        t.sum[i] = 0.0f;
    }
    t.lowest = __reduce_min_sync(~0u, min(t.position[0], t.position[1]));
}

/* s = q * keys of the stage, in flight when this returns. */
template <int D>
__device__ __forceinline__ void cuda_tile_scores(cuda_tile<D> &t, uint32_t q_shared, uint32_t keys)
{
    uint32_t q = cuda_attention_operand_low(q_shared, 16), k = cuda_attention_operand_low(keys, 16);
    asm volatile("" : "+r"(q)); /* eight sums are not worth eight registers */
    cuda_wgmma_fence();
    cuda_attention_scores_begin(t.s, cuda_attention_operand(q), cuda_attention_operand(k));
#pragma unroll
    for (int i = 1; i < D / 16; i++) {
        uint32_t step = i / 4 * (8192 >> 4) + i % 4 * 2;
        cuda_wgmma<64>::bf16(t.s, cuda_attention_operand(q + step),
                             cuda_attention_operand(k + step), true);
    }
    cuda_wgmma_commit();
}

/* o += p * values of the stage, in flight when this returns; `first` page of a run: o = p * values. */
template <int D>
__device__ __forceinline__ void cuda_tile_values(cuda_tile<D> &t, uint32_t values, bool first)
{
    const uint32_t v = cuda_attention_operand_low(values, CUDA_KV_PAGE_TOKENS * CUDA_BLOCK_BYTES);
    cuda_wgmma_hold(t.o);
    cuda_wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        cuda_attention_values(t.o, t.p[k], cuda_attention_operand(v + k * 128), k != 0 || !first);
    }
    cuda_wgmma_commit();
}

/* The m and l of a run that has ended stay to be merged; the next one begins. */
template <int D> __device__ __forceinline__ void cuda_tile_next_run(cuda_tile<D> &t)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        t.run_m[half] = t.m[half];
        t.run_l[half] = t.l[half];
        t.m[half] = -INFINITY;
        t.l[half] = 0.0f;
    }
}

template <int D> __device__ __forceinline__ void cuda_tile_mask(cuda_tile<D> &t, uint32_t page)
{
    uint32_t key = page * CUDA_KV_PAGE_TOKENS + threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        if (key + i / 4 * 8 + i % 2 > t.position[i / 2 % 2]) {
            t.s[i] = -INFINITY;
        }
    }
}

/* Scores to powers of two, in place; m and l follow the new maximum. */
template <int D>
__device__ __forceinline__ void cuda_tile_softmax(cuda_tile<D> &t, float scale_log2, uint32_t page)
{
    if (t.lowest == ~0u) {
        return;
    }
    if (page * CUDA_KV_PAGE_TOKENS + CUDA_KV_PAGE_TOKENS - 1 > t.lowest) {
        cuda_tile_mask(t, page);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = t.s[half * 2];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            top = fmaxf(top, fmaxf(t.s[j * 4 + half * 2], t.s[j * 4 + half * 2 + 1]));
        }
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        float m = fmaxf(t.m[half], __fmul_rn(top, scale_log2));
        float sum = 0.0f;
        t.alpha[half] = cuda_power2(__fsub_rn(t.m[half], m));
        t.m[half] = m;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float low = cuda_power2(__fmaf_rn(t.s[j * 4 + half * 2], scale_log2, -m));
            float high = cuda_power2(__fmaf_rn(t.s[j * 4 + half * 2 + 1], scale_log2, -m));
            sum = __fadd_rn(sum, __fadd_rn(low, high));
            t.s[j * 4 + half * 2] = low;
            t.s[j * 4 + half * 2 + 1] = high;
        }
        t.l[half] = __fmaf_rn(t.l[half], t.alpha[half], sum);
    }
}

/* The last page's powers become an operand, and what was summed up before follows its maximum. */
template <int D> __device__ __forceinline__ void cuda_tile_pack(cuda_tile<D> &t, bool first)
{
    if (t.lowest == ~0u) {
        return;
    }
#pragma unroll
    for (int i = 0; i < 16; i++) {
        t.p[i / 4][i % 4] = cuda_pack_bf16(t.s[i * 2], t.s[i * 2 + 1]);
    }
    if (!first) {
#pragma unroll
        for (int i = 0; i < D / 2; i++) {
            t.o[i] = __fmul_rn(t.o[i], t.alpha[i / 2 % 2]);
        }
    }
}

/* l of the run that ended, over all columns. */
template <int D> __device__ __forceinline__ void cuda_tile_sum_run(cuda_tile<D> &t)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float l = t.run_l[half];
        l = __fadd_rn(l, __shfl_xor_sync(~0u, l, 1));
        t.run_l[half] = __fadd_rn(l, __shfl_xor_sync(~0u, l, 2));
    }
}

/* The run that ended, (o, run_m, run_l), goes into sum. Rows that end before the run leave theirs alone. The first run
 * meets (0, -infinity, 0), which leaves it as it is. */
template <int D> __device__ __forceinline__ void cuda_tile_merge(cuda_tile<D> &t, uint32_t run)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (t.position[half] >= run * CUDA_RUN_TOKENS) {
            cuda_merge_weights w =
                cuda_merge_begin(t.sum_m[half], t.sum_l[half], t.run_m[half], t.run_l[half]);
#pragma unroll
            for (int i = 0; i < D / 2; i++) {
                if (i / 2 % 2 == half) {
                    t.sum[i] = cuda_merge_number(t.sum[i], t.o[i], w);
                }
            }
        }
    }
}

/* (o, m, l) to the rows' state `slot`, of those rows that see run `run`. */
template <int D>
__device__ __forceinline__ void
cuda_tile_write_state(const cuda_tile<D> &t, const float (&o)[D / 2], const float (&m)[2],
                      const float (&l)[2], const cuda_attention_args &a, const cuda_tile_info &info,
                      uint32_t run, uint32_t slot)
{
    const uint32_t lane = threadIdx.x % 32;
    const cuda_plan_row *rows =
        reinterpret_cast<const cuda_plan_row *>(a.plan + cuda_plan_of(a).rows);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (t.position[half] == ~0u || t.position[half] < run * CUDA_RUN_TOKENS) {
            continue;
        }
        uint32_t row = info.rows[cuda_tile_index(half)].x;
        uint32_t at = slot + rows[row & ((1u << CUDA_ROW_BITS) - 1)].first;
        uint32_t head = info.head + (row >> CUDA_ROW_BITS);
        float *state = a.states + ((size_t)at * a.heads + head) * (D + 4);
#pragma unroll
        for (int j = 0; j < D / 8; j++) {
            *reinterpret_cast<float2 *>(state + j * 8 + lane % 4 * 2) =
                make_float2(o[j * 4 + half * 2], o[j * 4 + half * 2 + 1]);
        }
        if (lane % 4 == 0) {
            *reinterpret_cast<float2 *>(state + D) = make_float2(m[half], l[half]);
        }
    }
}

template <int D>
__device__ __forceinline__ void
cuda_tile_write_output(cuda_tile<D> &t, const cuda_attention_args &a, const cuda_tile_info &info)
{
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const bool there = t.position[half] != ~0u;
        const uint32_t both = info.rows[cuda_tile_index(half)].x;
        const uint32_t row = both & ((1u << CUDA_ROW_BITS) - 1),
                       head = info.head + (both >> CUDA_ROW_BITS);
        float inverse = __frcp_rn(t.sum_l[half]);
        float amax = 0.0f;
#pragma unroll
        for (int i = 0; i < D / 2; i++) {
            if (i / 2 % 2 == half) {
                t.sum[i] = cuda_finish_number(t.sum[i], inverse);
                amax = fmaxf(amax, fabsf(t.sum[i]));
            }
        }
        if (a.out.type == CUDA_BF16) {
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                if (there) {
                    uint32_t chunk = head * (D / 8) + j;
                    *reinterpret_cast<uint32_t *>(
                        a.out.data + cuda_rows_offset(a.out, row, chunk / 8, chunk % 8) +
                        lane % 4 * 4) =
                        cuda_pack_bf16(t.sum[j * 4 + half * 2], t.sum[j * 4 + half * 2 + 1]);
                }
            }
        } else if (D == 128) {
            amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 1));
            amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, 2));
            float scale = cuda_e4m3_scale(amax);
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                if (there) {
                    *reinterpret_cast<uint16_t *>(a.out.data +
                                                  cuda_rows_offset(a.out, row, head, j / 2) +
                                                  j % 2 * 8 + lane % 4 * 2) =
                        cuda_pack_e4m3(t.sum[j * 4 + half * 2], t.sum[j * 4 + half * 2 + 1], scale);
                }
            }
            if (there && lane % 4 == 0) {
                a.out.scale[(size_t)head * a.out.capacity + row] = scale;
            }
        }
    }
}

/* Run `run` of the item ended: (o, run_m, run_l) is its result. */
template <int D>
__device__ __forceinline__ void cuda_tile_end_run(cuda_tile<D> &t, const cuda_attention_args &a,
                                                  const cuda_tile_info &info, uint32_t run,
                                                  bool last)
{
    if (t.lowest == ~0u) {
        return;
    }
    const uint32_t begin = info.page / CUDA_RUN_PAGES;
    cuda_tile_sum_run(t);
    if (begin != 0) {
        cuda_tile_write_state(t, t.o, t.run_m, t.run_l, a, info, run, info.slot + run - begin);
        return;
    }
    cuda_tile_merge(t, run);
    if (last && info.final_item) {
        cuda_tile_write_output(t, a, info);
    } else if (last) {
        cuda_tile_write_state(t, t.sum, t.sum_m, t.sum_l, a, info, 0, info.slot);
    }
}

/* The queries have been read for the last time. */
template <int D>
__device__ __forceinline__ void cuda_tile_release_queries(uint32_t who, uint32_t base)
{
    if (threadIdx.x % 32 == 0) {
        cuda_barrier_arrive(base + cuda_attention_config<D>::q_empty + who * 8);
    }
}

/* The first page's scores. */
template <int D>
__device__ __forceinline__ void cuda_tile_first_page(cuda_tile<D> &t, cuda_ring_cursor &c,
                                                     uint32_t who, uint32_t base)
{
    using config = cuda_attention_config<D>;
    cuda_ring_wait<D>(c, base);
    const uint32_t keys = cuda_ring_next<D>(c, who);
    cuda_tile_scores(t, base + config::q + who * config::q_bytes,
                     base + keys * config::stage_bytes);
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(t.s);
    cuda_ring_release<D>(c, keys, base);
}

/* The last page's values. */
template <int D>
__device__ __forceinline__ void cuda_tile_last_page(cuda_tile<D> &t, cuda_ring_cursor &c,
                                                    uint32_t who, uint32_t base, bool first)
{
    cuda_tile_pack(t, first);
    cuda_ring_wait<D>(c, base);
    const uint32_t values = cuda_ring_next<D>(c, who);
    cuda_tile_values(t, base + values * cuda_attention_config<D>::stage_bytes, first);
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(t.o);
    cuda_ring_release<D>(c, values, base);
    cuda_tile_next_run(t);
}

/* All pages of a tile. */
template <int D>
__device__ __forceinline__ void cuda_tile_run(cuda_tile<D> &t, const cuda_attention_args &a,
                                              const cuda_tile_info &info, cuda_ring_cursor &c,
                                              uint32_t who, uint32_t base)
{
    using config = cuda_attention_config<D>;
    const uint32_t q = base + config::q + who * config::q_bytes;
    const uint32_t page_end = info.page_end;
    uint32_t page = info.page;
    cuda_tile_next_run(t);
    cuda_tile_first_page(t, c, who, base);
    if (page + 1 == page_end) {
        cuda_tile_release_queries<D>(who, base);
    }
    cuda_tile_softmax(t, a.scale_log2, page);
#pragma unroll 1
    for (; page + 1 < page_end; page++) {
        const bool first = page % CUDA_RUN_PAGES == 0;
        const bool ends = page % CUDA_RUN_PAGES == CUDA_RUN_PAGES - 1;
        cuda_tile_pack(t, first);
        cuda_ring_wait<D>(c, base);
        const uint32_t values = cuda_ring_next<D>(c, who);
        cuda_ring_wait<D>(c, base);
        const uint32_t keys = cuda_ring_next<D>(c, who);
        cuda_tile_scores(t, q, base + keys * config::stage_bytes);
        cuda_tile_values(t, base + values * config::stage_bytes, first);
        cuda_wgmma_wait<1>();
        cuda_wgmma_hold(t.s);
        cuda_ring_release<D>(c, keys, base);
        if (page + 2 == page_end) {
            cuda_tile_release_queries<D>(who, base);
        }
        if (ends) {
            cuda_tile_next_run(t);
        }
        cuda_tile_softmax(t, a.scale_log2, page + 1);
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(t.o);
        cuda_ring_release<D>(c, values, base);
        if (ends) {
            cuda_tile_end_run(t, a, info, page / CUDA_RUN_PAGES, false);
        }
    }
    cuda_tile_last_page(t, c, who, base, page % CUDA_RUN_PAGES == 0);
    cuda_tile_end_run(t, a, info, page / CUDA_RUN_PAGES, true);
    for (uint32_t i = 2 * (info.page_end_all - page_end); i > 0; i--) { /* the other half's */
        cuda_ring_wait<D>(c, base);
        cuda_ring_release<D>(c, cuda_ring_next<D>(c, who), base);
    }
}

template <int D>
__device__ __forceinline__ void cuda_compute_tiles(const cuda_attention_args &a,
                                                   const cuda_tile_info *infos, uint32_t who,
                                                   uint32_t base)
{
    cuda_tile<D> t;
    cuda_ring_cursor c = {};
    uint32_t turn = 0;
#pragma unroll 1
    for (int wide = cuda_plan_of(a).wide != 0; wide >= 0; wide--) {
        c.wide = wide;
        c.arrivals = wide ? 1 : 2;
        c.stage = cuda_ring_of<D>(who, wide).first;
#pragma unroll 1
        for (bool more = true; more; turn++) {
            const cuda_tile_info &info = infos[who * 2 + turn % 2];
            cuda_barrier_wait(base + cuda_attention_config<D>::q_full + who * 8, turn & 1);
            more = info.page_end != 0;
            if (more) {
                cuda_tile_begin(t, info);
                cuda_tile_run(t, a, info, c, who, base);
            } else {
                cuda_tile_release_queries<D>(who, base);
            }
        }
    }
}

#endif
