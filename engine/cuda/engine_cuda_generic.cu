/* The generic runner: memory, uploads and the order of kernels, after engine/cpu's forward. */
#include "engine_cuda_generic.cuh"
#include "engine_cuda_runner.cuh"
#include "engine_cuda_share.cuh"

#include "pv_mem.h"

#include <stdio.h>

namespace
{

struct matrix { /* of a layer; data NULL: the model has none */
    cuda_generic_matrix w;
    size_t expert_bytes;
    size_t expert_scales;
};

struct mlp {
    matrix gate;
    matrix up;
    matrix down;
};

struct layer {
    matrix q_a, q_b, kv_a, kv_b;
    matrix q, k, v, o;
    matrix router;
    mlp dense;
    mlp shared;
    mlp experts; /* the first one; all of a kind lie one after the other */
    float *input_norm, *post_norm, *q_a_norm, *kv_a_norm;
    float *router_bias;
    float *q_bias, *k_bias, *v_bias, *o_bias;
};

struct rows { /* of float32 numbers */
    float *data;
    uint32_t stride;
};

struct scratch {
    rows hidden; /* the residual stream */
    rows norm;
    rows last;     /* of the logit rows */
    rows q_latent; /* MLA, compressed queries */
    rows q;
    rows k; /* MLA: latent and rotated key */
    rows v;
    rows q_wide;   /* MLA: queries in the latent space */
    rows out_wide; /* MLA: what they found there */
    rows attention;
    rows gate;
    rows up;
    rows router;
    rows entry_gate;
    rows entry_up;
    rows parts;
    rows shared;
    float *states;
    cuda_generic_choices choices;
};

struct runner {
    const cuda_model *model;
    const engine_config *config;
    layer *layers; /* owned */
    matrix embed;
    matrix head;
    float *final_norm;
    cuda_generic_cache cache;
    scratch s;
    cuda_share share;        /* where the model is spread over several GPUs */
    uint32_t attention_rows; /* of a group */
};

runner *runner_of(cuda_runner_state *state)
{
    return (runner *)(void *)state;
}

const runner *runner_of(const cuda_runner_state *state)
{
    return (const runner *)(const void *)state;
}

uint32_t up4(uint32_t n)
{
    return (n + 3) / 4 * 4;
}

bool is_mla(const engine_config *c)
{
    return c->arch == ENGINE_ARCH_DEEPSEEK;
}

uint32_t latent_numbers(const engine_config *c)
{
    return c->mla.kv_lora_rank + c->mla.rope_dim;
}

/* ---- What it can run ---- */

cuda_generic_type type_of(engine_dtype dtype)
{
    switch (dtype) {
    case ENGINE_DTYPE_F32:
        return CUDA_GENERIC_F32;
    case ENGINE_DTYPE_BF16:
        return CUDA_GENERIC_BF16;
    case ENGINE_DTYPE_F16:
        return CUDA_GENERIC_F16;
    case ENGINE_DTYPE_F8_E4M3:
        return CUDA_GENERIC_E4M3;
    default:
        return CUDA_GENERIC_NONE;
    }
}

uint32_t group_rows(const engine_config *c)
{
    bool mla = is_mla(c);
    return cuda_generic_attention_rows(c->heads, mla ? 1 : c->kv_heads,
                                       mla ? latent_numbers(c) : c->head_dim,
                                       mla ? c->mla.kv_lora_rank : c->head_dim);
}

bool experts_alike(const cuda_model *m)
{
    const engine_weights *w = m->weights;
    for (uint32_t l = 0; l < w->config->layers; l++) {
        const engine_layer *layer = &w->layers[l];
        for (uint32_t e = 1; layer->is_moe && e < cuda_model_experts(m).count; e++) {
            if (layer->experts[e].gate.dtype != layer->experts[0].gate.dtype ||
                layer->experts[e].up.dtype != layer->experts[0].up.dtype ||
                layer->experts[e].down.dtype != layer->experts[0].down.dtype) {
                return false;
            }
        }
    }
    return true;
}

enum { VOCAB_MAX = 8 * 65535 }; /* 65535 blocks of the smallest tiles */

/* Kernels count the numbers of some buffers in 32 bits. */
bool buffers_fit(const cuda_model *m)
{
    const engine_config *c = m->config;
    uint64_t widest = (uint64_t)c->heads * (is_mla(c) ? up4(latent_numbers(c)) : c->head_dim);
    uint64_t entries = c->moe.per_token > 1 ? c->moe.per_token : 1;
    uint64_t inner = c->intermediate_size;
    inner = c->moe.intermediate_size > inner ? c->moe.intermediate_size : inner;
    inner = c->hidden_size > inner ? c->hidden_size : inner;
    widest = entries * inner > widest ? entries * inner : widest;
    return (widest + 4) * m->rows < UINT32_MAX;
}

bool supports(const cuda_model *m, char why[160])
{
    const engine_config *c = m->config;
    const char *reason = NULL;
    uint32_t rotated = is_mla(c) ? c->mla.rope_dim : c->head_dim;
    if (m->capability < 80) {
        reason = "the GPU's compute capability is below 8.0";
    } else if (rotated == 0 || rotated % 2 != 0) {
        reason = "an odd number of rotated numbers a head";
    } else if (group_rows(c) == 0) {
        reason = "heads too large for shared memory";
    } else if (c->vocab_size > VOCAB_MAX) {
        reason = "too large a vocabulary";
    } else if (c->moe.routed > CUDA_GENERIC_EXPERTS_MAX) {
        reason = "too many experts";
    } else if (!experts_alike(m)) {
        reason = "experts of one layer differ in type";
    } else if (!buffers_fit(m)) {
        reason = "max_rows is too large for this model";
    }
    if (reason != NULL) {
        (void)snprintf(why, 160, "%s", reason);
    }
    return reason == NULL;
}

pv_status create(cuda_runner_state **out, const cuda_model *model, pv_error *err)
{
    runner *r = (runner *)pv_calloc(1, sizeof *r);
    layer *layers = (layer *)pv_calloc(model->config->layers, sizeof *layers);
    if (r == NULL || layers == NULL) {
        pv_free(layers);
        pv_free(r);
        return pv_fail(err, PV_E_NOMEM, "out of memory for a runner");
    }
    r->model = model;
    r->config = model->config;
    r->layers = layers;
    r->attention_rows = group_rows(model->config);
    *out = (cuda_runner_state *)(void *)r;
    return PV_OK;
}

void destroy(cuda_runner_state *state)
{
    if (state != NULL) {
        pv_free(runner_of(state)->layers);
        pv_free(runner_of(state));
    }
}

/* ---- Memory and uploads: one walk over the weights serves both ---- */

struct walk {
    cuda_arena *arena;   /* lays out, or ... */
    cuda_upload *upload; /* ... uploads */
    pv_status status;
    pv_error *err;
};

size_t matrix_bytes(const engine_view *v)
{
    return (size_t)v->rows * v->cols * engine_dtype_bytes(v->dtype);
}

/* `count` matrices like `view`, one after the other. */
void lay_out_matrix(walk *k, matrix *m, const engine_view *view, uint32_t count)
{
    if (view->data == NULL) {
        *m = {};
        m->w.type = CUDA_GENERIC_NONE;
        return;
    }
    m->expert_bytes = (matrix_bytes(view) + 15) / 16 * 16;
    m->expert_scales = (size_t)view->scale_rows * view->scale_cols;
    uint8_t *data = cuda_take<uint8_t>(k->arena, m->expert_bytes * count);
    float *scale = NULL;
    if (view->scale != NULL) {
        scale = cuda_take<float>(k->arena, m->expert_scales * count);
    }
    m->w = {data,
            scale,
            (uint32_t)type_of(view->dtype),
            view->rows,
            view->cols,
            view->block_rows,
            view->block_cols,
            view->scale_cols};
}

void upload_matrix(walk *k, const matrix *m, const engine_view *view, uint32_t index)
{
    if (k->status == PV_OK && m->w.data != NULL) {
        uint8_t *data = (uint8_t *)const_cast<void *>(m->w.data) + index * m->expert_bytes;
        float *scale = const_cast<float *>(m->w.scale);
        scale += scale == NULL ? 0 : index * m->expert_scales;
        k->status = cuda_upload_matrix(k->upload, data, scale, view, k->err);
    }
}

void visit(walk *k, matrix *m, const engine_view *view)
{
    if (k->arena != NULL) {
        lay_out_matrix(k, m, view, 1);
    } else {
        upload_matrix(k, m, view, 0);
    }
}

void visit(walk *k, float **v, const engine_view *view)
{
    if (k->arena != NULL) {
        *v = view->data == NULL ? NULL : cuda_take<float>(k->arena, view->cols);
    } else if (k->status == PV_OK && *v != NULL) {
        k->status = cuda_upload_vector(k->upload, *v, view, k->err);
    }
}

void visit(walk *k, mlp *m, const engine_mlp *w)
{
    visit(k, &m->gate, &w->gate);
    visit(k, &m->up, &w->up);
    visit(k, &m->down, &w->down);
}

void visit_experts(walk *k, mlp *m, const engine_mlp *experts, uint32_t count)
{
    if (k->arena != NULL) {
        lay_out_matrix(k, &m->gate, &experts->gate, count);
        lay_out_matrix(k, &m->up, &experts->up, count);
        lay_out_matrix(k, &m->down, &experts->down, count);
        return;
    }
    for (uint32_t e = 0; e < count; e++) {
        upload_matrix(k, &m->gate, &experts[e].gate, e);
        upload_matrix(k, &m->up, &experts[e].up, e);
        upload_matrix(k, &m->down, &experts[e].down, e);
    }
}

void visit_layer(walk *k, layer *l, const engine_layer *w, uint32_t experts)
{
    visit(k, &l->input_norm, &w->input_norm);
    visit(k, &l->post_norm, &w->post_norm);
    visit(k, &l->q_a, &w->q_a);
    visit(k, &l->q_a_norm, &w->q_a_norm);
    visit(k, &l->q_b, &w->q_b);
    visit(k, &l->kv_a, &w->kv_a);
    visit(k, &l->kv_a_norm, &w->kv_a_norm);
    visit(k, &l->kv_b, &w->kv_b);
    visit(k, &l->q, &w->q);
    visit(k, &l->k, &w->k);
    visit(k, &l->v, &w->v);
    visit(k, &l->q_bias, &w->q_bias);
    visit(k, &l->k_bias, &w->k_bias);
    visit(k, &l->v_bias, &w->v_bias);
    visit(k, &l->o, &w->o);
    visit(k, &l->o_bias, &w->o_bias);
    visit(k, &l->dense, &w->mlp);
    visit(k, &l->shared, &w->shared);
    visit(k, &l->router, &w->router);
    visit(k, &l->router_bias, &w->router_bias);
    if (w->is_moe) {
        visit_experts(k, &l->experts, w->experts, experts);
    }
}

void visit_all(walk *k, runner *r)
{
    const engine_weights *w = r->model->weights;
    visit(k, &r->embed, &w->embed);
    if (!r->config->tie_embeddings) {
        visit(k, &r->head, &w->lm_head);
    } else {
        r->head = r->embed;
    }
    visit(k, &r->final_norm, &w->final_norm);
    for (uint32_t l = 0; l < r->config->layers; l++) {
        visit_layer(k, &r->layers[l], &w->layers[l], cuda_model_experts(r->model).count);
    }
}

rows take_rows(cuda_arena *arena, size_t count, uint32_t cols)
{
    rows r = {NULL, up4(cols)};
    r.data = cuda_take<float>(arena, count * r.stride);
    return r;
}

void lay_out_cache(runner *r, cuda_arena *arena)
{
    const engine_config *c = r->config;
    cuda_generic_cache cache = {};
    cache.bf16 = r->model->options.kv_type == ENGINE_KV_BF16;
    cache.layers = c->layers;
    cache.parts = is_mla(c) ? 1 : 2 * c->kv_heads;
    cache.pitch = up4(is_mla(c) ? latent_numbers(c) : c->head_dim);
    size_t numbers = cuda_generic_page_numbers(cache) * ((size_t)r->model->options.kv_pages + 1);
    cache.base = cuda_take<uint8_t>(arena, numbers * (cache.bf16 ? 2 : 4));
    r->cache = cache;
}

void lay_out_attention(runner *r, cuda_arena *arena)
{
    const engine_config *c = r->config;
    scratch *s = &r->s;
    size_t n = r->model->rows;
    if (is_mla(c)) {
        uint32_t wide = up4(latent_numbers(c));
        uint32_t out = up4(c->mla.kv_lora_rank);
        if (c->mla.q_lora_rank != 0) {
            s->q_latent = take_rows(arena, n, c->mla.q_lora_rank);
        }
        s->q = take_rows(arena, n, c->heads * c->head_dim);
        s->k = take_rows(arena, n, latent_numbers(c));
        s->q_wide = take_rows(arena, n, c->heads * wide);
        s->out_wide = take_rows(arena, n, c->heads * out);
        s->attention = take_rows(arena, n, c->heads * c->mla.v_dim);
        s->states =
            cuda_take<float>(arena, cuda_generic_state_numbers(c->heads, c->mla.kv_lora_rank));
    } else {
        s->q = take_rows(arena, n, c->heads * c->head_dim);
        s->k = take_rows(arena, n, c->kv_heads * c->head_dim);
        s->v = take_rows(arena, n, c->kv_heads * c->head_dim);
        s->attention = take_rows(arena, n, c->heads * c->head_dim);
        s->states = cuda_take<float>(arena, cuda_generic_state_numbers(c->heads, c->head_dim));
    }
}

void lay_out_experts(runner *r, cuda_arena *arena)
{
    const engine_config *c = r->config;
    const engine_moe *moe = &c->moe;
    scratch *s = &r->s;
    size_t n = r->model->rows;
    size_t entries = n * moe->per_token;
    s->router = take_rows(arena, n, moe->routed);
    s->entry_gate = take_rows(arena, entries, moe->intermediate_size);
    s->entry_up = take_rows(arena, entries, moe->intermediate_size);
    s->parts = take_rows(arena, entries, c->hidden_size);
    s->shared = take_rows(arena, n, c->hidden_size);
    s->choices.ids = cuda_take<uint32_t>(arena, entries);
    s->choices.weights = cuda_take<float>(arena, entries);
    s->choices.order = cuda_take<uint32_t>(arena, entries);
    s->choices.tiles = cuda_take<cuda_generic_tile>(arena, entries);
    s->choices.tile_count = cuda_take<uint32_t>(arena, 1);
}

void lay_out(cuda_runner_state *state, cuda_arenas *arenas)
{
    runner *r = runner_of(state);
    const engine_config *c = r->config;
    walk k = {&arenas->weights, NULL, PV_OK, NULL};
    visit_all(&k, r);
    lay_out_cache(r, &arenas->kv);
    cuda_arena *arena = &arenas->scratch;
    size_t n = r->model->rows;
    uint32_t shared = c->moe.shared * c->moe.intermediate_size;
    uint32_t inner = c->intermediate_size > shared ? c->intermediate_size : shared;
    r->s.hidden = take_rows(arena, n, c->hidden_size);
    r->s.norm = take_rows(arena, n, c->hidden_size);
    r->s.last = take_rows(arena, r->model->logit_rows, c->hidden_size);
    r->s.gate = take_rows(arena, n, inner);
    r->s.up = take_rows(arena, n, inner);
    lay_out_attention(r, arena);
    if (c->moe.routed != 0) {
        lay_out_experts(r, arena);
    }
    cuda_share_lay_out(&r->share, r->model, r->s.hidden.stride, arena);
}

pv_status upload(cuda_runner_state *state, cuda_upload *to, pv_error *err)
{
    walk k = {NULL, to, PV_OK, err};
    visit_all(&k, runner_of(state));
    if (k.status == PV_OK) {
        cudaError_t e = cuda_generic_attention_prepare();
        if (e != cudaSuccess) {
            return pv_fail(err, PV_E_DEVICE, "preparing kernels: %s", cudaGetErrorString(e));
        }
    }
    return k.status;
}

/* ---- A step ---- */

enum { GROUPS_AT = 16 }; /* in `extra`: a word, the number of groups; from here on the groups */

size_t extra_bytes(const cuda_runner_state *state)
{
    return GROUPS_AT + runner_of(state)->model->rows * sizeof(cuda_generic_rows);
}

pv_status prepare(cuda_runner_state *state, const cuda_host_batch *host, void *extra, size_t *used,
                  pv_error *err)
{
    (void)err;
    uint32_t most = runner_of(state)->attention_rows;
    uint32_t *count = (uint32_t *)extra;
    cuda_generic_rows *groups = (cuda_generic_rows *)(void *)((uint8_t *)extra + GROUPS_AT);
    uint32_t row = 0;
    *count = 0;
    for (uint32_t s = 0; s < host->batch->seq_count; s++) {
        uint32_t end = row + host->batch->seqs[s].rows;
        for (; row < end; row += groups[(*count)++].rows) {
            groups[*count] = {row, end - row < most ? end - row : most};
        }
    }
    *used = GROUPS_AT + *count * sizeof *groups;
    return PV_OK;
}

struct step {
    const runner *r;
    const engine_config *c;
    const scratch *s;
    const cuda_batch *b;
    cuda_generic_place place;
    cudaStream_t stream;
    cudaError_t error; /* the first */
};

void keep(step *t, cudaError_t error)
{
    t->error = t->error == cudaSuccess ? error : t->error;
}

cuda_generic_job job_of(const matrix *m, const rows *y, const float *bias)
{
    return {m->w, bias, y->data, y->stride, m->expert_bytes, m->expert_scales};
}

cuda_generic_product product_of(const step *t, const rows *x)
{
    cuda_generic_product p = {};
    p.x = x->data;
    p.x_stride = x->stride;
    p.x_divisor = 1;
    p.rows = t->b->rows;
    p.active = t->b->active;
    return p;
}

/* Jobs that follow one another and are of one type go in one launch. */
void run_jobs(step *t, cuda_generic_product p, const cuda_generic_job *jobs, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        for (p.jobs = 0; i < count && (p.jobs == 0 || jobs[i].w.type == p.job[0].w.type); i++) {
            p.job[p.jobs++] = jobs[i];
        }
        keep(t, cuda_generic_product_run(&p, t->stream));
    }
}

