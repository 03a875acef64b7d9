#include "engine_weights.h"

#include "engine_plan_internal.h"
#include "pv_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MISSING_NAMED = 5 }; /* missing tensors that the message names */

typedef struct resolver {
    engine_weights *w;
    uint64_t matched; /* tensors of the checkpoint that the model uses, scales too      */
    uint64_t missing;
    pv_buf missing_names;
} resolver;

static const size_t layer_offsets[ENGINE_SLOT_COUNT] = {
    [ENGINE_SLOT_INPUT_NORM] = offsetof(engine_layer, input_norm),
    [ENGINE_SLOT_POST_NORM] = offsetof(engine_layer, post_norm),
    [ENGINE_SLOT_Q] = offsetof(engine_layer, q),
    [ENGINE_SLOT_K] = offsetof(engine_layer, k),
    [ENGINE_SLOT_V] = offsetof(engine_layer, v),
    [ENGINE_SLOT_Q_BIAS] = offsetof(engine_layer, q_bias),
    [ENGINE_SLOT_K_BIAS] = offsetof(engine_layer, k_bias),
    [ENGINE_SLOT_V_BIAS] = offsetof(engine_layer, v_bias),
    [ENGINE_SLOT_O_BIAS] = offsetof(engine_layer, o_bias),
    [ENGINE_SLOT_Q_A] = offsetof(engine_layer, q_a),
    [ENGINE_SLOT_Q_A_NORM] = offsetof(engine_layer, q_a_norm),
    [ENGINE_SLOT_Q_B] = offsetof(engine_layer, q_b),
    [ENGINE_SLOT_KV_A] = offsetof(engine_layer, kv_a),
    [ENGINE_SLOT_KV_A_NORM] = offsetof(engine_layer, kv_a_norm),
    [ENGINE_SLOT_KV_B] = offsetof(engine_layer, kv_b),
    [ENGINE_SLOT_O] = offsetof(engine_layer, o),
    [ENGINE_SLOT_GATE] = offsetof(engine_layer, mlp.gate),
    [ENGINE_SLOT_UP] = offsetof(engine_layer, mlp.up),
    [ENGINE_SLOT_DOWN] = offsetof(engine_layer, mlp.down),
    [ENGINE_SLOT_ROUTER] = offsetof(engine_layer, router),
    [ENGINE_SLOT_ROUTER_BIAS] = offsetof(engine_layer, router_bias),
    [ENGINE_SLOT_SHARED_GATE] = offsetof(engine_layer, shared.gate),
    [ENGINE_SLOT_SHARED_UP] = offsetof(engine_layer, shared.up),
    [ENGINE_SLOT_SHARED_DOWN] = offsetof(engine_layer, shared.down),
};

static engine_view *view_of(engine_weights *w, const engine_spec *spec)
{
    engine_layer *layer = &w->layers[spec->layer];
    switch (spec->slot) {
    case ENGINE_SLOT_EMBED:
        return &w->embed;
    case ENGINE_SLOT_FINAL_NORM:
        return &w->final_norm;
    case ENGINE_SLOT_LM_HEAD:
        return &w->lm_head;
    case ENGINE_SLOT_EXPERT_GATE:
        return &layer->experts[spec->expert].gate;
    case ENGINE_SLOT_EXPERT_UP:
        return &layer->experts[spec->expert].up;
    case ENGINE_SLOT_EXPERT_DOWN:
        return &layer->experts[spec->expert].down;
    default:
        return (engine_view *)(void *)((char *)layer + layer_offsets[spec->slot]);
    }
}

static pv_status check_tensor(const engine_safetensors *st, const engine_tensor *t, uint64_t rows,
                              uint64_t cols, bool vector, pv_error *err)
{
    const char *path = engine_safetensors_shard_path(st, t->shard);
    bool matches = vector ? t->rank == 1 && t->shape[0] == cols
                          : t->rank == 2 && t->shape[0] == rows && t->shape[1] == cols;
    if (!matches) {
        return pv_fail(err, PV_E_INVALID,
                       "%s: tensor %s has rank %u and sizes %llu, %llu; the configuration asks for "
                       "rank %d and sizes %llu, %llu",
                       path, t->name, t->rank, (unsigned long long)t->shape[0],
                       (unsigned long long)t->shape[1], vector ? 1 : 2,
                       (unsigned long long)(vector ? cols : rows),
                       (unsigned long long)(vector ? 0 : cols));
    }
    if ((uintptr_t)t->data % engine_dtype_bytes(t->dtype) != 0) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "%s: tensor %s is not aligned to its dtype; save the checkpoint again with "
                       "a current safetensors writer",
                       path, t->name);
    }
    return PV_OK;
}

