/* Absorbed attention: scores and values of 64 heads against the latent cache, on Hopper's tensor cores (sm_90a).
 *
 * A thread block holds 64 queries (72 KiB) and two blocks of 64 keys (72 KiB each) in shared memory; the 64 x 512 sums
 * fill the registers of two warpgroups, 256 columns each. Warpgroup 0 computes the scores of the even key blocks,
 * warpgroup 1 those of the odd ones; each multiplies both blocks with its half of the values and reads the other's
 * probabilities from shared memory. So one warpgroup's exponentials run under the other's products. (The schedule is
 * that of FlashMLA's description, "seesaw"; the code is not.) The probabilities lie where the block's rotated slice was:
 * nobody needs it once the scores are there.
 *
 * The running maximum is rounded up to a whole number (of powers of two): every rescaling is then exact, and is left
 * out when the factor is one.
 *
 * Barriers in shared memory: full[2][9] (a slice of the key buffer has come), free_left[2] and free_right[2] (columns
 * 0 .. 255 and 256 .. 511 of it are no longer read, by warpgroup 0 and 1; the slice with the probabilities goes with the
 * half that is read last), query_full, query_free. Named barriers: below. */
#include "engine_cuda_launch.cuh"
#include "engine_cuda_mla_load.cuh"
#include "engine_cuda_mla_tile.cuh"

/* ---- A warpgroup's part ---- */

struct mla_consumer {
    cuda_mla_attend a;
    uint32_t smem;   /* address of the block's shared memory */
    float *maxima;   /* [2][64] */
    float *sums;     /* [2 runs][2][64] */
    float scale;     /* of scores, times log2(e) */
    uint32_t tiles;  /* of 64 heads: blocks of a team */
    uint32_t tile;   /* this block's */
    uint32_t thread; /* 0 .. 255 */
    uint32_t warp;   /* of the warpgroup */
    uint32_t lane;
    uint32_t row; /* first of the thread's two */
    uint32_t
        used[2];   /* how often each key buffer has been filled and used: the parity to wait for */
    uint32_t runs; /* since the launch */
};

__device__ __forceinline__ void mla_rescale_sum(mla_state *state, const mla_pair &factor)
{
    state->l.row[0] *= factor.row[0];
    state->l.row[1] *= factor.row[1];
}

/* Warpgroup 0, the scores of an even block are there: probabilities, and their product with columns 0 .. 255 begins.
 * `p` must stay as it is until that has ended. */
__device__ __forceinline__ void mla_even_own(mla_consumer &c, uint32_t keys, float (&s)[32],
                                             float (&o)[128], mla_state *state, uint32_t (&p)[4][4])
{
    c.used[0]++;
    mla_mask(s, keys, c.lane);
    mla_pair m = mla_maximum(s, c.scale, state->m);
    mla_tell(c.maxima, m, c.row, c.lane);
    cuda_named_arrive(MLA_EVEN_MAX, 256);
    mla_pair factor = mla_factor(state->m, m);
    state->m = m;
    mla_rescale_sum(state, factor);
    mla_exponentials(s, c.scale, m, &state->l, p);
    mla_scale(o, factor);
    mla_values_own<0, 0>(o, p, c.smem);
}

/* The even block's probabilities for warpgroup 1, at the maximum that the odd block made. */
__device__ __forceinline__ void mla_even_share(const mla_consumer &c, const uint32_t (&p)[4][4],
                                               const mla_pair &factor)
{
    uint32_t shared[4][4];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        shared[i / 4][i % 4] = mla_times(p[i / 4][i % 4], factor.row[i % 2]);
    }
    mla_share(c.smem + MLA_AT_KEYS + MLA_PROBABILITIES, shared, c.warp, c.lane);
    cuda_named_arrive(MLA_EVEN_READY, 256);
}

/* Both warpgroups have summed their own blocks' probabilities; the total, the even ones first. */
__device__ __forceinline__ void mla_run_total(mla_consumer &c, mla_state *state)
{
    float *sums = c.sums + (c.runs & 1) * 128;
    mla_pair own;
    own.row[0] = mla_quad_sum(state->l.row[0]);
    own.row[1] = mla_quad_sum(state->l.row[1]);
    mla_tell(sums + c.thread / 128 * 64, own, c.row, c.lane);
    cuda_named_sync(MLA_RUN_END, 256);
    mla_pair even = mla_told(sums, c.row);
    mla_pair odd = mla_told(sums + 64, c.row);
    state->l.row[0] = even.row[0] + odd.row[0];
    state->l.row[1] = even.row[1] + odd.row[1];
    c.runs++;
}

