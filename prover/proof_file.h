/* proof_file: whole proofs that some model has written already, as a writer: JSON lines with the problem's `name` and its text in `code`,
 * `output`, `completion`, `response`, `text` or `proof`; several lines of one name are several samples. A line with `after` goes on from a
 * beginning that ends with this text (blanks at its end left out); one with `repairs` answers where Lean's errors, as they are shown, have
 * this text in them. Threads: the loop's. */
#ifndef PROOF_FILE_H
#define PROOF_FILE_H

#include "writer.h"

typedef struct proof_file proof_file;

/* Fails: PV_E_NOTFOUND, PV_E_IO, PV_E_INVALID (the line, and what is wrong with it), PV_E_NOMEM. */
PV_NODISCARD pv_status proof_file_open(proof_file **out, const char *path, pv_error *err);
void proof_file_close(proof_file *file); /* NULL allowed */
writer proof_file_writer(proof_file *file);

#endif
