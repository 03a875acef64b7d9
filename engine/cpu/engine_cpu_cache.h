/* engine_cpu_cache: the pool of KV pages. A page holds 64 tokens of every layer.
 *
 * In a page, layer after layer. Llama: keys [kv_heads][64][head_dim], then values alike, so that what one head reads is
 * contiguous. MLA: [64][kv_lora_rank + rope_dim], the normalised latent and the rotated key that all heads share.
 * Threads: distinct tokens may be written at once; a token is not written while it is read. */
#ifndef ENGINE_CPU_CACHE_H
#define ENGINE_CPU_CACHE_H

#include "engine_cpu_kernels.h"

typedef struct engine_cpu_cache {
    char *block;
    char *pool; /* aligned to 64 bytes */
    engine_cpu_type type;
    size_t element;     /* bytes of a number                                   */
    size_t layer_bytes; /* one page of one layer                               */
    size_t page_bytes;
    uint32_t pages;
    uint32_t layers;
    uint32_t parts; /* runs of 64 equal items in a layer's page            */
    uint32_t item;  /* numbers in an item                                  */
} engine_cpu_cache;

/* Sizes only, nothing allocated. */
void engine_cpu_cache_plan(engine_cpu_cache *out, const engine_config *config, engine_cpu_type type,
                           uint32_t pages);

PV_NODISCARD pv_status engine_cpu_cache_open(engine_cpu_cache *out, const engine_config *config,
                                             engine_cpu_type type, uint32_t pages, pv_error *err);
void engine_cpu_cache_close(engine_cpu_cache *cache);

/* Item `slot` of run `part`; items of a run follow one another. Llama: part = head, or kv_heads + head for values. */
void *engine_cpu_cache_at(const engine_cpu_cache *cache, uint32_t page, uint32_t layer,
                          uint32_t part, uint32_t slot);

/* Writes `n` float32 numbers as elements of the cache. */
void engine_cpu_cache_write(const engine_cpu_cache *cache, const engine_cpu_kernels *k, void *at,
                            const float *x, size_t n);

/* The first `tokens` tokens of a page to another one. */
void engine_cpu_cache_copy(const engine_cpu_cache *cache, uint32_t to, uint32_t from,
                           uint32_t tokens);

#endif
