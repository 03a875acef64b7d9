/* The store: what it keeps, who gets which attempt, and that processes may end at any moment. */
#define _DEFAULT_SOURCE
#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_mem.h"
#include "store.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_store_XXXXXX";
static char path[64];

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/runs.sqlite", folder);
}

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(store, .init = make_folder, .fini = remove_folder, .timeout = 120);

static pv_error err;

#define OK(call) cr_assert_eq(call, PV_OK, "%s", err.msg)

static store *open_store(void)
{
    store *s = NULL;
    OK(store_open(&s, path, &err));
    return s;
}

static store_run make_run(store *s, size_t problems, uint64_t passes)
{
    problem_list list = {0};
    for (size_t i = 0; i < problems; i++) {
        char name[32], text[128];
        snprintf(name, sizeof name, "p%zu", i);
        snprintf(text, sizeof text, "theorem p%zu : %zu = %zu := by sorry", i, i, i);
        problem p = {.name = name,
                     .split = "valid",
                     .origin = "f:1",
                     .header = "import Init",
                     .text = text,
                     .target = i,
                     .number = 2 * i};
        OK(problem_list_add(&list, &p, &err));
    }
    char file[] = "f.jsonl", settings[] = "{\"nodes\":7}", shard[] = "0/1";
    store_run run = {
        .file = file, .settings = settings, .shard = shard, .passes = passes, .seed = 5};
    strcpy(run.problems_hash, "abc");
    strcpy(run.fingerprint, "def");
    OK(store_run_create(s, &run, &list, &err));
    problem_list_release(&list);
    return run;
}

static store_member join(store *s, const char *run, const char *place)
{
    store_member me;
    OK(store_join(s, run, place, &me, &err));
    return me;
}

static store_next claim(store *s, store_member me, store_claim *out)
{
    store_next next;
    OK(store_claim_next(s, me, out, &next, &err));
    return next;
}

static bool finish(store *s, store_member me, store_claim at, const char *status)
{
    bool kept = false;
    store_result r = {.claim = at,
                      .status = status,
                      .environment = "{\"lean\":\"4\"}",
                      .text_hash = "t",
                      .header_hash = "h",
                      .axioms = "[\"propext\"]",
                      .seed = 9,
                      .stats = {.nodes = 3, .digest = 0xfedcba9876543210u, .lean_seconds = 0.5},
                      .seconds = 1.5,
                      .way = "cut",
                      .samples = 4,
                      .kept = 77};
    OK(store_finish(s, me, &r, &kept, &err));
    return kept;
}

Test(store, keeps_a_run_with_its_problems)
{
    store *s = open_store();
    store_run a = make_run(s, 3, 2), b = make_run(s, 1, 1), found;
    store_close(s);
    s = open_store();
    OK(store_run_find(s, a.id, &found, &err));
    cr_expect_str_eq(found.id, a.id);
    cr_expect_str_eq(found.settings, "{\"nodes\":7}");
    cr_expect_str_eq(found.fingerprint, "def");
    cr_expect(found.passes == 2 && found.seed == 5 && found.problem_count == 3);
    store_run_release(&found);
    OK(store_run_find(s, "", &found, &err));
    cr_expect_str_eq(found.id, b.id);
    store_run_release(&found);
    cr_expect_eq(store_run_find(s, "nothing", &found, &err), PV_E_NOTFOUND);
    cr_expect_not_null(strstr(err.msg, a.id), "%s", err.msg);
    pv_error_clear(&err);
    cr_expect_eq(store_run_find(s, "2", &found, &err), PV_E_NOTFOUND, "both begin so");
    pv_error_clear(&err);
    problem_list list;
    OK(store_run_problems(s, a.id, &list, &err));
    cr_assert_eq(list.count, 3);
    cr_expect_str_eq(list.items[2].text, "theorem p2 : 2 = 2 := by sorry");
    cr_expect(list.items[2].target == 2 && list.items[2].number == 4);
    problem_list_release(&list);
    OK(store_run_lean(s, a.id, "4.9", &err));
    OK(store_run_lean(s, a.id, "4.9", &err));
    cr_expect_eq(store_run_lean(s, a.id, "4.28", &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "4.9"), "%s", err.msg);
    store_close(s);
    cr_expect_eq(pv_mem_live(), 0);
}