void project(step *t, const matrix *m, const rows *x, const rows *y, const float *bias, bool add)
{
    cuda_generic_product p = product_of(t, x);
    cuda_generic_job job = job_of(m, y, bias);
    p.add = add;
    run_jobs(t, p, &job, 1);
}

/* The stream += W x + bias, the parts of other GPUs included. */
void project_into_stream(step *t, const matrix *m, const rows *x, const float *bias)
{
    const cuda_share *share = &t->r->share;
    const rows *hidden = &t->s->hidden;
    if (share->ranks == 0) {
        project(t, m, x, hidden, bias, true);
        return;
    }
    rows part = {share->part, share->stride};
    project(t, m, x, &part, bias, false);
    keep(t, cuda_share_add(share, hidden->data, t->b->rows, t->stream));
}

void normalise(step *t, const rows *x, const float *w, const rows *out, uint32_t cols)
{
    cuda_generic_norm op = {x->data,    x->stride,   NULL, w,
                            out->data,  out->stride, cols, (float)t->c->norm_eps,
                            t->b->rows, t->b->active};
    keep(t, cuda_generic_norm_run(&op, t->stream));
}

cuda_generic_attention attention_of(const step *t, uint32_t layer, const rows *q, const rows *out)
{
    cuda_generic_attention a = {};
    a.cache = t->r->cache;
    a.layer = layer;
    a.heads = t->c->heads;
    a.scale = t->r->model->score_scale;
    a.q = q->data;
    a.q_stride = q->stride;
    a.out = out->data;
    a.out_stride = out->stride;
    a.rows = t->b->rows;
    a.group_count = (const uint32_t *)t->b->extra;
    a.groups = (const cuda_generic_rows *)(const void *)((const uint8_t *)t->b->extra + GROUPS_AT);
    a.active = t->b->active;
    a.position = t->b->position;
    a.sequence = t->b->sequence;
    a.pages = t->b->pages;
    a.page_stride = t->b->page_stride;
    a.states = t->s->states;
    return a;
}

