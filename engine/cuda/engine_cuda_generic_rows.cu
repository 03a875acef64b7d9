/* What is done to one row at a time: embedding, norms, rotation, the cache, activation. */
#include "engine_cuda_generic_dot.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

namespace
{

enum { THREADS = 256, WARPS = THREADS / 32 };

/* The sum over a block's threads: warps as trees, then the warps as one. Every thread gets it. */
__device__ float block_sum(float v)
{
    __shared__ float part[WARPS];
    float one[1] = {v};
    cuda_generic_fold<1>(one, 0);
    if (threadIdx.x % 32 == 0) {
        part[threadIdx.x / 32] = one[0];
    }
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        sum += part[i];
    }
    __syncthreads();
    return sum;
}

/* 1 / sqrt(mean of squares + eps) */
__device__ float norm_factor(const float *x, uint32_t cols, float eps)
{
    float sum = 0;
    for (uint32_t i = threadIdx.x; i < cols; i += THREADS) {
        sum = fmaf(x[i], x[i], sum);
    }
    return 1.0F / sqrtf(block_sum(sum) / (float)cols + eps);
}

/* A number of a matrix, its scale included. */
__device__ float number(const cuda_generic_matrix &w, uint32_t row, uint32_t column)
{
    size_t at = (size_t)row * w.cols + column;
    switch (w.type) {
    case CUDA_GENERIC_F32:
        return cuda_generic_f32::one((const float *)w.data + at);
    case CUDA_GENERIC_BF16:
        return cuda_generic_bf16::one((const uint16_t *)w.data + at);
    case CUDA_GENERIC_F16:
        return cuda_generic_f16::one((const uint16_t *)w.data + at);
    default:
        return cuda_generic_e4m3::one((const uint8_t *)w.data + at) *
               w.scale[(size_t)(row / w.block_rows) * w.scale_cols + column / w.block_cols];
    }
}

__global__ void __launch_bounds__(THREADS)
    embed(cuda_generic_matrix w, const uint32_t *token, float *hidden, uint32_t stride,
          const uint32_t *active)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    for (uint32_t i = threadIdx.x; row < *active && i < w.cols; i += THREADS) {
        hidden[(size_t)row * stride + i] = number(w, token[row], i);
    }
}

__global__ void __launch_bounds__(THREADS) norm(const __grid_constant__ cuda_generic_norm p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    if (p.active != NULL && row >= *p.active) {
        return;
    }
    const float *x = p.x + (size_t)(p.pick == NULL ? row : p.pick[row]) * p.x_stride;
    float *out = p.out + (size_t)row * p.out_stride;
    float factor = norm_factor(x, p.cols, p.eps);
    for (uint32_t i = threadIdx.x; i < p.cols; i += THREADS) {
        out[i] = x[i] * factor * p.w[i];
    }
}

__global__ void __launch_bounds__(THREADS)
    silu(float *gate, const float *up, uint32_t stride, uint32_t cols, const uint32_t *active,
         uint32_t per_row)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    uint32_t i = blockIdx.y * THREADS + threadIdx.x;
    if (row >= *active * per_row || i >= cols) {
        return;
    }
    size_t at = (size_t)row * stride + i;
    float x = gate[at];
    gate[at] = x / (1.0F + expf(-x)) * up[at];
}

/* ---- The cache ---- */

__device__ __forceinline__ void write(const cuda_generic_cache &cache, size_t at, float x)
{
    if (cache.bf16) {
        ((__nv_bfloat16 *)cache.base)[at] = __float2bfloat16_rn(x);
    } else {
        ((float *)cache.base)[at] = x;
    }
}

/* A pair (a, b) turned by an angle. */
__device__ __forceinline__ float2 turned(float a, float b, float cosine, float sine)
{
    return make_float2(a * cosine - b * sine, b * cosine + a * sine);
}

/* Pairs (j, j + dim / 2). blockIdx: x row. */
__global__ void __launch_bounds__(THREADS) llama_rows(const __grid_constant__ cuda_generic_llama p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    if (row >= *p.place.active) {
        return;
    }
    uint32_t half = p.dim / 2;
    const float *cosine = p.place.cos + (size_t)row * half;
    const float *sine = p.place.sin + (size_t)row * half;
    uint32_t page = p.place.page[row];
    uint32_t slot = p.place.slot[row];
    for (uint32_t u = threadIdx.x; u < (p.heads + p.kv_heads) * half; u += THREADS) {
        uint32_t head = u / half;
        uint32_t j = u % half;
        bool key = head >= p.heads;
        head -= key ? p.heads : 0;
        const float *x = key ? p.k + (size_t)row * p.kv_stride : p.q + (size_t)row * p.q_stride;
        x += (size_t)head * p.dim;
        float2 v = turned(x[j], x[j + half], cosine[j], sine[j]);
        if (key) {
            size_t at = cuda_generic_item(p.cache, page, p.layer, head, slot) + j;
            write(p.cache, at, v.x);
            write(p.cache, at + half, v.y);
        } else {
            float *q = p.q + (size_t)row * p.q_stride + (size_t)head * p.dim;
            q[j] = v.x;
            q[j + half] = v.y;
        }
    }
    for (uint32_t u = threadIdx.x; u < p.kv_heads * p.dim; u += THREADS) {
        uint32_t part = p.kv_heads + u / p.dim;
        write(p.cache, cuda_generic_item(p.cache, page, p.layer, part, slot) + u % p.dim,
              p.v[(size_t)row * p.kv_stride + u]);
    }
}