/* Part `index` of the scratch. */
__device__ __forceinline__ float4 *mla_part(const mla_consumer &c, size_t index)
{
    return (float4 *)((uint8_t *)c.a.scratch + index * CUDA_MLA_PART_BYTES);
}

__device__ __forceinline__ float4 *mla_slot(const mla_consumer &c, uint32_t slot)
{
    return mla_part(c, (size_t)slot * c.tiles + c.tile);
}

/* Where the block keeps what it has folded of a node of the tree, by level. */
__device__ __forceinline__ float4 *mla_own_part(const mla_consumer &c, uint32_t level)
{
    return mla_part(c, CUDA_MLA_SLOTS + (size_t)blockIdx.x * CUDA_MLA_LEVELS + level);
}

/* Which child of its node is run (or node) `index` of a level? */
__device__ __forceinline__ uint32_t mla_child(uint32_t index, uint32_t level)
{
    return index >> CUDA_MLA_FOLD_BITS * level & (CUDA_MLA_FOLD - 1);
}

__device__ __forceinline__ void mla_clear(float (&o)[128], mla_state *state)
{
#pragma unroll
    for (int i = 0; i < 128; i++) {
        o[i] = 0;
    }
    *state = {{{-INFINITY, -INFINITY}}, {{0, 0}}};
}

/* Run `index` (of the item) has ended and another follows: it is folded into its node; a node that is complete, into the
 * one above. */
__device__ __forceinline__ void mla_run_keep(mla_consumer &c, const cuda_mla_item &item,
                                             uint32_t index, float (&o)[128], mla_state *state)
{
    mla_run_total(c, state);
    uint32_t level = 0;
    for (; item.apart == 0; level++) {
        uint32_t child = mla_child(index, level);
        if (child != 0) {
            mla_merge_from(mla_own_part(c, level), o, state, c.thread);
        }
        if (child != CUDA_MLA_FOLD - 1) {
            break;
        }
    }
    float4 *to = item.apart != 0 ? mla_slot(c, item.slot) : mla_own_part(c, level);
    mla_store_part(to, o, *state, c.thread);
    mla_clear(o, state);
}

/* The item's last run: all that is left of the tree is folded, and the result is a piece or the row's. */
__device__ __forceinline__ void mla_item_end(mla_consumer &c, const cuda_mla_item &item,
                                             float (&o)[128], mla_state *state)
{
    mla_run_total(c, state);
    uint32_t index = item.apart != 0 ? 0 : item.runs - 1;
    for (uint32_t level = 0; index >> CUDA_MLA_FOLD_BITS * level != 0; level++) {
        if (mla_child(index, level) != 0) {
            mla_merge_from(mla_own_part(c, level), o, state, c.thread);
        }
    }
    if (item.slot != CUDA_MLA_WHOLE) {
        mla_store_part(mla_slot(c, item.slot + item.apart), o, *state, c.thread);
    } else {
        size_t head = (size_t)item.row * c.a.heads + (size_t)c.tile * CUDA_MLA_TILE_HEADS;
        mla_store_out(c.a.out + head * CUDA_MLA_LATENT, c.a.heads - c.tile * CUDA_MLA_TILE_HEADS, o,
                      *state, c.row, c.thread / 128 * 256, c.lane);
    }
}

/* Warpgroup 0: scores of the even blocks, columns 0 .. 255. The scores of the next pair are under way while a run is
 * put away. */
