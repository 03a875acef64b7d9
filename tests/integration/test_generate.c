/* prover generate and verify-data on a real Lean: what a row holds, what is dropped, and that an end at any moment loses and
 * doubles nothing. */
#define _DEFAULT_SOURCE
#include "command.h"
#include "folder.h"

#include "pv_hash.h"

static const char STATEMENTS[] =
    "theorem swap_and (p q : Prop) (h : p ∧ q) : q ∧ p := by sorry\n"
    "theorem two_steps (f : Nat → Nat) (h : ∀ x, f x = 0) (p : Nat → Prop) (hp : ∀ x, f x = 0 → p "
    "x) :\n"
    "    p 3 ∧ (p 4 ∨ False) := by sorry\n"
    "theorem hopeless (a b : Nat) (h : a < b) (h2 : b < a) : a = 7 := by sorry\n"
    "theorem sum (a b c : Nat) (h : a + b = c) : c - b = a := by sorry\n"
    "theorem false_one (a b : Nat) (f : Nat → Nat) : f a = f b := by sorry\n"
    "theorem divides (a b c : Nat) (h : a ∣ b) (h2 : a ∣ c) : a ∣ b + c := by sorry\n";

static void make_statements(void)
{
    make_folder();
    write_file(in_folder("s.lean"), STATEMENTS);
}

TestSuite(generate, .init = make_statements, .fini = remove_folder, .timeout = 800);

/* The rows of a file: an array. */
static json_t *rows_of(const char *name)
{
    json_t *rows = json_array();
    pv_buf text = {0};
    cr_assert_eq(pv_file_read(in_folder(name), 64 << 20, &text, NULL), PV_OK);
    for (char *line = text.data; line != NULL && *line != '\0';) {
        size_t n = strcspn(line, "\n");
        json_t *row = json_loadb(line, n, 0, NULL);
        cr_assert_not_null(row, "%s", line);
        json_array_append_new(rows, row);
        line += n + (line[n] == '\n');
    }
    pv_buf_release(&text);
    return rows;
}

static json_t *row_of(const json_t *rows, const char *theorem, const char *mutation)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i), *source = json_object_get(row, "source");
        if (source != NULL && strcmp(json_text(source, "name"), theorem) == 0 &&
            strcmp(json_text(source, "mutation"), mutation) == 0) {
            return row;
        }
    }
    cr_assert_fail("no row of %s (%s)", theorem, mutation);
    return NULL;
}

#define GENERATE(out, ...)                                                                         \
    RUN(NULL, PROVER, "generate", "-o", in_folder(out), "--workers", "1", "--lean-seconds", "1",   \
        "--policy", "portfolio", __VA_ARGS__)

Test(generate, makes_rows_that_a_fresh_lean_checks)
{
    command_result r =
        GENERATE("a.jsonl", "--statements", in_folder("s.lean"), "--mutations", "swap", "--json");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *report = command_json(&r, 0);
    json_t *rows = rows_of("a.jsonl");
    size_t n = json_array_size(rows);
    const json_t *two = row_of(rows, "two_steps", "theorem");
    cr_expect_str_eq(json_text(two, "kind"), "proof", "%s", json_dumps(two, JSON_INDENT(1)));
    cr_expect_str_eq(json_text(json_object_get(two, "provenance"), "level"), "audited");
    cr_expect_gt(json_array_size(json_object_get(two, "steps")), 0);
    cr_expect_str_eq(json_text(row_of(rows, "hopeless", "theorem"), "kind"), "dropped");
    cr_expect_str_eq(json_text(row_of(rows, "hopeless", "theorem"), "filter"), "contradictory");
    cr_expect_str_eq(json_text(row_of(rows, "false_one", "theorem"), "kind"), "open");
    const json_t *sum = row_of(rows, "sum", "theorem");
    cr_expect(json_is_true(json_object_get(sum, "cheap")));
    cr_expect_str_eq(json_text(sum, "split"), json_text(row_of(rows, "sum", "swap"), "split"));
    cr_expect_gt(json_integer_value(json_object_get(report, "pairs")), 3);
    json_decref(report);
    command_release(&r);

    /* again: nothing new */
    r = GENERATE("a.jsonl", "--statements", in_folder("s.lean"), "--mutations", "swap");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    json_t *same = rows_of("a.jsonl");
    cr_expect_eq(json_array_size(same), n);
    json_decref(same);

    /* checked again, and a forged step is noticed */
    r = RUN(NULL, PROVER, "verify-data", in_folder("a.jsonl"), "--json");
    cr_assert_eq(r.code, 0, "%s%s", pv_buf_text(&r.out), pv_buf_text(&r.err));
    command_release(&r);
    json_t *step = json_array_get(json_object_get(two, "steps"), 0);
    json_object_set_new(step, "tactic", json_string("rfl"));
    char *forged = json_dumps(two, JSON_COMPACT);
    pv_buf text = {0};
    pv_buf_printf(&text, "%s\n", forged);
    write_file(in_folder("forged.jsonl"), pv_buf_text(&text));
    r = RUN(NULL, PROVER, "verify-data", in_folder("forged.jsonl"));
    cr_expect_eq(r.code, 1, "%s%s", pv_buf_text(&r.out), pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "the tactic"), "%s", pv_buf_text(&r.err));
    command_release(&r);
    pv_buf_release(&text);
    free(forged);
    json_decref(rows);
}

