/* engine_cuda_gemm: products of activations with weights, y = x W^T, on Hopper's tensor cores (sm_90a).
 *
 * Two kernels, the same bits (engine_cuda_matrix.cuh says in which order sums are made):
 *     narrow  the weights are the 64-row operand and the tokens its columns: for few rows, at the speed of the memory
 *     wide    the tokens are the 128-row operand: for many rows, at the speed of the tensor cores
 * A grouped product does one product for each expert, over the rows that were routed to it.
 * All pointers are device memory. Launches are asynchronous and can be captured; an error is that of the launch. Those on
 * one device must follow each other, as in one stream: blocks leave sums for each other in memory of the program. */
#ifndef ENGINE_CUDA_GEMM_CUH
#define ENGINE_CUDA_GEMM_CUH

#include "engine_cuda_matrix.cuh"

#include <cuda_runtime.h>

enum cuda_epilogue {
    CUDA_OUT_F32, /* out (float): [row * ld + n] = sum + bias[n]                                        */
    CUDA_OUT_BF16, /* out (bf16):  the same, rounded                                                     */
    CUDA_OUT_ADD, /* out (float): [row * ld + n] += sum + bias[n]                                       */
    CUDA_OUT_GATED /* gated: silu(gate) * up. Row blocks of the weight alternate: 128 rows gate, 128 up; the outputs
                    * of blocks 2j and 2j + 1 make columns 128 j .. 128 j + 127. gated.type e4m3: rounded with one
                    * scale for those 128 (amax / 448, amax at least 1e-4, true division); bf16: rounded */
};

struct cuda_gemm {
    cuda_weight w;
    cuda_rows x; /* x.type == w.type */
    uint32_t rows;
    cuda_epilogue epilogue;
    void *out;
    uint32_t ld;
    cuda_rows gated;
    const float *bias; /* w.rows, or NULL */
};

/* Groups of rows: those of group g are begin[g] .. begin[g] + rows[g] - 1 of x (and of out, gated), its weight is row
 * blocks g * w.row_blocks .. of w.data and w.scale. Arrays: device, `count` numbers. */
struct cuda_groups {
    uint32_t count;
    const uint32_t *begin; /* multiples of 8                            */
    const uint32_t *rows;  /* 0: nothing of the group is touched        */
    uint32_t rows_max;     /* no group has more (host)                  */
    bool settled;          /* the arrays may be read early, see below   */
};

/* settled: the kernel in front did not write the arrays, and does not call cuda_chain_release() before its own
 * cuda_chain_wait(). They are then read, and weights fetched, while that kernel still runs. */

/* The streaming multiprocessors of the current device; call once before the first launch (it also raises the limits
 * on shared memory of the kernels). */
cudaError_t cuda_gemm_prepare(void);

/* rows >= 1. Chooses narrow or wide by the number of rows. */
cudaError_t cuda_gemm_run(const cuda_gemm *gemm, cudaStream_t stream);

/* gemm->rows is the number of rows of x in all (with padding), used to size the grid. `counter`: one device word, zero
 * at the first call; the kernel leaves it zero. */
cudaError_t cuda_gemm_run_grouped(const cuda_gemm *gemm, const cuda_groups *groups,
                                  uint32_t *counter, cudaStream_t stream);

/* The kernels themselves, for tests and benchmarks. Their prepare() is part of cuda_gemm_prepare(). */
cudaError_t cuda_gemm_narrow_prepare(uint32_t processors);
cudaError_t cuda_gemm_wide_prepare(uint32_t processors);
cudaError_t cuda_gemm_narrow(const cuda_gemm *gemm, const cuda_groups *groups, uint32_t *counter,
                             cudaStream_t stream);
cudaError_t cuda_gemm_wide(const cuda_gemm *gemm, const cuda_groups *groups, cudaStream_t stream);

#endif