__device__ __forceinline__ void mla_item_even(mla_consumer &c, const cuda_mla_item &item,
                                              const mla_span &span, float (&o)[128],
                                              mla_state *state)
{
    float s[32];
    uint32_t p[4][4];
    uint32_t block = span.block;
    uint32_t run = 0;
    mla_scores<0, 0, 9>(s, c.smem, c.used[0] & 1);
    if (block + 1 < span.end) {
        cuda_named_arrive(MLA_EVEN_SCORES, 256);
    }
    while (block + 1 < span.end) {
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(s);
        cuda_wgmma_hold(o);
        mla_even_own(c, item.length - block * MLA_KEYS, s, o, state, p);
        cuda_named_sync(MLA_ODD_READY, 256);
        mla_pair m = mla_told(c.maxima + 64, c.row);
        mla_pair factor = mla_factor(state->m, m);
        state->m = m;
        mla_even_share(c, p, factor);
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(o);
        mla_release(c.smem + MLA_FREE_LEFT + 8 * 0, c.lane);
        mla_rescale_sum(state, factor);
        mla_scale(o, factor);
        mla_values_other<1, 0>(o, c.smem);
        block += 2;
        if (block >= span.end) {
            cuda_wgmma_wait<0>();
            cuda_wgmma_hold(o);
            mla_release(c.smem + MLA_FREE_LEFT + 8 * 1, c.lane);
            return;
        }
        mla_scores<0, 0, 1>(s, c.smem, c.used[0] & 1);
        cuda_wgmma_wait<1>();
        mla_release(c.smem + MLA_FREE_LEFT + 8 * 1, c.lane);
        mla_scores<0, 1, 9>(s, c.smem, c.used[0] & 1);
        if (block + 1 < span.end) {
            cuda_named_arrive(MLA_EVEN_SCORES, 256);
        }
        if (block % span.run == 0) {
            cuda_wgmma_hold(o);
            mla_run_keep(c, item, run++, o, state);
        }
    }
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(s);
    cuda_wgmma_hold(o);
    mla_even_own(c, item.length - block * MLA_KEYS, s, o, state, p);
    mla_even_share(c, p, {{1.0F, 1.0F}});
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(o);
    mla_release(c.smem + MLA_FREE_LEFT + 8 * 0, c.lane);
}

/* An even block that is the last of the row and alone. */
__device__ __forceinline__ void mla_odd_lone(mla_consumer &c, float (&o)[128], mla_state *state)
{
    cuda_named_sync(MLA_EVEN_MAX, 256);
    mla_pair m = mla_told(c.maxima, c.row);
    mla_pair factor = mla_factor(state->m, m);
    state->m = m;
    mla_rescale_sum(state, factor);
    mla_scale(o, factor);
    cuda_named_sync(MLA_EVEN_READY, 256);
    mla_values_other<0, 1>(o, c.smem);
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(o);
    mla_release(c.smem + MLA_FREE_RIGHT + 8 * 0, c.lane);
}

/* The half that comes first, then the rest, but not in front of the even block's scores: warpgroup 0 then has its
 * exponentials to do while the tensor cores are busy with these. */
__device__ __forceinline__ void mla_odd_scores(const mla_consumer &c, float (&s)[32])
{
    mla_scores<1, 0, 4>(s, c.smem, c.used[1] & 1);
    cuda_named_sync(MLA_EVEN_SCORES, 256);
    mla_scores<1, 4, 9>(s, c.smem, c.used[1] & 1);
}

/* Warpgroup 1: scores of the odd blocks, columns 256 .. 511. */
__device__ __forceinline__ void mla_item_odd(mla_consumer &c, const cuda_mla_item &item,
                                             const mla_span &span, float (&o)[128],
                                             mla_state *state)
{
    uint32_t block = span.block;
    uint32_t run = 0;
    if (block + 1 == span.end) {
        mla_odd_lone(c, o, state);
        return;
    }
    float s[32];
    mla_odd_scores(c, s);
    for (;;) {
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(s);
        c.used[1]++;
        mla_mask(s, item.length - (block + 1) * MLA_KEYS, c.lane);
        mla_pair mine = mla_maximum(s, c.scale, state->m);
        cuda_named_sync(MLA_EVEN_MAX, 256);
        mla_pair m = mla_told(c.maxima, c.row);
        m.row[0] = fmaxf(m.row[0], mine.row[0]);
        m.row[1] = fmaxf(m.row[1], mine.row[1]);
        mla_tell(c.maxima + 64, m, c.row, c.lane);
        mla_pair factor = mla_factor(state->m, m);
        state->m = m;
        mla_rescale_sum(state, factor);
        uint32_t p[4][4];
        mla_exponentials(s, c.scale, m, &state->l, p);
        mla_share(c.smem + MLA_AT_KEYS + CUDA_MLA_PAGE_BYTES + MLA_PROBABILITIES, p, c.warp,
                  c.lane);
        cuda_named_arrive(MLA_ODD_READY, 256);
        mla_scale(o, factor);
        mla_values_own<1, 1>(o, p, c.smem);
        cuda_named_sync(MLA_EVEN_READY, 256);
        mla_values_other<0, 1>(o, c.smem);
        cuda_wgmma_wait<1>();
        mla_release(c.smem + MLA_FREE_RIGHT + 8 * 1, c.lane);
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(o);
        mla_release(c.smem + MLA_FREE_RIGHT + 8 * 0, c.lane);
        block += 2;
        if (block + 1 >= span.end) {
            break;
        }
        mla_odd_scores(c, s);
        if (block % span.run == 0) {
            mla_run_keep(c, item, run++, o, state);
        }
    }
    if (block < span.end) {
        if (block % span.run == 0) {
            mla_run_keep(c, item, run, o, state);
        }
        mla_odd_lone(c, o, state);
    }
}

