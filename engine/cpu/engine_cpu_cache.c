#include "engine_cpu_cache.h"

#include "pv_mem.h"

#include <string.h>

void engine_cpu_cache_plan(engine_cpu_cache *out, const engine_config *config, engine_cpu_type type,
                           uint32_t pages)
{
    engine_cpu_cache c;
    memset(&c, 0, sizeof c);
    bool mla = config->arch == ENGINE_ARCH_DEEPSEEK;
    c.type = type;
    c.element = engine_cpu_type_bytes(type);
    c.pages = pages;
    c.layers = config->layers;
    c.parts = mla ? 1 : 2 * config->kv_heads;
    c.item = mla ? config->mla.kv_lora_rank + config->mla.rope_dim : config->head_dim;
    c.layer_bytes = (size_t)c.parts * ENGINE_PAGE_TOKENS * c.item * c.element;
    c.page_bytes = c.layer_bytes * c.layers;
    *out = c;
}

pv_status engine_cpu_cache_open(engine_cpu_cache *out, const engine_config *config,
                                engine_cpu_type type, uint32_t pages, pv_error *err)
{
    engine_cpu_cache c;
    engine_cpu_cache_plan(&c, config, type, pages);
    if (pages == 0 || c.page_bytes > (SIZE_MAX - 64) / pages) {
        return pv_fail(err, PV_E_INVALID, "a pool of %u pages of %zu bytes", pages, c.page_bytes);
    }
    c.block = pv_malloc(c.page_bytes * pages + 64);
    if (c.block == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for %u KV pages of %zu bytes", pages,
                       c.page_bytes);
    }
    c.pool = c.block + (64 - (uintptr_t)c.block % 64) % 64;
    *out = c;
    return PV_OK;
}

void engine_cpu_cache_close(engine_cpu_cache *cache)
{
    pv_free(cache->block);
    memset(cache, 0, sizeof *cache);
}

void *engine_cpu_cache_at(const engine_cpu_cache *cache, uint32_t page, uint32_t layer,
                          uint32_t part, uint32_t slot)
{
    size_t item = ((size_t)part * ENGINE_PAGE_TOKENS + slot) * cache->item * cache->element;
    return cache->pool + page * cache->page_bytes + layer * cache->layer_bytes + item;
}

void engine_cpu_cache_write(const engine_cpu_cache *cache, const engine_cpu_kernels *k, void *at,
                            const float *x, size_t n)
{
    if (cache->type == ENGINE_CPU_BF16) {
        k->narrow(at, x, n);
    } else {
        memcpy(at, x, n * sizeof *x);
    }
}

void engine_cpu_cache_copy(const engine_cpu_cache *cache, uint32_t to, uint32_t from,
                           uint32_t tokens)
{
    size_t bytes = (size_t)tokens * cache->item * cache->element;
    for (uint32_t layer = 0; from != to && layer < cache->layers; layer++) {
        for (uint32_t part = 0; part < cache->parts; part++) {
            memcpy(engine_cpu_cache_at(cache, to, layer, part, 0),
                   engine_cpu_cache_at(cache, from, layer, part, 0), bytes);
        }
    }
}
