#include "lean_pool_internal.h"

#include "pv_log.h"

#include <string.h>

enum {
    FREE_BATCH = 64, /* handles told to a busy worker at once; an idle one hears of them soon  */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    STRIKES_MAX = 2, /* workers that may die before a request itself began, or under it        */
    RECYCLE_CALLS_MIN =
        16 /* a worker too large from the start would be recycled for ever           */
};

bool lean_slot_is_ready(const lean_slot *slot)
{
    return slot->worker != NULL && lean_worker_state_of(slot->worker) == LEAN_WORKER_READY;
}

void lean_slot_leave(lean_slot *slot)
{
    if (slot->job != NULL) {
        slot->job->slot = NULL;
        slot->job = NULL;
    }
    if (slot->step.kind == LEAN_STEP_FINAL && slot->worker != NULL) {
        lean_worker_abandon(slot->worker);
    }
}

/* ---- states in replies ------------------------------------------------------------------------------------------- */

/* Nobody will ask for these states: the worker may forget them. */
static void give_back_parts(lean_slot *slot, const lean_reply *reply)
{
    for (size_t i = 0; i < reply->part_count; i++) {
        if (reply->parts[i]->state == NULL) {
            lean_numbers_add(&slot->free_states, reply->numbers[i]);
        }
    }
}

/* Makes a state for each part. False when memory is short; the parts without a state are given back. */
static bool make_states(lean_slot *slot, lean_origin *origin, lean_reply *reply)
{
    for (size_t i = 0; origin != NULL && i < reply->part_count; i++) {
        lean_part *part = reply->parts[i];
        part->state = lean_state_new(origin, slot->pool, i, part->key);
        if (part->state == NULL) {
            break;
        }
        lean_state_hold(part->state, slot, reply->numbers[i]);
    }
    bool complete = reply->part_count == 0 || reply->parts[reply->part_count - 1]->state != NULL;
    give_back_parts(slot, reply);
    return complete;
}

/* The callback is over: what the caller did not keep goes. */
static void drop_states(lean_reply *reply)
{
    for (size_t i = 0; i < reply->part_count; i++) {
        lean_state_unref(reply->parts[i]->state);
        reply->parts[i]->state = NULL;
    }
}

/* A replay made a set of siblings again: those that still live and have the key they had get a handle. */
static void adopt(lean_slot *slot, lean_state *target, lean_reply *reply)
{
    lean_origin *origin = target->origin;
    for (size_t i = 0; i < reply->part_count; i++) {
        lean_state *state = i < origin->count ? origin->states[i] : NULL;
        if (state != NULL && pv_key_equal(state->key, reply->parts[i]->key)) {
            lean_state_hold(state, slot, reply->numbers[i]);
        } else {
            lean_numbers_add(&slot->free_states, reply->numbers[i]);
        }
    }
    lean_handle *handle = lean_state_on(target, slot);
    if (handle != NULL) {
        lean_handle_touch(handle); /* the way goes on from here: it is evicted last */
    }
}

/* ---- what a reply means ------------------------------------------------------------------------------------------ */

static void fail_job(lean_slot *slot, pv_status status, const char *what, const char *detail)
{
    pv_error failure = {0};
    pv_fail(&failure, status, "%s%s%s", what, *detail == '\0' ? "" : ": ", detail);
    if (slot->job != NULL) {
        lean_job_end(slot->job, NULL, &failure);
    }
}

static void answer_tactic(lean_slot *slot, lean_reply *reply)
{
    lean_job *job = slot->job;
    if (job == NULL || job->next_tactic >= job->tactic_count) {
        give_back_parts(slot, reply);
        return;
    }
    lean_origin *origin = NULL;
    if (reply->part_count > 0) {
        const char *tactic = job->tactics[job->next_tactic];
        origin = lean_origin_new(NULL, job->state, tactic, reply->part_count);
    }
    if (make_states(slot, origin, reply)) {
        lean_job_answer(job, &reply->tried);
    } else {
        lean_tried lost = {.kind = LEAN_TRY_LOST, .message = "no memory for the states it made"};
        lean_job_answer(job, &lost);
    }
    drop_states(reply);
    lean_origin_unref(origin);
}

