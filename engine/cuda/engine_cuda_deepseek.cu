/* A layer of a deepseek_v3 model on Hopper: absorbed latent attention, and a dense block or experts. */
#include "engine_cuda_fast.cuh"

/* ---- Attention ---- */

/* What the layer's first product gave: the query's latent, and what is cached of the row. */
static cudaError_t take_latents(cuda_fast *f, uint32_t layer, const cuda_batch *b,
                                cudaStream_t stream)
{
    const cuda_fast_layer *l = &f->layers[layer];
    const engine_config *c = f->model->config;
    cuda_latents op = {};
    op.x = f->first_out;
    op.ld = f->first_rows;
    op.rows = b->rows;
    op.eps = (float)c->norm_eps;
    op.q_cols = c->mla.q_lora_rank;
    op.q_weight = l->q_a_norm;
    op.q = f->q_latent;
    op.kv_column = f->kv_row;
    op.kv_weight = l->kv_a_norm;
    op.rotation = b->rotation;
    op.page = b->page;
    op.slot = b->slot;
    op.cache = cuda_fast_plane(f, layer, 0);
    return cuda_latents_run(&op, stream);
}

static cudaError_t project(cuda_fast *f, uint32_t layer, const cuda_batch *b, cudaStream_t stream)
{
    const cuda_fast_layer *l = &f->layers[layer];
    const engine_config *c = f->model->config;
    const cuda_rows *from = c->mla.q_lora_rank == 0 ? &f->x : &f->q_latent;
    cudaError_t error = cuda_fast_product(&l->first, &f->x, b->rows, CUDA_OUT_F32, f->first_out,
                                          f->first_rows, NULL, stream);
    CUDA_TRY(error, take_latents(f, layer, b, stream));
    CUDA_TRY(error, cuda_fast_product(&l->q, from, b->rows, CUDA_OUT_BF16, f->q,
                                      c->heads * c->head_dim, NULL, stream));
    return error;
}

static cudaError_t attend(cuda_fast *f, uint32_t layer, const cuda_batch *b, cudaStream_t stream)
{
    const cuda_fast_layer *l = &f->layers[layer];
    cuda_mla_absorb absorb = {l->kv_b, b->rows, f->q, b->rotation, f->queries};
    cuda_mla_attend op = {};
    op.queries = f->queries;
    op.cache = cuda_fast_plane(f, layer, 0);
    op.pages = b->pages;
    op.page_stride = b->page_stride;
    op.heads = f->model->config->heads;
    op.blocks = f->blocks;
    op.scale = f->model->score_scale;
    op.plan = b->extra;
    op.scratch = f->mla_scratch;
    op.out = f->latent;
    cuda_mla_up up = {l->kv_b, b->rows, f->latent, f->att};
    cudaError_t error = cuda_mla_absorb_run(&absorb, stream);
    CUDA_TRY(error, cuda_mla_attend_run(&op, stream));
    CUDA_TRY(error, cuda_mla_up_run(&up, stream));
    return error;
}

/* ---- Experts ---- */

/* The choice, and the rows at their experts. */
static cudaError_t route(cuda_fast *f, const cuda_fast_layer *l, const cuda_batch *b,
                         cudaStream_t stream)
{
    cuda_router router = {};
    router.shape = f->routing_shape;
    router.out = f->routing;
    router.w = l->router;
    router.bias = l->router_bias;
    router.h = f->h;
    router.factor = f->factor;
    router.norm = l->post_norm;
    router.active = b->active;
    router.rows = b->rows;
    cuda_gather gather = {f->routing_shape, f->routing, b->rows, f->x, f->expert_x};
    cudaError_t error = cuda_router_run(&router, stream);
    CUDA_TRY(error, cuda_gather_run(&gather, stream));
    return error;
}

/* Products over the experts' rows, of which there are at most `rows`, padding included. */
static cudaError_t run_experts(cuda_fast *f, const cuda_fast_layer *l, const cuda_groups *groups,
                               uint32_t rows, cudaStream_t stream)
{
    cuda_gemm g = {};
    g.w = l->expert_gate_up;
    g.x = f->expert_x;
    g.rows = rows;
    g.epilogue = CUDA_OUT_GATED;
    g.gated = f->expert_gated;
    cudaError_t error = cuda_gemm_run_grouped(&g, groups, f->counter, stream);
    g.w = l->expert_down;
    g.x = f->expert_gated;
    g.epilogue = CUDA_OUT_BF16;
    g.out = f->expert_out;
    g.ld = f->model->config->hidden_size;
    CUDA_TRY(error, cuda_gemm_run_grouped(&g, groups, f->counter, stream));
    return error;
}

