/* engine_cuda_attention: paged attention of llama models (MHA or GQA) on Hopper (sm_90a), with the rotation of queries
 * and keys in front of it.
 *
 * Cache: bf16, for each layer one plane of keys and one of values, plane = [page][kv_head][64 tokens x head_dim]. The
 * 64 tokens of a page of one head are one contiguous run of cuda_kv_head_bytes() bytes (16 KiB for head_dim 128) that a
 * single bulk copy brings to shared memory as wgmma wants it: for each 64 dimensions 64 rows (tokens) of 128 bytes in the
 * 128-byte swizzle. cuda_kv_offset() says where a number is. All of it must hold finite numbers (clear it once, at
 * allocation): masked keys count as exact zeros, and 0 x infinity is none.
 *
 * Bits of a row depend on its own tokens only. Keys are taken in pages of 64, in ascending order, within runs of 256
 * absolute positions; each run gives (o, m, l), and the runs are merged from the left, one after the other. Merging from
 * the left is the same arithmetic wherever it happens, so a work item may take any number of runs: if it starts at run 0
 * it merges them in registers and hands on one state, else it hands on one state a run. Which rows share an item (the
 * query heads of a KV head, the tokens of a chunk, sequences with the same prefix pages) does not matter: the rows of
 * wgmma's tile do not touch each other.
 *
 * A step:
 *     host    cuda_attention_plan(...) fills `host`; plan.used bytes of it are copied to the device, once for all layers,
 *             by cudaMemcpyAsync() in the stream of the kernels, after any cuda_kv_copy_page() and before the step's
 *             first kernel: cuda_attention_run() reads the plan, and pages that the batch does not write, before the kernel
 *             in front of it has ended
 *     layer   cuda_rope_write_run() qkv -> q (bf16), keys and values in the cache
 *             cuda_attention_run() q, cache -> out (cuda_rows, ready for the o projection)
 * Launches are asynchronous, chained (engine_cuda_launch.cuh) and can be captured: grids depend on the limits and on
 * `rows` only; what there is to do is read from the plan on the device. Threads: no state but the device's. */
#ifndef ENGINE_CUDA_ATTENTION_CUH
#define ENGINE_CUDA_ATTENTION_CUH

#include "engine_backend.h"
#include "engine_cuda_matrix.cuh"

#include <cuda_runtime.h>

enum {
    CUDA_KV_PAGE_TOKENS = 64,
    CUDA_RUN_PAGES = 4, /* a run: 256 absolute positions. Part of the definition of a row's bits */
    CUDA_RUN_TOKENS = CUDA_RUN_PAGES * CUDA_KV_PAGE_TOKENS
};

/* ---- The cache ---- */

/* Bytes of one page of one head, of keys or of values. */
__host__ __device__ inline uint32_t cuda_kv_head_bytes(uint32_t head_dim)
{
    return CUDA_KV_PAGE_TOKENS * head_dim * 2;
}

/* Byte offset, in the plane, of one page of one head. */
__host__ __device__ inline size_t cuda_kv_page_offset(uint32_t page, uint32_t kv_head,
                                                      uint32_t kv_heads, uint32_t head_dim)
{
    return ((size_t)page * kv_heads + kv_head) * cuda_kv_head_bytes(head_dim);
}

/* Byte offset, in there, of dimensions 8 * chunk .. 8 * chunk + 7 (16 bytes) of the token in slot 0 .. 63. The same for
 * keys and values. The tokens 0 .. n - 1 are head_dim / 64 runs of 128 n bytes, 8 KiB apart. */
__host__ __device__ inline uint32_t cuda_kv_offset(uint32_t slot, uint32_t chunk)
{
    return (chunk / 8) * (CUDA_KV_PAGE_TOKENS * CUDA_BLOCK_BYTES) + cuda_swizzle(slot, chunk % 8);
}

/* Copies the first `tokens` (0 .. 64) of page `from` to page `to` in `planes` planes, `plane_bytes` apart. */
cudaError_t cuda_kv_copy_page(uint8_t *planes_base, size_t plane_bytes, uint32_t planes,
                              uint32_t kv_heads, uint32_t head_dim, uint32_t to, uint32_t from,
                              uint32_t tokens, cudaStream_t stream);

/* ---- Shapes and limits ---- */

struct cuda_attention_shape {
    uint32_t heads; /* of queries */
    uint32_t kv_heads;
    uint32_t head_dim;
};