static void answer_open(lean_slot *slot, lean_reply *reply)
{
    lean_job *job = slot->job;
    lean_numbers_add(&slot->free_envs, reply->env);
    if (job == NULL) {
        give_back_parts(slot, reply);
        return;
    }
    lean_origin *origin = NULL;
    if (reply->part_count > 0) {
        origin = lean_origin_new(job->env, NULL, job->text, reply->part_count);
    }
    if (make_states(slot, origin, reply)) {
        lean_job_end(job, reply, NULL);
    } else {
        fail_job(slot, PV_E_NOMEM, "no memory for the states that the text opens", "");
    }
    drop_states(reply);
    lean_origin_unref(origin);
}

static void finish_env(lean_slot *slot, lean_reply *reply)
{
    lean_env *env = slot->step.env;
    lean_env_hold(env, slot, reply->env);
    lean_env_settle(env, reply);
    if (slot->job != NULL && slot->job->kind == LEAN_JOB_ENV && slot->job->env == env) {
        lean_job_end(slot->job, NULL, NULL);
    }
}

/* A replay that did not lead where it led before must not be taken for the same goal. */
static void check_replay(lean_slot *slot)
{
    lean_state *target = slot->step.target;
    lean_job *job = slot->job;
    if (lean_state_on(target, slot) == NULL) {
        fail_job(slot, PV_E_LOST, "a proof state could not be made again",
                 "the same text or tactic gave another result");
    } else if (job != NULL && job->state == target) {
        slot->pool->stats.replays++;
    }
}

static void finish_final(lean_slot *slot, lean_reply *reply)
{
    lean_job *job = slot->job;
    switch (slot->step.call.op) {
    case LEAN_OP_OPEN:
        answer_open(slot, reply);
        break;
    case LEAN_OP_TRY:
    case LEAN_OP_CHECK:
    case LEAN_OP_REPLAY:
    case LEAN_OP_MODULES:
    case LEAN_OP_STATEMENTS:
    case LEAN_OP_MUTATE:
    case LEAN_OP_USAGE:
        if (job != NULL) {
            lean_job_end(job, reply, NULL);
        }
        break;
    default:
        break;
    }
}

static void finish_step(lean_slot *slot, lean_reply *reply)
{
    switch (slot->step.kind) {
    case LEAN_STEP_ENV:
        finish_env(slot, reply);
        break;
    case LEAN_STEP_OPEN:
        lean_numbers_add(&slot->free_envs, reply->env);
        adopt(slot, slot->step.target, reply);
        check_replay(slot);
        break;
    case LEAN_STEP_TRY:
        slot->pool->stats.replayed_tactics++;
        check_replay(slot);
        break;
    case LEAN_STEP_FINAL:
        finish_final(slot, reply);
        break;
    case LEAN_STEP_NONE:
    case LEAN_STEP_FREE:
        break;
    }
}

static void take_item(lean_slot *slot, lean_reply *reply)
{
    if (slot->step.kind == LEAN_STEP_FINAL) {
        answer_tactic(slot, reply);
    } else if (slot->step.kind == LEAN_STEP_TRY) {
        adopt(slot, slot->step.target, reply);
    }
}

/* The worker does not know a handle that we think it has: forget all of them and make anew what is needed. */
static void forget_handles(lean_slot *slot)
{
    slot->epoch++;
    slot->free_states.count = 0;
    slot->free_envs.count = 0;
    lean_slot_forget_states(slot);
}

static void strike(lean_slot *slot, pv_status status, const char *what, const char *detail)
{
    if (slot->job != NULL && ++slot->job->strikes >= STRIKES_MAX) {
        fail_job(slot, status, what, detail);
    }
}

static void fail_source(lean_slot *slot, lean_reply *reply)
{
    pv_error failure = {0};
    pv_fail(&failure, PV_E_INVALID, "%s", reply->message);
    lean_env *env = slot->step.env;
    if (slot->step.kind == LEAN_STEP_ENV && !env->settled) {
        env->failure = failure;
        lean_env_settle(env, reply);
    }
    if (slot->job != NULL) {
        lean_job_end(slot->job, NULL, &failure);
    }
}