static pv_status check_dtype(const engine_safetensors *st, const engine_tensor *t,
                             const engine_spec *spec, pv_error *err)
{
    bool plain = t->dtype == ENGINE_DTYPE_BF16 || t->dtype == ENGINE_DTYPE_F16 ||
                 t->dtype == ENGINE_DTYPE_F32;
    if (plain || (spec->quantised && t->dtype == ENGINE_DTYPE_F8_E4M3)) {
        return PV_OK;
    }
    const char *hint = t->dtype == ENGINE_DTYPE_F8_E4M3
                           ? "; only the matrices of a model with \"quantization_config\" may be"
                           : "; expected BF16, F16 or F32";
    return pv_fail(err, PV_E_UNSUPPORTED, "%s: tensor %s is %s%s",
                   engine_safetensors_shard_path(st, t->shard), t->name,
                   engine_dtype_text(t->dtype), hint);
}

/* Bits of a finite number, for the three dtypes that vectors have. */
static bool is_finite_at(const engine_tensor *t, uint64_t i)
{
    uint32_t wide = 0;
    uint16_t narrow = 0;
    switch (t->dtype) {
    case ENGINE_DTYPE_F32:
        memcpy(&wide, (const char *)t->data + 4 * i, sizeof wide);
        return (wide & 0x7f800000u) != 0x7f800000u;
    case ENGINE_DTYPE_BF16:
        memcpy(&narrow, (const char *)t->data + 2 * i, sizeof narrow);
        return (narrow & 0x7f80u) != 0x7f80u;
    default: /* F16 */
        memcpy(&narrow, (const char *)t->data + 2 * i, sizeof narrow);
        return (narrow & 0x7c00u) != 0x7c00u;
    }
}

/* Vectors are small and steer everything after them, so they are read; matrices are left to the kernels. */
static pv_status check_finite(const engine_safetensors *st, const engine_tensor *t, pv_error *err)
{
    for (uint64_t i = 0; i < t->shape[0]; i++) {
        if (!is_finite_at(t, i)) {
            return pv_fail(err, PV_E_INVALID, "%s: tensor %s: element %llu is not a finite number",
                           engine_safetensors_shard_path(st, t->shard), t->name,
                           (unsigned long long)i);
        }
    }
    return PV_OK;
}

static pv_status check_scales(const engine_safetensors *st, const engine_tensor *t, pv_error *err)
{
    const float *scale = t->data;
    uint64_t n = t->shape[0] * t->shape[1];
    for (uint64_t i = 0; i < n; i++) {
        if (!(isfinite(scale[i]) && scale[i] >= 0)) {
            return pv_fail(err, PV_E_INVALID,
                           "%s: tensor %s: scale %llu is %g; a scale is finite and not negative",
                           engine_safetensors_shard_path(st, t->shard), t->name,
                           (unsigned long long)i, (double)scale[i]);
        }
    }
    return PV_OK;
}

static void note_missing(resolver *r, const char *name)
{
    if (r->missing < MISSING_NAMED) {
        pv_buf_printf(&r->missing_names, "%s%s", r->missing == 0 ? "" : ", ", name);
    }
    r->missing++;
}

static uint32_t blocks(uint32_t n, uint32_t block)
{
    return n / block + (n % block != 0);
}

static pv_status attach_scales(resolver *r, const engine_spec *spec, engine_view *view,
                               pv_error *err)
{
    const engine_safetensors *st = r->w->tensors;
    const engine_quant *q = &r->w->config->quant;
    char name[ENGINE_TENSOR_NAME_MAX + 16];
    snprintf(name, sizeof name, "%s_scale_inv", spec->name);
    const engine_tensor *t = engine_safetensors_find(st, name);
    if (t == NULL) {
        note_missing(r, name);
        return PV_OK;
    }
    if (t->dtype != ENGINE_DTYPE_F32) {
        return pv_fail(err, PV_E_UNSUPPORTED, "%s: tensor %s is %s; scales are F32",
                       engine_safetensors_shard_path(st, t->shard), name,
                       engine_dtype_text(t->dtype));
    }
    view->block_rows = q->block_rows;
    view->block_cols = q->block_cols;
    view->scale_rows = blocks(spec->rows, q->block_rows);
    view->scale_cols = blocks(spec->cols, q->block_cols);
    pv_status status = check_tensor(st, t, view->scale_rows, view->scale_cols, false, err);
    if (status == PV_OK) {
        status = check_scales(st, t, err);
    }
    view->scale = t->data;
    r->matched++;
    r->w->plan.scale_bytes += t->bytes;
    return status;
}

static pv_status resolve_tensor(void *user, const engine_spec *spec, pv_error *err)
{
    resolver *r = user;
    const engine_safetensors *st = r->w->tensors;
    const engine_tensor *t = engine_safetensors_find(st, spec->name);
    if (t == NULL) {
        note_missing(r, spec->name);
        return PV_OK;
    }
    pv_status status = check_tensor(st, t, spec->rows, spec->cols, spec->vector, err);
    if (status == PV_OK) {
        status = check_dtype(st, t, spec, err);
    }
    if (status == PV_OK && spec->vector) {
        status = check_finite(st, t, err);
    }
    if (status != PV_OK) {
        return status;
    }
    engine_view *view = view_of(r->w, spec);
    view->data = t->data;
    view->dtype = t->dtype;
    view->rows = spec->rows;
    view->cols = spec->cols;
    r->matched++;
    enginep_plan_add(&r->w->plan, r->w->config, spec, t->bytes);
    return t->dtype == ENGINE_DTYPE_F8_E4M3 ? attach_scales(r, spec, view, err) : PV_OK;
}

