/* pv_error: how a function that can fail says so.
 *
 * A fallible function returns pv_status and takes `pv_error *err` last. `err` may be NULL. The first cause wins:
 * pv_fail() on an error that is already set keeps it, and callers add context with pv_error_wrap().
 * Three things are never mixed: a failure (pv_status), an outcome (a result enum of its own: a tactic failed, a budget
 * is spent), and misuse (assert in debug builds, PV_E_MISUSE with unchanged state in release builds).
 * Threads: a pv_error belongs to one caller; nothing here is shared. */
#ifndef PV_ERROR_H
#define PV_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PV_STATUS_TABLE(X)                                                                         \
    X(PV_OK, 0, "ok")                                                                              \
    X(PV_E_MISUSE, -1, "misuse of an interface")                                                   \
    X(PV_E_NOMEM, -2, "out of memory")                                                             \
    X(PV_E_IO, -3, "input or output failed")                                                       \
    X(PV_E_NOTFOUND, -4, "not found")                                                              \
    X(PV_E_INVALID, -5, "invalid input")                                                           \
    X(PV_E_PROTOCOL, -6, "protocol error")                                                         \
    X(PV_E_SPAWN, -7, "a process could not be started")                                            \
    X(PV_E_TIMEOUT, -8, "timed out")                                                               \
    X(PV_E_CANCELLED, -9, "cancelled")                                                             \
    X(PV_E_LOST, -10, "a worker was lost")                                                         \
    X(PV_E_UNSUPPORTED, -11, "not supported")                                                      \
    X(PV_E_LIMIT, -12, "a limit was reached")                                                      \
    X(PV_E_DEVICE, -13, "a device failed")

typedef enum pv_status {

#define X(name, value, text) name = (value),
    PV_STATUS_TABLE(X)
#undef X
} pv_status;

enum { PV_ERROR_MSG_MAX = 1024 };

typedef struct pv_error {
    pv_status status;           /* PV_OK: nothing went wrong (yet)                             */
    int os_code;                /* errno at the failure, 0 when it does not apply              */
    char msg[PV_ERROR_MSG_MAX]; /* UTF-8, NUL-terminated: what failed, where, what to do       */
} pv_error;

#if defined(__GNUC__)
#define PV_NODISCARD         __attribute__((warn_unused_result))
#define PV_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PV_NODISCARD
#define PV_PRINTF(fmt, args)
#endif

/* The fixed English text of a status; never NULL, never freed. */
const char *pv_status_text(pv_status status);

/* Sets *err (when err is not NULL and not set yet) and returns `status`, so that `return pv_fail(...)` reads well. */
pv_status pv_fail(pv_error *err, pv_status status, const char *fmt, ...) PV_PRINTF(3, 4);

/* pv_fail() for a failed system call: appends strerror(os_code) to the message and keeps the code. */
pv_status pv_fail_os(pv_error *err, pv_status status, int os_code, const char *fmt, ...)
    PV_PRINTF(4, 5);

/* Puts "CONTEXT: " before the message of an error that is set; returns err's status (PV_E_MISUSE when unset). */
pv_status pv_error_wrap(pv_error *err, const char *fmt, ...) PV_PRINTF(2, 3);

/* Forgets what was set. */
void pv_error_clear(pv_error *err);

#ifdef __cplusplus
}
#endif
#endif
