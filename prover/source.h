/* source: the user's text, and how a proof is put into it. Nothing here asks Lean.
 *
 * The text is cut once, into the imports at its top (the header) and the rest (the body). The body given to Lean is as long as
 * the whole text: the header's bytes are blanked, so that every position that Lean reports is a position in the user's bytes. */
#ifndef SOURCE_H
#define SOURCE_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct source {
    char *name;    /* for messages: a path, "standard input", or "the statement" */
    char *header;  /* what goes before: --header, then the imports of the text   */
    char *body;    /* the user's bytes with the imports blanked; NUL-terminated  */
    char *text;    /* the user's bytes (a bare statement: completed with `:= by sorry`) */
    size_t length; /* of body and text, bytes */
} source;

/* Takes one argument of the command line: "-" is standard input, the path of a file that exists (or ends with .lean) is that file, and
 * anything else is a Lean statement itself, to which a missing `:= by sorry` is added. `header` is the value of --header: text, or
 * @FILE. Fails: PV_E_INVALID (empty, not UTF-8 with line and byte, NUL bytes, a proof where a hole is needed), PV_E_NOTFOUND, PV_E_IO. */
PV_NODISCARD pv_status source_load(source *out, const char *argument, const char *header,
                                   pv_error *err);
void source_release(source *src);

/* The same of n bytes that are at hand, under a name for messages. `complete`: a missing `:= by sorry` is added. */
PV_NODISCARD pv_status source_of_text(source *out, const char *name, const char *header,
                                      const char *text, size_t n, bool complete, pv_error *err);

/* Appends what --header stands for: its text, or the bytes of @FILE. */
PV_NODISCARD pv_status source_header_text(const char *header, pv_buf *out, pv_error *err);

/* The header as source_load() takes it from --header's value, without a text; for none it is what an empty header means, written
 * down. *out is the caller's. Fails as source_load(). */
PV_NODISCARD pv_status source_header(const char *given, char **out, pv_error *err);

/* One hole of the text, to be filled. Bytes are offsets in source.text. */
typedef struct source_fill {
    size_t start,
        end;   /* the `sorry`                                                              */
    bool term; /* it stands where a term is expected: `by` is added                        */
    const char
        *proof; /* tactic block, its lines at column 0, no newline at its end; borrowed     */
    bool as_is; /* `proof` is what stands there instead, byte for byte                          */
    const char
        *form; /* what stands around it, a word of docs/protocol.md; "" or NULL: seen in the text */
    size_t outer; /* column, code points, that new lines must stay right of; with a form only     */
} source_fill;

/* Appends source.body with the fills (ordered by start, not overlapping) spliced in, every other byte as it was (but blanks
 * directly before a hole whose block begins on the next line). A block is indented to
 * where it stands, its lines end as the hole's line does (LF or CRLF), and brackets are put around it where it would not be read alone.
 * The insides of strings of several lines are not indented. `from_text`: the user's bytes with the imports instead, for people. */
PV_NODISCARD pv_status source_splice(const source *src, bool from_text, const source_fill *fills,
                                     size_t count, pv_buf *out, pv_error *err);

/* By how many bytes source_splice() makes the text longer for this fill. 0 when memory is short. */
size_t source_growth(const source *src, const source_fill *fill);

#endif
