/* lean_export: whether a text may be given to Lean as an export (docs/protocol.md). Internal to lean_bridge.
 *
 * An export comes from a process that a proof may have taken over, and Lean's JSON reader does what it is told: it would
 * work out 1e999999999. So nothing passes but lists and objects, not deep, whole numbers that are not long, and strings.
 * What it says is for Lean to read. Threads: any. */
#ifndef LEAN_EXPORT_H
#define LEAN_EXPORT_H

#include "pv_error.h"

#include <stddef.h>

enum {
    LEAN_EXPORT_MAX = 15 << 20, /* bytes; Lean writes no longer ones than 12,000,000 */
    LEAN_EXPORT_DEPTH_MAX = 8,  /* nested lists and objects: the format needs 6      */
    LEAN_EXPORT_DIGITS_MAX = 20 /* of a number that is no string                     */
};

/* Fails: PV_E_INVALID, with what is wrong and at which byte. */
PV_NODISCARD pv_status lean_export_look(const char *text, size_t n, pv_error *err);

#endif
