#include "sse.h"

#include <string.h>

typedef struct span {
    const char *text;
    size_t n;
} span;

static pv_status too_long(pv_error *err)
{
    return pv_fail(err, PV_E_LIMIT, "an event of the stream is above %d bytes", SSE_EVENT_MAX);
}

static pv_status add_data(sse *s, span value, pv_error *err)
{
    if (s->data.len + value.n + 1 > SSE_EVENT_MAX) {
        return too_long(err);
    }
    if (s->has_data) {
        pv_buf_putc(&s->data, '\n');
    }
    pv_buf_append(&s->data, value.text, value.n);
    s->has_data = true;
    return pv_buf_ok(&s->data) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static pv_status dispatch(sse *s, sse_event *on_event, void *user, pv_error *err)
{
    pv_status status =
        s->has_data ? on_event(user, pv_buf_text(&s->data), s->data.len, err) : PV_OK;
    pv_buf_clear(&s->data);
    s->has_data = false;
    return status;
}

/* The value of a `data` line; false for every other line. */
static bool data_of(span line, span *value)
{
    static const char name[] = "data";
    size_t n = sizeof name - 1;
    if (line.n < n || memcmp(line.text, name, n) != 0 || (line.n > n && line.text[n] != ':')) {
        return false;
    }
    size_t skip = n + (line.n > n) + (line.n > n + 1 && line.text[n + 1] == ' ');
    *value = (span){line.text + skip, line.n - skip};
    return true;
}

static pv_status take_line(sse *s, span line, sse_event *on_event, void *user, pv_error *err)
{
    span value;
    if (!s->begun && line.n >= 3 && memcmp(line.text, "\xEF\xBB\xBF", 3) == 0) {
        line = (span){line.text + 3, line.n - 3};
    }
    s->begun = true;
    if (line.n == 0) {
        return dispatch(s, on_event, user, err);
    }
    return data_of(line, &value) ? add_data(s, value, err) : PV_OK;
}

/* The line that the bytes end, where it lies: in the bytes alone, or behind what was kept of it before. */
static pv_status end_line(sse *s, span tail, sse_event *on_event, void *user, pv_error *err)
{
    if (s->line.len == 0) {
        return take_line(s, tail, on_event, user, err);
    }
    pv_buf_append(&s->line, tail.text, tail.n);
    if (!pv_buf_ok(&s->line)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_status status = take_line(s, (span){s->line.data, s->line.len}, on_event, user, err);
    pv_buf_clear(&s->line);
    return status;
}

/* Bytes before the first CR or LF; n when there is none. */
static size_t line_length(const char *bytes, size_t n)
{
    const char *lf = memchr(bytes, '\n', n);
    size_t to_lf = lf == NULL ? n : (size_t)(lf - bytes);
    const char *cr = memchr(bytes, '\r', to_lf);
    return cr == NULL ? to_lf : (size_t)(cr - bytes);
}

pv_status sse_feed(sse *s, const char *bytes, size_t n, sse_event *on_event, void *user,
                   pv_error *err)
{
    pv_status status = PV_OK;
    while (n > 0 && status == PV_OK) {
        if (s->after_cr && bytes[0] == '\n') {
            s->after_cr = false;
            bytes++;
            n--;
            continue;
        }
        size_t length = line_length(bytes, n);
        s->after_cr = length < n && bytes[length] == '\r';
        if (s->line.len + length > SSE_EVENT_MAX) {
            status = too_long(err);
        } else if (length < n) {
            status = end_line(s, (span){bytes, length}, on_event, user, err);
        } else {
            pv_buf_append(&s->line, bytes, length);
            status = pv_buf_ok(&s->line) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
        }
        size_t used = length < n ? length + 1 : length;
        bytes += used;
        n -= used;
    }
    return status;
}

void sse_release(sse *s)
{
    pv_buf_release(&s->line);
    pv_buf_release(&s->data);
}
