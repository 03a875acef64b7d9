/* Oniguruma's Ruby syntax, as far as tokenizers use it, in PCRE2's. Facts: Oniguruma doc/RE; pcre2pattern(3). */
#include "engine_regex.h"
#include "engine_regex_unicode.h"

#include <string.h>

/* White_Space of Unicode. PCRE2's \s also has U+180E, which is none any more. */
#define SPACE                                                                                      \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-"         \
    "\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"        \
    "\\x{3001}-\\x{10ffff}"
/* Oniguruma's word characters: alphabetic ones, decimal digits, connectors, and Latin-1's other numbers. */
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"     \
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

typedef struct translator {
    const char *p;
    size_t n;
    size_t at;
    bool in_class;
    size_t class_start; /* offset where a ] would be a member, not the end */
    pv_buf *out;
    pv_error *err;
} translator;

static pv_status refuse(const translator *t, const char *what)
{
    return pv_fail(t->err, PV_E_UNSUPPORTED,
                   "the pattern \"%.*s\" uses %s at byte %zu, which is not supported",
                   (int)(t->n < 200 ? t->n : 200), t->p, what, t->at);
}

static bool has(const translator *t, const char *text)
{
    size_t len = strlen(text);
    return t->n - t->at >= len && memcmp(t->p + t->at, text, len) == 0;
}

static void copy(translator *t, size_t len)
{
    pv_buf_append(t->out, t->p + t->at, len);
    t->at += len;
}

static pv_status put_set(translator *t, const char *members, bool negated)
{
    if (t->in_class && negated) {
        return refuse(t, "a negated class within a class");
    }
    pv_buf_puts(t->out, t->in_class ? "" : negated ? "[^" : "[");
    pv_buf_puts(t->out, members);
    pv_buf_puts(t->out, t->in_class ? "" : "]");
    t->at += 2;
    return PV_OK;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static pv_status put_unicode(translator *t)
{
    for (size_t i = 2; i < 6; i++) {
        if (t->at + i >= t->n || !is_hex(t->p[t->at + i])) {
            return refuse(t, "\\u without four hexadecimal digits");
        }
    }
    pv_buf_printf(t->out, "\\x{%.4s}", t->p + t->at + 2);
    t->at += 6;
    return PV_OK;
}

/* The braces of \p{...} and \x{...}, as they are. */
static pv_status put_braces(translator *t)
{
    const char *end = memchr(t->p + t->at, '}', t->n - t->at);
    if (end == NULL) {
        return refuse(t, "an unfinished brace");
    }
    copy(t, (size_t)(end - (t->p + t->at)) + 1);
    return PV_OK;
}

/* \p{L} and \P{L} of the five categories that newer characters are added to; false: another property. */
static bool put_category(translator *t)
{
    bool negated = has(t, "\\P");
    bool single = t->n - t->at >= 5 && t->p[t->at + 2] == '{' && t->p[t->at + 4] == '}';
    if (!single || (negated && t->in_class)) {
        return false;
    }
    size_t start = t->out->len;
    pv_buf_puts(t->out, t->in_class ? "" : negated ? "[^" : "[");
    pv_buf_printf(t->out, "\\p{%c}", t->p[t->at + 3]);
    if (!enginep_regex_put_newer(t->p[t->at + 3], t->out)) {
        t->out->len = start;
        return false;
    }
    pv_buf_puts(t->out, t->in_class ? "" : "]");
    t->at += 5;
    return true;
}

static pv_status put_escape(translator *t)
{
    if (t->at + 1 >= t->n) {
        return refuse(t, "a lone backslash");
    }
    char c = t->p[t->at + 1];
    switch (c) {
    case 's':
        return put_set(t, SPACE, false);
    case 'S':
        return put_set(t, NOT_SPACE, false);
    case 'd':
        return put_set(t, "\\p{Nd}", false);
    case 'D':
        return put_set(t, "\\P{Nd}", false);
    case 'w':
        return put_set(t, WORD, false);
    case 'W':
        return put_set(t, WORD, true);
    case 'h':
        return put_set(t, "0-9a-fA-F", false);
    case 'H':
        return put_set(t, "0-9a-fA-F", true);
    case 'u':
        return put_unicode(t);
    case 'p':
    case 'P':
        if (put_category(t)) {
            return PV_OK;
        }
        break;
    default:
        break;
    }
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter && strchr("pPxtnrfveaAzZ", c) == NULL) {
        return refuse(t, "this escape");
    }
    if ((c >= '0' && c <= '9') || (unsigned char)c >= 0x80) {
        return refuse(t, c >= '0' && c <= '9' ? "a back reference or octal escape"
                                              : "an escaped non-ASCII character");
    }
    copy(t, 2);
    return strchr("pPx", c) != NULL && has(t, "{") ? put_braces(t) : PV_OK;
}

