/* data_row: what a search learned, as JSON for a row of proof data (docs/data.md). Threads: pure functions. */
#ifndef DATA_ROW_H
#define DATA_ROW_H

#include "pv_buf.h"
#include "search.h"

#include <jansson.h>

/* The text of a state as policies see it: its goals with an empty line between them. Replaces *out. */
void data_row_state(const char *const *goals, size_t n, pv_buf *out);

/* The steps of the proof: [{"state", "tactic", "next": [state, ...]}, ...], the root first. State PROVED. NULL when memory is short. */
json_t *data_row_steps(const search_run *run);

/* What else the search saw, appended to arrays; any may be NULL, the trail only with `solved`.
 * failed: [{"step": I, "tactic", "class", "message"}] refused in the state of step I, at most `negatives` for each step;
 * alternatives: [{"step": I, "tactic", "next"}] other tactics that close it or lead to proofs;
 * solved: [{"state", "tactic", "next"}] states proved on the way that are in no step;
 * trail: [{"state", "tactic"}] how one gets to those from the root. */
typedef struct data_row_sides_out {
    json_t *failed, *alternatives, *solved, *trail;
} data_row_sides_out;

void data_row_sides(const search_run *run, const json_t *steps, size_t negatives,
                    data_row_sides_out *out);

/* One entry of `failed`. */
json_t *data_row_failure(int step, const char *tactic, search_outcome_kind kind,
                         const char *message);

/* A word for what went wrong: "timeout", "lost", "no_op", "gate", "unknown", "type", "rewrite", "failed", ... Static. */
const char *data_row_error_class(search_outcome_kind kind, const char *message);

#endif
