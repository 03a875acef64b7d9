#include "lean_folder.h"

#include "pv_buf.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 32 };

typedef struct walk {
    size_t root; /* bytes of the root's path, with the slash behind it */
    lean_folder_take *take;
    void *user;
} walk;

static bool is_left_out(const char *name)
{
    static const char *const names[] = {"lake-packages", "build", "lakefile.lean"};
    bool out = name[0] == '.';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        out = out || strcmp(name, names[i]) == 0;
    }
    return out;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_lean(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".lean") == 0;
}

static pv_status walk_folder(const walk *w, const char *path, unsigned depth, pv_error *err);

static pv_status walk_entry(const walk *w, const char *path, unsigned depth, pv_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return PV_OK; /* a link to nowhere */
    }
    if (S_ISDIR(info.st_mode)) {
        return depth < DEPTH_MAX ? walk_folder(w, path, depth + 1, err) : PV_OK;
    }
    return is_lean(path) ? w->take(w->user, path, path + w->root, err) : PV_OK;
}

static pv_status walk_folder(const walk *w, const char *path, unsigned depth, pv_error *err)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, by_name);
    pv_status status = PV_OK;
    if (count < 0) {
        return pv_fail_os(err, PV_E_IO, errno, "%s: the folder cannot be read", path);
    }
    for (int i = 0; i < count; i++) {
        if (status == PV_OK && !is_left_out(names[i]->d_name)) {
            pv_buf below = {0};
            pv_buf_printf(&below, "%s/%s", path, names[i]->d_name);
            status = pv_buf_ok(&below) ? walk_entry(w, pv_buf_text(&below), depth, err)
                                       : pv_fail(err, PV_E_NOMEM, "out of memory");
            pv_buf_release(&below);
        }
        free(names[i]);
    }
    free(names);
    return status;
}

pv_status lean_folder_each(const char *root, lean_folder_take *take, void *user, pv_error *err)
{
    walk w = {strlen(root) + 1, take, user};
    return walk_folder(&w, root, 1, err);
}