static void refuse_step(lean_slot *slot, lean_reply *reply)
{
    switch (reply->fault) {
    case LEAN_FAULT_HANDLE:
        forget_handles(slot);
        strike(slot, PV_E_LOST, "the Lean server lost a state twice", reply->message);
        break;
    case LEAN_FAULT_SOURCE:
        fail_source(slot, reply);
        break;
    case LEAN_FAULT_UNSUPPORTED:
        fail_job(slot, PV_E_UNSUPPORTED, reply->message, "");
        break;
    case LEAN_FAULT_INTERNAL:
        fail_job(slot, PV_E_PROTOCOL, "the Lean server refused a request", reply->message);
        break;
    }
}

static void on_reply(void *owner, lean_reply *reply)
{
    lean_slot *slot = owner;
    if (reply->kind == LEAN_REPLY_ITEM) {
        take_item(slot, reply);
        return;
    }
    slot->failed_starts = 0;
    /* A job that ends here leaves the slot; the step stays valid until then. */
    if (reply->kind == LEAN_REPLY_DONE) {
        finish_step(slot, reply);
    } else {
        refuse_step(slot, reply);
    }
    lean_step_release(&slot->step);
    lean_slot_evict(slot);
    lean_pool_want_pump(slot->pool);
}

/* ---- what a death means ------------------------------------------------------------------------------------------ */

static void count_death(lean_slot *slot, lean_death why)
{
    lean_pool_stats *stats = &slot->pool->stats;
    stats->deadline_kills += why == LEAN_DEATH_DEADLINE;
    stats->memory_kills += why == LEAN_DEATH_MEMORY;
    stats->protocol_kills += why == LEAN_DEATH_PROTOCOL;
    slot->pool->gone_stale_lines += lean_worker_stale_lines(slot->worker);
}

/* The tactic that Lean worked on when it died is answered, or tried once more; those after it go on elsewhere. */
static void lose_tactic(lean_job *job, lean_death why, const char *detail)
{
    lean_tried tried = {.kind = LEAN_TRY_LOST, .message = detail};
    if (job->next_tactic >= job->tactic_count) {
        return;
    }
    if (why == LEAN_DEATH_DEADLINE || why == LEAN_DEATH_MEMORY) {
        tried.kind = LEAN_TRY_TIMED_OUT;
        lean_job_answer(job, &tried);
    } else if (job->struck_tactic == job->next_tactic + 1) {
        lean_job_answer(job, &tried);
    } else {
        job->struck_tactic = job->next_tactic + 1;
    }
}

static pv_status status_of(lean_death why)
{
    switch (why) {
    case LEAN_DEATH_DEADLINE:
        return PV_E_TIMEOUT;
    case LEAN_DEATH_MEMORY:
        return PV_E_LIMIT;
    case LEAN_DEATH_NOMEM:
        return PV_E_NOMEM;
    default:
        return PV_E_LOST;
    }
}

static void requeue(lean_job *job)
{
    if (job->kind == LEAN_JOB_TRY && job->next_tactic >= job->tactic_count) {
        lean_job_end(job, NULL, NULL);
    } else {
        lean_queue_push_front(&job->pool->queue, job);
    }
}

/* The job was on a worker that died. */
static void bereave(lean_job *job, lean_step_kind step, lean_death why, const char *detail)
{
    bool final = step == LEAN_STEP_FINAL;
    bool fatal = why == LEAN_DEATH_NOMEM;
    if (final && job->kind == LEAN_JOB_TRY && !fatal) {
        lose_tactic(job, why, detail);
        requeue(job);
        return;
    }
    /* A second run of what was too slow or too large would be so again. */
    fatal = fatal || (final && (why == LEAN_DEATH_DEADLINE || why == LEAN_DEATH_MEMORY));
    /* Housekeeping is no fault of the job that waits for it. */
    job->strikes += step != LEAN_STEP_FREE && step != LEAN_STEP_NONE;
    if (fatal || job->strikes >= STRIKES_MAX) {
        pv_error failure = {0};
        pv_fail(&failure, status_of(why), "%s", detail);
        lean_job_end(job, NULL, &failure);
    } else {
        requeue(job);
    }
}

