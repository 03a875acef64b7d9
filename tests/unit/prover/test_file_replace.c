#define _DEFAULT_SOURCE
#include "file_replace.h"
#include "folder.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX = 1 << 24 };

TestSuite(file_replace, .init = make_folder, .fini = remove_folder);

static void holds(const char *path, const char *expected)
{
    pv_buf text = {0};
    cr_assert_eq(pv_file_read(path, MAX, &text, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&text), expected);
    pv_buf_release(&text);
}

static size_t entries(void)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 2;
}

static file_text read_of(const char *path)
{
    file_text file;
    pv_error err = {0};
    cr_assert_eq(file_read(&file, path, MAX, &err), PV_OK, "%s", err.msg);
    return file;
}

Test(file_replace, keeps_mode_and_owner_and_leaves_nothing_behind)
{
    char *path = in_folder("a.lean");
    write_file(path, "old");
    cr_assert_eq(chmod(path, 0640), 0);
    bool other = geteuid() == 0 && chown(path, 1, 1) == 0;
    file_text file = read_of(path);
    cr_assert_eq(file_replace(&file, "newer", 5, false, NULL), PV_OK);
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0640);
    cr_assert(!other || (info.st_uid == 1 && info.st_gid == 1));
    holds(path, "newer");
    cr_assert_eq(entries(), 1);
    cr_assert_eq(file_replace(&file, "again", 5, false, NULL), PV_OK);
    holds(path, "again");
    file_release(&file);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(file_replace, backup_holds_the_old_bytes)
{
    char *path = in_folder("a.lean");
    write_file(path, "old");
    file_text file = read_of(path);
    cr_assert_eq(file_replace(&file, "new", 3, true, NULL), PV_OK);
    holds(path, "new");
    holds(in_folder("a.lean.bak"), "old");
    cr_assert_eq(entries(), 2);
    file_release(&file);
}

Test(file_replace, file_that_was_changed_is_left_alone)
{
    char *path = in_folder("a.lean");
    write_file(path, "old");
    file_text file = read_of(path);
    write_file(path, "mine");
    pv_error err = {0};
    cr_assert_eq(file_replace(&file, "new", 3, true, &err), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, "was changed"));
    holds(path, "mine");
    cr_assert_eq(entries(), 1);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(file_replace(&file, "new", 3, false, &err), PV_E_INVALID);
    cr_assert_eq(entries(), 0);
    file_release(&file);
}

Test(file_replace, link_stays_a_link)
{
    write_file(in_folder("a.lean"), "old");
    cr_assert_eq(symlink("a.lean", in_folder("b.lean")), 0);
    file_text file = read_of(in_folder("b.lean"));
    cr_assert_eq(file_replace(&file, "new", 3, false, NULL), PV_OK);
    struct stat info;
    cr_assert_eq(lstat(in_folder("b.lean"), &info), 0);
    cr_assert(S_ISLNK(info.st_mode));
    holds(in_folder("a.lean"), "new");
    file_release(&file);
}

Test(file_replace, what_is_no_file_is_refused)
{
    file_text file;
    pv_error err = {0};
    cr_assert_eq(file_read(&file, folder, MAX, &err), PV_E_INVALID);
    cr_assert_eq(file_read(&file, in_folder("none"), MAX, &err), PV_E_NOTFOUND);
    write_file(in_folder("long"), "0123456789");
    cr_assert_eq(file_read(&file, in_folder("long"), 4, &err), PV_E_LIMIT);
    cr_assert_eq(pv_mem_live(), 0);
}

static void write_long(pv_buf *out, char c, size_t n)
{
    pv_buf_reserve(out, n);
    memset(out->data, c, n);
    out->len = n;
    out->data[n] = '\0';
}

/* A child replaces the file over and over and is killed at a random moment: the file is an old one or a new one, whole. */
Test(file_replace, killed_at_any_moment_leaves_the_old_or_the_new, .timeout = 60)
{
    enum { TIMES = 50, SIZE = 300000 };

    char *path = in_folder("a.lean");
    pv_buf old_text = {0}, new_text = {0}, now = {0};
    size_t seen[2] = {0, 0};
    write_long(&old_text, 'o', SIZE);
    write_long(&new_text, 'n', SIZE + 1000);
    srand(11);
    for (int i = 0; i < TIMES; i++) {
        cr_assert_eq(pv_file_replace(path, old_text.data, old_text.len, NULL), PV_OK);
        pid_t child = fork();
        if (child == 0) {
            file_text file;
            pv_status status = file_read(&file, path, MAX, NULL);
            for (bool new = true; status == PV_OK; new = !new) {
                const pv_buf *next = new ? &new_text : &old_text;
                status = file_replace(&file, next->data, next->len, rand() % 2 == 0, NULL);
            }
            _exit(1);
        }
        usleep((useconds_t)(rand() % 12000));
        cr_assert_eq(kill(child, SIGKILL), 0);
        int status = 0;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "the child ended by itself");
        pv_buf_clear(&now);
        cr_assert_eq(pv_file_read(path, MAX, &now, NULL), PV_OK);
        bool is_new = now.len == new_text.len && memcmp(now.data, new_text.data, now.len) == 0;
        bool is_old = now.len == old_text.len && memcmp(now.data, old_text.data, now.len) == 0;
        cr_assert(is_new || is_old, "%zu bytes of neither", now.len);
        seen[is_new]++;
    }
    cr_assert(seen[0] > 0 && seen[1] > 0, "old %zu, new %zu", seen[0], seen[1]);
    pv_buf_release(&old_text);
    pv_buf_release(&new_text);
    pv_buf_release(&now);
}
