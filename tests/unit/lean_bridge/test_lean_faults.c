/* What the pool does about workers that misbehave. The deadline is short; the fake obeys. */
#include "bridge_fixture.h"

#include <dirent.h>

static void begin_faulty(bridge *b, const char *const *args)
{
    bridge_begin(b, args);
    b->options.deadline_ms = 400;
    b->options.memory_max_bytes = UINT64_C(1) << 30;
}

/* Tries the fault between two good tactics and expects `kind` for it, and that the rest is answered. */
static void expect_fault(const char *tactic, lean_try_kind kind, const char *text)
{
    bridge b;
    record r;
    begin_faulty(&b, NULL);
    if (kind != LEAN_TRY_TIMED_OUT) {
        b.options.deadline_ms = 20000; /* what is found out sooner needs no deadline */
    }
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("dec", tactic, "close"));
    cr_expect(r.failure.status == PV_OK, "%s: %s", tactic, r.failure.msg);
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN, "%s", tactic);
    cr_expect(r.kinds[1] == kind, "%s: kind %d, %s", tactic, (int)r.kinds[1], r.texts[1]);
    cr_expect(r.kinds[2] == LEAN_TRY_CLOSED, "%s", tactic);
    cr_expect(strstr(r.texts[1], text) != NULL, "%s: %s", tactic, r.texts[1]);
    record_release(&r);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_faults, a_tactic_that_hangs_is_timed_out_and_the_rest_is_tried, .timeout = 60)
{
    expect_fault("hang", LEAN_TRY_TIMED_OUT, "400 ms");
}

Test(lean_faults, a_tactic_that_kills_the_worker_is_lost_with_the_reason, .timeout = 60)
{
    expect_fault("die", LEAN_TRY_LOST, "dying as told");
}

Test(lean_faults, a_tactic_that_crashes_the_worker_is_lost, .timeout = 60)
{
    expect_fault("segv", LEAN_TRY_LOST, "the Lean process");
}

Test(lean_faults, a_worker_that_floods_is_killed, .timeout = 120)
{
    expect_fault("flood", LEAN_TRY_LOST, "no reply");
}

Test(lean_faults, a_worker_that_floods_with_json_is_ended, .timeout = 120)
{
    bridge b;
    record r;
    begin_faulty(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("flood-json", "close"));
    cr_expect(r.kinds[0] == LEAN_TRY_TIMED_OUT || r.kinds[0] == LEAN_TRY_LOST);
    cr_expect(r.kinds[1] == LEAN_TRY_CLOSED);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_faults, an_endless_line_is_killed, .timeout = 120)
{
    expect_fault("endless", LEAN_TRY_LOST, "longer than");
}

Test(lean_faults, huge_nesting_is_refused_before_it_is_parsed, .timeout = 60)
{
    expect_fault("deep", LEAN_TRY_LOST, "nested deeper");
}

Test(lean_faults, a_reply_cut_short_is_a_death, .timeout = 60)
{
    expect_fault("truncate", LEAN_TRY_LOST, "exit code 0");
}

Test(lean_faults, a_worker_that_closes_its_output_is_killed, .timeout = 60)
{
    expect_fault("mute", LEAN_TRY_LOST, "closed its output");
}

Test(lean_faults, an_ill_formed_reply_with_the_right_id_is_killed, .timeout = 60)
{
    expect_fault("wrong", LEAN_TRY_LOST, "ill-formed");
}