void attend_llama(step *t, const layer *l, uint32_t index)
{
    const engine_config *c = t->c;
    const scratch *s = t->s;
    cuda_generic_job jobs[] = {job_of(&l->q, &s->q, l->q_bias), job_of(&l->k, &s->k, l->k_bias),
                               job_of(&l->v, &s->v, l->v_bias)};
    run_jobs(t, product_of(t, &s->norm), jobs, 3);
    cuda_generic_llama turn = {s->q.data,   s->q.stride, s->k.data,   s->v.data,
                               s->k.stride, c->heads,    c->kv_heads, c->head_dim,
                               t->r->cache, index,       t->place};
    keep(t, cuda_generic_llama_run(&turn, t->stream));
    cuda_generic_attention a = attention_of(t, index, &s->q, &s->attention);
    a.kv_heads = a.value_part = c->kv_heads;
    a.score_cols = a.value_cols = a.q_head = a.out_head = c->head_dim;
    keep(t, cuda_generic_attention_run(&a, t->stream));
}

void project_latent(step *t, const layer *l)
{
    const scratch *s = t->s;
    bool compressed = t->c->mla.q_lora_rank != 0;
    cuda_generic_job jobs[] = {compressed ? job_of(&l->q_a, &s->q_latent, NULL)
                                          : job_of(&l->q, &s->q, NULL),
                               job_of(&l->kv_a, &s->k, NULL)};
    run_jobs(t, product_of(t, &s->norm), jobs, 2);
    if (compressed) {
        normalise(t, &s->q_latent, l->q_a_norm, &s->q_latent, t->c->mla.q_lora_rank);
        project(t, &l->q_b, &s->q_latent, &s->q, NULL, false);
    }
}

