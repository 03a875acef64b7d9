/* engine_cuda_pointwise: what a step does to one row at a time, on Hopper (sm_90a): embedding, norms, the latents of MLA,
 * activation, and the sum of a row's experts.
 *
 * All arrays are device memory, borrowed, 16-byte aligned, row-major unless a comment says otherwise; numbers of columns
 * and leading dimensions are multiples of 4. Launches are asynchronous, chained (engine_cuda_launch.cuh) and can be
 * captured; an error is that of the launch. rows >= 1.
 *
 * Batch invariance: a row is reduced in one order whatever the batch. Blocks of 128 columns are what a warp reduces (lane
 * l has columns 4 l .. 4 l + 3; then a tree over lanes); the sums of blocks l, l + 32, ... are added in that order, then a
 * tree over l. Norms are float32 throughout, as those of engine/cpu: x * (1 / sqrt(mean + eps)) * weight, not rounded to
 * bf16 in between.
 *
 * Where the output is cuda_rows, columns between `cols` and the end of the last K block are written as zeros. e4m3: one
 * scale for 128 columns (engine_cuda_epilogue.cuh). */
#ifndef ENGINE_CUDA_POINTWISE_CUH
#define ENGINE_CUDA_POINTWISE_CUH

#include "engine_backend.h"
#include "engine_cuda_matrix.cuh"

#include <cuda_bf16.h>
#include <cuda_runtime.h>

/* ---- Embedding ---- */

enum cuda_number { CUDA_NUMBER_BF16, CUDA_NUMBER_F16, CUDA_NUMBER_F32 };

struct cuda_embed {
    const void *table; /* [vocab][cols] */
    cuda_number type;
    uint32_t cols;
    uint32_t rows;
    const uint32_t *token; /* [rows]: ids, or ENGINE_TOKEN_FROM_ROW(i): the token of drawn[i]    */
    const engine_drawn
        *drawn; /* NULL: there are only ids                                           */
    float *h;   /* out: [rows][cols]                                                  */
};

cudaError_t cuda_embed_run(const cuda_embed *op, cudaStream_t stream);

/* ---- The sum of a row's experts ---- */

/* h[row] += the sum of weights[row][i] * out[place[row][i]], i ascending (fma, from zero), + the shared expert's row,
 * place[row][per_token], if there is one. Rows past *active are not touched. */
struct cuda_mix {
    const void *out; /* of the experts' down projections: [gathered row][cols] */
    bool out_bf16;   /* else float32                                           */
    uint32_t cols;
    uint32_t rows;
    uint32_t per_token;
    bool shared;            /* a row has one place more: the shared expert          */
    const float *weights;   /* [rows][per_token]                                    */
    const uint32_t *place;  /* [rows][per_token + shared]                           */
    const uint32_t *active; /* one word; NULL: all rows                             */
    float *h;               /* [rows][cols]                                         */
    const uint32_t *range;  /* of all places those from range[0] on, ...; NULL: all */
    uint32_t range_end;     /* ... and below range[range_end]                       */
};

cudaError_t cuda_mix_run(const cuda_mix *op, cudaStream_t stream);

/* ---- The parts that several GPUs made ---- */

/* h += ((part 0 + part 1) + part 2) + ..., float32 */
struct cuda_parts {
    const float *at; /* rank r's [rows][cols] at at + r * step */
    size_t step;     /* a multiple of 4 */
    uint32_t ranks;
    uint32_t cols;
    float *h; /* [rows][cols] */
};

/* ---- Norms ---- */

struct cuda_norm {
    const float *x; /* [..][ld]                                                             */
    uint32_t ld;
    uint32_t rows;        /* of the output                                                        */
    uint32_t cols;        /* at most 32,768                                                       */
    const uint32_t *pick; /* [rows]: output row i is that of x row pick[i]; NULL: row i           */
    const float *weight;  /* [cols]                                                               */
    float eps;
    cuda_rows out;
    float *factor; /* [rows]: 1 / sqrt(mean + eps), what the router needs; NULL: not wanted       */
};

cudaError_t cuda_norm_run(const cuda_norm *op, cudaStream_t stream);

/* cuda_mix_run(mix), then cuda_norm_run(op) with op->x == mix->h, op->pick == NULL and the same rows: the same bits, and
 * faster. Rows past *active are normalised without the sum. */
cudaError_t cuda_mix_norm_run(const cuda_mix *mix, const cuda_norm *op, cudaStream_t stream);

/* Rows that cuda_parts_norm_run() takes. */
enum { CUDA_PARTS_ROWS = 48 };

/* The sum, then cuda_norm_run(op) with op->x == parts->h, op->pick == NULL: in one kernel. */
cudaError_t cuda_parts_norm_run(const cuda_parts *parts, const cuda_norm *op, cudaStream_t stream);

/* ---- The latents of MLA ---- */

/* From the product [q_a | kv_a]: the query's latent, normalised, as input of q_b; and what is cached of a token: 512
 * numbers normalised, 64 rotated as pairs (2 j, 2 j + 1), bf16, at cuda_mla_cache_offset() of its slot. */
struct cuda_latents {
    const float *x; /* [rows][ld] */
    uint32_t ld;
    uint32_t rows;
    float eps;
    uint32_t q_cols;        /* columns 0 .. q_cols - 1; 0: no query latent               */
    const float *q_weight;  /* [q_cols]                                                  */
    cuda_rows q;            /* out; cols = q_cols                                        */
    uint32_t kv_column;     /* where the 576 columns of kv_a begin; a multiple of 4      */
    const float *kv_weight; /* [512]                                                     */
    const float2 *rotation; /* [rows][32]: cosine, sine of pair j at the row's position  */
    const uint32_t *page;   /* [rows]                                                    */
    const uint32_t *slot;   /* [rows]: 0 .. 63                                           */
    uint8_t *cache;         /* the layer's pages                                         */
};

cudaError_t cuda_latents_run(const cuda_latents *op, cudaStream_t stream);

/* ---- Activation ---- */

/* silu(gate) * up of a product whose weight alternates 128 rows gate, 128 rows up (as CUDA_OUT_GATED wants it), the same
 * bits as that epilogue. */
struct cuda_silu {
    const float *
        x; /* [rows][ld]: columns 256 j .. + 127 gate, + 128 .. 255 up, of output columns 128 j .. */
    uint32_t ld;
    uint32_t rows;
    cuda_rows out; /* cols a multiple of 128 */
};

cudaError_t cuda_silu_run(const cuda_silu *op, cudaStream_t stream);

#endif
