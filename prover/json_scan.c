#include "json_scan.h"

#include "pv_utf8.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

json_scan json_scan_of(const char *bytes, size_t n)
{
    json_scan s = {.at = bytes, .end = bytes + n};
    if (pv_utf8_valid(bytes, n) != n) {
        json_scan_fail(&s, "not UTF-8");
    }
    return s;
}

void json_scan_fail(json_scan *s, const char *wrong)
{
    s->wrong = s->wrong == NULL ? wrong : s->wrong;
}

static void pass_blanks(json_scan *s)
{
    while (s->at < s->end &&
           (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) {
        s->at++;
    }
}

/* The next character after blanks; NUL at the end and after an error. */
static char next(json_scan *s)
{
    pass_blanks(s);
    return s->wrong == NULL && s->at < s->end ? *s->at : '\0';
}

json_scan_kind json_scan_peek(json_scan *s)
{
    switch (next(s)) {
    case 'n':
        return JSON_SCAN_NULL;
    case 't':
    case 'f':
        return JSON_SCAN_BOOLEAN;
    case '"':
        return JSON_SCAN_STRING;
    case '[':
        return JSON_SCAN_ARRAY;
    case '{':
        return JSON_SCAN_OBJECT;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return JSON_SCAN_NUMBER;
    default:
        json_scan_fail(s, "a value is expected");
        return JSON_SCAN_NOTHING;
    }
}

/* ---- arrays and objects ---- */

static bool enter(json_scan *s, char open, const char *wrong)
{
    if (next(s) != open) {
        json_scan_fail(s, wrong);
        return false;
    }
    if (++s->depth > JSON_SCAN_DEPTH_MAX) {
        json_scan_fail(s, "nested too deep");
        return false;
    }
    s->at++;
    s->first = true;
    return true;
}

bool json_scan_object(json_scan *s)
{
    return enter(s, '{', "an object is expected");
}

bool json_scan_array(json_scan *s)
{
    return enter(s, '[', "an array is expected");
}

/* Is there another one? Takes the comma, or the bracket that closes. */
static bool another(json_scan *s, bool *more, char close)
{
    char c = *more ? next(s) : '\0';
    bool first = s->first;
    s->first = false;
    if (!*more || s->wrong != NULL) {
        *more = false;
    } else if (c == close) {
        s->at++;
        s->depth--;
        *more = false;
    } else if (!first && c != ',') {
        json_scan_fail(s, "a comma or a closing bracket is expected");
        *more = false;
    } else if (!first) {
        s->at++;
    }
    return *more;
}

bool json_scan_item(json_scan *s, bool *more)
{
    return another(s, more, ']') && json_scan_peek(s) != JSON_SCAN_NOTHING;
}

/* ---- strings ---- */

typedef struct sink { /* where a string goes: a buffer, a name, or nowhere */
    pv_buf *buf;
    json_scan_name *name;
} sink;

static void put(sink to, const char *bytes, size_t n)
{
    if (to.buf != NULL) {
        pv_buf_append(to.buf, bytes, n);
    } else if (to.name != NULL) {
        size_t room = JSON_SCAN_KEY_MAX - to.name->len;
        memcpy(to.name->text + to.name->len, bytes, n < room ? n : room);
        to.name->len += n < room ? n : room;
    }
}

static bool hex4(json_scan *s, uint32_t *out)
{
    uint32_t value = 0;
    if (s->end - s->at < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 16;
        if (digit > 15) {
            return false;
        }
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

/* What follows \u: a code point, or the first half of one whose second half follows. */
static bool code_point(json_scan *s, uint32_t *out)
{
    uint32_t high, low;
    if (!hex4(s, &high) || (high >= 0xDC00 && high <= 0xDFFF)) {
        return false;
    }
    if (high < 0xD800 || high > 0xDBFF) {
        *out = high;
        return true;
    }
    if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u') {
        return false;
    }
    s->at += 2;
    if (!hex4(s, &low) || low < 0xDC00 || low > 0xDFFF) {
        return false;
    }
    *out = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

static void put_code_point(sink to, uint32_t c)
{
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; c >>= 6) {
        bytes[i] = (char)(0x80 | (c & 0x3F));
    }
    bytes[0] = (char)(lead[n] | c);
    put(to, bytes, n);
}

/* Behind a backslash. */
static bool escape(json_scan *s, sink to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char c = s->at < s->end ? *s->at++ : '\0';
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found != NULL) {
        put(to, &into[found - from], 1);
        return true;
    }
    uint32_t point;
    if (c != 'u' || !code_point(s, &point)) {
        return false;
    }
    put_code_point(to, point);
    return true;
}

static bool string(json_scan *s, sink to)
{
    if (next(s) != '"') {
        json_scan_fail(s, "a string is expected");
        return false;
    }
    s->at++;
    for (;;) {
        const char *run = s->at;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\' && (unsigned char)*s->at >= 0x20) {
            s->at++;
        }
        put(to, run, (size_t)(s->at - run));
        char c = s->at < s->end ? *s->at++ : '\0';
        if (c == '"') {
            return true;
        }
        if (c != '\\' || !escape(s, to)) {
            json_scan_fail(s, c == '\\' ? "a wrong escape in a string" : "a string does not end");
            return false;
        }
    }
}

