/* Attention with several or shared key heads (MHA, GQA). */
#include "engine_cpu_attention.h"

static void add_bias(const engine_device *d, float *row, const float *bias, size_t n)
{
    if (bias != NULL) {
        d->compute.k->add(row, bias, n);
    }
}

/* Biases, rotation, and the row's key and value into its page. */
static void finish_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)thread;
    const engine_config *c = d->config;
    const engine_cpu_vectors *vec = &d->vectors[layer];
    uint32_t dim = c->head_dim;
    add_bias(d, d->q.row[row], vec->q_bias, (size_t)c->heads * dim);
    add_bias(d, d->k.row[row], vec->k_bias, (size_t)c->kv_heads * dim);
    add_bias(d, d->v.row[row], vec->v_bias, (size_t)c->kv_heads * dim);
    for (uint32_t h = 0; h < c->heads; h++) {
        engine_cpu_rope_half(d->q.row[row] + (size_t)h * dim, d->cosine.row[row], d->sine.row[row],
                             dim);
    }
    uint32_t position = d->row_position[row];
    uint32_t page = d->row_seq[row]->pages[position / ENGINE_PAGE_TOKENS];
    uint32_t slot = position % ENGINE_PAGE_TOKENS;
    for (uint32_t h = 0; h < c->kv_heads; h++) {
        float *key = d->k.row[row] + (size_t)h * dim;
        engine_cpu_rope_half(key, d->cosine.row[row], d->sine.row[row], dim);
        engine_cpu_cache_write(&d->cache, d->compute.k,
                               engine_cpu_cache_at(&d->cache, page, layer, h, slot), key, dim);
        engine_cpu_cache_write(&d->cache, d->compute.k,
                               engine_cpu_cache_at(&d->cache, page, layer, c->kv_heads + h, slot),
                               d->v.row[row] + (size_t)h * dim, dim);
    }
}

static void add_o_bias(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)thread;
    add_bias(d, d->out.row[row], d->vectors[layer].o_bias, d->config->hidden_size);
}

void engine_cpu_llama_attention(engine_device *d, uint32_t layer)
{
    const engine_layer *w = &d->weights->layers[layer];
    const engine_config *c = d->config;
    uint32_t rows = d->batch->rows;
    const float *const *x = engine_cpu_in(&d->norm);
    engine_cpu_job jobs[] = {
        /* scores are exponents: their errors count for more than those of what they weigh */
        {.w = &w->q, .x = x, .y = d->q.row, .care = ENGINE_CPU_SPLIT},
        {.w = &w->k, .x = x, .y = d->k.row, .care = ENGINE_CPU_SPLIT},
        {.w = &w->v, .x = x, .y = d->v.row, .care = d->feed_care},
    };
    for (int i = 0; i < 3; i++) {
        jobs[i].rows = jobs[i].w->rows;
        jobs[i].tokens = rows;
    }
    engine_cpu_matmul(&d->compute, jobs, 3);
    engine_cpu_each_row(d, rows, layer, finish_row);
    engine_cpu_paged paged = {.device = d,
                              .layer = layer,
                              .tiles = d->tiles,
                              .tile_count = d->tile_count,
                              .heads = c->heads,
                              .kv_heads = c->kv_heads,
                              .value_part = c->kv_heads,
                              .score_cols = c->head_dim,
                              .value_cols = c->head_dim,
                              .q = &d->q,
                              .q_head = c->head_dim,
                              .out = &d->att,
                              .out_head = c->head_dim};
    engine_cpu_paged_attention(&paged);
    engine_cpu_linear(d, &w->o, &d->att, &d->out, d->feed_care);
    if (d->vectors[layer].o_bias != NULL) {
        engine_cpu_each_row(d, rows, layer, add_o_bias);
    }
}
