/* lean_wire: bytes in, JSON texts out, for both dialects; and JSON strings out.
 *
 * Prover dialect: a frame is one line. Community dialect: a frame is everything up to a blank line. In both, a line that
 * does not begin with '{' where a frame may begin is junk (debug output, a tactic that prints) and is skipped without being
 * kept. The length and the nesting of a frame are checked before any JSON parser sees it.
 * Threads: one at a time per wire. */
#ifndef LEAN_WIRE_H
#define LEAN_WIRE_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum lean_framing {
    LEAN_FRAMING_LINE,       /* one line is one frame         */
    LEAN_FRAMING_BLANK_LINE, /* a blank line ends a frame     */
} lean_framing;

enum {
    LEAN_WIRE_REQUEST_MAX = 16 << 20, /* bytes of a request                                 */
    LEAN_WIRE_REPLY_MAX = 64 << 20,   /* bytes of a reply                                   */
    LEAN_WIRE_JUNK_MAX = 64 << 20,    /* bytes skipped since lean_wire_forget_junk()        */
    LEAN_WIRE_DEPTH_MAX = 64,         /* nested objects and arrays; the protocol needs 12   */
};

typedef struct lean_wire {
    lean_framing framing; /* set before the first byte */
    size_t frame_max;     /* 0 = LEAN_WIRE_REPLY_MAX */
    size_t junk_max;      /* 0 = LEAN_WIRE_JUNK_MAX */
    uint64_t junk_lines;  /* lines skipped so far */
    /* private */
    pv_buf buf;
    size_t start;    /* where the unread bytes of buf begin */
    size_t searched; /* bytes after start known to hold no end of frame */
    size_t junk_bytes;
    bool skipping; /* inside a junk line whose end has not come yet */
} lean_wire;

/* `lean_wire w = {.framing = ...};` is valid and empty. */
void lean_wire_release(lean_wire *wire);

/* Takes bytes that came from the child. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status lean_wire_feed(lean_wire *wire, const char *bytes, size_t n, pv_error *err);

/* The next whole frame: PV_OK with *frame not NULL (*n bytes, borrowed until the next call), or *frame NULL when more
 * bytes are needed. Fails: PV_E_LIMIT (a frame or the junk is too long), PV_E_PROTOCOL (nested too deep). */
PV_NODISCARD pv_status lean_wire_next(lean_wire *wire, const char **frame, size_t *n,
                                      pv_error *err);

/* Counts a frame that turned out to be no reply as junk. */
void lean_wire_count_junk(lean_wire *wire, size_t bytes);

/* Starts a new budget of junk: a request was answered. */
void lean_wire_forget_junk(lean_wire *wire);

/* True when no object or array of the JSON text is nested deeper than `max`. Any bytes are allowed. */
bool lean_wire_shallow(const char *text, size_t n, unsigned max);

/* Appends what ends a request in this framing. */
void lean_wire_end_request(lean_framing framing, pv_buf *out);

/* Appends `text` as a JSON string. ascii: nothing outside ASCII is written (\uXXXX). Without: raw UTF-8, because old
 * versions of Lean read a surrogate pair as two broken characters. Invalid UTF-8 becomes U+FFFD. */
void lean_wire_put_string(pv_buf *out, const char *text, bool ascii);

#endif
