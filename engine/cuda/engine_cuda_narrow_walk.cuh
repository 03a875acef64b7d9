/* engine_cuda_narrow_walk: which items a block computes, and the producers that stream them.
 *
 * Three ways through the items, of which any gives the same bits:
 *     in turn    block b takes items b, b + blocks, ...
 *     by counter groups, many items: a block takes the next one that nobody has
 *     in shares  the K blocks of all items, one after the other, are cut into as many equal runs as there are blocks. A
 *                block begins with the last item of its share. If the cut goes through an item, the block that has its
 *                first K blocks does those first of all and leaves the sums; the block that has the others does them
 *                last and goes on from there. A share is at least an item long, so an item is cut at most once.
 * Token tiles of the same weights are neighbours, so that all but the first find the weights in L2. */
#ifndef ENGINE_CUDA_NARROW_WALK_CUH
#define ENGINE_CUDA_NARROW_WALK_CUH

#include "engine_cuda_narrow.cuh"

enum narrow_way { NARROW_IN_TURN, NARROW_BY_COUNTER, NARROW_IN_SHARES };

struct narrow_walk {
    narrow_way way;
    uint32_t items;
    uint32_t turn;       /* in turn, by counter */
    uint32_t front;      /* by counter: items of the group at the front of the table */
    uint32_t begin, end; /* in shares: what is left of it */
};

/* Table position g is group count - 1 - g: the shared expert, which all rows see, is the last group, and best not left
 * to the end. */
__device__ __forceinline__ uint32_t group_at(const cuda_groups &groups, uint32_t g)
{
    return groups.count - 1 - g;
}

/* Warp: table[g] = token tiles of the groups in front of g. */
__device__ void make_table(const narrow_plan &p, uint32_t *table)
{
    const cuda_groups &groups = p.groups;
    uint32_t lane = threadIdx.x % 32;
    uint32_t tiles[NARROW_GROUPS / 32];
#pragma unroll
    for (uint32_t i = 0; i < NARROW_GROUPS / 32; i++) {
        uint32_t g = 32 * i + lane;
        uint32_t rows = g < groups.count ? __ldcg(groups.rows + group_at(groups, g)) : 0;
        tiles[i] = (rows + p.tile - 1) / p.tile;
    }
    uint32_t total = 0;
    if (lane == 0) {
        table[0] = 0;
    }
#pragma unroll
    for (uint32_t i = 0; i < NARROW_GROUPS / 32; i++) {
        uint32_t sum = tiles[i];
#pragma unroll
        for (uint32_t step = 1; step < 32; step *= 2) {
            uint32_t other = __shfl_up_sync(0xFFFFFFFFu, sum, step);
            sum += lane >= step ? other : 0;
        }
        if (32 * i + lane < groups.count) {
            table[32 * i + lane + 1] = total + sum;
        }
        total += __shfl_sync(0xFFFFFFFFu, sum, 31);
    }
    __syncwarp();
}

/* Shares pay while blocks get a few items each: then the last turn, of which only some blocks have part, is long. They do
 * not where token tiles of the same weights follow each other: those must be read at the same time. */
__device__ __forceinline__ narrow_walk begin_walk(const narrow_plan &p, const uint32_t *table)
{
    bool grouped = p.groups.count > 0;
    narrow_walk walk = {};
    walk.items = p.units * p.apart * (grouped ? table[p.groups.count] : p.tiles);
    walk.turn = blockIdx.x;
    walk.front = grouped ? table[1] * p.units : 0;
    bool several = grouped ? walk.items >= 4 * gridDim.x : p.tiles > 1;
    if (walk.items > gridDim.x && walk.items % gridDim.x != 0 && p.g.w.segments == 1 && !several) {
        uint64_t all = (uint64_t)walk.items * p.g.w.k_blocks;
        walk.way = NARROW_IN_SHARES;
        walk.begin = (uint32_t)(all * blockIdx.x / gridDim.x);
        walk.end = (uint32_t)(all * (blockIdx.x + 1) / gridDim.x);
    } else {
        walk.way = grouped && walk.items > gridDim.x ? NARROW_BY_COUNTER : NARROW_IN_TURN;
    }
    return walk;
}

