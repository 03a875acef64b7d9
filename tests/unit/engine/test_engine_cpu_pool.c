/* The thread pool: every task once, by any number of threads, job after job. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */

#include "cpu/engine_cpu_pool.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { TASKS_MAX = 3000 };

typedef struct counts {
    unsigned char seen[TASKS_MAX]; /* plain: each element is one task's own */
    _Atomic uint64_t sum;
    uint32_t threads;
    _Atomic uint32_t wrong_thread;
} counts;

static void count_task(void *user, uint32_t task, uint32_t thread)
{
    counts *c = user;
    c->seen[task]++;
    c->sum += task;
    if (thread >= c->threads) {
        c->wrong_thread++;
    }
}

static void sleep_us(long us)
{
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

static engine_cpu_pool *open_pool(uint32_t threads)
{
    engine_cpu_pool *pool = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_cpu_pool_open(&pool, threads, threads % 2 == 0, &err), PV_OK, "%s",
                 err.msg);
    return pool;
}

static counts c;

static void run_and_check(engine_cpu_pool *pool, uint32_t tasks)
{
    memset(&c, 0, sizeof c);
    c.threads = engine_cpu_pool_threads(pool);
    engine_cpu_pool_run(pool, tasks, count_task, &c);
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        cr_assert_eq(c.seen[i], i < tasks, "task %u of %u ran %u times", i, tasks, c.seen[i]);
    }
    cr_assert_eq(c.sum, (uint64_t)tasks * (tasks - (tasks > 0)) / 2);
    cr_assert_eq(c.wrong_thread, 0);
}

Test(engine_cpu_pool, runs_every_task_once, .timeout = 120)
{
    uint64_t live = pv_mem_live();
    const uint32_t threads[] = {1, 2, 3, 8, 17};
    const uint32_t tasks[] = {0, 1, 2, 7, 64, TASKS_MAX};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        engine_cpu_pool *pool = open_pool(threads[i]);
        cr_assert_eq(engine_cpu_pool_threads(pool), threads[i]);
        for (size_t j = 0; j < sizeof tasks / sizeof *tasks; j++) {
            run_and_check(pool, tasks[j]);
        }
        engine_cpu_pool_close(pool);
    }
    cr_assert_eq(pv_mem_live(), live);
}

Test(engine_cpu_pool, short_jobs_follow_one_another, .timeout = 120)
{
    engine_cpu_pool *pool = open_pool(4);
    for (uint32_t i = 0; i < 2000; i++) {
        run_and_check(pool, 1 + i % 9);
    }
    engine_cpu_pool_close(pool);
}

Test(engine_cpu_pool, wakes_after_sleep, .timeout = 120)
{
    engine_cpu_pool *pool = open_pool(3);
    for (int i = 0; i < 20; i++) {
        sleep_us(3000); /* longer than the threads spin */
        run_and_check(pool, 50);
    }
    engine_cpu_pool_close(pool);
}

static void slow_task(void *user, uint32_t task, uint32_t thread)
{
    (void)thread;
    if (task == 0) {
        sleep_us(5000); /* the others finish first: the caller waits, asleep */
    }
    atomic_fetch_add((_Atomic uint32_t *)user, 1);
}

Test(engine_cpu_pool, waits_for_the_slowest, .timeout = 120)
{
    engine_cpu_pool *pool = open_pool(3);
    for (int i = 0; i < 20; i++) {
        _Atomic uint32_t done = 0;
        engine_cpu_pool_run(pool, 3, slow_task, &done);
        cr_assert_eq(done, 3);
    }
    engine_cpu_pool_close(pool);
}

Test(engine_cpu_pool, zero_threads_are_the_processors)
{
    engine_cpu_pool *pool = open_pool(0);
    cr_assert_eq(engine_cpu_pool_threads(pool), engine_cpu_pool_processors());
    engine_cpu_pool_close(pool);
    engine_cpu_pool_close(NULL);
}

Test(engine_cpu_pool, refuses_absurd_counts_and_reports_short_memory)
{
    uint64_t live = pv_mem_live();
    engine_cpu_pool *pool = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_cpu_pool_open(&pool, 100000, true, &err), PV_E_INVALID);
    for (int64_t n = 0; n < 2; n++) {
        pv_error_clear(&err);
        pv_mem_fail_after(n);
        cr_assert_eq(engine_cpu_pool_open(&pool, 2, true, &err), PV_E_NOMEM);
    }
    pv_mem_fail_after(-1);
    cr_assert_eq(pv_mem_live(), live);
}
