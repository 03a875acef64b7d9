/* run_describe: the settings, the fingerprint and the environment of a run whose options come from one command line. Threads: the session's. */
#ifndef RUN_DESCRIBE_H
#define RUN_DESCRIBE_H

#include "policy_choice.h"
#include "session.h"
#include "store.h"

/* Fills run->settings (the caller frees with pv_free()) and run->fingerprint from the session's options, with the policy and the model that
 * they came down to; run->problems_hash must be there. *environment (the caller frees with pv_free()) is for every result. Lean must
 * have answered. Fails: PV_E_NOMEM, and as model_id(). */
PV_NODISCARD pv_status run_describe(store_run *run, char **environment, const session *s,
                                    const policy_choice *choice, pv_error *err);

#endif
