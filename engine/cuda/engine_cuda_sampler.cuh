/* engine_cuda_sampler: engine_sampler.h on the GPU (sm_80 and newer): draws of a step, with no wait on the host.
 *
 * The order of operations is that of engine_sampler.h, and weights are the same bits; sums are double (or exact integers)
 * in an order that depends on the vocabulary's size only. So the tokens are those of the host's sampler, unless a border
 * (of top-p, or of the draw) is hit within about 1e-13 of the sum; log-probabilities agree to float32 rounding.
 * The random number of a draw is engine_uniform(key, position) of engine_random.h.
 *
 * All arrays are device memory. Launches are asynchronous, chained (engine_cuda_launch.cuh) and can be captured; an error
 * is that of the launch. */
#ifndef ENGINE_CUDA_SAMPLER_CUH
#define ENGINE_CUDA_SAMPLER_CUH

#include "engine_backend.h"

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

enum { CUDA_SAMPLER_VOCAB = 1 << 18 }; /* at most */

struct cuda_sampler {
    const float *logits; /* [rows][vocab], 16-byte aligned                                        */
    uint32_t vocab;
    uint32_t rows;            /* of logits; >= 1                                                  */
    const engine_draw *draws; /* [draw_count]; .logit < rows                                      */
    uint32_t draw_count;      /* >= 1                                                             */
    bool cuts;                /* false: no draw has top_k or top_p (cuda_sampler_cuts())          */
    engine_drawn *
        drawn; /* out: [draw_count]. A row with NaN or +infinity, or -infinity only: log-probability
                               * NaN, and token 0 if one was to be drawn                          */
    void *scratch; /* cuda_sampler_bytes()                                             */
};

/* 256-byte aligned scratch for so many rows and draws. */
size_t cuda_sampler_bytes(uint32_t vocab, uint32_t rows_max, uint32_t draws_max);

/* Host: does one of the draws need the kernel that cuts? True is always right, and costs the launch. */
bool cuda_sampler_cuts(const engine_draw *draws, uint32_t draw_count);

cudaError_t cuda_sampler_run(const cuda_sampler *op, cudaStream_t stream);

#endif
