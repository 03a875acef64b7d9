/* engine_cuda_fast: the runner for Hopper (sm_90a) and the shapes of DeepSeek-Prover-V2: its weights, its cache, its
 * buffers. engine_cuda_llama.cu and engine_cuda_deepseek.cu enqueue the steps of the two architectures.
 * All device memory is in the arenas of the device (engine_cuda_runner.cuh). */
#ifndef ENGINE_CUDA_FAST_CUH
#define ENGINE_CUDA_FAST_CUH

#include "engine_cuda_attention.cuh"
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_mla.cuh"
#include "engine_cuda_pointwise.cuh"
#include "engine_cuda_router.cuh"
#include "engine_cuda_runner.cuh"
#include "engine_cuda_share.cuh"
#include "engine_cuda_upload.cuh"

#include <cuda_bf16.h>

struct cuda_fast_layer {
    float *input_norm;
    float *post_norm;

    cuda_weight first; /* llama: q, k, v; MLA: q_a, then kv_a (from row kv_row on), or kv_a alone */
    float *first_bias; /* llama; NULL: none */
    float *q_a_norm;   /* MLA with query compression */
    float *kv_a_norm;  /* MLA */
    cuda_weight q;     /* MLA: q_b, or q without compression */
    cuda_mla_weight kv_b;
    cuda_weight o;
    float *o_bias; /* llama; NULL: none */

    cuda_weight gate_up; /* dense layers, and shared experts that are no group below */
    cuda_weight down;
    cuda_weight expert_gate_up; /* of one expert; all lie one after the other */
    cuda_weight expert_down;
    uint16_t *router; /* bf16, row-major */
    float *router_bias;
};

struct cuda_fast { /* cuda_runner_state of this runner */
    const cuda_model *model;
    cuda_type type;          /* of activations and of all matrices but embedding, router and head */
    bool shared_group;       /* the shared expert is the group after the last routed one */
    uint32_t groups;         /* routed experts of this GPU + shared_group */
    uint32_t kv_row;         /* of layer.first */
    uint32_t first_rows;     /* outputs of layer.first, padding between its parts included */
    cuda_fast_layer *layers; /* owned */
    uint16_t *embed;         /* bf16, row-major */
    float *final_norm;
    cuda_weight head;

    uint8_t *kv;        /* llama: for each layer keys, then values; MLA: a plane a layer */
    size_t plane_bytes; /* of one of them */

    /* buffers of a step; rows: model->rows */
    float *h;         /* [rows][hidden]: the residual stream */
    cuda_rows x;      /* hidden: what a block reads */
    float *first_out; /* [rows][first_rows] */
    cuda_rows att;    /* heads * value dim: the input of o */
    cuda_rows gated;  /* the widest dense or shared intermediate */
    cuda_rows last;   /* bf16, hidden, logit_rows: the input of the head */

    cuda_attention_shape shape; /* llama */
    cuda_attention_limits limits;
    __nv_bfloat16 *q; /* llama: rotated; MLA: before rotation */
    void *states;

    cuda_rows q_latent; /* MLA */
    uint8_t *queries;
    __nv_bfloat16 *latent;
    void *mla_scratch;
    uint32_t blocks;

    cuda_rows expert_x; /* rows as they were sent to the experts */
    cuda_rows expert_gated;
    __nv_bfloat16 *expert_out; /* [gathered rows][hidden] */
    float *factor;             /* [rows]: of the norm in front of a router */
    cuda_routing_shape routing_shape;
    cuda_routing routing;
    uint32_t *counter; /* of grouped products */

    /* while a step is enqueued: the sum that the next norm is to begin with */
    cuda_mix mix;
    bool mix_waits;

    cuda_share share; /* where the model is spread over several GPUs */
    bool parts_wait;  /* as mix_waits: the parts of the stream that the GPUs have exchanged */
};

/* The plane of layer `layer`; llama: part 0 keys, 1 values. */
static inline uint8_t *cuda_fast_plane(const cuda_fast *f, uint32_t layer, uint32_t part)
{
    bool llama = f->model->config->arch == ENGINE_ARCH_LLAMA;
    return f->kv + (size_t)(llama ? 2 * layer + part : layer) * f->plane_bytes;
}

/* y = x W^T, over the rows of the batch. */
cudaError_t cuda_fast_product(const cuda_weight *w, const cuda_rows *x, uint32_t rows,
                              cuda_epilogue epilogue, void *out, uint32_t ld, const float *bias,
                              cudaStream_t stream);
/* h += x W^T + bias, the parts of other GPUs included; what is left of that to the next norm: mix_waits, parts_wait. */
cudaError_t cuda_fast_add(cuda_fast *f, const cuda_weight *w, const cuda_rows *x, uint32_t rows,
                          const float *bias, cudaStream_t stream);
/* gated = silu(gate x) * (up x) */
cudaError_t cuda_fast_gated(const cuda_weight *w, const cuda_rows *x, uint32_t rows,
                            const cuda_rows *gated, cudaStream_t stream);

/* The front of a buffer, as rows of `cols`. */
cuda_rows cuda_fast_cols(const cuda_rows *buffer, uint32_t cols);
/* x = norm of the stream, after the sum of experts that still waits to be added to it. factor: as cuda_norm's. */
cudaError_t cuda_fast_norm(cuda_fast *f, const float *weight, uint32_t rows, float *factor,
                           cudaStream_t stream);

cudaError_t cuda_fast_llama_layer(cuda_fast *f, uint32_t layer, const cuda_batch *batch,
                                  cudaStream_t stream);
cudaError_t cuda_fast_deepseek_layer(cuda_fast *f, uint32_t layer, const cuda_batch *batch,
                                     cudaStream_t stream);

/* How many experts the last step's last layer with any read; waits for the device. For benchmarks. */
uint32_t cuda_fast_experts_touched(const cuda_fast *f);

/* Runs what follows `error` when nothing failed so far: CUDA_TRY(error, call). */
#define CUDA_TRY(error, call)                                                                      \
    do {                                                                                           \
        if ((error) == cudaSuccess) {                                                              \
            (error) = (call);                                                                      \
        }                                                                                          \
    } while (0)

#endif
