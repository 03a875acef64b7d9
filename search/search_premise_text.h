/* search_premise_text: what a statement or a goal speaks of, as a set of symbols without the names of its variables.
 *
 * A symbol is a constant ("List.length", and its last component once more), an operator, a numeral; a variable counts by the
 * projection applied to it (`xs.length` with `xs : List α` is "List.length"). Text alone decides: this is a guess good enough
 * to rank by. Internal to the premises. Threads: pure functions. */
#ifndef SEARCH_PREMISE_TEXT_H
#define SEARCH_PREMISE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a symbol occurs. */
enum {
    PREMISE_LEFT = 1, /* the conclusion's left side of `=` or `↔`; all of it where there is none */
    PREMISE_RIGHT = 2, /* its right side                                                          */
    PREMISE_HYP = 4,   /* hypotheses and the types of variables                                   */
};

enum { PREMISE_TYPES_MAX = 4 };

typedef struct premise_symbol {
    uint64_t hash; /* of its text; symbols that collide count as one */
    uint32_t where;
    uint32_t
        parts; /* 1: a whole name or operator; 2: a last component, or a numeral: it says less */
} premise_symbol;

/* The conclusion's outermost relation. */
typedef enum premise_head { PREMISE_OTHER, PREMISE_EQ, PREMISE_IFF } premise_head;

typedef struct premise_text {
    premise_symbol *symbols; /* owned; ascending by hash, each once */
    size_t count, capacity;
    premise_head head;
    uint64_t heads[2]; /* first symbols of the conclusion's sides; 0: none */
    uint64_t types
        [PREMISE_TYPES_MAX]; /* constants that the types of the variables begin with; type_count */
    size_t type_count;
    /* A lemma `f a = f b → a = b`, or with `↔`, for variables a and b: the symbol of their type; else 0. */
    uint64_t injective;
    bool failed; /* memory was short */
} premise_text;

/* Reads "theorem NAME (x : T) ... : conclusion", or a goal as Lean displays it. The caller releases. */
void premise_text_statement(premise_text *out, const char *text);
void premise_text_goal(premise_text *out, const char *text);
void premise_text_release(premise_text *t);

#endif