/* Pairs (2 j, 2 j + 1). blockIdx: x row. */
__global__ void __launch_bounds__(THREADS)
    latent_rows(const __grid_constant__ cuda_generic_latent p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    if (row >= *p.place.active) {
        return;
    }
    uint32_t half = p.rope / 2;
    const float *cosine = p.place.cos + (size_t)row * half;
    const float *sine = p.place.sin + (size_t)row * half;
    const float *kv = p.kv + (size_t)row * p.kv_stride;
    size_t item = cuda_generic_item(p.cache, p.place.page[row], p.layer, 0, p.place.slot[row]);
    float factor = norm_factor(kv, p.latent, p.eps);
    for (uint32_t i = threadIdx.x; i < p.latent; i += THREADS) {
        write(p.cache, item + i, kv[i] * factor * p.norm[i]);
    }
    for (uint32_t u = threadIdx.x; u < (p.heads + 1) * half; u += THREADS) {
        uint32_t head = u / half;
        uint32_t j = u % half;
        const float *x = head == p.heads ? kv + p.latent
                                         : p.q + (size_t)row * p.q_stride + (size_t)head * p.q_head;
        float2 v = turned(x[2 * j], x[2 * j + 1], cosine[j], sine[j]);
        if (head == p.heads) {
            write(p.cache, item + p.latent + 2 * j, v.x);
            write(p.cache, item + p.latent + 2 * j + 1, v.y);
        } else {
            float *out = p.out + (size_t)row * p.out_stride + (size_t)head * p.out_head;
            out[2 * j] = v.x;
            out[2 * j + 1] = v.y;
        }
    }
}

/* blockIdx: x part of a layer, y layer. */
__global__ void __launch_bounds__(THREADS)
    copy_items(cuda_generic_cache cache, uint32_t to, uint32_t from, uint32_t words)
{
    cuda_chain_wait();
    cuda_chain_release();
    size_t size = cache.bf16 ? 2 : 4;
    size_t read = cuda_generic_item(cache, from, blockIdx.y, blockIdx.x, 0) * size;
    size_t written = cuda_generic_item(cache, to, blockIdx.y, blockIdx.x, 0) * size;
    const uint2 *source = (const uint2 *)((const uint8_t *)cache.base + read);
    uint2 *target = (uint2 *)((uint8_t *)cache.base + written);
    for (uint32_t i = threadIdx.x; i < words; i += THREADS) {
        target[i] = source[i];
    }
}

} // namespace

cudaError_t cuda_generic_embed(const cuda_generic_matrix *w, const uint32_t *token, float *hidden,
                               uint32_t stride, const cuda_generic_place *place,
                               cudaStream_t stream)
{
    cuda_shape shape = {dim3(place->rows), dim3(THREADS), 0};
    return cuda_launch(embed, shape, stream, *w, token, hidden, stride, place->active);
}

cudaError_t cuda_generic_norm_run(const cuda_generic_norm *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->rows), dim3(THREADS), 0};
    return cuda_launch(norm, shape, stream, *op);
}

cudaError_t cuda_generic_silu(float *gate, const float *up, uint32_t stride, uint32_t cols,
                              uint32_t rows, const uint32_t *active, uint32_t per_row,
                              cudaStream_t stream)
{
    cuda_shape shape = {dim3(rows, (cols + THREADS - 1) / THREADS), dim3(THREADS), 0};
    return cuda_launch(silu, shape, stream, gate, up, stride, cols, active, per_row);
}

cudaError_t cuda_generic_llama_run(const cuda_generic_llama *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->place.rows), dim3(THREADS), 0};
    return cuda_launch(llama_rows, shape, stream, *op);
}

cudaError_t cuda_generic_latent_run(const cuda_generic_latent *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->place.rows), dim3(THREADS), 0};
    return cuda_launch(latent_rows, shape, stream, *op);
}

cudaError_t cuda_generic_copy_page(const cuda_generic_cache *cache, uint32_t to, uint32_t from,
                                   uint32_t tokens, cudaStream_t stream)
{
    uint32_t words = tokens * cache->pitch / (cache->bf16 ? 4 : 2); /* of 8 bytes */
    cuda_shape shape = {dim3(cache->parts, cache->layers), dim3(THREADS), 0};
    return cuda_launch(copy_items, shape, stream, *cache, to, from, words);
}
