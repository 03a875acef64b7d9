#include "problem_file.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static problem_list rows(const char *text)
{
    problem_list list = {0};
    pv_error err = {0};
    cr_assert_eq(problem_file_rows(&list, "f.jsonl", "import Own", text, strlen(text), &err), PV_OK,
                 "%s", err.msg);
    return list;
}

static void has(const problem_list *list, size_t i, const char *name, const char *header,
                const char *text)
{
    cr_assert_gt(list->count, i);
    cr_expect_str_eq(list->items[i].name, name);
    cr_expect_str_eq(list->items[i].header, header);
    cr_expect_str_eq(list->items[i].text, text);
}

/* One row of each kind of file that is about. */
Test(problem, fields_are_those_of_the_files_that_are_about)
{
    problem_list list = rows(
        "{\"name\":\"a\",\"split\":\"valid\",\"header\":\"import Mathlib\\n\","
        "\"formal_statement\":\"theorem a : p := by sorry\"}\n"
        "\n"
        "{\"name\":\"b\",\"split\":\"test\",\"informal_prefix\":\"/-- B. -/\\n\","
        "\"formal_statement\":\"theorem b : p := by\\n\",\"goal\":\"|- p\",\"header\":\"import "
        "M\"}\n"
        "{\"problem_id\":\"c\",\"informal_prefix\":\"/-- C. -/\\n\",\"formal_statement\":\"theorem "
        "c : "
        "p := by sorry\",\"lean4_code\":\"import M\\n\\ntheorem c : p := by sorry\"}\n"
        "{\"uuid\":\"d-1\",\"formal_statement\":\"import Mathlib\\ntheorem d : p := by sorry\"}\n"
        "{\"id\":7,\"header\":\"\",\"formal_statement\":\"theorem e : p\"}\n"
        "{\"statement\":\"statement (a : Nat) : p\"}\n"
        "{\"name\":\"a\",\"formal_statement\":\"theorem a : q := sorry\"}");
    has(&list, 0, "a", "import Mathlib\n", "theorem a : p := by sorry");
    has(&list, 1, "b", "import M", "/-- B. -/\ntheorem b : p := by\n  sorry");
    has(&list, 2, "c", "import Own", "import M\n\ntheorem c : p := by sorry");
    has(&list, 3, "d-1", "import Own", "import Mathlib\ntheorem d : p := by sorry");
    has(&list, 4, "7", "import Own", "theorem e : p := by\n  sorry");
    has(&list, 5, "line 7", "import Own", "theorem statement (a : Nat) : p := by\n  sorry");
    has(&list, 6, "a#2", "import Own", "theorem a : q := sorry");
    cr_expect_str_eq(list.items[1].split, "test");
    cr_expect_str_eq(list.items[1].origin, "f.jsonl:3");
    char hash[PV_SHA256_TEXT];
    pv_sha256_of("theorem a : q := sorry", 22, hash);
    cr_expect_str_eq(list.items[6].text_hash, hash);
    problem_list_release(&list);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(problem, an_array_is_read_like_lines)
{
    problem_list list = rows(" [ {\"name\":\"a\",\"formal_statement\":\"theorem a : p\"},\n"
                             "{\"name\":\"b\",\"formal_statement\":\"theorem b : p\"} ]");
    cr_assert_eq(list.count, 2);
    cr_expect_str_eq(list.items[1].name, "b");
    problem_list_release(&list);
}

static void refuses(const char *text, const char *says)
{
    problem_list list = {0};
    pv_error err = {0};
    cr_expect_eq(problem_file_rows(&list, "f.jsonl", "", text, strlen(text), &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, says), "%s", err.msg);
    problem_list_release(&list);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(problem, what_is_wrong_has_its_line)
{
    refuses("{\"name\":\"a\",\"formal_statement\":\"theorem a : p\"}\n{nonsense",
            "f.jsonl:2: not JSON");
    refuses("{\"name\":\"a\"}", "f.jsonl:1: no statement");
    refuses("7", "f.jsonl:1: not JSON");
    refuses("{\"formal_statement\":\"theorem a : p := by simp\"}", "nothing is left to prove");
    refuses("{\"formal_statement\":\"\"}", "f.jsonl:1 is empty");
    refuses("[1]", "f.jsonl:1: not a JSON object");
    refuses("[{", "f.jsonl:1");
}

static char folder[] = "/tmp/test_problem_XXXXXX";

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(pv_file_replace(path, text, strlen(text), NULL), PV_OK);
}

static void make(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(mkdir(path, 0700), 0);
}

Test(problem, a_folder_is_its_files_in_order)
{
    char command[64];
    cr_assert_not_null(mkdtemp(folder));
    make("Valid");
    make("Test");
    make(".lake");
    put(".lake/x.lean", "theorem x : p := by sorry");
    put("Test/b.lean", "import Mathlib\nopen Nat\n-- sorry\ntheorem b : p := by sorry\n");
    put("Valid/a.lean", "import M\n\ndef two := 2\n\ntheorem a1 : two = 2 := by\n  "
                        "sorry\n\ntheorem done : 1 = 1 := rfl\n\n"
                        "theorem a2 : two = 3 := by sorry\n");
    put("All.lean", "import Valid.a\n");
    put("empty.lean", "");
    put("notes.txt", "theorem t : p := by sorry");
    problem_list list = {0};
    pv_error err = {0};
    cr_assert_eq(problem_file_read(&list, folder, "", &err), PV_OK, "%s", err.msg);
    cr_assert_eq(list.count, 3);
    cr_expect_str_eq(list.items[0].name, "Test/b");
    cr_expect_str_eq(list.items[0].split, "test");
    cr_expect_str_eq(list.items[1].name, "Valid/a:a1");
    cr_expect_str_eq(list.items[1].split, "valid");
    cr_expect_eq(list.items[1].target, 0);
    cr_expect_str_eq(list.items[2].name, "Valid/a:a2");
    cr_expect_eq(list.items[2].target, 1);
    cr_expect_str_eq(list.items[2].text, list.items[1].text);

    problem_choice choice = {.split = "VALID", .filter = "*a?"};
    char whole[PV_SHA256_TEXT], part[PV_SHA256_TEXT];
    cr_assert_eq(problem_list_choose(&list, &choice, whole, &err), PV_OK);
    cr_assert_eq(list.count, 2);
    choice = (problem_choice){"", "", 1, 2};
    cr_assert_eq(problem_list_choose(&list, &choice, part, &err), PV_OK);
    cr_assert_eq(list.count, 1);
    cr_expect_str_eq(list.items[0].name, "Valid/a:a2");
    cr_expect_eq(list.items[0].number, 1);
    cr_expect_str_eq(whole, part);
    choice.filter = "nothing*";
    cr_expect_eq(problem_list_choose(&list, &choice, NULL, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "nothing*"), "%s", err.msg);
    problem_list_release(&list);

    pv_error_clear(&err);
    snprintf(command, sizeof command, "%s/notes", folder);
    cr_expect_eq(problem_file_read(&list, command, "", &err), PV_E_NOTFOUND);
    pv_error_clear(&err);
    snprintf(command, sizeof command, "%s/All.lean", folder);
    cr_expect_eq(problem_file_read(&list, command, "", &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "no problem in it"), "%s", err.msg);
    problem_list_release(&list);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(problem, memory_may_be_short_at_any_place)
{
    static const char text[] =
        "{\"name\":\"a\",\"header\":\"import M\",\"informal_prefix\":\"/-- A. -/\","
        "\"formal_statement\":\"theorem a : p\"}\n{\"name\":\"a\",\"formal_statement\":\"theorem a "
        ": "
        "q := by\"}\n";
    pv_status status = PV_E_NOMEM;
    for (int64_t n = 0; status != PV_OK; n++) {
        problem_list list = {0};
        pv_error err = {0};
        pv_mem_fail_after(n);
        status = problem_file_rows(&list, "f", "", text, sizeof text - 1, &err);
        pv_mem_fail_after(-1);
        cr_expect(status == PV_OK || status == PV_E_NOMEM, "%s", err.msg);
        cr_expect(status != PV_OK || list.count == 2);
        problem_list_release(&list);
        cr_assert_eq(pv_mem_live(), 0);
    }
}
