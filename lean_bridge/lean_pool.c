#include "lean_pool_internal.h"

#include "lean_protocol.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

void lean_pool_ref(lean_pool *pool)
{
    pool->refs++;
}

static void release_slots(lean_pool *pool)
{
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        lean_numbers_release(&pool->slots[i].free_states);
        lean_numbers_release(&pool->slots[i].free_envs);
        lean_step_release(&pool->slots[i].step);
    }
    pv_free(pool->slots);
}

void lean_pool_unref(lean_pool *pool)
{
    if (--pool->refs > 0) {
        return;
    }
    release_slots(pool);
    lean_sandbox_free_argv(pool->argv);
    lean_arena_release(&pool->arena);
    pv_free(pool->tickets);
    uv_mutex_destroy(&pool->posts_lock);
    pv_free(pool);
}

/* ---- numbers and tickets ----------------------------------------------------------------------------------------- */

uint64_t lean_pool_random(lean_pool *pool)
{
    uint64_t number = 0;
    while (number == 0) {
        if (pool->randomness_left < sizeof number) {
            pool->randomness_left = sizeof pool->randomness;
            if (uv_random(NULL, NULL, pool->randomness, sizeof pool->randomness, 0, NULL) != 0) {
                /* No system does that in practice; unequal numbers are still needed. */
                for (size_t i = 0; i < sizeof pool->randomness; i++) {
                    pool->randomness[i] = (unsigned char)pv_mix64(pv_clock_ns() + i);
                }
            }
        }
        pool->randomness_left -= sizeof number;
        memcpy(&number, pool->randomness + pool->randomness_left, sizeof number);
        number &= LEAN_ID_MAX;
    }
    return number;
}

pv_status lean_pool_admit(lean_pool *pool, lean_job *job, pv_error *err)
{
    uint32_t index = pool->free_ticket;
    if (index == 0) {
        if (pool->ticket_count >= UINT32_MAX ||
            pv_grow((void **)&pool->tickets, &pool->ticket_capacity, pool->ticket_count + 1,
                    sizeof *pool->tickets) != 0) {
            return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
        }
        memset(&pool->tickets[pool->ticket_count], 0, sizeof *pool->tickets);
        index = (uint32_t)++pool->ticket_count;
    }
    lean_ticket_entry *entry = &pool->tickets[index - 1];
    pool->free_ticket = entry->next_free;
    entry->job = job;
    entry->generation++;
    job->ticket = (uint64_t)entry->generation << 32 | index;
    return PV_OK;
}

void lean_pool_dismiss(lean_pool *pool, lean_job *job)
{
    uint32_t index = (uint32_t)(job->ticket & UINT32_MAX);
    lean_ticket_entry *entry = &pool->tickets[index - 1];
    entry->job = NULL;
    entry->next_free = pool->free_ticket;
    pool->free_ticket = index;
}

/* ---- posting ----------------------------------------------------------------------------------------------------- */

pv_status lean_pool_post(lean_pool *pool, void (*fn)(void *user), void *user)
{
    lean_post *post = pv_malloc(sizeof *post);
    if (post == NULL) {
        return PV_E_NOMEM;
    }
    *post = (lean_post){.fn = fn, .user = user};
    uv_mutex_lock(&pool->posts_lock);
    *pool->posts_end = post;
    pool->posts_end = &post->next;
    /* Under the lock: the handle cannot be closed in between. */
    uv_async_send(&pool->wake);
    uv_mutex_unlock(&pool->posts_lock);
    return PV_OK;
}

static void run_posts(lean_pool *pool)
{
    uv_mutex_lock(&pool->posts_lock);
    lean_post *post = pool->posts;
    pool->posts = NULL;
    pool->posts_end = &pool->posts;
    uv_mutex_unlock(&pool->posts_lock);
    while (post != NULL) {
        lean_post *next = post->next;
        post->fn(post->user);
        pv_free(post);
        post = next;
    }
}

static void on_wake(uv_async_t *wake)
{
    run_posts(wake->data);
}

/* ---- the pump ---------------------------------------------------------------------------------------------------- */

/* Ends every job, or every cancelled one. A callback may add or cancel others: they are met here or by the next pump. */
static void cancel_jobs(lean_pool *pool, bool all)
{
    pv_error failure = {0};
    pv_fail(&failure, PV_E_CANCELLED, "the request was cancelled");
    for (size_t i = 0; i < pool->ticket_count; i++) {
        lean_job *job = pool->tickets[i].job;
        if (job != NULL && (all || job->cancelled)) {
            lean_job_end(job, NULL, &failure);
        }
    }
}

