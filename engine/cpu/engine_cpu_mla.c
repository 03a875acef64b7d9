/* Multi-head latent attention. The cache holds the latent and the rotated key that all heads share; queries are taken
 * into the latent space (absorbed form), or keys and values out of it (naive form, an option for long prompts). */
#include "engine_cpu_attention.h"

#include <string.h>

static uint32_t latent_dim(const engine_config *c)
{
    return c->mla.kv_lora_rank + c->mla.rope_dim;
}

/* The row of kv_b where head h begins: nope_dim rows for keys, then v_dim for values. */
static uint32_t head_row(const engine_config *c, uint32_t h)
{
    return h * (c->mla.nope_dim + c->mla.v_dim);
}

static void compress_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)thread;
    const engine_config *c = d->config;
    const engine_cpu_kernels *k = d->compute.k;
    const engine_cpu_vectors *vec = &d->vectors[layer];
    if (c->mla.q_lora_rank != 0) {
        float *q = d->mla.q_latent.row[row];
        k->rms_norm(q, q, vec->q_a_norm, c->norm_eps, c->mla.q_lora_rank);
    }
    float *item = d->k.row[row];
    k->rms_norm(item, item, vec->kv_a_norm, c->norm_eps, c->mla.kv_lora_rank);
    engine_cpu_rope_pairs(item + c->mla.kv_lora_rank, d->cosine.row[row], d->sine.row[row],
                          c->mla.rope_dim);
    uint32_t position = d->row_position[row];
    uint32_t page = d->row_seq[row]->pages[position / ENGINE_PAGE_TOKENS];
    engine_cpu_cache_write(
        &d->cache, k, engine_cpu_cache_at(&d->cache, page, layer, 0, position % ENGINE_PAGE_TOKENS),
        item, latent_dim(c));
}

static void rotate_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    (void)layer;
    (void)thread;
    const engine_config *c = d->config;
    for (uint32_t h = 0; h < c->heads; h++) {
        engine_cpu_rope_pairs(d->q.row[row] + (size_t)h * c->head_dim + c->mla.nope_dim,
                              d->cosine.row[row], d->sine.row[row], c->mla.rope_dim);
    }
}

static void compress_and_rotate_row(engine_device *d, uint32_t layer, uint32_t row, uint32_t thread)
{
    compress_row(d, layer, row, thread);
    rotate_row(d, layer, row, thread);
}

static void project_queries(engine_device *d, uint32_t layer)
{
    const engine_layer *w = &d->weights->layers[layer];
    uint32_t rows = d->batch->rows;
    bool compressed = d->config->mla.q_lora_rank != 0;
    const engine_view *first = compressed ? &w->q_a : &w->q;
    const float *const *x = engine_cpu_in(&d->norm);
    float *const *y = compressed ? d->mla.q_latent.row : d->q.row;
    engine_cpu_job jobs[] = {
        {.w = first, .rows = first->rows, .x = x, .y = y, .tokens = rows, .care = ENGINE_CPU_SPLIT},
        {.w = &w->kv_a,
         .rows = w->kv_a.rows,
         .x = x,
         .y = d->k.row,
         .tokens = rows,
         .care = ENGINE_CPU_SPLIT},
    };
    engine_cpu_matmul(&d->compute, jobs, 2);
    engine_cpu_each_row(d, rows, layer, compressed ? compress_row : compress_and_rotate_row);
    if (compressed) {
        engine_cpu_linear(d, &w->q_b, &d->mla.q_latent, &d->q, ENGINE_CPU_SPLIT);
        engine_cpu_each_row(d, rows, layer, rotate_row);
    }
}

/* ---- absorbed form ---- */

typedef struct absorb {
    engine_device *d;
    uint32_t layer;
    uint32_t row; /* first of the group */
    uint32_t rows;
} absorb;

/* The part of W_UK in one scale block: queries times the scale, then out[c] += q[i] * w[i][c] over its rows i. Several
 * queries share the block widened to float32 once; widening is exact, so the bits are those of reading it in place. */
