/* prover prove, verify and doctor on a real Lean. Each start of the npm Lean takes some 10 s, so a test asks much of one start. */
#define _DEFAULT_SOURCE
#include "command.h"
#include "folder.h"

#include <sys/prctl.h>

static void start_test(void)
{
    make_folder();
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

/* Whether a process that the program started outlived it: as a subreaper we inherit those. */
static bool left_a_process(void)
{
    for (int waits = 0; waits < 50;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0) {
            return false;
        }
        if (pid == 0) {
            usleep(10000); /* a killed child that is not gone yet */
            waits++;
        }
    }
    return true;
}

TestSuite(prove, .init = start_test, .fini = remove_folder, .timeout = 300);

static void has(const json_t *row, const char *key, const char *expected)
{
    cr_assert_str_eq(json_text(row, key), expected, "%s: %s", key, json_dumps(row, JSON_INDENT(1)));
}

Test(prove, file_with_many_theorems_gives_one_result_each)
{
    write_file(in_folder("many.lean"),
               "import Init\n"
               "namespace Zoo\n"
               "variable (p q r : Prop)\n"
               "/-- a sorry in a comment -/\n"
               "theorem swap : p ∧ q → q ∧ p := by\n  sorry\n"
               "theorem done : True := trivial\n"
               "theorem false_one : p → q := by sorry\n"
               "theorem two_holes (a b : Nat) (h : a = b) : b = a ∧ a + 0 = a := by\n"
               "  constructor\n"
               "  · sorry\n"
               "  · sorry\n"
               "theorem term : ∀ n : Nat, n = n := sorry\n"
               "example : True := by sorry\n"
               "def data : Nat := sorry\n"
               "end Zoo\n");
    command_result r = RUN(NULL, PROVER, "prove", in_folder("many.lean"), "--json", "--nodes", "60",
                           "--policy", "portfolio", "--trace", in_folder("t.jsonl"));
    cr_assert_eq(r.code, 1, "%s", pv_buf_text(&r.err));
    const char *names[] = {"Zoo.swap", "Zoo.false_one", "Zoo.two_holes", "Zoo.term"};
    const char *ends[] = {"proved", "not proved", "proved", "proved"};
    for (size_t i = 0; i < 4; i++) {
        json_t *row = command_json(&r, i);
        has(row, "theorem", names[i]);
        has(row, "status", ends[i]);
        if (strcmp(ends[i], "proved") == 0) {
            has(row, "level", "replayed");
            cr_assert_not_null(strstr(json_text(row, "text"), "theorem"));
        }
        cr_assert_gt(strlen(json_text(row, "lean")), 0);
        cr_assert_gt(strlen(json_text(row, "sandbox")), 0);
        json_decref(row);
    }
    json_t *example = command_json(&r, 4), *data = command_json(&r, 5);
    has(example, "status", "skipped");
    has(data, "status", "skipped");
    json_decref(example);
    json_decref(data);
    cr_assert(pv_file_exists(in_folder("t.jsonl")));
    cr_assert(pv_file_exists(in_folder("t.jsonl.2")));
    cr_assert_not(left_a_process());
    command_release(&r);
}

Test(prove, statement_and_stdin_for_people)
{
    command_options o = {.input =
                             "theorem t (a b : Nat) (h : a < b) : ¬ b ≤ a ∧ a ≠ b := by sorry"};
    command_result r = RUN(&o, PROVER, "prove", "-", "--tree", "--policy", "portfolio");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    const char *text = pv_buf_text(&r.out);
    cr_assert_not_null(strstr(text, "theorem t: proved (replayed)"), "%s", text);
    cr_assert_not_null(strstr(text, "\naxioms: "), "%s", text);
    cr_assert_not_null(strstr(text, "[solved]"), "%s", text);
    command_release(&r);
}

Test(prove, same_seed_gives_the_same_search_on_any_number_of_workers)
{
    const char *statement =
        "theorem t (p q r s : Prop) : (p → q) → (r → s) → p ∧ r → s ∧ q ∧ (p ∨ s)";
    pv_buf proofs[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        command_result r = RUN(NULL, PROVER, "prove", (char *)statement, "--json", "--policy",
                               "portfolio", "--workers", i == 0 ? "1" : "2");
        cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0);
        json_t *stats = json_object_get(row, "search");
        pv_buf_printf(&proofs[i], "%s / %lld tactics, %lld states", json_text(row, "text"),
                      (long long)json_integer_value(json_object_get(stats, "tactics")),
                      (long long)json_integer_value(json_object_get(stats, "states")));
        json_decref(row);
        command_release(&r);
    }
    cr_assert_str_eq(pv_buf_text(&proofs[0]), pv_buf_text(&proofs[1]));
    pv_buf_release(&proofs[0]);
    pv_buf_release(&proofs[1]);
}

