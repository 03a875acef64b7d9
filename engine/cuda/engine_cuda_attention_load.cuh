/* engine_cuda_attention_load: which work a block does, and the warps that load for it. Inside the attention kernel only.
 *
 * Who is who in a block: warpgroups 0 and 1 compute. Of the third, warps 0 and 1 take units and bring their pages to the
 * ring, warps 2 and 3 bring the queries. Barriers: `full` and `empty` of the ring's stages (a stage is let go by all eight
 * warps that compute; for a narrow item its warpgroup's four arrive twice), q_full and q_empty of a warpgroup's queries,
 * unit_full and unit_empty of the queue from the one kind of loading warp to the other. */
#ifndef ENGINE_CUDA_ATTENTION_LOAD_CUH
#define ENGINE_CUDA_ATTENTION_LOAD_CUH

#include "engine_cuda_attention_state.cuh"
#include "engine_cuda_ptx.cuh"

enum {
    CUDA_ATTENTION_THREADS = 384, /* two warpgroups that compute, one that loads */
    CUDA_ATTENTION_RING = 12      /* stages for head_dim 128; twice that for 64  */
};

/* What a warpgroup is told about its tile; two of them, since the next tile's is written while this one's is in use. */
struct cuda_tile_info {
    uint32_t page;         /* first                                                  */
    uint32_t page_end;     /* of this warpgroup's rows; 0: no more tiles of the kind */
    uint32_t page_end_all; /* of the item: pages in between are for the other half   */
    uint32_t final_item;
    uint32_t slot; /* of the first state */
    uint32_t head; /* first query head   */
    uint32_t pad[2];

    /* x: row of the batch + (head - first head) << CUDA_ROW_BITS; y: position, ~0 when there is no such row. */
    uint2 rows[CUDA_NARROW_SLOTS];
};

enum { CUDA_ROW_BITS = 26 };

/* How the warp that takes units tells the others. */
struct cuda_unit_queue {
    uint32_t unit[2][2]; /* for each warpgroup the next two; CUDA_UNITS_END: no more of this kind */
    uint32_t phase;      /* of the ring's stages when the wide items are done                */
    uint32_t turn;       /* units of warpgroup 1 until then                                  */
};

enum : uint32_t { CUDA_UNITS_END = ~0u };

/* Shared memory, from a multiple of 1 KiB on: ring, queries of both warpgroups, infos, barriers. */
template <int D> struct cuda_attention_config {
    static constexpr uint32_t stage_bytes = CUDA_KV_PAGE_TOKENS * D * 2;
    static constexpr uint32_t stages = CUDA_ATTENTION_RING * (128 / D);
    static constexpr uint32_t q_bytes = CUDA_NARROW_SLOTS * D * 2;
    static constexpr uint32_t q = stages * stage_bytes;
    static constexpr uint32_t infos = q + 2 * q_bytes;
    static constexpr uint32_t full = infos + 4 * sizeof(cuda_tile_info);
    static constexpr uint32_t empty = full + stages * 8;
    static constexpr uint32_t q_full = empty + stages * 8;
    static constexpr uint32_t q_empty = q_full + 2 * 8;
    static constexpr uint32_t unit_full = q_empty + 2 * 8; /* [2][2], as cuda_unit_queue */
    static constexpr uint32_t unit_empty = unit_full + 4 * 8;
    static constexpr uint32_t handover = unit_empty + 4 * 8;
    static constexpr uint32_t queue = handover + 8;
    static constexpr uint32_t shared = queue + sizeof(cuda_unit_queue);
};

/* ---- Which work is whose ---- */

struct cuda_ring_part {
    uint32_t first, end;
};

template <int D> __device__ __forceinline__ cuda_ring_part cuda_ring_of(uint32_t who, bool wide)
{
    constexpr uint32_t half = cuda_attention_config<D>::stages / 2;
    return wide ? cuda_ring_part{0, 2 * half} : cuda_ring_part{who * half, (who + 1) * half};
}

/* Units: unit = item * kv_heads + kv_head, from the longest to the shortest. Each stream (a block, or for narrow items a
 * warpgroup) begins with its own and then takes the next that nobody has. */
