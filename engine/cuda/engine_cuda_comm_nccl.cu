/* NCCL, loaded when it is first needed. Its few functions that are used here are declared by hand: their binary interface
 * has been the same since 2.7 (send and receive). */
#include "engine_cuda_comm_internal.cuh"

#include "pv_log.h"

#include <dlfcn.h>
#include <stdio.h>

enum { RESULT_OK = 0, RESULT_IN_PROGRESS = 7, TYPE_BYTE = 0, VERSION_LEAST = 20900 };

typedef struct ncclComm *link_t;

struct nccl {
    int (*get_version)(int *version);
    const char *(*error_text)(int result);
    int (*init_all)(link_t *links, int count, const int *gpus);
    int (*destroy)(link_t link);
    int (*abort)(link_t link);
    int (*async_error)(link_t link, int *result);
    int (*group_start)(void);
    int (*group_end)(void);
    int (*send)(const void *from, size_t count, int type, int peer, link_t link,
                cudaStream_t stream);
    int (*recv)(void *to, size_t count, int type, int peer, link_t link, cudaStream_t stream);
    int (*all_gather)(const void *from, void *to, size_t count, int type, link_t link,
                      cudaStream_t stream);
    int (*broadcast)(const void *from, void *to, size_t count, int type, int root, link_t link,
                     cudaStream_t stream);
};

static nccl library; /* filled once, under `library_lock`; never unloaded */
static bool library_there;
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- Loading ---- */

static bool find_all(void *handle, nccl *out, const char **missing)
{
    const struct {
        const char *name;
        void *slot;
    } wanted[] = {
        {"ncclGetVersion", &out->get_version},
        {"ncclGetErrorString", &out->error_text},
        {"ncclCommInitAll", &out->init_all},
        {"ncclCommDestroy", &out->destroy},
        {"ncclCommAbort", &out->abort},
        {"ncclCommGetAsyncError", &out->async_error},
        {"ncclGroupStart", &out->group_start},
        {"ncclGroupEnd", &out->group_end},
        {"ncclSend", &out->send},
        {"ncclRecv", &out->recv},
        {"ncclAllGather", &out->all_gather},
        {"ncclBroadcast", &out->broadcast},
    };

    for (const auto &w : wanted) {
        *(void **)w.slot = dlsym(handle, w.name);
        if (*(void **)w.slot == NULL) {
            *missing = w.name;
            return false;
        }
    }
    return true;
}

static pv_status load_library(pv_error *err)
{
    void *handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "several GPUs need NCCL, and libnccl.so.2 does not load (%s); install NCCL, "
                       "or add its folder to LD_LIBRARY_PATH, or use one GPU",
                       dlerror());
    }
    const char *missing = NULL;
    if (!find_all(handle, &library, &missing)) {
        (void)dlclose(handle);
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "the NCCL that is installed has no %s; install 2.9 or newer", missing);
    }
    library_there = true;
    return PV_OK;
}

static pv_status need_library(pv_error *err)
{
    pthread_mutex_lock(&library_lock);
    pv_status status = library_there ? PV_OK : load_library(err);
    pthread_mutex_unlock(&library_lock);
    return status;
}

/* ---- All ranks ---- */

static pv_status open(cuda_comms *c, const uint32_t *gpus, pv_error *err)
{
    link_t links[ENGINE_RANKS_MAX] = {};
    int numbers[ENGINE_RANKS_MAX];
    int version = 0;
    pv_status status = need_library(err);
    if (status != PV_OK) {
        return status;
    }
    if (library.get_version(&version) != RESULT_OK || version < VERSION_LEAST) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "NCCL's version number is %d; 2.9 (%d) or newer is "
                       "needed",
                       version, (int)VERSION_LEAST);
    }
    (void)snprintf(c->name, sizeof c->name, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
                   version % 100);
    for (uint32_t i = 0; i < c->ranks; i++) {
        numbers[i] = (int)gpus[i];
    }
    int result = library.init_all(links, (int)c->ranks, numbers);
    if (result != RESULT_OK) {
        return pv_fail(err, PV_E_DEVICE,
                       "%s cannot connect the GPUs: %s (NCCL_DEBUG=WARN says more)", c->name,
                       library.error_text(result));
    }
    for (uint32_t i = 0; i < c->ranks; i++) {
        c->rank[i].link = links[i];
    }
    return PV_OK;
}

