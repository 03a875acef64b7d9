/* lean_lexer: cuts Lean source into tokens, as far as that can be done without Lean: notations are not known here.
 * Used by the gate, and by whoever must find a word in a text outside its comments.
 *
 * Knows nested comments, strings with escapes, raw and interpolated strings, character literals, «quoted» names,
 * and names of several components. Works on any bytes; the text must be valid UTF-8 to make sense. Threads: pure. */
#ifndef LEAN_LEXER_H
#define LEAN_LEXER_H

#include <stdbool.h>
#include <stddef.h>

typedef enum lean_token_kind {
    LEAN_TOKEN_END,
    LEAN_TOKEN_NAME,   /* a keyword or an identifier: only Lean knows which                     */
    LEAN_TOKEN_STRING, /* also raw strings and characters                                        */
    LEAN_TOKEN_NUMBER,
    LEAN_TOKEN_SYMBOL, /* one code point of anything else, or one of the pairs that end in - or / */
    LEAN_TOKEN_BROKEN, /* a comment, string or quoted name without an end, or an end without a start */
} lean_token_kind;

typedef struct lean_token {
    lean_token_kind kind;
    size_t start, end; /* bytes */
    bool line_start;   /* directly behind a line break */
    bool interpolated; /* STRING: follows a `!`, so {braces} in it hold terms */
} lean_token;

typedef struct lean_lexer {
    const char *text;
    size_t length, at;
} lean_lexer;

/* The next token that is no comment. */
lean_token lean_lexer_next(lean_lexer *lexer);

/* A component of a NAME, without its guillemets. */
typedef struct lean_component {
    const char *text;
    size_t length;
    bool quoted;
} lean_component;

/* Reads the component of name[0..n) that begins at *at and moves *at behind it and its dot. False at the end. */
bool lean_component_next(const char *name, size_t n, size_t *at, lean_component *out);

#endif
