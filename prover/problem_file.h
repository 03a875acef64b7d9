/* problem_file: problems from the files that benchmarks come in. A parser of outside bytes: tests/fuzz/fuzz_problem_file.c.
 *
 * JSON: objects, one a line, or one array of them. Fields, as miniF2F, Kimina, DeepSeek and Goedel files use them:
 *   name            or problem_id, id, uuid; without any of them "line N"
 *   split           any text
 *   header          imports and commands; without this field `lean4_code` is taken before `formal_statement`
 *   informal_prefix a documentation comment before the statement (left out when it is anything else)
 *   formal_statement  the declaration, with `sorry` or ending at `:=`, `:= by` or the type; may begin with imports
 *   lean4_code      all of it in one text; `statement` and `code` are other names for formal_statement
 * Lean: each declaration with a `sorry` is a problem, the rest of the file its context.
 * A folder: its .lean files, in the order of their paths, also in folders below (hidden ones and `lake-packages` left out). */
#ifndef PROBLEM_FILE_H
#define PROBLEM_FILE_H

#include "problem.h"

/* Adds the problems of FILE.jsonl, FILE.json, FILE.lean or a folder. `header` is for problems that have none of their own. Fails:
 * PV_E_NOTFOUND, PV_E_IO, PV_E_INVALID (the place and what is wrong; a file without problems, too), PV_E_LIMIT, PV_E_NOMEM. */
PV_NODISCARD pv_status problem_file_read(problem_list *out, const char *path, const char *header,
                                         pv_error *err);

/* The same of bytes; `name` stands in messages. */
PV_NODISCARD pv_status problem_file_rows(problem_list *out, const char *name, const char *header,
                                         const char *bytes, size_t n, pv_error *err);

/* The problems of one Lean text; `stem` names them: STEM, or STEM:DECLARATION when there are several. None is no error. */
PV_NODISCARD pv_status problem_file_lean(problem_list *out, const char *name, const char *stem,
                                         const char *split, const char *header, const char *bytes,
                                         size_t n, pv_error *err);

#endif