/* Latent values to each head's own. */
void expand(step *t, const layer *l)
{
    const engine_mla *mla = &t->c->mla;
    cuda_generic_product p = product_of(t, &t->s->out_wide);
    p.jobs = 1;
    p.job[0] = job_of(&l->kv_b, &t->s->attention, NULL);
    p.heads = t->c->heads;
    p.w_first = mla->nope_dim;
    p.w_head = mla->nope_dim + mla->v_dim;
    p.x_head = up4(mla->kv_lora_rank);
    p.y_head = p.outputs = mla->v_dim;
    keep(t, cuda_generic_product_run(&p, t->stream));
}

void attend_mla(step *t, const layer *l, uint32_t index)
{
    const engine_config *c = t->c;
    const engine_mla *mla = &c->mla;
    const scratch *s = t->s;
    uint32_t wide = up4(latent_numbers(c));
    project_latent(t, l);
    cuda_generic_latent turn = {s->k.data,
                                s->k.stride,
                                l->kv_a_norm,
                                (float)c->norm_eps,
                                mla->kv_lora_rank,
                                mla->rope_dim,
                                s->q.data + mla->nope_dim,
                                s->q.stride,
                                c->head_dim,
                                s->q_wide.data + mla->kv_lora_rank,
                                s->q_wide.stride,
                                wide,
                                c->heads,
                                t->r->cache,
                                index,
                                t->place};
    keep(t, cuda_generic_latent_run(&turn, t->stream));
    cuda_generic_absorb into = {l->kv_b.w,     c->heads,       mla->nope_dim + mla->v_dim,
                                mla->nope_dim, s->q.data,      s->q.stride,
                                c->head_dim,   s->q_wide.data, s->q_wide.stride,
                                wide,          t->b->rows,     t->b->active};
    keep(t, cuda_generic_absorb_run(&into, t->stream));
    cuda_generic_attention a = attention_of(t, index, &s->q_wide, &s->out_wide);
    a.kv_heads = 1;
    a.score_cols = latent_numbers(c);
    a.value_cols = mla->kv_lora_rank;
    a.q_head = wide;
    a.out_head = up4(mla->kv_lora_rank);
    keep(t, cuda_generic_attention_run(&a, t->stream));
    expand(t, l);
}

