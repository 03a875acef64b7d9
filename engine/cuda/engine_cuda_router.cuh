/* engine_cuda_router: which experts a row takes, and the rows in the order in which the experts want them, on Hopper
 * (sm_90a).
 *
 *     cuda_router_run()    h -> scores -> ids and weights of the experts of each row (engine/cpu/engine_cpu_gate.c:
 *                          the same choice for the same logits), and a place for each row in each of its groups
 *     cuda_gather_run()    the rows' activations to their places
 *     grouped products     engine_cuda_gemm.cuh, over cuda_routing_groups()
 *     cuda_mix_run()       engine_cuda_pointwise.cuh: adds the results up again
 *
 * Groups are the routed experts, and after them the shared one if it is to be computed with them: it takes all rows.
 * A group begins at a multiple of 8 rows and holds its rows in ascending order; groups without rows take no room. Rows
 * past *active are padding and touch no expert.
 *
 * Logits are float32 sums in one order for every batch. The input is cut into three bf16 numbers that together are its
 * 24 bits. A chunk of 128 columns is summed in the tensor core, 16 columns at a time, once for the third and the second
 * parts and once for the first; those two are added; chunks are added in ascending order within runs of 7, and so are
 * the runs.
 * All arrays are device memory. Launches are asynchronous, chained and can be captured; an error is that of the launch. */
#ifndef ENGINE_CUDA_ROUTER_CUH
#define ENGINE_CUDA_ROUTER_CUH

#include "engine_config.h"
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_matrix.cuh"

#include <cuda_runtime.h>

enum {
    CUDA_ROUTER_EXPERTS = 256, /* routed, at most       */
    CUDA_ROUTER_CHOICES = 32   /* of a row, at most     */
};

struct cuda_routing_shape {
    engine_moe moe;
    uint32_t cols; /* hidden size; a multiple of 128 */
    uint32_t rows_max;
    bool shared; /* the shared expert is one more group */
};

struct cuda_routing { /* pointers into one block: cuda_routing_at() */
    float *partial;   /* [runs][rows][routed]: parts of the logits                                */
    uint32_t *ids;    /* [rows][per_token], ascending                                             */
    float *weights;   /* [rows][per_token]                                                        */
    uint32_t *place;  /* [rows][per_token + shared]: gathered row                                 */
    uint32_t *source; /* [gathered rows]: row; UINT32_MAX: padding                                */
    uint32_t *begin;  /* [groups + 1]: first gathered row; the last one is the end                */
    uint32_t *count;  /* [groups]                                                                 */
    uint32_t per_token;
    uint32_t groups;
    uint32_t shared; /* 1 or 0 */

    /* The groups that are computed here: first .. first + local - 1. cuda_routing_at() takes all; where experts are spread
     * over several GPUs, each then takes its own. Rows of other groups are not gathered. */
    uint32_t first;
    uint32_t local;
};

/* Does this file serve it? */
bool cuda_routing_supported(const cuda_routing_shape *shape);

/* Gathered rows that `rows` rows may take at most, padding included. */
uint32_t cuda_routing_capacity(const cuda_routing_shape *shape, uint32_t rows);

size_t cuda_routing_bytes(const cuda_routing_shape *shape);
/* `base`: that many bytes, 256-byte aligned. */
cuda_routing cuda_routing_at(const cuda_routing_shape *shape, void *base);

/* What grouped products of a batch of `rows` rows want. */
cuda_groups cuda_routing_groups(const cuda_routing *routing, uint32_t rows);

struct cuda_router {
    cuda_routing_shape shape;
    cuda_routing out;
    const uint16_t *w;   /* bf16 [routed][cols], row-major, 16-byte aligned                     */
    const float *bias;   /* [routed], or NULL                                                   */
    const float *h;      /* [rows][cols]; the router's input is h * factor[row] * norm          */
    const float *factor; /* [rows]: cuda_norm.factor                                            */
    const float *norm;   /* [cols]: cuda_norm.weight                                            */
    const uint32_t
        *active;   /* one word: rows that are no padding; NULL: all                       */
    uint32_t rows; /* >= 1                                                                */
};

/* Raises kernels' limits on shared memory; once for each device, before the first launch. */
cudaError_t cuda_router_prepare(void);

cudaError_t cuda_router_run(const cuda_router *op, cudaStream_t stream);

/* Its two halves, for tests and benchmarks: the logits' parts (wide: the kernel for many rows), then choice and places
 * (fused: in one kernel if there are at most 4 rows). The same bits either way. */
cudaError_t cuda_router_logits(const cuda_router *op, bool wide, cudaStream_t stream);
cudaError_t cuda_router_choose(const cuda_router *op, bool fused, cudaStream_t stream);

/* The rows of x (type, K blocks, scales) to their places in `out`. Places between a group's last row and the next group
 * are left as they are. */
struct cuda_gather {
    cuda_routing_shape shape;
    cuda_routing routing;
    uint32_t rows;
    cuda_rows x;
    cuda_rows out; /* capacity at least cuda_routing_capacity(rows) */
};

cudaError_t cuda_gather_run(const cuda_gather *op, cudaStream_t stream);

#endif
