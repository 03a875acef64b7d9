#define _XOPEN_SOURCE 700 /* realpath */
#include "file_replace.h"

#include "pv_file.h"
#include "pv_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void file_release(file_text *file)
{
    pv_free(file->path);
    pv_free(file->real);
    pv_buf_release(&file->text);
    memset(file, 0, sizeof *file);
}

static pv_status look_at(const char *path, struct stat *info, pv_error *err)
{
    if (stat(path, info) != 0) {
        return pv_fail_os(err, errno == ENOENT ? PV_E_NOTFOUND : PV_E_IO, errno, "%s: cannot open",
                          path);
    }
    return S_ISREG(info->st_mode) ? PV_OK : pv_fail(err, PV_E_INVALID, "%s is no file", path);
}

pv_status file_read(file_text *out, const char *path, size_t max, pv_error *err)
{
    memset(out, 0, sizeof *out);
    pv_status status = look_at(path, &out->info, err);
    if (status != PV_OK) {
        return status;
    }
    char *real = realpath(path, NULL);
    out->path = pv_strdup(path);
    out->real = real == NULL ? NULL : pv_strdup(real);
    free(real);
    if (out->path == NULL || out->real == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "%s: out of memory", path);
    } else {
        status = pv_file_read(out->real, max, &out->text, err);
    }
    if (status != PV_OK) {
        file_release(out);
    }
    return status;
}

/* ---- one step ---- */

static pv_status cannot(pv_error *err, const char *path, const char *what)
{
    return pv_fail_os(err, PV_E_IO, errno, "%s: %s; the file is as it was", path, what);
}

static pv_status write_all(int fd, const char *path, const char *bytes, size_t n, pv_error *err)
{
    while (n > 0) {
        ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno != EINTR) {
            return cannot(err, path, "cannot write a temporary file beside it");
        }
        if (k > 0) {
            bytes += k;
            n -= (size_t)k;
        }
    }
    return PV_OK;
}

/* Gives the temporary file what the old one has. The owner comes first: changing it clears bits of the mode. */
static pv_status take_after(int fd, const file_text *file, pv_error *err)
{
    struct stat made;
    if (fstat(fd, &made) != 0) {
        return cannot(err, file->path, "cannot look at the temporary file beside it");
    }
    bool other = made.st_uid != file->info.st_uid || made.st_gid != file->info.st_gid;
    if (other && fchown(fd, file->info.st_uid, file->info.st_gid) != 0) {
        return cannot(err, file->path, "cannot keep its owner and group");
    }
    if (fchmod(fd, file->info.st_mode & 07777) != 0) {
        return cannot(err, file->path, "cannot keep its mode");
    }
    return fsync(fd) == 0 ? PV_OK : cannot(err, file->path, "cannot sync the temporary file");
}

/* What is there now must be what was read. */
static pv_status check_same(const file_text *file, pv_error *err)
{
    pv_buf now = {0};
    pv_status status = pv_file_read(file->real, file->text.len + 1, &now, NULL);
    bool same = status == PV_OK && now.len == file->text.len &&
                (now.len == 0 || memcmp(now.data, file->text.data, now.len) == 0);
    pv_buf_release(&now);
    return same ? PV_OK
                : pv_fail(err, PV_E_INVALID,
                          "%s was changed while it was worked on; nothing was written, run again",
                          file->path);
}

/* The folder's entry reaches the disk, too. A file system that cannot do that has renamed all the same. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = pv_strndup(path, slash == NULL || slash == path ? 1 : (size_t)(slash - path));
    int fd = folder == NULL ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd);
        close(fd);
    }
    pv_free(folder);
}

static char *temporary_name(const char *path)
{
    pv_buf name = {0};
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    pv_buf_append(&name, path, folder);
    pv_buf_printf(&name, ".%s.prover-XXXXXX", path + folder);
    return pv_buf_detach(&name);
}

/* Puts bytes at `to` with the old file's owner and mode. `check`: the file must be what was read until the last moment. */
static pv_status put(const file_text *file, const char *to, const char *bytes, size_t n, bool check,
                     pv_error *err)
{
    char *temporary = temporary_name(to);
    if (temporary == NULL) {
        return pv_fail(err, PV_E_NOMEM, "%s: out of memory", file->path);
    }
    int fd = mkstemp(temporary);
    if (fd < 0) {
        pv_status status = cannot(err, file->path, "cannot make a temporary file beside it");
        pv_free(temporary);
        return status;
    }
    pv_status status = write_all(fd, file->path, bytes, n, err);
    if (status == PV_OK) {
        status = take_after(fd, file, err);
    }
    if (close(fd) != 0 && status == PV_OK) {
        status = cannot(err, file->path, "cannot close the temporary file");
    }
    if (status == PV_OK && check) {
        status = check_same(file, err);
    }
    if (status == PV_OK && rename(temporary, to) != 0) {
        status = cannot(err, file->path, "cannot rename the temporary file");
    }
    if (status == PV_OK) {
        sync_folder(to);
    } else {
        unlink(temporary);
    }
    pv_free(temporary);
    return status;
}

static pv_status put_backup(const file_text *file, pv_error *err)
{
    pv_buf to = {0};
    pv_buf_printf(&to, "%s.bak", file->real);
    pv_status status = pv_buf_ok(&to) ? put(file, pv_buf_text(&to), pv_buf_text(&file->text),
                                            file->text.len, false, err)
                                      : pv_fail(err, PV_E_NOMEM, "%s: out of memory", file->path);
    pv_buf_release(&to);
    return status;
}

pv_status file_replace(file_text *file, const void *bytes, size_t n, bool backup, pv_error *err)
{
    pv_buf text = {0};
    pv_buf_append(&text, bytes, n);
    if (!pv_buf_ok(&text)) {
        return pv_fail(err, PV_E_NOMEM, "%s: out of memory", file->path);
    }
    pv_status status = check_same(file, err);
    if (status == PV_OK && backup) {
        status = put_backup(file, err);
    }
    if (status == PV_OK) {
        status = put(file, file->real, bytes, n, true, err);
    }
    if (status == PV_OK) {
        pv_buf old = file->text;
        file->text = text;
        text = old;
    }
    pv_buf_release(&text);
    return status;
}
