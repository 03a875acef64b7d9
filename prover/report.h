/* report: results on stdout, for people or as JSON lines. */
#ifndef REPORT_H
#define REPORT_H

#include "attempt.h"

/* Everything that a result says beside the theorem itself. */
typedef struct report_context {
    const session *s;
    const source *src;
    const source *statement; /* what src was judged against; NULL: itself */
    const char *policy;
    const char *lean_version; /* NULL when no worker was ready */
} report_context;

/* One theorem. Fails: PV_E_IO when stdout does not take it (closed, full). */
PV_NODISCARD pv_status report_attempt(const report_context *context, const theorem *t,
                                      const attempt *a, pv_error *err);

/* One verified file. */
PV_NODISCARD pv_status report_verdict(const report_context *context, const char *const *names,
                                      size_t name_count, const verdict *v, pv_error *err);

#endif