static void fail_waiting(lean_pool *pool)
{
    pv_error failure = pool->broken;
    /* Counted before: a caller may answer a failure with the next request. */
    for (size_t n = pool->queue.count; n > 0 && pool->queue.first != NULL && !pool->closing; n--) {
        lean_job_end(pool->queue.first, NULL, &failure);
    }
}

static void close_handles(lean_pool *pool);

static void on_pump(uv_idle_t *idle)
{
    lean_pool *pool = idle->data;
    uv_idle_stop(idle); /* first: what happens below may want another one */
    if (pool->closing) {
        close_handles(pool);
        return;
    }
    if (pool->cancel_wanted) {
        pool->cancel_wanted = false;
        cancel_jobs(pool, false);
    }
    if (pool->broken.status != PV_OK) {
        fail_waiting(pool);
    }
    /* The best fits first over all workers, so that no idle worker takes what another idle one has in memory. */
    for (int fitness = LEAN_FITNESS_MAX; fitness >= 0; fitness--) {
        for (uint32_t i = 0; i < pool->options.workers; i++) {
            lean_slot_work(&pool->slots[i], fitness);
        }
    }
}

void lean_pool_want_pump(lean_pool *pool)
{
    if (!uv_is_closing((uv_handle_t *)&pool->pump)) {
        uv_idle_start(&pool->pump, on_pump);
    }
}

void lean_pool_consider_giving_up(lean_pool *pool, const char *detail)
{
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        if (pool->slots[i].failed_starts < pool->options.restarts_max) {
            return; /* there is one that works, or may */
        }
    }
    pv_fail(&pool->broken, PV_E_SPAWN, "Lean could not be started in %u attempts; the last: %s",
            pool->options.restarts_max, detail);
    lean_pool_want_pump(pool);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
    lean_pool_handle_closed(handle->data);
}

/* The last step but one: nothing of the pool is left but the handles that others may use to reach it. */
static void close_doors(lean_pool *pool)
{
    run_posts(pool);
    uv_mutex_lock(&pool->posts_lock);
    uv_close((uv_handle_t *)&pool->wake, on_handle_closed);
    uv_close((uv_handle_t *)&pool->pump, on_handle_closed);
    uv_mutex_unlock(&pool->posts_lock);
}

void lean_pool_handle_closed(lean_pool *pool)
{
    pool->open_handles--;
    if (pool->open_handles == 2 && pool->closing && !uv_is_closing((uv_handle_t *)&pool->pump)) {
        close_doors(pool);
    } else if (pool->open_handles == 0) {
        if (pool->on_closed != NULL) {
            pool->on_closed(pool->on_closed_user);
        }
        lean_pool_unref(pool);
    }
}

static void close_handles(lean_pool *pool)
{
    cancel_jobs(pool, true);
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        lean_slot_close(&pool->slots[i]);
    }
}

void lean_pool_close(lean_pool *pool, void (*closed)(void *user), void *user)
{
    if (pool == NULL || pool->closing) {
        return;
    }
    pool->closing = true;
    pool->on_closed = closed;
    pool->on_closed_user = user;
    lean_pool_want_pump(pool);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void fill_defaults(lean_pool_options *o)
{
    o->workers = o->workers == 0 ? 1 : o->workers;
    o->deadline_ms = o->deadline_ms == 0 ? 10000 : o->deadline_ms;
    o->start_deadline_ms = o->start_deadline_ms == 0 ? 180000 : o->start_deadline_ms;
    o->heartbeats = o->heartbeats == 0 ? 200000 : o->heartbeats;
    o->memory_max_bytes = o->memory_max_bytes == 0 ? UINT64_C(4) << 30 : o->memory_max_bytes;
    o->recycle_requests = o->recycle_requests == 0 ? 20000 : o->recycle_requests;
    o->recycle_bytes = o->recycle_bytes == 0 ? o->memory_max_bytes / 4 * 3 : o->recycle_bytes;
    o->states_max = o->states_max == 0 ? 20000 : o->states_max;
    o->restarts_max = o->restarts_max == 0 ? 5 : o->restarts_max;
}

static pv_status copy_toolchain(lean_pool *pool, const lean_pool_options *options, pv_error *err)
{
    const lean_toolchain *toolchain = options->toolchain;
    size_t n = 0;
    while (toolchain->env != NULL && toolchain->env[n] != NULL) {
        n++;
    }
    pool->env = lean_arena_alloc(&pool->arena, n + 1, sizeof *pool->env);
    for (size_t i = 0; pool->env != NULL && i < n; i++) {
        pool->env[i] = lean_arena_text(&pool->arena, toolchain->env[i], strlen(toolchain->env[i]));
    }
    if (toolchain->cwd != NULL) {
        pool->cwd = lean_arena_text(&pool->arena, toolchain->cwd, strlen(toolchain->cwd));
    }
    pool->dialect =
        toolchain->dialect == LEAN_DIALECT_COMMUNITY ? lean_community_ops() : lean_protocol_ops();
    /* Only a backstop against growth between two looks at the resident memory: mapped libraries are not resident. */
    pool->address_max = toolchain->wide_address_space
                            ? 0
                            : pool->options.memory_max_bytes * 4 + (UINT64_C(16) << 30);
    if (!lean_arena_ok(&pool->arena)) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a pool of Lean workers");
    }
    return lean_sandbox_argv(options->sandbox, toolchain, &pool->argv, err);
}

