/* prover bench on a real Lean: what a run keeps, that it goes on after any end, and that others may join it. */
#define _DEFAULT_SOURCE
#include "command.h"
#include "folder.h"

#include "pv_hash.h"
#include "pv_sha256.h"

static const char ROWS[] =
    "{\"name\":\"swap_and\",\"split\":\"valid\",\"header\":\"\",\"formal_statement\":\"theorem "
    "swap_and (p q : "
    "Prop) (h : p ∧ q) : q ∧ p := by sorry\"}\n"
    "{\"name\":\"steps\",\"split\":\"valid\",\"formal_statement\":\"theorem steps (f : Nat → Nat) "
    "(h : ∀ x, f x "
    "= 0) (p : Nat → Prop) (hp : ∀ x, f x = 0 → p x) : p 3 ∧ (p 4 ∨ False) := by\\n\"}\n"
    "{\"name\":\"false_one\",\"split\":\"test\",\"formal_statement\":\"theorem false_one (a b : "
    "Nat) (f : Nat → "
    "Nat) : f a = f b := by sorry\"}\n"
    "{\"name\":\"broken\",\"split\":\"test\",\"formal_statement\":\"theorem broken (a : Nat) : a = "
    "b + a := by "
    "sorry +\"}\n"
    "{\"name\":\"sum\",\"split\":\"valid\",\"header\":\"open "
    "Nat\\n\",\"formal_statement\":\"theorem sum (a b c : "
    "Nat) (h : a + b = c) : c - b = succ a - 1\"}\n"
    "{\"name\":\"divides\",\"split\":\"valid\",\"formal_statement\":\"theorem divides (a b c : "
    "Nat) (h : a ∣ b) "
    "(h2 : a ∣ c) : a ∣ b + c := sorry\"}\n";

static void make_problems(void)
{
    make_folder();
    write_file(in_folder("p.jsonl"), ROWS);
}

TestSuite(bench, .init = make_problems, .fini = remove_folder, .timeout = 890);

/* States and heartbeats decide, not time: a tactic has a minute. */
#define LIMITS                                                                                     \
    "--policy", "portfolio", "--budget", "nodes=30", "--heartbeats", "3000", "--tactic-timeout",   \
        "60", "--seed", "7"
#define BENCH(store, ...)                                                                          \
    RUN(NULL, PROVER, "bench", "--store", in_folder(store), "--json", __VA_ARGS__)

/* The rows that a run prints, the summary last. */
static json_t *rows_of(const command_result *r)
{
    json_t *rows = json_array();
    const char *line = pv_buf_text(&r->out);
    while (*line != '\0') {
        size_t n = strcspn(line, "\n");
        json_t *row = json_loadb(line, n, 0, NULL);
        cr_assert_not_null(row, "%s", line);
        json_array_append_new(rows, row);
        line += n + (line[n] == '\n');
    }
    cr_assert_gt(json_array_size(rows), 0, "%s", pv_buf_text(&r->err));
    return rows;
}

static const json_t *summary_of(const json_t *rows)
{
    return json_array_get(rows, json_array_size(rows) - 1);
}

static const json_t *row_of(const json_t *rows, const char *problem, int pass)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (strcmp(json_text(row, "problem"), problem) == 0 &&
            json_integer_value(json_object_get(row, "pass")) == pass) {
            return row;
        }
    }
    cr_assert_fail("no row of %s, pass %d", problem, pass);
    return NULL;
}

/* What must not depend on when and where a result was made: problem by problem. */
static json_t *essence(const json_t *rows)
{
    static const char *const keys[] = {"status", "why",  "text",
                                       "level",  "seed", "statement_sha256"};
    json_t *out = json_object();
    for (size_t i = 0; i + 1 < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        json_t *part = json_object();
        char name[64];
        snprintf(name, sizeof name, "%s %lld", json_text(row, "problem"),
                 (long long)json_integer_value(json_object_get(row, "pass")));
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            json_object_set(part, keys[k], json_object_get(row, keys[k]));
        }
        json_object_set(part, "digest", json_object_get(json_object_get(row, "search"), "digest"));
        cr_expect_null(json_object_get(out, name), "%s has two results", name);
        json_object_set_new(out, name, part);
    }
    return out;
}