static pv_status on_result(void *user, const store_result *r, pv_error *e)
{
    (void)e;
    size_t *count = user;
    cr_expect_str_eq(r->status, "proved");
    cr_expect_str_eq(r->axioms, "[\"propext\"]");
    cr_expect_str_eq(r->environment, "{\"lean\":\"4\"}");
    cr_expect_str_eq(r->header, "import Init");
    cr_expect_null(r->why);
    cr_expect_str_eq(r->way, "cut");
    cr_expect(r->samples == 4 && r->kept == 77);
    cr_expect(r->seed == 9 && r->stats.nodes == 3 && r->stats.digest == 0xfedcba9876543210u);
    cr_expect(r->stats.lean_seconds > 0.4 && r->seconds > 1.4 && r->finished > 1700000000);
    cr_expect_eq(r->claim.problem * 2 + r->claim.pass, *count);
    ++*count;
    return PV_OK;
}

Test(store, gives_each_attempt_to_one_member)
{
    store *s = open_store();
    store_run run = make_run(s, 3, 2);
    store_member a = join(s, run.id, NULL), b = join(s, run.id, NULL);
    store_claim got, last = {0};
    unsigned seen = 0;
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(claim(s, i % 2 == 0 ? a : b, &got), STORE_CLAIMED);
        cr_expect_eq(got.pass, i / 3, "pass by pass");
        seen |= 1u << (got.problem * 2 + got.pass);
        if (i < 5) {
            cr_expect(finish(s, i % 2 == 0 ? a : b, got, "proved"));
        }
        last = got;
    }
    cr_expect_eq(seen, 63);
    cr_expect_eq(claim(s, a, &got), STORE_WAIT);
    cr_expect_not(finish(s, a, last, "proved"), "it is b's");
    OK(store_give_back(s, b, last, &err));
    cr_assert_eq(claim(s, a, &got), STORE_CLAIMED);
    cr_expect(got.problem == last.problem && got.pass == last.pass);
    cr_expect(finish(s, a, got, "proved"));
    cr_expect_not(finish(s, a, got, "proved"), "once");
    cr_expect_eq(claim(s, a, &got), STORE_OVER);
    size_t count = 0;
    OK(store_results(s, run.id, on_result, &count, &err));
    cr_expect_eq(count, 6);
    store_counts n;
    OK(store_count(s, run.id, &n, &err));
    cr_expect(n.attempts == 6 && n.done == 6 && n.claimed == 0 && n.proved == 6);
    cr_expect(n.problems_proved == 3 && n.members == 2 && n.nodes == 18);
    OK(store_leave(s, a, &err));
    OK(store_count(s, run.id, &n, &err));
    cr_expect_eq(n.members, 1);
    store_close(s);
}

/* A member elsewhere is believed for the lease, and one of this machine that was killed not for a moment. */
Test(store, takes_the_claims_of_those_who_are_gone)
{
    store *s = open_store();
    store_run run = make_run(s, 2, 1);
    store_member far = join(s, run.id, "elsewhere|7|7"), me = join(s, run.id, NULL);
    store_claim got, theirs;
    cr_assert_eq(claim(s, far, &theirs), STORE_CLAIMED);
    pid_t child = fork();
    if (child == 0) {
        store *own;
        store_member child_me;
        store_claim c;
        store_next next;
        if (store_open(&own, path, NULL) == PV_OK &&
            store_join(own, run.id, NULL, &child_me, NULL) == PV_OK &&
            store_claim_next(own, child_me, &c, &next, NULL) == PV_OK) {
            kill(getpid(), SIGSTOP);
        }
        _exit(1);
    }
    int status;
    waitpid(child, &status, WUNTRACED);
    cr_assert(WIFSTOPPED(status));
    cr_expect_eq(claim(s, me, &got), STORE_WAIT, "both are at work");
    kill(child, SIGKILL);
    usleep(100000); /* not collected yet: a zombie is as dead */
    cr_assert_eq(claim(s, me, &got), STORE_CLAIMED);
    cr_expect_eq(got.problem, 1);
    waitpid(child, &status, 0);
    cr_expect(finish(s, me, got, "proved"));
    cr_expect_eq(claim(s, me, &got), STORE_WAIT, "the other machine has its lease");
    store_lease(s, 1);
    usleep(20000);
    cr_assert_eq(claim(s, me, &got), STORE_CLAIMED);
    cr_expect_eq(got.problem, theirs.problem);
    OK(store_beat(s, far, &err));
    cr_expect_not(finish(s, far, theirs, "proved"), "it slept too long");
    cr_expect(finish(s, me, got, "not proved"));
    cr_expect_eq(claim(s, me, &got), STORE_OVER);
    store_close(s);
}

