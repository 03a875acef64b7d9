#include "engine_synthetic.h"

#include "pv_hash.h"
#include "pv_mem.h"

#include <math.h>
#include <string.h>

enum { FP8_PATTERN = 1 << 16 };

struct engine_synthetic {
    engine_weights weights;
    engine_dtype matrices;
    uint64_t state; /* of the random numbers */
    void **blocks;  /* owned */
    size_t block_count;
    size_t block_capacity;
    uint8_t *
        fp8; /* random e4m3 numbers that matrices are cut from: a large model is filled at memory speed */
    bool shapes; /* no numbers */
    bool failed;
};

static uint64_t next(engine_synthetic *m)
{
    m->state += 0x9e3779b97f4a7c15u;
    return pv_mix64(m->state);
}

/* Uniform in [-1, 1). */
static float next_float(engine_synthetic *m)
{
    return (float)(next(m) >> 40) * 0x1p-23F - 1.0F;
}

static void *allocate(engine_synthetic *m, size_t bytes)
{
    if (m->shapes) {
        return m;
    }
    if (m->failed || pv_grow((void **)&m->blocks, &m->block_capacity, m->block_count + 1,
                             sizeof *m->blocks) != 0) {
        m->failed = true;
        return NULL;
    }
    void *block = pv_malloc(bytes);
    m->failed = block == NULL;
    if (block != NULL) {
        m->blocks[m->block_count++] = block;
    }
    return block;
}

static uint16_t bf16_of(float f)
{
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Truncated; |f| in [2^-14, 2), or 0 below. */
static uint16_t f16_of(float f)
{
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof bits);
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t half = magnitude < 0x38800000u ? 0 : (magnitude - 0x38000000u) >> 13;
    return (uint16_t)(((bits >> 16) & 0x8000u) | half);
}

static void fill(engine_synthetic *m, const engine_view *v, void *data, float amplitude, float mean)
{
    size_t n = m->shapes ? 0 : (size_t)v->rows * v->cols;
    for (size_t i = 0; i < n; i++) {
        float f = mean + amplitude * next_float(m);
        if (v->dtype == ENGINE_DTYPE_F32) {
            ((float *)data)[i] = f;
        } else {
            ((uint16_t *)data)[i] = v->dtype == ENGINE_DTYPE_F16 ? f16_of(f) : bf16_of(f);
        }
    }
}

static void add_plain(engine_synthetic *m, engine_view *v, engine_dtype dtype, uint32_t rows,
                      uint32_t cols, float amplitude, float mean)
{
    size_t bytes = (size_t)rows * cols * engine_dtype_bytes(dtype);
    void *data = allocate(m, bytes);
    *v = (engine_view){.data = data, .dtype = dtype, .rows = rows, .cols = cols};
    if (data != NULL) {
        fill(m, v, data, amplitude, mean);
        m->weights.plan.bytes_total += bytes;
    }
}

static void add_scales(engine_synthetic *m, engine_view *v, float amplitude)
{
    const engine_quant *q = &m->weights.config->quant;
    v->block_rows = q->block_rows;
    v->block_cols = q->block_cols;
    v->scale_rows = (v->rows + v->block_rows - 1) / v->block_rows;
    v->scale_cols = (v->cols + v->block_cols - 1) / v->block_cols;
    size_t n = (size_t)v->scale_rows * v->scale_cols;
    float *scale = allocate(m, n * sizeof *scale);
    for (size_t i = 0; scale != NULL && !m->shapes && i < n; i++) {
        scale[i] = amplitude * (1.0F + 0.5F * next_float(m));
    }
    v->scale = scale;
    m->weights.plan.scale_bytes += n * sizeof *scale;
}

static void add_fp8(engine_synthetic *m, engine_view *v, uint32_t rows, uint32_t cols,
                    float amplitude)
{
    size_t bytes = (size_t)rows * cols;
    uint8_t *data = allocate(m, bytes);
    *v = (engine_view){.data = data, .dtype = ENGINE_DTYPE_F8_E4M3, .rows = rows, .cols = cols};
    add_scales(m, v, amplitude / 8); /* the pattern's numbers are of size 8 or so */
    for (size_t at = 0; data != NULL && !m->shapes && at < bytes;) {
        size_t from = next(m) % FP8_PATTERN;
        size_t n = FP8_PATTERN - from < bytes - at ? FP8_PATTERN - from : bytes - at;
        memcpy(data + at, m->fp8 + from, n);
        at += n;
    }
    m->weights.plan.bytes_total += bytes;
}

