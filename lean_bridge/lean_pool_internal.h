/* The parts of the pool, one noun a file. Never included outside lean_bridge.
 *
 *   lean_pool.c   the pool itself: open, close, posting, the pump, figures
 *   lean_slot.c   a place for a worker: its process, what it does now, what its replies mean
 *   lean_plan.c   what a job needs next on a worker: the way from a recipe to a handle
 *   lean_job.c    one request of a caller: made, ended exactly once
 *   lean_queue.c  the jobs that wait, and who goes first
 *   lean_env.c    headers and commands: recipes and their handles
 *   lean_state.c  proof states: recipes and their handles, the least recently used go first
 *
 * Public functions only change data and ask for the pump, an idle callback of the loop. So a caller's callback may call
 * anything, and no caller is called back from inside a call. */
#ifndef LEAN_POOL_INTERNAL_H
#define LEAN_POOL_INTERNAL_H

#include "lean_arena.h"
#include "lean_worker.h"

typedef struct lean_job lean_job;
typedef struct lean_slot lean_slot;
typedef struct lean_origin lean_origin;
typedef struct lean_handle lean_handle;

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

typedef struct lean_numbers { /* a list of a worker's handles */
    uint64_t *items;
    size_t count, capacity;
} lean_numbers;

/* Forgets the number when memory is short: the worker then keeps one state too many until it is recycled. */
void lean_numbers_add(lean_numbers *numbers, uint64_t number);
void lean_numbers_release(lean_numbers *numbers);

/* ---- lean_env.c -------------------------------------------------------------------------------------------------- */

typedef struct lean_env_handle {
    uint64_t epoch; /* of the slot; another one: the process that had it is gone */
    uint64_t number;
} lean_env_handle;

struct lean_env {
    lean_pool *pool; /* referenced */
    uint32_t refs;
    lean_env *base;         /* NULL: a header. Referenced */
    lean_env *next, **link; /* in the pool's list of headers */
    char *text;
    lean_env_handle *handles; /* one for each slot */
    bool settled;             /* Lean has answered once: messages or failure are known */
    pv_error failure;         /* PV_OK: it elaborates */
    const lean_message *messages;
    size_t message_count;
    lean_arena arena; /* of the messages */
};

/* The env of this text with a reference for the caller: the one there is for a header, else a new one. NULL when memory is
 * short. `base` NULL: a header. */
lean_env *lean_env_obtain(lean_pool *pool, lean_env *base, const char *text);
bool lean_env_held(const lean_env *env, const lean_slot *slot, uint64_t *number);
void lean_env_hold(lean_env *env, lean_slot *slot, uint64_t number);
/* Keeps what Lean answered first, with the memory of the reply. */
void lean_env_settle(lean_env *env, lean_reply *reply);
/* The failure of the env or of what it stands on; NULL while none is known. */
const pv_error *lean_env_failure(const lean_env *env);

/* ---- lean_state.c ------------------------------------------------------------------------------------------------ */

struct lean_origin {    /* what made a set of sibling states: an `open`, or one tactic on a state */
    uint32_t refs;      /* of its states, and of steps in progress */
    lean_env *env;      /* open: what `text` stands on. Referenced */
    lean_state *parent; /* tactic: on which state. Referenced */
    char *text;         /* the opened text, or the tactic */
    size_t count;
    lean_state *states[]; /* not referenced: NULL once the state is gone */
};

struct lean_state {
    lean_pool *pool; /* referenced */
    uint32_t refs;
    uint32_t index;      /* in its origin */
    lean_origin *origin; /* referenced */
    pv_key key;
    lean_handle *handles; /* where it is in memory: one for each worker that has it */
};

struct lean_handle {
    lean_state *state;
    lean_slot *slot;
    uint64_t number;
    lean_handle *next_of_state;
    lean_handle *older, *newer; /* of the slot */
};

