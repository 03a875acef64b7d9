/* lean_source: a Lean text cut into its commands, as far as that can be done without Lean. For dialects that do not report
 * declarations themselves. Threads: pure. */
#ifndef LEAN_SOURCE_H
#define LEAN_SOURCE_H

#include "lean_lexer.h"

#include <stdbool.h>
#include <stddef.h>

/* A command with the white space and comments before it (a documentation comment belongs to what follows). */
typedef struct lean_command_span {
    size_t start, end;     /* bytes */
    size_t first;          /* where its first token begins */
    const char *kind;      /* static: "theorem", "namespace", ...; "" when it is none we know */
    bool is_decl;          /* theorem, lemma, def, example, instance or abbrev */
    size_t name, name_end; /* what is declared or named; name == name_end: nothing */
} lean_command_span;

typedef struct lean_source {
    const char *text;
    size_t length;
    lean_lexer lexer;
    lean_token ahead; /* the first token of the next command */
    size_t end;       /* of the command before */
    bool started;
} lean_source;

void lean_source_init(lean_source *source, const char *text);

/* The next command; false at the end. */
bool lean_source_next(lean_source *source, lean_command_span *out);

/* True when the `sorry` at byte `at` of the command stands where a term is expected (`:= sorry`), false in a tactic block. */
bool lean_source_is_term(const char *text, const lean_command_span *span, size_t at);

/* True when `candidate` is `original` with each `sorry` of it replaced by something. */
bool lean_source_fits(const char *original, const char *candidate);

/* The byte at which line (from 1) and column (from 0, code points) of the text lie; its length when it is shorter. */
size_t lean_source_byte(const char *text, size_t n, size_t line, size_t column);

#endif
