/* engine_thread: an engine on a thread of its own, so that decoding overlaps with whatever its user waits for.
 *
 * The user's side is one loop thread (libuv's, say). Calls put work into a locked queue and return at once; the engine's
 * thread steps while there is work and sleeps otherwise. What ended is queued for the user, and `wake` is called from
 * the engine's thread (uv_async_send() fits); the user then calls engine_thread_deliver(), which runs the callbacks on
 * the user's thread. Callbacks may call every function here but close().
 *
 *     static void on_wake(void *user) { uv_async_send(user); }
 *     static void on_async(uv_async_t *a) { engine_thread_deliver(a->data); }
 *     status = engine_thread_open(&t, model, backend, NULL, on_wake, &async, &err);
 *     status = engine_thread_submit(t, &request, &id, &err);      request.on_done runs in engine_thread_deliver()
 *     engine_thread_close(t);                                     runs the callbacks of what had not ended
 *
 * Threads: submit, score, cancel, post and stats from any thread; deliver and close from one at a time. */
#ifndef ENGINE_THREAD_H
#define ENGINE_THREAD_H

#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_thread engine_thread;

/* Called on the engine's thread; must not block, and must not call back into the engine. */
typedef void engine_wake(void *user);

/* Opens the engine and starts its thread. `wake` may be NULL (the user polls). Fails: as engine_open(), PV_E_SPAWN. */
PV_NODISCARD pv_status engine_thread_open(engine_thread **out, const engine_model *model,
                                          const engine_backend *backend,
                                          const engine_options *options, engine_wake *wake,
                                          void *wake_user, pv_error *err);

/* Stops after the current step. Samples that have not ended are delivered as cancelled, by this call. NULL allowed. */
void engine_thread_close(engine_thread *t);

/* As engine_submit() and engine_score(), checked at once. */
PV_NODISCARD pv_status engine_thread_submit(engine_thread *t, const engine_request *request,
                                            uint64_t *id, pv_error *err);
PV_NODISCARD pv_status engine_thread_score(engine_thread *t, const engine_score_request *request,
                                           uint64_t *id, pv_error *err);

/* As engine_cancel(), before the next batch; a result that is on its way may still arrive first. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status engine_thread_cancel(engine_thread *t, uint64_t id, uint32_t sample,
                                            pv_error *err);

/* Runs fn(engine, user) on the engine's thread between two steps: for pins, forgetting, figures, not for requests.
 * Runs once, at the latest in close(). Fails: PV_E_NOMEM. */
typedef void engine_posted(engine *e, void *user);
PV_NODISCARD pv_status engine_thread_post(engine_thread *t, engine_posted *fn, void *user,
                                          pv_error *err);

/* Runs the callbacks of everything that is queued; returns how many. */
size_t engine_thread_deliver(engine_thread *t);

/* The figures after the last step. */
void engine_thread_stats(engine_thread *t, engine_stats *out);

#ifdef __cplusplus
}
#endif
#endif
