/* The narrow kernel of engine_cuda_gemm.cuh: products of few rows, at the speed of the memory.
 *
 * Weights are the 64-row operand of wgmma, tokens its columns, as few as 8. One thread block on each multiprocessor keeps
 * some 200 KiB of weights under way all the time: while one item ends, the ring fills with the next; between launches, it
 * fills with weights, which never change, before the block waits for the kernel in front.
 *
 * engine_cuda_narrow.cuh says what items and stages are; walk: which items, and who streams them; sums, store: what
 * becomes of them. */
#include "engine_cuda_launch.cuh"
#include "engine_cuda_narrow.cuh"
#include "engine_cuda_narrow_store.cuh"
#include "engine_cuda_narrow_sums.cuh"
#include "engine_cuda_narrow_walk.cuh"

namespace
{

/* Kernels: one tile a stage and up to 64 tokens; up to 128; or two tiles, of gate and up. */
enum narrow_kind { NARROW_FEW, NARROW_MANY, NARROW_TWO };

/* The sums of the latter two need more registers than ten warps may have evenly: all of a third warpgroup, which gives up
 * its own. The first leaves room for the small kernels between products to start early. */
__host__ __device__ constexpr uint32_t threads_of(narrow_kind kind)
{
    return 32 * (NARROW_CONSUMERS + (kind == NARROW_FEW ? 2 : 4));
}

/* ---- Consumers ---- */

template <cuda_type TYPE, bool GATED, int N>
__device__ __forceinline__ void consume_item(const narrow_plan &p, uint8_t *shared,
                                             const narrow_item &item, narrow_ring &ring)
{
    constexpr int TILES = tiles_of(GATED);
    float sum[TILES][N / 2];
    if (item.take > 0) {
        take_sums<TILES, N>(p, item.take - 1, sum);
    } else {
#pragma unroll
        for (int t = 0; t < TILES; t++) {
#pragma unroll
            for (int i = 0; i < N / 2; i++) {
                sum[t][i] = 0.0f;
            }
        }
    }
    if constexpr (TYPE == CUDA_E4M3) {
        sum_e4m3<TILES, N>(p, shared, item, ring, sum);
    } else {
        sum_bf16<TILES, N>(p, shared, item, ring, sum);
    }
    if (p.apart > 1) {
        if constexpr (TYPE == CUDA_BF16) {
            if (!join_segments<N>(p, shared, item, sum)) {
                return;
            }
        }
    } else if (item.leave > 0) {
        leave_sums<TILES, N>(p, item.leave - 1, sum);
        return;
    }
    if constexpr (GATED) {
        store_gated<N>(p, shared, item, sum[0], sum[1]);
    } else {
        uint32_t first = item.unit * p.unit_rows;
        if (TYPE == CUDA_BF16 && p.paired) {
            store_paired<N>(p, shared, item, sum[0]);
        } else if (p.g.epilogue == CUDA_OUT_BF16) {
            store_bf16<N>(p.g, item, first, sum[0]);
        } else {
            store_float<N>(p.g, item, first, sum[0]);
        }
    }
}

__device__ __forceinline__ narrow_item same_item(const narrow_item &item)
{
    narrow_item i = {};
    i.group = same(item.group);
    i.unit = same(item.unit);
    i.kb = same(item.kb);
    i.kb_end = same(item.kb_end);
    i.row = same(item.row);
    i.rows = same(item.rows);
    i.take = same(item.take);
    i.leave = same(item.leave);
    i.segment = same(item.segment);
    return i;
}

template <cuda_type TYPE, narrow_kind KIND>
__device__ __forceinline__ void consume_columns(const narrow_plan &p, uint8_t *shared,
                                                const narrow_item &item, narrow_ring &ring)
{
    constexpr bool GATED = KIND == NARROW_TWO;
    if constexpr (KIND == NARROW_MANY) {
        return consume_item<TYPE, GATED, NARROW_COLUMNS>(p, shared, item, ring);
    } else {
        switch (columns_for(item.rows)) {
        case 8:
            return consume_item<TYPE, GATED, 8>(p, shared, item, ring);
        case 16:
            return consume_item<TYPE, GATED, 16>(p, shared, item, ring);
        case 24:
            return consume_item<TYPE, GATED, 24>(p, shared, item, ring);
        case 32:
            return consume_item<TYPE, GATED, 32>(p, shared, item, ring);
        case 48:
            return consume_item<TYPE, GATED, 48>(p, shared, item, ring);
        default:
            return consume_item<TYPE, GATED, 64>(p, shared, item, ring);
        }
    }
}

template <cuda_type TYPE, narrow_kind KIND>
__device__ void consume(const narrow_plan &p, uint8_t *shared)
{
    narrow_ring ring = {0, 0};
    for (;;) {
        cuda_barrier_wait(cuda_smem(shared + p.at.full) + 8 * ring.stage, ring.parity);
        narrow_item item = same_item(((const narrow_item *)(shared + p.at.items))[ring.stage]);
        if (item.rows == 0) {
            return;
        }
        consume_columns<TYPE, KIND>(p, shared, item, ring);
    }
}

/* A grouped kernel lets the next one start only when it has waited itself (cuda_groups.settled counts on that). */
template <cuda_type TYPE, narrow_kind KIND>
__global__ void __launch_bounds__(threads_of(KIND), 1)
    narrow_kernel(const __grid_constant__ narrow_plan p)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t warp = same(threadIdx.x / 32);
    if (p.groups.count == 0) {
        cuda_chain_release();
    }
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < p.at.stages; i++) {
            cuda_barrier_init(cuda_smem(shared + p.at.full) + 8 * i, 1);
            cuda_barrier_init(cuda_smem(shared + p.at.empty) + 8 * i, p.consumers / 32);
        }
        cuda_barrier_init_fence();
    }
    __syncthreads();
    if (warp >= NARROW_CONSUMERS) {
        if (KIND != NARROW_FEW) {
            cuda_registers_give<56>();
        }
        if (warp < NARROW_CONSUMERS + 2) {
            run_producers<TYPE, KIND == NARROW_TWO>(p, shared, warp > NARROW_CONSUMERS);
        } else {
            cuda_chain_wait();
        }
    } else {
        if (KIND != NARROW_FEW) {
            cuda_registers_take<224>();
        }
        cuda_chain_wait();
        if (p.groups.count > 0) {
            cuda_chain_release();
        }
        if (threadIdx.x < p.consumers) {
            consume<TYPE, KIND>(p, shared);
        }
    }
}

