/* engine_cuda_runner: what runs a model's steps on the GPU, behind the device (engine_cuda_backend.cu).
 *
 * Two runners: `fast` (sm_90a; the shapes of DeepSeek-Prover-V2) and `generic` (sm_80 and newer; every shape, float32
 * activations, weights row-major as the checkpoint stores them). The device owns the stream, the batch's metadata, the
 * logits and the three blocks of memory; a runner says how large they are, lays its things out in them, lists what is to
 * be uploaded, and enqueues the kernels of a step.
 *
 * Memory: a runner's lay_out() takes everything from three arenas. It is called twice, with arenas that only count and
 * then with real ones, so plan and open cannot disagree. All memory is zero before uploads begin.
 * A model that is spread over several GPUs has a device and a runner for each; `weights` and `config` are then those of
 * its part (engine_shard.h), but for vocab_size, moe.routed and what engine_shard.h lists as whole.
 * Errors: functions that return cudaError_t fail only when CUDA does; the device turns that into PV_E_DEVICE.
 * Threads: one at a time for each device. */
#ifndef ENGINE_CUDA_RUNNER_CUH
#define ENGINE_CUDA_RUNNER_CUH

#include "engine_backend.h"
#include "engine_shard.h"
#include "engine_weights.h"

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Memory ---- */

enum { CUDA_ARENA_ALIGN = 1024 };

struct cuda_arena {
    uint8_t *base; /* NULL: only counts; what cuda_take() gives must not be used */
    size_t used;
};

/* `count` numbers of T, aligned to 1 KiB. */
template <class T> T *cuda_take(cuda_arena *arena, size_t count)
{
    uint8_t *at = arena->base == NULL ? NULL : arena->base + arena->used;
    size_t bytes = count * sizeof(T);
    arena->used += (bytes + CUDA_ARENA_ALIGN - 1) / CUDA_ARENA_ALIGN * CUDA_ARENA_ALIGN;
    return (T *)at;
}

struct cuda_arenas {
    cuda_arena weights; /* also norms and biases */
    cuda_arena kv;      /* the pool: spare page included (number kv_pages, the last one) */
    cuda_arena scratch; /* activations, tables */
};

/* ---- The model as it is opened ---- */

struct cuda_comm; /* engine_cuda_comm.cuh */

struct cuda_model {
    const engine_weights *weights; /* borrowed, as everything in it; until close() */
    const engine_config *config;
    engine_backend_options options; /* resolved */
    uint32_t rows;                  /* of a step at most, padding included: a multiple of 128 */
    uint32_t logit_rows;            /* the same of logit rows */
    uint32_t spare_page;            /* = options.kv_pages: padding rows write there */
    uint32_t processors;            /* streaming multiprocessors */
    uint32_t capability;            /* 80, 90, ... */
    float score_scale;              /* of attention scores */
    const engine_shard *shard;      /* which part this is; NULL: the whole model */
    cuda_comm *comm;  /* to the other parts; NULL: there are none, or nothing runs yet */
    uint32_t sharers; /* parts on this GPU; 1 but in tests */
};

/* The routed experts that are computed here. */
static inline engine_range cuda_model_experts(const cuda_model *m)
{
    engine_range all = {0, m->config->moe.routed};
    return m->shard == NULL ? all : m->shard->experts;
}

/* ---- A step ---- */

/* What the host knows of a step. */
struct cuda_host_batch {
    const engine_batch *batch; /* as it came */
    uint32_t rows;             /* of the step: batch->rows and padding */
    const uint32_t *sequence;  /* [rows]: index into the batch's sequences; padding: seq_count */
    const uint32_t *length;    /* [rows]: position + 1; padding: 1 */
};

/* Device pointers, good for one step. Rows past *active (there are some only in captured steps) are padding: token 0 at
 * position 0 of a sequence of its own, whose only page is the spare one. */
