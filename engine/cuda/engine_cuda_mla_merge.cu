/* The parts that attention left of rows that were cut into pieces, folded in the order in which a team folds the runs of a
 * whole row. Small and spread over the whole GPU: one block would take longer to read a row's parts than to make one. */
#include "engine_cuda_launch.cuh"
#include "engine_cuda_mla_part.cuh"

enum { MLA_MERGE_COLUMNS = 4 }; /* numbers i of a part that a thread merges at once */

/* What a thread has folded of a node. */
struct mla_fold {
    float4 sum[MLA_MERGE_COLUMNS];
    mla_state state;
    uint32_t count;
};

__device__ __forceinline__ void mla_fold_add(mla_fold *fold, const float4 (&sum)[MLA_MERGE_COLUMNS],
                                             const mla_state &state)
{
    if (fold->count++ == 0) {
#pragma unroll
        for (int j = 0; j < MLA_MERGE_COLUMNS; j++) {
            fold->sum[j] = sum[j];
        }
        fold->state = state;
        return;
    }
    mla_mix mix = mla_merge(fold->state, state, &fold->state);
#pragma unroll
    for (int j = 0; j < MLA_MERGE_COLUMNS; j++) {
        fold->sum[j] = mla_mixed4(fold->sum[j], sum[j], mix);
    }
}

/* The parts of a row: one thread's columns, folded as a team folds runs. */
__device__ __forceinline__ mla_fold mla_merge_parts(const float4 *parts, const float4 *states,
                                                    size_t stride, const cuda_mla_merge &merge)
{
    mla_fold fold[CUDA_MLA_LEVELS] = {};
    for (uint32_t first = 0; first < merge.parts; first += merge.group) {
        uint32_t count = min(merge.group, merge.parts - first);
        float4 x[CUDA_MLA_FOLD][MLA_MERGE_COLUMNS];
        float4 ml[CUDA_MLA_FOLD];
#pragma unroll
        for (uint32_t p = 0; p < CUDA_MLA_FOLD; p++) {
            if (p < count) {
                ml[p] = __ldcg(states + (first + p) * stride);
#pragma unroll
                for (int j = 0; j < MLA_MERGE_COLUMNS; j++) {
                    x[p][j] = __ldcg(parts + (first + p) * stride + j * CUDA_MLA_THREADS);
                }
            }
        }
        fold[0].count = 0;
#pragma unroll
        for (uint32_t p = 0; p < CUDA_MLA_FOLD; p++) {
            if (p < count) {
                mla_fold_add(&fold[0], x[p], mla_unpacked(ml[p]));
            }
        }
        bool last = first + count == merge.parts;
        bool full = true;
#pragma unroll
        for (int level = 1; level < CUDA_MLA_LEVELS; level++) {
            if (full) {
                mla_fold_add(&fold[level], fold[level - 1].sum, fold[level - 1].state);
                full = last || fold[level].count == CUDA_MLA_FOLD;
                fold[level - 1].count = 0;
            }
        }
    }
    return fold[CUDA_MLA_LEVELS - 1];
}

/* A block: some columns of a tile of heads of a row, at a time. */
__global__ void __launch_bounds__(CUDA_MLA_THREADS, 2) mla_merge_pieces(cuda_mla_attend a)
{
    cuda_chain_wait();
    cuda_chain_release();
    const uint32_t each = 32 / MLA_MERGE_COLUMNS;
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)a.plan;
    uint32_t tiles = cuda_mla_tiles(a.heads);
    uint32_t count = plan->merges * tiles * each;
    for (uint32_t at = blockIdx.x; at < count; at += gridDim.x) {
        cuda_mla_merge merge = plan->merge[at / each / tiles];
        uint32_t tile = at / each % tiles;
        uint32_t i = at % each * MLA_MERGE_COLUMNS;
        size_t stride = tiles * (size_t)CUDA_MLA_PART_BYTES / 16;
        const float4 *parts =
            (const float4 *)((const uint8_t *)a.scratch + (size_t)tile * CUDA_MLA_PART_BYTES) +
            merge.slot * stride + threadIdx.x;
        mla_fold fold = mla_merge_parts(parts + i * CUDA_MLA_THREADS, parts + 32 * CUDA_MLA_THREADS,
                                        stride, merge);
        uint32_t lane = threadIdx.x % 32;
        uint32_t row = threadIdx.x % 128 / 32 * 16 + lane / 4;
        uint32_t column = threadIdx.x / 128 * 256 + 8 * i;
        size_t head = (size_t)merge.row * a.heads + (size_t)tile * CUDA_MLA_TILE_HEADS;
        mla_store_columns(a.out + head * CUDA_MLA_LATENT + column,
                          a.heads - tile * CUDA_MLA_TILE_HEADS, fold.sum, fold.state, row, lane);
    }
}

cudaError_t cuda_mla_merge_run(const cuda_mla_attend *attend, uint32_t blocks, cudaStream_t stream)
{
    cuda_shape shape = {dim3(4 * blocks), dim3(CUDA_MLA_THREADS), 0};
    return cuda_launch(mla_merge_pieces, shape, stream, *attend);
}
