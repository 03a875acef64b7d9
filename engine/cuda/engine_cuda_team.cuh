/* engine_cuda_team: a model in several parts, a device and a thread for each, which do every call together.
 *
 * The caller's thread is rank 0's; the others wait for calls. A thread for each GPU, because a step of uncaptured kernels
 * takes about as long to enqueue as to run, and because one thread cannot enqueue an exchange for one GPU while another's
 * kernels in front of it are not enqueued yet.
 * When one part fails, all do: exchanges on the other GPUs are ended, and every later call fails with the first reason. */
#ifndef ENGINE_CUDA_TEAM_CUH
#define ENGINE_CUDA_TEAM_CUH

#include "engine_cuda_device.cuh"

/* What the parts take; *out: the figures of the GPU that has least left. options->gpu_count >= 2. */
pv_status cuda_team_plan(engine_memory *out, const engine_weights *weights,
                         const engine_backend_options *options, pv_error *err);

/* *out: rank 0's device, whose `team` is set. */
pv_status cuda_team_open(engine_device **out, const engine_weights *weights,
                         const engine_backend_options *options, const uint64_t *random_seed,
                         pv_error *err);
void cuda_team_close(cuda_team *team);

engine_device *cuda_team_device(const cuda_team *team, uint32_t rank);

/* Ends everything that a rank's thread waits for, as when a GPU fails; for tests too. */
void cuda_team_fail(cuda_team *team, const char *why);

pv_status cuda_team_forward(cuda_team *team, const engine_batch *batch, float *logits,
                            pv_error *err);
pv_status cuda_team_copy_page(cuda_team *team, uint32_t to, uint32_t from, uint32_t tokens,
                              pv_error *err);
pv_status cuda_team_submit(cuda_team *team, const engine_batch *batch, const engine_draw *draws,
                           uint32_t draw_count, uint64_t *ticket, pv_error *err);
pv_status cuda_team_collect(cuda_team *team, uint64_t ticket, engine_drawn *out, pv_error *err);
void cuda_team_memory(const cuda_team *team, engine_memory *out);

#endif