static void on_backoff(uv_timer_t *timer)
{
    lean_slot_start(timer->data);
}

static uint64_t backoff_ms(uint32_t failed_starts)
{
    if (failed_starts == 0) {
        return 0;
    }
    uint32_t shift = failed_starts - 1 < 8 ? failed_starts - 1 : 8;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << shift;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

static void restart(lean_slot *slot, bool failed_start, const char *detail)
{
    lean_pool *pool = slot->pool;
    if (pool->closing || pool->broken.status != PV_OK) {
        return;
    }
    slot->failed_starts += failed_start;
    if (slot->failed_starts >= pool->options.restarts_max) {
        lean_pool_consider_giving_up(pool, detail);
    }
    if (pool->broken.status == PV_OK) {
        uv_timer_start(&slot->backoff, on_backoff, backoff_ms(slot->failed_starts), 0);
    }
}

/* A tactic that ran out of time is the search's daily bread; what nobody expects is a warning. */
static pv_log_level level_of(lean_death why)
{
    switch (why) {
    case LEAN_DEATH_WANTED:
        return PV_LOG_DEBUG;
    case LEAN_DEATH_DEADLINE:
        return PV_LOG_INFO;
    default:
        return PV_LOG_WARN;
    }
}

static void on_dead(void *owner, lean_death why, const char *detail)
{
    lean_slot *slot = owner;
    lean_job *job = slot->job;
    lean_step_kind step = slot->step.kind;
    pv_log(level_of(why), "lean worker of slot %u: %s", slot->index, detail);
    count_death(slot, why);
    bool unused = lean_worker_calls(slot->worker) == 0 && step == LEAN_STEP_NONE;
    slot->worker = NULL;
    forget_handles(slot);
    lean_step_release(&slot->step);
    if (job != NULL) {
        slot->job = NULL;
        job->slot = NULL;
        bereave(job, step, why, detail);
    }
    restart(slot, why == LEAN_DEATH_START || (unused && why != LEAN_DEATH_WANTED), detail);
    lean_pool_want_pump(slot->pool);
}

static void on_ready(void *owner)
{
    lean_slot *slot = owner;
    lean_pool *pool = slot->pool;
    memcpy(pool->version, lean_worker_version(slot->worker), sizeof pool->version - 1);
    pool->stats.start_seconds = lean_worker_start_seconds(slot->worker);
    lean_pool_want_pump(pool);
}

static void on_closed(void *owner)
{
    lean_slot *slot = owner;
    lean_pool_handle_closed(slot->pool);
}

void lean_slot_start(lean_slot *slot)
{
    static const lean_worker_events events = {on_ready, on_reply, on_dead, on_closed};
    lean_pool *pool = slot->pool;
    lean_worker_options options = {
        .dialect = pool->dialect,
        .argv = pool->argv,
        .env = pool->env,
        .cwd = pool->cwd,
        .mark = lean_pool_random(pool),
        .start_deadline_ms = pool->options.start_deadline_ms,
        .memory_max_bytes = pool->options.memory_max_bytes,
        .address_max_bytes = pool->address_max,
    };
    pv_error err = {0};
    if (lean_worker_spawn(&slot->worker, pool->loop, &options, &events, slot, &err) != PV_OK) {
        restart(slot, true, err.msg);
        return;
    }
    pool->open_handles++;
    pool->stats.respawns += slot->epoch > 1;
    slot->epoch++;
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

static size_t backlog(const lean_slot *slot)
{
    return slot->free_states.count + slot->free_envs.count;
}

/* Tells the worker which handles nobody needs. */
static bool start_free(lean_slot *slot)
{
    lean_step *step = &slot->step;
    size_t states = slot->free_states.count;
    if (!slot->pool->dialect->can_free) {
        slot->free_states.count = 0;
        slot->free_envs.count = 0;
        return false;
    }
    step->sent = slot->free_states;
    memset(&slot->free_states, 0, sizeof slot->free_states);
    for (size_t i = 0; i < slot->free_envs.count; i++) {
        lean_numbers_add(&step->sent, slot->free_envs.items[i]);
    }
    slot->free_envs.count = 0;
    step->kind = LEAN_STEP_FREE;
    step->deadline_ms = slot->pool->options.deadline_ms;
    step->call.op = LEAN_OP_FREE;
    step->call.states = step->sent.items;
    step->call.state_count = states;
    step->call.envs = step->sent.items + states;
    step->call.env_count = step->sent.count - states;
    return true;
}

static void send_step(lean_slot *slot)
{
    pv_error err = {0};
    slot->step.call.id = lean_pool_random(slot->pool);
    if (lean_worker_call(slot->worker, &slot->step.call, slot->step.deadline_ms, &err) == PV_OK) {
        return;
    }
    lean_step_release(&slot->step);
    if (slot->job != NULL) {
        lean_job_end(slot->job, NULL, &err);
    }
}

static bool is_worn(const lean_slot *slot)
{
    const lean_pool_options *options = &slot->pool->options;
    uint64_t calls = lean_worker_calls(slot->worker);
    return calls >= options->recycle_requests ||
           (calls >= RECYCLE_CALLS_MIN &&
            lean_worker_resident(slot->worker) > options->recycle_bytes);
}

/* Ends a job that needs no worker; false when it needs one. */
static bool end_without_worker(lean_job *job)
{
    const pv_error *failure = job->env == NULL ? NULL : lean_env_failure(job->env);
    if (failure != NULL) {
        pv_error copy = *failure;
        lean_job_end(job, NULL, &copy);
        return true;
    }
    if ((job->kind == LEAN_JOB_ENV && job->env->settled) ||
        (job->kind == LEAN_JOB_TRY && job->next_tactic >= job->tactic_count)) {
        lean_job_end(job, NULL, NULL);
        return true;
    }
    return false;
}

/* Plans and sends the next step of the slot's job; the job may end instead. */
static void go_on(lean_slot *slot)
{
    if (end_without_worker(slot->job)) {
        return;
    }
    lean_plan(slot->job, slot, &slot->step);
    /* A header asked for anew may get the handle of one that is still to be freed: free it first. */
    if (slot->step.kind == LEAN_STEP_ENV && slot->free_envs.count > 0) {
        lean_step held_back = slot->step;
        memset(&slot->step, 0, sizeof slot->step);
        lean_step_release(&held_back);
        if (!start_free(slot)) {
            lean_plan(slot->job, slot, &slot->step);
        }
    }
    send_step(slot);
}

static bool take_job(lean_slot *slot, int least_fitness)
{
    lean_job *job = lean_queue_pick(&slot->pool->queue, slot, least_fitness);
    if (job == NULL) {
        return false;
    }
    slot->job = job;
    job->slot = slot;
    return true;
}

void lean_slot_work(lean_slot *slot, int least_fitness)
{
    while (!slot->pool->closing && lean_slot_is_ready(slot) && slot->step.kind == LEAN_STEP_NONE) {
        if (slot->job == NULL && is_worn(slot)) {
            lean_worker_drain(slot->worker);
            return;
        }
        if (slot->job == NULL && backlog(slot) >= FREE_BATCH && start_free(slot)) {
            send_step(slot);
        } else if (slot->job != NULL || take_job(slot, least_fitness)) {
            go_on(slot);
        } else if (least_fitness == 0 && backlog(slot) > 0 && start_free(slot)) {
            send_step(slot);
        } else {
            return;
        }
    }
}

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

void lean_slot_init(lean_slot *slot, lean_pool *pool, uint32_t index)
{
    slot->pool = pool;
    slot->index = index;
    slot->epoch = 1;
    uv_timer_init(pool->loop, &slot->backoff);
    slot->backoff.data = slot;
    pool->open_handles++;
}

static void on_timer_closed(uv_handle_t *handle)
{
    lean_slot *slot = handle->data;
    lean_pool_handle_closed(slot->pool);
}

void lean_slot_close(lean_slot *slot)
{
    if (slot->worker != NULL) {
        lean_worker_kill(slot->worker);
    }
    if (!uv_is_closing((uv_handle_t *)&slot->backoff)) {
        uv_close((uv_handle_t *)&slot->backoff, on_timer_closed);
    }
}
