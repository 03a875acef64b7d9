/* Ranks that share one GPU and one stream, and enqueue in turn. */
#include "engine_cuda_comm_internal.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

#include <stdio.h>

enum { THREADS = 256, BLOCKS_MAX = 64 };

/* ---- Turns ---- */

static bool my_turn(const cuda_comm *comm)
{
    return comm->all->turn == comm->rank || comm->all->failed;
}

static void wait_for_turn(cuda_comm *comm)
{
    while (!my_turn(comm)) {
        pthread_cond_wait(&comm->all->turned, &comm->all->lock);
    }
}

static void give_turn(cuda_comm *comm)
{
    comm->all->turn = (comm->rank + 1) % comm->all->ranks;
    pthread_cond_broadcast(&comm->all->turned);
}

static void enter(cuda_comm *comm)
{
    pthread_mutex_lock(&comm->all->lock);
    wait_for_turn(comm);
    pthread_mutex_unlock(&comm->all->lock);
}

static void leave(cuda_comm *comm)
{
    pthread_mutex_lock(&comm->all->lock);
    give_turn(comm);
    pthread_mutex_unlock(&comm->all->lock);
}

static cudaError_t pass(cuda_comm *comm)
{
    pthread_mutex_lock(&comm->all->lock);
    give_turn(comm);
    wait_for_turn(comm);
    bool failed = comm->all->failed;
    pthread_mutex_unlock(&comm->all->lock);
    return failed ? cudaErrorUnknown : cudaSuccess;
}

/* ---- An exchange ---- */

struct exchange {
    cuda_comm_call call;
    uint32_t ranks;
    uint64_t words; /* of a part */
    const uint32_t *send[ENGINE_RANKS_MAX];
    uint32_t *recv[ENGINE_RANKS_MAX];
};

/* blockIdx: x from, y to, z some of the words. */
static __global__ void __launch_bounds__(THREADS)
    exchange_kernel(const __grid_constant__ exchange p)
{
    cuda_chain_wait();
    uint32_t from = blockIdx.x;
    uint32_t to = blockIdx.y;
    bool wanted = (p.call != CUDA_COMM_GATHER || to == 0) &&
                  (p.call != CUDA_COMM_BROADCAST || (from == 0 && to != 0));
    const uint32_t *source = p.send[from];
    uint32_t *target = p.recv[to];
    if (p.call == CUDA_COMM_EXCHANGE) {
        source += to * p.words;
    }
    if (p.call != CUDA_COMM_BROADCAST) {
        target += from * p.words;
    }
    if (!wanted || source == target) {
        return;
    }
    uint64_t step = (uint64_t)gridDim.z * THREADS;
    for (uint64_t i = (uint64_t)blockIdx.z * THREADS + threadIdx.x; i < p.words; i += step) {
        target[i] = source[i];
    }
}

/* All ranks have said what they want. */
static cudaError_t exchange_all(const cuda_comms *c, cudaStream_t stream)
{
    exchange p = {};
    p.call = c->jobs[0].call;
    p.ranks = c->ranks;
    p.words = c->jobs[0].bytes / sizeof(uint32_t);
    for (uint32_t i = 0; i < c->ranks; i++) {
        const cuda_comm_job *job = &c->jobs[i];
        if (job->call != p.call || job->bytes != p.words * sizeof(uint32_t)) {
            return cudaErrorInvalidValue; /* ranks that do not do the same */
        }
        p.send[i] = (const uint32_t *)job->send;
        p.recv[i] = (uint32_t *)job->recv;
    }
    uint64_t blocks = (p.words + THREADS * 4 - 1) / (THREADS * 4);
    blocks = blocks < 1 ? 1 : blocks > BLOCKS_MAX ? (uint64_t)BLOCKS_MAX : blocks;
    cuda_shape shape = {dim3(c->ranks, c->ranks, (unsigned)blocks), dim3(THREADS), 0};
    return cuda_launch(exchange_kernel, shape, stream, p);
}

static cudaError_t run(cuda_comm *comm, const cuda_comm_job *job, cudaStream_t stream)
{
    cuda_comms *c = comm->all;
    c->jobs[comm->rank] = *job;
    if (comm->rank == c->ranks - 1) {
        c->result = exchange_all(c, stream);
    }
    cudaError_t error = pass(comm);
    return error == cudaSuccess ? c->result : error;
}

/* ---- All ---- */

static pv_status open(cuda_comms *c, const uint32_t *gpus, pv_error *err)
{
    (void)snprintf(c->name, sizeof c->name, "one GPU in turn");
    if (pthread_cond_init(&c->turned, NULL) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no condition for a communicator");
    }
    cudaError_t error = cudaSetDevice((int)gpus[0]);
    if (error == cudaSuccess) {
        error = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    }
    return error == cudaSuccess ? PV_OK
                                : pv_fail(err, PV_E_DEVICE, "opening GPU %u: %s", gpus[0],
                                          cudaGetErrorString(error));
}

static void close(cuda_comms *c)
{
    if (c->stream != NULL) {
        (void)cudaStreamDestroy(c->stream);
    }
    pthread_cond_destroy(&c->turned);
}

const cuda_comm_kind cuda_comm_kind_turns = {open, close, enter, leave, pass, run, NULL, NULL};
