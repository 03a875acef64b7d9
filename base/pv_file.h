/* pv_file: whole files in and out. Threads: any; each call stands alone. */
#ifndef PV_FILE_H
#define PV_FILE_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Appends the bytes of the file at `path` ("-" is standard input) to *out. Fails: PV_E_NOTFOUND, PV_E_IO, PV_E_NOMEM,
 * and PV_E_LIMIT when it holds more than `max` bytes; *out then keeps what it had. */
PV_NODISCARD pv_status pv_file_read(const char *path, size_t max, pv_buf *out, pv_error *err);

/* Replaces the file at `path` as one step: a sibling is written, synced and renamed over it, so that a reader
 * sees the old bytes or the new ones. Fails: PV_E_IO (path and cause in the message), the old file untouched. */
PV_NODISCARD pv_status pv_file_replace(const char *path, const void *bytes, size_t n,
                                       pv_error *err);

bool pv_file_exists(const char *path);

#ifdef __cplusplus
}
#endif
#endif