bool json_scan_string(json_scan *s, pv_buf *out)
{
    bool ok = string(s, (sink){out, NULL});
    if (ok && out->failed) {
        s->starved = true;
        json_scan_fail(s, "out of memory");
    }
    return ok && !out->failed;
}

bool json_scan_key(json_scan *s, bool *more, json_scan_name *key)
{
    key->len = 0;
    if (!another(s, more, '}') || !string(s, (sink){NULL, key})) {
        return false;
    }
    if (next(s) != ':') {
        json_scan_fail(s, "a colon is expected");
        return false;
    }
    s->at++;
    return json_scan_peek(s) != JSON_SCAN_NOTHING;
}

/* ---- numbers and words ---- */

static size_t pass_digits(json_scan *s)
{
    const char *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') {
        s->at++;
    }
    return (size_t)(s->at - from);
}

static bool pass_char(json_scan *s, char a, char b)
{
    bool there = s->at < s->end && (*s->at == a || *s->at == b);
    s->at += there;
    return there;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool pass_number(json_scan *s)
{
    (void)next(s);
    pass_char(s, '-', '-');
    bool zero = s->at < s->end && *s->at == '0';
    size_t digits = pass_digits(s);
    bool ok = s->wrong == NULL && digits > 0 && (!zero || digits == 1);
    if (ok && pass_char(s, '.', '.')) {
        ok = pass_digits(s) > 0;
    }
    if (ok && pass_char(s, 'e', 'E')) {
        pass_char(s, '+', '-');
        ok = pass_digits(s) > 0;
    }
    if (!ok) {
        json_scan_fail(s, "a number is wrong");
    }
    return ok;
}

bool json_scan_number(json_scan *s, double *out)
{
    char text[64];
    (void)next(s);
    const char *from = s->at;
    if (!pass_number(s)) {
        return false;
    }
    size_t n = (size_t)(s->at - from);
    if (n >= sizeof text) {
        json_scan_fail(s, "a number is too long");
        return false;
    }
    memcpy(text, from, n);
    text[n] = '\0';
    double value = strtod(text, NULL);
    if (isinf(value)) {
        json_scan_fail(s, "a number is too large");
        return false;
    }
    *out = value;
    return true;
}

static void pass_word(json_scan *s)
{
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= n && memcmp(s->at, words[i], n) == 0) {
            s->at += n;
            return;
        }
    }
    json_scan_fail(s, "a word is wrong");
}

void json_scan_skip(json_scan *s)
{
    json_scan_name key;
    switch (json_scan_peek(s)) {
    case JSON_SCAN_STRING:
        (void)string(s, (sink){NULL, NULL});
        break;
    case JSON_SCAN_NUMBER:
        (void)pass_number(s);
        break;
    case JSON_SCAN_ARRAY:
        for (bool more = json_scan_array(s); json_scan_item(s, &more);) {
            json_scan_skip(s);
        }
        break;
    case JSON_SCAN_OBJECT:
        for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
            json_scan_skip(s);
        }
        break;
    case JSON_SCAN_NULL:
    case JSON_SCAN_BOOLEAN:
        pass_word(s);
        break;
    case JSON_SCAN_NOTHING:
        break;
    }
}

bool json_scan_end(json_scan *s)
{
    pass_blanks(s);
    if (s->at < s->end) {
        json_scan_fail(s, "something follows the end");
    }
    return s->wrong == NULL;
}
