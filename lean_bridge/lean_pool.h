/* lean_pool: N Lean worker processes behind one queue of requests.
 *
 * The pool keeps proof states alive across the death of workers: a lean_state is a recipe (header, text, hole, then
 * tactic and part at every step) plus, for each worker that has it in memory, that worker's number for it. A request runs on a
 * worker that holds its state where one is free, else the state is made again by replay. Replay that ends in
 * another key than recorded is an error of the request (PV_E_LOST), never a silent change of goal.
 *
 * Every request completes exactly once, by its callback on the loop thread, never from inside the call that made it; a call
 * that returned an error never calls back. A worker that exceeds a deadline or a memory cap, floods, or breaks the protocol
 * is killed with its process group and started anew; its request is tried once more on another worker, or ends with the
 * result so far (for `try`: the tactic that hung is answered TIMED_OUT, those after it are tried again; the other requests
 * are not run again after a deadline or a memory kill of their own: PV_E_TIMEOUT, PV_E_LIMIT).
 *
 * Threads: the loop's thread for everything, except lean_pool_post().
 * States of the pool: OPEN -> CLOSING -> CLOSED (callback of lean_pool_close).
 *
 * Worker states (lean_worker.h): SPAWNING -> READY <-> BUSY; READY, BUSY -> DRAINING -> DEAD; any -> DEAD on exit.
 */
#ifndef LEAN_POOL_H
#define LEAN_POOL_H

#include "lean_sandbox.h"
#include "lean_toolchain.h"
#include "pv_error.h"
#include "pv_hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

typedef struct lean_pool lean_pool;
typedef struct lean_env
    lean_env; /* a header (and commands on top of it): a recipe; reference counted */
typedef struct lean_state
    lean_state; /* a proof state: a recipe; reference counted                         */
typedef uint64_t
    lean_ticket; /* names a request; 0 is none                                        */

typedef struct
    lean_pool_options { /* zero = default for every field                                  */
    const lean_toolchain
        *toolchain; /* which Lean, and how it is started (borrowed for the call). Required */
    const lean_sandbox
        *sandbox;         /* how children are confined (borrowed for the call). Required     */
    uint32_t workers;     /* processes; 0 = 1                                                */
    uint64_t deadline_ms; /* wall time of one tactic or command; 0 = 10000                   */
    uint64_t
        start_deadline_ms;     /* from spawn to greeting and for a header; 0 = 180000             */
    uint64_t heartbeats;       /* per tactic, in thousands as maxHeartbeats; 0 = 200000           */
    uint64_t memory_max_bytes; /* resident bytes of one worker's process tree; 0 = 4 GiB          */
    uint64_t recycle_requests; /* restart a worker after so many requests; 0 = 20000              */
    uint64_t recycle_bytes;    /* restart an idle worker above this; 0 = 3/4 of memory_max_bytes  */
    uint32_t states_max;   /* states kept in one worker, least recently used go first; 0 = 20000 */
    uint32_t restarts_max; /* failed starts in a row before the pool gives up; 0 = 5          */
} lean_pool_options;

typedef struct lean_position {
    size_t line;   /* from 1 */
    size_t column; /* from 0, code points */
    size_t byte;   /* from 0 */
} lean_position;

typedef enum lean_severity { LEAN_INFO, LEAN_WARNING, LEAN_ERROR } lean_severity;

typedef struct lean_message {
    lean_severity severity;
    lean_position start, end;
    const char *text;
} lean_message;

typedef struct lean_part { /* a piece of an open problem that can be worked on alone */
    lean_state *state;     /* borrowed; lean_state_ref() to keep it past the callback */
    pv_key key;
    const char *const *goals;
    size_t goal_count;
} lean_part;

typedef enum lean_hole_kind { LEAN_HOLE_TACTIC, LEAN_HOLE_TERM } lean_hole_kind;

typedef struct lean_hole {
    lean_position start, end; /* of the `sorry` */
    lean_hole_kind kind;
    const char *form; /* a word of docs/protocol.md: what stands around it; "" from other servers */
    size_t outer;     /* column that its filling must stay right of, code points              */
    bool prop;        /* the goal is a proposition */
    lean_part part;
} lean_hole;

typedef struct lean_decl {
    const char *name, *kind, *type;
    lean_position start, end;
    bool prop;
    const lean_hole *holes;
    size_t hole_count;
} lean_decl;

/* What `open` answered. Everything in it lives for the callback only. */
typedef struct lean_opened {
    const lean_message *messages;
    size_t message_count;
    const lean_decl *decls;
    size_t decl_count;
} lean_opened;

typedef enum lean_try_kind {
    LEAN_TRY_CLOSED,
    LEAN_TRY_OPEN,
    LEAN_TRY_FAILED,
    LEAN_TRY_TIMED_OUT, /* heartbeats, or killed on wall time or memory */
    LEAN_TRY_LOST,      /* the worker died under it twice, or the request was cancelled */
} lean_try_kind;

