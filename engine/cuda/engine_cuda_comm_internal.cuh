/* engine_cuda_comm_internal: what the two kinds of communicators have in common. */
#ifndef ENGINE_CUDA_COMM_INTERNAL_CUH
#define ENGINE_CUDA_COMM_INTERNAL_CUH

#include "engine_cuda_comm.cuh"

#include <pthread.h>

enum cuda_comm_call {
    CUDA_COMM_ALL_GATHER,
    CUDA_COMM_EXCHANGE,
    CUDA_COMM_GATHER,
    CUDA_COMM_BROADCAST
};

struct cuda_comm_job {
    cuda_comm_call call;
    const void *send;
    void *recv;
    size_t bytes; /* of a part */
};

struct cuda_comm {
    cuda_comms *all;
    uint32_t rank;
    void *link; /* NCCL's communicator; NULL: none, or ended */
};

struct cuda_comm_kind {
    pv_status (*open)(cuda_comms *comms, const uint32_t *gpus, pv_error *err);
    void (*close)(cuda_comms *comms); /* also after open() failed */
    void (*enter)(cuda_comm *comm);   /* NULL: nothing; so the next two */
    void (*leave)(cuda_comm *comm);
    cudaError_t (*pass)(cuda_comm *comm);
    cudaError_t (*run)(cuda_comm *comm, const cuda_comm_job *job, cudaStream_t stream);
    void (*look)(cuda_comm *comm);  /* notices failures that happen by themselves; NULL: none do */
    void (*abort)(cuda_comm *comm); /* NULL: nothing to end */
};

struct cuda_comms {
    const cuda_comm_kind *kind;
    uint32_t ranks;
    char name[64];
    pthread_mutex_t lock;
    cuda_comm rank[ENGINE_RANKS_MAX];
    bool failed; /* under lock; so what follows */
    char failure[256];
    /* in turn */
    pthread_cond_t turned;
    uint32_t turn;
    cuda_comm_job jobs[ENGINE_RANKS_MAX];
    cudaError_t result;
    cudaStream_t stream;
};

extern const cuda_comm_kind cuda_comm_kind_nccl;
extern const cuda_comm_kind cuda_comm_kind_turns;

#endif
