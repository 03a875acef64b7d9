#define _DEFAULT_SOURCE
#include "folder.h"
#include "pv_mem.h"
#include "unified_diff.h"

#include <criterion/criterion.h>

static void differ(const char *old_text, const char *new_text, const char *expected)
{
    pv_buf out = {0};
    cr_assert_eq(
        unified_diff("f", old_text, strlen(old_text), new_text, strlen(new_text), &out, NULL),
        PV_OK);
    cr_assert_str_eq(pv_buf_text(&out), expected);
    pv_buf_release(&out);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(unified_diff, equal_texts_say_nothing)
{
    differ("", "", "");
    differ("a\nb\n", "a\nb\n", "");
}

Test(unified_diff, one_line_becomes_two)
{
    differ("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\nx\ny\n6\n7\n8\n",
           "--- a/f\n+++ b/f\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+x\n+y\n 6\n 7\n 8\n");
}

Test(unified_diff, ends_of_the_text_and_empty_texts)
{
    differ("", "a\n", "--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+a\n");
    differ("a\n", "", "--- a/f\n+++ b/f\n@@ -1 +0,0 @@\n-a\n");
    differ("a\n", "b\na\n", "--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n+b\n a\n");
}

Test(unified_diff, last_line_without_a_line_feed_and_carriage_returns)
{
    differ("a\r\nb", "a\r\nc",
           "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\r\n-b\n\\ No newline at end of file\n+c\n"
           "\\ No newline at end of file\n");
    differ("a\r\n", "a\n", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\r\n+a\n");
}

Test(unified_diff, changes_far_apart_are_hunks_of_their_own)
{
    differ("a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
           "--- a/f\n+++ b/f\n@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n");
    differ("a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
           "--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n "
           "7\n-b\n+B\n");
}

/* A text of a few different lines, so that there is much to confuse; no line feed at the end of some. */
static void random_text(pv_buf *out)
{
    int lines = rand() % 30;
    for (int i = 0; i < lines; i++) {
        pv_buf_printf(out, "%c%s\n", 'a' + rand() % 4, rand() % 8 == 0 ? "\r" : "");
    }
    if (out->len > 0 && rand() % 4 == 0) {
        out->data[--out->len] = '\0';
    }
}

Test(unified_diff, patch_makes_the_new_text_of_the_old, .init = make_folder, .fini = remove_folder)
{
    srand(7);
    char command[600];
    snprintf(command, sizeof command, "cd %s && patch -s --binary -u old diff && cmp -s old new",
             folder);
    for (int i = 0; i < 60; i++) {
        pv_buf old_text = {0}, new_text = {0}, diff = {0};
        random_text(&old_text);
        random_text(&new_text);
        cr_assert_eq(unified_diff("old", pv_buf_text(&old_text), old_text.len,
                                  pv_buf_text(&new_text), new_text.len, &diff, NULL),
                     PV_OK);
        write_file(in_folder("old"), pv_buf_text(&old_text));
        write_file(in_folder("new"), pv_buf_text(&new_text));
        write_file(in_folder("diff"), pv_buf_text(&diff));
        if (diff.len > 0 && new_text.len > 0) {
            cr_assert_eq(system(command), 0, "%s", pv_buf_text(&diff));
        }
        pv_buf_release(&old_text);
        pv_buf_release(&new_text);
        pv_buf_release(&diff);
    }
    cr_assert_eq(pv_mem_live(), 0);
}

Test(unified_diff, texts_with_nothing_in_common_stay_in_bounds)
{
    pv_buf a = {0}, b = {0}, out = {0};
    for (int i = 0; i < 3000; i++) {
        pv_buf_printf(&a, "a%d\n", i);
        pv_buf_printf(&b, "b%d\n", i);
    }
    cr_assert_eq(unified_diff("f", a.data, a.len, b.data, b.len, &out, NULL), PV_OK);
    cr_assert_not_null(strstr(out.data, "@@ -1,3000 +1,3000 @@\n-a0\n"));
    pv_buf_release(&a);
    pv_buf_release(&b);
    pv_buf_release(&out);
}

Test(unified_diff, short_memory_is_said)
{
    for (int64_t n = 0; n < 8; n++) {
        pv_buf out = {0};
        pv_error err = {0};
        pv_mem_fail_after(n);
        pv_status status = unified_diff("f", "a\nb\n", 4, "a\nc\n", 4, &out, &err);
        pv_mem_fail_after(-1);
        cr_assert(status == PV_OK || status == PV_E_NOMEM);
        pv_buf_release(&out);
        cr_assert_eq(pv_mem_live(), 0);
    }
}
