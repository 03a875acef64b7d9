/* Paged attention: a persistent kernel that walks the plan's items, and the merge of what it left over.
 *
 * A block has two warpgroups that compute and four warps that load. Wide items come first: both warpgroups take 64 query
 * rows each of the same item and share a ring of stages (a stage: the keys or the values of one page of one head). Then
 * the narrow ones: each warpgroup has its own items and half of the ring. Decode is bound by memory, so that 64-row
 * products with few rows in use cost nothing that counts; that they are the same products as in prefill makes the bits
 * the same.
 *
 * Two of the loading warps fill the halves of the ring, the other two bring each warpgroup its next queries while it is
 * still busy with the tile before. A warpgroup has the next page's scores and this page's values multiplied at once, so
 * that softmax runs beside the tensor cores. */
#include "engine_cuda_attention.cuh"
#include "engine_cuda_attention_load.cuh"
#include "engine_cuda_attention_state.cuh"
#include "engine_cuda_attention_tile.cuh"
#include "engine_cuda_launch.cuh"

/* Before the first tile: barriers, and finite numbers where queries will be. */
template <int D> __device__ __forceinline__ void cuda_attention_begin(uint32_t base)
{
    using config = cuda_attention_config<D>;
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < config::stages; i++) {
            cuda_barrier_init(base + config::full + i * 8, 1);
            cuda_barrier_init(base + config::empty + i * 8, 8); /* the warps that compute */
        }
        for (uint32_t i = 0; i < 2; i++) {
            cuda_barrier_init(base + config::q_full + i * 8, 1);
            cuda_barrier_init(base + config::q_empty + i * 8, 4);
        }
        for (uint32_t i = 0; i < 4; i++) {
            cuda_barrier_init(base + config::unit_full + i * 8, 1);
            cuda_barrier_init(base + config::unit_empty + i * 8, 1);
        }
        cuda_barrier_init(base + config::handover, 1);
        cuda_barrier_init_fence();
    }
    for (uint32_t i = threadIdx.x; i < 2 * config::q_bytes / 16; i += CUDA_ATTENTION_THREADS) {
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(base + config::q + i * 16),
                     "r"(0)
                     : "memory");
    }
    cuda_proxy_fence();
    __syncthreads();
}

template <int D>
__global__ void __launch_bounds__(CUDA_ATTENTION_THREADS, 1)
    cuda_attention_kernel(const __grid_constant__ cuda_attention_args a)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    const uint32_t base = cuda_smem(shared);
    cuda_tile_info *infos =
        reinterpret_cast<cuda_tile_info *>(shared + cuda_attention_config<D>::infos);
    cuda_unit_queue &queue =
        *reinterpret_cast<cuda_unit_queue *>(shared + cuda_attention_config<D>::queue);
    cuda_attention_begin<D>(base);
    cuda_chain_release();
    const uint32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
    if (warp < 8) {
        cuda_registers_take<232>();
        cuda_chain_wait();
        cuda_compute_tiles<D>(a, infos, warp / 4, base);
    } else {
        cuda_registers_give<40>();
        if (warp < 10) {
            cuda_load_pages<D>(a, queue, warp - 8, base);
        } else {
            cuda_load_queries<D>(a, queue, infos, warp - 10, base);
        }
    }
}

/* ---- Launchers ---- */

bool cuda_attention_supported(const cuda_attention_shape *shape, cuda_type out)
{
    if (shape->head_dim != 128 && (shape->head_dim != 64 || out != CUDA_BF16)) {
        return false;
    }
    return shape->kv_heads > 0 && shape->heads > 0 && shape->heads % shape->kv_heads == 0 &&
           shape->heads / shape->kv_heads <= CUDA_NARROW_SLOTS;
}

size_t cuda_attention_state_bytes(const cuda_attention_limits *limits,
                                  const cuda_attention_shape *shape)
{
    size_t bytes = (size_t)limits->max_slots * shape->heads * (shape->head_dim + 4) * sizeof(float);
    return (CUDA_STATES_FIRST * sizeof(float) + bytes + 255) & ~(size_t)255;
}

cudaError_t cuda_attention_prepare(void)
{
    cudaError_t status = cudaFuncSetAttribute(cuda_attention_kernel<128>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              cuda_attention_config<128>::shared);
    if (status == cudaSuccess) {
        status = cudaFuncSetAttribute(cuda_attention_kernel<64>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      cuda_attention_config<64>::shared);
    }
    return status;
}

template <int D>
static cudaError_t launch(const cuda_attention_args &a, uint32_t rows, uint32_t processors,
                          cudaStream_t stream)
{
    cuda_shape shape = {dim3(processors), dim3(CUDA_ATTENTION_THREADS),
                        (size_t)cuda_attention_config<D>::shared};
    cudaError_t status = cuda_launch(cuda_attention_kernel<D>, shape, stream, a);
    return status == cudaSuccess ? cuda_attention_merge(a, D, rows, stream) : status;
}

cudaError_t cuda_attention_run(const cuda_attention *op, uint32_t processors, cudaStream_t stream)
{
    if (!cuda_attention_supported(&op->shape, op->out.type)) {
        return cudaErrorInvalidValue;
    }
    cuda_attention_args a = {};
    a.plan = static_cast<const uint8_t *>(op->plan);
    a.keys = op->keys;
    a.values = op->values;
    a.q = static_cast<const __nv_bfloat16 *>(op->q);
    a.taken = static_cast<uint32_t *>(op->states);
    a.states = static_cast<float *>(op->states) + CUDA_STATES_FIRST;
    a.out = op->out;
    a.scale_log2 = op->scale * 1.44269504f;
    a.heads = op->shape.heads;
    a.kv_heads = op->shape.kv_heads;
    a.group = a.heads / a.kv_heads;
    return op->shape.head_dim == 128 ? launch<128>(a, op->rows, processors, stream)
                                     : launch<64>(a, op->rows, processors, stream);
}
