/* engine_cuda_batch: what a step is about (tokens, positions, pages, draws), from the host to the GPU.
 *
 * One block of page-locked memory is filled for each step and copied to one place on the device, in front of the step's
 * kernels: since steps follow one another in one stream, a single place is enough, and its addresses depend on the
 * step's shape only, so a captured graph finds them again. The host has a ring of such blocks (`slots`), so that a step
 * can be prepared while others still run.
 * Threads: one at a time. */
#ifndef ENGINE_CUDA_BATCH_CUH
#define ENGINE_CUDA_BATCH_CUH

#include "engine_cuda_runner.cuh"

enum { CUDA_SLOTS = ENGINE_STEPS_AHEAD + 1 }; /* the last one is forward()'s */

/* What shapes the launches of a step. */
struct cuda_step_shape {
    uint32_t rows;        /* with padding */
    uint32_t logit_count; /* with padding */
    uint32_t page_stride; /* page numbers a sequence has in the table */
};

struct cuda_slot {
    uint8_t *block;        /* page-locked */
    uint8_t *extra;        /* page-locked: what the runner prepares */
    engine_drawn *results; /* page-locked */
    cudaEvent_t done;      /* of the step that used the slot last */
    uint32_t draw_count;
};

struct cuda_batches { /* owned by the device */
    const cuda_model *model;
    uint32_t max_stride;
    size_t block_bytes;
    size_t extra_bytes;
    uint8_t *pinned; /* everything page-locked, in one piece */
    cuda_slot slots[CUDA_SLOTS];
    uint32_t *length; /* [rows], host */
    /* device, from the scratch arena */
    uint8_t *block;
    uint8_t *extra;
    uint32_t *token; /* [rows]: drawn ones put in */
    float *cos, *sin;
    float2 *rotation;
    float2 *table;       /* [max_positions][half]: cosine and sine */
    uint32_t half;       /* rotated numbers / 2 */
    engine_drawn *drawn; /* [max_rows]: of the previous step that drew */
};

/* Takes device memory (twice: engine_cuda_runner.cuh). extra_bytes: the runner's. */
void cuda_batches_lay_out(cuda_batches *b, const cuda_model *model, size_t extra_bytes,
                          cuda_arena *scratch);

/* Page-locked memory, and the table of rotations, listed for the upload: *table is freed by the caller (pv_free) when
 * the upload has run. Fails: PV_E_NOMEM, PV_E_DEVICE. */
pv_status cuda_batches_open(cuda_batches *b, cuda_upload *upload, float2 **table, pv_error *err);
void cuda_batches_close(cuda_batches *b);

/* The shape of the step for a batch: padded to one of few shapes when `captured`, as it is otherwise. */
cuda_step_shape cuda_step_shape_of(const cuda_batches *b, const engine_batch *batch, bool captured);

/* Fills a slot, which no step uses, from a checked batch. *used: bytes of slot->block. */
void cuda_batches_fill(cuda_batches *b, cuda_slot *slot, const engine_batch *batch,
                       const engine_draw *draws, uint32_t draw_count, cuda_step_shape shape,
                       cuda_host_batch *host, size_t *used);

/* Where the kernels of a step of that shape find everything. */
cuda_batch cuda_batches_view(const cuda_batches *b, cuda_step_shape shape);

/* The draws of the step whose block is `block`'s copy: for a batch of seq_count sequences. */
const engine_draw *cuda_batches_draws(const cuda_batches *b, cuda_step_shape shape,
                                      uint32_t seq_count);

/* First kernel of a step: puts in what was drawn, and gathers the rotations. */
cudaError_t cuda_batches_begin(const cuda_batches *b, cuda_step_shape shape, cudaStream_t stream);

#endif