/* ---- Launch ---- */

typedef void narrow_kernel_fn(const narrow_plan);

narrow_kernel_fn *kernel_for(cuda_type type, narrow_kind kind)
{
    if (kind == NARROW_TWO) {
        return narrow_kernel<CUDA_E4M3, NARROW_TWO>;
    }
    if (type == CUDA_E4M3) {
        return kind == NARROW_MANY ? narrow_kernel<CUDA_E4M3, NARROW_MANY>
                                   : narrow_kernel<CUDA_E4M3, NARROW_FEW>;
    }
    return kind == NARROW_MANY ? narrow_kernel<CUDA_BF16, NARROW_MANY>
                               : narrow_kernel<CUDA_BF16, NARROW_FEW>;
}

uint32_t processors; /* of the device; cuda_gemm_narrow_prepare() */

bool two_tiles(const narrow_plan &p)
{
    return p.g.epilogue == CUDA_OUT_GATED && p.g.w.type == CUDA_E4M3;
}

void lay_out(narrow_plan *p)
{
    narrow_layout *at = &p->at;
    bool e4m3 = p->g.w.type == CUDA_E4M3, gated = two_tiles(*p);
    uint32_t table = p->groups.count == 0 ? 0 : (p->groups.count + 4) / 4 * 16;
    uint32_t amax = gated ? (NARROW_CONSUMERS + 1) * p->columns * 4 : 0;
    uint32_t gated_bytes = p->paired ? p->columns * 256 : 0;
    if (gated) {
        gated_bytes = p->columns * (p->g.gated.type == CUDA_E4M3 ? 128 : 256);
    }
    uint32_t each = (e4m3 ? p->columns * 4 : 0) + sizeof(narrow_item) + 16;
    at->tokens = (p->paired ? 2 : tiles_of(gated)) * p->unit_rows * CUDA_BLOCK_BYTES;
    at->stage_bytes = at->tokens + p->columns * CUDA_BLOCK_BYTES;
    at->stages = (NARROW_SHARED - table - gated_bytes - amax - 16) / (at->stage_bytes + each);
    at->stages = at->stages < NARROW_STAGES ? at->stages : (uint32_t)NARROW_STAGES;
    at->gated = at->stages * at->stage_bytes;
    at->scales = at->gated + gated_bytes;
    at->items = at->scales + (e4m3 ? at->stages * p->columns * 4 : 0);
    at->amax = at->items + at->stages * sizeof(narrow_item);
    at->table = at->amax + amax;
    at->full = at->table + table;
    at->empty = at->full + 8 * at->stages;
    at->note = at->empty + 8 * at->stages;
    at->bytes = at->note + 16;
}

