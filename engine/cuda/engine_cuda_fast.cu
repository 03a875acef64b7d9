#include "engine_cuda_fast.cuh"

#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"
#include "pv_mem.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- What it takes ---- */

static bool refuse(char why[160], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(char why[160], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, 160, fmt, args);
    va_end(args);
    return false;
}

static bool takes_matrix(const engine_view *v, engine_dtype dtype, const char *name, char why[160])
{
    if (v->data == NULL) {
        return true;
    }
    if (v->dtype != dtype) {
        return refuse(why, "%s is %s, other matrices are %s", name, engine_dtype_text(v->dtype),
                      engine_dtype_text(dtype));
    }
    if (dtype == ENGINE_DTYPE_F8_E4M3 && (v->block_rows != 128 || v->block_cols != 128)) {
        return refuse(why, "%s has blocks of %u x %u; 128 x 128 are served", name, v->block_rows,
                      v->block_cols);
    }
    if (v->cols % 128 != 0) {
        return refuse(why, "%s has %u columns; multiples of 128 are served", name, v->cols);
    }
    return true;
}

static bool takes_mlp(const engine_mlp *m, engine_dtype dtype, const char *name, char why[160])
{
    return takes_matrix(&m->gate, dtype, name, why) && takes_matrix(&m->up, dtype, name, why) &&
           takes_matrix(&m->down, dtype, name, why);
}

static bool takes_layer(const engine_layer *l, uint32_t experts, engine_dtype dtype, char why[160])
{
    bool ok =
        takes_matrix(&l->q_a, dtype, "q_a", why) && takes_matrix(&l->q_b, dtype, "q_b", why) &&
        takes_matrix(&l->kv_a, dtype, "kv_a", why) && takes_matrix(&l->kv_b, dtype, "kv_b", why) &&
        takes_matrix(&l->q, dtype, "q", why) && takes_matrix(&l->k, dtype, "k", why) &&
        takes_matrix(&l->v, dtype, "v", why) && takes_matrix(&l->o, dtype, "o", why);
    if (!ok) {
        return false;
    }
    if (!l->is_moe) {
        return takes_mlp(&l->mlp, dtype, "an MLP", why);
    }
    ok = takes_matrix(&l->router, ENGINE_DTYPE_BF16, "a router", why) &&
         takes_mlp(&l->shared, dtype, "a shared expert", why);
    for (uint32_t e = 0; ok && e < experts; e++) {
        ok = takes_mlp(&l->experts[e], dtype, "an expert", why);
    }
    return ok;
}

static bool takes_mla(const engine_config *c, char why[160])
{
    const engine_mla *m = &c->mla;
    if (m->kv_lora_rank != CUDA_MLA_LATENT || m->nope_dim != CUDA_MLA_NOPE ||
        m->rope_dim != CUDA_MLA_ROPE || m->v_dim != CUDA_MLA_VALUE) {
        return refuse(why, "MLA dimensions %u, %u, %u, %u; 512, 128, 64, 128 are served",
                      m->kv_lora_rank, m->nope_dim, m->rope_dim, m->v_dim);
    }
    if (c->heads % 16 != 0 || c->heads > 128) {
        return refuse(why, "%u heads; 16, 32, ... 128 are served", c->heads);
    }
    return true;
}

static engine_dtype matrix_dtype(const engine_weights *w)
{
    return w->layers[0].o.dtype;
}

static cuda_attention_shape shape_of(const engine_config *c)
{
    return {c->heads, c->kv_heads, c->head_dim};
}

/* One shared expert is a group like the routed ones; a part of one is narrower, and no group. */
static bool groups_shared(const cuda_model *m)
{
    return m->config->moe.shared == 1 && m->shard == NULL;
}

static cuda_routing_shape routing_shape_of(const cuda_model *m)
{
    const engine_config *c = m->config;
    return {c->moe, c->hidden_size, m->rows, groups_shared(m)};
}

