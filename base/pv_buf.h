/* pv_buf: a growable run of bytes, always NUL-terminated after its length, so that text can be read as a C string.
 *
 * Embedded in its owner: `pv_buf b = {0};` is a valid empty buffer. A failed allocation is remembered: later
 * appends do nothing, and pv_buf_ok() tells, so a chain of appends is checked once at its end.
 * Threads: one at a time per buffer. */
#ifndef PV_BUF_H
#define PV_BUF_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pv_buf {
    char *data;      /* owned; NULL while empty                 */
    size_t len;      /* bytes, without the NUL                  */
    size_t capacity; /* bytes, with room for the NUL            */
    bool failed;     /* an append ran out of memory             */
} pv_buf;

void pv_buf_release(pv_buf *buf); /* frees and empties            */
void pv_buf_clear(pv_buf *buf);   /* empties, keeps the memory    */
bool pv_buf_ok(const pv_buf *buf);

/* The text so far; "" when empty. Borrowed: dies with the next change. */
const char *pv_buf_text(const pv_buf *buf);

/* Hands the bytes to the caller (free with pv_free) and empties the buffer. NULL when an append had failed. */
char *pv_buf_detach(pv_buf *buf);

void pv_buf_append(pv_buf *buf, const void *bytes, size_t n);
void pv_buf_puts(pv_buf *buf, const char *text);
void pv_buf_putc(pv_buf *buf, char c);
void pv_buf_printf(pv_buf *buf, const char *fmt, ...) PV_PRINTF(2, 3);

/* Makes room for n more bytes; false when memory is short. */
bool pv_buf_reserve(pv_buf *buf, size_t n);

/* Drops the first n bytes (n <= len). */
void pv_buf_consume(pv_buf *buf, size_t n);

#ifdef __cplusplus
}
#endif
#endif