static void expect_same(const json_t *a, const json_t *b)
{
    json_t *x = essence(a), *y = essence(b);
    const char *name;
    json_t *part;
    cr_expect_eq(json_object_size(x), json_object_size(y));
    json_object_foreach(x, name, part)
    {
        const json_t *other = json_object_get(y, name);
        cr_expect(json_equal(part, (json_t *)other), "%s: %s\n%s", name, json_dumps(part, 0),
                  json_dumps(other, 0));
    }
    json_decref(x);
    json_decref(y);
}

Test(bench, writes_what_a_result_stands_on)
{
    command_result r = BENCH("a.sqlite", in_folder("p.jsonl"), "--workers", "2", "--pass", "2",
                             "--header", "set_option autoImplicit false", LIMITS);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *rows = rows_of(&r);
    cr_assert_eq(json_array_size(rows), 13);
    const json_t *sum = row_of(rows, "sum", 1), *all = summary_of(rows);
    cr_expect_str_eq(json_text(sum, "status"), "proved");
    cr_expect_str_eq(json_text(sum, "level"), "replayed");
    cr_expect_str_eq(json_text(sum, "header"), "open Nat\n");
    cr_expect_not_null(strstr(json_text(sum, "text"), "theorem sum (a b c : Nat)"));
    cr_expect_str_eq(
        json_text(sum, "statement"),
        "theorem sum (a b c : Nat) (h : a + b = c) : c - b = succ a - 1 := by\n  sorry");
    char hash[PV_SHA256_TEXT];
    pv_sha256_of(json_text(sum, "statement"), strlen(json_text(sum, "statement")), hash);
    cr_expect_str_eq(json_text(sum, "statement_sha256"), hash);
    const json_t *environment = json_object_get(sum, "environment");
    cr_expect_str_eq(json_text(environment, "policy"), "portfolio");
    cr_expect_not_null(strchr(json_text(environment, "lean"), '.'));
    cr_expect_str_eq(json_text(json_object_get(environment, "settings"), "--budget"), "nodes=30");
    cr_expect_str_eq(json_text(json_object_get(environment, "settings"), "--seed"), "7");
    cr_expect_neq(json_integer_value(json_object_get(sum, "seed")),
                  json_integer_value(json_object_get(row_of(rows, "sum", 0), "seed")));
    cr_expect_str_eq(json_text(row_of(rows, "false_one", 0), "status"), "not proved");
    cr_expect_str_eq(json_text(row_of(rows, "broken", 0), "status"), "error");
    cr_expect_not_null(strstr(json_text(row_of(rows, "broken", 0), "why"), "Lean says"));
    cr_expect_str_eq(json_text(row_of(rows, "divides", 0), "status"), "proved");
    cr_expect_eq(json_integer_value(json_object_get(all, "solved")), 4);
    cr_expect_eq(json_integer_value(json_object_get(all, "errors")), 2);
    const json_t *first = json_array_get(json_object_get(all, "pass_at_k"), 0);
    cr_expect_float_eq(json_number_value(json_object_get(first, "value")), 4.0 / 6, 1e-9);

    /* a run that is over is only shown, without Lean */
    command_result again = BENCH("a.sqlite", "--resume");
    cr_assert_eq(again.code, 0, "%s", pv_buf_text(&again.err));
    cr_expect_str_eq(pv_buf_text(&again.out), pv_buf_text(&r.out));
    cr_expect_lt(again.seconds, 5);
    command_release(&again);
    again = BENCH("a.sqlite", "--resume", "--seed", "8");
    cr_expect_eq(again.code, 2);
    cr_expect_not_null(strstr(pv_buf_text(&again.err), "has --seed 7"), "%s",
                       pv_buf_text(&again.err));
    command_release(&again);
    json_decref(rows);
    command_release(&r);
}

static pid_t start(char *const argv[])
{
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execv(argv[0], argv);
        _exit(127);
    }
    return child;
}