static bool supports(const cuda_model *m, char why[160])
{
    const engine_config *c = m->config;
    const engine_weights *w = m->weights;
    if (m->options.precision == ENGINE_PRECISION_F32 || m->options.kv_type == ENGINE_KV_F32) {
        return refuse(why, "float32 was asked for");
    }
    if (m->capability != 90) {
        return refuse(why, "compute capability %u.%u; 9.0 is served", m->capability / 10,
                      m->capability % 10);
    }
    engine_dtype dtype = matrix_dtype(w);
    if (dtype != ENGINE_DTYPE_BF16 && dtype != ENGINE_DTYPE_F8_E4M3) {
        return refuse(why, "matrices are %s; BF16 and F8_E4M3 are served",
                      engine_dtype_text(dtype));
    }
    cuda_type type = dtype == ENGINE_DTYPE_BF16 ? CUDA_BF16 : CUDA_E4M3;
    cuda_attention_shape shape = shape_of(c);
    if (c->arch == ENGINE_ARCH_LLAMA && !cuda_attention_supported(&shape, type)) {
        return refuse(why, "attention with %u heads, %u of keys, of %u", c->heads, c->kv_heads,
                      c->head_dim);
    }
    if (c->arch == ENGINE_ARCH_LLAMA && (c->heads * c->head_dim) % CUDA_TILE_ROWS != 0) {
        return refuse(why, "%u heads of %u", c->heads, c->head_dim);
    }
    if (c->arch == ENGINE_ARCH_LLAMA && (c->kv_heads * c->head_dim) % CUDA_TILE_ROWS != 0) {
        return refuse(why, "%u heads of keys of %u", c->kv_heads, c->head_dim);
    }
    if (c->arch == ENGINE_ARCH_DEEPSEEK && !takes_mla(c, why)) {
        return false;
    }
    cuda_routing_shape routing = routing_shape_of(m);
    if (c->moe.routed != 0 && !cuda_routing_supported(&routing)) {
        return refuse(why, "%u experts, %u for a token", c->moe.routed, c->moe.per_token);
    }
    if (c->quant.scale_pow2) {
        return refuse(why, "activation scales are powers of two");
    }
    bool ok = takes_matrix(&w->embed, ENGINE_DTYPE_BF16, "the embedding", why) &&
              takes_matrix(&w->lm_head, ENGINE_DTYPE_BF16, "the head", why);
    for (uint32_t l = 0; ok && l < c->layers; l++) {
        ok = takes_layer(&w->layers[l], cuda_model_experts(m).count, dtype, why);
    }
    return ok;
}

/* ---- Host state ---- */

