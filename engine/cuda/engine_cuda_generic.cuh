/* engine_cuda_generic: the kernels of the generic runner. Every model that engine/cpu runs, on any GPU of compute
 * capability 8.0 or newer, with float32 activations and sums, no tensor cores, and weights as the checkpoint stores
 * them. It is what precision F32 means on cuda, what odd shapes and older GPUs get, and the oracle of the fast kernels.
 *
 * The order of every sum depends on the row alone:
 *     product    lane l of a warp takes elements 4 l .. 4 l + 3 of every 128 along K, ascending, one fused multiply-add
 *                each; then the 32 lanes are added as a tree of distances 16, 8, 4, 2, 1. e4m3 numbers are multiplied
 *                with their scale first, rounded to float32 once. A tile of M rows and N outputs shares loads, nothing
 *                else, so tiles of any shape give the same bits.
 *     attention  scores as a product; keys in blocks of 64 absolute positions with a running maximum, ascending,
 *                within runs of 256 absolute positions; runs are merged from the left
 *     experts    each chosen expert's output by itself, weighted and added in ascending order, then the shared ones,
 *                then the stream
 * All pointers are device memory, borrowed. Strides are in numbers; those of rows are multiples of 4, with finite
 * padding. Rows from *active on are padding and untouched. Launches are asynchronous and can be captured. */
#ifndef ENGINE_CUDA_GENERIC_CUH
#define ENGINE_CUDA_GENERIC_CUH

#include "engine_config.h"
#include "engine_shard.h"

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Products ---- */

enum cuda_generic_type {
    CUDA_GENERIC_F32,
    CUDA_GENERIC_BF16,
    CUDA_GENERIC_F16,
    CUDA_GENERIC_E4M3,
    CUDA_GENERIC_NONE
};

/* Row-major, without padding; data aligned to 16 bytes. */
struct cuda_generic_matrix {
    const void *data;
    const float *scale; /* NULL unless e4m3: [ceil(rows / block_rows)][scale_cols] */
    uint32_t type;      /* cuda_generic_type */
    uint32_t rows;
    uint32_t cols;
    uint32_t block_rows;
    uint32_t block_cols;
    uint32_t scale_cols;
};

enum { CUDA_GENERIC_JOBS = 3 };

struct cuda_generic_job { /* y[row][n] = sum of x[row][k] * w[n][k] + bias[n] */
    cuda_generic_matrix w;
    const float *bias; /* NULL: none */
    float *y;
    uint32_t y_stride;
    size_t expert_bytes; /* from one expert's w to the next one's */
    size_t expert_scales;
};

/* Entries (a row's choice of an expert) that one expert's tile of at most `height` takes. */
struct cuda_generic_tile {
    uint32_t expert;
    uint32_t first; /* in cuda_generic_choices.order */
    uint32_t count;
};

/* What a router chose. Entry e = row * per_token + i is the row's i-th expert, ids ascending. */
struct cuda_generic_choices {
    uint32_t *ids;            /* [rows * per_token] */
    float *weights;           /* [rows * per_token] */
    uint32_t *order;          /* [rows * per_token]: entries, expert after expert */
    cuda_generic_tile *tiles; /* [cuda_generic_tiles_max()] */
    uint32_t *tile_count;     /* one word */
};

struct cuda_generic_product {
    cuda_generic_job job[CUDA_GENERIC_JOBS]; /* on the same x; all of one type */
    uint32_t jobs;
    const float *x;
    uint32_t x_stride;
    uint32_t rows;
    const uint32_t *active; /* NULL: all rows */
    bool add;               /* y += */

    /* Heads: a product each, of outputs w_first + head * w_head .. + outputs of job 0. heads 0: none, all outputs. */
    uint32_t heads;
    uint32_t w_first;
    uint32_t w_head;
    uint32_t x_head;
    uint32_t y_head;
    uint32_t outputs;

