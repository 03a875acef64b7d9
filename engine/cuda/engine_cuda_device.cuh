/* engine_cuda_device: a model, or a part of one, opened on a GPU. Internal to engine/cuda.
 *
 * A model that is spread over several GPUs is a team of devices (engine_cuda_team.cuh), each with a thread; what the caller
 * holds is that of rank 0. The functions below are those of one device, called by its own thread. */
#ifndef ENGINE_CUDA_DEVICE_CUH
#define ENGINE_CUDA_DEVICE_CUH

#include "engine_cuda_batch.cuh"
#include "engine_cuda_comm.cuh"
#include "engine_cuda_graph.cuh"
#include "engine_cuda_runner.cuh"

struct cuda_team;

struct engine_device {
    cuda_team *team; /* owned; NULL: alone, or not rank 0 */
    cuda_model model;
    const cuda_runner *runner;
    cuda_runner_state *state;
    int ordinal;
    char gpu[96];       /* its name */
    cuda_arenas arenas; /* their bases are owned */
    cuda_batches batches;
    cuda_graphs graphs;
    float *logits;      /* [logit_rows][vocab], device; of rank 0 */
    void *sample_space; /* of the sampler, device; of rank 0 */
    cudaStream_t stream;
    uint64_t submitted; /* tickets given out */
    uint64_t collected;
    uint32_t drawn; /* draws of the last submit() */
    bool direct;    /* no graphs (for measurements) */
    pv_error death; /* status != PV_OK: every call fails with this */
};

/* Opens as engine_backend.open(), on several GPUs too; random_seed: engine_cuda_upload.cuh. */
pv_status cuda_device_open(engine_device **out, const engine_weights *weights,
                           const engine_backend_options *options, const uint64_t *random_seed,
                           pv_error *err);

/* Which part of which model a device is to hold. */
struct cuda_part {
    const engine_weights *weights;
    const engine_backend_options *options; /* ordinal: its GPU */
    const uint64_t *random_seed;           /* NULL: the checkpoint's numbers */
    const engine_shard *shard;             /* NULL: all of it, and weights are the model's */
    cuda_comm *comm;
    uint32_t sharers;
};

/* A device with everything counted and nothing allocated on the GPU; `quiet`: without a word in the log. */
pv_status cuda_part_prepare(engine_device **out, const cuda_part *part, engine_memory *memory,
                            bool quiet, pv_error *err);
/* Takes memory and loads; after a failure too the device is to be closed. */
pv_status cuda_part_open(engine_device *device, const cuda_part *part, const engine_memory *memory,
                         pv_error *err);
void cuda_part_close(engine_device *device); /* prepared or open */

/* As those of engine_backend. Of a part: logits and results are rank 0's only. */
pv_status cuda_part_forward(engine_device *device, const engine_batch *batch, float *logits,
                            pv_error *err);
pv_status cuda_part_copy_page(engine_device *device, uint32_t to, uint32_t from, uint32_t tokens,
                              pv_error *err);
pv_status cuda_part_submit(engine_device *device, const engine_batch *batch,
                           const engine_draw *draws, uint32_t draw_count, uint64_t *ticket,
                           pv_error *err);
pv_status cuda_part_collect(engine_device *device, uint64_t ticket, engine_drawn *out,
                            pv_error *err);
void cuda_part_memory(const engine_device *device, engine_memory *out);

/* Every call from now on fails with this; the first reason stays. */
void cuda_part_die(engine_device *device, const char *why);

/* Turns a failed call into a status and a message that says what to do. */
pv_status cuda_failure(cudaError_t error, const char *what, pv_error *err);

#endif
