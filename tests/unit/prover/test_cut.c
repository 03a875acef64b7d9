#include "cut.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

static const char NESTED[] = "\n  intro x\n"
                             "  have h : p x := by\n"
                             "    simp\n"
                             "    -- a comment\n"
                             "    bad [a,\n"
                             "      b]\n"
                             "  exact h\n";

static void writes(const char *body, const proof_cut *c, const char *expected)
{
    pv_buf out = {0};
    size_t at[CUT_LEVELS_MAX];
    cut_write(body, c, &out, at);
    cr_expect_str_eq(pv_buf_text(&out), expected);
    for (size_t i = 0; i < c->level_count; i++) {
        cr_expect(at[i] == SIZE_MAX || strncmp(pv_buf_text(&out) + at[i], "sorry", 5) == 0);
    }
    pv_buf_release(&out);
}

static size_t places(const char *body, const char *error, proof_cut cuts[CUTS_MAX])
{
    const char *at = strstr(body, error);
    return cut_places(body, strlen(body), at == NULL ? strlen(body) : (size_t)(at - body), cuts);
}

Test(cut, keeps_what_stands_before_the_error)
{
    proof_cut cuts[CUTS_MAX];
    cr_assert_eq(places(NESTED, "bad", cuts), 3);
    writes(NESTED, &cuts[0],
           "\n  intro x\n  have h : p x := by\n    simp\n    -- a comment\n    sorry\n  sorry");
    writes(NESTED, &cuts[1], "\n  intro x\n  have h : p x := by\n    sorry\n  sorry");
    writes(NESTED, &cuts[2], "\n  intro x\n  sorry");
    cuts[1].left_out[1] = true;
    writes(NESTED, &cuts[1], "\n  intro x\n  have h : p x := by\n    sorry");
}

/* A line within brackets is not cut at. */
Test(cut, an_error_in_a_term_is_its_tactics)
{
    proof_cut a[CUTS_MAX], b[CUTS_MAX];
    cr_assert_eq(places(NESTED, "bad", a), places(NESTED, "b]", b));
    cr_expect_eq(a[0].keep, b[0].keep);
    cr_expect_gt(places(NESTED, "exact h", b), 1);
    writes(
        NESTED, &b[0],
        "\n  intro x\n  have h : p x := by\n    simp\n    -- a comment\n    bad [a,\n      b]\n  "
        "sorry");
}

Test(cut, says_when_nothing_is_left)
{
    proof_cut cuts[CUTS_MAX];
    cr_expect_eq(places("\n  bad\n  simp", "bad", cuts), 0);
    cr_expect_eq(places(" simp", "simp", cuts), 0);
    cr_expect_eq(places("", "x", cuts), 0);
    cr_expect_eq(cut_places("\n  a\n  b", 8, SIZE_MAX, cuts), 1);
}