/* NULL when memory is short. `env` or `parent` is NULL; both are referenced, the text is copied. */
lean_origin *lean_origin_new(lean_env *env, lean_state *parent, const char *text, size_t count);
lean_origin *lean_origin_ref(lean_origin *origin);
void lean_origin_unref(lean_origin *origin);

/* The state at `index`, new and with one reference; NULL when memory is short. */
lean_state *lean_state_new(lean_origin *origin, lean_pool *pool, size_t index, pv_key key);

lean_handle *lean_state_on(const lean_state *state, const lean_slot *slot);
void lean_state_hold(lean_state *state, lean_slot *slot, uint64_t number);
void lean_handle_touch(lean_handle *handle);
void lean_slot_forget_states(lean_slot *slot); /* its process is gone              */
void lean_slot_evict(lean_slot *slot);         /* down to the pool's states_max    */

/* ---- lean_job.c -------------------------------------------------------------------------------------------------- */

typedef enum lean_job_kind {
    LEAN_JOB_ENV,
    LEAN_JOB_OPEN,
    LEAN_JOB_TRY,
    LEAN_JOB_CHECK,
    LEAN_JOB_LIBRARY
} lean_job_kind;

struct lean_job {
    lean_job_kind kind;
    lean_pool *pool;
    lean_ticket ticket;
    lean_job *next, *prev; /* in the queue */
    bool queued, cancelled;
    uint32_t passed_over; /* younger jobs that went first */
    lean_slot *slot;      /* where it runs; NULL while it waits */
    unsigned strikes;     /* workers that died before its own request began, or under it */
    size_t struck_tactic; /* index + 1 of the tactic under which a worker died last */
    lean_env *env;        /* referenced; NULL for TRY */
    lean_state *state;    /* referenced; TRY */
    const char *text;     /* OPEN */
    const char **tactics; /* TRY */
    size_t tactic_count, next_tactic;
    lean_check_request check;
    lean_library_request library;
    lean_env_cb *on_env;
    lean_open_cb *on_open;
    lean_try_cb *on_try;
    lean_check_cb *on_check;
    lean_library_cb *on_library;
    void *user;
    lean_arena arena; /* of the texts */
};

/* Ends the job: takes it out of the queue and its slot, calls back for the last time, frees it. `failure` NULL: success;
 * `reply` is then the answer of OPEN, CHECK and LIBRARY. */
void lean_job_end(lean_job *job, lean_reply *reply, const pv_error *failure);
/* Gives the answer for the next tactic. */
void lean_job_answer(lean_job *job, const lean_tried *tried);

/* ---- lean_queue.c ------------------------------------------------------------------------------------------------ */

typedef struct lean_queue {
    lean_job *first, *last;
    size_t count;
} lean_queue;

void lean_queue_push(lean_queue *queue, lean_job *job);
void lean_queue_push_front(lean_queue *queue, lean_job *job);
void lean_queue_remove(lean_queue *queue, lean_job *job);

/* How well a job fits a slot. 2: what it stands on is there; 1: its header is; 0: everything is to be made. */
enum { LEAN_FITNESS_MAX = 2 };

/* Removes and returns the job that `slot` should do next; NULL when none that waits fits well enough. */
lean_job *lean_queue_pick(lean_queue *queue, const lean_slot *slot, int least_fitness);

/* ---- lean_plan.c ------------------------------------------------------------------------------------------------- */

typedef enum lean_step_kind {
    LEAN_STEP_NONE,
    LEAN_STEP_ENV,   /* makes `env`                                      */
    LEAN_STEP_OPEN,  /* makes `target` again, a hole                     */
    LEAN_STEP_TRY,   /* makes `target` again by its tactic               */
    LEAN_STEP_FINAL, /* what the job asks                                */
    LEAN_STEP_FREE,  /* housekeeping, for no job                         */
} lean_step_kind;

