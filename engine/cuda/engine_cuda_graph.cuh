/* engine_cuda_graph: captured steps, by shape. A shape is captured when it comes up for the second time, so that a
 * passing one costs nothing; when there are too many, the one that was used longest ago goes.
 * Embedded: `cuda_graphs g = {};`. Threads: one at a time.
 *
 * Of a model in several parts every rank captures its own steps, exchanges included. Where the ranks share one stream
 * (engine_cuda_comm.cuh, in turn), rank 0's graphs hold the kernels of all; the others only see to it that all know the
 * same shapes. */
#ifndef ENGINE_CUDA_GRAPH_CUH
#define ENGINE_CUDA_GRAPH_CUH

#include "engine_cuda_batch.cuh"
#include "engine_cuda_comm.cuh"

enum { CUDA_GRAPHS_MAX = 48 };

struct cuda_graph_entry {
    cuda_step_shape shape;
    cudaGraphExec_t exec; /* NULL: seen once, not captured; or rank 0 has it */
    bool elsewhere;       /* rank 0 has it */
    uint64_t used;        /* when */
};

struct cuda_graphs {
    cuda_graph_entry entries[CUDA_GRAPHS_MAX];
    uint32_t count;
    uint64_t clock;
};

/* Enqueues what is to be captured. */
typedef cudaError_t cuda_graph_fn(void *user, cuda_step_shape shape, cudaStream_t stream);

/* Enqueues a step of that shape: replays it, or calls fn. comm: to the other parts, or NULL. */
cudaError_t cuda_graphs_run(cuda_graphs *graphs, cuda_comm *comm, cuda_step_shape shape,
                            cuda_graph_fn *fn, void *user, cudaStream_t stream);

void cuda_graphs_release(cuda_graphs *graphs);

#endif