    /* Experts: job.w is the first one's. y's rows are entries, x's too or, divided by x_divisor, rows. NULL: none. */
    const cuda_generic_choices *choices; /* host struct */
    uint32_t entries_max;
    uint32_t routed;
    uint32_t x_divisor; /* 1 where there are none */
    engine_range
        experts; /* whose weights are here, job.w the first one's; entries of others are left as they are */
};

cudaError_t cuda_generic_product_run(const cuda_generic_product *op, cudaStream_t stream);

/* ---- Experts ---- */

/* Tiles that `entries` choices among `routed` experts can need. */
uint32_t cuda_generic_tiles_max(uint32_t entries, uint32_t routed);

/* Rows of an expert's tile in batches of that many entries. */
uint32_t cuda_generic_tile_height(uint32_t entries);

struct cuda_generic_gate {
    const float *logits; /* [rows][stride] */
    uint32_t stride;
    const float *bias; /* [routed], or NULL */
    engine_moe moe;
    uint32_t rows;
    const uint32_t *active;
};

/* Fills `choices`. At most CUDA_GENERIC_EXPERTS_MAX experts. */
enum { CUDA_GENERIC_EXPERTS_MAX = 2048 };

cudaError_t cuda_generic_gate_run(const cuda_generic_gate *op, const cuda_generic_choices *choices,
                                  cudaStream_t stream);

/* hidden[row] += (sum over i of weights[e] * parts[e]) + shared[row] */
struct cuda_generic_mix {
    float *hidden;
    uint32_t stride; /* of hidden, parts and shared */
    uint32_t cols;
    const float *parts;   /* [rows * per_token]              */
    const float *weights; /* [rows * per_token]              */
    const uint32_t *ids;  /* [rows * per_token]              */
    engine_range experts; /* that count */
    bool set;             /* hidden[row] = instead */
    const float *shared;  /* NULL: none */
    uint32_t per_token;
    uint32_t rows;
    const uint32_t *active;
};

cudaError_t cuda_generic_mix_run(const cuda_generic_mix *op, cudaStream_t stream);

/* ---- The cache ---- */

/* Pages one after the other; in a page layer after layer; in a layer `parts` runs of 64 items of `pitch` numbers. Llama:
 * the keys of each head, then the values. MLA: one part; an item is the latent and the rotated key. */
struct cuda_generic_cache {
    void *base;
    bool bf16; /* else float32 */
    uint32_t layers;
    uint32_t parts;
    uint32_t pitch; /* a multiple of 4; the padding is zero */
};

__host__ __device__ inline size_t cuda_generic_layer_numbers(const cuda_generic_cache &c)
{
    return (size_t)c.parts * 64 * c.pitch;
}

__host__ __device__ inline size_t cuda_generic_page_numbers(const cuda_generic_cache &c)
{
    return c.layers * cuda_generic_layer_numbers(c);
}

/* The number where item `slot` of a part begins. */
__host__ __device__ inline size_t cuda_generic_item(const cuda_generic_cache &c, uint32_t page,
                                                    uint32_t layer, uint32_t part, uint32_t slot)
{
    return (size_t)page * cuda_generic_page_numbers(c) + layer * cuda_generic_layer_numbers(c) +
           ((size_t)part * 64 + slot) * c.pitch;
}

cudaError_t cuda_generic_copy_page(const cuda_generic_cache *cache, uint32_t to, uint32_t from,
                                   uint32_t tokens, cudaStream_t stream);

/* ---- Attention ---- */

enum { CUDA_GENERIC_RUN_TOKENS = 256 };

struct cuda_generic_rows { /* consecutive rows of one sequence */
    uint32_t row;
    uint32_t rows;
};

