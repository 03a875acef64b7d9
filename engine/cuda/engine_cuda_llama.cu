/* A layer of a llama model on Hopper. */
#include "engine_cuda_fast.cuh"

static cudaError_t attend(cuda_fast *f, uint32_t layer, const cuda_batch *b, cudaStream_t stream)
{
    cuda_rope_write write = {};
    write.shape = f->shape;
    write.rows = b->rows;
    write.qkv = f->first_out;
    write.qkv_f32 = true;
    write.cos = b->cos;
    write.sin = b->sin;
    write.page = b->page;
    write.slot = b->slot;
    write.q = f->q;
    write.keys = cuda_fast_plane(f, layer, 0);
    write.values = cuda_fast_plane(f, layer, 1);

    cuda_attention attention = {};
    attention.shape = f->shape;
    attention.rows = b->rows;
    attention.scale = f->model->score_scale;
    attention.q = f->q;
    attention.keys = write.keys;
    attention.values = write.values;
    attention.plan = b->extra;
    attention.states = f->states;
    attention.out = f->att;

    cudaError_t error = cuda_rope_write_run(&write, stream);
    CUDA_TRY(error, cuda_attention_run(&attention, f->model->processors, stream));
    return error;
}

cudaError_t cuda_fast_llama_layer(cuda_fast *f, uint32_t layer, const cuda_batch *b,
                                  cudaStream_t stream)
{
    const cuda_fast_layer *l = &f->layers[layer];
    cuda_rows gated = cuda_fast_cols(&f->gated, l->down.cols);
    cudaError_t error = cuda_fast_norm(f, l->input_norm, b->rows, NULL, stream);
    CUDA_TRY(error, cuda_fast_product(&l->first, &f->x, b->rows, CUDA_OUT_F32, f->first_out,
                                      f->first_rows, l->first_bias, stream));
    CUDA_TRY(error, attend(f, layer, b, stream));
    CUDA_TRY(error, cuda_fast_add(f, &l->o, &f->att, b->rows, l->o_bias, stream));
    CUDA_TRY(error, cuda_fast_norm(f, l->post_norm, b->rows, NULL, stream));
    CUDA_TRY(error, cuda_fast_gated(&l->gate_up, &f->x, b->rows, &gated, stream));
    CUDA_TRY(error, cuda_fast_add(f, &l->down, &gated, b->rows, NULL, stream));
    return error;
}