static void close(cuda_comms *c)
{
    for (uint32_t i = 0; i < c->ranks; i++) {
        link_t link = (link_t)c->rank[i].link;
        if (link != NULL && library.destroy(link) != RESULT_OK) {
            pv_log(PV_LOG_DEBUG, "cuda: NCCL's end of rank %u does not close", i);
        }
    }
}

/* ---- A rank ---- */

static void fail(cuda_comm *comm, int result)
{
    char text[200];
    (void)snprintf(text, sizeof text, "%s on rank %u: %s", comm->all->name, comm->rank,
                   library.error_text(result));
    cuda_comms_fail(comm->all, text);
}

static void keep(int *first, int result)
{
    *first = *first == RESULT_OK ? result : *first;
}

/* Each rank sends a part to every rank of `to` .. and takes one from every rank of `from` ... */
static int trade(const cuda_comm *comm, const cuda_comm_job *job, cudaStream_t stream)
{
    link_t link = (link_t)comm->link;
    bool all = job->call == CUDA_COMM_EXCHANGE;
    int result = library.group_start();
    for (uint32_t i = 0; i < comm->all->ranks; i++) {
        const char *from = (const char *)job->send + (all ? i * job->bytes : 0);
        if (all || i == 0) {
            keep(&result, library.send(from, job->bytes, TYPE_BYTE, (int)i, link, stream));
        }
        if (all || comm->rank == 0) {
            char *to = (char *)job->recv + i * job->bytes;
            keep(&result, library.recv(to, job->bytes, TYPE_BYTE, (int)i, link, stream));
        }
    }
    keep(&result, library.group_end());
    return result;
}

static cudaError_t run(cuda_comm *comm, const cuda_comm_job *job, cudaStream_t stream)
{
    link_t link = (link_t)comm->link;
    if (link == NULL) {
        return cudaErrorUnknown;
    }
    int result = RESULT_OK;
    if (job->call == CUDA_COMM_ALL_GATHER) {
        result = library.all_gather(job->send, job->recv, job->bytes, TYPE_BYTE, link, stream);
    } else if (job->call == CUDA_COMM_BROADCAST) {
        result = library.broadcast(job->send, job->recv, job->bytes, TYPE_BYTE, 0, link, stream);
    } else {
        result = trade(comm, job, stream);
    }
    if (result != RESULT_OK) {
        fail(comm, result);
        return cudaErrorUnknown;
    }
    return cudaSuccess;
}

/* At every rank: the one that has failed need not be the one that waits. */
static void look(cuda_comm *comm)
{
    for (uint32_t i = 0; i < comm->all->ranks; i++) {
        cuda_comm *other = &comm->all->rank[i];
        link_t link = (link_t)other->link;
        int result = RESULT_OK;
        if (link != NULL && library.async_error(link, &result) == RESULT_OK &&
            result != RESULT_OK && result != RESULT_IN_PROGRESS) {
            fail(other, result);
        }
    }
}

static void abort_link(cuda_comm *comm)
{
    link_t link = (link_t)comm->link;
    comm->link = NULL;
    if (link != NULL && library.abort(link) != RESULT_OK) {
        pv_log(PV_LOG_DEBUG, "cuda: NCCL's end of rank %u does not stop", comm->rank);
    }
}

const cuda_comm_kind cuda_comm_kind_nccl = {open, close, NULL, NULL, NULL, run, look, abort_link};