/* Where item `index` lies, all of K (or its segment). */
__device__ void find_item(const narrow_plan &p, const uint32_t *table, uint32_t index,
                          narrow_item *item)
{
    uint32_t segment = index % p.apart;
    uint32_t group = 0, row = 0, rows = p.g.rows, tiles = p.tiles;
    item->take = 0;
    item->leave = p.apart > 1 ? index + 1 : 0;
    index /= p.apart;
    if (p.groups.count > 0) {
        uint32_t g = 0, end = p.groups.count; /* table[g] * units <= index < table[end] * units */
        while (end - g > 1) {
            uint32_t middle = (g + end) / 2;
            if (table[middle] * p.units <= index) {
                g = middle;
            } else {
                end = middle;
            }
        }
        index -= table[g] * p.units;
        tiles = table[g + 1] - table[g];
        group = group_at(p.groups, g);
        row = __ldcg(p.groups.begin + group);
        rows = __ldcg(p.groups.rows + group);
    }
    uint32_t tile = index % tiles;
    item->group = group;
    item->unit = index / tiles;
    item->again = tiles > 1;
    item->row = row + tile * p.tile;
    item->rows = min(rows - tile * p.tile, p.tile);
    item->segment = segment;
    item->kb = cuda_segment_begin(p.g.w.k_blocks, p.apart, segment);
    item->kb_end = cuda_segment_begin(p.g.w.k_blocks, p.apart, segment + 1);
}

/* Every block asks once in vain. The last of them sets the counter back. */
__device__ uint32_t next_by_counter(const narrow_plan &p, const narrow_walk &walk)
{
    uint32_t taken = atomicAdd(p.counter, 1);
    if (taken ==
        walk.items -
            1) { /* items - blocks in all were given, and as many asked as there are blocks */
        *p.counter = 0;
    }
    return gridDim.x + taken;
}

/* By counter, the items of the group at the front (the shared expert, of many more tokens than any other) lie evenly among
 * all others: they keep the tensor cores busy and L2, the others the memory, and so both go on all the time. */
__device__ __forceinline__ uint32_t spread(const narrow_walk &walk, uint32_t turn)
{
    uint32_t before = (uint32_t)((uint64_t)turn * walk.front / walk.items);
    uint32_t after = (uint32_t)((uint64_t)(turn + 1) * walk.front / walk.items);
    return after > before ? before : walk.front + turn - before;
}

/* The next thing to do; false: nothing. */
__device__ bool next_item(const narrow_plan &p, const uint32_t *table, narrow_walk *walk,
                          narrow_item *item)
{
    if (walk->way != NARROW_IN_SHARES) {
        if (walk->turn >= walk->items) {
            return false;
        }
        find_item(p, table, walk->way == NARROW_BY_COUNTER ? spread(*walk, walk->turn) : walk->turn,
                  item);
        walk->turn =
            walk->way == NARROW_IN_TURN ? walk->turn + gridDim.x : next_by_counter(p, *walk);
        return true;
    }
    if (walk->begin == walk->end) {
        return false;
    }
    uint32_t k = p.g.w.k_blocks, index = (walk->end - 1) / k, zero = index * k;
    find_item(p, table, index, item);
    item->kb_end = walk->end - zero;
    item->kb = walk->begin > zero ? walk->begin - zero : 0;
    item->leave = item->kb_end < k ? blockIdx.x + 1 : 0;
    item->take = item->kb > 0 ? blockIdx.x : 0; /* the slot of the block in front */
    walk->end = zero + item->kb;
    return true;
}

/* ---- Producers ---- */

/* Hints for L2 (the encodings of createpolicy's evict_normal and evict_first). */
constexpr uint64_t NARROW_KEEP = 0x1000000000000000ull, NARROW_FORGET = 0x12F0000000000000ull;

__device__ __forceinline__ void load_hinted(uint32_t to, const void *from, uint32_t bytes,
                                            uint32_t barrier, uint64_t hint)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier), "l"(hint)
                 : "memory");
}

/* One thread: the item's weights, and in the first stage its description; the stage expects all its bytes. */
template <cuda_type TYPE, bool GATED> struct narrow_weights_stream {
    const uint8_t *from[2];
    uint32_t copies, bytes, expected;
    uint64_t hint;

    __device__ void begin(const narrow_plan &p, const narrow_item &item)
    {
        const cuda_weight &w = p.g.w;
        uint32_t atoms = (item.rows + CUDA_ATOM_ROWS - 1) / CUDA_ATOM_ROWS;
        hint = item.again != 0 ? NARROW_KEEP : NARROW_FORGET;
        copies = p.paired ? 2 : tiles_of(GATED);
        bytes = p.unit_rows * CUDA_BLOCK_BYTES;
        expected = copies * bytes + atoms * CUDA_ATOM_BYTES +
                   (TYPE == CUDA_E4M3 ? atoms * CUDA_ATOM_ROWS * (uint32_t)sizeof(float) : 0);
        uint32_t block = item.group * w.row_blocks + first_block(p, item.unit, copies);
        uint32_t row = item.unit * p.unit_rows % CUDA_TILE_ROWS;
        from[0] = w.data + ((size_t)block * w.k_blocks + item.kb) * CUDA_TILE_BYTES +
                  row * CUDA_BLOCK_BYTES;
        from[1] = from[0] + (size_t)w.k_blocks * CUDA_TILE_BYTES;
    }

    __device__ __forceinline__ void load(uint32_t stage, uint32_t full)
    {
        cuda_barrier_expect(full, expected);
        load_hinted(stage, from[0], bytes, full, hint);
        from[0] += CUDA_TILE_BYTES;
        if (copies == 2) {
            load_hinted(stage + bytes, from[1], bytes, full, hint);
            from[1] += CUDA_TILE_BYTES;
        }
    }
};

