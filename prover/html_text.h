/* html_text: text and figures for an HTML page. What models, files and Lean wrote is not to be trusted: all of it goes through here.
 * Failed appends are the buffer's. Threads: pure. */
#ifndef HTML_TEXT_H
#define HTML_TEXT_H

#include "pv_buf.h"

#include <stdint.h>

/* For text between tags and for attributes in double quotes. Bytes that are no UTF-8 and control characters become U+FFFD; marks that
 * turn the direction of writing, with which text can look like other text, are shown by their codes. NULL is "". */
void html_text(pv_buf *out, const char *text);

void html_count(pv_buf *out, uint64_t n);       /* 12,345                    */
void html_number(pv_buf *out, double x);        /* a tick: 0.5, 20, 12,000   */
void html_seconds(pv_buf *out, double seconds); /* 0.42 s, 12.3 s, 1,234 s   */
void html_ratio(pv_buf *out, double ratio);     /* 0.42, 1.7, 35; - without  */
void html_time(pv_buf *out, int64_t seconds);   /* 2026-02-03 04:05 UTC      */

/* RFC 4648, section 4. */
void html_base64(pv_buf *out, const void *bytes, size_t n);

/* 'sha256-...': how a Content-Security-Policy names the text of a script or style. */
void html_source_hash(pv_buf *out, const char *text, size_t n);

#endif
