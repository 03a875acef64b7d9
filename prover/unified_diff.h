/* unified_diff: how one text becomes another, as `diff -u` says it. Pure. Threads: any. */
#ifndef UNIFIED_DIFF_H
#define UNIFIED_DIFF_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stddef.h>

/* Appends "--- a/NAME", "+++ b/NAME" and the hunks, with three lines around each change; nothing when the texts are equal. Lines end with
 * LF and are compared as bytes, a CR before it included; a last line without one is followed by the line that `patch` expects
 * ("\ No newline at end of file"). The texts may hold any bytes. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status unified_diff(const char *name, const char *old_text, size_t old_n,
                                    const char *new_text, size_t new_n, pv_buf *out, pv_error *err);

#endif
