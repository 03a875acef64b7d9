/* lean_gate: a look at a proof text before Lean sees it. Cheap pruning, not the trust boundary: that is the judge.
 *
 * Works on the text with comments and strings blanked. Refuses words that no tactic proof needs and that change what a
 * proof means (docs/verification.md has the table), unbalanced brackets, a command keyword at the start of a line outside
 * any term, NUL bytes and invalid UTF-8. Threads: pure. */
#ifndef LEAN_GATE_H
#define LEAN_GATE_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct lean_gate_finding {
    const char *rule; /* static: the word or the name of the rule      */
    const char *why;  /* static: one sentence for people               */
    size_t at;        /* byte offset in the text                       */
} lean_gate_finding;

/* True when the proof passes; else *out says why not. */
bool lean_gate_pass(const char *proof, size_t n, lean_gate_finding *out);

/* The same for one tactic of a search (the same rules). */
bool lean_gate_pass_tactic(const char *tactic, lean_gate_finding *out);

#endif
