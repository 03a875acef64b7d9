/* engine_cuda_mla_load: the warpgroup that brings queries and keys to shared memory. */
#ifndef ENGINE_CUDA_MLA_LOAD_CUH
#define ENGINE_CUDA_MLA_LOAD_CUH

#include "engine_cuda_mla_tile.cuh"

struct mla_loader {
    cuda_mla_attend a;
    uint32_t smem;
    uint32_t tiles;
    uint32_t tile;
    uint32_t
        warp; /* of four: each loads a slice of a half, since starting a copy takes longer than one would think */
    uint32_t lane;
    uint32_t used; /* bit b: buffer b has been filled an odd number of times */
};

/* A slice into key buffer b. */
__device__ __forceinline__ void mla_load_slice(const mla_loader &l, uint32_t b, uint32_t slice,
                                               const uint8_t *page)
{
    uint32_t to = l.smem + MLA_AT_KEYS + b * CUDA_MLA_PAGE_BYTES + slice * CUDA_MLA_SLICE_BYTES;
    uint32_t full = l.smem + MLA_FULL + 72 * b + 8 * slice;
    cuda_barrier_expect(full, CUDA_MLA_SLICE_BYTES);
    cuda_bulk_load_once(to, page + (size_t)slice * CUDA_MLA_SLICE_BYTES, CUDA_MLA_SLICE_BYTES,
                        full);
}

/* Half a block of keys (left: columns 0 .. 255) into buffer b as soon as it is free; the rotated slice comes with the
 * half that is free last. */
__device__ __forceinline__ void mla_load_half(const mla_loader &l, uint32_t b, bool left,
                                              const uint8_t *page)
{
    uint32_t parity = (l.used >> b & 1) ^ 1; /* the first use finds the buffer free */
    cuda_barrier_wait(l.smem + (left ? MLA_FREE_LEFT : MLA_FREE_RIGHT) + 8 * b, parity);
    mla_load_slice(l, b, (left ? 0 : 4) + l.warp, page);
    if (left == (b == 1) && l.warp == 0) {
        mla_load_slice(l, b, 8, page);
    }
}

/* A pair of key blocks, in the order in which the halves of the last pair are let go. */
__device__ __forceinline__ void mla_load_pair(mla_loader &l, const uint8_t *even,
                                              const uint8_t *odd)
{
    mla_load_half(l, 0, true, even);
    if (odd != NULL) {
        mla_load_half(l, 1, false, odd);
    }
    mla_load_half(l, 0, false, even);
    if (odd != NULL) {
        mla_load_half(l, 1, true, odd);
    }
    l.used ^= odd != NULL ? 3 : 1;
}

/* By the last warp, which waits until they are free; the first ones by all four, in front of any keys. */
__device__ __forceinline__ void mla_load_query(const mla_loader &l, const cuda_mla_item &item,
                                               bool by_all)
{
    const uint8_t *from = l.a.queries + cuda_mla_query_offset(item.row, l.tile * 64, l.a.heads, 0);
    if (l.warp == 3) {
        cuda_barrier_expect(l.smem + MLA_QUERY_FULL, CUDA_MLA_PAGE_BYTES);
    }
    for (uint32_t s = by_all ? l.warp : 0; s < CUDA_MLA_SLICES; s += by_all ? 4 : 1) {
        cuda_bulk_load(l.smem + s * CUDA_MLA_SLICE_BYTES, from + s * CUDA_MLA_SLICE_BYTES,
                       CUDA_MLA_SLICE_BYTES, l.smem + MLA_QUERY_FULL);
    }
}

/* Four warps: the lanes of each read the page table 32 entries at a time, lane 0 starts the copies. */
__device__ __forceinline__ void mla_load(mla_loader &l)
{
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)l.a.plan;
    const cuda_mla_item *items = cuda_mla_items(l.a.plan);
    uint32_t begin = plan->begin[blockIdx.x / l.tiles];
    uint32_t end = plan->begin[blockIdx.x / l.tiles + 1];
    for (uint32_t i = begin; i < end; i++) {
        cuda_mla_item item = items[i];
        uint32_t first = mla_item_span(item).block;
        uint32_t last = mla_item_span(item).end;
        const uint32_t *table = l.a.pages + (size_t)item.sequence * l.a.page_stride;
        uint32_t number = first + l.lane < last ? table[first + l.lane] : 0;
        if (l.lane == 0 && (l.warp == 3 || i == begin)) {
            cuda_barrier_wait(l.smem + MLA_QUERY_FREE, (i - begin + 1) & 1);
            mla_load_query(l, item, i == begin);
        }
        uint32_t next = 0;
        for (uint32_t block = first; block < last; block += 2) {
            uint32_t at = (block - first) % 32;
            if (at == 0) {
                number = block == first ? number : next;
                next = block + 32 + l.lane < last ? table[block + 32 + l.lane] : 0;
            }
            uint32_t even = __shfl_sync(0xFFFFFFFFu, number, at);
            uint32_t odd = __shfl_sync(0xFFFFFFFFu, number, at + 1);
            if (l.lane == 0) {
                mla_load_pair(l, l.a.cache + (size_t)even * CUDA_MLA_PAGE_BYTES,
                              block + 1 < last ? l.a.cache + (size_t)odd * CUDA_MLA_PAGE_BYTES
                                               : NULL);
            }
            __syncwarp();
        }
    }
}

#endif
