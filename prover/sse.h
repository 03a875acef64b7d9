/* sse: server-sent events (WHATWG HTML, section 9.2.6), as answers that stream have them: `data:` lines that a blank line ends.
 *
 * Lines end with LF, CR LF or CR; data lines of one event are joined by LF; comments and the fields event, id and retry are passed
 * over. An event at the end of the stream without its blank line does not count.
 * Embedded in its owner; {0} is the start of a stream. Threads: one at a time. */
#ifndef SSE_H
#define SSE_H

#include "pv_buf.h"

#include <stdbool.h>

enum { SSE_EVENT_MAX = 1 << 20 }; /* bytes of one line, and of one event's data */

typedef struct sse {
    pv_buf line, data;
    bool has_data, after_cr, begun;
} sse;

/* An event's data, NUL-terminated, borrowed for the call. A failure ends the feeding and is given back. */
typedef pv_status sse_event(void *user, const char *data, size_t n, pv_error *err);

/* Takes the next bytes, cut anywhere. Fails: PV_E_LIMIT, PV_E_NOMEM, and what on_event fails with; then the stream is over. */
PV_NODISCARD pv_status sse_feed(sse *s, const char *bytes, size_t n, sse_event *on_event,
                                void *user, pv_error *err);
void sse_release(sse *s);

#endif
