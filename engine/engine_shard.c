#include "engine_shard.h"

#include "pv_mem.h"

#include <string.h>

enum { UNIT = 128, UNIT_SMALL = 8 };

typedef struct cutter { /* goes on until something fails */
    const engine_shard *shard;
    pv_status status;
    pv_error *err;
} cutter;

engine_range engine_shard_range(uint32_t n, uint32_t unit, uint32_t rank, uint32_t ranks)
{
    uint32_t units = n / unit + (n % unit != 0);
    uint32_t each = units / ranks;
    uint32_t longer = units % ranks;
    uint64_t first = ((uint64_t)rank * each + (rank < longer ? rank : longer)) * unit;
    uint64_t end = first + (uint64_t)(each + (rank < longer)) * unit;
    engine_range r = {(uint32_t)(first < n ? first : n), 0};
    r.count = (uint32_t)(end < n ? end : n) - r.first;
    return r;
}

/* ---- Views ---- */

static uint32_t blocks_of(uint32_t n, uint32_t block)
{
    return n / block + (n % block != 0);
}

static bool is_blocked(const engine_view *v)
{
    return v->scale != NULL;
}

static void fail_cut(cutter *c, const char *what, const char *name, uint32_t at, uint32_t block)
{
    c->status = pv_fail(c->err, PV_E_UNSUPPORTED,
                        "%s does not divide among %u GPUs: a part would begin at %s %u, inside a "
                        "block of %u that has one FP8 scale; use fewer GPUs",
                        name, c->shard->ranks, what, at, block);
}

static void cut_rows(cutter *c, engine_view *v, engine_range r, const char *name)
{
    if (c->status != PV_OK || v->data == NULL) {
        return;
    }
    if (is_blocked(v) && r.first % v->block_rows != 0) {
        fail_cut(c, "row", name, r.first, v->block_rows);
        return;
    }
    v->data = (const char *)v->data + (size_t)r.first * v->cols * engine_dtype_bytes(v->dtype);
    v->rows = r.count;
    if (is_blocked(v)) {
        v->scale += (size_t)(r.first / v->block_rows) * v->scale_cols;
        v->scale_rows = blocks_of(r.count, v->block_rows);
    }
}

static void cut_cols(cutter *c, engine_view *v, engine_range r, const char *name)
{
    if (c->status != PV_OK || v->data == NULL) {
        return;
    }
    if (is_blocked(v) && r.first % v->block_cols != 0) {
        fail_cut(c, "column", name, r.first, v->block_cols);
        return;
    }
    v->data = (const char *)v->data + (size_t)r.first * engine_dtype_bytes(v->dtype);
    v->pitch = v->rows == 1 ? 0 : v->cols;
    v->cols = r.count;
    if (is_blocked(v)) {
        v->scale += r.first / v->block_cols;
        v->scale_pitch = v->scale_cols;
        v->scale_cols = blocks_of(r.count, v->block_cols);
    }
}

/* In which units n is cut: those of the kernels where that gives every rank some. */
static uint32_t unit_of(const engine_view *v, uint32_t n, uint32_t ranks)
{
    if (is_blocked(v)) {
        return v->block_rows > v->block_cols ? v->block_rows : v->block_cols;
    }
    return n / UNIT >= ranks ? UNIT : n / UNIT_SMALL >= ranks ? UNIT_SMALL : 1;
}

/* ---- A layer ---- */

static void cut_mlp(cutter *c, engine_mlp *m, const char *name)
{
    if (c->status != PV_OK || m->gate.data == NULL) {
        return;
    }
    uint32_t n = m->gate.rows;
    uint32_t ranks = c->shard->ranks;
    uint32_t unit = unit_of(&m->gate, n, ranks);
    if (blocks_of(n, unit) < ranks) {
        c->status = pv_fail(c->err, PV_E_UNSUPPORTED,
                            "%s of %u in blocks of %u does not divide among %u GPUs; use fewer",
                            name, n, unit, ranks);
        return;
    }
    engine_range r = engine_shard_range(n, unit, c->shard->rank, ranks);
    cut_rows(c, &m->gate, r, name);
    cut_rows(c, &m->up, r, name);
    cut_cols(c, &m->down, r, name);
}

/* Rows (or columns) of this part's heads, `per_head` each. */
static engine_range heads_range(const cutter *c, uint32_t heads, uint32_t per_head)
{
    return (engine_range){c->shard->rank * heads * per_head, heads * per_head};
}