/* Units of 64 rows where those of 128 leave blocks without work. For many tokens they do not pay: each unit reads them
 * all. */
bool takes_halves(const narrow_plan &p, uint32_t items, uint32_t halves)
{
    if (p.groups.count > 0 || p.apart > 1 || items > processors) {
        return false;
    }
    return halves > processors ? p.columns <= 32 && p.g.w.segments == 1
                               : items * 4 < processors * 3;
}

/* What an item is. `rows`: of the largest group. */
void choose_units(narrow_plan *p, uint32_t rows)
{
    const cuda_weight &w = p->g.w;
    uint32_t halves = (w.rows + CUDA_TILE_ROWS / 2 - 1) / (CUDA_TILE_ROWS / 2);
    bool few = w.segments == 1 && 2 * halves <= processors; /* let two blocks share the tokens */
    p->tile = p->groups.count > 0 || two_tiles(*p) || few ? 64 : (uint32_t)NARROW_COLUMNS;
    p->columns = columns_for(rows < p->tile ? rows : p->tile);
    p->tiles = (rows + p->tile - 1) / p->tile;
    p->apart = 1;
    p->unit_rows = CUDA_TILE_ROWS;
    p->consumers = 32 * NARROW_CONSUMERS;
    p->units = w.row_blocks;
    if (p->g.epilogue == CUDA_OUT_GATED) {
        p->paired = w.type == CUDA_BF16;
        p->unit_rows = p->paired ? CUDA_TILE_ROWS / 2 : CUDA_TILE_ROWS;
        p->units = w.row_blocks / (p->paired ? 1 : 2);
        return;
    }
    uint32_t slots = NARROW_SUMS / slot_numbers(*p);
    slots = slots < NARROW_SLOTS ? slots : (uint32_t)NARROW_SLOTS;
    if (p->groups.count == 0 && w.row_blocks * p->tiles * w.segments <= slots) {
        p->apart = w.segments;
    }
    if (takes_halves(*p, p->units * p->tiles, halves * p->tiles)) {
        p->unit_rows = CUDA_TILE_ROWS / 2;
        p->units = halves;
        p->consumers /= 2;
    }
}

} // namespace

cudaError_t cuda_gemm_narrow_prepare(uint32_t count)
{
    processors = count < NARROW_BLOCKS ? count : (uint32_t)NARROW_BLOCKS;
    narrow_kernel_fn *const kernels[] = {
        kernel_for(CUDA_E4M3, NARROW_FEW), kernel_for(CUDA_E4M3, NARROW_MANY),
        kernel_for(CUDA_E4M3, NARROW_TWO), kernel_for(CUDA_BF16, NARROW_FEW),
        kernel_for(CUDA_BF16, NARROW_MANY)};
    for (narrow_kernel_fn *kernel : kernels) {
        cudaError_t error = cudaFuncSetAttribute(
            (const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, NARROW_SHARED);
        if (error != cudaSuccess) {
            return error;
        }
    }
    return cudaSuccess;
}

cudaError_t cuda_gemm_narrow(const cuda_gemm *gemm, const cuda_groups *groups, uint32_t *counter,
                             cudaStream_t stream)
{
    narrow_plan p = {};
    const cuda_weight &w = gemm->w;
    bool gated = gemm->epilogue == CUDA_OUT_GATED;
    bool grouped = groups != NULL;
    if (processors == 0 || gemm->x.type != w.type || gemm->x.capacity % 128 != 0 ||
        gemm->rows == 0 || (gated && w.row_blocks % 2 != 0) ||
        (gemm->epilogue == CUDA_OUT_BF16 && gemm->ld % 2 != 0) ||
        (gated && w.type == CUDA_BF16 && gemm->gated.type != CUDA_BF16) ||
        (grouped && (groups->count == 0 || groups->count > NARROW_GROUPS || counter == NULL))) {
        return cudaErrorInvalidValue;
    }
    p.g = *gemm;
    p.counter = counter;
    uint32_t rows = gemm->rows;
    if (grouped) {
        p.groups = *groups;
        rows = groups->rows_max > 0 ? groups->rows_max : 1;
    }
    choose_units(&p, rows);
    lay_out(&p);
    uint32_t items = p.units * p.tiles * p.apart;
    cuda_shape shape = {};
    shape.grid = dim3(grouped || items > processors ? processors : items);
    narrow_kind kind = two_tiles(p) ? NARROW_TWO : p.columns > 64 ? NARROW_MANY : NARROW_FEW;
    shape.block = dim3(threads_of(kind));
    shape.shared = p.at.bytes;
    return cuda_launch(kernel_for(w.type, kind), shape, stream, p);
}