template <int GROUP> __device__ __forceinline__ void mla_consume(mla_consumer &c)
{
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)c.a.plan;
    const cuda_mla_item *items = cuda_mla_items(c.a.plan);
    uint32_t team = blockIdx.x / c.tiles;
    uint32_t end = plan->begin[team + 1];
    uint32_t parity = 0;
    for (uint32_t i = plan->begin[team]; i < end; i++) {
        cuda_mla_item item = items[i];
        mla_span span = mla_item_span(item);
        cuda_barrier_wait(c.smem + MLA_QUERY_FULL, parity);
        parity ^= 1;
        float o[128];
        mla_state state;
        mla_clear(o, &state);
        if (GROUP == 0) {
            mla_item_even(c, item, span, o, &state);
        } else {
            mla_item_odd(c, item, span, o, &state);
        }
        mla_release(c.smem + MLA_QUERY_FREE, c.lane);
        mla_item_end(c, item, o, &state);
    }
}

/* Grid: a plan's teams, each of as many blocks as there are tiles of 64 heads. They read the same keys at about the same
 * time, the second from L2. */
__global__ void __launch_bounds__(MLA_BLOCK_THREADS, 1) mla_attend(cuda_mla_attend a)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t smem = cuda_smem(shared);
    uint32_t tiles = cuda_mla_tiles(a.heads);
    uint32_t tile = blockIdx.x % tiles;
    if (threadIdx.x == 0) {
        mla_barriers_init(smem);
    }
    __syncthreads();
    cuda_chain_release();
    cuda_chain_wait();
    uint32_t group = threadIdx.x / 128;
    if (group == 2) {
        cuda_registers_give<40>();
        mla_loader l = {a, smem, tiles, tile, threadIdx.x / 32 % 4, threadIdx.x % 32, 0};
        mla_load(l);
    } else {
        cuda_registers_take<232>();
        uint32_t warp = threadIdx.x / 32 % 4;
        uint32_t lane = threadIdx.x % 32;
        mla_consumer c = {a,
                          smem,
                          (float *)(shared + MLA_AT_MAX),
                          (float *)(shared + MLA_AT_SUM),
                          a.scale * 1.4426950408889634F,
                          tiles,
                          tile,
                          threadIdx.x,
                          warp,
                          lane,
                          16 * warp + lane / 4,
                          {0, 0},
                          0};
        if (group == 0) {
            mla_consume<0>(c);
        } else {
            mla_consume<1>(c);
        }
    }
}

/* ---- Launches ---- */

size_t cuda_mla_scratch_bytes(uint32_t blocks)
{
    blocks = blocks < CUDA_MLA_BLOCKS ? blocks : (uint32_t)CUDA_MLA_BLOCKS;
    return (size_t)CUDA_MLA_PART_BYTES * (CUDA_MLA_SLOTS + (size_t)blocks * CUDA_MLA_LEVELS);
}

cudaError_t cuda_mla_prepare(void)
{
    cudaError_t status =
        cudaFuncSetAttribute(mla_attend, cudaFuncAttributeMaxDynamicSharedMemorySize, MLA_SHARED);
    return status == cudaSuccess ? cuda_mla_head_prepare() : status;
}

cudaError_t cuda_mla_attend_run(const cuda_mla_attend *attend, cudaStream_t stream)
{
    uint32_t blocks = cuda_mla_teams(attend->blocks, attend->heads) * cuda_mla_tiles(attend->heads);
    cuda_shape shape = {dim3(blocks), dim3(MLA_BLOCK_THREADS), MLA_SHARED};
    cudaError_t status = cuda_launch(mla_attend, shape, stream, *attend);
    if (status != cudaSuccess) {
        return status;
    }
    return cuda_mla_merge_run(attend, blocks, stream);
}
