/* engine_cuda_mla_plan: what a plan holds; between the host function that writes it and the kernels that follow it. */
#ifndef ENGINE_CUDA_MLA_PLAN_CUH
#define ENGINE_CUDA_MLA_PLAN_CUH

#include "engine_cuda_mla.cuh"

enum {
    CUDA_MLA_THREADS = 256, /* that hold results: two warpgroups */
    CUDA_MLA_PART_BYTES =
        33 * 16 *
        CUDA_MLA_THREADS,   /* a partial result of 64 heads: 128 sums, 2 x (m, l) a thread */
    CUDA_MLA_FOLD = 4,      /* parts that are folded into one, at each level              */
    CUDA_MLA_FOLD_BITS = 2, /* log2                                                       */
    CUDA_MLA_LEVELS = 3     /* CUDA_MLA_FOLD ^ CUDA_MLA_LEVELS = CUDA_MLA_RUNS            */
};

const uint32_t CUDA_MLA_WHOLE =
    0xFFFFFFFFu; /* a slot: there are no others, the result is the row's */

/* A team: thread blocks that compute the tiles of 64 heads of the same rows. A plan speaks of teams. */
__host__ __device__ inline uint32_t cuda_mla_teams(uint32_t blocks, uint32_t heads)
{
    blocks = blocks < CUDA_MLA_BLOCKS ? blocks : (uint32_t)CUDA_MLA_BLOCKS;
    return blocks / cuda_mla_tiles(heads);
}

/* A piece of a row, for one team: runs `run` .. run + runs - 1. They are what one node of the row's tree holds (1, 4, 16,
 * 64 runs, the row's last may have fewer), or two runs. Two that begin a node are folded, as they are in the whole; two
 * that end it are `apart`: their results are left in `slot` and the one after it. */
struct cuda_mla_item {
    uint32_t row;
    uint32_t sequence;
    uint32_t length;
    uint32_t run;
    uint32_t runs;
    uint32_t keys;  /* of a run */
    uint32_t slot;  /* where the result goes: part slot * tiles + tile. Or CUDA_MLA_WHOLE */
    uint32_t apart; /* 0 or 1 */
};

/* Slots slot .. slot + parts - 1 make the result of a row. */
struct cuda_mla_merge {
    uint32_t row;
    uint32_t slot;
    uint32_t parts;
    uint32_t group; /* parts that make a node: 4, or 3 where the first stands for two */
};

struct cuda_mla_plan_head {
    uint32_t merges;
    uint32_t unused[3];
    uint32_t begin[CUDA_MLA_BLOCKS + 4]; /* team b works off items begin[b] .. begin[b + 1] - 1 */
    cuda_mla_merge merge[CUDA_MLA_SLOTS / 2];
};

__host__ __device__ inline const cuda_mla_item *cuda_mla_items(const void *plan)
{
    return (const cuda_mla_item *)((const uint8_t *)plan + sizeof(cuda_mla_plan_head));
}

/* The parts of all rows that were cut; attention on `blocks` thread blocks lies in front of it in the stream. */
cudaError_t cuda_mla_merge_run(const cuda_mla_attend *attend, uint32_t blocks, cudaStream_t stream);

/* cuda_mla_prepare()'s part for the products around attention. */
cudaError_t cuda_mla_head_prepare(void);

#endif