static pv_status make_pool(lean_pool **out, const lean_pool_options *options, pv_error *err)
{
    lean_pool *pool = pv_calloc(1, sizeof *pool);
    if (pool == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a pool of Lean workers");
    }
    pool->refs = 1;
    pool->options = *options;
    pool->posts_end = &pool->posts;
    fill_defaults(&pool->options);
    pool->slots = pv_calloc(pool->options.workers, sizeof *pool->slots);
    pv_status status = pool->slots == NULL
                           ? pv_fail(err, PV_E_NOMEM, "no memory for a pool of Lean workers")
                           : copy_toolchain(pool, options, err);
    if (status == PV_OK && uv_mutex_init(&pool->posts_lock) != 0) {
        status = pv_fail(err, PV_E_NOMEM, "no memory for a pool of Lean workers");
    }
    if (status != PV_OK) {
        lean_sandbox_free_argv(pool->argv);
        lean_arena_release(&pool->arena);
        pv_free(pool->slots);
        pv_free(pool);
        return status;
    }
    *out = pool;
    return PV_OK;
}

/* A worker may die while we write to it. The write then fails, and must not end the program. */
static void block_broken_pipe_signal(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

pv_status lean_pool_open(lean_pool **out, uv_loop_t *loop, const lean_pool_options *options,
                         pv_error *err)
{
    if (out == NULL || loop == NULL || options == NULL || options->toolchain == NULL ||
        options->sandbox == NULL) {
        return pv_fail(err, PV_E_MISUSE,
                       "lean_pool_open: a loop, a toolchain and a sandbox are needed");
    }
    lean_pool *pool = NULL;
    pv_status status = make_pool(&pool, options, err);
    if (status != PV_OK) {
        return status;
    }
    pool->loop = loop;
    int code = uv_async_init(loop, &pool->wake, on_wake);
    if (code != 0) {
        status =
            pv_fail(err, PV_E_IO, "the event loop takes no more handles: %s", uv_strerror(code));
        lean_pool_unref(pool);
        return status;
    }
    pool->wake.data = pool;
    uv_idle_init(loop, &pool->pump);
    pool->pump.data = pool;
    pool->open_handles = 2;
    block_broken_pipe_signal();
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        lean_slot_init(&pool->slots[i], pool, i);
    }
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        lean_slot_start(&pool->slots[i]);
    }
    *out = pool;
    return PV_OK;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

void lean_pool_stats_of(const lean_pool *pool, lean_pool_stats *out)
{
    *out = pool->stats;
    out->stale_lines = pool->gone_stale_lines;
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        const lean_worker *worker = pool->slots[i].worker;
        if (worker == NULL) {
            out->workers_starting++;
            continue;
        }
        lean_worker_state state = lean_worker_state_of(worker);
        out->workers_ready += state == LEAN_WORKER_READY;
        out->workers_busy += state == LEAN_WORKER_BUSY;
        out->workers_starting += state == LEAN_WORKER_SPAWNING;
        out->stale_lines += lean_worker_stale_lines(worker);
        out->resident_bytes += lean_worker_resident(worker);
    }
}

const char *lean_pool_lean_version(const lean_pool *pool)
{
    return pool->version[0] == '\0' ? NULL : pool->version;
}

size_t lean_pool_pids(const lean_pool *pool, int *pids, size_t max)
{
    size_t n = 0;
    for (uint32_t i = 0; i < pool->options.workers; i++) {
        const lean_worker *worker = pool->slots[i].worker;
        int pid = worker == NULL ? 0 : lean_worker_pid(worker);
        if (pid > 0) {
            if (n < max) {
                pids[n] = pid;
            }
            n++;
        }
    }
    return n;
}