static void add_matrix(engine_synthetic *m, engine_view *v, uint32_t rows, uint32_t cols)
{
    float amplitude = sqrtf(3.0F / (float)cols); /* unit variance out of unit variance in */
    if (m->matrices == ENGINE_DTYPE_F8_E4M3) {
        add_fp8(m, v, rows, cols, amplitude);
    } else {
        add_plain(m, v, m->matrices, rows, cols, amplitude, 0);
    }
}

static engine_dtype plain_dtype(const engine_synthetic *m)
{
    return m->matrices == ENGINE_DTYPE_F8_E4M3 ? ENGINE_DTYPE_BF16 : m->matrices;
}

static void add_vector(engine_synthetic *m, engine_view *v, uint32_t n, float amplitude, float mean)
{
    add_plain(m, v, plain_dtype(m), 1, n, amplitude, mean);
}

static void add_mlp(engine_synthetic *m, engine_mlp *mlp, uint32_t hidden, uint32_t inner)
{
    add_matrix(m, &mlp->gate, inner, hidden);
    add_matrix(m, &mlp->up, inner, hidden);
    add_matrix(m, &mlp->down, hidden, inner);
}

static void add_mla(engine_synthetic *m, engine_layer *l)
{
    const engine_config *c = m->weights.config;
    uint32_t q_rows = c->heads * c->head_dim;
    if (c->mla.q_lora_rank == 0) {
        add_matrix(m, &l->q, q_rows, c->hidden_size);
    } else {
        add_matrix(m, &l->q_a, c->mla.q_lora_rank, c->hidden_size);
        add_vector(m, &l->q_a_norm, c->mla.q_lora_rank, 0.1F, 1);
        add_matrix(m, &l->q_b, q_rows, c->mla.q_lora_rank);
    }
    add_matrix(m, &l->kv_a, c->mla.kv_lora_rank + c->mla.rope_dim, c->hidden_size);
    add_vector(m, &l->kv_a_norm, c->mla.kv_lora_rank, 0.1F, 1);
    add_matrix(m, &l->kv_b, c->heads * (c->mla.nope_dim + c->mla.v_dim), c->mla.kv_lora_rank);
    add_matrix(m, &l->o, c->hidden_size, c->heads * c->mla.v_dim);
}

static void add_gqa(engine_synthetic *m, engine_layer *l)
{
    const engine_config *c = m->weights.config;
    uint32_t q_rows = c->heads * c->head_dim;
    uint32_t kv_rows = c->kv_heads * c->head_dim;
    add_matrix(m, &l->q, q_rows, c->hidden_size);
    add_matrix(m, &l->k, kv_rows, c->hidden_size);
    add_matrix(m, &l->v, kv_rows, c->hidden_size);
    add_matrix(m, &l->o, c->hidden_size, q_rows);
    if (c->attention_bias) {
        add_vector(m, &l->q_bias, q_rows, 0.1F, 0);
        add_vector(m, &l->k_bias, kv_rows, 0.1F, 0);
        add_vector(m, &l->v_bias, kv_rows, 0.1F, 0);
        add_vector(m, &l->o_bias, c->hidden_size, 0.1F, 0);
    }
}

static void add_moe(engine_synthetic *m, engine_layer *l)
{
    const engine_config *c = m->weights.config;
    const engine_moe *moe = &c->moe;
    l->experts = pv_calloc(moe->routed, sizeof *l->experts);
    if (l->experts == NULL) {
        m->failed = true;
        return;
    }
    add_plain(m, &l->router, plain_dtype(m), moe->routed, c->hidden_size,
              sqrtf(3.0F / (float)c->hidden_size), 0);
    if (moe->topk == ENGINE_TOPK_NOAUX) {
        add_plain(m, &l->router_bias, ENGINE_DTYPE_F32, 1, moe->routed, 0.1F, 0);
    }
    if (moe->shared != 0) {
        add_mlp(m, &l->shared, c->hidden_size, moe->shared * moe->intermediate_size);
    }
    for (uint32_t e = 0; e < moe->routed && !m->failed; e++) {
        add_mlp(m, &l->experts[e], c->hidden_size, moe->intermediate_size);
    }
}

