#include "lean_export.h"

#include <stdbool.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The byte behind the string that begins at `at`; n when it does not end. */
static size_t skip_string(const char *text, size_t n, size_t at)
{
    for (at++; at < n && text[at] != '"'; at++) {
        at += text[at] == '\\';
    }
    return at < n ? at + 1 : n;
}

static size_t skip_digits(const char *text, size_t n, size_t at)
{
    while (at < n && is_digit(text[at])) {
        at++;
    }
    return at;
}

static pv_status wrong(size_t at, const char *what, pv_error *err)
{
    return pv_fail(err, PV_E_INVALID, "the export is ill-formed: %s at byte %zu", what, at);
}

/* True when the brackets are still in order; *depth counts those that are open. */
static bool count_brackets(char c, size_t *depth)
{
    if (c == '[' || c == '{') {
        return ++*depth <= LEAN_EXPORT_DEPTH_MAX;
    }
    if (c == ']' || c == '}') {
        return (*depth)-- > 0;
    }
    return true;
}

pv_status lean_export_look(const char *text, size_t n, pv_error *err)
{
    size_t depth = 0;
    if (n == 0 || n > LEAN_EXPORT_MAX || text[0] != '{') {
        return wrong(0, n > LEAN_EXPORT_MAX ? "too much of it" : "no object", err);
    }
    for (size_t at = 0; at < n;) {
        size_t next = at + 1;
        if (text[at] == '"') {
            next = skip_string(text, n, at);
        } else if (is_digit(text[at])) {
            next = skip_digits(text, n, at);
            if (next - at > LEAN_EXPORT_DIGITS_MAX) {
                return wrong(at, "a number is too long", err);
            }
        } else if (text[at] == '\0' || strchr("[]{},:", text[at]) == NULL) {
            return wrong(at, "something that is no part of one", err);
        } else if (!count_brackets(text[at], &depth)) {
            return wrong(at, "brackets are nested too deep, or closed twice", err);
        }
        at = next;
    }
    return depth == 0 ? PV_OK : wrong(n, "it is cut off", err);
}
