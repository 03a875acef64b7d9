/* engine_cpu_attention: softmax(q k) v over blocks of 64 keys with a running maximum.
 *
 * Blocks are cut at absolute positions (a block is a page), so the sums of a query are the same wherever its
 * neighbours, its chunk or its page table end. Keys that a query must not see are not touched for it.
 * Threads: pure but for the outputs. */
#ifndef ENGINE_CPU_ATTENTION_H
#define ENGINE_CPU_ATTENTION_H

#include "engine_cpu_device.h"

/* Queries [row][head], at most 64. Query i belongs to row i / per_row, whose position is first + i / per_row. */
typedef struct engine_cpu_attend {
    const engine_cpu_kernels *k;
    engine_cpu_type type; /* of keys and values */
    float scale;
    uint32_t score_cols; /* numbers of a key */
    uint32_t value_cols;
    const float *const *q;
    float *const *out;
    float *max; /* running softmax of each query */
    float *sum;
    uint32_t rows;
    uint32_t per_row;
    uint32_t first;
    float *scores; /* scratch, 64 x 64 */
} engine_cpu_attend;

void engine_cpu_attend_begin(const engine_cpu_attend *a);

/* Takes in the keys and values at positions 64 * block .. 64 * block + 63; strides in bytes. */
void engine_cpu_attend_block(const engine_cpu_attend *a, uint32_t block, const void *keys,
                             size_t key_stride, const void *values, size_t value_stride);
void engine_cpu_attend_finish(const engine_cpu_attend *a);

/* Attention over the cache for tiles of the batch. Head h of row r is q->row[r - row_base] + h * q_head. */
typedef struct engine_cpu_paged {
    engine_device *device;
    uint32_t layer;
    const engine_cpu_tile *tiles;
    uint32_t tile_count;
    uint32_t row_base;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t value_part; /* part of the first value head in the cache */
    uint32_t score_cols;
    uint32_t value_cols;
    const engine_cpu_rows *q;
    size_t q_head;
    const engine_cpu_rows *out;
    size_t out_head;
} engine_cpu_paged;

void engine_cpu_paged_attention(const engine_cpu_paged *p);

#endif