static pv_status step_class(translator *t)
{
    char c = t->p[t->at];
    if (c == ']' && t->at != t->class_start) {
        t->in_class = false;
    } else if (c == '[' && !has(t, "[:")) {
        return refuse(t, "a class within a class");
    } else if (has(t, "&&")) {
        return refuse(t, "an intersection of classes");
    } else if (has(t, "[:")) {
        const char *end = memchr(t->p + t->at, ']', t->n - t->at);
        if (end == NULL) {
            return refuse(t, "an unfinished class");
        }
        copy(t, (size_t)(end - (t->p + t->at)) + 1);
        return PV_OK;
    }
    copy(t, 1);
    return PV_OK;
}

static void open_class(translator *t)
{
    t->in_class = true;
    copy(t, has(t, "[^") ? 2 : 1);
    t->class_start = t->at;
}

/* Groups that both sides read alike: (...), (?:...), look-around, atomic, and the options i alone. */
static pv_status open_group(translator *t)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"};
    if (!has(t, "(?")) {
        copy(t, 1);
        return PV_OK;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (has(t, known[i])) {
            copy(t, strlen(known[i]));
            return PV_OK;
        }
    }
    return refuse(t, "this kind of group");
}

/* {,n} means {0,n}. After a counted repeat Oniguruma reads + as a second repeat, PCRE2 as "possessive": refused. */
static pv_status put_count(translator *t)
{
    const char *end = memchr(t->p + t->at, '}', t->n - t->at);
    size_t len = end == NULL ? 0 : (size_t)(end - (t->p + t->at)) + 1;
    for (size_t i = 1; i + 1 < len; i++) {
        char c = t->p[t->at + i];
        if (!((c >= '0' && c <= '9') || c == ',')) {
            len = 0;
        }
    }
    if (len < 3) {
        return refuse(t, "a brace that is no repeat count");
    }
    if (t->at + len < t->n && t->p[t->at + len] == '+') {
        return refuse(t, "a repeat of a counted repeat");
    }
    if (t->p[t->at + 1] == ',') {
        pv_buf_puts(t->out, "{0");
        t->at++;
        len--;
    }
    copy(t, len);
    return PV_OK;
}

static pv_status step(translator *t)
{
    char c = t->p[t->at];
    if (c == '\\') {
        return put_escape(t);
    }
    if (t->in_class) {
        return step_class(t);
    }
    switch (c) {
    case '[':
        open_class(t);
        return PV_OK;
    case '(':
        return open_group(t);
    case '{':
        return put_count(t);
    default:
        copy(t, 1);
        return PV_OK;
    }
}

pv_status enginep_regex_translate(const char *pattern, size_t n, pv_buf *out, pv_error *err)
{
    translator t = {.p = pattern, .n = n, .out = out, .err = err};
    pv_status status = PV_OK;
    while (status == PV_OK && t.at < n) {
        status = step(&t);
    }
    if (status == PV_OK && !pv_buf_ok(out)) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory for a pattern");
    }
    return status;
}
