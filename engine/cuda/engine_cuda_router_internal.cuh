/* engine_cuda_router_internal: what the files of the router share: how columns are cut. */
#ifndef ENGINE_CUDA_ROUTER_INTERNAL_CUH
#define ENGINE_CUDA_ROUTER_INTERNAL_CUH

#include "engine_cuda_router.cuh"

enum {
    CUDA_ROUTER_CHUNK = 128, /* columns that are summed in the tensor core */
    CUDA_ROUTER_RUN = 7      /* chunks of a thread block: 7,168 columns are eight runs, 56 chunks */
};

__host__ __device__ inline uint32_t cuda_router_chunks(uint32_t cols)
{
    return cols / CUDA_ROUTER_CHUNK;
}

__host__ __device__ inline uint32_t cuda_router_runs(uint32_t cols)
{
    return (cuda_router_chunks(cols) + CUDA_ROUTER_RUN - 1) / CUDA_ROUTER_RUN;
}

/* Raises the limits on shared memory of the kernels in engine_cuda_router_logits.cu. */
cudaError_t cuda_router_logits_prepare(void);

#endif
