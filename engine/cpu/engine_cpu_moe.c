/* Feed-forward blocks: the dense one, and the mixture of experts.
 *
 * Rows are grouped by expert, so that an expert's matrices are read once for all rows that chose it and not at all when
 * none did. A row's output is summed over its experts in ascending order, then the shared experts, then the stream. */
#include "engine_cpu_device.h"
#include "engine_cpu_gate.h"

#include <string.h>

enum {
    SUM_TOKENS = 128
}; /* rows of an expert whose outputs wait in a thread's scratch to be weighted */

/* ---- dense ---- */

static void activate_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)thread;
    const engine_layer *w = &d->weights->layers[layer];
    uint32_t n = w->is_moe ? w->shared.gate.rows : w->mlp.gate.rows;
    d->compute.k->silu_mul(d->gate.row[row], d->gate.row[row], d->up.row[row], n);
}

static void add_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)layer;
    (void)thread;
    d->compute.k->add(d->hidden.row[row], d->out.row[row], d->config->hidden_size);
}

void engine_cpu_dense(engine_device *d, uint32_t layer)
{
    const engine_mlp *w = &d->weights->layers[layer].mlp;
    uint32_t rows = d->batch->rows;
    const float *const *x = engine_cpu_in(&d->norm);
    engine_cpu_job jobs[] = {
        {.w = &w->gate,
         .rows = w->gate.rows,
         .x = x,
         .y = d->gate.row,
         .tokens = rows,
         .care = d->feed_care},
        {.w = &w->up,
         .rows = w->up.rows,
         .x = x,
         .y = d->up.row,
         .tokens = rows,
         .care = d->feed_care},
    };
    engine_cpu_matmul(&d->compute, jobs, 2);
    engine_cpu_each_row(d, rows, layer, activate_row);
    engine_cpu_linear(d, &w->down, &d->gate, &d->out, ENGINE_CPU_ROUNDED);
    engine_cpu_each_row(d, rows, layer, add_row);
}

/* ---- mixture ---- */

static void choose_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    const engine_moe *moe = &d->config->moe;
    size_t at = (size_t)row * moe->per_token;
    engine_cpu_gate(moe, d->moe.logits.row[row], d->vectors[layer].router_bias,
                    engine_cpu_local(&d->compute, thread), d->moe.ids + at, d->moe.weights + at);
}

static void route(engine_device *d, uint32_t layer)
{
    const engine_view *w = &d->weights->layers[layer].router;
    engine_cpu_job job = {.w = w,
                          .rows = w->rows,
                          .x = engine_cpu_in(&d->norm),
                          .y = d->moe.logits.row,
                          .tokens = d->batch->rows,
                          .care = ENGINE_CPU_EXACT};
    engine_cpu_matmul(&d->compute, &job, 1);
    engine_cpu_each_row(d, d->batch->rows, layer, choose_row);
}

/* Sorts the choices by expert; rows stay in order within one. */
static void group_by_expert(engine_device *d)
{
    engine_cpu_moe_work *m = &d->moe;
    uint32_t per_token = d->config->moe.per_token;
    uint32_t experts = d->config->moe.routed;
    uint32_t count = d->batch->rows * per_token;
    memset(m->first, 0, (experts + 2U) * sizeof *m->first);
    for (uint32_t i = 0; i < count; i++) {
        m->first[m->ids[i] + 2]++;
    }
    for (uint32_t e = 2; e < experts + 2; e++) {
        m->first[e] += m->first[e - 1];
    }
    for (uint32_t i = 0; i < count; i++) { /* first[e + 1] runs from e's beginning to its end */
        uint32_t at = m->first[m->ids[i] + 1]++;
        m->entries[at] = (engine_cpu_entry){m->ids[i], i / per_token, m->weights[i]};
        m->x[at] = d->norm.row[i / per_token];
    }
}

static void push_job(engine_device *d, uint32_t *count, const engine_view *w, const float *const *x,
                     float *const *y, uint32_t tokens)
{
    d->moe.jobs[(*count)++] = (engine_cpu_job){
        .w = w, .rows = w->rows, .x = x, .y = y, .tokens = tokens, .care = d->feed_care};
}

