/* The gate: what it refuses, and what it must let pass. */
#include "lean_gate.h"
#include "pv_buf.h"
#include "pv_file.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *rule_of(const char *proof)
{
    lean_gate_finding f = {.rule = "?"};
    return lean_gate_pass(proof, strlen(proof), &f) ? "pass" : f.rule;
}

#define REFUSES(proof, rule)                                                                       \
    cr_expect_str_eq(rule_of(proof), rule, "%s: %s, not %s", proof, rule_of(proof), rule)
#define PASSES(proof) REFUSES(proof, "pass")

Test(lean_gate, refuses_holes)
{
    REFUSES("sorry", "sorry");
    REFUSES("  exact (by sorry)", "sorry");
    REFUSES("constructor\n  \xc2\xb7 sorry\n  \xc2\xb7 rfl", "sorry");
    REFUSES("simp <;>sorry", "sorry");
    REFUSES("admit", "admit");
    REFUSES("exact sorryAx _ true", "sorryAx");
    REFUSES("exact @_root_.sorryAx _ false", "sorryAx");
    REFUSES("exact \xc2\xabsorryAx\xc2\xbb _ true", "sorryAx");
    REFUSES("exact (_root_.\xc2\xabsorryAx\xc2\xbb _ true)", "sorryAx");
    REFUSES("exact .sorryAx", "sorryAx");
    REFUSES("exact?", "exact?");
    REFUSES("apply?", "apply?");
}

Test(lean_gate, takes_names_as_lean_does)
{
    PASSES("exact sorry_lemma");
    PASSES("exact h.sorry'");
    PASSES("exact sorry'");
    PASSES("exact (h).sorry");
    PASSES("exact Nat.axiom_foo");
    PASSES("exact foo.macro.bar");
    PASSES("rcases h with \xe2\x9f\xa8"
           "end\xe2\x82\x81, theorem\xe2\x82\x82\xe2\x9f\xa9");
    REFUSES("f ..sorry", "sorry");
    REFUSES("exact f 1.sorry", "sorry");
    REFUSES("exact f 1admit", "admit");
    PASSES("exact f 0xad");
}

Test(lean_gate, ignores_comments_and_strings)
{
    PASSES("-- sorry\nrfl");
    PASSES("/- sorry /- axiom -/ macro -/ rfl");
    PASSES("/-- sorry -/ rfl");
    PASSES("/--/ sorry -/ rfl");
    PASSES("exact f \"sorry \\\" axiom\" 'a' '\\''");
    PASSES("exact f r\"sorry\\\" r#\"axiom \" sorry\"#");
    REFUSES("/- /- -/ sorry -/ sorry", "sorry");
    REFUSES("exact f \"a\\\"\" sorry", "sorry");
    REFUSES("exact f r\"\\\" sorry", "sorry");
    REFUSES("exact f '\"' sorry -- \"", "sorry");
    REFUSES("simp [f '' s, sorry] -- '", "sorry");
    REFUSES("exact f <--sorry", "sorry");
    REFUSES("exact s!\"{sorry}\"", "sorry");
    REFUSES("exact s!\"-- {sorry}\"", "sorry");
    PASSES("exact s!\"sorry \\{sorry} {x}\"");
}

Test(lean_gate, refuses_what_is_not_finished)
{
    REFUSES("rfl /- open", "unfinished");
    REFUSES("rfl -/ theorem", "unfinished");
    REFUSES("exact \"open", "unfinished");
    REFUSES("exact r#\"open\"", "unfinished");
    REFUSES("exact \xc2\xabopen", "unfinished");
    REFUSES("exact (f", "brackets");
    REFUSES("exact f)", "brackets");
    REFUSES("exact (f]", "brackets");
    REFUSES("exact \xe2\x9f\xa8"
            "f)",
            "brackets");
    REFUSES("exact \xc2\xab"
            "a\nb\xc2\xbb",
            "name");
    PASSES("exact \xe2\x9f\xa8"
           "f [a, {b}], (c)\xe2\x9f\xa9");
}

Test(lean_gate, refuses_bytes_that_are_no_text)
{
    lean_gate_finding f;
    cr_expect(!lean_gate_pass("rfl\0x", 5, &f));
    cr_expect_str_eq(f.rule, "characters");
    cr_expect_eq(f.at, 3);
    REFUSES("rfl \xff", "utf8");
    REFUSES("rfl \xc0\xaf", "utf8");
    REFUSES("rfl \xed\xa0\x80", "utf8");
    REFUSES("-- \xe2\x80\xae hidden", "characters");
    REFUSES("rfl \x1b[2K", "characters");
    PASSES("\tsimp\r\n  rfl");
    PASSES("");
}

