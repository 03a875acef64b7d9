#define _DEFAULT_SOURCE
#include "model_id.h"

#include "pv_buf.h"
#include "pv_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 << 10, SMALL_MAX = 64 << 20 };

static int is_weights(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 12 && strcmp(entry->d_name + n - 12, ".safetensors") == 0;
}

static pv_status add_piece(pv_sha256 *sha, int fd, off_t at, const char *path, pv_error *err)
{
    char piece[PIECE];
    ssize_t n = pread(fd, piece, sizeof piece, at);
    if (n < 0) {
        return pv_fail_os(err, PV_E_IO, errno, "%s cannot be read", path);
    }
    pv_sha256_add(sha, piece, (size_t)n);
    return PV_OK;
}

static pv_status add_weights(pv_sha256 *sha, const char *dir, const char *name, pv_error *err)
{
    pv_buf path = {0};
    struct stat info = {0};
    pv_buf_printf(&path, "%s/%s", dir, name);
    int fd = open(pv_buf_text(&path), O_RDONLY | O_CLOEXEC);
    pv_status status =
        fd < 0 || fstat(fd, &info) != 0
            ? pv_fail_os(err, PV_E_IO, errno, "%s cannot be read", pv_buf_text(&path))
            : PV_OK;
    if (status == PV_OK) {
        uint64_t length = (uint64_t)info.st_size;
        pv_sha256_add(sha, name, strlen(name) + 1);
        pv_sha256_add(sha, &length, sizeof length);
        status = add_piece(sha, fd, 0, pv_buf_text(&path), err);
    }
    if (status == PV_OK && info.st_size > PIECE) {
        status = add_piece(sha, fd, info.st_size - PIECE, pv_buf_text(&path), err);
    }
    if (fd >= 0) {
        close(fd);
    }
    pv_buf_release(&path);
    return status;
}

static pv_status add_small(pv_sha256 *sha, const char *dir, const char *name, pv_error *err)
{
    pv_buf path = {0}, text = {0};
    pv_status status = PV_OK;
    pv_buf_printf(&path, "%s/%s", dir, name);
    if (pv_file_exists(pv_buf_text(&path))) {
        status = pv_file_read(pv_buf_text(&path), SMALL_MAX, &text, err);
    }
    pv_sha256_add(sha, name, strlen(name) + 1);
    pv_sha256_add(sha, pv_buf_text(&text), text.len);
    pv_buf_release(&path);
    pv_buf_release(&text);
    return status;
}

pv_status model_id(const char *dir, char hash[PV_SHA256_TEXT], pv_error *err)
{
    static const char *const small[] = {"config.json", "tokenizer.json", "prover.json"};
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_weights, alphasort);
    pv_sha256 sha;
    pv_status status = PV_OK;
    if (count < 0) {
        return pv_fail_os(err, PV_E_NOTFOUND, errno, "%s is no checkpoint folder", dir);
    }
    pv_sha256_init(&sha);
    for (size_t i = 0; i < sizeof small / sizeof *small && status == PV_OK; i++) {
        status = add_small(&sha, dir, small[i], err);
    }
    for (int i = 0; i < count; i++) {
        if (status == PV_OK) {
            status = add_weights(&sha, dir, names[i]->d_name, err);
        }
        free(names[i]);
    }
    free(names);
    pv_sha256_end(&sha, hash);
    return status;
}