/* gate = silu(gate) * up, of a dense block or the shared experts. */
void feed_in(step *t, const mlp *m)
{
    const scratch *s = t->s;
    cuda_generic_job jobs[] = {job_of(&m->gate, &s->gate, NULL), job_of(&m->up, &s->up, NULL)};
    run_jobs(t, product_of(t, &s->norm), jobs, 2);
    keep(t, cuda_generic_silu(s->gate.data, s->up.data, s->gate.stride, m->gate.w.rows, t->b->rows,
                              t->b->active, 1, t->stream));
}

void feed_experts(step *t, const layer *l)
{
    const scratch *s = t->s;
    const engine_moe *moe = &t->c->moe;
    cuda_generic_product p = product_of(t, &s->norm);
    p.choices = &s->choices;
    p.entries_max = t->b->rows * moe->per_token;
    p.routed = moe->routed;
    p.experts = cuda_model_experts(t->r->model);
    p.x_divisor = moe->per_token;
    cuda_generic_job jobs[] = {job_of(&l->experts.gate, &s->entry_gate, NULL),
                               job_of(&l->experts.up, &s->entry_up, NULL)};
    run_jobs(t, p, jobs, 2);
    keep(t, cuda_generic_silu(s->entry_gate.data, s->entry_up.data, s->entry_gate.stride,
                              moe->intermediate_size, p.entries_max, t->b->active, moe->per_token,
                              t->stream));
    p.x = s->entry_gate.data;
    p.x_stride = s->entry_gate.stride;
    p.x_divisor = 1;
    cuda_generic_job down = job_of(&l->experts.down, &s->parts, NULL);
    run_jobs(t, p, &down, 1);
}