/* "key kind" of each statement, sorted by being an object. */
static json_t *keys_of(const char *name)
{
    json_t *rows = rows_of(name), *keys = json_object();
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *key = json_text(row, "key");
        if (key[0] != '\0') {
            cr_expect_null(json_object_get(keys, key), "%s: %s is there twice", name, key);
            json_object_set_new(keys, key, json_true());
        }
    }
    json_decref(rows);
    return keys;
}

static int run_and_kill(char *const argv[], unsigned after_ms)
{
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execv(argv[0], argv);
        _exit(127);
    }
    int status = 0;
    for (unsigned waited = 0; after_ms == 0 || waited < after_ms; waited += 20) {
        if (waitpid(child, &status, WNOHANG) == child) {
            return status;
        }
        usleep(20000);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return status;
}

Test(generate, loses_and_doubles_nothing_when_killed)
{
    char *argv[] = {PROVER,
                    "generate",
                    "--statements",
                    in_folder("s.lean"),
                    "--mutations",
                    "swap,weaken",
                    "--workers",
                    "1",
                    "-o",
                    NULL,
                    "--timeout",
                    "3",
                    "--lean-seconds",
                    "0.6",
                    NULL};

    enum { OUT = 9 };

    char whole[128], killed[128];
    snprintf(whole, sizeof whole, "%s", in_folder("whole.jsonl"));
    snprintf(killed, sizeof killed, "%s", in_folder("killed.jsonl"));
    argv[OUT] = whole;
    uint64_t start = pv_clock_ms();
    cr_assert_eq(run_and_kill(argv, 0), 0);
    unsigned took = (unsigned)(pv_clock_ms() - start);
    argv[OUT] = killed;
    for (uint64_t i = 0; i < 4; i++) {
        (void)run_and_kill(argv, took / 4 + (unsigned)(pv_mix64(start + i) % took) * 3 / 4 + 20);
        if (i == 2) { /* as if the machine had stopped in the middle of a row */
            FILE *file = fopen(killed, "a");
            cr_assert_not_null(file);
            fputs("{\"kind\":\"open\",\"key\":\"00", file);
            fclose(file);
        }
    }
    cr_assert_eq(run_and_kill(argv, 0), 0);
    json_t *a = keys_of("whole.jsonl"), *b = keys_of("killed.jsonl");
    cr_expect_gt(json_object_size(a), 8);
    cr_expect(json_equal(a, b), "%zu and %zu statements", json_object_size(a), json_object_size(b));
    json_decref(a);
    json_decref(b);
}

Test(generate, shards_are_parts_and_excluded_statements_stay_out)
{
    write_file(in_folder("x.jsonl"),
               "{\"name\":\"t\",\"formal_statement\":\"theorem t (x y z : Nat) (hyp : x + y = z) : "
               "z - y = x := by\\n\"}\n"
               "{\"name\":\"u\",\"formal_statement\":\"theorem u (x : Real) : x = x := by\\n\"}\n");
    json_t *all = json_object();
    size_t rows = 0;
    for (int i = 0; i < 2; i++) {
        char shard[8];
        snprintf(shard, sizeof shard, "%d/2", i);
        command_result r =
            RUN(NULL, PROVER, "generate", "-o", in_folder(i == 0 ? "0.jsonl" : "1.jsonl"),
                "--policy", "portfolio", "--workers", "1", "--lean-seconds", "0.5", "--statements",
                in_folder("s.lean"), "--mutations", "none", "--shard", shard, "--judges", "2",
                "--exclude", in_folder("x.jsonl"));
        cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
        command_release(&r);
        json_t *keys = keys_of(i == 0 ? "0.jsonl" : "1.jsonl");
        rows += json_object_size(keys);
        json_object_update(all, keys);
        json_decref(keys);
    }
    cr_expect_eq(rows, 6);
    cr_expect_eq(json_object_size(all), 6);
    json_decref(all);
    json_t *first = rows_of("0.jsonl"), *second = rows_of("1.jsonl");
    json_array_extend(first, second);
    cr_expect_str_eq(json_text(row_of(first, "sum", "theorem"), "filter"), "excluded");
    json_decref(first);
    json_decref(second);
}

