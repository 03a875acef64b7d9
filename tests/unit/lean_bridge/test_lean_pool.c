#include "bridge_fixture.h"

Test(lean_pool, opens_tries_and_checks_with_one_worker, .timeout = 60)
{
    bridge b;
    record r;
    record c = {0};
    bridge_begin(&b, NULL);
    lean_state *goal = bridge_goal(&b, 3);
    bridge_try(&b, goal, &r, TACTICS("dec", "split 1 2", "close", "fail", "beats"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN && r.part_counts[0] == 1);
    cr_expect(r.kinds[1] == LEAN_TRY_OPEN && r.part_counts[1] == 2);
    cr_expect(r.kinds[2] == LEAN_TRY_CLOSED);
    cr_expect(r.kinds[3] == LEAN_TRY_FAILED && strcmp(r.texts[3], "fail") == 0);
    cr_expect(r.kinds[4] == LEAN_TRY_TIMED_OUT);
    record_release(&r);
    lean_check_request request = {.original = "theorem t : P 3 := by sorry",
                                  .candidate = "theorem t : P 3 := by close",
                                  .names = TACTICS("t"),
                                  .name_count = 1};
    cr_assert(lean_check(b.env, &request, NULL, on_check, &c, NULL) == PV_OK);
    bridge_wait(&b, &c.ended);
    cr_expect(c.failure.status == PV_OK && c.verdict == LEAN_ACCEPTED && c.axiom_count == 2);
    cr_expect(strcmp(lean_pool_lean_version(b.pool), "4.28.0-fake") == 0);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, reports_declarations_and_holes_with_positions, .timeout = 60)
{
    bridge b;
    record r;
    bridge_begin(&b, NULL);
    bridge_open_text(&b, "theorem a : P 2 := by\n  sorry\ntheorem b : α 5 := by sorry", &r);
    cr_expect(r.decl_count == 2 && r.hole_count == 2 && r.message_count == 1);
    cr_expect(strcmp(r.name, "b") == 0);
    cr_expect(r.hole_at.line == 3 && r.hole_at.column == 22 && r.hole_at.byte == 53,
              "%zu:%zu (%zu)", r.hole_at.line, r.hole_at.column, r.hole_at.byte);
    record_release(&r);
    bridge_end(&b);
}

Test(lean_pool, closes_with_nothing_asked, .timeout = 60)
{
    bridge b;
    bridge_begin(&b, NULL);
    b.options.workers = 3;
    bridge_open_pool(&b);
    bridge_end(&b);
}

Test(lean_pool, refuses_misuse_without_calling_back, .timeout = 60)
{
    bridge b;
    record r = {0};
    pv_error err = {0};
    bridge_begin(&b, NULL);
    cr_expect(lean_pool_open(&b.pool, &b.loop, NULL, &err) == PV_E_MISUSE);
    pv_error_clear(&err);
    lean_state *goal = bridge_goal(&b, 3);
    const char *bad[] = {"dec", "\xff"};
    cr_expect(lean_try(goal, bad, 2, NULL, on_try, &r, &err) == PV_E_INVALID);
    cr_expect(lean_try(NULL, bad, 1, NULL, on_try, &r, NULL) == PV_E_MISUSE);
    cr_expect(lean_open(b.env, NULL, NULL, on_open, &r, NULL) == PV_E_MISUSE);
    cr_expect(lean_check(b.env, NULL, NULL, on_check, &r, NULL) == PV_E_MISUSE);
    bridge_run_for(&b, 50);
    cr_expect(r.calls == 0);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, ends_a_try_of_no_tactics, .timeout = 60)
{
    bridge b;
    record r;
    bridge_begin(&b, NULL);
    lean_state *goal = bridge_goal(&b, 3);
    bridge_try(&b, goal, &r, TACTICS(NULL));
    cr_expect(r.calls == 1 && r.failure.status == PV_OK);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, reports_a_header_that_does_not_import, .timeout = 60)
{
    bridge b;
    record r = {0};
    record again = {0};
    lean_env *same = NULL;
    bridge_begin(&b, NULL);
    bridge_open_pool(&b);
    cr_assert(lean_env_new(b.pool, &b.env, "import Nope\n", on_env, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == PV_E_INVALID);
    cr_expect(strstr(r.failure.msg, "Nope") != NULL, "%s", r.failure.msg);
    cr_assert(lean_env_new(b.pool, &same, "import Nope\n", on_env, &again, NULL) == PV_OK);
    bridge_wait(&b, &again.ended);
    cr_expect(again.failure.status == PV_E_INVALID && same == b.env);
    record opened = {0};
    cr_assert(lean_open(same, "theorem t : P 1 := by sorry", NULL, on_open, &opened, NULL) ==
              PV_OK);
    bridge_wait(&b, &opened.ended);
    cr_expect(opened.failure.status == PV_E_INVALID);
    lean_env_unref(same);
    bridge_end(&b);
}

Test(lean_pool, extends_an_env, .timeout = 60)
{
    bridge b;
    record r = {0};
    lean_env *more = NULL;
    bridge_begin(&b, NULL);
    bridge_open_pool(&b);
    cr_assert(lean_env_new(b.pool, &b.env, "import Init\n", NULL, NULL, NULL) == PV_OK);
    cr_assert(lean_env_extend(b.env, &more, "def x := 1\n", on_env, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == PV_OK && r.message_count == 1);
    lean_env_unref(b.env);
    b.env = more;
    lean_state *goal = bridge_goal(&b, 1);
    bridge_try(&b, goal, &r, TACTICS("dec"));
    cr_expect(r.kinds[0] == LEAN_TRY_CLOSED);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, frees_a_header_before_it_is_asked_for_anew, .timeout = 60)
{
    bridge b;
    bridge_begin(&b, NULL);
    for (int i = 0; i < 5; i++) {
        lean_state *goal = bridge_goal(&b, 2);
        lean_state_unref(goal);
        lean_env_unref(b.env);
        b.env = NULL;
    }
    bridge_end(&b);
}

static int kill_all(const lean_pool *pool)
{
    int pids[64];
    size_t n = lean_pool_pids(pool, pids, 64);
    for (size_t i = 0; i < n && i < 64; i++) {
        kill(pids[i], SIGKILL);
    }
    return (int)n;
}

/* dec four times from 9, then two parts. */
static lean_state *deep_state(bridge *b, lean_state **second)
{
    lean_state *state = bridge_goal(b, 9);
    for (int i = 0; i < 4; i++) {
        record r;
        bridge_try(b, state, &r, TACTICS("dec"));
        lean_state_unref(state);
        state = lean_state_ref(r.states[0]);
        record_release(&r);
    }
    record r;
    bridge_try(b, state, &r, TACTICS("split 2 3"));
    lean_state_unref(state);
    state = lean_state_ref(r.states[0]);
    *second = lean_state_ref(r.others[0]);
    record_release(&r);
    return state;
}

Test(lean_pool, makes_states_again_after_the_death_of_every_worker, .timeout = 60)
{
    bridge b;
    record r;
    lean_pool_stats stats;
    bridge_begin(&b, NULL);
    b.options.workers = 2;
    lean_state *second = NULL;
    lean_state *first = deep_state(&b, &second);
    cr_expect(kill_all(b.pool) == 2);
    bridge_try(&b, first, &r, TACTICS("split 1 1"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN && r.part_counts[0] == 2, "%s", r.texts[0]);
    record_release(&r);
    bridge_try(&b, second, &r, TACTICS("split 1 2"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN);
    record_release(&r);
    lean_pool_stats_of(b.pool, &stats);
    cr_expect(stats.replays >= 1 && stats.replayed_tactics >= 5 && stats.respawns >= 1);
    lean_state_unref(first);
    lean_state_unref(second);
    bridge_end(&b);
}

Test(lean_pool, refuses_a_replay_that_ends_in_another_goal, .timeout = 60)
{
    bridge b;
    record r;
    char tactic[128];
    bridge_begin(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    snprintf(tactic, sizeof tactic, "drift %s/drift", b.folder);
    bridge_try(&b, goal, &r, TACTICS(tactic));
    lean_state *after = lean_state_ref(r.states[0]);
    record_release(&r);
    kill_all(b.pool);
    bridge_try(&b, after, &r, TACTICS("dec", "close"));
    cr_expect(r.failure.status == PV_E_LOST, "%s", r.failure.msg);
    cr_expect(r.kinds[0] == LEAN_TRY_LOST && r.kinds[1] == LEAN_TRY_LOST);
    lean_state_unref(goal);
    lean_state_unref(after);
    bridge_end(&b);
}

Test(lean_pool, evicts_the_least_recently_used_states_and_makes_them_again, .timeout = 60)
{
    bridge b;
    record r;
    lean_state *states[12];
    lean_pool_stats stats;
    bridge_begin(&b, NULL);
    b.options.states_max = 3;
    for (long i = 0; i < 12; i++) {
        states[i] = bridge_goal(&b, 20 + i);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 12; i++) {
            bridge_try(&b, states[i], &r, TACTICS("dec"));
            cr_expect(r.kinds[0] == LEAN_TRY_OPEN);
            record_release(&r);
        }
    }
    lean_pool_stats_of(b.pool, &stats);
    cr_expect(stats.replays >= 20, "%llu replays", (unsigned long long)stats.replays);
    for (int i = 0; i < 12; i++) {
        lean_state_unref(states[i]);
    }
    bridge_end(&b);
}

Test(lean_pool, works_with_room_for_a_single_state, .timeout = 60)
{
    bridge b;
    record r;
    bridge_begin(&b, NULL);
    b.options.states_max = 1;
    lean_state *second = NULL;
    lean_state *first = deep_state(&b, &second);
    bridge_try(&b, first, &r, TACTICS("split 1 1"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN);
    record_release(&r);
    bridge_try(&b, second, &r, TACTICS("split 1 2"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN);
    record_release(&r);
    lean_state_unref(first);
    lean_state_unref(second);
    bridge_end(&b);
}

Test(lean_pool, recycles_a_worker_and_loses_nothing, .timeout = 60)
{
    bridge b;
    record r;
    lean_pool_stats stats;
    bridge_begin(&b, NULL);
    b.options.recycle_requests = 3;
    lean_state *goal = bridge_goal(&b, 9);
    for (int i = 0; i < 10; i++) {
        bridge_try(&b, goal, &r, TACTICS("dec"));
        cr_expect(r.kinds[0] == LEAN_TRY_OPEN);
        record_release(&r);
    }
    lean_pool_stats_of(b.pool, &stats);
    cr_expect(stats.respawns >= 3 && stats.deadline_kills == 0);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, prefers_the_worker_that_holds_the_state, .timeout = 60)
{
    bridge b;
    record r;
    lean_pool_stats stats;
    bridge_begin(&b, NULL);
    b.options.workers = 2;
    lean_state *goal = bridge_goal(&b, 9);
    bridge_run_for(&b, 200); /* both are ready */
    for (int i = 0; i < 20; i++) {
        bridge_try(&b, goal, &r, TACTICS("dec"));
        record_release(&r);
    }
    lean_pool_stats_of(b.pool, &stats);
    cr_expect(stats.replays == 0, "%llu replays", (unsigned long long)stats.replays);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, cancels_waiting_and_running_requests, .timeout = 60)
{
    bridge b;
    record running;
    record waiting;
    record after;
    bridge_begin(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    lean_ticket one = bridge_start_try(goal, &running, TACTICS("dec", "slow 300", "dec"));
    lean_ticket two = bridge_start_try(goal, &waiting, TACTICS("dec"));
    bridge_run_for(&b, 100);
    cr_expect(running.answers[0] == 1 && !running.ended);
    lean_cancel(b.pool, one);
    lean_cancel(b.pool, two);
    lean_cancel(b.pool, 12345);
    cr_expect(!running.ended && !waiting.ended, "called back from inside the call");
    bridge_wait(&b, &waiting.ended);
    cr_expect(running.ended && running.failure.status == PV_E_CANCELLED);
    cr_expect(running.kinds[0] == LEAN_TRY_OPEN && running.kinds[1] == LEAN_TRY_LOST);
    cr_expect(running.calls == 4 && waiting.calls == 2);
    cr_expect(waiting.failure.status == PV_E_CANCELLED);
    bridge_try(&b, goal, &after, TACTICS("dec"));
    cr_expect(after.kinds[0] == LEAN_TRY_OPEN, "the worker that went on is used again");
    record_release(&running);
    record_release(&after);
    lean_state_unref(goal);
    bridge_end(&b);
}

static void close_from_inside(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                              const pv_error *failure)
{
    bridge *b = user;
    (void)t;
    (void)failure;
    if (index == 0 && tried != NULL) {
        lean_pool_close(b->pool, on_pool_closed, b);
        cr_expect(lean_env_new(b->pool, &b->env, "", NULL, NULL, NULL) == PV_E_CANCELLED);
    }
}

Test(lean_pool, can_be_closed_from_a_callback_and_outlived_by_states, .timeout = 60)
{
    bridge b;
    record other;
    const char *tactics[] = {"dec", "hang"};
    bridge_begin(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    cr_assert(lean_try(goal, tactics, 2, NULL, close_from_inside, &b, NULL) == PV_OK);
    bridge_start_try(goal, &other, TACTICS("dec"));
    bridge_wait(&b, &b.closed);
    cr_expect(other.ended && other.failure.status == PV_E_CANCELLED);
    b.pool = NULL;
    lean_state_unref(goal);
    lean_env_unref(b.env);
    bridge_end(&b);
}

typedef struct posted {
    bridge *b;
    int count;
} posted;

static void on_post(void *user)
{
    ((posted *)user)->count++;
}

static void post_many(void *arg)
{
    posted *p = arg;
    for (int i = 0; i < 1000; i++) {
        cr_assert(lean_pool_post(p->b->pool, on_post, p) == PV_OK);
    }
}

Test(lean_pool, runs_what_other_threads_post, .timeout = 60)
{
    bridge b;
    uv_thread_t threads[3];
    bridge_begin(&b, NULL);
    posted p = {&b, 0};
    bridge_open_pool(&b);
    for (int i = 0; i < 3; i++) {
        cr_assert(uv_thread_create(&threads[i], post_many, &p) == 0);
    }
    bridge_run_for(&b, 50);
    for (int i = 0; i < 3; i++) {
        uv_thread_join(&threads[i]);
    }
    bridge_end(&b);
    cr_expect(p.count == 3000, "%d of 3000 ran", p.count);
}

Test(lean_pool, ignores_debug_lines_and_forged_replies, .timeout = 60)
{
    bridge b;
    record r;
    lean_pool_stats stats;
    bridge_begin(&b, (const char *[]){"--junk", NULL});
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("forge", "garbage", "print {\"id\":7,\"ok\":{}}", "fail"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN && r.kinds[1] == LEAN_TRY_OPEN);
    cr_expect(r.kinds[2] == LEAN_TRY_OPEN && r.kinds[3] == LEAN_TRY_FAILED);
    lean_pool_stats_of(b.pool, &stats);
    cr_expect(stats.stale_lines >= 200, "%llu", (unsigned long long)stats.stale_lines);
    cr_expect(stats.protocol_kills == 0);
    record_release(&r);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_pool, answers_a_thousand_requests_exactly_once_while_workers_are_killed, .timeout = 120)
{
    enum { N = 1000 };

    bridge b;
    record *r = calloc(N, sizeof *r);
    unsigned seed = 1;
    bridge_begin(&b, NULL);
    b.options.workers = 3;
    lean_state *second = NULL;
    lean_state *first = deep_state(&b, &second);
    for (int i = 0; i < N; i++) {
        bridge_start_try(i % 2 == 0 ? first : second, &r[i], TACTICS("dec", "fail", "close"));
    }
    for (int i = 0; i < N; i++) {
        uint64_t until = pv_clock_ms() + 20;
        while (!r[i].ended) {
            uv_run(&b.loop, UV_RUN_ONCE);
            if (pv_clock_ms() > until) {
                int pids[3];
                size_t n = lean_pool_pids(b.pool, pids, 3);
                seed = seed * 1103515245u + 12345u;
                if (n > 0) {
                    kill(pids[(seed >> 16) % n], SIGKILL);
                }
                until = pv_clock_ms() + 400;
            }
        }
        for (int k = 0; k < 3; k++) {
            cr_assert(r[i].answers[k] == 1);
        }
        record_release(&r[i]);
    }
    free(r);
    lean_state_unref(first);
    lean_state_unref(second);
    bridge_end(&b);
}
