#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/pv_file_XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    rmdir(folder);
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

TestSuite(pv_file, .init = make_folder, .fini = remove_folder);

Test(pv_file, what_is_written_is_read)
{
    const char *path = in_folder("a");
    pv_buf b = {0};
    cr_assert(!pv_file_exists(path));
    cr_assert_eq(pv_file_replace(path, "one\0two", 7, NULL), PV_OK);
    cr_assert(pv_file_exists(path));
    pv_buf_puts(&b, "> ");
    cr_assert_eq(pv_file_read(path, 100, &b, NULL), PV_OK);
    cr_assert_eq(b.len, 9);
    cr_assert_eq(memcmp(b.data, "> one\0two", 10), 0);
    cr_assert_eq(pv_file_replace(path, NULL, 0, NULL), PV_OK);
    pv_buf_clear(&b);
    cr_assert_eq(pv_file_read(path, 100, &b, NULL), PV_OK);
    cr_assert_eq(b.len, 0);
    pv_buf_release(&b);
    unlink(path);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(pv_file, a_missing_file_and_a_folder_are_errors_with_their_names)
{
    pv_buf b = {0};
    pv_error err = {0};
    cr_assert_eq(pv_file_read(in_folder("none"), 10, &b, &err), PV_E_NOTFOUND);
    cr_assert_not_null(strstr(err.msg, "none"));
    pv_error_clear(&err);
    cr_assert_eq(pv_file_read(folder, 10, &b, &err), PV_E_IO);
    cr_assert_not_null(strstr(err.msg, folder));
    cr_assert_eq(b.len, 0);
    pv_buf_release(&b);
}

Test(pv_file, a_file_above_the_limit_leaves_the_buffer_as_it_was)
{
    const char *path = in_folder("big");
    pv_buf b = {0};
    pv_buf_puts(&b, "before");
    cr_assert_eq(pv_file_replace(path, "0123456789", 10, NULL), PV_OK);
    cr_assert_eq(pv_file_read(path, 9, &b, NULL), PV_E_LIMIT);
    cr_assert_str_eq(pv_buf_text(&b), "before");
    cr_assert_eq(pv_file_read(path, 10, &b, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&b), "before0123456789");
    pv_buf_release(&b);
    unlink(path);
}

Test(pv_file, replacing_keeps_the_mode_and_leaves_nothing_behind)
{
    const char *path = in_folder("mode");
    struct stat info;
    cr_assert_eq(pv_file_replace(path, "a", 1, NULL), PV_OK);
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(pv_file_replace(path, "b", 1, NULL), PV_OK);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    unlink(path);
    cr_assert_eq(rmdir(folder), 0, "a temporary file was left");
}

Test(pv_file, a_place_that_cannot_be_written_is_an_error)
{
    pv_error err = {0};
    cr_assert_eq(pv_file_replace("/nowhere/at/all", "a", 1, &err), PV_E_IO);
    cr_assert_not_null(strstr(err.msg, "/nowhere/at/all"));
    pv_mem_fail_after(0);
    cr_assert_eq(pv_file_replace(in_folder("x"), "a", 1, NULL), PV_E_NOMEM);
    pv_buf b = {0};
    cr_assert_eq(pv_file_replace(in_folder("x"), "a", 1, NULL), PV_OK);
    pv_mem_fail_after(0);
    cr_assert_eq(pv_file_read(in_folder("x"), 10, &b, NULL), PV_E_NOMEM);
    pv_buf_release(&b);
    unlink(in_folder("x"));
}