static void add_layer(engine_synthetic *m, uint32_t index)
{
    const engine_config *c = m->weights.config;
    engine_layer *l = &m->weights.layers[index];
    l->is_moe = engine_config_layer_is_moe(c, index);
    add_vector(m, &l->input_norm, c->hidden_size, 0.1F, 1);
    add_vector(m, &l->post_norm, c->hidden_size, 0.1F, 1);
    if (c->arch == ENGINE_ARCH_DEEPSEEK) {
        add_mla(m, l);
    } else {
        add_gqa(m, l);
    }
    if (l->is_moe) {
        add_moe(m, l);
    } else {
        add_mlp(m, &l->mlp, c->hidden_size, c->intermediate_size);
    }
}

static void add_all(engine_synthetic *m)
{
    engine_weights *w = &m->weights;
    const engine_config *c = w->config;
    engine_dtype plain = plain_dtype(m);
    add_plain(m, &w->embed, plain, c->vocab_size, c->hidden_size, 1, 0);
    if (c->tie_embeddings) {
        w->lm_head = w->embed;
    } else {
        add_plain(m, &w->lm_head, plain, c->vocab_size, c->hidden_size,
                  sqrtf(3.0F / (float)c->hidden_size), 0);
    }
    add_vector(m, &w->final_norm, c->hidden_size, 0.1F, 1);
    for (uint32_t i = 0; i < c->layers && !m->failed; i++) {
        add_layer(m, i);
    }
}

/* Every e4m3 number of size 2^-4 .. 30 and some subnormal ones; NaN never. */
static void fill_pattern(engine_synthetic *m)
{
    for (size_t i = 0; i < FP8_PATTERN; i++) {
        uint64_t r = next(m);
        uint64_t magnitude = r % 64 == 0 ? r >> 8 & 7U : 24 + (r >> 8) % 64;
        m->fp8[i] = (uint8_t)((r >> 56 & 0x80U) | magnitude);
    }
}

static bool is_known(engine_dtype d)
{
    return d == ENGINE_DTYPE_BF16 || d == ENGINE_DTYPE_F16 || d == ENGINE_DTYPE_F32 ||
           d == ENGINE_DTYPE_F8_E4M3;
}

static pv_status open_model(engine_synthetic **out, const engine_config *config,
                            engine_dtype matrices, uint64_t seed, bool shapes, pv_error *err)
{
    if (!is_known(matrices)) {
        return pv_fail(err, PV_E_UNSUPPORTED, "no random weights of dtype %s",
                       engine_dtype_text(matrices));
    }
    engine_synthetic *m = pv_calloc(1, sizeof *m);
    if (m == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a model");
    }
    m->weights.config = config;
    m->matrices = matrices;
    m->state = seed;
    m->shapes = shapes;
    m->fp8 = pv_malloc(FP8_PATTERN);
    m->weights.layers = pv_calloc(config->layers, sizeof *m->weights.layers);
    m->failed = m->fp8 == NULL || m->weights.layers == NULL;
    if (!m->failed) {
        fill_pattern(m);
        add_all(m);
    }
    if (m->failed) {
        engine_synthetic_close(m);
        return pv_fail(err, PV_E_NOMEM, "out of memory for a model of %u layers", config->layers);
    }
    m->weights.plan.bytes_total += m->weights.plan.scale_bytes;
    *out = m;
    return PV_OK;
}

pv_status engine_synthetic_open(engine_synthetic **out, const engine_config *config,
                                engine_dtype matrices, uint64_t seed, pv_error *err)
{
    return open_model(out, config, matrices, seed, false, err);
}

pv_status engine_synthetic_shapes(engine_synthetic **out, const engine_config *config,
                                  engine_dtype matrices, pv_error *err)
{
    return open_model(out, config, matrices, 0, true, err);
}

void engine_synthetic_close(engine_synthetic *m)
{
    if (m == NULL) {
        return;
    }
    engine_weights_release(&m->weights);
    for (size_t i = 0; i < m->block_count; i++) {
        pv_free(m->blocks[i]);
    }
    pv_free(m->blocks);
    pv_free(m->fp8);
    pv_free(m);
}

const engine_weights *engine_synthetic_weights(const engine_synthetic *m)
{
    return &m->weights;
}
