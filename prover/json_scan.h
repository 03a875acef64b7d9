/* json_scan: JSON read in one pass, in place, without a tree: for answers that come by the thousand, most of whose values nobody needs.
 *
 * The grammar is that of RFC 8259, checked in what is passed over as well; strings must be UTF-8 without lone surrogates; nesting is
 * limited. An error is remembered: every later call says that there is nothing, and json_scan_end() tells.
 *
 *     json_scan s = json_scan_of(bytes, n);
 *     for (bool more = json_scan_object(&s); json_scan_key(&s, &more, &key);) {
 *         if (json_scan_key_is(&key, "index")) ... json_scan_number(&s, &value) ... else json_scan_skip(&s);
 *     }
 *     if (!json_scan_end(&s)) ... s.wrong says what, s.at where
 * Every value must be taken or skipped. Threads: one at a time. */
#ifndef JSON_SCAN_H
#define JSON_SCAN_H

#include "pv_buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { JSON_SCAN_DEPTH_MAX = 512, JSON_SCAN_KEY_MAX = 32 };

typedef struct json_scan {
    const char *at, *end;
    unsigned depth;
    bool first;        /* nothing of the array or object just entered was read */
    bool starved;      /* memory was short                                     */
    const char *wrong; /* NULL: nothing; static                                */
} json_scan;

typedef struct json_scan_name { /* a key; longer ones are cut, and are none that anybody asks for */
    char text[JSON_SCAN_KEY_MAX];
    size_t len;
} json_scan_name;

typedef enum json_scan_kind {
    JSON_SCAN_NOTHING, /* an error */
    JSON_SCAN_NULL,
    JSON_SCAN_BOOLEAN,
    JSON_SCAN_NUMBER,
    JSON_SCAN_STRING,
    JSON_SCAN_ARRAY,
    JSON_SCAN_OBJECT,
} json_scan_kind;

json_scan json_scan_of(const char *bytes, size_t n); /* borrowed */

/* What comes next; nothing is taken. */
json_scan_kind json_scan_peek(json_scan *s);

/* Enter what must be an object or an array; the result is the `more` of the loop over it. */
bool json_scan_object(json_scan *s);
bool json_scan_array(json_scan *s);

/* The next key, or item, of it; false, and it is left, when there is none. */
bool json_scan_key(json_scan *s, bool *more, json_scan_name *key);
bool json_scan_item(json_scan *s, bool *more);

/* Here, so that the lengths of literals are known where it is used. */
static inline bool json_scan_key_is(const json_scan_name *key, const char *text)
{
    size_t n = strlen(text);
    return key->len == n && memcmp(key->text, text, n) == 0;
}

/* Takes what must be a number, a string (appended to *out). False: an error. */
bool json_scan_number(json_scan *s, double *out);
bool json_scan_string(json_scan *s, pv_buf *out);

/* Passes over any value. */
void json_scan_skip(json_scan *s);

/* True when the whole text was one value, and right. */
bool json_scan_end(json_scan *s);

/* Makes it wrong: a value is of another kind than it must be. */
void json_scan_fail(json_scan *s, const char *wrong);

#endif