typedef struct lean_tried { /* the answer for one tactic; lives for the callback only */
    lean_try_kind kind;
    const lean_part *parts;
    size_t part_count;
    const uint32_t *order; /* goal_count entries: goal i lies in parts[order[i]] */
    size_t goal_count;
    const char *message;
    double ms;
} lean_tried;

typedef enum lean_verdict { LEAN_ACCEPTED, LEAN_REJECTED } lean_verdict;

typedef struct lean_checked_decl {
    const char *name;
    const char *const *axioms;
    size_t axiom_count;
} lean_checked_decl;

typedef struct lean_checked { /* the judge's answer; lives for the callback only */
    lean_verdict verdict;
    const char *reason;        /* REJECTED: a word of docs/protocol.md; else NULL */
    const char *message;       /* REJECTED: for people */
    const char *const *axioms; /* ACCEPTED: all axioms used, each once */
    size_t axiom_count;
    const lean_checked_decl *decls; /* ACCEPTED: each of `names` with its own axioms */
    size_t decl_count;
    const char
        *exported; /* ACCEPTED, when it was asked for: what the candidate declares, as the text
                             that lean_check_request.declarations takes; NULL: it is too long */
    const lean_message *messages;
    size_t message_count;
} lean_checked;

/* A question about the theorems of an environment (docs/protocol.md has each). Zero what a question does not use. */
typedef enum lean_library_kind {
    LEAN_MODULES,    /* the imported modules that hold theorems                               */
    LEAN_STATEMENTS, /* the theorems of `module` from number `skip` on, at most `limit`, as text */
    LEAN_MUTATE,     /* the theorem `name` that `text` declares, and what mutations make of it */
    LEAN_USAGE,      /* what the proof of the theorem `name` in `text` rests on               */
} lean_library_kind;

typedef struct lean_library_request {
    lean_library_kind kind;
    const char *module;           /* STATEMENTS                                        */
    uint64_t skip, limit;         /* STATEMENTS                                        */
    const char *text;             /* MUTATE, USAGE                                     */
    const char *name;             /* MUTATE, USAGE                                     */
    bool no_absurd;               /* STATEMENTS, MUTATE: leave those texts out */
    const char *const *mutations; /* mutation_count names: STATEMENTS, MUTATE          */
    size_t mutation_count;
    uint64_t deadline_ms; /* of the whole answer; 0 = 120000                   */
} lean_library_request;

typedef struct lean_module {
    const char *name;
    uint64_t theorem_count;
} lean_module;

typedef struct lean_statement {
    const char *kind;   /* "theorem", or the mutation that made it                    */
    const char *text;   /* a theorem's header, its name is `statement`                */
    const char *absurd; /* the same with `False` for its conclusion; NULL: no hypothesis */
    pv_key key;         /* equal up to the names of bound variables                   */
} lean_statement;

typedef struct lean_library_theorem {
    const char *name;                 /* "" for MUTATE */
    const lean_statement *statements; /* itself first, where it can be written as text */
    size_t statement_count;
} lean_library_theorem;

typedef struct lean_library {   /* the answer; lives for the callback only */
    const lean_module *modules; /* MODULES */
    size_t module_count;
    const lean_library_theorem *theorems; /* STATEMENTS; MUTATE: one */
    size_t theorem_count;
    uint64_t total;            /* STATEMENTS: theorems of the module */
    pv_key key;                /* MUTATE: of the theorem itself      */
    const char *const *unused; /* USAGE: hypotheses that the proof does not need */
    size_t unused_count;
    const char *const *used; /* USAGE: theorems that the proof names           */
    size_t used_count;
} lean_library;

/* Callbacks. `failure` is NULL on success; then the answer is not. */
typedef void lean_env_cb(void *user, lean_ticket t, const lean_message *messages, size_t n,
                         const pv_error *failure);
typedef void lean_open_cb(void *user, lean_ticket t, const lean_opened *opened,
                          const pv_error *failure);
/* Once for each tactic (index < n) as its answer comes, then once with index == n: the end. */
typedef void lean_try_cb(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                         const pv_error *failure);
typedef void lean_check_cb(void *user, lean_ticket t, const lean_checked *checked,
                           const pv_error *failure);
typedef void lean_library_cb(void *user, lean_ticket t, const lean_library *library,
                             const pv_error *failure);

/* Starts the workers on `loop` (borrowed; not running elsewhere). On success *out is the caller's until its close callback.
 * Blocks SIGPIPE in the calling thread, which is the loop's: a worker may die while it is written to.
 * Fails: PV_E_NOMEM, PV_E_IO, PV_E_MISUSE. A toolchain that cannot start is reported by the first request (PV_E_SPAWN). */
PV_NODISCARD pv_status lean_pool_open(lean_pool **out, uv_loop_t *loop,
                                      const lean_pool_options *options, pv_error *err);

