/* engine_weights: the matrices of a model as views into the checkpoint's mappings, layer by layer.
 *
 * No weight is copied: every view points into the engine_safetensors it was resolved from, which must outlive it.
 * Shapes are checked against the configuration, FP8 matrices have their scale grids, and scales, norms and router
 * biases hold finite numbers only. Tensors that the model lacks are an error; those that it does not use are counted
 * (multi-token-prediction blocks apart) and reported.
 * Threads: immutable after resolve. */
#ifndef ENGINE_WEIGHTS_H
#define ENGINE_WEIGHTS_H

#include "engine_config.h"
#include "engine_layout.h"
#include "engine_safetensors.h"
#include "pv_buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A row-major matrix, rows x cols; a vector is one row. data NULL: the model has no such tensor.
 * A matrix maps x[cols] to y[rows]. dtype is BF16, F16, F32, or F8_E4M3 (then scale is set, and the value at (r, c)
 * is data[r][c] * scale[(r / block_rows) * scale_cols + c / block_cols]). data is aligned to its dtype.
 * pitch and scale_pitch: 0, except where the view is some columns of a wider matrix (engine_shard.h). */
typedef struct engine_view {
    const void *data;
    engine_dtype dtype;
    uint32_t rows;
    uint32_t cols;
    const float
        *scale; /* scale_rows x scale_cols, scale_rows = ceil(rows / block_rows); NULL unless FP8 */
    uint32_t scale_rows;
    uint32_t scale_cols;
    uint32_t block_rows; /* 0 unless FP8 */
    uint32_t block_cols;
    uint32_t pitch;       /* numbers from a row to the next; 0: cols             */
    uint32_t scale_pitch; /* scales from a row of the grid to the next; 0: scale_cols */
} engine_view;

typedef struct engine_mlp { /* y = down( silu(gate x) * (up x) )       */
    engine_view gate;       /* intermediate x hidden                    */
    engine_view up;         /* intermediate x hidden                    */
    engine_view down;       /* hidden x intermediate                    */
} engine_mlp;

/* With H = heads, D = hidden, Dq = nope_dim + rope_dim, C = kv_lora_rank. */
typedef struct engine_layer {
    engine_view input_norm; /* D                                                       */
    engine_view post_norm;  /* D                                                       */

    /* MLA. Without query compression q is set and q_a, q_a_norm, q_b are not. */
    engine_view q_a;       /* q_lora_rank x D                                          */
    engine_view q_a_norm;  /* q_lora_rank                                              */
    engine_view q_b;       /* H*Dq x q_lora_rank; in a head: nope_dim, then rope_dim   */
    engine_view kv_a;      /* C + rope_dim x D; rows: latent, then the shared rope key */
    engine_view kv_a_norm; /* C                                                        */
    engine_view kv_b;      /* H*(nope_dim + v_dim) x C; in a head: keys, then values   */

    /* q: llama H*head_dim x D, MLA without compression H*Dq x D. k, v and the biases: llama only. */
    engine_view q;
    engine_view k;
    engine_view v;
    engine_view q_bias; /* only with attention_bias                                    */
    engine_view k_bias;
    engine_view v_bias;
    engine_view o_bias;
    engine_view o; /* D x H*head_dim, or D x H*v_dim                                   */

    bool is_moe;
    engine_mlp mlp;          /* dense layers                                           */
    engine_view router;      /* routed x D                                             */
    engine_view router_bias; /* routed; noaux_tc only                                  */
    engine_mlp shared;       /* intermediate is shared * moe.intermediate_size         */
    engine_mlp *experts;     /* owned; moe.routed of them; NULL in dense layers        */
} engine_layer;

/* Bytes and parameters by kind. Scales are counted in scale_bytes only. */
typedef struct engine_plan {
    uint64_t params[ENGINE_KIND_COUNT];
    uint64_t bytes[ENGINE_KIND_COUNT];
    uint64_t scale_bytes;
    uint64_t params_total;
    uint64_t
        params_active; /* read for one token: chosen experts only, without the embedding table  */
    uint64_t
        bytes_total;    /* weights and scales, a tied head counted once                          */
    uint32_t kv_values; /* numbers cached a token and layer                                      */
    uint64_t kv_bytes;  /* a token over all layers, in bf16                                      */
    uint64_t
        mtp_tensors; /* in the files, recognised, not used                                    */
    uint64_t mtp_bytes;
    uint64_t
        unused_tensors; /* in the files, not recognised                                         */
    uint64_t unused_bytes;
} engine_plan;

enum { ENGINE_UNUSED_NAMES_MAX = 16 };

typedef struct engine_weights {
    const engine_config *config;       /* borrowed                                        */
    const engine_safetensors *tensors; /* borrowed                                        */
    engine_view embed;                 /* vocab x D                                       */
    engine_view final_norm;            /* D                                               */
    engine_view lm_head;               /* vocab x D; the same view as embed when tied     */
    engine_layer *layers;              /* owned; config->layers of them                   */
    engine_plan plan;
    const char *unused[ENGINE_UNUSED_NAMES_MAX]; /* borrowed; the first plan.unused_tensors */
} engine_weights;

/* Fails: PV_E_INVALID (missing tensors are named; shapes, dtypes, scales that cannot be), PV_E_UNSUPPORTED (a dtype
 * that no kernel reads), PV_E_NOMEM. *out is written on success only. */
PV_NODISCARD pv_status engine_weights_resolve(engine_weights *out, const engine_config *config,
                                              const engine_safetensors *tensors, pv_error *err);

void engine_weights_release(engine_weights *weights);

/* The plan that the configuration alone gives: matrices in fp8 or bf16, the rest in bf16, no file looked at. */
PV_NODISCARD pv_status engine_plan_from_config(engine_plan *out, const engine_config *config,
                                               pv_error *err);

/* Lines of text for people: architecture, parameters, bytes by kind, cache bytes a token, what was not used. */
void engine_plan_text(const engine_plan *plan, const engine_config *config, pv_buf *out);

#ifdef __cplusplus
}
#endif
#endif
