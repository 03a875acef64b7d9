#include "lean_source.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* "kind:name@line" for each command, with a space between. */
static void expect_commands(const char *text, const char *wanted)
{
    lean_source source;
    lean_command_span span;
    char out[512] = "";
    size_t end = 0;
    lean_source_init(&source, text);
    while (lean_source_next(&source, &span)) {
        size_t line = 1;
        cr_assert(span.start == end && span.end > span.start, "commands leave no gap");
        end = span.end;
        for (size_t i = 0; i < span.first; i++) {
            line += text[i] == '\n';
        }
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s%s:%.*s@%zu",
                 *out == '\0' ? "" : " ", span.is_decl ? "!" : "", span.kind,
                 (int)(span.name_end - span.name), text + span.name, line);
    }
    cr_expect_str_eq(out, wanted, "%s\n%s", text, out);
}

Test(lean_source, cuts_a_text_into_commands)
{
    expect_commands("", "");
    expect_commands("-- nothing\n", "");
    expect_commands("theorem a : p := by\n  simp\n\ndef b := 1", "!theorem:a@1 !def:b@4");
    expect_commands(
        "/-- doc\ntheorem no -/\n@[simp, grind\n=] theorem a.b : p := x\n#check a\n#eval 1",
        "!theorem:a.b@3 :@5 :@6");
    expect_commands("namespace A\nsection\nend\nend A", "namespace:A@1 section:@2 end:@3 end:A@4");
    expect_commands("private noncomputable\ndef f := 1\nexample : p := q", "!def:f@1 !example:@3");
    expect_commands("open Nat in\ntheorem a : ∃ x ∈ s, p := by\n  sorry", "!theorem:a@1");
    expect_commands(
        "set_option maxHeartbeats 4 in\n/-- d -/\nlemma c : ∑ i in s, i = 0 := by\n simp",
        "!lemma:c@1");
    expect_commands("mutual\ndef f := 1\ndef g := 2\nend\ndef h := 3", "mutual:@1 !def:h@5");
    expect_commands("instance : Inhabited Nat := ⟨0⟩\nabbrev N := Nat", "!instance:@1 !abbrev:N@2");
}

static bool is_term(const char *text)
{
    lean_source source;
    lean_command_span span;
    lean_source_init(&source, text);
    cr_assert(lean_source_next(&source, &span));
    return lean_source_is_term(text, &span, (size_t)(strstr(text, "sorry") - text));
}

Test(lean_source, tells_terms_from_tactics)
{
    cr_expect(is_term("theorem a : p := sorry"));
    cr_expect(is_term("theorem a : p := by\n  have h : q := sorry\n  exact h"));
    cr_expect(is_term("def f : Nat → Nat\n  | 0 => sorry"));
    cr_expect(!is_term("theorem a : p := by sorry"));
    cr_expect(!is_term("theorem a : p := by\n  intro h\n  sorry"));
    cr_expect(!is_term("theorem a : p := by\n  cases h with\n  | inl h => sorry"));
}

Test(lean_source, compares_a_candidate_with_its_original_outside_the_holes)
{
    const char *two = "theorem a : p := by\n  sorry\ntheorem b : q := sorry -- end";
    cr_expect(lean_source_fits(two, "theorem a : p := by\n  simp\ntheorem b : q := by rfl -- end"));
    cr_expect(lean_source_fits(two, two));
    cr_expect(
        !lean_source_fits(two, "theorem a : r := by\n  simp\ntheorem b : q := by rfl -- end"));
    cr_expect(
        !lean_source_fits(two, "theorem a : p := by\n  simp\ntheorem b : r := by rfl -- end"));
    cr_expect(
        !lean_source_fits(two, "theorem a : p := by\n  simp\ntheorem b : q := by rfl -- END"));
    cr_expect(lean_source_fits("no hole -- sorry", "no hole -- sorry"));
    cr_expect(!lean_source_fits("no hole", "no hole at all"));
}

Test(lean_source, finds_bytes_of_positions)
{
    const char *text = "αβ\nγ δ\n";
    size_t n = strlen(text);
    cr_expect(lean_source_byte(text, n, 1, 0) == 0);
    cr_expect(lean_source_byte(text, n, 1, 1) == 2);
    cr_expect(lean_source_byte(text, n, 2, 2) == 8);
    cr_expect(lean_source_byte(text, n, 2, 99) == 10);
    cr_expect(lean_source_byte(text, n, 99, 1) == n);
}
