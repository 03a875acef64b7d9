/* pv_utf8: checks and counts in UTF-8 text (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
 * Threads: pure functions. */
#ifndef PV_UTF8_H
#define PV_UTF8_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes from the start that are valid UTF-8: n when all of it is. */
size_t pv_utf8_valid(const void *text, size_t n);

/* Reads the code point at text[0..n) into *out and returns its length in bytes, 0 when the bytes are invalid or cut. */
size_t pv_utf8_decode(const void *text, size_t n, uint32_t *out);

/* Line (from 1) and column (from 0, code points) of byte offset `at` in valid UTF-8. */
void pv_utf8_position(const char *text, size_t at, size_t *line, size_t *column);

/* The largest k <= limit that does not cut a code point of valid UTF-8. */
size_t pv_utf8_clip(const char *text, size_t n, size_t limit);

#ifdef __cplusplus
}
#endif
#endif
