/* bench_policies: the tables from made-up rows, and a small run that is interrupted and goes on. */
#include "command.h"
#include "folder.h"

#define BENCH TEST_BIN_DIR "/bench_policies"

TestSuite(policies, .init = make_folder, .fini = remove_folder, .timeout = 600);

static long long at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "no number \"%s\"", key);
    return (long long)json_number_value(value);
}

static const json_t *arm_named(const json_t *report, const char *name)
{
    size_t i;
    json_t *arm;
    json_array_foreach(json_object_get(report, "arms"), i, arm)
    {
        if (strcmp(json_text(arm, "arm"), name) == 0) {
            return arm;
        }
    }
    cr_assert_fail("no arm %s", name);
    return NULL;
}

static void put_trial(pv_buf *out, const char *id, const char *arm, bool solved, int calls)
{
    pv_buf_printf(
        out,
        "{\"kind\":\"trial\",\"id\":\"%s\",\"module\":\"Init.Data.%s\",\"arm\":\"%s\","
        "\"solved\":%s,\"seconds\":1.5,\"calls\":%d,\"lean_seconds\":1.0,\"selfish\":1,"
        "\"since\":{\"wall\":2.0,\"cpu\":1.0,\"model\":0.5,\"tokens\":100,\"rows\":150}}\n",
        id, id, arm, solved ? "true" : "false", calls);
}

static void put_run(pv_buf *out, double seconds, const char *arms)
{
    pv_buf_printf(out, "{\"kind\":\"run\",\"settings\":{\"seconds\":%.1f},\"arms\":%s}\n", seconds,
                  arms);
}

/* Two shards; statement "e" lacks an arm. Within 10 calls: a 2, b 1. In all: a 3 with 330 calls, b 2 with 65. */
static void put_shards(void)
{
    pv_buf first = {0}, second = {0};
    put_run(&first, 60, "{\"a\":{\"width\":8}}");
    put_trial(&first, "one", "a", true, 5);
    put_trial(&first, "one", "b", true, 5);
    put_trial(&first, "two", "a", true, 10);
    put_trial(&first, "two", "b", false, 40);
    put_trial(&first, "two", "b", true, 1); /* a second row of a trial counts for nothing */
    put_run(&second, 60, "{\"b\":{\"width\":64}}");
    put_trial(&second, "three", "a", true, 300);
    put_trial(&second, "three", "b", true, 18);
    put_trial(&second, "four", "a", false, 15);
    put_trial(&second, "four", "b", false, 2);
    put_trial(&second, "e", "a", true, 1);
    write_file(in_folder("0.jsonl"), pv_buf_text(&first));
    write_file(in_folder("1.jsonl"), pv_buf_text(&second));
    pv_buf_release(&first);
    pv_buf_release(&second);
}

Test(policies, tables_from_shards)
{
    put_shards();
    command_result r =
        RUN(NULL, BENCH, "--report", "--json", in_folder("0.jsonl"), in_folder("1.jsonl"));
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *report = command_json(&r, 0);
    cr_expect_eq(at(report, "statements"), 4);
    cr_expect_eq(at(report, "incomplete"), 1);
    cr_expect_eq(at(report, "union"), 3);
    const json_t *a = arm_named(report, "a"), *b = arm_named(report, "b");
    cr_expect_eq(at(a, "solved"), 3);
    cr_expect_eq(at(b, "solved"), 2);
    cr_expect_eq(at(a, "calls"), 330);
    cr_expect_eq(at(b, "calls"), 65);
    cr_expect_eq(at(json_object_get(a, "within"), "10"), 2);
    cr_expect_eq(at(json_object_get(b, "within"), "10"), 1);
    cr_expect_eq(at(json_object_get(b, "within"), "20"), 2);
    const json_t *pair = json_array_get(json_object_get(report, "pairs"), 0);
    cr_expect_str_eq(json_text(pair, "a"), "b");
    cr_expect_eq(at(pair, "both"), 2);
    cr_expect_eq(at(pair, "only_a"), 0);
    cr_expect_eq(at(pair, "only_b"), 1);
    cr_expect_eq(at(pair, "equal_calls"), 65, "what the cheaper arm spent");
    cr_expect_eq(at(pair, "a_at_equal_calls"), 2);
    cr_expect_eq(at(pair, "b_at_equal_calls"), 2, "35 calls each are 5 + 10 + 35 + 15 in all");
    cr_expect_eq(at(a, "wall"), 10, "the engine's figures are those of all trials");
    cr_expect_eq(at(a, "tokens"), 500);
    json_decref(report);
    command_release(&r);
    r = RUN(NULL, BENCH, "--report", in_folder("0.jsonl"), in_folder("1.jsonl"));
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.out), "Init.Data.three"), "%s", pv_buf_text(&r.out));
    command_release(&r);
}

