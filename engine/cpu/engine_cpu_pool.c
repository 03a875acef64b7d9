#define _GNU_SOURCE /* processor affinity, futex */

#include "engine_cpu_pool.h"

#include "pv_mem.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    THREADS_MAX = 1024,
    SPINS = 3000 /* about 40 us of pauses: longer than the gaps between the jobs of a forward */
};

typedef struct worker {
    engine_cpu_pool *pool;
    pthread_t thread;
    uint32_t index;
} worker;

/* `state` is the job's number in its upper half and the tasks nobody has taken in its lower half. A task is taken by
 * lowering it, which fails when the job is over; so whoever holds a task knows that the job's fields stay as they are
 * until that task is reported in `done`. */
struct engine_cpu_pool {
    void *block; /* what was allocated; the pool is its first 64-byte line */
    uint32_t threads;
    bool pinned;
    worker *workers; /* threads - 1 */
    uint32_t started;

    _Alignas(64) _Atomic uint64_t state;
    _Alignas(64) _Atomic uint32_t done;
    _Alignas(64) _Atomic uint32_t bell; /* counts jobs; what idle threads sleep on */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t caller_waits;
    _Atomic bool closing;

    uint32_t tasks;
    engine_cpu_task *fn;
    void *user;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Takes one task of the current job; false when none is left. */
static bool take(engine_cpu_pool *pool, uint32_t *task)
{
    uint64_t state = atomic_load_explicit(&pool->state, memory_order_acquire);
    while ((uint32_t)state != 0) {
        if (atomic_compare_exchange_weak_explicit(&pool->state, &state, state - 1,
                                                  memory_order_acquire, memory_order_acquire)) {
            *task = pool->tasks - (uint32_t)state;
            return true;
        }
    }
    return false;
}

static void work(engine_cpu_pool *pool, uint32_t thread)
{
    uint32_t task = 0;
    while (take(pool, &task)) {
        uint32_t tasks = pool->tasks;
        pool->fn(pool->user, task, thread);
        if (atomic_fetch_add_explicit(&pool->done, 1, memory_order_seq_cst) + 1 == tasks &&
            atomic_load_explicit(&pool->caller_waits, memory_order_seq_cst) != 0) {
            futex_wake(&pool->done);
        }
    }
}

/* Returns when the bell is no longer at `seen`. */
static uint32_t await_bell(engine_cpu_pool *pool, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t bell = atomic_load_explicit(&pool->bell, memory_order_acquire);
        if (bell != seen) {
            return bell;
        }
        pause_briefly();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    uint32_t bell = atomic_load(&pool->bell);
    while (bell == seen) {
        futex_wait(&pool->bell, seen);
        bell = atomic_load(&pool->bell);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    return bell;
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    uint32_t seen = 0;
    while (!atomic_load_explicit(&w->pool->closing, memory_order_acquire)) {
        work(w->pool, w->index);
        seen = await_bell(w->pool, seen);
    }
    return NULL;
}

static void ring(engine_cpu_pool *pool)
{
    atomic_fetch_add(&pool->bell, 1);
    if (atomic_load(&pool->sleepers) != 0) {
        futex_wake(&pool->bell);
    }
}

static void await_done(engine_cpu_pool *pool, uint32_t tasks)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->done, memory_order_acquire) == tasks) {
            return;
        }
        pause_briefly();
    }
    atomic_store(&pool->caller_waits, 1);
    uint32_t done = atomic_load(&pool->done);
    while (done != tasks) {
        futex_wait(&pool->done, done);
        done = atomic_load(&pool->done);
    }
    atomic_store(&pool->caller_waits, 0);
}

void engine_cpu_pool_run(engine_cpu_pool *pool, uint32_t tasks, engine_cpu_task *fn, void *user)
{
    if (pool->threads == 1 || tasks <= 1) {
        for (uint32_t i = 0; i < tasks; i++) {
            fn(user, i, 0);
        }
        return;
    }
    pool->tasks = tasks;
    pool->fn = fn;
    pool->user = user;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    uint64_t job = (atomic_load_explicit(&pool->state, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&pool->state, (job << 32) | tasks, memory_order_release);
    ring(pool);
    work(pool, 0);
    await_done(pool, tasks);
}

uint32_t engine_cpu_pool_threads(const engine_cpu_pool *pool)
{
    return pool->threads;
}

uint32_t engine_cpu_pool_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : (uint32_t)n;
}

/* Binds a thread to the index-th processor that the process may use; a failure costs speed only. */
static void pin(pthread_t thread, uint32_t index)
{
    cpu_set_t all;
    if (sched_getaffinity(0, sizeof all, &all) != 0) {
        return;
    }
    uint32_t at = index % (uint32_t)CPU_COUNT(&all);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && at-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(thread, sizeof one, &one);
            return;
        }
    }
}

static pv_status start_workers(engine_cpu_pool *pool, pv_error *err)
{
    for (uint32_t i = 0; i + 1 < pool->threads; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->index = i + 1;
        int code = pthread_create(&w->thread, NULL, worker_main, w);
        if (code != 0) {
            return pv_fail_os(err, PV_E_SPAWN, code, "thread %u of %u could not be started", i + 1,
                              pool->threads);
        }
        pool->started++;
        if (pool->pinned) {
            pin(w->thread, w->index);
        }
    }
    return PV_OK;
}

static engine_cpu_pool *pool_new(uint32_t threads, bool pinned)
{
    void *block = pv_calloc(1, sizeof(engine_cpu_pool) + 64);
    if (block == NULL) {
        return NULL;
    }
    engine_cpu_pool *pool = (engine_cpu_pool *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    pool->block = block;
    pool->threads = threads;
    pool->pinned = pinned;
    return pool;
}

pv_status engine_cpu_pool_open(engine_cpu_pool **out, uint32_t threads, bool pinned, pv_error *err)
{
    if (threads == 0) {
        threads = engine_cpu_pool_processors();
    }
    if (threads > THREADS_MAX) {
        return pv_fail(err, PV_E_INVALID, "%u threads; at most %d", threads, THREADS_MAX);
    }
    engine_cpu_pool *pool = pool_new(threads, pinned);
    if (pool == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a thread pool");
    }
    pool->workers = pv_calloc(threads, sizeof *pool->workers);
    pv_status status = pool->workers == NULL
                           ? pv_fail(err, PV_E_NOMEM, "out of memory for %u threads", threads)
                           : start_workers(pool, err);
    if (status != PV_OK) {
        engine_cpu_pool_close(pool);
        return status;
    }
    *out = pool;
    return PV_OK;
}

void engine_cpu_pool_close(engine_cpu_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    atomic_store(&pool->closing, true);
    ring(pool);
    for (uint32_t i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pv_free(pool->workers);
    pv_free(pool->block);
}
