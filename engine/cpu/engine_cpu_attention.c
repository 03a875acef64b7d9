#include "engine_cpu_attention.h"

#include <math.h>
#include <string.h>

enum { BLOCK = ENGINE_PAGE_TOKENS };

void engine_cpu_attend_begin(const engine_cpu_attend *a)
{
    for (uint32_t i = 0; i < a->rows * a->per_row; i++) {
        a->max[i] = -INFINITY;
        a->sum[i] = 0;
        memset(a->out[i], 0, a->value_cols * sizeof(float));
    }
}

typedef struct block {
    const void *keys;
    size_t key_stride;
    const void *values;
    size_t value_stride;
} block;

/* `count` queries from query i on see the first n keys of the block. */
static void attend(const engine_cpu_attend *a, const block *b, uint32_t i, uint32_t count,
                   uint32_t n)
{
    float *scores[ENGINE_CPU_TILE_QUERIES];
    float keep[ENGINE_CPU_TILE_QUERIES];
    for (uint32_t m = 0; m < count; m++) {
        scores[m] = a->scores + (size_t)m * BLOCK;
    }
    engine_cpu_dot dot = {.w = b->keys,
                          .w_stride = b->key_stride,
                          .ahead = 4 * b->key_stride,
                          .x = (const void *const *)(a->q + i),
                          .y = scores,
                          .rows = n,
                          .tokens = count,
                          .cols = a->score_cols};
    a->k->dot[a->type](&dot);
    for (uint32_t m = 0; m < count; m++) {
        keep[m] = a->k->softmax(scores[m], n, a->scale, &a->max[i + m], &a->sum[i + m]);
    }
    engine_cpu_mix mix = {.b = b->values,
                          .b_stride = b->value_stride,
                          .a = (const float *const *)scores,
                          .out = a->out + i,
                          .keep = keep,
                          .rows = count,
                          .n = n,
                          .cols = a->value_cols};
    a->k->mix[a->type](&mix);
}

void engine_cpu_attend_block(const engine_cpu_attend *a, uint32_t index, const void *keys,
                             size_t key_stride, const void *values, size_t value_stride)
{
    block b = {keys, key_stride, values, value_stride};
    uint32_t from = index * BLOCK;
    uint32_t row = 0;
    for (; row < a->rows && a->first + row + 1 < from + BLOCK; row++) { /* the diagonal */
        if (a->first + row >= from) {
            attend(a, &b, row * a->per_row, a->per_row, a->first + row + 1 - from);
        }
    }
    if (row < a->rows) {
        attend(a, &b, row * a->per_row, (a->rows - row) * a->per_row, BLOCK);
    }
}

void engine_cpu_attend_finish(const engine_cpu_attend *a)
{
    for (uint32_t i = 0; i < a->rows * a->per_row; i++) {
        a->k->scale(a->out[i], a->out[i], 1.0F / a->sum[i], a->value_cols);
    }
}

/* Heads of one key head are cut into groups of at most TILE_HEADS. */
static uint32_t groups_of(const engine_cpu_paged *p)
{
    uint32_t heads = p->heads / p->kv_heads;
    return (heads + ENGINE_CPU_TILE_HEADS - 1) / ENGINE_CPU_TILE_HEADS;
}

static void attend_pages(const engine_cpu_paged *p, const engine_cpu_attend *a,
                         const engine_batch_seq *seq, uint32_t kv_head)
{
    const engine_cpu_cache *cache = &p->device->cache;
    size_t stride = cache->item * cache->element;
    uint32_t last = (a->first + a->rows - 1) / BLOCK;
    engine_cpu_attend_begin(a);
    for (uint32_t i = 0; i <= last; i++) {
        const void *keys = engine_cpu_cache_at(cache, seq->pages[i], p->layer, kv_head, 0);
        const void *values =
            engine_cpu_cache_at(cache, seq->pages[i], p->layer, p->value_part + kv_head, 0);
        engine_cpu_attend_block(a, i, keys, stride, values, stride);
    }
    engine_cpu_attend_finish(a);
}

static void paged_task(void *user, uint32_t task, uint32_t thread)
{
    const engine_cpu_paged *p = user;
    uint32_t groups = groups_of(p);
    uint32_t kv_head = task / groups % p->kv_heads;
    const engine_cpu_tile *tile = &p->tiles[task / groups / p->kv_heads];
    uint32_t shared = p->heads / p->kv_heads; /* heads of a key head */
    uint32_t in_group = task % groups * ENGINE_CPU_TILE_HEADS;
    uint32_t head = kv_head * shared + in_group;
    uint32_t per_row =
        shared - in_group < ENGINE_CPU_TILE_HEADS ? shared - in_group : ENGINE_CPU_TILE_HEADS;
    const float *q[ENGINE_CPU_TILE_QUERIES];
    float *out[ENGINE_CPU_TILE_QUERIES];
    float max[ENGINE_CPU_TILE_QUERIES];
    float sum[ENGINE_CPU_TILE_QUERIES];
    for (uint32_t i = 0; i < tile->rows * per_row; i++) {
        uint32_t row = tile->row - p->row_base + i / per_row;
        q[i] = p->q->row[row] + (head + i % per_row) * p->q_head;
        out[i] = p->out->row[row] + (head + i % per_row) * p->out_head;
    }
    engine_cpu_attend a = {.k = p->device->compute.k,
                           .type = p->device->cache.type,
                           .scale = p->device->scale,
                           .score_cols = p->score_cols,
                           .value_cols = p->value_cols,
                           .q = q,
                           .out = out,
                           .max = max,
                           .sum = sum,
                           .rows = tile->rows,
                           .per_row = per_row,
                           .first = tile->position,
                           .scores = engine_cpu_local(&p->device->compute, thread)};
    attend_pages(p, &a, tile->seq, kv_head);
}

void engine_cpu_paged_attention(const engine_cpu_paged *p)
{
    engine_cpu_pool_run(p->device->compute.pool, p->tile_count * p->kv_heads * groups_of(p),
                        paged_task, (void *)(uintptr_t)p);
}