Test(lean_faults, a_tactic_that_eats_memory_is_timed_out, .timeout = 60)
{
    bridge b;
    record r;
    lean_pool_stats stats;
    begin_faulty(&b, NULL);
    b.options.deadline_ms = 20000;
    b.options.memory_max_bytes = UINT64_C(300) << 20;
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("eat 600", "close"));
    lean_pool_stats_of(b.pool, &stats);
    cr_expect(r.kinds[0] == LEAN_TRY_TIMED_OUT && r.kinds[1] == LEAN_TRY_CLOSED);
    cr_expect(stats.memory_kills == 1 && stats.deadline_kills == 0);
    cr_expect(strstr(r.texts[0], "MiB") != NULL, "%s", r.texts[0]);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_faults, a_death_under_a_tactic_is_tried_once_more, .timeout = 60)
{
    bridge b;
    record r;
    char tactic[128];
    begin_faulty(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    snprintf(tactic, sizeof tactic, "die-once %s/died", b.folder);
    bridge_try(&b, goal, &r, TACTICS("dec", tactic, "close"));
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN && r.kinds[1] == LEAN_TRY_OPEN);
    cr_expect(r.kinds[2] == LEAN_TRY_CLOSED);
    record_release(&r);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_faults, a_server_that_lost_a_state_is_given_it_again, .timeout = 60)
{
    bridge b;
    record r;
    char tactic[128];
    begin_faulty(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    snprintf(tactic, sizeof tactic, "forget-once %s/forgot", b.folder);
    bridge_try(&b, goal, &r, TACTICS(tactic, "close"));
    cr_expect(r.failure.status == PV_OK, "%s", r.failure.msg);
    cr_expect(r.kinds[0] == LEAN_TRY_FAILED && r.kinds[1] == LEAN_TRY_CLOSED);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_faults, an_internal_fault_of_the_server_fails_the_request, .timeout = 60)
{
    bridge b;
    record r;
    begin_faulty(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("dec", "internal", "dec"));
    cr_expect(r.failure.status == PV_E_PROTOCOL, "%s", r.failure.msg);
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN && r.kinds[1] == LEAN_TRY_LOST);
    record_release(&r);
    lean_state_unref(goal);
    bridge_end(&b);
}

static bool is_alive(int pid)
{
    char path[64];
    char state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        cr_expect(fscanf(file, "%*d %*s %c", &state) == 1);
        fclose(file);
    }
    return state != 'X' && state != 'Z';
}

Test(lean_faults, no_process_that_a_tactic_left_behind_survives, .timeout = 60)
{
    bridge b;
    record r;
    char tactic[128];
    char path[96];
    int pid = 0;
    begin_faulty(&b, (const char *[]){"--ignore-term", NULL});
    lean_state *goal = bridge_goal(&b, 9);
    snprintf(path, sizeof path, "%s/orphan", b.folder);
    snprintf(tactic, sizeof tactic, "orphan %s", path);
    bridge_try(&b, goal, &r, TACTICS(tactic));
    record_release(&r);
    FILE *file = fopen(path, "r");
    cr_assert(file != NULL && fscanf(file, "%d", &pid) == 1);
    fclose(file);
    cr_expect(is_alive(pid), "it has left the group and the session, and lives");
    lean_state_unref(goal);
    bridge_close_pool(&b);
    for (int i = 0; i < 50 && is_alive(pid); i++) {
        bridge_run_for(&b, 10);
    }
    cr_expect(!is_alive(pid), "process %d survived its worker", pid);
    bridge_end(&b);
}

Test(lean_faults, a_start_that_fails_is_repeated_with_patience, .timeout = 60)
{
    bridge b;
    char starts[96];
    snprintf(starts, sizeof starts, "/tmp/prover-starts-%d", (int)getpid());
    begin_faulty(&b, (const char *[]){"--starts", starts, "--fail-starts", "3", NULL});
    lean_state *goal = bridge_goal(&b, 9);
    lean_state_unref(goal);
    bridge_end(&b);
    unlink(starts);
}

