/* The cpu backend's table: plan, open, close, and what surrounds a forward. */
#include "engine_cpu_device.h"
#include "engine_cpu_lanes.h"

#include "pv_mem.h"

#include <string.h>

/* ---- small tensors, in float32 ---- */

/* *out stays NULL when the model has no such tensor. */
static pv_status widen_vector(engine_device *d, float **out, const engine_view *v, pv_error *err)
{
    if (v->data == NULL) {
        return PV_OK;
    }
    *out = pv_malloc(v->cols * sizeof **out);
    if (*out == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a vector of %u", v->cols);
    }
    d->compute.k->widen[engine_cpu_type_of(v->dtype)](*out, v->data, v->cols);
    d->scratch += v->cols * sizeof **out;
    return PV_OK;
}

typedef struct vector_pair {
    float **out;
    const engine_view *view;
} vector_pair;

enum { VECTORS = 9 };

static void list_vectors(vector_pair out[VECTORS], engine_cpu_vectors *v, const engine_layer *w)
{
    const vector_pair pairs[VECTORS] = {
        {&v->input_norm, &w->input_norm},   {&v->post_norm, &w->post_norm},
        {&v->q_a_norm, &w->q_a_norm},       {&v->kv_a_norm, &w->kv_a_norm},
        {&v->router_bias, &w->router_bias}, {&v->q_bias, &w->q_bias},
        {&v->k_bias, &w->k_bias},           {&v->v_bias, &w->v_bias},
        {&v->o_bias, &w->o_bias},
    };
    memcpy(out, pairs, sizeof pairs);
}

static pv_status open_vectors(engine_device *d, pv_error *err)
{
    uint32_t layers = d->config->layers;
    d->vectors = pv_calloc(layers, sizeof *d->vectors);
    if (d->vectors == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the vectors of %u layers", layers);
    }
    pv_status status = widen_vector(d, &d->final_norm, &d->weights->final_norm, err);
    for (uint32_t l = 0; l < layers; l++) {
        vector_pair pairs[VECTORS];
        list_vectors(pairs, &d->vectors[l], &d->weights->layers[l]);
        for (int i = 0; status == PV_OK && i < VECTORS; i++) {
            status = widen_vector(d, pairs[i].out, pairs[i].view, err);
        }
    }
    return status;
}

static void close_vectors(engine_device *d)
{
    for (uint32_t l = 0; d->vectors != NULL && l < d->config->layers; l++) {
        vector_pair pairs[VECTORS];
        list_vectors(pairs, &d->vectors[l], &d->weights->layers[l]);
        for (int i = 0; i < VECTORS; i++) {
            pv_free(*pairs[i].out);
        }
    }
    pv_free(d->vectors);
    pv_free(d->final_norm);
}

/* ---- plan ---- */

static engine_cpu_type kv_type(const engine_backend_options *o)
{
    return o->kv_type == ENGINE_KV_BF16 ? ENGINE_CPU_BF16 : ENGINE_CPU_F32;
}