struct cuda_unit_range {
    uint32_t first, streams, end, item_base;
};

__device__ __forceinline__ cuda_unit_range cuda_units_of(const cuda_attention_args &a, uint32_t who,
                                                         bool wide)
{
    const cuda_plan_header &plan = cuda_plan_of(a);
    return wide ? cuda_unit_range{blockIdx.x, gridDim.x, plan.wide * a.kv_heads, 0}
                : cuda_unit_range{who * gridDim.x + blockIdx.x, 2 * gridDim.x,
                                  plan.narrow * a.kv_heads, plan.wide};
}

__device__ __forceinline__ cuda_plan_item cuda_load_item(const cuda_attention_args &a,
                                                         uint32_t index)
{
    const uint4 *at =
        reinterpret_cast<const uint4 *>(a.plan + cuda_plan_of(a).items) + (size_t)index * 2;
    uint4 x = at[0], y = at[1];
    return {x.x, x.y, x.z, x.w, y.x, y.y, y.z & 0xFFFFFF, y.z >> 24, y.w};
}

/* ---- Loading ---- */

/* One thread: keys or values of a page to a stage. Bit s of `phase`: of stage s. */
template <int D>
__device__ __forceinline__ void cuda_load_page(const cuda_attention_args &a, size_t offset,
                                               uint32_t base, uint32_t stage, uint32_t phase)
{
    using config = cuda_attention_config<D>;
    const uint32_t full = base + config::full + stage * 8;
    cuda_barrier_wait(base + config::empty + stage * 8, ((phase >> stage) & 1) ^ 1);
    cuda_barrier_expect(full, config::stage_bytes);
    /* even stages hold keys, odd ones values */
    cuda_bulk_load(base + stage * config::stage_bytes, (stage % 2 ? a.values : a.keys) + offset,
                   config::stage_bytes, full);
}

/* One thread: the next unit of warpgroup `who`; `turn` counts them. */
template <int D>
__device__ __forceinline__ void cuda_push_unit(cuda_unit_queue &queue, uint32_t who, uint32_t turn,
                                               uint32_t unit, uint32_t base)
{
    const uint32_t at = (who * 2 + turn % 2) * 8;
    cuda_barrier_wait(base + cuda_attention_config<D>::unit_empty + at, (turn / 2 & 1) ^ 1);
    queue.unit[who][turn % 2] = unit;
    cuda_barrier_arrive(base + cuda_attention_config<D>::unit_full + at);
}

/* The other end, a warp. */
template <int D>
__device__ __forceinline__ uint32_t cuda_pop_unit(const cuda_unit_queue &queue, uint32_t who,
                                                  uint32_t turn, uint32_t base)
{
    const uint32_t at = (who * 2 + turn % 2) * 8;
    cuda_barrier_wait(base + cuda_attention_config<D>::unit_full + at, turn / 2 & 1);
    uint32_t unit = *(const volatile uint32_t *)&queue.unit[who][turn % 2];
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        cuda_barrier_arrive(base + cuda_attention_config<D>::unit_empty + at);
    }
    return unit;
}

/* What a warp that loads pages keeps from unit to unit. */
struct cuda_page_loader {
    uint32_t who;
    uint32_t stage, first, end; /* of the ring */
    uint32_t phase;             /* bit s: of stage s */
    uint32_t turn[2];           /* units pushed      */
    bool waited;                /* for the kernel in front */
};

template <int D>
__device__ __forceinline__ void cuda_announce_unit(cuda_page_loader &p, cuda_unit_queue &queue,
                                                   bool wide, uint32_t unit, uint32_t base)
{
    if (threadIdx.x % 32 == 0) {
        cuda_push_unit<D>(queue, p.who, p.turn[0], unit, base);
        if (wide) {
            cuda_push_unit<D>(queue, 1, p.turn[1], unit, base);
        }
    }
    p.turn[0]++;
    p.turn[1]++;
}

/* Loads the pages of a unit. Returns (lane 0) how many units had been taken when this took the next one: as late as the
 * answer can come in time, so that who is ahead gets it. That needs the counter, and so the end of the kernel in front;
 * pages that this step does not write are read before. */
