/* engine_cuda_mla_plan: what a plan holds; between the host function that writes it and the kernels that follow it. */
#ifndef ENGINE_CUDA_MLA_PLAN_CUH
#define ENGINE_CUDA_MLA_PLAN_CUH

#include "engine_cuda_mla.cuh"

enum {
    CUDA_MLA_THREADS = 256, /* that hold results: two warpgroups */
    CUDA_MLA_PART_BYTES =
        33 * 16 *
        CUDA_MLA_THREADS, /* a partial result of 64 heads: 128 sums, 2 x (m, l) a thread */
    CUDA_MLA_LEVELS = 6   /* of the tree of runs below its root: log2(CUDA_MLA_RUNS) */
};

const uint32_t CUDA_MLA_FINAL = 0xFFFFFFFFu;

/* A team: thread blocks that compute the tiles of 64 heads of the same rows. A plan speaks of teams. */
__host__ __device__ inline uint32_t cuda_mla_teams(uint32_t blocks, uint32_t heads)
{
    blocks = blocks < CUDA_MLA_BLOCKS ? blocks : (uint32_t)CUDA_MLA_BLOCKS;
    return blocks / cuda_mla_tiles(heads);
}

/* Runs `run` .. run + runs - 1 of a row, for one team. `run` is a multiple of the piece's size (a power of two), so
 * that its result is a subtree of the row's tree. */
struct cuda_mla_item {
    uint32_t row;
    uint32_t sequence;
    uint32_t length;
    uint32_t run;
    uint32_t runs;
    uint32_t keys; /* of a run */
    uint32_t
        slot; /* where the partial result goes, slot * tiles + tile; CUDA_MLA_FINAL: it is the row's result */
    uint32_t unused;
};

/* Slots slot .. slot + parts - 1 make the result of a row. */
struct cuda_mla_merge {
    uint32_t row;
    uint32_t slot;
    uint32_t parts;
    uint32_t unused;
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

/* cuda_mla_prepare()'s part for the products around attention. */
cudaError_t cuda_mla_head_prepare(void);

#endif
