/* What stands between the qkv product and attention: rotation of queries and keys, and the cache's writes. */
#include "engine_cuda_attention.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

#include <cuda_bf16.h>

enum { ROPE_THREADS = 256 };

__device__ __forceinline__ void load_eight(float (&x)[8], const void *from, size_t index, bool f32)
{
    if (f32) {
        const float4 *p =
            reinterpret_cast<const float4 *>(static_cast<const float *>(from) + index);
        float4 low = p[0], high = p[1];
        x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
        x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
        return;
    }
    uint4 v = *reinterpret_cast<const uint4 *>(static_cast<const __nv_bfloat16 *>(from) + index);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = __uint_as_float(words[i] << 16);
        x[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000u);
    }
}

__device__ __forceinline__ uint4 pack_eight(const float (&x)[8])
{
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
        words[i] = *reinterpret_cast<uint32_t *>(&pair);
    }
    return {words[0], words[1], words[2], words[3]};
}

/* Eight pairs (j, j + head_dim / 2). */
__device__ __forceinline__ void rotate_eight(float (&low)[8], float (&high)[8], const float *cosine,
                                             const float *sine)
{
    float c[8], s[8];
    load_eight(c, cosine, 0, true);
    load_eight(s, sine, 0, true);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float x = low[i], y = high[i];
        low[i] = __fmaf_rn(x, c[i], -__fmul_rn(y, s[i]));
        high[i] = __fmaf_rn(y, c[i], __fmul_rn(x, s[i]));
    }
}

/* Blocks: (row, part of its heads). A thread takes 8 numbers of the lower half of a head and the 8 that belong to them. */
__global__ void __launch_bounds__(ROPE_THREADS)
    rope_write_kernel(const __grid_constant__ cuda_rope_write op)
{
    cuda_chain_release(); /* attention fetches older pages meanwhile */
    cuda_chain_wait();
    const uint32_t row = blockIdx.x, dim = op.shape.head_dim, half = dim / 2;
    const uint32_t each = half / 8; /* threads a head */
    const uint32_t heads = op.shape.heads + 2 * op.shape.kv_heads;
    const uint32_t thread = blockIdx.y * ROPE_THREADS + threadIdx.x;
    const uint32_t head = thread / each, chunk = thread % each;
    if (head >= heads) {
        return;
    }
    const size_t at = ((size_t)row * heads + head) * dim + chunk * 8;
    float low[8], high[8];
    load_eight(low, op.qkv, at, op.qkv_f32);
    load_eight(high, op.qkv, at + half, op.qkv_f32);
    if (head < op.shape.heads + op.shape.kv_heads) {
        size_t angle = (size_t)row * half + chunk * 8;
        rotate_eight(low, high, op.cos + angle, op.sin + angle);
    }
    if (head < op.shape.heads) {
        __nv_bfloat16 *q = static_cast<__nv_bfloat16 *>(op.q) +
                           ((size_t)row * op.shape.heads + head) * dim + chunk * 8;
        *reinterpret_cast<uint4 *>(q) = pack_eight(low);
        *reinterpret_cast<uint4 *>(q + half) = pack_eight(high);
        return;
    }
    const bool value = head >= op.shape.heads + op.shape.kv_heads;
    const uint32_t kv_head = head - op.shape.heads - (value ? op.shape.kv_heads : 0);
    const uint32_t slot = op.slot[row];
    uint8_t *to = (value ? op.values : op.keys) +
                  cuda_kv_page_offset(op.page[row], kv_head, op.shape.kv_heads, dim);
    *reinterpret_cast<uint4 *>(to + cuda_kv_offset(slot, chunk)) = pack_eight(low);
    *reinterpret_cast<uint4 *>(to + cuda_kv_offset(slot, chunk + each)) = pack_eight(high);
}

cudaError_t cuda_rope_write_run(const cuda_rope_write *op, cudaStream_t stream)
{
    uint32_t threads = (op->shape.heads + 2 * op->shape.kv_heads) * (op->shape.head_dim / 16);
    cuda_shape shape = {dim3(op->rows, (threads + ROPE_THREADS - 1) / ROPE_THREADS),
                        dim3(ROPE_THREADS), 0};
    return cuda_launch(rope_write_kernel, shape, stream, *op);
}

/* Blocks: (64 dimensions of a head, plane). */
__global__ void copy_page_kernel(uint8_t *planes, size_t plane_bytes, uint32_t page_bytes,
                                 uint32_t to, uint32_t from, uint32_t tokens)
{
    constexpr uint32_t unit = CUDA_KV_PAGE_TOKENS * CUDA_BLOCK_BYTES;
    cuda_chain_wait();
    cuda_chain_release();
    uint8_t *plane = planes + blockIdx.y * plane_bytes + (size_t)blockIdx.x * unit;
    const uint4 *source = reinterpret_cast<const uint4 *>(plane + (size_t)from * page_bytes);
    uint4 *target = reinterpret_cast<uint4 *>(plane + (size_t)to * page_bytes);
    for (uint32_t i = threadIdx.x; i < tokens * CUDA_BLOCK_BYTES / 16; i += blockDim.x) {
        target[i] = source[i];
    }
}

cudaError_t cuda_kv_copy_page(uint8_t *planes_base, size_t plane_bytes, uint32_t planes,
                              uint32_t kv_heads, uint32_t head_dim, uint32_t to, uint32_t from,
                              uint32_t tokens, cudaStream_t stream)
{
    if (to == from || tokens == 0) {
        return cudaSuccess;
    }
    cuda_shape shape = {dim3(kv_heads * (head_dim / 64), planes), dim3(128), 0};
    return cuda_launch(copy_page_kernel, shape, stream, planes_base, plane_bytes,
                       kv_heads * cuda_kv_head_bytes(head_dim), to, from, tokens);
}
