/* data_text: the statements and proofs of data rows as Lean text. Threads: pure functions. */
#ifndef DATA_TEXT_H
#define DATA_TEXT_H

#include "pv_buf.h"

#include <stdbool.h>

/* Appends "theorem NAME ... := by" with `proof` (a tactic block at column 0, or "sorry") at two columns, and a line end.
 * `statement` begins with its own name, "statement", which gives way to `name`; "theorem " before it is allowed. */
void data_text_theorem(pv_buf *out, const char *name, const char *statement, const char *proof);

/* Whether two displays of a state are the same but for the names of its cases. A state keeps the display under which it was first reached,
 * and what a case is called depends on the tactic that reached it. */
bool data_text_same_state(const char *a, const char *b);

#endif