static void cut_attention(cutter *c, engine_layer *l)
{
    const engine_config *config = &c->shard->config; /* heads: of this part */
    bool llama = config->arch == ENGINE_ARCH_LLAMA;
    engine_range q = heads_range(c, config->heads, config->head_dim);
    engine_range kv = heads_range(c, config->kv_heads, config->head_dim);
    engine_range latent = heads_range(c, config->heads, config->mla.nope_dim + config->mla.v_dim);
    engine_range out = llama ? q : heads_range(c, config->heads, config->mla.v_dim);
    cut_rows(c, &l->q, q, "q_proj");
    cut_rows(c, &l->q_b, q, "q_b_proj");
    cut_rows(c, &l->kv_b, latent, "kv_b_proj");
    cut_rows(c, &l->k, kv, "k_proj");
    cut_rows(c, &l->v, kv, "v_proj");
    cut_cols(c, &l->q_bias, q, "the bias of q_proj");
    cut_cols(c, &l->k_bias, kv, "the bias of k_proj");
    cut_cols(c, &l->v_bias, kv, "the bias of v_proj");
    cut_cols(c, &l->o, out, "o_proj");
    if (c->shard->rank != 0) {
        l->o_bias = (engine_view){0};
    }
}

static void cut_layer(cutter *c, engine_layer *l)
{
    cut_attention(c, l);
    cut_mlp(c, &l->mlp, "an intermediate size");
    cut_mlp(c, &l->shared, "a shared expert's intermediate size");
    if (l->experts != NULL) {
        l->experts += c->shard->experts.first;
    }
}

/* ---- All ---- */

static pv_status check_counts(const engine_config *c, uint32_t ranks, pv_error *err)
{
    bool llama = c->arch == ENGINE_ARCH_LLAMA;
    if (ranks == 0 || ranks > ENGINE_RANKS_MAX) {
        return pv_fail(err, PV_E_INVALID, "a model on %u GPUs; 1 to %d", ranks, ENGINE_RANKS_MAX);
    }
    if (c->heads % ranks != 0 || (llama && c->kv_heads % ranks != 0)) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "%u heads with keys of %u do not divide among %u GPUs; use fewer", c->heads,
                       c->kv_heads, ranks);
    }
    if (c->moe.routed != 0 && c->moe.routed < ranks) {
        return pv_fail(err, PV_E_UNSUPPORTED, "%u experts do not divide among %u GPUs; use fewer",
                       c->moe.routed, ranks);
    }
    if (c->vocab_size < ranks) {
        return pv_fail(err, PV_E_UNSUPPORTED, "%u words do not divide among %u GPUs; use fewer",
                       c->vocab_size, ranks);
    }
    return PV_OK;
}

static void describe(engine_shard *s, const engine_weights *w)
{
    engine_config *c = &s->config;
    *c = *w->config;
    c->heads /= s->ranks;
    c->kv_heads = c->arch == ENGINE_ARCH_LLAMA ? c->kv_heads / s->ranks : c->heads;
    c->tie_embeddings = false;
    s->experts = engine_shard_range(c->moe.routed, 1, s->rank, s->ranks);
    uint32_t unit = unit_of(&w->lm_head, c->vocab_size, s->ranks);
    for (uint32_t i = 0; i < s->ranks; i++) {
        s->words[i] = engine_shard_range(c->vocab_size, unit, i, s->ranks);
    }
}

/* Layers without a dense block leave the size as an even cut would make it. */
static uint32_t intermediate_of(const engine_shard *s)
{
    for (uint32_t l = 0; l < s->config.layers; l++) {
        if (s->weights.layers[l].mlp.gate.data != NULL) {
            return s->weights.layers[l].mlp.gate.rows;
        }
    }
    return engine_shard_range(s->config.intermediate_size, 1, s->rank, s->ranks).count;
}

pv_status engine_shard_make(engine_shard *out, const engine_weights *weights, uint32_t rank,
                            uint32_t ranks, pv_error *err)
{
    pv_status status = check_counts(weights->config, ranks, err);
    if (status != PV_OK) {
        return status;
    }
    uint32_t layers = weights->config->layers;
    engine_layer *copies = pv_calloc(layers, sizeof *copies);
    if (copies == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a part of the model");
    }
    memcpy(copies, weights->layers, layers * sizeof *copies);
    *out = (engine_shard){.rank = rank, .ranks = ranks};
    describe(out, weights);
    out->weights = *weights;
    out->weights.config = &out->config;
    out->weights.layers = copies;
    cutter c = {out, PV_OK, err};
    for (uint32_t l = 0; l < layers; l++) {
        cut_layer(&c, &copies[l]);
    }
    cut_rows(&c, &out->weights.lm_head, out->words[rank], "the head");
    out->config.intermediate_size = intermediate_of(out);
    if (c.status != PV_OK) {
        engine_shard_release(out);
    }
    return c.status;
}

void engine_shard_release(engine_shard *shard)
{
    pv_free(shard->weights.layers);
    *shard = (engine_shard){0};
}
