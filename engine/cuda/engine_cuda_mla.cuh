/* engine_cuda_mla: multi-head latent attention on Hopper (sm_90a): absorbed attention over the paged cache, and the two
 * products around it that take queries into the latent space (absorb) and its results out of it (up).
 *
 *     absorb  q [row][head][192]         -> queries (layout below): 128 numbers times W_UK[head], 64 rotated
 *     attend  queries, cache             -> latent [row][head][512]
 *     up      latent                     -> cuda_rows, input of the o projection: W_UV[head] times latent
 *
 * All arrays are device memory, borrowed, unless a comment says host. Launches are asynchronous, chained
 * (engine_cuda_launch.cuh) and can be captured; an error is that of the launch. bf16 operands, float32 sums.
 *
 * Cache. A page is 64 tokens x 576 bf16 of one layer (latent 512, then the rotated 64), 73,728 bytes, 1 KiB aligned. It
 * is cut into 9 slices of 64 columns; a slice is 64 rows (tokens) of 128 bytes in the 128-byte swizzle, so that it is an
 * operand of wgmma as it lies: cuda_mla_cache_offset(). 8 columns that start at a multiple of 8 are 16 adjacent bytes.
 * A number may be left over from an earlier use of the page, but must be finite: clear the pool once.
 * Queries. A row has one such 73,728-byte tile for each 64 heads, the heads as its rows: cuda_mla_query_offset(). Heads
 * past the last of a tile must be finite: clear the buffer once.
 *
 * Order of sums (batch invariance). The keys of a row (0 .. length - 1) are cut into runs of cuda_mla_run(length) keys;
 * a run is reduced key block by key block (64), from nothing. Runs are folded in fours, from the left, the results of
 * these again in fours, and once more. The run and the tree depend on the length only, so neither the batch nor the plan
 * below can change a bit of the result. */
#ifndef ENGINE_CUDA_MLA_CUH
#define ENGINE_CUDA_MLA_CUH

#include "engine_cuda_matrix.cuh"

#include <cuda_bf16.h>
#include <cuda_runtime.h>

enum {
    CUDA_MLA_LATENT = 512,
    CUDA_MLA_ROPE = 64,
    CUDA_MLA_WIDTH = 576, /* numbers a cached token has */
    CUDA_MLA_NOPE = 128,
    CUDA_MLA_VALUE = 128,
    CUDA_MLA_PAGE_TOKENS = 64,
    CUDA_MLA_TILE_HEADS = 64,
    CUDA_MLA_SLICES = 9,
    CUDA_MLA_SLICE_BYTES = 8192, /* 64 rows x 128 bytes */
    CUDA_MLA_PAGE_BYTES = CUDA_MLA_SLICES * CUDA_MLA_SLICE_BYTES,
    CUDA_MLA_RUN = 1024, /* shortest run, keys                               */
    CUDA_MLA_RUNS = 64,  /* a row has at most: past 65,536 keys the runs grow */
    CUDA_MLA_SLOTS =
        512, /* parts of rows that one attend() may leave to merge, times tiles of heads */
    CUDA_MLA_BLOCKS = 160 /* most thread blocks that a plan is made for */
};

/* Bytes from the beginning of a page to number `column` (0 .. 575) of the token in slot `slot` (0 .. 63). */
__host__ __device__ inline uint32_t cuda_mla_cache_offset(uint32_t slot, uint32_t column)
{
    return (column / 64) * CUDA_MLA_SLICE_BYTES + cuda_swizzle(slot, (column % 64) / 8) +
           (column % 8) * 2;
}

__host__ __device__ inline uint32_t cuda_mla_tiles(uint32_t heads)
{
    return (heads + CUDA_MLA_TILE_HEADS - 1) / CUDA_MLA_TILE_HEADS;
}

/* Bytes from the beginning of the queries; a buffer for n rows is cuda_mla_query_offset(n, 0, heads, 0) bytes. */
__host__ __device__ inline size_t cuda_mla_query_offset(uint32_t row, uint32_t head, uint32_t heads,
                                                        uint32_t column)
{
    size_t tile = (size_t)row * cuda_mla_tiles(heads) + head / CUDA_MLA_TILE_HEADS;
    return tile * CUDA_MLA_PAGE_BYTES + cuda_mla_cache_offset(head % CUDA_MLA_TILE_HEADS, column);
}

