/* lean_worker: one Lean process, from its spawn to its last closed handle. Internal to lean_bridge.
 *
 *   SPAWNING --greeting--> READY <--reply/call--> BUSY
 *   READY --drain--> DRAINING          (stdin is closed, the process ends by itself, or is killed after 2 s)
 *   any --exit, kill, limit--> DEAD    (`dead` is called once, after the process and its descendants are gone)
 *
 * One call at a time. The worker keeps the wall-clock deadline and the memory cap; it kills, its owner decides what that means.
 * Events come from the loop, never from inside a call of this header, except that lean_worker_call() may fail.
 * Memory: the worker frees itself after `closed`; lean_worker_kill() makes that happen soon.
 * Threads: the loop's thread. */
#ifndef LEAN_WORKER_H
#define LEAN_WORKER_H

#include "lean_dialect.h"

#include <uv.h>

typedef struct lean_worker lean_worker;

typedef enum lean_worker_state {
    LEAN_WORKER_SPAWNING,
    LEAN_WORKER_READY,
    LEAN_WORKER_BUSY,
    LEAN_WORKER_DRAINING,
    LEAN_WORKER_DEAD,
} lean_worker_state;

typedef enum lean_death {
    LEAN_DEATH_EXIT,     /* it ended by itself                                      */
    LEAN_DEATH_START,    /* it never greeted                                        */
    LEAN_DEATH_DEADLINE, /* killed: no answer in time                               */
    LEAN_DEATH_MEMORY,   /* killed: its process tree is too large                   */
    LEAN_DEATH_PROTOCOL, /* killed: floods, closes its output, breaks the protocol  */
    LEAN_DEATH_NOMEM,    /* killed: this program has no memory for its reply        */
    LEAN_DEATH_WANTED,   /* drained, or killed by the owner                         */
} lean_death;

typedef struct lean_worker_events {
    void (*ready)(void *owner);
    /* ITEM, DONE or ERROR for the call. The reply is the callee's for the call; the worker releases it. */
    void (*reply)(void *owner, lean_reply *reply);
    /* The process is gone; a call in progress will not be answered. `detail`: what happened and the end of its stderr. */
    void (*dead)(void *owner, lean_death why, const char *detail);
    void (*closed)(void *owner); /* the last event: the worker is freed after it */
} lean_worker_events;

typedef struct lean_worker_options {
    const lean_dialect_ops *dialect;
    char *const *argv; /* borrowed for the call, as env and cwd */
    char *const *env;
    const char *cwd;
    uint64_t mark; /* random: names the processes of this worker */
    uint64_t start_deadline_ms;
    uint64_t memory_max_bytes;
    uint64_t address_max_bytes; /* RLIMIT_AS; 0 = none */
} lean_worker_options;

/* Starts a process. A spawn that fails is reported by `dead` (START), like a process that does not greet.
 * Fails: PV_E_NOMEM; there are no events then. */
PV_NODISCARD pv_status lean_worker_spawn(lean_worker **out, uv_loop_t *loop,
                                         const lean_worker_options *options,
                                         const lean_worker_events *events, void *owner,
                                         pv_error *err);

/* Sends a call (copied; its texts are borrowed, see lean_call). Requires READY. deadline_ms: to the reply, or from item to
 * item. Fails: PV_E_NOMEM, PV_E_LIMIT, PV_E_UNSUPPORTED; the worker stays READY. */
PV_NODISCARD pv_status lean_worker_call(lean_worker *worker, const lean_call *call,
                                        uint64_t deadline_ms, pv_error *err);

/* Nobody wants the rest of the call in progress: one more deadline for all of it. Replies still come. */
void lean_worker_abandon(lean_worker *worker);

/* Ends an idle worker kindly. Requires READY. */
void lean_worker_drain(lean_worker *worker);

/* SIGKILL. Any state; the events that are missing follow. */
void lean_worker_kill(lean_worker *worker);

lean_worker_state lean_worker_state_of(const lean_worker *worker);
int lean_worker_pid(const lean_worker *worker);             /* 0 when it has none           */
const char *lean_worker_version(const lean_worker *worker); /* "" before the greeting       */
uint64_t lean_worker_resident(const lean_worker *worker);   /* bytes, when last looked      */
uint64_t lean_worker_stale_lines(const lean_worker *worker);
uint64_t lean_worker_calls(const lean_worker *worker); /* answered so far              */
double lean_worker_start_seconds(const lean_worker *worker);

#endif
