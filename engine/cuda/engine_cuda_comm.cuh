/* engine_cuda_comm: how the ranks of a model that is spread over several GPUs of one host (engine_shard.h) exchange
 * numbers, in the order of their streams.
 *
 * Bytes are moved, nothing is added: sums are made afterwards, in the order of the ranks, by kernels of our own
 * (engine_cuda_share.cuh). So no result depends on the algorithm that a library chooses.
 *
 * Two kinds, told apart by the GPUs that are asked for:
 *     all different   NCCL, found when it is first needed (libnccl.so.2): building needs none
 *     all the same    in turn: the ranks share one GPU and one stream. A rank enqueues up to an exchange, then the next one
 *                     does, and so on; the last one enqueues the exchange. For tests, and nothing waits on the GPU
 *
 * Calls of a rank come from its own thread, between cuda_comm_enter() and cuda_comm_leave(); all ranks make the same calls
 * in the same order, with the same number of bytes. They may be captured (engine_cuda_graph.cuh).
 * Errors: a call fails with a cudaError_t; cuda_comms_failure() says what happened. From then on every call of every rank
 * fails, and nobody waits any longer: the GPUs' exchanges are ended too. */
#ifndef ENGINE_CUDA_COMM_CUH
#define ENGINE_CUDA_COMM_CUH

#include "engine_shard.h"

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

struct cuda_comms; /* of all ranks */
struct cuda_comm;  /* one rank's end; owned by its cuda_comms */

/* Connects `ranks` (at most ENGINE_RANKS_MAX) GPUs, given by number. *out owned by the caller, written on success only.
 * Fails: PV_E_INVALID (some GPUs are the same and some not), PV_E_UNSUPPORTED (no NCCL, or too old a one: what to
 * install), PV_E_DEVICE, PV_E_NOMEM. */
pv_status cuda_comms_open(cuda_comms **out, const uint32_t *gpus, uint32_t ranks, pv_error *err);

/* When no rank uses it any more, and no graph holds a call of it. NULL allowed. */
void cuda_comms_close(cuda_comms *comms);

cuda_comm *cuda_comms_rank(cuda_comms *comms, uint32_t rank);

/* "NCCL 2.27.3", "one GPU in turn" */
const char *cuda_comms_name(const cuda_comms *comms);

/* The stream that all ranks have in common; NULL: each has its own. */
cudaStream_t cuda_comms_stream(const cuda_comms *comms);

/* The first failure wins. Any thread. */
void cuda_comms_fail(cuda_comms *comms, const char *what);

/* NULL: none so far. */
const char *cuda_comms_failure(cuda_comms *comms);

/* ---- A rank ---- */

cuda_comms *cuda_comm_all(const cuda_comm *comm);

/* Around everything that a rank enqueues. In turn: waits until it is this rank's turn; gives it away. */
void cuda_comm_enter(cuda_comm *comm);
void cuda_comm_leave(cuda_comm *comm);

/* In turn: lets the other ranks come as far as this; else nothing. */
cudaError_t cuda_comm_pass(cuda_comm *comm);

/* Does this rank capture and launch graphs? In turn: rank 0's hold the kernels of all. */
bool cuda_comm_captures(const cuda_comm *comm);

/* recv: part r is rank r's `bytes`; send may be that very part. */
cudaError_t cuda_comm_all_gather(cuda_comm *comm, const void *send, void *recv, size_t bytes,
                                 cudaStream_t stream);

/* Part i of `send` becomes part `rank` of rank i's recv. Not in place. */
cudaError_t cuda_comm_exchange(cuda_comm *comm, const void *send, void *recv, size_t bytes,
                               cudaStream_t stream);

/* As all_gather, for rank 0 only: the other ranks' recv is not used. Not in place. */
cudaError_t cuda_comm_gather(cuda_comm *comm, const void *send, void *recv, size_t bytes,
                             cudaStream_t stream);

/* Rank 0's bytes to all. */
cudaError_t cuda_comm_broadcast(cuda_comm *comm, void *buffer, size_t bytes, cudaStream_t stream);

/* Waits for an event. Fails when the ranks have failed meanwhile, and makes them fail when it takes too long. */
cudaError_t cuda_comm_wait(cuda_comm *comm, cudaEvent_t event);

/* After a failure, by each rank: ends its exchanges on the GPU. Graphs that hold any have been destroyed. */
void cuda_comm_abort(cuda_comm *comm);

#endif