/* Cancels every request (their callbacks run with PV_E_CANCELLED), kills every worker, then calls `closed` (may be NULL)
 * from the loop; the pool is freed after that. Children are gone within 1 s. From here on requests are refused
 * (PV_E_CANCELLED). Envs and states may be unreferenced later; nothing else may be done with them. */
void lean_pool_close(lean_pool *pool, void (*closed)(void *user), void *user);

/* Runs fn(user) on the loop's thread soon. Any thread, until the close callback runs. Fails: PV_E_NOMEM; fn does not run then. */
pv_status lean_pool_post(lean_pool *pool, void (*fn)(void *user), void *user);

/* Declares a header; workers elaborate it when they first need it. The callback tells whether it imports and
 * elaborates: failures are PV_E_INVALID with Lean's message. *out is a reference of the caller's; equal headers
 * alive at one time are one env. */
PV_NODISCARD pv_status lean_env_new(lean_pool *pool, lean_env **out, const char *header,
                                    lean_env_cb *cb, void *user, pv_error *err);
/* `text`'s commands on top of `base`; errors in it come as messages. */
PV_NODISCARD pv_status lean_env_extend(lean_env *base, lean_env **out, const char *text,
                                       lean_env_cb *cb, void *user, pv_error *err);
lean_env *lean_env_ref(lean_env *env);
void lean_env_unref(lean_env *env);

/* Elaborates `text` on `env` and reports its declarations and holes. *ticket may be NULL. */
PV_NODISCARD pv_status lean_open(lean_env *env, const char *text, lean_ticket *ticket,
                                 lean_open_cb *cb, void *user, pv_error *err);

/* Tries n tactics on the main goal of `state`, each apart from the others. Texts are copied. Each index is answered exactly
 * once, also after a failure or a cancellation (LOST), before the end. */
PV_NODISCARD pv_status lean_try(lean_state *state, const char *const *tactics, size_t n,
                                lean_ticket *ticket, lean_try_cb *cb, void *user, pv_error *err);
lean_state *lean_state_ref(lean_state *state);
void lean_state_unref(lean_state *state);

typedef struct lean_check_request {
    const char *original;     /* the user's text with its holes                    */
    const char *candidate;    /* the same with proofs spliced in                   */
    const char *const *names; /* name_count declarations that are claimed          */
    size_t name_count;
    uint64_t deadline_ms;     /* 0 = 60000                                         */
    uint64_t heartbeats;      /* 0 = the pool's                                    */
    bool exporting;           /* have the declarations written down and not given to the kernel */
    const char *declarations; /* not NULL: these are judged, `candidate` is not looked at (NULL).
                                 What is no export at all is PV_E_INVALID at once */
    /* Holes that were filled, three numbers each: bytes start and end in `original`, bytes in `candidate`. With them it is the
     * operation `fill` that is asked: `names` is not looked at, and holes may stay. Only our own server has it. */
    const uint64_t *fills;
    size_t fill_numbers; /* three times the fills; 0: `check` */
    bool fill_data;      /* holes that are no propositions may be filled */
} lean_check_request;

/* One judgement on the pool's workers. With `declarations` no code of a candidate runs. For a judgement to trust, use lean_judge.h, which gives each a fresh process. */
PV_NODISCARD pv_status lean_check(lean_env *env, const lean_check_request *request,
                                  lean_ticket *ticket, lean_check_cb *cb, void *user,
                                  pv_error *err);

/* Asks about theorems. Fails later with PV_E_INVALID (the text does not elaborate: Lean's message), PV_E_PROTOCOL (what is
 * asked for is not there: no such module, mutation, or theorem in the text), PV_E_UNSUPPORTED (another server than ours). */
PV_NODISCARD pv_status lean_library_ask(lean_env *env, const lean_library_request *request,
                                        lean_ticket *ticket, lean_library_cb *cb, void *user,
                                        pv_error *err);

/* The request's callback runs soon, with what is there (PV_E_CANCELLED; for `try` LOST for what is missing). */
void lean_cancel(lean_pool *pool, lean_ticket ticket);

typedef struct lean_pool_stats {
    uint32_t workers_ready, workers_busy, workers_starting;
    uint64_t requests, completed, respawns, deadline_kills, memory_kills, protocol_kills, replays,
        replayed_tactics, stale_lines;
    uint64_t resident_bytes; /* all workers, when last looked */
    double start_seconds;    /* of the latest worker to become ready */
} lean_pool_stats;

void lean_pool_stats_of(const lean_pool *pool, lean_pool_stats *out);

/* The Lean version of the greeting; NULL before the first worker was ready. Borrowed. */
const char *lean_pool_lean_version(const lean_pool *pool);

/* Process ids of the workers alive (for tests and doctor): writes at most `max`, returns how many there are. */
size_t lean_pool_pids(const lean_pool *pool, int *pids, size_t max);

#endif