void feed_moe(step *t, const layer *l)
{
    const scratch *s = t->s;
    bool shared = l->shared.gate.w.data != NULL;
    project(t, &l->router, &s->norm, &s->router, NULL, false);
    cuda_generic_gate gate = {s->router.data, s->router.stride, l->router_bias,
                              t->c->moe,      t->b->rows,       t->b->active};
    keep(t, cuda_generic_gate_run(&gate, &s->choices, t->stream));
    feed_experts(t, l);
    if (shared) {
        feed_in(t, &l->shared);
        project(t, &l->shared.down, &s->gate, &s->shared, NULL, false);
    }
    const cuda_share *share = &t->r->share;
    cuda_generic_mix mix = {};
    mix.hidden = share->ranks == 0 ? s->hidden.data : share->part;
    mix.set = share->ranks != 0;
    mix.stride = s->hidden.stride;
    mix.cols = t->c->hidden_size;
    mix.parts = s->parts.data;
    mix.weights = s->choices.weights;
    mix.ids = s->choices.ids;
    mix.experts = cuda_model_experts(t->r->model);
    mix.shared = shared ? s->shared.data : NULL;
    mix.per_token = t->c->moe.per_token;
    mix.rows = t->b->rows;
    mix.active = t->b->active;
    keep(t, cuda_generic_mix_run(&mix, t->stream));
    if (share->ranks != 0) {
        keep(t, cuda_share_add(share, s->hidden.data, t->b->rows, t->stream));
    }
}