typedef struct lean_step {
    lean_step_kind kind;
    lean_env *env;      /* ENV: referenced */
    lean_state *target; /* OPEN, TRY: referenced */
    uint64_t deadline_ms;
    lean_call call;
    lean_numbers sent; /* FREE: env numbers come after state numbers */
} lean_step;

/* Fills *step with what the job needs next on the slot. */
void lean_plan(lean_job *job, const lean_slot *slot, lean_step *step);
void lean_step_release(lean_step *step);

/* ---- lean_slot.c ------------------------------------------------------------------------------------------------- */

struct lean_slot {
    lean_pool *pool;
    uint32_t index;
    uint64_t epoch;      /* counts its processes */
    lean_worker *worker; /* NULL between two processes */
    uv_timer_t backoff;
    uint32_t failed_starts; /* in a row */
    lean_job *job;  /* for whom it works; NULL: idle, housekeeping, or nobody wants the rest */
    lean_step step; /* what the worker does; NONE while it waits */
    lean_handle *newest, *oldest;
    uint32_t handle_count;
    lean_numbers free_states, free_envs; /* to be told to the worker */
};

void lean_slot_init(lean_slot *slot, lean_pool *pool, uint32_t index);
void lean_slot_start(lean_slot *slot); /* spawns a process                                    */
/* From the pump: goes on with its job, or takes one that fits well enough (0: any; then it also does housekeeping). */
void lean_slot_work(lean_slot *slot, int least_fitness);
void lean_slot_leave(lean_slot *slot); /* its job is gone, the call in progress is nobody's   */
void lean_slot_close(lean_slot *slot); /* kills the process, closes the timer                 */
bool lean_slot_is_ready(const lean_slot *slot);

/* ---- lean_pool.c ------------------------------------------------------------------------------------------------- */

typedef struct lean_ticket_entry {
    lean_job *job;
    uint32_t generation;
    uint32_t next_free;
} lean_ticket_entry;

typedef struct lean_post {
    struct lean_post *next;
    void (*fn)(void *user);
    void *user;
} lean_post;

struct lean_pool {
    uint32_t refs; /* the owner's until closed, and of each env and state */
    uv_loop_t *loop;
    /* defaults filled in; toolchain and sandbox are not used after open */
    lean_pool_options options;
    const lean_dialect_ops *dialect;
    char **argv; /* of lean_sandbox_argv */
    char **env;
    char *cwd;
    lean_arena arena; /* of env and cwd */
    uint64_t address_max;

    uv_idle_t pump;
    uv_async_t wake;
    uv_mutex_t posts_lock;
    lean_post *posts, **posts_end;
    bool closing, cancel_wanted;
    void (*on_closed)(void *user);
    void *on_closed_user;
    unsigned open_handles; /* own handles and workers that are not closed */

    lean_slot *slots;
    lean_queue queue;
    lean_env *headers; /* all headers alive, so that equal text is one env */
    lean_ticket_entry *tickets;
    size_t ticket_count, ticket_capacity;
    uint32_t free_ticket; /* index + 1 */
    pv_error broken;      /* set once the pool has given up */
    lean_pool_stats stats;
    uint64_t gone_stale_lines; /* of workers that ended */
    char version[64];
    unsigned char randomness[256];
    size_t randomness_left;
};

void lean_pool_ref(lean_pool *pool);
void lean_pool_unref(lean_pool *pool);
void lean_pool_want_pump(lean_pool *pool);
/* A random number in 1 ... 2^53 - 1. */
uint64_t lean_pool_random(lean_pool *pool);
/* Gives the job a ticket. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status lean_pool_admit(lean_pool *pool, lean_job *job, pv_error *err);
void lean_pool_dismiss(lean_pool *pool, lean_job *job);
/* A slot has failed to start too often: fails everything, unless another worker lives. */
void lean_pool_consider_giving_up(lean_pool *pool, const char *detail);
/* One of the things counted in open_handles is closed. */
void lean_pool_handle_closed(lean_pool *pool);

#endif
