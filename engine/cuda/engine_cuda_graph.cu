#include "engine_cuda_graph.cuh"

static bool same(cuda_step_shape a, cuda_step_shape b)
{
    return a.rows == b.rows && a.logit_count == b.logit_count && a.page_stride == b.page_stride;
}

static void drop(cuda_graph_entry *entry)
{
    if (entry->exec != NULL) {
        (void)cudaGraphExecDestroy(entry->exec);
        entry->exec = NULL;
    }
    entry->elsewhere = false;
}

/* The entry of a shape; a new one, in the place of the oldest if need be, when there is none. */
static cuda_graph_entry *find(cuda_graphs *g, cuda_step_shape shape, bool *known)
{
    cuda_graph_entry *oldest = &g->entries[0];
    *known = true;
    for (uint32_t i = 0; i < g->count; i++) {
        if (same(g->entries[i].shape, shape)) {
            return &g->entries[i];
        }
        oldest = g->entries[i].used < oldest->used ? &g->entries[i] : oldest;
    }
    *known = false;
    cuda_graph_entry *entry = g->count < CUDA_GRAPHS_MAX ? &g->entries[g->count++] : oldest;
    drop(entry);
    entry->shape = shape;
    return entry;
}

/* All of a step, on every rank that shares the stream. */
static cudaError_t enqueue_all(cuda_comm *comm, cuda_step_shape shape, cuda_graph_fn *fn,
                               void *user, cudaStream_t stream)
{
    cudaError_t error = fn(user, shape, stream);
    return error == cudaSuccess && comm != NULL ? cuda_comm_pass(comm) : error;
}

static cudaError_t capture(cudaGraphExec_t *out, cuda_comm *comm, cuda_step_shape shape,
                           cuda_graph_fn *fn, void *user, cudaStream_t stream)
{
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess) {
        return error;
    }
    error = enqueue_all(comm, shape, fn, user, stream);
    cudaError_t ended = cudaStreamEndCapture(stream, &graph); /* ends it after a failure too */
    error = error == cudaSuccess ? ended : error;
    if (error == cudaSuccess) {
        error = cudaGraphInstantiate(out, graph, 0);
    }
    if (graph != NULL) {
        (void)cudaGraphDestroy(graph);
    }
    return error;
}

/* A known shape on a rank whose kernels are in the graph of rank 0. */
static cudaError_t follow(cuda_graph_entry *entry, cuda_comm *comm, cuda_step_shape shape,
                          cuda_graph_fn *fn, void *user, cudaStream_t stream)
{
    if (entry->elsewhere) {
        return cudaSuccess;
    }
    entry->elsewhere = true;
    return enqueue_all(comm, shape, fn, user, stream);
}

cudaError_t cuda_graphs_run(cuda_graphs *graphs, cuda_comm *comm, cuda_step_shape shape,
                            cuda_graph_fn *fn, void *user, cudaStream_t stream)
{
    bool known = false;
    cuda_graph_entry *entry = find(graphs, shape, &known);
    entry->used = ++graphs->clock;
    if (!known) {
        return fn(user, shape, stream);
    }
    if (comm != NULL && !cuda_comm_captures(comm)) {
        return follow(entry, comm, shape, fn, user, stream);
    }
    if (entry->exec == NULL) {
        cudaError_t error = capture(&entry->exec, comm, shape, fn, user, stream);
        if (error == cudaErrorMemoryAllocation &&
            comm == NULL) { /* no room for a graph: goes without */
            (void)cudaGetLastError();
            entry->exec = NULL;
            return fn(user, shape, stream);
        }
        if (error != cudaSuccess) {
            entry->exec = NULL;
            return error;
        }
    }
    return cudaGraphLaunch(entry->exec, stream);
}

void cuda_graphs_release(cuda_graphs *graphs)
{
    for (uint32_t i = 0; i < graphs->count; i++) {
        drop(&graphs->entries[i]);
    }
    graphs->count = 0;
}
