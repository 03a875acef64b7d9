/* engine_cuda_share: the sums and the logits of a model that is spread over several GPUs.
 *
 * Each rank makes a part of what is added to the residual stream; the stream itself is the same on all ranks. A sum is
 *     h + ((part 0 + part 1) + part 2) + ...      in float32, in the order of the ranks
 * for every element, however the parts travelled: so ranks agree to the bit, and a row's bits do not depend on how many
 * rows there are. Few numbers go in one exchange: everybody gets all parts. Many go in two, which move less: rank i gets
 * everybody's i-th slice, adds it up, and gives the result to all.
 *
 * A step's use:
 *     part = cuda_share_part(...)          a kernel writes this rank's part there, [rows][stride]
 *     cuda_share_add(&share, h, rows)      or begin() and finish()
 *     ...
 *     the head writes cuda_share_logits_part(), [rows][cuda_share_width()]
 *     cuda_share_logits(&share, logits, rows)
 * Memory: of the device's arena. Launches are asynchronous and can be captured; errors are those of launches and of
 * engine_cuda_comm.cuh. */
#ifndef ENGINE_CUDA_SHARE_CUH
#define ENGINE_CUDA_SHARE_CUH

#include "engine_cuda_runner.cuh"

struct cuda_share {
    const cuda_model *model;
    uint32_t ranks;  /* 0: the model is on one GPU: nothing below is used */
    uint32_t stride; /* of a row of the stream; a multiple of 4 */
    uint32_t width;  /* of a row of a rank's logits: the widest part of the words */
    float *part;     /* [rows][stride] */
    float *gathered;
    size_t room;        /* numbers of `gathered` */
    float *logits_part; /* [logit_rows][width] */
    float *logits_all;  /* rank 0: [ranks][logit_rows][width] */
};

/* Takes memory when the model is one of several parts; twice (engine_cuda_runner.cuh). */
void cuda_share_lay_out(cuda_share *share, const cuda_model *model, uint32_t stride,
                        cuda_arena *arena);

/* part = 0, over `rows` rows. */
cudaError_t cuda_share_clear(const cuda_share *share, uint32_t rows, cudaStream_t stream);

/* h += the sum of all ranks' parts, over `rows` rows. */
cudaError_t cuda_share_add(const cuda_share *share, float *h, uint32_t rows, cudaStream_t stream);

/* The same in two halves, so that the addition may be part of another kernel: the exchange, after which *waits says whether
 * rank r's part lies at gathered + r * rows * stride and is still to be added (else it has been), and the addition. */
cudaError_t cuda_share_begin(const cuda_share *share, float *h, uint32_t rows, bool *waits,
                             cudaStream_t stream);
cudaError_t cuda_share_finish(const cuda_share *share, float *h, uint32_t rows,
                              cudaStream_t stream);

/* rank 0: logits [rows][vocab] of everybody's parts. The other ranks' `logits` are not written. */
cudaError_t cuda_share_logits(const cuda_share *share, float *logits, uint32_t rows,
                              cudaStream_t stream);

#endif