Test(prove, what_lean_refuses_is_told_at_its_place)
{
    struct {
        const char *text, *header, *part;
        int code;
    } bad[] = {
        {"theorem t : 1 = := by sorry", "", "the statement:1:", 2},
        {"-- é\ntheorem t :\n  1 = Nat.unknown_thing := by sorry", "", ":3:6: Lean says:", 2},
        {"import Nowhere.Atall\ntheorem t : True := by sorry", "", "Nowhere.Atall", 2},
        {"theorem t : True := by sorry", "open Nowhere", "Nowhere", 2},
        {"theorem t : True := by trivial\ntheorem u : True := by trivial -- sorry", "",
         "no `sorry`", 2},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(in_folder("bad.lean"), bad[i].text);
        command_result r =
            RUN(NULL, PROVER, "prove", i == 0 ? (char *)bad[i].text : in_folder("bad.lean"),
                "--workers", "1", "--header", (char *)bad[i].header);
        cr_assert_eq(r.code, bad[i].code, "%zu: %d %s", i, r.code, pv_buf_text(&r.err));
        cr_assert_not_null(strstr(pv_buf_text(&r.err), bad[i].part), "%zu: %s", i,
                           pv_buf_text(&r.err));
        command_release(&r);
    }
}

Test(prove, full_disk_for_the_trace_loses_no_proof)
{
    command_result r = RUN(NULL, PROVER, "prove", "theorem t (p q : Prop) : p ∧ q → q ∧ p",
                           "--policy", "portfolio", "--trace", "/dev/full");
    cr_assert_eq(r.code, 3);
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "proved (replayed)"), "%s", pv_buf_text(&r.out));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "/dev/full"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}

Test(prove, closed_or_full_stdout_is_an_error_with_a_message)
{
    command_options closed = {.closed_stdout = true};
    command_result r = RUN(&closed, PROVER, "prove", "theorem t : True", "--workers", "1");
    cr_assert_eq(r.code, 3);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "standard output"), "%s", pv_buf_text(&r.err));
    command_release(&r);
    command_options full = {.stdout_path = "/dev/full"};
    r = RUN(&full, PROVER, "prove", "theorem t : True", "--workers", "1", "--json");
    cr_assert_eq(r.code, 3);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "standard output"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}

Test(prove, interrupt_stops_within_a_second_and_leaves_no_child)
{
    const double moments[] = {1.0, 14.0, 25.0};
    for (size_t i = 0; i < 3; i++) {
        command_options o = {.interrupt_after = moments[i]};
        command_result r = RUN(&o, PROVER, "prove",
                               "theorem t (f : Nat → Nat) (h : ∀ n, f (f n) = n + 1987) : False",
                               "--policy", "portfolio", "--timeout", "200");
        cr_assert_eq(r.code, 1, "%d: %s", r.code, pv_buf_text(&r.err));
        cr_assert_lt(r.seconds, moments[i] + 1.0, "took %.1f s", r.seconds);
        cr_assert_not_null(strstr(pv_buf_text(&r.err), "interrupted"));
        cr_assert_not(left_a_process());
        command_release(&r);
    }
}