/* Works on the run until it is over; appends what it finished to the file. */
static void work(const char *run, int log)
{
    store *s;
    store_member me;
    if (store_open(&s, path, &err) != PV_OK || store_join(s, run, NULL, &me, &err) != PV_OK) {
        _exit(2);
    }
    for (;;) {
        store_claim c;
        store_next next;
        bool kept = false;
        if (store_claim_next(s, me, &c, &next, &err) != PV_OK) {
            _exit(3);
        }
        if (next == STORE_OVER) {
            _exit(0);
        }
        usleep(next == STORE_WAIT ? 5000 : 500);
        store_result r = {.claim = c, .status = "proved", .environment = "{}"};
        if (next == STORE_CLAIMED && store_finish(s, me, &r, &kept, &err) != PV_OK) {
            _exit(4);
        }
        if (kept) {
            char line[32];
            int n = snprintf(line, sizeof line, "%zu %d\n", c.problem, (int)c.pass);
            if (write(log, line, (size_t)n) != n) {
                _exit(5);
            }
        }
    }
}

/* Four processes, of which one is killed every few milliseconds and another takes its place. */
Test(store, processes_may_end_at_any_moment)
{
    enum { PROBLEMS = 40, PASSES = 10, WORKERS = 4, KILLS = 60 };

    store *s = open_store();
    store_run run = make_run(s, PROBLEMS, PASSES);
    store_close(s);
    char log_path[80];
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    int log = open(log_path, O_CREAT | O_RDWR | O_APPEND, 0600);
    pid_t workers[WORKERS] = {0};
    uint64_t seed = pv_clock_ns();
    for (int i = 0; i < KILLS + WORKERS; i++) {
        pid_t *slot = &workers[pv_mix64(seed + (uint64_t)i) % WORKERS];
        slot = i < WORKERS ? &workers[i] : slot;
        if (*slot != 0) {
            int status;
            kill(*slot, SIGKILL);
            waitpid(*slot, &status, 0);
            cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "%d", status);
        }
        *slot = fork();
        if (*slot == 0) {
            work(run.id, log);
        }
        usleep((useconds_t)(pv_mix64(seed ^ (uint64_t)i) % 20000));
    }
    for (int i = 0; i < WORKERS; i++) {
        int status;
        waitpid(workers[i], &status, 0);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d (seed %llu)", status,
                  (unsigned long long)seed);
    }
    unsigned char times[PROBLEMS * PASSES] = {0};
    FILE *lines = fopen(log_path, "r");
    for (unsigned p, k; fscanf(lines, "%u %u", &p, &k) == 2;) {
        times[p * PASSES + k]++;
        cr_expect_eq(times[p * PASSES + k], 1, "%u %u has two results", p, k);
    }
    fclose(lines);
    close(log);
    s = open_store();
    store_counts n;
    OK(store_count(s, run.id, &n, &err));
    cr_expect(n.done == PROBLEMS * PASSES && n.proved == n.done && n.claimed == 0, "%llu done",
              (unsigned long long)n.done);
    store_close(s);
}

/* Many processes that make the file at the same moment. */
Test(store, is_made_once_by_many)
{
    enum { PROCESSES = 12, ROUNDS = 15 };

    for (int round = 0; round < ROUNDS; round++) {
        snprintf(path, sizeof path, "%s/new%d.sqlite", folder, round);
        for (int i = 0; i < PROCESSES; i++) {
            if (fork() == 0) {
                store *s;
                _exit(store_open(&s, path, NULL) == PV_OK ? 0 : 1);
            }
        }
        for (int i = 0, status; i < PROCESSES; i++) {
            cr_assert_neq(wait(&status), -1);
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", status);
        }
    }
}

static void refuses(pv_status status, const char *says)
{
    store *s = NULL;
    pv_error_clear(&err);
    cr_expect_eq(store_open(&s, path, &err), status);
    cr_expect_not_null(strstr(err.msg, says), "%s", err.msg);
    cr_expect_eq(pv_mem_live(), 0);
}

static void script(const char *sql)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

Test(store, says_what_is_wrong_with_a_file)
{
    store_close(open_store());
    script("PRAGMA user_version = 99");
    refuses(PV_E_INVALID, "newer prover");
    unlink(path);
    script("CREATE TABLE t(x)");
    refuses(PV_E_INVALID, "another program");
    unlink(path);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++) {
        fputs("this is no database ", file);
    }
    fclose(file);
    refuses(PV_E_INVALID, "no store of runs");
    strcat(path, "/below/runs.sqlite");
    refuses(PV_E_IO, "is the folder there");
}