struct cuda_generic_attention {
    cuda_generic_cache cache;
    uint32_t layer;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t value_part; /* part of the first head's values; MLA: 0, as its keys */
    uint32_t score_cols;
    uint32_t value_cols;
    float scale;
    const float *q; /* [row][head] */
    uint32_t q_stride;
    uint32_t q_head;
    float *out; /* [row][head] */
    uint32_t out_stride;
    uint32_t out_head;
    uint32_t rows;
    const cuda_generic_rows *groups; /* [rows] at most, of at most cuda_generic_attention_rows() */
    const uint32_t *group_count;     /* one word */
    const uint32_t *active;
    const uint32_t *position; /* [rows] */
    const uint32_t *sequence; /* [rows]: line of `pages` */
    const uint32_t *pages;    /* [sequence][page_stride] */
    uint32_t page_stride;     /* no row attends to more than 64 times this */
    float *states;            /* cuda_generic_state_numbers() */
};

/* Rows that may share a group; 0: too large a head for this GPU's shared memory. */
uint32_t cuda_generic_attention_rows(uint32_t heads, uint32_t kv_heads, uint32_t score_cols,
                                     uint32_t value_cols);
size_t cuda_generic_state_numbers(uint32_t heads, uint32_t value_cols);
cudaError_t cuda_generic_attention_prepare(void); /* once a device, before the first launch */
cudaError_t cuda_generic_attention_run(const cuda_generic_attention *op, cudaStream_t stream);

struct
    cuda_generic_absorb { /* out[row][head][c] = sum over i of q[row][head][i] * w[head * w_head + i][c] */
    cuda_generic_matrix w;
    uint32_t heads;
    uint32_t w_head;
    uint32_t nope; /* i < nope */
    const float *q;
    uint32_t q_stride;
    uint32_t q_head;
    float *out;
    uint32_t out_stride;
    uint32_t out_head;
    uint32_t rows;
    const uint32_t *active;
};

cudaError_t cuda_generic_absorb_run(const cuda_generic_absorb *op, cudaStream_t stream);

/* ---- Rows ---- */

struct cuda_generic_place { /* of a step's rows */
    uint32_t rows;
    const uint32_t *active;
    const uint32_t *page;
    const uint32_t *slot;
    const float *cos;
    const float *sin;
};

/* hidden[row] = row token[row] of w. */
cudaError_t cuda_generic_embed(const cuda_generic_matrix *w, const uint32_t *token, float *hidden,
                               uint32_t stride, const cuda_generic_place *place,
                               cudaStream_t stream);

struct
    cuda_generic_norm { /* out[i] = x[pick[i]] / sqrt(mean of squares + eps) * w; may be in place */
    const float *x;
    uint32_t x_stride;
    const uint32_t *pick; /* NULL: i */
    const float *w;
    float *out;
    uint32_t out_stride;
    uint32_t cols;
    float eps;
    uint32_t rows;
    const uint32_t *active;
};

cudaError_t cuda_generic_norm_run(const cuda_generic_norm *op, cudaStream_t stream);

/* gate = silu(gate) * up over `cols` of each row; rows: *active * per_row of at most `rows`. */
cudaError_t cuda_generic_silu(float *gate, const float *up, uint32_t stride, uint32_t cols,
                              uint32_t rows, const uint32_t *active, uint32_t per_row,
                              cudaStream_t stream);

struct cuda_generic_llama { /* rotates q in place; rotated k and v go to the cache */
    float *q;
    uint32_t q_stride;
    const float *k;
    const float *v;
    uint32_t kv_stride;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t dim;
    cuda_generic_cache cache;
    uint32_t layer;
    cuda_generic_place place;
};

cudaError_t cuda_generic_llama_run(const cuda_generic_llama *op, cudaStream_t stream);

struct
    cuda_generic_latent { /* norm(kv's latent) and its rotated key go to the cache; rotated parts of q to `out` */
    const float *kv;
    uint32_t kv_stride;
    const float *norm;
    float eps;
    uint32_t latent;
    uint32_t rope;
    const float *q; /* the rotated part of head 0 */
    uint32_t q_stride;
    uint32_t q_head;
    float *out; /* where it goes */
    uint32_t out_stride;
    uint32_t out_head;
    uint32_t heads;
    cuda_generic_cache cache;
    uint32_t layer;
    cuda_generic_place place;
};

cudaError_t cuda_generic_latent_run(const cuda_generic_latent *op, cudaStream_t stream);

#endif