/* Does this file serve the shape with that output? head_dim 64 or 128, heads a multiple of kv_heads, at most 64 query
 * heads for a KV head; e4m3 output needs head_dim 128. Else the generic path must. Says nothing of the device, which must
 * be sm_90. */
bool cuda_attention_supported(const cuda_attention_shape *shape, cuda_type out);

struct cuda_attention_limits {
    /* Of a batch, padding included. */
    uint32_t max_rows;

    /* Entries of a batch's page tables: the sum over its sequences of ceil((start + rows) / 64). */
    uint32_t max_pages;

    /* States that may wait for the merge. max_rows * (max_positions / 256 + 1) are always enough; with fewer (0 is
     * allowed) a batch that needs more is cut less, and if that does not help, its common prefixes are not shared. */
    uint32_t max_slots;
};

/* Bytes of the plan (host and device, 16-aligned) and of the states (device, 256-aligned). */
size_t cuda_attention_plan_bytes(const cuda_attention_limits *limits);
size_t cuda_attention_state_bytes(const cuda_attention_limits *limits,
                                  const cuda_attention_shape *shape);

/* ---- The plan ---- */

struct cuda_attention_plan_result {
    size_t used;       /* bytes of `host` to copy to the same place of the device's plan */
    uint32_t wide;     /* work items of 65 .. 128 query rows (times kv_heads)             */
    uint32_t narrow;   /* of 1 .. 64                                                      */
    uint32_t slots;    /* states for the merge                                            */
    uint32_t kv_pages; /* pages read, one head of one layer, keys and values counted once */
};

/* Cuts a batch into work items. Row i of the batch is that of engine_batch: sequence after sequence; rows past the last
 * sequence's, up to padded_rows (<= max_rows), get no work and their outputs are not touched. Sequences that begin with
 * the same pages are served together, as far as whole runs reach. `host`: cuda_attention_plan_bytes() bytes, best page-
 * locked. `processors`: streaming multiprocessors of the device; how work is cut depends on it, the bits do not.
 * False: the batch is over the limits. Pure host code (allocates scratch). */
bool cuda_attention_plan(cuda_attention_plan_result *out, void *host,
                         const cuda_attention_limits *limits, const cuda_attention_shape *shape,
                         const engine_batch_seq *seqs, uint32_t seq_count, uint32_t padded_rows,
                         uint32_t processors);

/* ---- Kernels ---- */

struct cuda_rope_write { /* device memory, borrowed */
    cuda_attention_shape shape;
    uint32_t rows;
    const void *qkv;  /* [rows][(heads + 2 * kv_heads) * head_dim]: q, k, v; biases added     */
    bool qkv_f32;     /* float32, else bf16                                                   */
    const float *cos; /* [rows][head_dim / 2]; dimensions j and j + head_dim / 2 are a pair   */
    const float *sin;
    const uint32_t *page; /* [rows]: where key and value go; padding rows: the spare page        */
    const uint32_t *slot; /* [rows]: 0 .. 63                                                     */
    void *q;              /* out, bf16 [rows][heads][head_dim], rotated                          */
    uint8_t *keys;        /* the layer's planes                                                  */
    uint8_t *values;
};

/* Rotates queries and keys, writes keys and values to their slots. rows >= 1. */
cudaError_t cuda_rope_write_run(const cuda_rope_write *op, cudaStream_t stream);

struct cuda_attention { /* device memory, borrowed */
    cuda_attention_shape shape;
    uint32_t rows;       /* padded_rows of the plan                       */
    float scale;         /* of the scores; > 0; mostly 1 / sqrt(head_dim) */
    const void *q;       /* bf16 [rows][heads][head_dim]                  */
    const uint8_t *keys; /* the layer's planes                            */
    const uint8_t *values;
    const void *plan; /* cuda_attention_plan_bytes()                   */

    /* cuda_attention_state_bytes(); the first 256 bytes zero before the first launch, which every launch leaves so. */
    void *states;

    /* cols = heads * head_dim. bf16, or e4m3 with a scale a head (amax / 448, amax at least 1e-4, true division). */
    cuda_rows out;
};

/* Raises the kernels' limits on shared memory; call once for each device before the first launch. */
cudaError_t cuda_attention_prepare(void);

/* Attention of all rows of the plan, two launches. `processors` as in the plan. */
cudaError_t cuda_attention_run(const cuda_attention *op, uint32_t processors, cudaStream_t stream);

#endif
