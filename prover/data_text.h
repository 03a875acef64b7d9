/* data_text: the statements and proofs of data rows as Lean text. Threads: pure functions. */
#ifndef DATA_TEXT_H
#define DATA_TEXT_H

#include "pv_buf.h"

/* Appends "theorem NAME ... := by" with `proof` (a tactic block at column 0, or "sorry") at two columns, and a line end.
 * `statement` begins with its own name, "statement", which gives way to `name`; "theorem " before it is allowed. */
void data_text_theorem(pv_buf *out, const char *name, const char *statement, const char *proof);

#endif
