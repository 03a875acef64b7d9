#include "pv_file.h"

#include "pv_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pv_status read_all(int fd, const char *path, size_t max, pv_buf *out, pv_error *err)
{
    enum { STEP = 1 << 16 };

    size_t start = out->len;
    for (;;) {
        if (!pv_buf_reserve(out, STEP)) {
            return pv_fail(err, PV_E_NOMEM, "%s: out of memory while reading", path);
        }
        ssize_t n = read(fd, out->data + out->len, STEP);
        if (n == 0) {
            return PV_OK;
        }
        if (n < 0 && errno != EINTR) {
            return pv_fail_os(err, PV_E_IO, errno, "%s: cannot read", path);
        }
        if (n > 0) {
            out->len += (size_t)n;
            out->data[out->len] = '\0';
        }
        if (out->len - start > max) {
            return pv_fail(err, PV_E_LIMIT, "%s: larger than %zu bytes", path, max);
        }
    }
}

pv_status pv_file_read(const char *path, size_t max, pv_buf *out, pv_error *err)
{
    bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        pv_status status = errno == ENOENT ? PV_E_NOTFOUND : PV_E_IO;
        return pv_fail_os(err, status, errno, "%s: cannot open", path);
    }
    size_t start = out->len;
    pv_status status = read_all(fd, standard_input ? "standard input" : path, max, out, err);
    if (status != PV_OK && out->data != NULL) {
        out->len = start;
        out->data[start] = '\0';
    }
    if (!standard_input) {
        close(fd);
    }
    return status;
}

static pv_status write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno != EINTR) {
            return PV_E_IO;
        }
        if (k > 0) {
            bytes += k;
            n -= (size_t)k;
        }
    }
    return fsync(fd) == 0 ? PV_OK : PV_E_IO;
}

pv_status pv_file_replace(const char *path, const void *bytes, size_t n, pv_error *err)
{
    pv_buf temp = {0};
    pv_buf_printf(&temp, "%s.XXXXXX", path);
    if (!pv_buf_ok(&temp)) {
        return pv_fail(err, PV_E_NOMEM, "%s: out of memory", path);
    }
    int fd = mkstemp(temp.data);
    if (fd < 0) {
        int code = errno;
        pv_buf_release(&temp);
        return pv_fail_os(err, PV_E_IO, code, "%s: cannot create a temporary file beside it", path);
    }
    struct stat old;
    bool keep_mode = stat(path, &old) == 0;
    pv_status status = write_all(fd, bytes, n);
    int code = errno;
    if (status == PV_OK && fchmod(fd, keep_mode ? old.st_mode & 07777 : 0644) != 0) {
        status = PV_E_IO;
        code = errno;
    }
    if (close(fd) != 0 && status == PV_OK) {
        status = PV_E_IO;
        code = errno;
    }
    if (status == PV_OK && rename(temp.data, path) != 0) {
        status = PV_E_IO;
        code = errno;
    }
    if (status != PV_OK) {
        unlink(temp.data);
        status = pv_fail_os(err, PV_E_IO, code, "%s: cannot write", path);
    }
    pv_buf_release(&temp);
    return status;
}

bool pv_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
