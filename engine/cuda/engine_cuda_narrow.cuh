/* engine_cuda_narrow: what the parts of the narrow kernel (engine_cuda_gemm_narrow.cu) share.
 *
 * A thread block walks through items: one unit of weight rows times at most 64 tokens, over a run of K blocks. Its
 * producers stream the item through a ring of stages, a K block each; its consumers, two warpgroups, sum it up and store
 * what comes out. A stage that begins an item carries the item's description, so that consumers need to know nothing else.
 *
 * Units:
 *     128 rows                       64 rows to a warpgroup
 *     64 rows                        one warpgroup; where there are few rows
 *     64 of gate and 64 of up        bf16, gated: a warpgroup each (`paired`)
 *     128 of gate and 128 of up      e4m3, gated: two tiles a stage (the template argument GATED) */
#ifndef ENGINE_CUDA_NARROW_CUH
#define ENGINE_CUDA_NARROW_CUH

#include "engine_cuda_gemm.cuh"
#include "engine_cuda_ptx.cuh"

enum {
    NARROW_COLUMNS =
        128, /* tokens of an item at most; 64 of groups and if gate and up are two tiles */
    NARROW_CONSUMERS = 8, /* warps at most             */
    NARROW_STAGES = 16,   /* at most                   */
    NARROW_GROUPS = 512,  /* at most                   */
    NARROW_BLOCKS = 160,  /* at most                   */
    NARROW_SLOTS = 640,   /* where blocks leave sums for each other, at most */
    NARROW_SUMS = NARROW_BLOCKS * 2 * NARROW_COLUMNS * CUDA_TILE_ROWS, /* numbers in all slots */
    NARROW_SHARED = 232448 /* bytes of shared memory a block may have on sm_90 */
};

/* Offsets in shared memory. */
struct narrow_layout {
    uint32_t stage_bytes; /* weights, then tokens */
    uint32_t tokens;      /* in a stage           */
    uint32_t stages;
    uint32_t scales; /* [stages][columns] scales of the tokens            */
    uint32_t items;  /* [stages] narrow_item                              */
    uint32_t full;   /* [stages] barriers                                 */
    uint32_t empty;  /* [stages] barriers                                 */
    uint32_t amax;   /* [warps][columns], then [columns] scales           */
    uint32_t gated;  /* outputs of a gated item; paired: the sums of up   */
    uint32_t table;  /* [groups + 1] token tiles of all groups in front   */
    uint32_t note;   /* one word                                          */
    uint32_t bytes;
};

struct narrow_plan {
    cuda_gemm g;
    cuda_groups groups; /* count 0: a plain product */
    uint32_t *counter;
    uint32_t unit_rows; /* 128 or 64: of each of gate and up, if both are in a unit */
    uint32_t units;     /* of a group */
    bool paired;
    uint32_t tile;      /* tokens of an item at most */
    uint32_t tiles;     /* of tokens; of a plain product */
    uint32_t columns;   /* of the widest item, as wgmma takes them */
    uint32_t apart;     /* segments of K that are items of their own */
    uint32_t consumers; /* threads */
    narrow_layout at;
};

struct alignas(16) narrow_item {
    uint32_t group;
    uint32_t unit;
    uint32_t kb, kb_end;
    uint32_t row;         /* first token */
    uint32_t rows;        /* 0: there is nothing more to do */
    uint32_t take, leave; /* 1 + the slot of sums to go on from, to leave sums in; 0: none */
    uint32_t segment;
    uint32_t again; /* other items read the same weights */
    uint32_t spare[2];
};

/* A place in the ring of stages; parity is that of the phase in which it fills. */
struct narrow_ring {
    uint32_t stage, parity;
};

__device__ __forceinline__ void ring_advance(narrow_ring &ring, uint32_t stages)
{
    if (++ring.stage == stages) {
        ring.stage = 0;
        ring.parity ^= 1;
    }
}

__host__ __device__ constexpr uint32_t tiles_of(bool gated)
{
    return gated ? 2 : 1;
}

/* Columns of the smallest product that holds `rows` tokens. */
__host__ __device__ inline uint32_t columns_for(uint32_t rows)
{
    uint32_t step = rows <= 32 ? 8 : rows <= 64 ? 16 : 64;
    return (rows + step - 1) / step * step;
}

/* The same in all lanes, which the compiler must know: it lets no product run on across a branch that lanes might take
 * differently. */
__device__ __forceinline__ uint32_t same(uint32_t v)
{
    return __shfl_sync(0xFFFFFFFFu, v, 0);
}

__device__ __forceinline__ void consumers_sync(const narrow_plan &p)
{
    cuda_named_sync(1, p.consumers);
}

/* Numbers from slot to slot: the widest item's sums. */
__host__ __device__ inline uint32_t slot_numbers(const narrow_plan &p)
{
    return 2 * CUDA_TILE_ROWS * p.columns;
}

/* The first of the unit's blocks of 128 rows, of which there are one or two. */
__device__ __forceinline__ uint32_t first_block(const narrow_plan &p, uint32_t unit,
                                                uint32_t blocks)
{
    return unit * p.unit_rows / CUDA_TILE_ROWS * blocks;
}

#endif