/* Keys of a run: a power of two, at least CUDA_MLA_RUN, so that a row has at most CUDA_MLA_RUNS of them. */
__host__ __device__ inline uint32_t cuda_mla_run(uint32_t length)
{
    uint32_t run = CUDA_MLA_RUN;
    while ((uint64_t)run * CUDA_MLA_RUNS < length) {
        run *= 2;
    }
    return run;
}

/* ---- Attention ---- */

/* Who computes what. The host knows all lengths; it writes a plan (host memory, pinned or not; the same bytes are then
 * copied to the device, in front of attend()). Its size depends on rows_max only, so the copy and the launches can be
 * replayed from a graph while lengths and pages change. */
size_t cuda_mla_plan_bytes(uint32_t rows_max, uint32_t heads);

/* sequence[i], length[i] (host): row i belongs to row sequence[i] of the page table and attends to keys 0 ..
 * length[i] - 1, length >= 1. blocks: streaming multiprocessors of the device (clipped to CUDA_MLA_BLOCKS). The plan is
 * the same for all layers. Returns the parts that are left to merge. */
uint32_t cuda_mla_plan(void *plan, const uint32_t *sequence, const uint32_t *length, uint32_t rows,
                       uint32_t heads, uint32_t blocks);

/* The same with no row cut into pieces of more than `piece` runs (1, 2, 4, 16 or 64): for tests and benchmarks. */
uint32_t cuda_mla_plan_pieces(void *plan, const uint32_t *sequence, const uint32_t *length,
                              uint32_t rows, uint32_t heads, uint32_t blocks, uint32_t piece);

/* Device bytes that attend() needs to work in, whatever the batch. */
size_t cuda_mla_scratch_bytes(uint32_t blocks);

struct cuda_mla_attend {
    const uint8_t *queries; /* 1 KiB aligned */
    const uint8_t *cache;   /* the layer's pages, 1 KiB aligned */
    const uint32_t *pages;  /* page table: [sequence][page_stride] page numbers */
    uint32_t page_stride;
    uint32_t heads;     /* a multiple of 16, 16 .. 128 */
    uint32_t blocks;    /* as the plan was made for */
    float scale;        /* of the scores */
    const void *plan;   /* device copy, 16-byte aligned */
    void *scratch;      /* 1 KiB aligned */
    __nv_bfloat16 *out; /* [row][heads][512] */
};

/* Raises the limits on shared memory of the kernels; once for each device, before the first launch. */
cudaError_t cuda_mla_prepare(void);

cudaError_t cuda_mla_attend_run(const cuda_mla_attend *attend, cudaStream_t stream);

/* ---- The products around it ---- */

/* kv_b of one layer. data: heads x cuda_mla_head_bytes(type), made by cuda_mla_pack_head(); e4m3: scale is the
 * checkpoint's grid as it is, [2 * heads][4] (rows 2 h: W_UK, 2 h + 1: W_UV); bf16: NULL. */
struct cuda_mla_weight {
    const uint8_t *data;
    const float *scale;
    cuda_type type;
    uint32_t heads;
};

size_t cuda_mla_head_bytes(cuda_type type);

/* Host: `from` is the head's 256 rows of kv_b (128 of W_UK, 128 of W_UV) of 512 numbers, row-major, e4m3 or bf16 by
 * `type`; `to`: cuda_mla_head_bytes(type) bytes. Only the order changes. */
void cuda_mla_pack_head(void *to, const void *from, cuda_type type);

/* queries[..][0 .. 511] = bf16(scale * sum over k ascending of q[k] W_UK[k][c]); queries[..][512 ..] = bf16(rotated q). */
struct cuda_mla_absorb {
    cuda_mla_weight w;
    uint32_t rows; /* >= 1 */
    const __nv_bfloat16 *
        q; /* [row][w.heads][192]: 128, then 64 to be rotated as pairs (2 j, 2 j + 1); 16-byte aligned */
    const float2 *rotation; /* [row][32]: cosine, sine of pair j at the row's position */
    uint8_t *queries;
};

cudaError_t cuda_mla_absorb_run(const cuda_mla_absorb *absorb, cudaStream_t stream);

/* out[row][head * 128 + v] = sum of latent[c] W_UV[v][c]: float32, then rounded: out.type e4m3, one scale for a row and
 * head (amax / 448, amax at least 1e-4, true division), or bf16. out.cols = w.heads * 128. */
struct cuda_mla_up {
    cuda_mla_weight w;
    uint32_t rows;
    const __nv_bfloat16 *latent; /* [row][w.heads][512], 16-byte aligned */
    cuda_rows out;
};

cudaError_t cuda_mla_up_run(const cuda_mla_up *up, cudaStream_t stream);

#endif