static uint32_t whole(uint32_t n, uint32_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static void choose_groups(cuda_fast *f)
{
    f->shared_group = groups_shared(f->model);
    f->groups = cuda_model_experts(f->model).count + (f->shared_group ? 1 : 0);
}

static pv_status create(cuda_runner_state **out, const cuda_model *model, pv_error *err)
{
    cuda_fast *f = (cuda_fast *)pv_calloc(1, sizeof *f);
    if (f != NULL) {
        f->layers = (cuda_fast_layer *)pv_calloc(model->config->layers, sizeof *f->layers);
    }
    if (f == NULL || f->layers == NULL) {
        pv_free(f);
        return pv_fail(err, PV_E_NOMEM, "out of memory for the layers");
    }
    f->model = model;
    f->type = matrix_dtype(model->weights) == ENGINE_DTYPE_BF16 ? CUDA_BF16 : CUDA_E4M3;
    choose_groups(f);
    *out = (cuda_runner_state *)f;
    return PV_OK;
}

static void destroy(cuda_runner_state *state)
{
    cuda_fast *f = (cuda_fast *)state;
    if (f != NULL) {
        pv_free(f->layers);
        pv_free(f);
    }
}

/* ---- Memory ---- */

static cuda_weight take_weight(cuda_arena *a, cuda_type type, uint32_t rows, uint32_t cols,
                               uint32_t groups)
{
    cuda_weight w = {};
    w.type = type;
    w.rows = rows;
    w.cols = cols;
    w.row_blocks = whole(rows, CUDA_TILE_ROWS) / CUDA_TILE_ROWS;
    w.k_blocks = whole(cols, cuda_block_numbers(type)) / cuda_block_numbers(type);
    w.segments = cuda_weight_segments(type, w.row_blocks, w.k_blocks);
    size_t tiles = (size_t)w.row_blocks * w.k_blocks * groups;
    w.data = cuda_take<uint8_t>(a, tiles * CUDA_TILE_BYTES);
    w.scale = type == CUDA_E4M3 ? cuda_take<float>(a, tiles) : NULL;
    return w;
}

static cuda_rows take_rows(cuda_arena *a, cuda_type type, uint32_t rows, uint32_t cols)
{
    cuda_rows m = {};
    m.type = type;
    m.capacity = whole(rows, CUDA_TILE_ROWS);
    m.cols = cols;
    m.k_blocks = whole(cols, cuda_block_numbers(type)) / cuda_block_numbers(type);
    m.data = cuda_take<uint8_t>(a, (size_t)m.k_blocks * m.capacity * CUDA_BLOCK_BYTES);
    m.scale = type == CUDA_E4M3 ? cuda_take<float>(a, (size_t)m.k_blocks * m.capacity) : NULL;
    return m;
}

static float *take_vector(cuda_arena *a, const engine_view *v)
{
    return v->data == NULL ? NULL : cuda_take<float>(a, v->cols);
}

/* Gate and up in turn, 128 rows each. */
static cuda_weight take_gate_up(cuda_arena *a, cuda_type type, const engine_mlp *m, uint32_t groups)
{
    uint32_t rows = 2 * whole(m->gate.rows, CUDA_TILE_ROWS);
    return take_weight(a, type, rows, m->gate.cols, groups);
}

static void take_llama(cuda_fast *f, cuda_fast_layer *to, const engine_layer *l, cuda_arena *a)
{
    uint32_t rows = l->q.rows + l->k.rows + l->v.rows;
    to->first = take_weight(a, f->type, rows, l->q.cols, 1);
    to->first_bias = l->q_bias.data == NULL ? NULL : cuda_take<float>(a, rows);
    to->o_bias = take_vector(a, &l->o_bias);
    f->kv_row = l->q.rows;
    f->first_rows = rows;
}

static void take_mla(cuda_fast *f, cuda_fast_layer *to, const engine_layer *l, cuda_arena *a)
{
    bool compressed = l->q_a.data != NULL;
    f->kv_row = compressed ? whole(l->q_a.rows, CUDA_TILE_ROWS) : 0;
    f->first_rows = f->kv_row + l->kv_a.rows;
    to->first = take_weight(a, f->type, f->first_rows, l->kv_a.cols, 1);
    to->q_a_norm = take_vector(a, &l->q_a_norm);
    to->kv_a_norm = take_vector(a, &l->kv_a_norm);
    const engine_view *q = compressed ? &l->q_b : &l->q;
    to->q = take_weight(a, f->type, q->rows, q->cols, 1);
    uint32_t heads = f->model->config->heads;
    to->kv_b.type = f->type;
    to->kv_b.heads = heads;
    to->kv_b.data = cuda_take<uint8_t>(a, heads * cuda_mla_head_bytes(f->type));
    to->kv_b.scale = f->type == CUDA_E4M3
                         ? cuda_take<float>(a, (size_t)l->kv_b.scale_rows * l->kv_b.scale_cols)
                         : NULL;
}

static void take_experts(cuda_fast *f, cuda_fast_layer *to, const engine_layer *l, cuda_arena *a)
{
    const engine_mlp *e = &l->experts[0];
    to->expert_gate_up = take_gate_up(a, f->type, e, f->groups);
    to->expert_down = take_weight(a, f->type, e->down.rows, e->down.cols, f->groups);
    to->router = cuda_take<uint16_t>(a, (size_t)l->router.rows * l->router.cols);
    to->router_bias = take_vector(a, &l->router_bias);
    if (l->shared.gate.data != NULL && !f->shared_group) {
        to->gate_up = take_gate_up(a, f->type, &l->shared, 1);
        to->down = take_weight(a, f->type, l->shared.down.rows, l->shared.down.cols, 1);
    }
}

static void take_layer(cuda_fast *f, uint32_t index, cuda_arena *a)
{
    const engine_layer *l = &f->model->weights->layers[index];
    cuda_fast_layer *to = &f->layers[index];
    to->input_norm = take_vector(a, &l->input_norm);
    to->post_norm = take_vector(a, &l->post_norm);
    if (f->model->config->arch == ENGINE_ARCH_LLAMA) {
        take_llama(f, to, l, a);
    } else {
        take_mla(f, to, l, a);
    }
    to->o = take_weight(a, f->type, l->o.rows, l->o.cols, 1);
    if (l->is_moe) {
        take_experts(f, to, l, a);
    } else {
        to->gate_up = take_gate_up(a, f->type, &l->mlp, 1);
        to->down = take_weight(a, f->type, l->mlp.down.rows, l->mlp.down.cols, 1);
    }
}

static void take_weights(cuda_fast *f, cuda_arena *a)
{
    const engine_weights *w = f->model->weights;
    f->embed = cuda_take<uint16_t>(a, (size_t)w->embed.rows * w->embed.cols);
    for (uint32_t l = 0; l < f->model->config->layers; l++) {
        take_layer(f, l, a);
    }
    f->final_norm = take_vector(a, &w->final_norm);
    f->head = take_weight(a, CUDA_BF16, w->lm_head.rows, w->lm_head.cols, 1);
}

static void take_cache(cuda_fast *f, cuda_arena *a)
{
    const engine_config *c = f->model->config;
    size_t pages = (size_t)f->model->options.kv_pages + 1;
    bool llama = c->arch == ENGINE_ARCH_LLAMA;
    size_t page =
        llama ? (size_t)c->kv_heads * cuda_kv_head_bytes(c->head_dim) : (size_t)CUDA_MLA_PAGE_BYTES;
    f->plane_bytes = pages * page;
    f->kv = cuda_take<uint8_t>(a, f->plane_bytes * c->layers * (llama ? 2 : 1));
}

static void take_llama_buffers(cuda_fast *f, cuda_arena *a)
{
    const cuda_model *m = f->model;
    const engine_config *c = m->config;
    uint32_t pages = (c->max_positions + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
    f->shape = shape_of(c);
    f->limits = {m->rows, m->rows * pages, 4096};
    f->q = cuda_take<__nv_bfloat16>(a, (size_t)m->rows * c->heads * c->head_dim);
    f->states = cuda_take<uint8_t>(a, cuda_attention_state_bytes(&f->limits, &f->shape));
}

static void take_mla_buffers(cuda_fast *f, cuda_arena *a)
{
    const cuda_model *m = f->model;
    const engine_config *c = m->config;
    f->blocks = m->processors < CUDA_MLA_BLOCKS ? m->processors : (uint32_t)CUDA_MLA_BLOCKS;
    f->q_latent = take_rows(a, f->type, m->rows, c->mla.q_lora_rank);
    f->q = cuda_take<__nv_bfloat16>(a, (size_t)m->rows * c->heads * c->head_dim);
    f->queries = cuda_take<uint8_t>(a, cuda_mla_query_offset(m->rows, 0, c->heads, 0));
    f->latent = cuda_take<__nv_bfloat16>(a, (size_t)m->rows * c->heads * CUDA_MLA_LATENT);
    f->mla_scratch = cuda_take<uint8_t>(a, cuda_mla_scratch_bytes(f->blocks));
}

static void take_moe_buffers(cuda_fast *f, cuda_arena *a)
{
    const cuda_model *m = f->model;
    const engine_config *c = m->config;
    f->routing_shape = routing_shape_of(m);
    uint32_t gathered = cuda_routing_capacity(&f->routing_shape, m->rows);
    f->routing = cuda_routing_at(&f->routing_shape,
                                 cuda_take<uint8_t>(a, cuda_routing_bytes(&f->routing_shape)));
    f->routing.first = cuda_model_experts(m).first;
    f->routing.local = f->groups;
    f->factor = cuda_take<float>(a, m->rows);
    f->expert_x = take_rows(a, f->type, gathered, c->hidden_size);
    f->expert_gated = take_rows(a, f->type, gathered, c->moe.intermediate_size);
    f->expert_out = cuda_take<__nv_bfloat16>(a, (size_t)gathered * c->hidden_size);
    f->counter = cuda_take<uint32_t>(a, 32);
}

static uint32_t widest_mlp(const engine_config *c)
{
    uint32_t shared = c->moe.shared * c->moe.intermediate_size;
    return c->intermediate_size > shared ? c->intermediate_size : shared;
}

static void take_buffers(cuda_fast *f, cuda_arena *a)
{
    const cuda_model *m = f->model;
    const engine_config *c = m->config;
    bool llama = c->arch == ENGINE_ARCH_LLAMA;
    f->h = cuda_take<float>(a, (size_t)m->rows * c->hidden_size);
    f->x = take_rows(a, f->type, m->rows, c->hidden_size);
    f->first_out = cuda_take<float>(a, (size_t)m->rows * f->first_rows);
    f->att = take_rows(a, f->type, m->rows, c->heads * (llama ? c->head_dim : c->mla.v_dim));
    f->gated = take_rows(a, f->type, m->rows, widest_mlp(c));
    f->last = take_rows(a, CUDA_BF16, m->logit_rows, c->hidden_size);
    if (llama) {
        take_llama_buffers(f, a);
    } else {
        take_mla_buffers(f, a);
    }
    if (c->moe.routed != 0) {
        take_moe_buffers(f, a);
    }
    cuda_share_lay_out(&f->share, m, c->hidden_size, a);
}

static void lay_out(cuda_runner_state *state, cuda_arenas *arenas)
{
    cuda_fast *f = (cuda_fast *)state;
    take_weights(f, &arenas->weights);
    take_cache(f, &arenas->kv);
    take_buffers(f, &arenas->scratch);
}

/* ---- Weights ---- */

struct lister { /* lists uploads until one fails */
    cuda_upload *upload;
    pv_error *err;
    pv_status status;
};

static void list_vector(lister *l, float *to, const engine_view *v)
{
    if (l->status == PV_OK && v->data != NULL) {
        l->status = cuda_upload_vector(l->upload, to, v, l->err);
    }
}

static void list_tiles(lister *l, const cuda_weight *w, uint32_t first, uint32_t step,
                       const engine_view *v)
{
    if (l->status == PV_OK && v->data != NULL) {
        l->status = cuda_upload_tiles(l->upload, w, first, step, v, l->err);
    }
}

static void list_mlp(lister *l, const cuda_weight *gate_up, const cuda_weight *down, uint32_t group,
                     const engine_mlp *m)
{
    list_tiles(l, gate_up, group * gate_up->row_blocks, 2, &m->gate);
    list_tiles(l, gate_up, group * gate_up->row_blocks + 1, 2, &m->up);
    list_tiles(l, down, group * down->row_blocks, 1, &m->down);
}

/* Parts of a stacked matrix begin at blocks of 128 rows. */
static void list_llama(lister *l, const cuda_fast_layer *to, const engine_layer *from)
{
    uint32_t k = from->q.rows;
    uint32_t v = k + from->k.rows;
    list_tiles(l, &to->first, 0, 1, &from->q);
    list_tiles(l, &to->first, k / CUDA_TILE_ROWS, 1, &from->k);
    list_tiles(l, &to->first, v / CUDA_TILE_ROWS, 1, &from->v);
    if (to->first_bias != NULL) {
        list_vector(l, to->first_bias, &from->q_bias);
        list_vector(l, to->first_bias + k, &from->k_bias);
        list_vector(l, to->first_bias + v, &from->v_bias);
    }
    list_vector(l, to->o_bias, &from->o_bias);
}

static void list_mla(lister *l, const cuda_fast *f, const cuda_fast_layer *to,
                     const engine_layer *from)
{
    list_tiles(l, &to->first, 0, 1, &from->q_a);
    list_tiles(l, &to->first, f->kv_row / CUDA_TILE_ROWS, 1, &from->kv_a);
    list_vector(l, to->q_a_norm, &from->q_a_norm);
    list_vector(l, to->kv_a_norm, &from->kv_a_norm);
    list_tiles(l, &to->q, 0, 1, from->q_b.data != NULL ? &from->q_b : &from->q);
    size_t head = (size_t)(CUDA_MLA_NOPE + CUDA_MLA_VALUE) * CUDA_MLA_LATENT *
                  engine_dtype_bytes(from->kv_b.dtype);
    if (l->status == PV_OK) {
        l->status =
            cuda_upload_packed(l->upload, const_cast<uint8_t *>(to->kv_b.data), &from->kv_b, head,
                               cuda_mla_head_bytes(f->type), cuda_mla_pack_head, l->err);
    }
    if (l->status == PV_OK) {
        l->status =
            cuda_upload_scales(l->upload, const_cast<float *>(to->kv_b.scale), &from->kv_b, l->err);
    }
}

static void list_moe(lister *l, const cuda_fast *f, const cuda_fast_layer *to,
                     const engine_layer *from)
{
    uint32_t experts = cuda_model_experts(f->model).count;
    for (uint32_t e = 0; e < experts; e++) {
        list_mlp(l, &to->expert_gate_up, &to->expert_down, e, &from->experts[e]);
    }
    if (from->shared.gate.data != NULL && f->shared_group) {
        list_mlp(l, &to->expert_gate_up, &to->expert_down, experts, &from->shared);
    } else if (from->shared.gate.data != NULL) {
        list_mlp(l, &to->gate_up, &to->down, 0, &from->shared);
    }
    if (l->status == PV_OK) {
        l->status = cuda_upload_matrix(l->upload, to->router, NULL, &from->router, l->err);
    }
    list_vector(l, to->router_bias, &from->router_bias);
}

static void list_layer(lister *l, const cuda_fast *f, uint32_t index)
{
    const engine_layer *from = &f->model->weights->layers[index];
    const cuda_fast_layer *to = &f->layers[index];
    list_vector(l, to->input_norm, &from->input_norm);
    list_vector(l, to->post_norm, &from->post_norm);
    if (f->model->config->arch == ENGINE_ARCH_LLAMA) {
        list_llama(l, to, from);
    } else {
        list_mla(l, f, to, from);
    }
    list_tiles(l, &to->o, 0, 1, &from->o);
    if (from->is_moe) {
        list_moe(l, f, to, from);
    } else {
        list_mlp(l, &to->gate_up, &to->down, 0, &from->mlp);
    }
}

static cudaError_t prepare_kernels(const cuda_fast *f)
{
    cudaError_t error = cuda_gemm_prepare();
    bool llama = f->model->config->arch == ENGINE_ARCH_LLAMA;
    CUDA_TRY(error, llama ? cuda_attention_prepare() : cuda_mla_prepare());
    CUDA_TRY(error, f->groups == 0 ? cudaSuccess : cuda_router_prepare());
    return error;
}

static pv_status upload(cuda_runner_state *state, cuda_upload *upload, pv_error *err)
{
    cuda_fast *f = (cuda_fast *)state;
    const engine_weights *w = f->model->weights;
    cudaError_t error = prepare_kernels(f);
    if (error != cudaSuccess) {
        return pv_fail(err, PV_E_DEVICE, "preparing kernels: %s", cudaGetErrorString(error));
    }
    lister l = {upload, err, PV_OK};
    l.status = cuda_upload_matrix(upload, f->embed, NULL, &w->embed, err);
    for (uint32_t i = 0; i < f->model->config->layers; i++) {
        list_layer(&l, f, i);
    }
    list_vector(&l, f->final_norm, &w->final_norm);
    list_tiles(&l, &f->head, 0, 1, &w->lm_head);
    return l.status;
}

/* ---- Steps ---- */

cudaError_t cuda_fast_product(const cuda_weight *w, const cuda_rows *x, uint32_t rows,
                              cuda_epilogue epilogue, void *out, uint32_t ld, const float *bias,
                              cudaStream_t stream)
{
    cuda_gemm g = {};
    g.w = *w;
    g.x = *x;
    g.rows = rows;
    g.epilogue = epilogue;
    g.out = out;
    g.ld = ld;
    g.bias = bias;
    return cuda_gemm_run(&g, stream);
}

cudaError_t cuda_fast_add(cuda_fast *f, const cuda_weight *w, const cuda_rows *x, uint32_t rows,
                          const float *bias, cudaStream_t stream)
{
    uint32_t ld = f->model->config->hidden_size;
    if (f->share.ranks == 0) {
        return cuda_fast_product(w, x, rows, CUDA_OUT_ADD, f->h, ld, bias, stream);
    }
    cudaError_t error =
        cuda_fast_product(w, x, rows, CUDA_OUT_F32, f->share.part, ld, bias, stream);
    CUDA_TRY(error, cuda_share_begin(&f->share, f->h, rows, &f->parts_wait, stream));
    return error;
}

cudaError_t cuda_fast_gated(const cuda_weight *w, const cuda_rows *x, uint32_t rows,
                            const cuda_rows *gated, cudaStream_t stream)
{
    cuda_gemm g = {};
    g.w = *w;
    g.x = *x;
    g.rows = rows;
    g.epilogue = CUDA_OUT_GATED;
    g.gated = *gated;
    return cuda_gemm_run(&g, stream);
}

cuda_rows cuda_fast_cols(const cuda_rows *buffer, uint32_t cols)
{
    cuda_rows m = *buffer;
    m.cols = cols;
    m.k_blocks = whole(cols, cuda_block_numbers(m.type)) / cuda_block_numbers(m.type);
    return m;
}

static cuda_norm norm_of(const cuda_fast *f, const float *weight, uint32_t rows)
{
    const engine_config *c = f->model->config;
    cuda_norm op = {};
    op.x = f->h;
    op.ld = op.cols = c->hidden_size;
    op.rows = rows;
    op.weight = weight;
    op.eps = (float)c->norm_eps;
    return op;
}

/* The norm of the stream, after the sum of the parts that several GPUs made. */
static cudaError_t run_parts_norm(cuda_fast *f, const cuda_norm *op, cudaStream_t stream)
{
    const cuda_share *s = &f->share;
    f->parts_wait = false;
    if (op->rows <= CUDA_PARTS_ROWS) {
        cuda_parts parts = {s->gathered, (size_t)op->rows * s->stride, s->ranks, s->stride, f->h};
        return cuda_parts_norm_run(&parts, op, stream);
    }
    cudaError_t error = cuda_share_finish(s, f->h, op->rows, stream);
    CUDA_TRY(error, cuda_norm_run(op, stream));
    return error;
}

cudaError_t cuda_fast_norm(cuda_fast *f, const float *weight, uint32_t rows, float *factor,
                           cudaStream_t stream)
{
    cuda_norm op = norm_of(f, weight, rows);
    op.out = f->x;
    op.factor = factor;
    if (f->parts_wait) {
        return run_parts_norm(f, &op, stream);
    }
    bool mixed = f->mix_waits;
    f->mix_waits = false;
    return mixed ? cuda_mix_norm_run(&f->mix, &op, stream) : cuda_norm_run(&op, stream);
}

static cudaError_t run_head(cuda_fast *f, const cuda_batch *b, float *logits, cudaStream_t stream)
{
    cuda_norm op = norm_of(f, f->final_norm, b->logit_count);
    op.pick = b->logit_row;
    op.out = f->last;
    cudaError_t error = f->mix_waits ? cuda_mix_run(&f->mix, stream) : cudaSuccess;
    if (f->parts_wait) {
        CUDA_TRY(error, cuda_share_finish(&f->share, f->h, b->rows, stream));
    }
    CUDA_TRY(error, cuda_norm_run(&op, stream));
    if (f->share.ranks == 0) {
        CUDA_TRY(error, cuda_fast_product(&f->head, &f->last, b->logit_count, CUDA_OUT_F32, logits,
                                          f->model->config->vocab_size, NULL, stream));
        return error;
    }
    CUDA_TRY(error, cuda_fast_product(&f->head, &f->last, b->logit_count, CUDA_OUT_F32,
                                      f->share.logits_part, f->share.width, NULL, stream));
    CUDA_TRY(error, cuda_share_logits(&f->share, logits, b->logit_count, stream));
    return error;
}

static cudaError_t step(cuda_runner_state *state, const cuda_batch *b, float *logits,
                        cudaStream_t stream)
{
    cuda_fast *f = (cuda_fast *)state;
    const engine_config *c = f->model->config;
    cuda_embed embed = {f->embed, CUDA_NUMBER_BF16, c->hidden_size, b->rows, b->token, NULL, f->h};
    f->mix_waits = f->parts_wait = false;
    cudaError_t error = cuda_embed_run(&embed, stream);
    for (uint32_t l = 0; l < c->layers; l++) {
        CUDA_TRY(error, c->arch == ENGINE_ARCH_LLAMA ? cuda_fast_llama_layer(f, l, b, stream)
                                                     : cuda_fast_deepseek_layer(f, l, b, stream));
    }
    if (b->logit_count != 0) {
        CUDA_TRY(error, run_head(f, b, logits, stream));
    }
    return error;
}

uint32_t cuda_fast_experts_touched(const cuda_fast *f)
{
    uint32_t count[CUDA_ROUTER_EXPERTS + 1];
    uint32_t touched = 0;
    if (f->groups == 0 || cudaDeviceSynchronize() != cudaSuccess ||
        cudaMemcpy(count, f->routing.count + f->routing.first, f->groups * sizeof *count,
                   cudaMemcpyDeviceToHost) != cudaSuccess) {
        return 0;
    }
    for (uint32_t g = 0; g < f->groups; g++) {
        touched += count[g] != 0;
    }
    return touched;
}

static size_t extra_bytes(const cuda_runner_state *state)
{
    const cuda_fast *f = (const cuda_fast *)state;
    return f->model->config->arch == ENGINE_ARCH_LLAMA
               ? cuda_attention_plan_bytes(&f->limits)
               : cuda_mla_plan_bytes(f->model->rows, f->model->config->heads);
}

static pv_status prepare(cuda_runner_state *state, const cuda_host_batch *batch, void *extra,
                         size_t *used, pv_error *err)
{
    const cuda_fast *f = (const cuda_fast *)state;
    const engine_config *c = f->model->config;
    if (c->arch == ENGINE_ARCH_DEEPSEEK) {
        (void)cuda_mla_plan(extra, batch->sequence, batch->length, batch->rows, c->heads,
                            f->blocks);
        *used = cuda_mla_plan_bytes(batch->rows, c->heads);
        return PV_OK;
    }
    cuda_attention_plan_result result;
    if (!cuda_attention_plan(&result, extra, &f->limits, &f->shape, batch->batch->seqs,
                             batch->batch->seq_count, batch->rows, f->model->processors)) {
        return pv_fail(err, PV_E_LIMIT, "the batch's attention is over the device's limits");
    }
    *used = result.used;
    return PV_OK;
}

/* A block for each layer; the tokens of a page are lines of 128 bytes in each of its slices. */
static __global__ void copy_latent_kernel(uint8_t *kv, size_t plane_bytes, uint32_t to,
                                          uint32_t from, uint32_t tokens)
{
    cuda_chain_wait();
    uint8_t *plane = kv + blockIdx.x * plane_bytes;
    uint32_t chunks = tokens * (CUDA_BLOCK_BYTES / 16);
    for (uint32_t i = threadIdx.x; i < CUDA_MLA_SLICES * chunks; i += blockDim.x) {
        size_t at = (size_t)(i / chunks) * CUDA_MLA_SLICE_BYTES + (size_t)(i % chunks) * 16;
        *(uint4 *)(plane + (size_t)to * CUDA_MLA_PAGE_BYTES + at) =
            *(const uint4 *)(plane + (size_t)from * CUDA_MLA_PAGE_BYTES + at);
    }
}

static cudaError_t copy_page(cuda_runner_state *state, uint32_t to, uint32_t from, uint32_t tokens,
                             cudaStream_t stream)
{
    const cuda_fast *f = (const cuda_fast *)state;
    const engine_config *c = f->model->config;
    if (c->arch == ENGINE_ARCH_LLAMA) {
        return cuda_kv_copy_page(f->kv, f->plane_bytes, 2 * c->layers, c->kv_heads, c->head_dim, to,
                                 from, tokens, stream);
    }
    cuda_shape shape = {dim3(c->layers), dim3(512), 0};
    return cuda_launch(copy_latent_kernel, shape, stream, f->kv, f->plane_bytes, to, from, tokens);
}

const cuda_runner cuda_runner_fast = {"Hopper's",  supports, create, destroy,   lay_out, upload,
                                      extra_bytes, prepare,  step,   copy_page, true};
