/* A file of rows: what is written stays, what is torn goes. */
#include "data_file.h"
#include "data_text.h"
#include "key_set.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[64];

static void make_path(void)
{
    strcpy(path, "/tmp/test_data_XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
}

static void remove_path(void)
{
    unlink(path);
}

TestSuite(data_file, .init = make_path, .fini = remove_path, .timeout = 30);

static pv_status count_row(void *user, const json_t *row, pv_error *err)
{
    (void)err;
    *(json_int_t *)user += json_integer_value(json_object_get(row, "n"));
    return PV_OK;
}

static pv_status append(data_file *file, int n, pv_error *err)
{
    json_t *row = json_pack("{s:i}", "n", n);
    pv_status status = data_file_append(file, row, err);
    json_decref(row);
    return status;
}

static void write_text(const char *text)
{
    cr_assert_eq(pv_file_replace(path, text, strlen(text), NULL), PV_OK);
}

static void holds(const char *text)
{
    pv_buf bytes = {0};
    cr_assert_eq(pv_file_read(path, 1 << 20, &bytes, NULL), PV_OK);
    cr_expect_str_eq(pv_buf_text(&bytes), text);
    pv_buf_release(&bytes);
}

Test(data_file, appends_and_reads_back)
{
    data_file file;
    json_int_t sum = 0;
    uint64_t live = pv_mem_live();
    cr_assert_eq(data_file_open(&file, path, count_row, &sum, NULL), PV_OK);
    cr_assert_eq(append(&file, 3, NULL), PV_OK);
    cr_assert_eq(append(&file, 4, NULL), PV_OK);
    cr_assert_eq(data_file_close(&file, NULL), PV_OK);
    cr_assert_eq(data_file_open(&file, path, count_row, &sum, NULL), PV_OK);
    cr_expect_eq(sum, 7);
    cr_expect_eq(file.torn, 0);
    cr_assert_eq(data_file_close(&file, NULL), PV_OK);
    holds("{\"n\":3}\n{\"n\":4}\n");
    cr_expect_eq(pv_mem_live(), live);
}

Test(data_file, cuts_off_a_torn_line)
{
    data_file file;
    json_int_t sum = 0;
    write_text("{\"n\":3}\n{\"n\":4");
    cr_assert_eq(data_file_open(&file, path, count_row, &sum, NULL), PV_OK);
    cr_expect_eq(sum, 3);
    cr_expect_eq(file.torn, 6);
    cr_assert_eq(append(&file, 5, NULL), PV_OK);
    cr_assert_eq(data_file_close(&file, NULL), PV_OK);
    holds("{\"n\":3}\n{\"n\":5}\n");
}

Test(data_file, names_the_line_that_is_no_object)
{
    static const char *const texts[] = {"{\"n\":3}\nnonsense\n", "{\"n\":3}\n[1]\n",
                                        "{\"n\":3}\n\n{\"n\":4}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        data_file file;
        pv_error err = {0};
        json_int_t sum = 0;
        write_text(texts[i]);
        cr_expect_eq(data_file_open(&file, path, count_row, &sum, &err), PV_E_INVALID);
        cr_expect_not_null(strstr(err.msg, ":2:"), "%s", err.msg);
        holds(texts[i]);
    }
}

Test(data_file, says_when_the_disk_is_full)
{
    data_file file;
    pv_error err = {0};
    cr_assert_eq(data_file_open(&file, "/dev/full", count_row, NULL, NULL), PV_OK);
    cr_expect_eq(append(&file, 3, &err), PV_E_IO);
    cr_expect_not_null(strstr(err.msg, "/dev/full"), "%s", err.msg);
    pv_status closed = data_file_close(&file, NULL);
    (void)closed;
}

Test(data_file, belongs_to_one_process)
{
    data_file file;
    cr_assert_eq(data_file_open(&file, path, NULL, NULL, NULL), PV_OK);
    pid_t child = fork();
    if (child == 0) {
        data_file other;
        pv_error err = {0};
        pv_status status = data_file_open(&other, path, NULL, NULL, &err);
        _exit(status == PV_E_LIMIT ? 0 : 1);
    }
    int code = 0;
    waitpid(child, &code, 0);
    cr_expect_eq(code, 0);
    cr_assert_eq(data_file_close(&file, NULL), PV_OK);
}

Test(data_file, a_key_set_keeps_every_key)
{
    key_set set = {0};
    uint64_t live = pv_mem_live();
    cr_expect(!key_set_has(&set, (pv_key){1, 2}));
    for (uint64_t i = 0; i < 1000; i++) {
        cr_assert_eq(key_set_add(&set, (pv_key){i, pv_mix64(i) % 7}, NULL), PV_OK);
        cr_assert_eq(key_set_add(&set, (pv_key){i, pv_mix64(i) % 7}, NULL), PV_OK);
    }
    cr_expect_eq(set.count, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        cr_expect(key_set_has(&set, (pv_key){i, pv_mix64(i) % 7}));
        cr_expect(!key_set_has(&set, (pv_key){i, 8}));
    }
    cr_assert_eq(key_set_add(&set, (pv_key){0, 0}, NULL), PV_OK);
    cr_expect(key_set_has(&set, (pv_key){0, 0}));
    key_set_release(&set);
    cr_expect_eq(pv_mem_live(), live);
}

Test(data_file, a_statement_gets_a_name_and_a_proof)
{
    pv_buf out = {0};
    data_text_theorem(&out, "d7", "theorem statement.{u} {α : Type u} : True", "intro h\nexact h");
    cr_expect_str_eq(pv_buf_text(&out),
                     "theorem d7.{u} {α : Type u} : True := by\n  intro h\n  exact h\n");
    pv_buf_clear(&out);
    data_text_theorem(&out, "x", "statement : True", "sorry");
    cr_expect_str_eq(pv_buf_text(&out), "theorem x : True := by\n  sorry\n");
    pv_buf_release(&out);
}
