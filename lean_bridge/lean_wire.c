#include "lean_wire.h"

#include "pv_utf8.h"

#include <string.h>

void lean_wire_release(lean_wire *wire)
{
    pv_buf_release(&wire->buf);
    wire->start = 0;
    wire->searched = 0;
}

void lean_wire_count_junk(lean_wire *wire, size_t bytes)
{
    wire->junk_lines++;
    wire->junk_bytes += bytes;
}

void lean_wire_forget_junk(lean_wire *wire)
{
    wire->junk_bytes = 0;
}

/* Moves the unread bytes to the front, so that the buffer holds little more than one frame. */
static void compact(lean_wire *wire)
{
    if (wire->start > 0) {
        pv_buf_consume(&wire->buf, wire->start);
        wire->start = 0;
    }
}

pv_status lean_wire_feed(lean_wire *wire, const char *bytes, size_t n, pv_error *err)
{
    if (wire->skipping) {
        const char *end = memchr(bytes, '\n', n);
        size_t dropped = end == NULL ? n : (size_t)(end - bytes) + 1;
        wire->junk_bytes += dropped;
        wire->skipping = end == NULL;
        bytes += dropped;
        n -= dropped;
    }
    compact(wire);
    pv_buf_append(&wire->buf, bytes, n);
    if (!pv_buf_ok(&wire->buf)) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a reply of more than %zu bytes", n);
    }
    return PV_OK;
}

static const char *unread(const lean_wire *wire, size_t *n)
{
    *n = wire->buf.len - wire->start;
    return pv_buf_text(&wire->buf) + wire->start;
}

static void drop(lean_wire *wire, size_t n)
{
    wire->start += n;
    wire->searched = 0;
}

/* Skips lines that cannot begin a frame; false when no unread byte is left. */
static bool skip_junk(lean_wire *wire)
{
    size_t n;
    const char *p = unread(wire, &n);
    while (n > 0 && *p != '{') {
        const char *end = memchr(p, '\n', n);
        size_t line = end == NULL ? n : (size_t)(end - p) + 1;
        if (*p != '\n') { /* a bare line end between frames is no junk */
            lean_wire_count_junk(wire, line);
        }
        wire->skipping = end == NULL;
        drop(wire, line);
        p = unread(wire, &n);
    }
    return n > 0;
}

/* The bytes before the frame's end, or n when it has not come; *gap is the length of the end. */
static size_t find_end(const lean_wire *wire, const char *p, size_t n, size_t *gap)
{
    size_t at = wire->searched;
    *gap = 1;
    while (at < n) {
        const char *end = memchr(p + at, '\n', n - at);
        if (end == NULL) {
            return n;
        }
        at = (size_t)(end - p);
        if (wire->framing == LEAN_FRAMING_LINE) {
            return at;
        }
        if (at + 1 < n && p[at + 1] == '\n') {
            *gap = 2;
            return at;
        }
        at++;
    }
    return n;
}

static pv_status check_limits(const lean_wire *wire, size_t frame, pv_error *err)
{
    size_t frame_max = wire->frame_max == 0 ? LEAN_WIRE_REPLY_MAX : wire->frame_max;
    size_t junk_max = wire->junk_max == 0 ? LEAN_WIRE_JUNK_MAX : wire->junk_max;
    if (frame > frame_max) {
        return pv_fail(err, PV_E_LIMIT, "a reply is longer than %zu bytes", frame_max);
    }
    if (wire->junk_bytes > junk_max) {
        return pv_fail(err, PV_E_LIMIT, "more than %zu bytes of output that is no reply", junk_max);
    }
    return PV_OK;
}

pv_status lean_wire_next(lean_wire *wire, const char **frame, size_t *n, pv_error *err)
{
    *frame = NULL;
    *n = 0;
    size_t have = 0;
    size_t gap = 0;
    size_t end = 0;
    const char *p = "";
    if (skip_junk(wire)) {
        p = unread(wire, &have);
        end = find_end(wire, p, have, &gap);
    }
    pv_status status = check_limits(wire, end, err);
    if (status != PV_OK) {
        return status;
    }
    if (end == have) {
        /* The last byte is looked at again: it may be the first half of a blank line. */
        wire->searched = have > 0 ? have - 1 : 0;
        return PV_OK;
    }
    drop(wire, end + gap);
    if (!lean_wire_shallow(p, end, LEAN_WIRE_DEPTH_MAX)) {
        return pv_fail(err, PV_E_PROTOCOL, "a reply is nested deeper than %d levels",
                       LEAN_WIRE_DEPTH_MAX);
    }
    *frame = p;
    *n = end;
    return PV_OK;
}

bool lean_wire_shallow(const char *text, size_t n, unsigned max)
{
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\\' && quoted) {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            depth++;
            if (depth > max) {
                return false;
            }
        } else if (!quoted && (c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

void lean_wire_end_request(lean_framing framing, pv_buf *out)
{
    pv_buf_puts(out, framing == LEAN_FRAMING_LINE ? "\n" : "\n\n");
}

static void put_escape(pv_buf *out, uint32_t unit)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\',
                    'u',
                    digits[unit >> 12 & 15],
                    digits[unit >> 8 & 15],
                    digits[unit >> 4 & 15],
                    digits[unit & 15]};
    pv_buf_append(out, text, sizeof text);
}

static void put_ascii(pv_buf *out, char c)
{
    switch (c) {
    case '"':
        pv_buf_puts(out, "\\\"");
        break;
    case '\\':
        pv_buf_puts(out, "\\\\");
        break;
    case '\n':
        pv_buf_puts(out, "\\n");
        break;
    case '\t':
        pv_buf_puts(out, "\\t");
        break;
    default:
        put_escape(out, (unsigned char)c);
        break;
    }
}

static void put_code_point(pv_buf *out, uint32_t c)
{
    if (c < 0x10000) {
        put_escape(out, c);
    } else {
        put_escape(out, 0xd800 + ((c - 0x10000) >> 10));
        put_escape(out, 0xdc00 + ((c - 0x10000) & 0x3ff));
    }
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void lean_wire_put_string(pv_buf *out, const char *text, bool ascii)
{
    size_t n = strlen(text);
    pv_buf_putc(out, '"');
    for (size_t i = 0; i < n;) {
        size_t run = i;
        while (run < n && is_plain((unsigned char)text[run])) {
            run++;
        }
        pv_buf_append(out, text + i, run - i);
        i = run;
        if (i == n) {
            break;
        }
        uint32_t c = 0xfffd;
        size_t length = pv_utf8_decode(text + i, n - i, &c);
        if (length == 1) {
            put_ascii(out, text[i]);
        } else if (length == 0 || ascii) {
            put_code_point(out, length == 0 ? 0xfffd : c);
        } else {
            pv_buf_append(out, text + i, length);
        }
        i += length == 0 ? 1 : length;
    }
    pv_buf_putc(out, '"');
}