/* The sum of what the experts gave. Alone: it is added to the stream by the norm that follows. */
static void leave_mix(cuda_fast *f, const cuda_batch *b)
{
    const cuda_routing *r = &f->routing;
    f->mix = {};
    f->mix.out = f->expert_out;
    f->mix.out_bf16 = true;
    f->mix.cols = f->model->config->hidden_size;
    f->mix.rows = b->rows;
    f->mix.per_token = r->per_token;
    f->mix.shared = r->shared != 0;
    f->mix.weights = r->weights;
    f->mix.place = r->place;
    f->mix.active = b->active;
    f->mix.h = f->share.ranks == 0 ? f->h : f->share.part;
    f->mix.range = f->share.ranks == 0 ? NULL : r->begin + r->first;
    f->mix.range_end = r->local;
    f->mix_waits = f->share.ranks == 0;
}

static cudaError_t feed_experts(cuda_fast *f, const cuda_fast_layer *l, const cuda_batch *b,
                                cudaStream_t stream)
{
    cuda_groups groups = cuda_routing_groups(&f->routing, b->rows);
    uint32_t gathered = cuda_routing_capacity(&f->routing_shape, b->rows);
    cudaError_t error = route(f, l, b, stream);
    CUDA_TRY(error, run_experts(f, l, &groups, gathered, stream));
    leave_mix(f, b);
    return error;
}

/* Dense layers, and shared experts that are no group. */
static cudaError_t feed_dense(cuda_fast *f, const cuda_fast_layer *l, const cuda_batch *b,
                              cudaStream_t stream)
{
    cuda_rows gated = cuda_fast_cols(&f->gated, l->down.cols);
    cudaError_t error = cuda_fast_gated(&l->gate_up, &f->x, b->rows, &gated, stream);
    CUDA_TRY(error, cuda_fast_add(f, &l->down, &gated, b->rows, NULL, stream));
    return error;
}

/* One of several GPUs: its part of the shared experts, then its routed ones, and one sum with the others' parts. */
static cudaError_t feed_part(cuda_fast *f, const cuda_fast_layer *l, const cuda_batch *b,
                             cudaStream_t stream)
{
    cudaError_t error = feed_experts(f, l, b, stream);
    if (l->gate_up.data != NULL) {
        cuda_rows gated = cuda_fast_cols(&f->gated, l->down.cols);
        CUDA_TRY(error, cuda_fast_gated(&l->gate_up, &f->x, b->rows, &gated, stream));
        CUDA_TRY(error, cuda_fast_product(&l->down, &gated, b->rows, CUDA_OUT_F32, f->share.part,
                                          f->model->config->hidden_size, NULL, stream));
    } else {
        CUDA_TRY(error, cuda_share_clear(&f->share, b->rows, stream));
    }
    CUDA_TRY(error, cuda_mix_run(&f->mix, stream));
    CUDA_TRY(error, cuda_share_begin(&f->share, f->h, b->rows, &f->parts_wait, stream));
    return error;
}

/* ---- All ---- */

cudaError_t cuda_fast_deepseek_layer(cuda_fast *f, uint32_t layer, const cuda_batch *b,
                                     cudaStream_t stream)
{
    const cuda_fast_layer *l = &f->layers[layer];
    bool is_moe = f->model->weights->layers[layer].is_moe;
    cudaError_t error = cuda_fast_norm(f, l->input_norm, b->rows, NULL, stream);
    CUDA_TRY(error, project(f, layer, b, stream));
    CUDA_TRY(error, attend(f, layer, b, stream));
    CUDA_TRY(error, cuda_fast_add(f, &l->o, &f->att, b->rows, NULL, stream));
    CUDA_TRY(error, cuda_fast_norm(f, l->post_norm, b->rows, is_moe ? f->factor : NULL, stream));
    if (is_moe && f->share.ranks != 0) {
        CUDA_TRY(error, feed_part(f, l, b, stream));
        return error;
    }
    if (is_moe) { /* reads the stream: before the shared experts add to it */
        CUDA_TRY(error, feed_experts(f, l, b, stream));
    }
    if (l->gate_up.data != NULL) {
        CUDA_TRY(error, feed_dense(f, l, b, stream));
    }
    return error;
}
