#include "engine_cuda_comm_internal.cuh"

#include "pv_clock.h"
#include "pv_mem.h"

#include <stdio.h>
#include <time.h>

/* A step takes seconds at most, a long prompt with the generic kernels some more. */
enum { PATIENCE_MS = 300000, EAGER_NS = 200000, NAP_NS = 20000 };

/* ---- All ranks ---- */

static pv_status choose_kind(const cuda_comm_kind **out, const uint32_t *gpus, uint32_t ranks,
                             pv_error *err)
{
    uint32_t same = 0;
    uint32_t pairs = 0;
    for (uint32_t i = 0; i < ranks; i++) {
        for (uint32_t j = 0; j < i; j++) {
            same += gpus[i] == gpus[j];
            pairs++;
        }
    }
    if (same != 0 && same != pairs) {
        return pv_fail(err, PV_E_INVALID,
                       "some of the %u GPUs are the same and some not; name different ones", ranks);
    }
    *out = same != 0 ? &cuda_comm_kind_turns : &cuda_comm_kind_nccl;
    return PV_OK;
}

pv_status cuda_comms_open(cuda_comms **out, const uint32_t *gpus, uint32_t ranks, pv_error *err)
{
    const cuda_comm_kind *kind = NULL;
    pv_status status = choose_kind(&kind, gpus, ranks, err);
    if (status != PV_OK) {
        return status;
    }
    cuda_comms *c = (cuda_comms *)pv_calloc(1, sizeof *c);
    if (c == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a communicator");
    }
    c->kind = kind;
    c->ranks = ranks;
    for (uint32_t i = 0; i < ranks; i++) {
        c->rank[i].all = c;
        c->rank[i].rank = i;
    }
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        pv_free(c);
        return pv_fail(err, PV_E_NOMEM, "no lock for a communicator");
    }
    status = kind->open(c, gpus, err);
    if (status != PV_OK) {
        cuda_comms_close(c);
        return status;
    }
    *out = c;
    return PV_OK;
}

void cuda_comms_close(cuda_comms *comms)
{
    if (comms != NULL) {
        comms->kind->close(comms);
        pthread_mutex_destroy(&comms->lock);
        pv_free(comms);
    }
}

cuda_comm *cuda_comms_rank(cuda_comms *comms, uint32_t rank)
{
    return &comms->rank[rank];
}

const char *cuda_comms_name(const cuda_comms *comms)
{
    return comms->name;
}

cudaStream_t cuda_comms_stream(const cuda_comms *comms)
{
    return comms->stream;
}

void cuda_comms_fail(cuda_comms *comms, const char *what)
{
    pthread_mutex_lock(&comms->lock);
    if (!comms->failed) {
        comms->failed = true;
        (void)snprintf(comms->failure, sizeof comms->failure, "%s", what);
    }
    if (comms->kind == &cuda_comm_kind_turns) {
        pthread_cond_broadcast(&comms->turned);
    }
    pthread_mutex_unlock(&comms->lock);
}

const char *cuda_comms_failure(cuda_comms *comms)
{
    pthread_mutex_lock(&comms->lock);
    bool failed = comms->failed;
    pthread_mutex_unlock(&comms->lock);
    return failed ? comms->failure : NULL; /* written once */
}

/* ---- A rank ---- */

cuda_comms *cuda_comm_all(const cuda_comm *comm)
{
    return comm->all;
}

void cuda_comm_enter(cuda_comm *comm)
{
    if (comm->all->kind->enter != NULL) {
        comm->all->kind->enter(comm);
    }
}

void cuda_comm_leave(cuda_comm *comm)
{
    if (comm->all->kind->leave != NULL) {
        comm->all->kind->leave(comm);
    }
}

cudaError_t cuda_comm_pass(cuda_comm *comm)
{
    return comm->all->kind->pass == NULL ? cudaSuccess : comm->all->kind->pass(comm);
}

bool cuda_comm_captures(const cuda_comm *comm)
{
    return comm->all->kind != &cuda_comm_kind_turns || comm->rank == 0;
}

static cudaError_t run(cuda_comm *comm, cuda_comm_call call, const void *send, void *recv,
                       size_t bytes, cudaStream_t stream)
{
    cuda_comm_job job = {call, send, recv, bytes};
    if (cuda_comms_failure(comm->all) != NULL) {
        return cudaErrorUnknown;
    }
    return comm->all->kind->run(comm, &job, stream);
}

cudaError_t cuda_comm_all_gather(cuda_comm *comm, const void *send, void *recv, size_t bytes,
                                 cudaStream_t stream)
{
    return run(comm, CUDA_COMM_ALL_GATHER, send, recv, bytes, stream);
}

cudaError_t cuda_comm_exchange(cuda_comm *comm, const void *send, void *recv, size_t bytes,
                               cudaStream_t stream)
{
    return run(comm, CUDA_COMM_EXCHANGE, send, recv, bytes, stream);
}

cudaError_t cuda_comm_gather(cuda_comm *comm, const void *send, void *recv, size_t bytes,
                             cudaStream_t stream)
{
    return run(comm, CUDA_COMM_GATHER, send, recv, bytes, stream);
}

cudaError_t cuda_comm_broadcast(cuda_comm *comm, void *buffer, size_t bytes, cudaStream_t stream)
{
    return run(comm, CUDA_COMM_BROADCAST, buffer, buffer, bytes, stream);
}

/* Is there a reason to wait no longer? */
static bool gave_up(cuda_comm *comm, uint64_t began_ns)
{
    if (comm->all->kind->look != NULL) {
        comm->all->kind->look(comm);
    }
    if (pv_clock_ns() - began_ns > PATIENCE_MS * UINT64_C(1000000)) {
        cuda_comms_fail(comm->all,
                        "a step did not end within five minutes: a GPU or the link between "
                        "two of them does not answer");
    }
    return cuda_comms_failure(comm->all) != NULL;
}

cudaError_t cuda_comm_wait(cuda_comm *comm, cudaEvent_t event)
{
    uint64_t began = pv_clock_ns();
    for (;;) {
        cudaError_t error = cudaEventQuery(event);
        if (error != cudaErrorNotReady) {
            return error;
        }
        if (pv_clock_ns() - began < EAGER_NS) {
            continue;
        }
        if (gave_up(comm, began)) {
            return cudaErrorUnknown;
        }
        struct timespec nap = {0, NAP_NS};
        (void)nanosleep(&nap, NULL);
    }
}

void cuda_comm_abort(cuda_comm *comm)
{
    if (comm->all->kind->abort != NULL) {
        comm->all->kind->abort(comm);
    }
}