static pv_status allocate_layers(engine_weights *w, pv_error *err)
{
    const engine_config *c = w->config;
    w->layers = pv_calloc(c->layers, sizeof *w->layers);
    bool whole = w->layers != NULL;
    for (uint32_t i = 0; whole && i < c->layers; i++) {
        engine_layer *layer = &w->layers[i];
        layer->is_moe = engine_config_layer_is_moe(c, i);
        if (layer->is_moe) {
            layer->experts = pv_calloc(c->moe.routed, sizeof *layer->experts);
            whole = layer->experts != NULL;
        }
    }
    return whole ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory for %u layers", c->layers);
}

/* Layers past the last one are multi-token-prediction blocks; Hugging Face numbers them on. */
static bool is_mtp(const engine_config *c, const char *name)
{
    unsigned layer = 0;
    int used = 0;
    return sscanf(name, "model.layers.%5u.%n", &layer, &used) == 1 && used > 0 &&
           layer >= c->layers && layer < c->layers + c->mtp_layers;
}

typedef struct name_set { /* the names that the layout uses, to find the others */
    const engine_safetensors *st;
    unsigned char *used; /* one flag a tensor */
} name_set;

static pv_status mark_used(void *user, const engine_spec *spec, pv_error *err)
{
    (void)err;
    name_set *set = user;
    const engine_tensor *first = engine_safetensors_at(set->st, 0);
    const engine_tensor *t = engine_safetensors_find(set->st, spec->name);
    if (t == NULL) {
        return PV_OK;
    }
    set->used[t - first] = 1;
    if (t->dtype == ENGINE_DTYPE_F8_E4M3) {
        char name[ENGINE_TENSOR_NAME_MAX + 16];
        snprintf(name, sizeof name, "%s_scale_inv", spec->name);
        t = engine_safetensors_find(set->st, name);
        if (t != NULL) {
            set->used[t - first] = 1;
        }
    }
    return PV_OK;
}

static void count_unused(engine_weights *w, const unsigned char *used)
{
    engine_plan *p = &w->plan;
    for (size_t i = 0; i < engine_safetensors_count(w->tensors); i++) {
        const engine_tensor *t = engine_safetensors_at(w->tensors, i);
        if (used[i]) {
            continue;
        }
        if (is_mtp(w->config, t->name)) {
            p->mtp_tensors++;
            p->mtp_bytes += t->bytes;
            continue;
        }
        if (p->unused_tensors < ENGINE_UNUSED_NAMES_MAX) {
            w->unused[p->unused_tensors] = t->name;
        }
        p->unused_tensors++;
        p->unused_bytes += t->bytes;
    }
}

static pv_status report_unused(resolver *r, pv_error *err)
{
    engine_weights *w = r->w;
    size_t count = engine_safetensors_count(w->tensors);
    if (r->matched == count) {
        return PV_OK;
    }
    name_set set = {w->tensors, pv_calloc(count, 1)};
    if (set.used == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for %zu tensors", count);
    }
    pv_status status = engine_layout_walk(w->config, mark_used, &set, err);
    if (status == PV_OK) {
        count_unused(w, set.used);
    }
    pv_free(set.used);
    return status;
}

static pv_status resolve_all(resolver *r, pv_error *err)
{
    engine_weights *w = r->w;
    pv_status status = allocate_layers(w, err);
    if (status == PV_OK) {
        status = engine_layout_walk(w->config, resolve_tensor, r, err);
    }
    if (status == PV_OK && r->missing != 0) {
        status = pv_fail(err, PV_E_INVALID,
                         "%llu tensors that the configuration asks for are missing: %s%s",
                         (unsigned long long)r->missing, pv_buf_text(&r->missing_names),
                         r->missing > MISSING_NAMED ? ", ..." : "");
    }
    if (status == PV_OK) {
        status = report_unused(r, err);
    }
    if (w->config->tie_embeddings) {
        w->lm_head = w->embed;
    }
    enginep_plan_finish(&w->plan, w->config);
    return status;
}

pv_status engine_weights_resolve(engine_weights *out, const engine_config *config,
                                 const engine_safetensors *tensors, pv_error *err)
{
    engine_weights w;
    memset(&w, 0, sizeof w);
    w.config = config;
    w.tensors = tensors;
    resolver r = {.w = &w};
    pv_status status = resolve_all(&r, err);
    pv_buf_release(&r.missing_names);
    if (status != PV_OK) {
        engine_weights_release(&w);
        return status;
    }
    *out = w;
    return PV_OK;
}

void engine_weights_release(engine_weights *weights)
{
    for (uint32_t i = 0; weights->layers != NULL && i < weights->config->layers; i++) {
        pv_free(weights->layers[i].experts);
    }
    pv_free(weights->layers);
    memset(weights, 0, sizeof *weights);
}
