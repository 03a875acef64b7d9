/* model_policy: the search's policy over our engine: a language model that proposes tactics.
 *
 * Two prompt formats, chosen by the checkpoint's prover.json:
 *   {"format": "state", "before": "", "after": ":::", "stop": "\n"}     the goals' texts between two strings; the answer is a tactic
 *   {"format": "proof"}                                                 Prover-V2's whole-proof prompt, continued after the
 *                                                                       tactics of the path; the answer is its next line
 * It may also say how to draw: "samples" in each state, "max_tokens", "temperature", "top_k", "top_p", "min_p", and "draw":
 * "distinct" (the default: no two samples of a state are the same, those of later questions neither) or "independent". What the
 * command line gives goes before that, and that before the command line's defaults.
 * Without prover.json a model with a chat template gets "proof", another one is refused. Decoding runs on a thread of its own and
 * overlaps with Lean. Samples are deduplicated; a candidate's log-probability is the sum over its tokens.
 * Threads: the loop's. */
#ifndef MODEL_POLICY_H
#define MODEL_POLICY_H

#include "engine.h"
#include "engine_thread.h"
#include "options.h"
#include "search_policy.h"

#include <uv.h>

typedef struct model_policy model_policy;

/* Opens the checkpoint `dir` and starts its engine. `header` is the user's imports, for the whole-proof prompt (copied);
 * "" when each search's statement begins with its own.
 * Fails: as engine_model_open(), device_choose() and engine_open(), and PV_E_INVALID for a prover.json that makes no sense. */
PV_NODISCARD pv_status model_policy_open(model_policy **out, uv_loop_t *loop, const options *opt,
                                         const char *dir, const char *header, pv_error *err);
/* How the model is asked, for records: "state", or "prover-v2-noncot, continued". Static. */
const char *model_policy_prompt(const model_policy *policy);

/* What it works with, for others that ask the same model; borrowed until the policy is closed. */
typedef struct model_parts {
    const engine_model *model;
    engine_encoder *encoder;
    engine_thread *thread;
} model_parts;

model_parts model_policy_parts(model_policy *policy);
search_policy model_policy_table(model_policy *policy);

/* The same with the portfolio's tactics behind the model's in every state. */
search_policy model_policy_mixed_table(model_policy *policy);

/* Candidates that prover.json wants in each state; 0: it does not say. */
uint32_t model_policy_samples(const model_policy *policy);

/* How tactics are drawn: what the command line, prover.json and the defaults come to. */
engine_sampling model_policy_sampling(const model_policy *policy);

/* What the engine has done so far. */
void model_policy_stats(model_policy *policy, engine_stats *out);

/* The policy must be idle; the loop must run once more, to close its handle. NULL allowed. */
void model_policy_close(model_policy *policy);

#endif
