/* pv_log: what the program does, for whoever watches. The library never prints: the command line sets a sink.
 * Threads: pv_log_set() before any other thread starts; pv_log() from any thread (the sink must allow it). */
#ifndef PV_LOG_H
#define PV_LOG_H

#include "pv_error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pv_log_level {
    PV_LOG_ERROR,
    PV_LOG_WARN,
    PV_LOG_INFO,
    PV_LOG_DEBUG,
    PV_LOG_TRACE,
} pv_log_level;

/* `line` has no newline at its end and is borrowed for the call. */
typedef void pv_log_sink(void *user, pv_log_level level, const char *line);

/* Messages above `max` are not formatted. sink NULL: silence (the state at start). */
void pv_log_set(pv_log_sink *sink, void *user, pv_log_level max);

void pv_log(pv_log_level level, const char *fmt, ...) PV_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