static void absorb_block(const absorb *a, engine_cpu_mix mix, const float *const *q, float factor,
                         engine_cpu_type type, float *local)
{
    const engine_cpu_kernels *k = a->d->compute.k;
    const float *scaled[ENGINE_CPU_MLA_ROWS];
    for (uint32_t t = 0; t < a->rows; t++) {
        k->scale(local, q[t], factor, mix.n);
        scaled[t] = local;
        local += mix.n;
    }
    size_t room = ENGINE_CPU_LOCAL_BYTES / sizeof(float) - (size_t)a->rows * mix.n;
    if (a->rows > 4 && (size_t)mix.n * mix.cols <= room) {
        for (uint32_t i = 0; i < mix.n; i++) {
            k->widen[type](local + (size_t)i * mix.cols, (const char *)mix.b + i * mix.b_stride,
                           mix.cols);
        }
        mix.b = local;
        mix.b_stride = mix.cols * sizeof(float);
        type = ENGINE_CPU_F32;
    }
    mix.a = scaled;
    k->mix[type](&mix);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* out[c] = sum over i of q[i] * W_UK[i][c], block by block where there are scales, else as one block. */
static void absorb_head(const absorb *a, uint32_t head, const float *const *q, float *const *out,
                        float *local)
{
    const engine_view *w = &a->d->weights->layers[a->layer].kv_b;
    engine_cpu_type type = engine_cpu_type_of(w->dtype);
    size_t size = engine_cpu_type_bytes(type);
    uint32_t n = a->d->config->mla.nope_dim;
    uint32_t row0 = head_row(a->d->config, head);
    float keep[ENGINE_CPU_MLA_ROWS];
    const float *q_at[ENGINE_CPU_MLA_ROWS];
    float *out_at[ENGINE_CPU_MLA_ROWS];
    for (uint32_t t = 0; t < a->rows; t++) {
        keep[t] = 1;
    }
    uint32_t step = 0;
    for (uint32_t i = 0; i < n; i += step) {
        uint32_t row = row0 + i;
        step = w->scale == NULL ? n : least(n - i, w->block_rows - row % w->block_rows);
        uint32_t width = w->scale == NULL ? w->cols : w->block_cols;
        for (uint32_t col = 0; col < w->cols; col += width) {
            for (uint32_t t = 0; t < a->rows; t++) {
                q_at[t] = q[t] + i;
                out_at[t] = out[t] + col;
            }
            engine_cpu_mix mix = {.b = (const char *)w->data + ((size_t)row * w->cols + col) * size,
                                  .b_stride = w->cols * size,
                                  .out = out_at,
                                  .keep = i == 0 ? NULL : keep,
                                  .rows = a->rows,
                                  .n = step,
                                  .cols = least(w->cols - col, width)};
            float factor =
                w->scale == NULL
                    ? 1.0F
                    : w->scale[(size_t)(row / w->block_rows) * w->scale_cols + col / width];
            absorb_block(a, mix, q_at, factor, type, local);
        }
    }
}

static void absorb_task(void *user, uint32_t head, uint32_t thread)
{
    const absorb *a = user;
    engine_device *d = a->d;
    const engine_config *c = d->config;
    const float *q[ENGINE_CPU_MLA_ROWS];
    float *out[ENGINE_CPU_MLA_ROWS];
    for (uint32_t t = 0; t < a->rows; t++) {
        q[t] = d->q.row[a->row + t] + (size_t)head * c->head_dim;
        out[t] = d->mla.q.row[t] + (size_t)head * latent_dim(c);
        memcpy(out[t] + c->mla.kv_lora_rank, q[t] + c->mla.nope_dim,
               c->mla.rope_dim * sizeof(float));
    }
    absorb_head(a, head, q, out, engine_cpu_local(&d->compute, thread));
}

/* att[head] = W_UV[head] o for each head and row of the group. */
static void expand_values(const absorb *a)
{
    engine_device *d = a->d;
    const engine_config *c = d->config;
    for (uint32_t h = 0; h < c->heads; h++) {
        const float **x = d->mla.x + (size_t)h * ENGINE_CPU_MLA_ROWS;
        float **y = d->mla.y + (size_t)h * ENGINE_CPU_MLA_ROWS;
        for (uint32_t t = 0; t < a->rows; t++) {
            x[t] = d->mla.out.row[t] + (size_t)h * c->mla.kv_lora_rank;
            y[t] = d->att.row[a->row + t] + (size_t)h * c->mla.v_dim;
        }
        d->mla.jobs[h] = (engine_cpu_job){.w = &d->weights->layers[a->layer].kv_b,
                                          .first = head_row(c, h) + c->mla.nope_dim,
                                          .rows = c->mla.v_dim,
                                          .x = x,
                                          .y = y,
                                          .tokens = a->rows,
                                          .care = ENGINE_CPU_SPLIT};
    }
    engine_cpu_matmul(&d->compute, d->mla.jobs, c->heads);
}

static void absorbed_group(engine_device *d, uint32_t layer, const engine_cpu_tile *tiles,
                           uint32_t tile_count, uint32_t rows)
{
    const engine_config *c = d->config;
    absorb a = {d, layer, tiles->row, rows};
    engine_cpu_pool_run(d->compute.pool, c->heads, absorb_task, &a);
    engine_cpu_paged paged = {.device = d,
                              .layer = layer,
                              .tiles = tiles,
                              .tile_count = tile_count,
                              .row_base = tiles->row,
                              .heads = c->heads,
                              .kv_heads = 1,
                              .score_cols = latent_dim(c),
                              .value_cols = c->mla.kv_lora_rank,
                              .q = &d->mla.q,
                              .q_head = latent_dim(c),
                              .out = &d->mla.out,
                              .out_head = c->mla.kv_lora_rank};
    engine_cpu_paged_attention(&paged);
    expand_values(&a);
}

/* ---- naive form ---- */

static bool is_naive(const engine_device *d, const engine_batch_seq *seq)
{
    return d->options.mla_form == ENGINE_MLA_NAIVE_PREFILL && seq->rows >= ENGINE_NAIVE_ROWS;
}

typedef struct naive {
    engine_device *d;
    uint32_t layer;
    const engine_batch_seq *seq;
    uint32_t row; /* of the batch */
} naive;

typedef struct naive_block { /* a thread's scratch: one block of one head, in float32 */
    float *scores;
    float *latent; /* 64 x kv_lora_rank + rope_dim */
    float *keys;   /* 64 x head_dim                */
    float *values; /* 64 x v_dim                   */
} naive_block;

static size_t naive_numbers(const engine_config *c)
{
    return (size_t)ENGINE_PAGE_TOKENS *
           (ENGINE_PAGE_TOKENS + latent_dim(c) + c->head_dim + c->mla.v_dim);
}

static naive_block naive_scratch(const engine_device *d, uint32_t thread)
{
    const engine_config *c = d->config;
    naive_block b = {.scores = engine_cpu_local(&d->compute, thread)};
    b.latent = b.scores + ENGINE_PAGE_TOKENS * ENGINE_PAGE_TOKENS;
    b.keys = b.latent + (size_t)ENGINE_PAGE_TOKENS * latent_dim(c);
    b.values = b.keys + (size_t)ENGINE_PAGE_TOKENS * c->head_dim;
    return b;
}

/* Keys and values of `n` tokens of block `index` for one head. */
static void naive_expand(const naive *a, const naive_block *b, uint32_t head, uint32_t index,
                         uint32_t n, uint32_t thread)
{
    engine_device *d = a->d;
    const engine_config *c = d->config;
    const float *x[ENGINE_PAGE_TOKENS];
    float *keys[ENGINE_PAGE_TOKENS];
    float *values[ENGINE_PAGE_TOKENS];
    uint32_t page = a->seq->pages[index];
    for (uint32_t t = 0; t < n; t++) {
        float *latent = b->latent + (size_t)t * latent_dim(c);
        d->compute.k->widen[d->cache.type](
            latent, engine_cpu_cache_at(&d->cache, page, a->layer, 0, t), latent_dim(c));
        x[t] = latent;
        keys[t] = b->keys + (size_t)t * c->head_dim;
        values[t] = b->values + (size_t)t * c->mla.v_dim;
        memcpy(keys[t] + c->mla.nope_dim, latent + c->mla.kv_lora_rank,
               c->mla.rope_dim * sizeof(float));
    }
    engine_cpu_job job = {
        .w = &d->weights->layers[a->layer].kv_b, .x = x, .tokens = n, .care = ENGINE_CPU_SPLIT};
    job.first = head_row(c, head);
    job.rows = c->mla.nope_dim;
    job.y = keys;
    engine_cpu_product(&d->compute, &job, 0, job.rows, thread);
    job.first += c->mla.nope_dim;
    job.rows = c->mla.v_dim;
    job.y = values;
    engine_cpu_product(&d->compute, &job, 0, job.rows, thread);
}

/* Rows [row, row + rows) of the sequence's chunk, at most 64, against a block. */
static void naive_rows(const naive *a, const naive_block *b, uint32_t head, uint32_t index,
                       uint32_t row, uint32_t rows)
{
    engine_device *d = a->d;
    const engine_config *c = d->config;
    const float *q[ENGINE_PAGE_TOKENS];
    float *out[ENGINE_PAGE_TOKENS];
    for (uint32_t i = 0; i < rows; i++) {
        q[i] = d->q.row[a->row + row + i] + (size_t)head * c->head_dim;
        out[i] = d->att.row[a->row + row + i] + (size_t)head * c->mla.v_dim;
    }
    engine_cpu_attend at = {.k = d->compute.k,
                            .type = ENGINE_CPU_F32,
                            .scale = d->scale,
                            .score_cols = c->head_dim,
                            .value_cols = c->mla.v_dim,
                            .q = q,
                            .out = out,
                            .max = d->mla.max.row[head] + a->row + row,
                            .sum = d->mla.sum.row[head] + a->row + row,
                            .rows = rows,
                            .per_row = 1,
                            .first = a->seq->start + row,
                            .scores = b->scores};
    if (index == 0) {
        engine_cpu_attend_begin(&at);
    }
    engine_cpu_attend_block(&at, index, b->keys, c->head_dim * sizeof(float), b->values,
                            c->mla.v_dim * sizeof(float));
    if (index == (at.first + rows - 1) / ENGINE_PAGE_TOKENS) {
        engine_cpu_attend_finish(&at);
    }
}

static void naive_task(void *user, uint32_t head, uint32_t thread)
{
    const naive *a = user;
    naive_block b = naive_scratch(a->d, thread);
    uint32_t end = a->seq->start + a->seq->rows;
    for (uint32_t i = 0; i * ENGINE_PAGE_TOKENS < end; i++) {
        uint32_t n = least(end - i * ENGINE_PAGE_TOKENS, ENGINE_PAGE_TOKENS);
        naive_expand(a, &b, head, i, n, thread);
        for (uint32_t row = 0; row < a->seq->rows; row += ENGINE_PAGE_TOKENS) {
            uint32_t rows = least(a->seq->rows - row, ENGINE_PAGE_TOKENS);
            if (a->seq->start + row + rows > i * ENGINE_PAGE_TOKENS) {
                naive_rows(a, &b, head, i, row, rows);
            }
        }
    }
}

/* ---- both ---- */

static bool naive_fits(const engine_config *c)
{
    return naive_numbers(c) * sizeof(float) <= ENGINE_CPU_LOCAL_BYTES;
}

/* Tiles lie in the order of rows, so a sequence's tiles follow one another. */
void engine_cpu_mla_attention(engine_device *d, uint32_t layer)
{
    project_queries(d, layer);
    uint32_t from = 0;
    while (from < d->tile_count) {
        const engine_cpu_tile *tile = &d->tiles[from];
        uint32_t to = from;
        if (is_naive(d, tile->seq) && naive_fits(d->config)) {
            naive a = {d, layer, tile->seq, tile->row};
            engine_cpu_pool_run(d->compute.pool, d->config->heads, naive_task, &a);
            while (to < d->tile_count && d->tiles[to].seq == tile->seq) {
                to++;
            }
        } else {
            uint32_t rows = 0;
            while (to < d->tile_count && rows + d->tiles[to].rows <= ENGINE_CPU_MLA_ROWS &&
                   !(is_naive(d, d->tiles[to].seq) && naive_fits(d->config))) {
                rows += d->tiles[to++].rows;
            }
            absorbed_group(d, layer, tile, to - from, rows);
        }
        from = to;
    }
    engine_cpu_linear(d, &d->weights->layers[layer].o, &d->att, &d->out, ENGINE_CPU_SPLIT);
}
