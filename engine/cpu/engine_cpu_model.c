/* A forward: rows of several sequences through the whole model, layer by layer. */
#include "engine_cpu_device.h"

#include <string.h>

/* Numbers that a task should have: some microseconds of work, more than handing it over takes. */
enum { TASK_NUMBERS = 8192 };

typedef struct each_row {
    engine_device *device;
    uint32_t layer;
    engine_cpu_row_fn *fn;
    uint32_t rows;
    uint32_t group; /* rows of a task */
} each_row;

static void each_row_task(void *user, uint32_t task, uint32_t thread)
{
    const each_row *e = user;
    uint32_t from = task * e->group;
    uint32_t to = e->rows - from < e->group ? e->rows : from + e->group;
    for (uint32_t row = from; row < to; row++) {
        e->fn(e->device, e->layer, row, thread);
    }
}

void engine_cpu_each_row(engine_device *d, uint32_t rows, uint32_t layer, engine_cpu_row_fn *fn)
{
    uint32_t group = (TASK_NUMBERS + d->config->hidden_size - 1) / d->config->hidden_size;
    each_row e = {d, layer, fn, rows, group};
    engine_cpu_pool_run(d->compute.pool, (rows + group - 1) / group, each_row_task, &e);
}

void engine_cpu_linear(engine_device *d, const engine_view *w, const engine_cpu_rows *x,
                       const engine_cpu_rows *y, engine_cpu_care care)
{
    engine_cpu_job job = {.w = w,
                          .rows = w->rows,
                          .x = engine_cpu_in(x),
                          .y = y->row,
                          .tokens = d->batch->rows,
                          .care = care};
    engine_cpu_matmul(&d->compute, &job, 1);
}

/* Rows of a sequence that attend together: as many as give TILE_QUERIES queries a key head. */
static uint32_t tile_rows(const engine_config *c)
{
    uint32_t shared = c->arch == ENGINE_ARCH_DEEPSEEK ? c->heads : c->heads / c->kv_heads;
    uint32_t heads = shared < ENGINE_CPU_TILE_HEADS ? shared : ENGINE_CPU_TILE_HEADS;
    return ENGINE_CPU_TILE_QUERIES / heads;
}

static void lay_out(engine_device *d)
{
    uint32_t most = tile_rows(d->config);
    uint32_t row = 0;
    d->tile_count = 0;
    for (uint32_t s = 0; s < d->batch->seq_count; s++) {
        const engine_batch_seq *seq = &d->batch->seqs[s];
        for (uint32_t i = 0; i < seq->rows; i++, row++) {
            d->row_seq[row] = seq;
            d->row_position[row] = seq->start + i;
            if (i % most == 0) {
                uint32_t rows = seq->rows - i < most ? seq->rows - i : most;
                d->tiles[d->tile_count++] = (engine_cpu_tile){seq, row, seq->start + i, rows};
            }
        }
    }
}

static void widen_row(const engine_device *d, float *out, const engine_view *w, uint32_t row)
{
    engine_cpu_type type = engine_cpu_type_of(w->dtype);
    size_t bytes = (size_t)w->cols * engine_cpu_type_bytes(type);
    d->compute.k->widen[type](out, (const char *)w->data + row * bytes, w->cols);
}

static void embed_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)layer;
    (void)thread;
    widen_row(d, d->hidden.row[row], &d->weights->embed, d->batch->tokens[row]);
    engine_cpu_rope_at(&d->rope, d->row_position[row], d->cosine.row[row], d->sine.row[row]);
}

static void norm_row(const engine_device *d, float *out, const float *x, const float *w)
{
    d->compute.k->rms_norm(out, x, w, d->config->norm_eps, d->config->hidden_size);
}

static void input_norm_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)thread;
    norm_row(d, d->norm.row[row], d->hidden.row[row], d->vectors[layer].input_norm);
}

/* The attention's output joins the stream, which is then normalised for the feed-forward block. */
static void post_norm_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)thread;
    d->compute.k->add(d->hidden.row[row], d->out.row[row], d->config->hidden_size);
    norm_row(d, d->norm.row[row], d->hidden.row[row], d->vectors[layer].post_norm);
}

static void final_norm_row(engine_device *d, uint32_t layer, uint32_t i, uint32_t thread)
{
    (void)layer;
    (void)thread;
    norm_row(d, d->last.row[i], d->hidden.row[d->batch->logit_rows[i]], d->final_norm);
}

static void run_layer(engine_device *d, uint32_t layer)
{
    uint32_t rows = d->batch->rows;
    engine_cpu_each_row(d, rows, layer, input_norm_row);
    if (d->config->arch == ENGINE_ARCH_DEEPSEEK) {
        engine_cpu_mla_attention(d, layer);
    } else {
        engine_cpu_llama_attention(d, layer);
    }
    engine_cpu_each_row(d, rows, layer, post_norm_row);
    if (d->weights->layers[layer].is_moe) {
        engine_cpu_moe(d, layer);
    } else {
        engine_cpu_dense(d, layer);
    }
}

static void run_head(engine_device *d)
{
    const engine_view *w = &d->weights->lm_head;
    uint32_t count = d->batch->logit_count;
    engine_cpu_each_row(d, count, 0, final_norm_row);
    engine_cpu_job job = {
        .w = w, .rows = w->rows, .x = engine_cpu_in(&d->last), .y = d->logit_row, .tokens = count};
    engine_cpu_matmul(&d->compute, &job, 1);
}

void engine_cpu_forward(engine_device *d, const engine_batch *batch)
{
    d->batch = batch;
    lay_out(d);
    engine_cpu_each_row(d, batch->rows, 0, embed_row);
    for (uint32_t layer = 0; layer < d->config->layers; layer++) {
        run_layer(d, layer);
    }
    if (batch->logit_count != 0) {
        run_head(d);
    }
    d->batch = NULL;
}