/* Gates and ups of all experts that somebody chose, and of the shared ones, as one list of products. */
static void run_gates(engine_device *d, const engine_layer *w)
{
    engine_cpu_moe_work *m = &d->moe;
    uint32_t count = 0;
    for (uint32_t e = 0; e < d->config->moe.routed; e++) {
        uint32_t first = m->first[e];
        uint32_t tokens = m->first[e + 1] - first;
        if (tokens != 0) {
            push_job(d, &count, &w->experts[e].gate, m->x + first, m->gate.row + first, tokens);
            push_job(d, &count, &w->experts[e].up, m->x + first, m->up.row + first, tokens);
        }
    }
    if (w->shared.gate.data != NULL) {
        const float *const *x = engine_cpu_in(&d->norm);
        push_job(d, &count, &w->shared.gate, x, d->gate.row, d->batch->rows);
        push_job(d, &count, &w->shared.up, x, d->up.row, d->batch->rows);
    }
    engine_cpu_matmul(&d->compute, m->jobs, count);
}

static void activate_entry(engine_device *d, uint32_t layer, uint32_t entry, uint32_t thread)
{
    (void)layer;
    (void)thread;
    float *gate = d->moe.gate.row[entry];
    d->compute.k->silu_mul(gate, gate, d->moe.up.row[entry], d->config->moe.intermediate_size);
}

typedef struct mixing {
    engine_device *d;
    const engine_layer *w;
    uint32_t grain; /* output columns of a task */
} mixing;

typedef struct span { /* output columns */
    uint32_t from;
    uint32_t to;
} span;

/* out[row(i)][span] += weight(i) * (down x[i])[span] for `count` inputs; entries NULL: rows 0, 1, ..., weight 1. */
static void mix_expert(const mixing *mix, const engine_view *down, const float *const *x,
                       const engine_cpu_entry *entries, uint32_t count, span s, uint32_t thread)
{
    engine_device *d = mix->d;
    uint32_t width = s.to - s.from;
    float *local = engine_cpu_local(&d->compute, thread);
    float *y[SUM_TOKENS];
    for (uint32_t at = 0; at < count; at += SUM_TOKENS) {
        uint32_t n = count - at < SUM_TOKENS ? count - at : SUM_TOKENS;
        for (uint32_t i = 0; i < n; i++) {
            y[i] = local + (size_t)i * width;
        }
        engine_cpu_job job = {.w = down,
                              .first = s.from,
                              .rows = width,
                              .x = x + at,
                              .y = y,
                              .tokens = n,
                              .care = ENGINE_CPU_ROUNDED};
        engine_cpu_product(&d->compute, &job, 0, width, thread);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t row = entries == NULL ? at + i : entries[at + i].row;
            float weight = entries == NULL ? 1.0F : entries[at + i].weight;
            d->compute.k->axpy(d->out.row[row] + s.from, y[i], weight, width);
        }
    }
}

static void mix_task(void *user, uint32_t task, uint32_t thread)
{
    const mixing *mix = user;
    engine_device *d = mix->d;
    const engine_cpu_moe_work *m = &d->moe;
    uint32_t width = d->config->hidden_size;
    span s = {task * mix->grain, task * mix->grain + mix->grain};
    s.to = s.to < width ? s.to : width;
    for (uint32_t row = 0; row < d->batch->rows; row++) {
        memset(d->out.row[row] + s.from, 0, (s.to - s.from) * sizeof(float));
    }
    for (uint32_t e = 0; e < d->config->moe.routed; e++) {
        uint32_t first = m->first[e];
        mix_expert(mix, &mix->w->experts[e].down, engine_cpu_in(&m->gate) + first,
                   m->entries + first, m->first[e + 1] - first, s, thread);
    }
    if (mix->w->shared.down.data != NULL) {
        mix_expert(mix, &mix->w->shared.down, engine_cpu_in(&d->gate), NULL, d->batch->rows, s,
                   thread);
    }
    for (uint32_t row = 0; row < d->batch->rows; row++) {
        d->compute.k->add(d->hidden.row[row] + s.from, d->out.row[row] + s.from, s.to - s.from);
    }
}

void engine_cpu_moe(engine_device *d, uint32_t layer)
{
    const engine_layer *w = &d->weights->layers[layer];
    uint32_t rows = d->batch->rows;
    route(d, layer);
    group_by_expert(d);
    run_gates(d, w);
    engine_cpu_each_row(d, rows * d->config->moe.per_token, layer, activate_entry);
    if (w->shared.gate.data != NULL) {
        engine_cpu_each_row(d, rows, layer, activate_row);
    }
    uint32_t width = d->config->hidden_size;
    mixing mix = {d, w, engine_cpu_grain(&d->compute, width)};
    engine_cpu_pool_run(d->compute.pool, (width + mix.grain - 1) / mix.grain, mix_task, &mix);
}
