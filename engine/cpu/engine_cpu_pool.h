/* engine_cpu_pool: threads that run the tasks of one job after another.
 *
 * A job is `tasks` calls fn(user, task, thread), each task once, in any order, by the caller's thread and the pool's.
 * run() returns when all have returned. Threads take tasks from one counter, so a thread that the system has put aside
 * holds nobody up but with the task it had already begun. Idle threads spin for some tens of microseconds (a forward is
 * a chain of short jobs), then sleep.
 * Threads: run() by one caller at a time; not from inside a task. */
#ifndef ENGINE_CPU_POOL_H
#define ENGINE_CPU_POOL_H

#include "pv_error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct engine_cpu_pool engine_cpu_pool;

/* thread: 0 .. threads - 1; a thread runs one task at a time, so it can own scratch memory. */
typedef void engine_cpu_task(void *user, uint32_t task, uint32_t thread);

/* threads counts the caller; 0: one for each processor the process may run on. pinned: pool threads are bound to one
 * processor each (the caller's thread is left alone). Fails: PV_E_NOMEM, PV_E_SPAWN, PV_E_INVALID (over 1024). */
PV_NODISCARD pv_status engine_cpu_pool_open(engine_cpu_pool **out, uint32_t threads, bool pinned,
                                            pv_error *err);

/* NULL is allowed. Ends and joins the threads. */
void engine_cpu_pool_close(engine_cpu_pool *pool);

uint32_t engine_cpu_pool_threads(const engine_cpu_pool *pool);

void engine_cpu_pool_run(engine_cpu_pool *pool, uint32_t tasks, engine_cpu_task *fn, void *user);

/* Processors that the process may run on; at least 1. */
uint32_t engine_cpu_pool_processors(void);

#endif
