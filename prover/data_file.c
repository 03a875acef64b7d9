#include "data_file.h"

#include "pv_clock.h"
#include "pv_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pv_status take_line(const char *path, const char *line, size_t n, size_t number,
                           data_file_row *on_row, void *user, pv_error *err)
{
    json_error_t where;
    json_t *row = json_loadb(line, n, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(row)) {
        json_decref(row);
        return pv_fail(err, PV_E_INVALID, "%s:%zu: not a JSON object: %s", path, number,
                       where.text);
    }
    pv_status status = on_row == NULL ? PV_OK : on_row(user, row, err);
    json_decref(row);
    return status;
}

/* Takes the whole lines at the front of `rest`. */
static pv_status take_lines(const char *path, pv_buf *rest, size_t *number, uint64_t *length,
                            data_file_row *on_row, void *user, pv_error *err)
{
    pv_status status = PV_OK;
    size_t at = 0;
    const char *end;
    while (status == PV_OK && at < rest->len &&
           (end = memchr(rest->data + at, '\n', rest->len - at)) != NULL) {
        size_t size = (size_t)(end - rest->data) - at;
        status = take_line(path, rest->data + at, size, ++*number, on_row, user, err);
        at += size + 1;
    }
    *length += at;
    pv_buf_consume(rest, at);
    return status;
}

/* Reads the file to its end; *length are the bytes of whole lines, *torn those behind the last line end. */
static pv_status read_rows(int fd, const char *path, data_file_row *on_row, void *user,
                           uint64_t *length, uint64_t *torn, pv_error *err)
{
    enum { CHUNK = 1 << 16 };

    pv_status status = PV_OK;
    pv_buf rest = {0};
    size_t number = 0;
    for (ssize_t n = 1; status == PV_OK && n > 0;) {
        if (!pv_buf_reserve(&rest, CHUNK)) {
            status = pv_fail(err, PV_E_NOMEM, "out of memory while reading %s", path);
            break;
        }
        n = read(fd, rest.data + rest.len, CHUNK);
        if (n < 0) {
            status = pv_fail_os(err, PV_E_IO, errno, "%s cannot be read", path);
            break;
        }
        rest.len += (size_t)n;
        rest.data[rest.len] = '\0';
        status = take_lines(path, &rest, &number, length, on_row, user, err);
    }
    *torn = rest.len;
    pv_buf_release(&rest);
    return status;
}

pv_status data_file_read(const char *path, data_file_row *on_row, void *user, pv_error *err)
{
    uint64_t length = 0, torn = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return pv_fail_os(err, PV_E_NOTFOUND, errno, "%s cannot be opened", path);
    }
    pv_status status = read_rows(fd, path, on_row, user, &length, &torn, err);
    close(fd);
    return status;
}

static pv_status lock(const data_file *file, pv_error *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(file->fd, F_SETLK, &whole) == 0) {
        return PV_OK;
    }
    if (errno == EACCES || errno == EAGAIN) {
        return pv_fail(err, PV_E_LIMIT, "%s is being written by another process", file->path);
    }
    return pv_fail_os(err, PV_E_IO, errno, "%s cannot be locked", file->path);
}

static pv_status cut(const data_file *file, pv_error *err)
{
    if (ftruncate(file->fd, (off_t)file->length) != 0) {
        return pv_fail_os(err, PV_E_IO, errno, "the torn last line of %s cannot be cut off",
                          file->path);
    }
    return PV_OK;
}

static pv_status read_back(data_file *file, data_file_row *on_row, void *user, pv_error *err)
{
    pv_status status = lock(file, err);
    if (status == PV_OK) {
        status = read_rows(file->fd, file->path, on_row, user, &file->length, &file->torn, err);
    }
    if (status == PV_OK && file->torn > 0) {
        status = cut(file, err);
    }
    return status;
}

/* A pipe or a device is only written to. */
static int open_path(const char *path, bool *regular)
{
    struct stat info;
    *regular = stat(path, &info) != 0 || S_ISREG(info.st_mode);
    return open(path, (*regular ? O_RDWR | O_CREAT : O_WRONLY) | O_APPEND | O_CLOEXEC, 0666);
}

pv_status data_file_open(data_file *out, const char *path, data_file_row *on_row, void *user,
                         pv_error *err)
{
    memset(out, 0, sizeof *out);
    out->path = pv_strdup(path);
    out->fd = open_path(path, &out->regular);
    out->synced_ms = pv_clock_ms();
    pv_status status = PV_OK;
    if (out->fd < 0) {
        status = pv_fail_os(err, PV_E_IO, errno, "%s cannot be opened for writing", path);
    } else if (out->path == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    } else if (out->regular) {
        status = read_back(out, on_row, user, err);
    }
    if (status != PV_OK) {
        pv_status closed = data_file_close(out, NULL);
        (void)closed; /* the first cause is told */
    }
    return status;
}

/* One write; what a full disk took of it is taken back. */
static pv_status write_line(data_file *file, const char *line, size_t n, pv_error *err)
{
    ssize_t written;
    do {
        written = write(file->fd, line, n);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)n) {
        file->length += n;
        file->dirty = true;
        return PV_OK;
    }
    int code = written < 0 ? errno : ENOSPC;
    if (written > 0 && file->regular) {
        pv_status done = cut(file, NULL);
        (void)done; /* the next opening cuts it */
    }
    return pv_fail_os(err, PV_E_IO, code, "a row cannot be written to %s", file->path);
}

pv_status data_file_append(data_file *file, const json_t *row, pv_error *err)
{
    char *line = json_dumps(row, JSON_COMPACT);
    if (line == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a row of %s", file->path);
    }
    size_t n = strlen(line);
    line[n] = '\n'; /* in place of the NUL */
    pv_status status = write_line(file, line, n + 1, err);
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(line);
    return status;
}

pv_status data_file_sync(data_file *file, uint64_t every_ms, pv_error *err)
{
    uint64_t now = pv_clock_ms();
    if (!file->dirty || !file->regular || now - file->synced_ms < every_ms) {
        return PV_OK;
    }
    file->dirty = false;
    file->synced_ms = now;
    if (fdatasync(file->fd) != 0) {
        return pv_fail_os(err, PV_E_IO, errno, "%s cannot be synced", file->path);
    }
    return PV_OK;
}

pv_status data_file_close(data_file *file, pv_error *err)
{
    pv_status status = PV_OK;
    if (file->fd >= 0) {
        status = data_file_sync(file, 0, err);
        if (close(file->fd) != 0 && status == PV_OK) {
            status = pv_fail_os(err, PV_E_IO, errno, "%s cannot be closed", file->path);
        }
    }
    file->fd = -1;
    pv_free(file->path);
    file->path = NULL;
    return status;
}
