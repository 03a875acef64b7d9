#include "lean_lexer.h"

#include "pv_utf8.h"

#include <stdint.h>
#include <string.h>

enum { LAQUO = 0xab, RAQUO = 0xbb, SUPERSCRIPT_ONE = 0xb9 };

/* The code point at `at`; 0 at the end or in invalid bytes, which count one byte. */
static uint32_t peek(const lean_lexer *l, size_t at, size_t *width)
{
    uint32_t c = 0;
    *width = at < l->length ? pv_utf8_decode(l->text + at, l->length - at, &c) : 0;
    if (*width == 0) {
        *width = at < l->length ? 1 : 0;
        return 0;
    }
    return c;
}

static char byte_at(const lean_lexer *l, size_t at)
{
    return at < l->length ? l->text[at] : '\0';
}

static bool is_in(uint32_t c, uint32_t first, uint32_t last)
{
    return c >= first && c <= last;
}

static bool is_digit(uint32_t c)
{
    return is_in(c, '0', '9');
}

/* Letters beside ASCII's that Lean takes in names: Greek without λ, Π and Σ, Latin, letter-like and script symbols. */
static bool is_letter_like(uint32_t c)
{
    return (is_in(c, 0x3b1, 0x3c9) && c != 0x3bb) ||
           (is_in(c, 0x391, 0x3a9) && c != 0x3a0 && c != 0x3a3) || is_in(c, 0x3ca, 0x3fb) ||
           is_in(c, 0x1f00, 0x1ffe) || is_in(c, 0x2100, 0x214f) || is_in(c, 0x1d49c, 0x1d59f) ||
           (is_in(c, 0xc0, 0x17f) && c != 0xd7 && c != 0xf7);
}

static bool is_name_start(uint32_t c)
{
    return is_in(c, 'a', 'z') || is_in(c, 'A', 'Z') || c == '_' || is_letter_like(c);
}