/* A list of a module is a file of lemmas; one of them is the whole proof of a statement, unless the statement comes from it. */
Test(generate, proposes_lemmas_by_name)
{
    command_result r = RUN(NULL, PROVER, "generate", "--list", "--library",
                           "Init.Data.Order.Classes", "--mutations", "none", "--workers", "1");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "\"name\":\"Std.LawfulOrderLT.lt_iff\""));
    write_file(in_folder("lemmas.jsonl"), pv_buf_text(&r.out));
    command_release(&r);
    write_file(in_folder("order.jsonl"),
               "{\"statement\":\"theorem order {α : Type} [LT α] [LE α] [Std.LawfulOrderLT α] "
               "(a b : α) : a < b ↔ a ≤ b ∧ ¬b ≤ a\"}\n");
    r = GENERATE("p.jsonl", "--statements", in_folder("order.jsonl"), "--mutations", "none",
                 "--policy", "premises", "--premises", in_folder("lemmas.jsonl"));
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    json_t *rows = rows_of("p.jsonl");
    json_t *row = row_of(rows, "order", "theorem");
    cr_expect_str_eq(json_text(row, "proof"), "apply Std.LawfulOrderLT.lt_iff");
    cr_expect_str_eq(json_text(json_object_get(row, "provenance"), "policy"), "premises");

    /* the same as a row whose source is the lemma */
    json_object_set_new(row, "source",
                        json_pack("{s:s,s:s,s:s,s:s}", "library", "Init.Data.Order.Classes", "name",
                                  "Std.LawfulOrderLT.lt_iff", "mutation", "theorem", "root",
                                  json_text(json_object_get(row, "source"), "root")));
    char *text = json_dumps(row, JSON_COMPACT);
    pv_buf line = {0};
    pv_buf_printf(&line, "%s\n", text);
    write_file(in_folder("own.jsonl"), pv_buf_text(&line));
    r = GENERATE("q.jsonl", "--statements", in_folder("own.jsonl"), "--mutations", "none",
                 "--policy", "premises", "--premises", in_folder("lemmas.jsonl"));
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    json_t *again = rows_of("q.jsonl");
    const json_t *own = row_of(again, "Std.LawfulOrderLT.lt_iff", "theorem");
    cr_expect_str_eq(json_text(own, "key"), json_text(row, "key"));
    const char *proof = json_text(own, "proof");
    cr_expect_null(strstr(proof, "Std.LawfulOrderLT.lt_iff"), "%s", proof);
    json_decref(again);
    json_decref(rows);
    pv_buf_release(&line);
    free(text);
}

Test(generate, says_what_is_wrong)
{
    static const struct {
        char *args[6];
        const char *says;
    } cases[] = {
        {{"-o", "/tmp/x.jsonl"}, "needs a source"},
        {{"--library", "Init"}, "needs -o"},
        {{"--library", "Init", "-o", "/tmp/x.jsonl", "--mutations", "turn"}, "the mutations are"},
        {{"--library", "Init", "-o", "/tmp/x.jsonl", "--shard", "2/2"}, "I/N"},
        {{"--library", "Init", "-o", "/nowhere/x.jsonl"}, "/nowhere/x.jsonl"},
        {{"--library", "Init", "-o", "/tmp/x.jsonl", "--policy", "premises"}, "go together"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[9] = {PROVER, "generate"};
        for (size_t k = 0; k < 6; k++) {
            argv[2 + k] = cases[i].args[k];
        }
        command_result r = command_run(argv, NULL);
        cr_expect(r.code == 2 || r.code == 3, "%d", r.code);
        cr_expect_not_null(strstr(pv_buf_text(&r.err), cases[i].says), "%s", pv_buf_text(&r.err));
        command_release(&r);
    }
    command_result r =
        RUN(NULL, PROVER, "generate", "-o", "/dev/full", "--workers", "1", "--policy", "portfolio",
            "--statements", in_folder("s.lean"), "--mutations", "none");
    cr_expect_eq(r.code, 3);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "No space left"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}