Test(policies, runs_under_different_rules_are_not_compared)
{
    put_shards();
    static const char *const arms[] = {"{}", "{\"a\":{\"width\":9}}"};
    for (int i = 0; i < 2; i++) {
        pv_buf other = {0};
        put_run(&other, i == 0 ? 30 : 60, arms[i]);
        write_file(in_folder("2.jsonl"), pv_buf_text(&other));
        pv_buf_release(&other);
        command_result r = RUN(NULL, BENCH, "--report", in_folder("0.jsonl"), in_folder("2.jsonl"));
        cr_expect_eq(r.code, 2);
        cr_expect_not_null(strstr(pv_buf_text(&r.err), "different rules"), "%s",
                           pv_buf_text(&r.err));
        command_release(&r);
    }
}

/* `append_nil` is a theorem of the library that simp knows: a proof by itself, which must not count. */
static const char statements[] =
    "{\"key\":\"k1\",\"name\":\"List.append_nil\",\"module\":\"Init.Core\","
    "\"statement\":\"theorem statement {α : Type} (as : List α) : as ++ [] = as\"}\n"
    "{\"name\":\"easy\",\"formal_statement\":\"theorem easy (a b : Nat) (h : a < b) :\\n"
    "  a ≤ b := by sorry\"}\n"
    "{\"name\":\"wrong\",\"formal_statement\":\"theorem wrong (a : Nat) : a = a + 1 := by "
    "sorry\"}\n";

static command_result run_all(double interrupt_after)
{
    command_options o = {.interrupt_after = interrupt_after};
    return RUN(&o, BENCH, in_folder("s.jsonl"), "--arms", "closers,portfolio", "--seconds", "8",
               "--at-once", "2", "--out", in_folder("out.jsonl"), "--json");
}

static void expect_rows(void)
{
    pv_buf text = {0};
    size_t trials = 0;
    cr_assert_eq(pv_file_read(in_folder("out.jsonl"), 1 << 20, &text, NULL), PV_OK);
    for (char *line = text.data, *end; line != NULL && *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        json_t *row = json_loadb(line, (size_t)(end - line), 0, NULL);
        bool trial = strcmp(json_text(row, "kind"), "trial") == 0;
        bool solved = json_is_true(json_object_get(row, "solved"));
        trials += trial;
        if (trial && strcmp(json_text(row, "id"), "k1") == 0) {
            cr_expect_gt(at(row, "selfish"), 0, "simp proves it by itself");
        } else if (trial) {
            cr_expect_eq(solved, strcmp(json_text(row, "id"), "easy") == 0);
        }
        cr_expect(!solved || strcmp(json_text(row, "level"), "audited") == 0);
        json_decref(row);
    }
    cr_expect_eq(trials, 6, "each statement once by each arm");
    pv_buf_release(&text);
}

Test(policies, an_interrupted_run_goes_on)
{
    write_file(in_folder("s.jsonl"), statements);
    command_result r = run_all(25);
    cr_assert(r.code == 0 || r.code == 1, "%d %s", r.code, pv_buf_text(&r.err));
    command_release(&r);
    r = run_all(0);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    expect_rows();
    r = RUN(NULL, BENCH, in_folder("s.jsonl"), "--arms", "closers,portfolio", "--seconds", "9",
            "--at-once", "2", "--out", in_folder("out.jsonl"));
    cr_expect_eq(r.code, 2);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "another rule"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}