void run_layer(step *t, uint32_t index)
{
    const layer *l = &t->r->layers[index];
    const scratch *s = t->s;
    normalise(t, &s->hidden, l->input_norm, &s->norm, t->c->hidden_size);
    if (is_mla(t->c)) {
        attend_mla(t, l, index);
    } else {
        attend_llama(t, l, index);
    }
    project_into_stream(t, &l->o, &s->attention, l->o_bias);
    normalise(t, &s->hidden, l->post_norm, &s->norm, t->c->hidden_size);
    if (t->r->model->weights->layers[index].is_moe) {
        feed_moe(t, l);
    } else {
        feed_in(t, &l->dense);
        project_into_stream(t, &l->dense.down, &s->gate, NULL);
    }
}

void run_head(step *t, float *logits)
{
    const scratch *s = t->s;
    cuda_generic_norm op = {
        s->hidden.data, s->hidden.stride,  t->b->logit_row,       t->r->final_norm,  s->last.data,
        s->last.stride, t->c->hidden_size, (float)t->c->norm_eps, t->b->logit_count, NULL};
    keep(t, cuda_generic_norm_run(&op, t->stream));
    cuda_generic_product p = product_of(t, &s->last);
    p.rows = t->b->logit_count;
    p.active = NULL;
    p.jobs = 1;
    const cuda_share *share = &t->r->share;
    rows out = {logits, t->c->vocab_size};
    if (share->ranks != 0) {
        out = {share->logits_part, share->width};
    }
    p.job[0] = job_of(&t->r->head, &out, NULL);
    keep(t, cuda_generic_product_run(&p, t->stream));
    if (share->ranks != 0) {
        keep(t, cuda_share_logits(share, logits, t->b->logit_count, t->stream));
    }
}

