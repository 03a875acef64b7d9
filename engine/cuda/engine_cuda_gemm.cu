/* engine_cuda_gemm: which of the two kernels computes a product. The bits are the same. */
#include "engine_cuda_gemm.cuh"

namespace
{

/* Up to so many rows (in the middle, of groups) reading the weights takes longer than multiplying, and narrow reads each
 * of them once. Measured: benchmarks/bench_gpu_moe.cu --cross. */
enum { GEMM_NARROW_ROWS = 64 };

/* A tile of the wide kernel. */
enum { GEMM_WIDE_ROWS = 128, GEMM_WIDE_BLOCKS = 2 };

uint32_t processors;

/* Beyond that, narrow serves as long as wide has not even a tile for every other multiprocessor: narrow cuts such
 * matrices into more pieces. */
bool fits_narrow(const cuda_gemm &gemm)
{
    uint32_t high = (gemm.rows + GEMM_WIDE_ROWS - 1) / GEMM_WIDE_ROWS;
    uint32_t broad = (gemm.w.row_blocks + GEMM_WIDE_BLOCKS - 1) / GEMM_WIDE_BLOCKS;
    return gemm.rows <= GEMM_NARROW_ROWS || 2 * high * broad < processors;
}

} // namespace

cudaError_t cuda_gemm_prepare(void)
{
    int device = 0, count = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    }
    processors = (uint32_t)count;
    if (error == cudaSuccess) {
        error = cuda_gemm_narrow_prepare(processors);
    }
    if (error == cudaSuccess) {
        error = cuda_gemm_wide_prepare(processors);
    }
    return error;
}

cudaError_t cuda_gemm_run(const cuda_gemm *gemm, cudaStream_t stream)
{
    return fits_narrow(*gemm) ? cuda_gemm_narrow(gemm, NULL, NULL, stream)
                              : cuda_gemm_wide(gemm, NULL, stream);
}

cudaError_t cuda_gemm_run_grouped(const cuda_gemm *gemm, const cuda_groups *groups,
                                  uint32_t *counter, cudaStream_t stream)
{
    return gemm->rows <= GEMM_NARROW_ROWS * groups->count
               ? cuda_gemm_narrow(gemm, groups, counter, stream)
               : cuda_gemm_wide(gemm, groups, stream);
}
