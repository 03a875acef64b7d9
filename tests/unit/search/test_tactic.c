#include "search_tactic.h"

#include <criterion/criterion.h>

static void check_normal(const char *text, const char *expected)
{
    pv_buf out = {0};
    search_tactic_normalise(text, &out);
    cr_expect_str_eq(pv_buf_text(&out), expected, "of <%s>: <%s>", text, pv_buf_text(&out));
    pv_buf_release(&out);
}

Test(search_tactic, blanks_and_comments_do_not_count)
{
    check_normal("  simp  [h ,  k]  ", "simp [h , k]");
    check_normal("simp -- why not", "simp");
    check_normal("simp /- a /- nested -/ b -/ [h]", "simp [h]");
    check_normal("/- lead -/ simp;", "simp");
    check_normal("\n\n  intro h\n    exact h\n", "intro h\n  exact h");
    check_normal("intro h\n\n-- between\nexact h", "intro h\nexact h");
    check_normal("a - b / c", "a - b / c");
    check_normal("simp /- open", "simp");
}

Test(search_tactic, nothing_but_comment_is_nothing)
{
    check_normal("", "");
    check_normal(" \n ; \n", "");
    check_normal("-- only words", "");
    check_normal("/- only -/", "");
}

Test(search_tactic, strings_and_quotes_stay)
{
    check_normal("exact f \"a  --  b\"  x", "exact f \"a  --  b\" x");
    check_normal("exact f \"q \\\"  z\"  x", "exact f \"q \\\"  z\" x");
    check_normal("exact '\"'  --  c", "exact '\"'");
    check_normal("exact '\\\"'  --  c", "exact '\\\"'");
    check_normal("exact h'  \"open", "exact h' \"open");
}

Test(search_tactic, line_breaks_and_indentation_do_count)
{
    check_normal("simp\nring", "simp\nring");
    check_normal("first\n  | simp\n   | ring", "first\n  | simp\n   | ring");
}

static void check_lay(const char *text, size_t indent, bool bullet, const char *expected)
{
    pv_buf out = {0};
    search_tactic_lay(&out, text, indent, bullet);
    cr_expect_str_eq(pv_buf_text(&out), expected, "of <%s>: <%s>", text, pv_buf_text(&out));
    pv_buf_release(&out);
}

Test(search_tactic, blocks_keep_their_shape)
{
    check_lay("simp", 0, false, "simp\n");
    check_lay("simp", 4, false, "    simp\n");
    check_lay("simp", 4, true, "  · simp\n");
    check_lay("first\n  | simp\n  | ring", 2, true, "· first\n    | simp\n    | ring\n");
    check_lay("\n   first\n     | simp\n\n   ring  \n", 2, false,
              "  first\n    | simp\n\n  ring\n");
}
