/* file_replace: a file of the user's is read, and later replaced by a new text in one step or not at all.
 *
 *     file_read(&f, path, max, err);
 *     ... f.text ...
 *     file_replace(&f, bytes, n, backup, err);
 *     file_release(&f);
 * A symbolic link stays one: the file that it leads to is replaced. Hard links are told apart by that: other names of the old file keep it.
 * Threads: any; one at a time for each file. */
#ifndef FILE_REPLACE_H
#define FILE_REPLACE_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <sys/stat.h>

typedef struct file_text {
    char *path; /* as given               */
    char *real; /* without links          */
    pv_buf text;
    struct stat info; /* when it was read */
} file_text;

/* Fails: PV_E_NOTFOUND, PV_E_IO, PV_E_LIMIT (more than `max` bytes), PV_E_INVALID (no regular file), PV_E_NOMEM; nothing to release then. */
PV_NODISCARD pv_status file_read(file_text *out, const char *path, size_t max, pv_error *err);
void file_release(file_text *file);

/* Replaces the file: a temporary file in its folder gets the bytes, its owner, group and mode, is synced and renamed over it, and the folder
 * is synced. Whatever happens, also SIGKILL, the file is the old one or the new one; a temporary file `.NAME.prover-XXXXXX` may stay
 * behind a killed process. `backup`: the old bytes are kept in PATH.bak, written in the same way first (an older one is replaced).
 * On success *file stands for the new text. Fails, the file as it was: PV_E_INVALID (it is not what was read any more), PV_E_IO (no
 * right to write or to keep the owner, disk full), PV_E_NOMEM. */
PV_NODISCARD pv_status file_replace(file_text *file, const void *bytes, size_t n, bool backup,
                                    pv_error *err);

#endif
