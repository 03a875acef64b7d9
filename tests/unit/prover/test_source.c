#include "pv_mem.h"
#include "source.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static source load(const char *argument)
{
    source src;
    pv_error err = {0};
    cr_assert_eq(source_load(&src, argument, "", &err), PV_OK, "%s", err.msg);
    return src;
}

static void refuse(const char *argument, const char *part)
{
    source src;
    pv_error err = {0};
    cr_assert_eq(source_load(&src, argument, "", &err), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, part), "%s", err.msg);
    cr_assert_eq(pv_mem_live(), 0);
}

static void completes(const char *statement, const char *expected)
{
    source src = load(statement);
    cr_assert_str_eq(src.text, expected);
    source_release(&src);
    cr_assert_eq(pv_mem_live(), 0);
}

static void write_file(char path[32], const void *bytes, size_t n)
{
    strcpy(path, "/tmp/test_source_XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

Test(source, bare_statement_gets_its_hole)
{
    completes("theorem t : p", "theorem t : p := by\n  sorry");
    completes("theorem t : p :=", "theorem t : p := by\n  sorry");
    completes("theorem t : p := by", "theorem t : p := by\n  sorry");
    completes("theorem t : p -- so\n", "theorem t : p := by\n  sorry");
    completes("theorem t : p := by sorry", "theorem t : p := by sorry");
    completes("theorem t (h : x = 1 := by simp) : p",
              "theorem t (h : x = 1 := by simp) : p := by\n  sorry");
    completes("/-- no sorry -/ theorem t : p", "/-- no sorry -/ theorem t : p := by\n  sorry");
    completes("theorem sorry_free : p", "theorem sorry_free : p := by\n  sorry");
}

Test(source, statement_with_a_proof_is_refused)
{
    refuse("theorem t : p := by simp", "prover verify");
    refuse("theorem t : p := trivial", "nothing is left to prove");
}

Test(source, empty_text_is_refused)
{
    refuse("", "empty");
    refuse("  \n -- only a comment\n /- and /- another -/ -/ ", "empty");
}

Test(source, bytes_that_are_not_utf8_are_named)
{
    char path[32];
    write_file(path, "theorem t\n : \xff p", 15);
    refuse(path, ":2:3: byte 13 (0xff) is not UTF-8");
    write_file(path, "a\0b", 3);
    refuse(path, "NUL byte");
}

Test(source, missing_file_is_named)
{
    source src;
    pv_error err = {0};
    cr_assert_eq(source_load(&src, "/nowhere/x.lean", "", &err), PV_E_NOTFOUND);
    cr_assert_not_null(strstr(err.msg, "/nowhere/x.lean"));
}

Test(source, imports_are_cut_off_and_positions_stay)
{
    char path[32];
    const char *text =
        "-- é import No\n/- import No -/\nimport Init -- x\npublic import Std.Data\n\n"
        "theorem t : True := by sorry\n";
    write_file(path, text, strlen(text));
    source src = load(path);
    const char *at = strstr(text, "theorem");
    cr_assert_eq(src.length, strlen(text));
    cr_assert_str_eq(src.body + (at - text), at);
    cr_assert_null(strstr(src.body, "import"));
    cr_assert_not_null(strstr(src.header, "public import Std.Data"));
    cr_assert_null(strstr(src.header, "theorem"));
    cr_assert_eq(strlen(src.body), strlen(text));
    source_release(&src);
}

Test(source, header_option_goes_before_the_imports)
{
    source src;
    cr_assert_eq(source_load(&src, "import B\ntheorem t : p", "import A", NULL), PV_OK);
    cr_assert_str_eq(src.header, "import A\nimport B");
    source_release(&src);
}

static void splices(const char *text, bool term, const char *proof, const char *expected)
{
    source src = load(text);
    size_t start = (size_t)(strstr(text, "sorry") - text);
    source_fill fill = {.start = start, .end = start + 5, .term = term, .proof = proof};
    pv_buf out = {0};
    cr_assert_eq(source_splice(&src, true, &fill, 1, &out, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&out), expected);
    pv_buf_release(&out);
    source_release(&src);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(source, proof_takes_the_indentation_of_its_hole)
{
    splices("theorem t : p := by sorry", false, "simp", "theorem t : p := by simp");
    splices("theorem t : p := by sorry", false, "a\nb", "theorem t : p := by\n  a\n  b");
    splices("theorem t : p := by\n    sorry\n", false, "a\n· b\n  c",
            "theorem t : p := by\n    a\n    · b\n      c\n");
    splices("theorem t : p := by\n  · sorry", false, "a\nb", "theorem t : p := by\n  · a\n    b");
    splices("theorem t : p := by\n\tsorry", false, "a\nb", "theorem t : p := by\n\ta\n\tb");
    splices("theorem t : p := by x <;> sorry", false, "a", "theorem t : p := by x <;> (a)");
}

Test(source, term_hole_gets_a_by)
{
    splices("theorem t : p := sorry", true, "a", "theorem t : p := by a");
    splices("theorem t : p := sorry", true, "a\nb", "theorem t : p := by\n  a\n  b");
    splices("theorem t : p :=\n  sorry", true, "a\nb", "theorem t : p :=\n  by\n    a\n    b");
    splices("theorem t : p := ⟨x, sorry⟩", true, "a", "theorem t : p := ⟨x, (by a)⟩");
}

static void fills(const char *text, const char *form, size_t outer, const char *proof,
                  const char *expected)
{
    source src;
    cr_assert_eq(source_of_text(&src, "t", "", text, strlen(text), false, NULL), PV_OK);
    size_t start = (size_t)(strstr(text, "sorry") - text);
    bool term = strcmp(form, "term") == 0 || strcmp(form, "constructor") == 0 ||
                strcmp(form, "calc") == 0 || strcmp(form, "field") == 0;
    source_fill fill = {.start = start,
                        .end = start + 5,
                        .term = term,
                        .proof = proof,
                        .form = form,
                        .outer = outer};
    pv_buf out = {0};
    cr_assert_eq(source_splice(&src, true, &fill, 1, &out, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&out), expected);
    cr_assert_eq(source_growth(&src, &fill), strlen(expected) - strlen(text));
    pv_buf_release(&out);
    source_release(&src);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(source, block_goes_right_of_all_that_it_is_in)
{
    fills("  · have h : p := by sorry\n    x\n", "by", 4, "a\nb",
          "  · have h : p := by\n      a\n      b\n    x\n");
    fills("  | zero => sorry\n", "alternative", 2, "a\nb", "  | zero =>\n    a\n    b\n");
    fills("  · sorry\n", "bullet", 2, "a\n· b", "  · a\n    · b\n");
    fills("  skip; sorry\n", "block", 0, "a\nb", "  skip; (a\n         b)\n");
    fills("  x <;> sorry\n", "tactic", 2, "a\nb", "  x <;> (a\n         b)\n");
    fills("  · ‹é›; sorry\n", "block", 4, "a\nb", "  · ‹é›; (a\n          b)\n");
    fills("f (by sorry) x", "by", 0, "a\nb", "f (by\n  a\n  b) x");
    fills("  calc a = b := sorry\n", "calc", 7, "a\nb",
          "  calc a = b := by\n         a\n         b\n");
    fills("  ⟨sorry, x⟩", "constructor", 0, "a\nb", "  ⟨(by\n    a\n    b), x⟩");
    fills("{ x := sorry, y := 1 }", "field", 0, "a", "{ x := (by a), y := 1 }");
    fills("if h : p then sorry else x", "term", 0, "a", "if h : p then (by a) else x");
    fills("| a => sorry | b => x", "alternative", 0, "cases h", "| a => (cases h) | b => x");
    fills("exact sorry -- so\n", "term", 0, "a", "exact by a -- so\n");
}

Test(source, lines_end_as_those_of_the_text)
{
    fills("a\r\nby sorry\r\nb", "by", 0, "x\ny", "a\r\nby\r\n  x\r\n  y\r\nb");
    fills("a\r\nby sorry", "by", 0, "x\ny", "a\r\nby\r\n  x\r\n  y");
    fills("by\n  sorry\n", "block", 0, "x \"1\n2\"\ny", "by\n  x \"1\n2\"\n  y\n");
}

Test(source, several_fills_leave_all_other_bytes)
{
    source src = load("a sorry b sorry c");
    source_fill fills[] = {{.start = 2, .end = 7, .proof = "x"},
                           {.start = 10, .end = 15, .proof = "y"}};
    pv_buf out = {0};
    cr_assert_eq(source_splice(&src, true, fills, 2, &out, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&out), "a (x) b (y) c");
    source_fill wrong[] = {fills[1], fills[0]};
    cr_assert_eq(source_splice(&src, true, wrong, 2, &out, NULL), PV_E_MISUSE);
    pv_buf_release(&out);
    source_release(&src);
}

Test(source, every_allocation_may_fail)
{
    for (int64_t n = 0;; n++) {
        source src;
        pv_error err = {0};
        pv_mem_fail_after(n);
        pv_status status = source_load(&src, "import Init\ntheorem t : p", "import A", &err);
        pv_mem_fail_after(-1);
        if (status == PV_OK) {
            source_release(&src);
            break;
        }
        cr_assert_eq(status, PV_E_NOMEM);
        cr_assert_eq(pv_mem_live(), 0);
    }
    cr_assert_eq(pv_mem_live(), 0);
}