Test(lean_gate, refuses_commands)
{
    REFUSES("rfl\n\ntheorem x : True := trivial", "theorem");
    REFUSES("rfl\n  end Foo", "end");
    REFUSES("rfl\nlemma x : True := trivial", "lemma");
    PASSES("have lemma := h");
    REFUSES("rfl\naxiom bad : False", "axiom");
    REFUSES("rfl\nset_option autoImplicit true", "set_option");
    PASSES("lemma");
    REFUSES("rfl\n#eval 1", "eval");
    REFUSES("rfl\n@[simp] def x := 1", "def");
    REFUSES("rfl\nlocal notation \"x\" => 1", "local");
    REFUSES("rfl\nmacro_rules | `(tactic| x) => `(tactic| y)", "macro_rules");
    REFUSES("rfl\nattribute [-simp] foo", "attribute");
}

Test(lean_gate, refuses_options_but_not_limits)
{
    PASSES("set_option maxHeartbeats 400000 in\n  simp");
    PASSES("  set_option maxRecDepth 2000 in simp");
    PASSES("  set_option pp.all true in simp");
    REFUSES("  set_option debug.skipKernelTC true in rfl", "set_option");
    REFUSES("  set_option debug.byAsSorry true in rfl", "set_option");
    REFUSES("  set_option \xc2\xab"
            "debug\xc2\xbb.skipKernelTC true in rfl",
            "set_option");
    REFUSES("  set_option warn.sorry false in rfl", "set_option");
    REFUSES("  set_option (x) true in rfl", "set_option");
}

Test(lean_gate, refuses_lean_s_own_machinery)
{
    REFUSES("exact Lean.ofReduceBool _ _ rfl", "ofReduceBool");
    REFUSES("exact Lean.Elab.foo", "Lean");
    REFUSES("open Lean Elab in exact foo", "Lean");
    REFUSES("open Nat Lean in exact foo", "Lean");
    REFUSES("exact IO.println", "IO");
    PASSES("open Nat in simp [foo.Lean]");
    PASSES("open Classical in exact em p");
    PASSES("exact Lean");
    REFUSES("exact unsafeCast h", "unsafeCast");
    REFUSES("exact (unsafe f)", "unsafe");
    REFUSES("decide +native", "native");
    REFUSES("native_decide", "native_decide");
    REFUSES("run_tac do pure ()", "run_tac");
    PASSES("simp [#s, Finset.card]");
}

Test(lean_gate, says_where_and_why)
{
    lean_gate_finding f;
    cr_assert(!lean_gate_pass_tactic("intro h\n  sorry", &f));
    cr_expect_str_eq(f.rule, "sorry");
    cr_expect_eq(f.at, 10);
    cr_expect(f.why != NULL && strlen(f.why) > 0);
    cr_expect(lean_gate_pass_tactic("intro h", &f));
    cr_expect(!lean_gate_pass_tactic("sorry", NULL));
}

Test(lean_gate, survives_deep_nesting)
{
    char text[4097];
    memset(text, '(', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    REFUSES(text, "brackets");
}

/* Every proof of a collection of real ones (model output that Lean and Mathlib accept) must pass. */
static size_t count_refused(const char *lines, size_t *count)
{
    size_t refused = 0;
    for (const char *line = lines; *line != '\0'; line = strchr(line, '\n') + 1) {
        json_t *row = json_loadb(line, strcspn(line, "\n"), 0, NULL);
        const char *code = json_string_value(json_object_get(row, "code"));
        cr_assert_not_null(code);
        const char *statement = strstr(code, "theorem ");
        const char *proof = statement == NULL ? NULL : strstr(statement, ":= by");
        cr_assert_not_null(proof);
        const char *rule = rule_of(proof + 5);
        if (strcmp(rule, "pass") != 0) {
            refused++;
            cr_log_error("%s is refused: %s", json_string_value(json_object_get(row, "name")),
                         rule);
        }
        (*count)++;
        json_decref(row);
    }
    return refused;
}

Test(lean_gate, passes_real_proofs)
{
    const char *shared = getenv("PROVER_SHARED");
    pv_buf path = {0};
    pv_buf lines = {0};
    pv_buf_printf(&path, "%s/data/prover_v2_valid_solutions.jsonl",
                  shared == NULL ? TEST_SOURCE_DIR "/../shared" : shared);
    if (!pv_file_exists(pv_buf_text(&path))) {
        pv_buf_release(&path);
        cr_skip_test("no collection of real proofs; set PROVER_SHARED to a folder that has data/");
    }
    cr_assert_eq(pv_file_read(pv_buf_text(&path), 1 << 26, &lines, NULL), PV_OK);
    size_t count = 0;
    cr_expect_eq(count_refused(pv_buf_text(&lines), &count), 0);
    cr_expect_gt(count, 0);
    cr_log_info("%zu real proofs pass", count);
    pv_buf_release(&path);
    pv_buf_release(&lines);
}
