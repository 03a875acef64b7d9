/* The parts that attention left of rows that were cut into pieces, folded in the order in which a team folds the runs of a
 * whole row. Small and spread over the whole GPU: one block would take longer to read a row's parts than to make one. */
#include "engine_cuda_launch.cuh"
#include "engine_cuda_mla_part.cuh"

enum {
    MLA_MERGE_THREADS = CUDA_MLA_THREADS / 2,
    MLA_MERGE_COLUMNS = 4 /* numbers i of a part that a thread merges at once */
};

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
    mla_fold above[CUDA_MLA_LEVELS - 1] = {}; /* of the nodes that the parts make */
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
        mla_state state = mla_unpacked(ml[0]);
#pragma unroll
        for (uint32_t p = 1; p < CUDA_MLA_FOLD; p++) {
            if (p < count) {
                mla_mix mix = mla_merge(state, mla_unpacked(ml[p]), &state);
#pragma unroll
                for (int j = 0; j < MLA_MERGE_COLUMNS; j++) {
                    x[0][j] = mla_mixed4(x[0][j], x[p][j], mix);
                }
            }
        }
        bool last = first + count == merge.parts;
        mla_fold_add(&above[0], x[0], state);
        if (last || above[0].count == CUDA_MLA_FOLD) {
            mla_fold_add(&above[1], above[0].sum, above[0].state);
            above[0].count = 0;
        }
    }
    return above[1];
}

/* A block: some columns of a warpgroup's half of a tile of heads of a row, at a time. As many registers as keep everything
 * in them: a thread's sums in local memory would be read and written more often than the parts. */
__global__ void __launch_bounds__(MLA_MERGE_THREADS, 3) mla_merge_pieces(cuda_mla_attend a)
{
    cuda_chain_wait();
    cuda_chain_release();
    const uint32_t each = 2 * 32 / MLA_MERGE_COLUMNS;
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)a.plan;
    uint32_t tiles = cuda_mla_tiles(a.heads);
    uint32_t count = plan->merges * tiles * each;
    for (uint32_t at = blockIdx.x; at < count; at += gridDim.x) {
        cuda_mla_merge merge = plan->merge[at / each / tiles];
        uint32_t tile = at / each % tiles;
        uint32_t half = at / (each / 2) % 2;
        uint32_t i = at % (each / 2) * MLA_MERGE_COLUMNS;
        size_t stride = tiles * (size_t)CUDA_MLA_PART_BYTES / 16;
        const float4 *parts =
            (const float4 *)((const uint8_t *)a.scratch + (size_t)tile * CUDA_MLA_PART_BYTES) +
            merge.slot * stride + half * MLA_MERGE_THREADS + threadIdx.x;
        mla_fold fold = mla_merge_parts(parts + i * CUDA_MLA_THREADS, parts + 32 * CUDA_MLA_THREADS,
                                        stride, merge);
        uint32_t lane = threadIdx.x % 32;
        uint32_t row = threadIdx.x / 32 * 16 + lane / 4;
        size_t head = (size_t)merge.row * a.heads + (size_t)tile * CUDA_MLA_TILE_HEADS;
        mla_store_columns(a.out + head * CUDA_MLA_LATENT + half * 256 + 8 * i,
                          a.heads - tile * CUDA_MLA_TILE_HEADS, fold.sum, fold.state, row, lane);
    }
}

cudaError_t cuda_mla_merge_run(const cuda_mla_attend *attend, uint32_t blocks, cudaStream_t stream)
{
    cuda_shape shape = {dim3(8 * blocks), dim3(MLA_MERGE_THREADS), 0};
    return cuda_launch(mla_merge_pieces, shape, stream, *attend);
}