cudaError_t run_step(cuda_runner_state *state, const cuda_batch *batch, float *logits,
                     cudaStream_t stream)
{
    const runner *r = runner_of(state);
    step t = {};
    t.r = r;
    t.c = r->config;
    t.s = &r->s;
    t.b = batch;
    t.place = {batch->rows, batch->active, batch->page, batch->slot, batch->cos, batch->sin};
    t.stream = stream;
    t.error = cudaSuccess;
    keep(&t, cuda_generic_embed(&r->embed.w, batch->token, r->s.hidden.data, r->s.hidden.stride,
                                &t.place, stream));
    for (uint32_t l = 0; l < r->config->layers && t.error == cudaSuccess; l++) {
        run_layer(&t, l);
    }
    if (batch->logit_count != 0) {
        run_head(&t, logits);
    }
    return t.error;
}

cudaError_t copy_page(cuda_runner_state *state, uint32_t to, uint32_t from, uint32_t tokens,
                      cudaStream_t stream)
{
    return cuda_generic_copy_page(&runner_of(state)->cache, to, from, tokens, stream);
}

} // namespace

const cuda_runner cuda_runner_generic = {"generic", supports,  create,      destroy,
                                         lay_out,   upload,    extra_bytes, prepare,
                                         run_step,  copy_page, true};