Test(prove, verify_accepts_a_proof_and_refuses_what_is_none)
{
    write_file(in_folder("s.lean"), "theorem t (p q : Prop) : p ∧ q → q ∧ p := by sorry\n");
    write_file(in_folder("good.lean"),
               "theorem t (p q : Prop) : p ∧ q → q ∧ p := fun h => ⟨h.2, h.1⟩\n");
    write_file(in_folder("other.lean"), "theorem t (p q : Prop) : p ∧ q → p ∧ q := fun h => h\n");
    write_file(in_folder("axiom.lean"),
               "axiom cheat : False\ntheorem t (p q : Prop) : p ∧ q → q ∧ p := cheat.elim\n");

    struct {
        const char *file;
        bool against;
        int code;
        const char *reason;
    } cases[] = {
        {"good.lean", false, 0, ""},          {"good.lean", true, 0, ""},
        {"other.lean", true, 1, "statement"}, {"axiom.lean", false, 1, "axiom"},
        {"axiom.lean", true, 1, "commands"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        command_result r = cases[i].against
                               ? RUN(NULL, PROVER, "verify", in_folder(cases[i].file), "--json",
                                     "--against", in_folder("s.lean"))
                               : RUN(NULL, PROVER, "verify", in_folder(cases[i].file), "--json");
        cr_assert_eq(r.code, cases[i].code, "%zu: %d %s", i, r.code, pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0);
        has(row, "status", cases[i].code == 0 ? "accepted" : "refused");
        has(row, "reason", cases[i].reason);
        if (cases[i].code == 0) {
            has(row, "level", "replayed");
            cr_assert_gt(json_integer_value(json_object_get(row, "export_bytes")), 100);
            cr_assert_eq(json_array_size(json_object_get(row, "levels")), 3);
            cr_assert_eq(strlen(json_text(row, "proof_sha256")), 64);
            cr_assert_eq(
                strcmp(json_text(row, "statement_sha256"), json_text(row, "proof_sha256")) == 0,
                !cases[i].against);
        }
        json_decref(row);
        command_release(&r);
    }
    command_result r =
        RUN(NULL, PROVER, "verify", in_folder("good.lean"), "--json", "--level", "audited");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *audited = command_json(&r, 0);
    has(audited, "level", "audited");
    has(audited, "demanded", "audited");
    json_decref(audited);
    command_release(&r);
    r = RUN(NULL, PROVER, "verify", in_folder("good.lean"), "--level", "proved");
    cr_assert_eq(r.code, 2);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "compiled, audited or replayed"));
    command_release(&r);
    /* Kernels that npm's Lean cannot serve: said before Lean starts. */
    r = RUN(NULL, PROVER, "verify", in_folder("good.lean"), "--npm-lean", "--external-kernel",
            "cat");
    cr_assert_eq(r.code, 3);
    cr_assert_eq(r.out.len, 0);
    cr_assert_not_null(strstr(pv_buf_text(&r.err),
                              "external kernel cat: lean4export: this needs an official Lean"),
                       "%s", pv_buf_text(&r.err));
    command_release(&r);
    r = RUN(NULL, PROVER, "verify", in_folder("good.lean"), "--npm-lean", "--leanchecker");
    cr_assert_eq(r.code, 3);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "leanchecker: this needs an official Lean"),
                       "%s", pv_buf_text(&r.err));
    command_release(&r);
    r = RUN(NULL, PROVER, "verify", in_folder("s.lean"));
    cr_assert_eq(r.code, 2);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "still has a `sorry`"), "%s",
                       pv_buf_text(&r.err));
    command_release(&r);
}

Test(prove, verify_takes_a_configuration)
{
    write_file(in_folder("Challenge.lean"),
               "theorem t (p : Prop) (h : Nonempty p) : p := by sorry\n");
    write_file(in_folder("Solution.lean"),
               "theorem t (p : Prop) (h : Nonempty p) : p := Classical.choice h\n");
#define CONFIG(axioms, more)                                                                       \
    "{\"challenge_module\":\"Challenge\",\"solution_module\":\"Solution\","                        \
    "\"theorem_names\":[\"t\"],\"permitted_axioms\":[" axioms "]" more "}"

    const struct {
        const char *text;
        int code;
        const char *said;
    } cases[] = {
        {CONFIG("\"propext\",\"Quot.sound\",\"Classical.choice\"", ""), 0, "\"replayed\""},
        {CONFIG("\"propext\"", ""), 1, "does not permit"},
        {CONFIG("", ",\"enable_nanoda\":true"), 3, "nanoda_bin"},
        {CONFIG("", ",\"colour\":1"), 2, "`colour`"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(in_folder("config.json"), cases[i].text);
        command_result r =
            RUN(NULL, PROVER, "verify", "--config", in_folder("config.json"), "--json");
        cr_expect_eq(r.code, cases[i].code, "%zu: %d %s", i, r.code, pv_buf_text(&r.err));
        cr_expect(strstr(pv_buf_text(&r.out), cases[i].said) != NULL ||
                      strstr(pv_buf_text(&r.err), cases[i].said) != NULL,
                  "%zu: %s%s", i, pv_buf_text(&r.out), pv_buf_text(&r.err));
        command_release(&r);
    }
}

Test(prove, doctor_says_what_is_used_and_that_it_works)
{
    command_result r = RUN(NULL, PROVER, "doctor", "--json");
    cr_assert_eq(r.code, 0, "%s%s", pv_buf_text(&r.err), pv_buf_text(&r.out));
    json_t *row = command_json(&r, 0);
    cr_assert(json_is_true(json_object_get(row, "well")));
    cr_assert_gt(strlen(json_text(row, "toolchain")), 0);
    cr_assert_gt(strlen(json_text(row, "sandbox")), 0);
    json_decref(row);
    command_release(&r);
}