static uint32_t greater(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

uint32_t engine_cpu_widest_matrix(const engine_config *c)
{
    uint32_t value = c->arch == ENGINE_ARCH_DEEPSEEK ? c->mla.v_dim : c->head_dim;
    uint32_t cols = greater(c->hidden_size, c->intermediate_size);
    cols = greater(cols, c->heads * value);
    cols = greater(cols, greater(c->mla.q_lora_rank, c->mla.kv_lora_rank));
    return greater(cols, greater(c->moe.shared, 1) * c->moe.intermediate_size);
}

static void plan_sizes(engine_memory *out, const engine_weights *w, const engine_backend_options *o)
{
    engine_cpu_cache cache;
    engine_cpu_cache_plan(&cache, w->config, kv_type(o), o->kv_pages);
    uint32_t threads = o->threads == 0 ? engine_cpu_pool_processors() : o->threads;
    memset(out, 0, sizeof *out);
    out->weights_mapped = w->plan.bytes_total;
    out->kv_pages = o->kv_pages;
    out->kv_page = cache.page_bytes;
    out->kv_token = cache.page_bytes / ENGINE_PAGE_TOKENS;
    out->kv = (uint64_t)cache.page_bytes * o->kv_pages;
    out->scratch = engine_cpu_work_bytes(w->config, o) +
                   engine_cpu_compute_bytes(threads, engine_cpu_widest_matrix(w->config)) +
                   engine_cpu_lanes_bytes(w, o);
}

/* What the kernels take for granted. */
static pv_status check_model(const engine_weights *w, pv_error *err)
{
    const engine_config *c = w->config;
    uint32_t rope = c->arch == ENGINE_ARCH_DEEPSEEK ? c->mla.rope_dim : c->head_dim;
    if (rope == 0 || rope % 2 != 0) {
        return pv_fail(err, PV_E_UNSUPPORTED, "%u rotated numbers a head; an even number is needed",
                       rope);
    }
    uint64_t gate = 2 * (uint64_t)c->moe.routed + c->moe.groups;
    if (gate * sizeof(float) > ENGINE_CPU_LOCAL_BYTES || c->mla.nope_dim > 1024) {
        return pv_fail(err, PV_E_UNSUPPORTED, "%u experts a layer, %u numbers a head",
                       c->moe.routed, c->mla.nope_dim);
    }
    return PV_OK;
}

static pv_status cpu_plan(engine_memory *out, const engine_weights *weights,
                          const engine_backend_options *options, pv_error *err)
{
    engine_backend_options o;
    pv_status status = engine_backend_options_resolve(&o, weights->config, options, err);
    if (status == PV_OK) {
        status = check_model(weights, err);
    }
    if (status == PV_OK && engine_cpu_kernels_for(o.isa) == NULL) {
        status = pv_fail(err, PV_E_UNSUPPORTED, "this processor has no %s; its best is %s",
                         engine_isa_text(o.isa), engine_isa_text(engine_isa_detect()));
    }
    if (status == PV_OK) {
        plan_sizes(out, weights, &o);
    }
    return status;
}

/* ---- open and close ---- */

static void cpu_close(engine_device *d)
{
    if (d == NULL) {
        return;
    }
    engine_cpu_lanes_close(d);
    engine_cpu_work_close(d);
    close_vectors(d);
    engine_cpu_rope_release(&d->rope);
    engine_cpu_cache_close(&d->cache);
    engine_cpu_compute_close(&d->compute);
    pv_free(d);
}

static pv_status open_parts(engine_device *d, pv_error *err)
{
    const engine_config *c = d->config;
    const engine_backend_options *o = &d->options;
    pv_status status = engine_cpu_compute_open(&d->compute, o, engine_cpu_widest_matrix(c), err);
    if (status == PV_OK) {
        d->scratch += d->compute.scratch_bytes * engine_cpu_pool_threads(d->compute.pool);
        status = engine_cpu_cache_open(&d->cache, c, kv_type(o), o->kv_pages, err);
    }
    if (status == PV_OK) {
        status = engine_cpu_rope_init(&d->rope, c, err);
    }
    if (status == PV_OK) {
        status = open_vectors(d, err);
    }
    if (status == PV_OK) {
        status = engine_cpu_work_open(d, err);
    }
    return status == PV_OK ? engine_cpu_lanes_open(d, err) : status;
}

static pv_status cpu_open(engine_device **out, const engine_weights *weights,
                          const engine_backend_options *options, pv_error *err)
{
    engine_memory plan;
    pv_status status = cpu_plan(&plan, weights, options, err);
    if (status != PV_OK) {
        return status;
    }
    engine_device *d = pv_calloc(1, sizeof *d);
    if (d == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a device");
    }
    d->weights = weights;
    d->config = weights->config;
    d->feed_care = weights->config->moe.routed != 0 ? ENGINE_CPU_SPLIT : ENGINE_CPU_ROUNDED;
    d->scale = (float)engine_cpu_softmax_scale(weights->config);
    status = engine_backend_options_resolve(&d->options, weights->config, options, err);
    if (status == PV_OK) {
        status = open_parts(d, err);
    }
    if (status != PV_OK) {
        cpu_close(d);
        return err == NULL
                   ? status
                   : pv_error_wrap(err, "cpu backend (%llu bytes of cache, %llu of buffers)",
                                   (unsigned long long)plan.kv, (unsigned long long)plan.scratch);
    }
    *out = d;
    return PV_OK;
}

/* ---- use ---- */

static pv_status cpu_forward(engine_device *d, const engine_batch *batch, float *logits,
                             pv_error *err)
{
    pv_status status = engine_batch_check(batch, d->config, &d->options, false, err);
    if (status == PV_OK && batch->logit_count != 0 && logits == NULL) {
        status = pv_fail(err, PV_E_MISUSE, "no room for %u rows of logits", batch->logit_count);
    }
    if (status != PV_OK || engine_cpu_lanes_forward(d, batch, logits)) {
        return status;
    }
    for (uint32_t i = 0; i < batch->logit_count; i++) {
        d->logit_row[i] = logits + (size_t)i * d->config->vocab_size;
    }
    engine_cpu_forward(d, batch);
    return PV_OK;
}

static pv_status cpu_copy_page(engine_device *d, uint32_t to, uint32_t from, uint32_t tokens,
                               pv_error *err)
{
    if (to >= d->cache.pages || from >= d->cache.pages || tokens > ENGINE_PAGE_TOKENS) {
        return pv_fail(err, PV_E_MISUSE, "copy of %u tokens from page %u to %u of %u", tokens, from,
                       to, d->cache.pages);
    }
    engine_cpu_cache_copy(&d->cache, to, from, tokens);
    return PV_OK;
}

static void cpu_memory(const engine_device *d, engine_memory *out)
{
    plan_sizes(out, d->weights, &d->options);
    out->scratch = d->scratch;
}

const engine_backend *engine_backend_cpu(void)
{
    static const engine_backend table = {
        .name = "cpu",
        .plan = cpu_plan,
        .open = cpu_open,
        .close = cpu_close,
        .forward = cpu_forward,
        .copy_page = cpu_copy_page,
        .memory = cpu_memory,
    };
    return &table;
}