template <int D>
__device__ __forceinline__ uint32_t cuda_load_unit(cuda_page_loader &p,
                                                   const cuda_attention_args &a,
                                                   const cuda_plan_item &item, uint32_t kv_head,
                                                   uint32_t *counter, uint32_t base)
{
    constexpr uint32_t bytes = cuda_attention_config<D>::stage_bytes;
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t *table =
        reinterpret_cast<const uint32_t *>(a.plan + cuda_plan_of(a).pages) + item.pages_first;
    uint32_t number = 0, taken = 0;
    bool asked = false;
    uint32_t page = item.run_begin * CUDA_RUN_PAGES;
#pragma unroll 1
    for (uint32_t i = 0; page < item.page_end; page++, i++) {
        if (i % 32 == 0 && page + lane < item.page_end) {
            number = table[page + lane];
        }
        if (!p.waited && page >= item.stable) {
            cuda_chain_wait();
            p.waited = true;
        }
        if (p.waited && !asked && page + 2 >= item.page_end) {
            asked = true;
            taken = lane == 0 ? atomicAdd(counter, 1) : 0;
        }
        size_t offset = ((size_t)__shfl_sync(~0u, number, i % 32) * a.kv_heads + kv_head) * bytes;
        if (lane == 0) {
            cuda_load_page<D>(a, offset, base, p.stage, p.phase);
            cuda_load_page<D>(a, offset, base, p.stage + 1, p.phase);
        }
        p.phase ^= 3u << p.stage;
        p.stage = p.stage + 2 == p.end ? p.first : p.stage + 2;
    }
    if (!asked) {
        cuda_chain_wait();
        p.waited = true;
        taken = lane == 0 ? atomicAdd(counter, 1) : 0;
    }
    return taken;
}

template <int D>
__device__ __forceinline__ void cuda_load_units(cuda_page_loader &p, const cuda_attention_args &a,
                                                cuda_unit_queue &queue, bool wide, uint32_t base)
{
    const cuda_ring_part part = cuda_ring_of<D>(p.who, wide);
    const cuda_unit_range u = cuda_units_of(a, p.who, wide);
    p.stage = p.first = part.first;
    p.end = part.end;
    uint32_t unit = u.first;
#pragma unroll 1
    while (unit < u.end) {
        cuda_announce_unit<D>(p, queue, wide, unit, base);
        cuda_plan_item item = cuda_load_item(a, u.item_base + unit / a.kv_heads);
        uint32_t taken = cuda_load_unit<D>(p, a, item, unit % a.kv_heads, a.taken + wide, base);
        unit = u.streams + __shfl_sync(~0u, taken, 0);
    }
    cuda_announce_unit<D>(p, queue, wide, CUDA_UNITS_END, base);
}

/* Warp 0 loads all pages of wide items and those of warpgroup 0's narrow ones, warp 1 those of warpgroup 1's. The plan
 * was there before the step's first kernel. */
template <int D>
__device__ void cuda_load_pages(const cuda_attention_args &a, cuda_unit_queue &queue, uint32_t who,
                                uint32_t base)
{
    const uint32_t handover = base + cuda_attention_config<D>::handover;
    cuda_page_loader p = {};
    p.who = who;
    if (cuda_plan_of(a).wide != 0) {
        if (who == 0) {
            cuda_load_units<D>(p, a, queue, true, base);
            if (threadIdx.x % 32 == 0) {
                queue.phase = p.phase;
                queue.turn = p.turn[1];
                cuda_barrier_arrive(handover);
            }
        } else {
            cuda_barrier_wait(handover, 0);
            p.phase = *(volatile uint32_t *)&queue.phase;
            p.turn[0] = *(volatile uint32_t *)&queue.turn;
        }
    }
    cuda_load_units<D>(p, a, queue, false, base);
    if (!p.waited) {
        cuda_chain_wait();
    }
}

/* A warp: the queries of `count` rows, of which each lane knows rows lane and lane + 32. Short, since the warpgroup may
 * be waiting. */
