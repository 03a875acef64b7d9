/* engine_cpu_device: a model opened on the cpu backend, and the buffers of a forward. Internal to engine/cpu. */
#ifndef ENGINE_CPU_DEVICE_H
#define ENGINE_CPU_DEVICE_H

#include "engine_cpu_cache.h"
#include "engine_cpu_matmul.h"
#include "engine_cpu_rope.h"

/* Rows of float32 numbers; row[i] = data + i * stride. */
typedef struct engine_cpu_rows {
    float *data; /* owned */
    float **row; /* owned */
    size_t stride;
} engine_cpu_rows;

typedef struct
    engine_cpu_vectors { /* a layer's small tensors in float32; NULL where the layer has none; owned */
    float *input_norm;
    float *post_norm;
    float *q_a_norm;
    float *kv_a_norm;
    float *router_bias;
    float *q_bias;
    float *k_bias;
    float *v_bias;
    float *o_bias;
} engine_cpu_vectors;

/* Up to `rows` consecutive rows of one sequence. */
typedef struct engine_cpu_tile {
    const engine_batch_seq *seq;
    uint32_t row;      /* of the batch */
    uint32_t position; /* of the first row */
    uint32_t rows;
} engine_cpu_tile;

typedef struct engine_cpu_entry { /* one expert that one row takes */
    uint32_t expert;
    uint32_t row;
    float weight;
} engine_cpu_entry;

typedef struct engine_cpu_moe_work {
    engine_cpu_rows logits; /* max_rows x routed                                          */
    engine_cpu_rows gate;   /* max_rows * per_token x intermediate; row = entry           */
    engine_cpu_rows up;
    uint32_t *ids; /* max_rows x per_token                                       */
    float *weights;
    engine_cpu_entry *entries; /* sorted by expert, then row                              */
    uint32_t *first;           /* routed + 1: where an expert's entries begin             */
    const float **x;           /* of an entry                                             */
    engine_cpu_job *jobs;      /* 2 * routed + 2                                          */
} engine_cpu_moe_work;

enum { ENGINE_CPU_MLA_ROWS = 64 }; /* rows whose latent queries are held at once */

typedef struct engine_cpu_mla_work {
    engine_cpu_rows q_latent; /* max_rows x q_lora_rank                                   */
    engine_cpu_rows q;        /* MLA_ROWS x heads * (kv_lora_rank + rope_dim)             */
    engine_cpu_rows out;      /* MLA_ROWS x heads * kv_lora_rank                          */
    engine_cpu_rows max;      /* naive form: max_rows x heads, running softmax            */
    engine_cpu_rows sum;
    const float **x; /* heads x MLA_ROWS                                         */
    float **y;
    engine_cpu_job *jobs; /* heads                                                    */
} engine_cpu_mla_work;

typedef struct engine_cpu_lane engine_cpu_lane;

struct engine_device {
    const engine_weights *weights;
    const engine_config *config;
    engine_backend_options options; /* resolved */
    engine_cpu_compute compute;
    engine_cpu_care feed_care; /* of what no score comes out of */
    engine_cpu_cache cache;
    engine_cpu_rope rope;
    engine_cpu_vectors *vectors; /* a layer each */
    float *final_norm;
    float scale;      /* of attention scores */
    uint64_t scratch; /* bytes of everything below and of the vectors */

    engine_cpu_rows hidden; /* max_rows x hidden_size: the residual stream                */
    engine_cpu_rows norm;   /* input of a block                                           */
    engine_cpu_rows out;    /* output of a block                                          */
    engine_cpu_rows q;      /* max_rows x heads * head_dim                                */
    engine_cpu_rows k;      /* llama: x kv_heads * head_dim; MLA: x kv_lora_rank + rope   */
    engine_cpu_rows v;      /* llama                                                      */
    engine_cpu_rows att;    /* x heads * value dim                                        */
    engine_cpu_rows gate;   /* x the widest dense or shared intermediate                  */
    engine_cpu_rows up;
    engine_cpu_rows cosine; /* x rotated / 2                                              */
    engine_cpu_rows sine;
    engine_cpu_rows last; /* max_logit_rows x hidden_size                               */
    engine_cpu_moe_work moe;
    engine_cpu_mla_work mla;

    engine_cpu_tile *tiles; /* max_rows */
    uint32_t tile_count;
    const engine_batch_seq **row_seq; /* a row's sequence */
    uint32_t *row_position;
    float **logit_row;      /* max_logit_rows: where the logits of a forward go */
    engine_cpu_lane *lanes; /* owned; NULL: none (engine_cpu_lanes.h) */
    uint32_t lane_count;
    const engine_batch *batch; /* of the forward that runs */
};

enum {
    ENGINE_CPU_TILE_QUERIES = 64, /* queries that attend together                         */
    ENGINE_CPU_TILE_HEADS = 16    /* heads of one key head that do                        */
};

/* dst and src rows of a job as the const types that it wants. */
static inline const float *const *engine_cpu_in(const engine_cpu_rows *rows)
{
    return (const float *const *)rows->row;
}

/* Runs fn(device, row, thread) for each row of the batch on the pool. */
typedef void engine_cpu_row_fn(engine_device *device, uint32_t layer, uint32_t row,
                               uint32_t thread);
void engine_cpu_each_row(engine_device *device, uint32_t rows, uint32_t layer,
                         engine_cpu_row_fn *fn);

/* y = w x for the batch's rows. */
void engine_cpu_linear(engine_device *device, const engine_view *w, const engine_cpu_rows *x,
                       const engine_cpu_rows *y, engine_cpu_care care);

/* Attention blocks: device->norm in, device->out out (not yet added to the stream). */
void engine_cpu_llama_attention(engine_device *device, uint32_t layer);
void engine_cpu_mla_attention(engine_device *device, uint32_t layer);

/* Feed-forward blocks: device->norm in, added to device->hidden. */
void engine_cpu_dense(engine_device *device, uint32_t layer);
void engine_cpu_moe(engine_device *device, uint32_t layer);

/* The whole model over a checked batch; device->logit_row says where the logits go. */
void engine_cpu_forward(engine_device *device, const engine_batch *batch);

uint32_t engine_cpu_widest_matrix(const engine_config *config); /* columns */

/* Buffers. The plan counts, the open allocates; both walk the same list. */
uint64_t engine_cpu_work_bytes(const engine_config *config, const engine_backend_options *options);
PV_NODISCARD pv_status engine_cpu_work_open(engine_device *device, pv_error *err);
void engine_cpu_work_close(engine_device *device);

#endif