static bool is_name_rest(uint32_t c)
{
    return is_name_start(c) || is_digit(c) || c == '\'' || c == '!' || c == '?' ||
           is_in(c, 0x2080, 0x2089) || is_in(c, 0x2090, 0x209c) || is_in(c, 0x1d62, 0x1d6a) ||
           c == 0x2c7c;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Moves past a block comment whose opening lies behind; false when it has no end. */
static bool skip_block(lean_lexer *l)
{
    size_t depth = 1;
    while (l->at < l->length) {
        char c = l->text[l->at++];
        char next = byte_at(l, l->at);
        if (c == '-' && next == '/') {
            l->at++;
            if (--depth == 0) {
                return true;
            }
        } else if (c == '/' && next == '-') {
            l->at++;
            depth++;
        }
    }
    return false;
}

/* Moves past white space and comments; false in a comment without an end. */
static bool skip_blank(lean_lexer *l)
{
    while (l->at < l->length) {
        char c = l->text[l->at];
        char next = byte_at(l, l->at + 1);
        if (is_space(c)) {
            l->at++;
        } else if (c == '-' && next == '-') {
            while (l->at < l->length && l->text[l->at] != '\n') {
                l->at++;
            }
        } else if (c == '/' && next == '-') {
            char third = byte_at(l, l->at + 2);
            l->at +=
                third == '-' || third == '!' ? 3 : 2; /* documentation: `/--/` does not end there */
            if (!skip_block(l)) {
                return false;
            }
        } else {
            return true;
        }
    }
    return true;
}

/* Each below: `end` is behind the opening; returns the byte behind the token, 0 when it has no end. */
static size_t end_of_string(const lean_lexer *l, size_t at)
{
    for (; at < l->length; at++) {
        if (l->text[at] == '\\') {
            at++;
        } else if (l->text[at] == '"') {
            return at + 1;
        }
    }
    return 0;
}

static size_t end_of_raw_string(const lean_lexer *l, size_t at, size_t hashes)
{
    for (; at < l->length; at++) {
        size_t n = 0;
        while (l->text[at] == '"' && n < hashes && byte_at(l, at + 1 + n) == '#') {
            n++;
        }
        if (l->text[at] == '"' && n == hashes) {
            return at + 1 + hashes;
        }
    }
    return 0;
}

/* The number of # between `r` and the quote of a raw string that begins at `at`; -1 when none does. */
static int raw_string_hashes(const lean_lexer *l, size_t at)
{
    size_t i = at + 1;
    if (byte_at(l, at) != 'r') {
        return -1;
    }
    while (byte_at(l, i) == '#') {
        i++;
    }
    return byte_at(l, i) == '"' ? (int)(i - at - 1) : -1;
}

/* Behind the character literal at `at`; 0 when there is none (the quote belongs to a notation then, as in ⁻¹' or ''). */
static size_t end_of_char(const lean_lexer *l, size_t at)
{
    size_t width = 0;
    uint32_t c = peek(l, at + 1, &width);
    if (c == '\\') {
        for (size_t i = at + 3; i < l->length && i < at + 12; i++) {
            if (l->text[i] == '\'') {
                return i + 1;
            }
        }
        return 0;
    }
    return c != '\'' && width > 0 && byte_at(l, at + 1 + width) == '\'' ? at + 2 + width : 0;
}

static size_t end_of_quoted(const lean_lexer *l, size_t at)
{
    while (at < l->length) {
        size_t width = 0;
        uint32_t c = peek(l, at, &width);
        at += width;
        if (c == RAQUO) {
            return at;
        }
    }
    return 0;
}

/* Behind the name at `at`; 0 when a quoted part has no end. */
static size_t end_of_name(const lean_lexer *l, size_t at)
{
    for (;;) {
        size_t width = 0;
        uint32_t c = peek(l, at, &width);
        if (c == LAQUO) {
            at = end_of_quoted(l, at + width);
            if (at == 0) {
                return 0;
            }
        } else {
            while (is_name_rest(c)) {
                at += width;
                c = peek(l, at, &width);
            }
        }
        c = peek(l, at + 1, &width);
        if (byte_at(l, at) != '.' || (c != LAQUO && !is_name_start(c))) {
            return at;
        }
        at++;
    }
}

/* Only as far as Lean goes: in `1admit` the number ends before the letters. */
static size_t end_of_number(const lean_lexer *l, size_t at)
{
    char base = byte_at(l, at) == '0' ? byte_at(l, at + 1) : '\0';
    bool hex = base == 'x' || base == 'X';
    if (hex || base == 'b' || base == 'B' || base == 'o' || base == 'O') {
        at += 2;
    }
    for (;; at++) {
        uint32_t c = (unsigned char)byte_at(l, at);
        if (!is_digit(c) && c != '_' && !(hex && (is_in(c, 'a', 'f') || is_in(c, 'A', 'F')))) {
            return at;
        }
    }
}

/* Pairs that Lean reads as one token, so that the next character starts no comment. */
static size_t end_of_symbol(const lean_lexer *l, size_t at, size_t width)
{
    char c = l->text[at];
    char next = byte_at(l, at + 1);
    bool pair = ((c == '<' || c == '|') && next == '-') || (c == '/' && next == '/');
    return pair ? at + 2 : at + width;
}

static lean_token finish(lean_lexer *l, lean_token t, lean_token_kind kind, size_t end)
{
    t.kind = end == 0 ? LEAN_TOKEN_BROKEN : kind;
    t.end = end == 0 ? l->length : end;
    l->at = t.end;
    return t;
}

/* ⁻¹' is a notation: its quote starts no character. */
static bool follows_superscript(const lean_lexer *l, size_t at)
{
    return at >= 2 && (unsigned char)l->text[at - 2] == 0xc2 &&
           (unsigned char)l->text[at - 1] == SUPERSCRIPT_ONE;
}

lean_token lean_lexer_next(lean_lexer *l)
{
    size_t before = l->at;
    lean_token t = {.start = l->at};
    if (!skip_blank(l)) {
        t.start = before;
        return finish(l, t, LEAN_TOKEN_BROKEN, 0);
    }
    size_t at = l->at;
    size_t width = 0;
    uint32_t c = peek(l, at, &width);
    t.start = at;
    t.line_start = at > 0 && l->text[at - 1] == '\n'; /* the first line stands behind other text */
    if (at >= l->length) {
        t.end = at;
        return t;
    }
    int hashes = raw_string_hashes(l, at);
    if (hashes >= 0) {
        return finish(l, t, LEAN_TOKEN_STRING,
                      end_of_raw_string(l, at + 2 + (size_t)hashes, (size_t)hashes));
    }
    if (c == '"') {
        t.interpolated = at > 0 && l->text[at - 1] == '!';
        return finish(l, t, LEAN_TOKEN_STRING, end_of_string(l, at + 1));
    }
    if (c == '\'' && !follows_superscript(l, at) && end_of_char(l, at) != 0) {
        return finish(l, t, LEAN_TOKEN_STRING, end_of_char(l, at));
    }
    if (is_name_start(c) || c == LAQUO) {
        return finish(l, t, LEAN_TOKEN_NAME, end_of_name(l, at));
    }
    if (is_digit(c)) {
        return finish(l, t, LEAN_TOKEN_NUMBER, end_of_number(l, at));
    }
    if (c == '-' && byte_at(l, at + 1) == '/') {
        return finish(l, t, LEAN_TOKEN_BROKEN, at + 2);
    }
    return finish(l, t, LEAN_TOKEN_SYMBOL, end_of_symbol(l, at, width));
}

bool lean_component_next(const char *name, size_t n, size_t *at, lean_component *out)
{
    static const char close[] = "\xc2\xbb";
    if (*at >= n) {
        return false;
    }
    const char *start = name + *at;
    size_t left = n - *at;
    size_t length = 0;
    if (left >= 2 && memcmp(start, "\xc2\xab", 2) == 0) {
        while (length + 2 < left && memcmp(start + 2 + length, close, 2) != 0) {
            length++;
        }
        *out = (lean_component){.text = start + 2, .length = length, .quoted = true};
        length += 4;
    } else {
        while (length < left && start[length] != '.') {
            length++;
        }
        *out = (lean_component){.text = start, .length = length};
    }
    *at += length + 1;
    return true;
}