struct cuda_batch {
    uint32_t rows;             /* >= 1, padding included */
    uint32_t logit_count;      /* 0: none */
    uint32_t page_stride;      /* page numbers a sequence has; no row's position is >= 64 * this */
    const uint32_t *active;    /* one word: rows that are no padding */
    const uint32_t *token;     /* [rows] */
    const uint32_t *position;  /* [rows] */
    const uint32_t *page;      /* [rows]: where the row's key and value go, ... */
    const uint32_t *slot;      /* [rows]: ... 0 .. 63 */
    const uint32_t *sequence;  /* [rows]: the row's line in `pages` */
    const uint32_t *pages;     /* [sequences][page_stride] page numbers */
    const uint32_t *logit_row; /* [logit_count]: which row */
    const float *cos, *sin;    /* [rows][rotated / 2]: YaRN's magnitude is in them */
    const float2 *rotation;    /* the same as pairs */
    const void *extra;         /* what prepare() wrote; 1 KiB aligned */
};

struct cuda_upload;       /* engine_cuda_upload.cuh */
struct cuda_runner_state; /* each runner defines its own and casts */

struct cuda_runner {
    const char *name;

    /* Can it run this model with these options on this GPU? If not, `why` says so in a few words. */
    bool (*supports)(const cuda_model *model, char why[160]);

    /* Allocates the host-side state: no CUDA call. PV_E_NOMEM. *out owned by the caller. */
    pv_status (*create)(cuda_runner_state **out, const cuda_model *model, pv_error *err);
    void (*destroy)(cuda_runner_state *state); /* NULL allowed; frees host memory only */

    /* Takes everything from the arenas, the same amounts in each call. */
    void (*lay_out)(cuda_runner_state *state, cuda_arenas *arenas);

    /* After the second lay_out(): lists what goes where (cuda_upload_*), and raises kernels' limits. */
    pv_status (*upload)(cuda_runner_state *state, cuda_upload *upload, pv_error *err);

    /* Bytes of batch.extra at most. NULL: none. */
    size_t (*extra_bytes)(const cuda_runner_state *state);

    /* Host work of a step: fills `extra` (page-locked), *used = bytes to copy. NULL: none. */
    pv_status (*prepare)(cuda_runner_state *state, const cuda_host_batch *batch, void *extra,
                         size_t *used, pv_error *err);

    /* Enqueues the step: KV of all rows, and logits [logit_count][vocab_size] float32 (of parts: rank 0's only). A runner that captures must let
     * nothing but the three numbers at the top of cuda_batch shape its launches: the graph is replayed with other
     * metadata. */
    cudaError_t (*step)(cuda_runner_state *state, const cuda_batch *batch, float *logits,
                        cudaStream_t stream);

    /* First `tokens` (1 .. 64) of page `from` to `to`, all layers. */
    cudaError_t (*copy_page)(cuda_runner_state *state, uint32_t to, uint32_t from, uint32_t tokens,
                             cudaStream_t stream);

    bool captures; /* may steps be captured? */
};

extern const cuda_runner cuda_runner_fast;
extern const cuda_runner cuda_runner_generic;

/* ---- Uploads: what runners list in upload() (engine_cuda_upload.cu does them afterwards, with progress) ---- */

/* Bytes as they are, row-major: 16-aligned device memory. Host memory is borrowed until all is uploaded. */
pv_status cuda_upload_bytes(cuda_upload *upload, void *device, const void *host, size_t bytes,
                            pv_error *err);

/* A view's matrix (its own dtype, row-major) to `data` and its scales, if it has any, to `scale` (scale_rows x
 * scale_cols). A view without data: nothing. */
pv_status cuda_upload_matrix(cuda_upload *upload, void *data, float *scale, const engine_view *view,
                             pv_error *err);

/* A vector of any dtype, widened to float32. A view without data: nothing. */
pv_status cuda_upload_vector(cuda_upload *upload, float *device, const engine_view *view,
                             pv_error *err);

#endif