/* One thread: what is no constant, the item's tokens and their scales. */
template <cuda_type TYPE> struct narrow_tokens_stream {
    const uint8_t *from;
    const float *scale;
    uint32_t bytes, scale_bytes;
    size_t step, scale_step;

    __device__ void begin(const narrow_plan &p, const narrow_item &item)
    {
        const cuda_rows &x = p.g.x;
        uint32_t atoms = (item.rows + CUDA_ATOM_ROWS - 1) / CUDA_ATOM_ROWS;
        bytes = atoms * CUDA_ATOM_BYTES;
        scale_bytes = atoms * CUDA_ATOM_ROWS * sizeof(float);
        from = x.data + cuda_rows_offset(x, item.row, item.kb, 0);
        step = (size_t)x.capacity * CUDA_BLOCK_BYTES;
        scale = TYPE == CUDA_E4M3 ? x.scale + (size_t)item.kb * x.capacity + item.row : NULL;
        scale_step = x.capacity;
    }

    __device__ __forceinline__ void load(uint32_t tokens, uint32_t scales, uint32_t full)
    {
        cuda_bulk_load(tokens, from, bytes, full);
        from += step;
        if (TYPE == CUDA_E4M3) {
            cuda_bulk_load(scales, scale, scale_bytes, full);
            scale += scale_step;
        }
    }
};

/* One thread: all items of the block, one of the two streams or both. */
template <cuda_type TYPE, bool GATED>
__device__ void produce(const narrow_plan &p, uint8_t *shared, narrow_walk walk, bool weights,
                        bool tokens)
{
    const uint32_t *table = (const uint32_t *)(shared + p.at.table);
    uint32_t full = cuda_smem(shared + p.at.full), empty = cuda_smem(shared + p.at.empty);
    uint32_t stages = cuda_smem(shared), scales = cuda_smem(shared + p.at.scales);
    narrow_ring ring = {0, 0};
    narrow_item item;
    while (next_item(p, table, &walk, &item)) {
        narrow_weights_stream<TYPE, GATED> w;
        narrow_tokens_stream<TYPE> x;
        w.begin(p, item);
        x.begin(p, item);
        for (uint32_t kb = item.kb; kb < item.kb_end; kb++) {
            uint32_t stage = stages + ring.stage * p.at.stage_bytes;
            cuda_barrier_wait(empty + 8 * ring.stage, ring.parity ^ 1);
            if (weights) {
                if (kb == item.kb) {
                    ((narrow_item *)(shared + p.at.items))[ring.stage] = item;
                }
                w.load(stage, full + 8 * ring.stage);
            }
            if (tokens) {
                x.load(stage + p.at.tokens, scales + ring.stage * p.columns * 4,
                       full + 8 * ring.stage);
            }
            ring_advance(ring, p.at.stages);
        }
    }
    if (weights) {
        cuda_barrier_wait(empty + 8 * ring.stage, ring.parity ^ 1);
        ((narrow_item *)(shared + p.at.items))[ring.stage].rows = 0;
        cuda_barrier_arrive(full + 8 * ring.stage);
    }
}

/* Two warps. The first streams weights, of a plain product from the very start; the second what the kernel in front
 * wrote. By the counter, one thread does both, since nobody else knows what it took. */
template <cuda_type TYPE, bool GATED>
__device__ void run_producers(const narrow_plan &p, uint8_t *shared, bool second)
{
    bool grouped = p.groups.count > 0, elected = threadIdx.x % 32 == 0;
    if (grouped) {
        if (!second) {
            if (!p.groups.settled) {
                cuda_chain_wait();
            }
            make_table(p, (uint32_t *)(shared + p.at.table));
        }
        cuda_named_sync(2, 64);
    }
    if (second) {
        cuda_chain_wait();
    }
    narrow_walk walk = begin_walk(p, (const uint32_t *)(shared + p.at.table));
    bool both = walk.way == NARROW_BY_COUNTER;
    if (both) {
        cuda_chain_wait();
    }
    if (elected && !(both && second)) {
        produce<TYPE, GATED>(p, shared, walk, !second, second || both);
    }
    __syncwarp();
    if (!second) {
        cuda_chain_wait();
    }
}

#endif