static void expect_no_start(const char *const *args, const char *text)
{
    bridge b;
    record r = {0};
    record later = {0};
    lean_env *again = NULL;
    begin_faulty(&b, args);
    b.options.restarts_max = 2;
    b.options.workers = 2;
    b.options.start_deadline_ms = 300;
    bridge_open_pool(&b);
    cr_assert(lean_env_new(b.pool, &b.env, "", on_env, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == PV_E_SPAWN);
    cr_expect(strstr(r.failure.msg, text) != NULL, "%s", r.failure.msg);
    cr_assert(lean_env_new(b.pool, &again, "open Nat", on_env, &later, NULL) == PV_OK);
    bridge_wait(&b, &later.ended);
    cr_expect(later.failure.status == PV_E_SPAWN);
    lean_env_unref(again);
    bridge_end(&b);
}

Test(lean_faults, a_worker_that_cannot_start_fails_requests_with_its_last_words, .timeout = 60)
{
    expect_no_start((const char *[]){"--die-at-start", NULL}, "no Lean here");
}

Test(lean_faults, a_worker_that_does_not_greet_fails_requests, .timeout = 60)
{
    expect_no_start((const char *[]){"--no-hello", NULL}, "did not become ready");
}

Test(lean_faults, a_worker_of_another_protocol_fails_requests, .timeout = 60)
{
    expect_no_start((const char *[]){"--protocol", "2", NULL}, "protocol 2");
}

Test(lean_faults, a_program_that_is_not_there_fails_requests, .timeout = 60)
{
    bridge b;
    record r = {0};
    bridge_begin_with(&b, "no_such_program", LEAN_DIALECT_PROVER, NULL);
    b.options.restarts_max = 2;
    bridge_open_pool(&b);
    cr_assert(lean_env_new(b.pool, &b.env, "", on_env, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == PV_E_SPAWN, "%s", r.failure.msg);
    bridge_end(&b);
}

Test(lean_faults, a_slow_start_is_waited_for, .timeout = 60)
{
    bridge b;
    begin_faulty(&b, (const char *[]){"--start-ms", "700", NULL});
    lean_state *goal = bridge_goal(&b, 9);
    lean_state_unref(goal);
    bridge_end(&b);
}

static void expect_check_failure(const char *candidate, pv_status status)
{
    bridge b;
    record r = {0};
    begin_faulty(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    lean_check_request request = {.original = "sorry", .candidate = candidate, .deadline_ms = 300};
    cr_assert(lean_check(b.env, &request, NULL, on_check, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == status, "%s", r.failure.msg);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_faults, a_check_that_hangs_ends_with_a_timeout, .timeout = 60)
{
    expect_check_failure("hang", PV_E_TIMEOUT);
}

Test(lean_faults, a_check_that_kills_two_workers_is_lost, .timeout = 60)
{
    expect_check_failure("die", PV_E_LOST);
}

Test(lean_faults, a_state_that_cannot_be_made_again_in_time_fails_its_request, .timeout = 60)
{
    bridge b;
    record r;
    begin_faulty(&b, NULL);
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("slow 300"));
    lean_state *after = lean_state_ref(r.states[0]);
    record_release(&r);
    lean_state_unref(goal);
    for (int i = 0; i < 2; i++) { /* a replay within the deadline works */
        int pid = 0;
        lean_pool_pids(b.pool, &pid, 1);
        kill(pid, SIGKILL);
        bridge_try(&b, after, &r, TACTICS("dec"));
        cr_expect(r.kinds[0] == LEAN_TRY_OPEN, "%s", r.texts[0]);
        record_release(&r);
    }
    lean_state_unref(after);
    bridge_end(&b);
}

/* Processes with `word` in their command line. */
static int count_processes(const char *word)
{
    int found = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[300];
        char line[4096];
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (file != NULL) {
            size_t n = fread(line, 1, sizeof line - 1, file);
            line[n] = '\0';
            for (size_t at = 0; at < n; at += strlen(line + at) + 1) {
                found += strcmp(line + at, word) == 0;
            }
            fclose(file);
        }
    }
    closedir(dir);
    return found;
}

Test(lean_faults, nothing_in_a_sandbox_survives_its_worker, .timeout = 60)
{
    bridge b;
    record r;
    char word[64];
    snprintf(word, sizeof word, "--test-%d", (int)getpid());
    begin_faulty(&b, (const char *[]){"--ignore-term", word, NULL});
    cr_assert(lean_sandbox_probe(&b.sandbox, "/usr/bin:/bin", false, NULL) == PV_OK);
    if (!b.sandbox.active) {
        cr_skip_test("bubblewrap does not work here");
    }
    lean_state *goal = bridge_goal(&b, 9);
    bridge_try(&b, goal, &r, TACTICS("orphan /tmp/orphan"));
    record_release(&r);
    cr_expect(count_processes(word) >= 2, "a worker and what it left behind");
    bridge_try(&b, goal, &r, TACTICS("hang", "close"));
    cr_expect(r.kinds[0] == LEAN_TRY_TIMED_OUT && r.kinds[1] == LEAN_TRY_CLOSED);
    lean_state_unref(goal);
    bridge_close_pool(&b);
    cr_expect(count_processes(word) == 0, "%d processes survived", count_processes(word));
    lean_sandbox_release(&b.sandbox);
    bridge_end(&b);
}