/* Ends the process by SIGKILL after so long, unless it has ended by itself. */
static void kill_after(pid_t child, unsigned ms)
{
    int status = 0;
    for (unsigned waited = 0; waited < ms; waited += 20) {
        if (waitpid(child, &status, WNOHANG) == child) {
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", status);
            return;
        }
        usleep(20000);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
}

/* Killed 20 times at random moments and resumed: the table of a run that nobody disturbed, problem by problem. */
enum { KILLS = 8 };

Test(bench, loses_and_doubles_nothing_when_killed)
{
    command_result r = BENCH("whole.sqlite", in_folder("p.jsonl"), "--workers", "2", LIMITS);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *whole = rows_of(&r);
    unsigned took = (unsigned)(r.seconds * 1000);
    command_release(&r);
    char store[128];
    snprintf(store, sizeof store, "%s", in_folder("killed.sqlite"));
    char *first[] = {PROVER, "bench", in_folder("p.jsonl"), "--store", store, "--workers", "2",
                     LIMITS, NULL};
    char *other[] = {PROVER, "bench", "--resume", "--store", store, "--workers", "2", NULL};
    uint64_t seed = pv_clock_ns();
    for (unsigned i = 0; i < KILLS; i++) {
        unsigned ms = 40 + (unsigned)(pv_mix64(seed + i) % (took < 20000 ? took : 20000));
        kill_after(start(i == 0 ? first : other), i == 0 ? ms + 300 : ms);
    }
    r = BENCH("killed.sqlite", "--resume", "--workers", "2");
    cr_assert_eq(r.code, 0, "%s (seed %llu)", pv_buf_text(&r.err), (unsigned long long)seed);
    json_t *killed = rows_of(&r);
    cr_expect_eq(json_array_size(killed), 7);
    expect_same(whole, killed);
    command_release(&r);
    json_decref(whole);
    json_decref(killed);
}

/* Three processes on one run, one of them killed: the others do its work. Shards in stores of their own are parts of one benchmark. */
Test(bench, others_join_and_shards_are_parts)
{
    char store[128];
    snprintf(store, sizeof store, "%s", in_folder("joint.sqlite"));
    char *first[] = {PROVER, "bench", in_folder("p.jsonl"), "--store", store, "--workers", "1",
                     LIMITS, NULL};
    pid_t one = start(first);
    command_result r = {0};
    for (int i = 0; i < 100 && r.code != 2; i++) { /* until the run is there */
        usleep(50000);
        command_release(&r);
        r = BENCH("joint.sqlite", "--resume", "--seed", "99");
    }
    command_release(&r);
    pid_t two =
        start((char *[]){PROVER, "bench", "--resume", "--store", store, "--workers", "1", NULL});
    usleep(4000000);
    kill(one, SIGKILL);
    r = BENCH("joint.sqlite", "--resume", "--workers", "1");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    int status;
    waitpid(one, &status, 0);
    waitpid(two, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    json_t *joint = rows_of(&r), *parts = json_array(), *summary = NULL;
    cr_expect_eq(json_array_size(joint), 7);
    command_release(&r);
    for (int i = 0; i < 2; i++) {
        r = BENCH(i == 0 ? "0.sqlite" : "1.sqlite", in_folder("p.jsonl"), "--workers", "2",
                  "--shard", i == 0 ? "0/2" : "1/2", LIMITS);
        cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
        json_t *rows = rows_of(&r);
        cr_expect_eq(json_array_size(rows), 4);
        cr_expect_str_eq(json_text(summary_of(rows), "fingerprint"),
                         json_text(summary_of(joint), "fingerprint"));
        summary = json_incref((json_t *)summary_of(rows));
        json_array_remove(rows, json_array_size(rows) - 1);
        json_array_extend(parts, rows);
        json_decref(rows);
        command_release(&r);
        if (i == 0) {
            json_decref(summary);
        }
    }
    json_array_append_new(parts, summary);
    expect_same(joint, parts);
    json_decref(joint);
    json_decref(parts);
}

/* One whole proof that compiles, one with a good beginning in a nested block, one that the gate refuses, one that is gone on from twice,
 * one that claims another statement: the statement is always the user's. */
Test(bench, whole_proofs_are_judged_or_cut_and_gone_on_from)
{
    static const char rows[] =
        "{\"name\":\"ok\",\"formal_statement\":\"theorem ok (p q : Prop) (h : p ∧ q) : q ∧ p := by "
        "sorry\"}\n"
        "{\"name\":\"nested\",\"formal_statement\":\"theorem nested (a b c : Nat) (h : a + b = c) "
        "(f : Nat → Nat) (hf : "
        "∀ n, f (n+1) = f n + 2) : c - b = a ∧ f 2 = f 0 + 4 := by sorry\"}\n"
        "{\"name\":\"gated\",\"formal_statement\":\"theorem gated (a : Nat) : a + 0 = a := "
        "by\\n\"}\n"
        "{\"name\":\"rounds\",\"formal_statement\":\"theorem rounds (p q : Prop) (hp : p) (hq : q) "
        ": p "
        "∧ q ∧ p := sorry\"}\n"
        "{\"name\":\"false_one\",\"formal_statement\":\"theorem false_one (a b : Nat) : a = b := "
        "by sorry\"}\n";
    static const char proofs[] =
        "{\"name\":\"ok\",\"output\":\"nothing to say\"}\n"
        "{\"name\":\"ok\",\"output\":\"Sure:\\n```lean4\\ntheorem ok : False := by\\n  exact ⟨h.2, "
        "h.1⟩\\n```\"}\n"
        "{\"name\":\"nested\",\"code\":\"theorem nested : x := by\\n  have h1 : c - b = a := by\\n "
        "   rw [← h]\\n    "
        "nlinarith [sq_nonneg a]\\n  have h2 : f 1 = f 0 + 2 := hf 0\\n  simp\"}\n"
        "{\"name\":\"gated\",\"code\":\"theorem gated : x := by\\n  have h : a = a := rfl\\n  "
        "native_decide\"}\n"
        "{\"name\":\"rounds\",\"code\":\"theorem rounds : x := by\\n  have one : q ∧ p := by\\n    "
        "exact ⟨hq, hp⟩\\n  exact "
        "absent\"}\n"
        "{\"name\":\"rounds\",\"after\":\"exact ⟨hq, hp⟩\",\"code\":\"  have two : p := hp\\n  "
        "exact absent\\n```\"}\n"
        "{\"name\":\"rounds\",\"after\":\"have two : p := hp\",\"code\":\"  exact ⟨two, "
        "one⟩\\n```\"}\n"
        "{\"name\":\"false_one\",\"code\":\"theorem false_one (a : Nat) : a = a := by\\n  rfl\"}\n";
    cr_assert_eq(pv_file_replace(in_folder("w.jsonl"), rows, strlen(rows), NULL), PV_OK);
    cr_assert_eq(pv_file_replace(in_folder("o.jsonl"), proofs, strlen(proofs), NULL), PV_OK);
    command_result r =
        BENCH("whole.sqlite", in_folder("w.jsonl"), "--workers", "2", "--mode", "both", "--proofs",
              in_folder("o.jsonl"), "--whole-rounds", "6", LIMITS);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *out = rows_of(&r);
    const json_t *ok = row_of(out, "ok", 0), *nested = row_of(out, "nested", 0),
                 *gated = row_of(out, "gated", 0), *wrong = row_of(out, "false_one", 0);
    cr_expect_str_eq(json_text(ok, "status"), "proved");
    cr_expect_str_eq(json_text(ok, "way"), "whole");
    cr_expect_str_eq(json_text(ok, "text"), "theorem ok (p q : Prop) (h : p ∧ q) : q ∧ p := by \n  "
                                            "exact ⟨h.2, h.1⟩");
    cr_expect_eq(json_integer_value(json_object_get(ok, "samples")), 2);
    cr_expect_str_eq(json_text(nested, "status"), "proved");
    cr_expect_str_eq(json_text(nested, "way"), "cut");
    cr_expect_not_null(
        strstr(json_text(nested, "text"), "\n  have h1 : c - b = a := by\n    rw [← h]\n    "),
        "%s", json_text(nested, "text"));
    cr_expect_str_eq(json_text(gated, "status"), "proved");
    cr_expect_str_eq(json_text(gated, "way"), "cut");
    cr_expect_not_null(strstr(json_text(gated, "text"), "have h : a = a := rfl\n"));
    cr_expect_null(strstr(json_text(gated, "text"), "native_decide"));
    const json_t *rounds = row_of(out, "rounds", 0);
    cr_expect_str_eq(json_text(rounds, "way"), "whole");
    cr_expect_eq(json_integer_value(json_object_get(rounds, "samples")), 3);
    cr_expect_not_null(
        strstr(json_text(rounds, "text"), "⟩\n  have two : p := hp\n  exact ⟨two, one⟩"), "%s",
        json_text(rounds, "text"));
    cr_expect_str_eq(json_text(wrong, "status"), "not proved");
    json_decref(out);
    command_release(&r);
}

/* Six tactics that each stay within the heartbeats of one: the judge, which elaborates them together, must not refuse them for it. */
Test(bench, the_judge_has_heartbeats_for_a_whole_proof)
{
    static const char row[] = "{\"name\":\"hb\",\"formal_statement\":\"theorem hb : (∀ i : Fin 60, "
                              "i.val * i.val < 3600) ∧ (∀ i : "
                              "Fin 61, i.val * i.val < 3721) ∧ (∀ i : Fin 62, i.val * i.val < "
                              "3844) ∧ (∀ i : Fin 63, i.val * i.val < "
                              "3969) ∧ (∀ i : Fin 64, i.val * i.val < 4096) ∧ (∀ i : Fin 65, i.val "
                              "* i.val < 4225) := by sorry\"}\n";
    cr_assert_eq(pv_file_replace(in_folder("hb.jsonl"), row, sizeof row - 1, NULL), PV_OK);
    command_result r =
        BENCH("hb.sqlite", in_folder("hb.jsonl"), "--policy", "portfolio", "--budget", "nodes=40",
              "--heartbeats", "1000", "--tactic-timeout", "60", "--workers", "1");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *rows = rows_of(&r);
    cr_expect_str_eq(json_text(row_of(rows, "hb", 0), "status"), "proved", "%s",
                     json_text(row_of(rows, "hb", 0), "why"));
    json_decref(rows);
    command_release(&r);
}

/* Ctrl-C: what was found so far is shown, the claims are given back, and the run says how it goes on. */
Test(bench, an_interrupted_run_says_how_it_goes_on)
{
    command_options interrupt = {.interrupt_after = 5};
    command_result r =
        RUN(&interrupt, PROVER, "bench", in_folder("p.jsonl"), "--store", in_folder("i.sqlite"),
            "--json", "--workers", "1", "--pass", "50", LIMITS);
    cr_expect_eq(r.code, 1, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "--resume"), "%s", pv_buf_text(&r.err));
    json_t *rows = rows_of(&r);
    const json_t *end = summary_of(rows);
    cr_expect(json_is_false(json_object_get(end, "complete")));
    cr_expect_eq(json_array_size(rows) - 1, json_integer_value(json_object_get(end, "attempts")));
    json_decref(rows);
    command_release(&r);
    r = BENCH("i.sqlite", "--resume", "--workers", "1", "--minutes", "0.01");
    cr_expect_eq(r.code, 1);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "of 300 attempts are done"), "%s",
                       pv_buf_text(&r.err));
    command_release(&r);
}

