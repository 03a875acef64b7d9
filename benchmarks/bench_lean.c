/* bench_lean: tactics per second of real Lean with one worker and with two, and the start of a worker.
 *
 * Figure: the rate of two workers over that of one (2 is the ceiling on 2 cores; measured in the same run, one after the other).
 * Usage: bench_lean [--seconds N] [options of `prover doctor`] */
#include "commands.h"
#include "lean_session.h"
#include "progress.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, OUTSTANDING = 8, WARM_UP_MS = 25000, MEASURE_MS = 15000 };

/* A mix that a search sends: cheap steps, a closer, and failures of cheap and of dear tactics. */
static const char *const tactics[BATCH] = {"intro p q", "intros; omega",   "constructor",
                                           "simp_all",  "intro h",         "intros; simp_all",
                                           "decide",    "exact True.intro"};

typedef struct meter {
    lean_state *state;
    uint64_t answers, until_ms;
    size_t in_flight;
    bool done;
} meter;

static void ask(meter *m);

static void on_tried(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                     const pv_error *failure)
{
    (void)t;
    (void)index;
    meter *m = user;
    if (tried != NULL) {
        m->answers += pv_clock_ms() < m->until_ms;
        return;
    }
    m->in_flight--;
    if (failure == NULL && pv_clock_ms() < m->until_ms) {
        ask(m);
    }
    m->done = m->in_flight == 0;
}

static void ask(meter *m)
{
    if (lean_try(m->state, tactics, BATCH, NULL, on_tried, m, NULL) == PV_OK) {
        m->in_flight++;
    }
}

/* Until each worker has replayed the state, and V8 has compiled what is hot: that takes the other core for some 20 s. */
static pv_status warm_up(session *s, lean_state *state, pv_error *err)
{
    meter m = {.state = state, .until_ms = pv_clock_ms() + WARM_UP_MS};
    for (int i = 0; i < OUTSTANDING; i++) {
        ask(&m);
    }
    return session_wait(s, &m.done, err);
}

static pv_status measure(session *s, lean_state *state, double *rate, pv_error *err)
{
    pv_status status = warm_up(s, state, err);
    meter m = {.state = state, .until_ms = pv_clock_ms() + MEASURE_MS};
    for (int i = 0; status == PV_OK && i < OUTSTANDING; i++) {
        ask(&m);
    }
    if (status == PV_OK) {
        status = session_wait(s, &m.done, err);
    }
    *rate = (double)m.answers / (MEASURE_MS / 1000.0);
    return status;
}

static pv_status wait_for_workers(session *s, uint32_t workers)
{
    lean_pool_stats stats;
    do {
        session_round(s);
        lean_pool_stats_of(s->pool, &stats);
    } while (stats.workers_ready + stats.workers_busy < workers && !s->interrupted);
    return PV_OK;
}

static pv_status rate_of(const options *opt, uint32_t workers, double *rate, double *start,
                         pv_error *err)
{
    session s;
    source src;
    lean_env *env = NULL;
    theorem_list list = {0};
    pv_status status = source_load(
        &src, "theorem bench (a b : Nat) : a + b < 7 → b = 2 * a → a ≤ 2 ∧ b ≤ 4", "", err);
    if (status != PV_OK) {
        return status;
    }
    status = session_open(&s, opt, err);
    uint64_t from = pv_clock_ms();
    if (status == PV_OK) {
        status = session_start_pool(&s, workers, err);
    }
    if (status == PV_OK) {
        status = wait_for_workers(&s, workers);
        *start = (double)(pv_clock_ms() - from) / 1000;
        status = ask_header(&s, &src, &env, err);
    }
    if (status == PV_OK) {
        status = ask_theorems(&s, env, &src, &list, err);
    }
    if (status == PV_OK) {
        status = measure(&s, list.items[0].holes[0].state, rate, err);
    }
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    session_close(&s);
    source_release(&src);
    return status;
}

int main(int argc, char **argv)
{
    options opt;
    pv_error err = {0};
    if (options_parse(&opt, FOR_DOCTOR, argc, argv, 1, &err) != PV_OK) {
        return complain(&err);
    }
    if (opt.help) {
        puts("usage: bench_lean [options of `prover doctor`]");
        options_release(&opt);
        return 0;
    }
    opt.tactic_timeout = 30;
    opt.heartbeats = 200000;
    progress_init(true);
    double one = 0, two = 0, start_one = 0, start_two = 0;
    pv_status status = rate_of(&opt, 1, &one, &start_one, &err);
    if (status == PV_OK) {
        status = rate_of(&opt, 2, &two, &start_two, &err);
    }
    options_release(&opt);
    if (status != PV_OK) {
        return complain(&err);
    }
    printf("start of one worker: %.1f s; of two at once: %.1f s\n", start_one, start_two);
    printf("one worker:  %.1f tactics/s\n", one);
    printf("two workers: %.1f tactics/s = %.2f times one (ceiling 2)\n", two,
           one > 0 ? two / one : 0);
    return 0;
}
