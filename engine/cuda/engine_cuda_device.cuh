/* engine_cuda_device: a model opened on a GPU. Internal to engine/cuda. */
#ifndef ENGINE_CUDA_DEVICE_CUH
#define ENGINE_CUDA_DEVICE_CUH

#include "engine_cuda_batch.cuh"
#include "engine_cuda_graph.cuh"
#include "engine_cuda_runner.cuh"

struct engine_device {
    cuda_model model;
    const cuda_runner *runner;
    cuda_runner_state *state;
    int ordinal;
    cuda_arenas arenas; /* their bases are owned */
    cuda_batches batches;
    cuda_graphs graphs;
    float *logits;      /* [logit_rows][vocab], device */
    void *sample_space; /* of the sampler, device */
    cudaStream_t stream;
    uint64_t submitted; /* tickets given out */
    uint64_t collected;
    uint32_t drawn; /* draws of the last submit() */
    bool direct;    /* no graphs (for measurements) */
    pv_error death; /* status != PV_OK: every call fails with this */
};

/* Opens as engine_backend.open(); random_seed: engine_cuda_upload.cuh. */
pv_status cuda_device_open(engine_device **out, const engine_weights *weights,
                           const engine_backend_options *options, const uint64_t *random_seed,
                           pv_error *err);

/* Turns a failed call into a status and a message that says what to do. */
pv_status cuda_failure(cudaError_t error, const char *what, pv_error *err);

#endif