Test(bench, says_what_is_wrong)
{
    static const struct {
        char *args[5];
        const char *says;
    } cases[] = {
        {{"--budget", "nodes=30"}, "takes one argument"},
        {{"p.jsonl", "--budget", "nodes"}, "NAME=NUMBER"},
        {{"p.jsonl", "--budget", "hours=3"}, "the limits are"},
        {{"p.jsonl", "--split", "train"}, "none of 6 problems has the split train"},
        {{"p.jsonl", "--shard", "3/3"}, "I/N"},
        {{"p.jsonl", "--policy", "oracle"}, "the policies are"},
        {{"p.jsonl", "--mode", "poem"}, "the modes are"},
        {{"p.jsonl", "--mode", "whole", "--policy", "portfolio"}, "needs whole proofs"},
        {{"p.jsonl", "--proofs", "p.jsonl"}, "goes with --mode whole"},
        {{"none.jsonl"}, "none.jsonl"},
        {{"--resume", "nothing"}, "no run"},
        {{"p.jsonl", "--store", "/nowhere/x.sqlite"}, "/nowhere/x.sqlite"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[12] = {PROVER, "bench", "--store", in_folder("w.sqlite")};
        for (size_t k = 0; k < 5 && cases[i].args[k] != NULL; k++) {
            char *arg = cases[i].args[k];
            argv[4 + k] = strstr(arg, ".jsonl") != NULL ? in_folder(arg) : arg;
        }
        command_result r = command_run(argv, NULL);
        cr_expect(r.code == 2 || r.code == 3, "%d", r.code);
        cr_expect_not_null(strstr(pv_buf_text(&r.err), cases[i].says), "%s", pv_buf_text(&r.err));
        command_release(&r);
    }
}