template <int D>
__device__ __forceinline__ void cuda_copy_queries(const cuda_attention_args &a, uint32_t q_shared,
                                                  const uint2 (&row)[2], uint32_t head,
                                                  uint32_t count)
{
    constexpr uint32_t chunks = D / 8, rows = 32 / chunks; /* a step: whole rows */
    const uint32_t lane = threadIdx.x % 32, chunk = lane % chunks;
    uint32_t index = lane / chunks, vector[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        vector[i] =
            (row[i].x & ((1u << CUDA_ROW_BITS) - 1)) * a.heads + head + (row[i].x >> CUDA_ROW_BITS);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll 4
        for (uint32_t step = 0; step < chunks; step++, index += rows) {
            uint32_t at = __shfl_sync(~0u, vector[i], index);
            if (index < count) {
                cuda_async_16(q_shared + cuda_kv_offset(index, chunk),
                              a.q + (size_t)at * D + chunk * 8, 16);
            }
        }
        if (count <= 32) {
            break;
        }
    }
}

/* A warp: brings warpgroup `who` its queries (absent rows keep what an earlier tile left, or the zeros of the start) and
 * what it must know of the tile. */
template <int D>
__device__ __forceinline__ void cuda_load_tile(const cuda_attention_args &a, cuda_tile_info &info,
                                               uint32_t who, bool wide, uint32_t unit,
                                               uint32_t turn, uint32_t base)
{
    using config = cuda_attention_config<D>;
    const uint32_t lane = threadIdx.x % 32, first = wide ? who * CUDA_NARROW_SLOTS : 0;
    cuda_plan_item item = cuda_load_item(a, (wide ? 0 : cuda_plan_of(a).wide) + unit / a.kv_heads);
    const cuda_plan_ref *refs =
        reinterpret_cast<const cuda_plan_ref *>(a.plan + cuda_plan_of(a).refs) + item.ref_first;
    const uint32_t head = unit % a.kv_heads * a.group;
    const uint32_t count = min(item.ref_count * a.group - first, CUDA_NARROW_SLOTS);
    uint2 row[2];
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        row[i] = {0, ~0u};
        if (lane + i * 32 < count) {
            uint32_t index = first + lane + i * 32, token = index / a.group;
            row[i] = *reinterpret_cast<const uint2 *>(refs + token);
            row[i].x += (index - token * a.group) << CUDA_ROW_BITS;
        }
    }
    if (turn == 0) {
        cuda_chain_wait();
    }
    cuda_barrier_wait(base + config::q_empty + who * 8, (turn & 1) ^ 1);
    info.rows[lane] = row[0];
    info.rows[lane + 32] = row[1];
    if (lane == 0) {
        info.page = item.run_begin * CUDA_RUN_PAGES;
        info.page_end = wide && who == 0 ? item.page_end_low : item.page_end;
        info.page_end_all = item.page_end;
        info.final_item = item.final_item;
        info.slot = item.slot;
        info.head = head;
    }
    cuda_copy_queries<D>(a, base + config::q + who * config::q_bytes, row, head, count);
    cuda_async_commit();
    cuda_async_wait<0>();
    cuda_proxy_fence();
}

template <int D>
__device__ void cuda_load_queries(const cuda_attention_args &a, const cuda_unit_queue &queue,
                                  cuda_tile_info *infos, uint32_t who, uint32_t base)
{
    using config = cuda_attention_config<D>;
    uint32_t turn = 0;
#pragma unroll 1
    for (int wide = cuda_plan_of(a).wide != 0; wide >= 0; wide--) {
        uint32_t unit;
        do {
            cuda_tile_info &info = infos[who * 2 + turn % 2];
            unit = cuda_pop_unit<D>(queue, who, turn, base);
            if (unit != CUDA_UNITS_END) {
                cuda_load_tile<D>(a, info, who, wide, unit, turn, base);
            } else {
                if (turn == 0) {
                    cuda_chain_wait();
                }
                cuda_barrier_wait(base + config::q_empty + who * 8, (turn & 1) ^ 1);
                info.page_end = 0; /* all lanes write the same */
            }
            __syncwarp();
            if (threadIdx.x % 32 == 0) {
                cuda_barrier_arrive(base + config::q_full + who * 8);
            }
            turn++;
        } while (unit != CUDA_UNITS_END);
    }
}

#endif
