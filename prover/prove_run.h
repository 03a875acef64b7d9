/* prove_run: what `prover prove --store` does, as a run of a store: a problem for each theorem that is tried, one attempt at each.
 * Threads: the session's. */
#ifndef PROVE_RUN_H
#define PROVE_RUN_H

#include "attempt.h"
#include "policy_choice.h"
#include "store.h"

typedef struct prove_run { /* {0}: nothing is kept */
    store *store;
    store_run run;
    store_member me;
    problem_list problems;
    char *environment;
} prove_run;

/* Nothing without --store. Lean must have answered. Fails as the store, and as model_id(). */
PV_NODISCARD pv_status prove_run_open(prove_run *out, const session *s, const policy_choice *choice,
                                      const source *src, const theorem_list *list, pv_error *err);

/* Is this theorem of the list one that is tried? */
bool prove_run_has(const theorem_list *list, size_t place);

/* Writes the result of the next theorem that is tried; an interrupted one has none. */
PV_NODISCARD pv_status prove_run_keep(prove_run *run, const attempt *a, uint64_t seed,
                                      pv_error *err);
PV_NODISCARD pv_status prove_run_close(prove_run *run, pv_error *err);

#endif
