/* policy_prompt: what a language model is shown of a search's question, as text. The policies over our engine and over a server say
 * the same. Threads: pure functions. */
#ifndef POLICY_PROMPT_H
#define POLICY_PROMPT_H

#include "prover_json.h"
#include "pv_buf.h"
#include "search_policy.h"

/* Format "state": the goals' texts, a blank line between two, inside `before` and `after`. */
void policy_prompt_state(const prover_json *format, const search_policy_request *q, pv_buf *out);

/* Format "proof": what is to be completed (header, declaration), for engine_prompt_prover(). An empty header: the statement brings
 * its own. */
void policy_prompt_question(const char *header, const search_policy_request *q, pv_buf *out);

/* Format "proof": how the answer begins: a code fence, the header, the declaration without its last `sorry`, and the tactics of the
 * path, each of their lines indented by two. The model's next line is the tactic. */
void policy_prompt_answer(const char *header, const search_policy_request *q, pv_buf *out);

/* Turns as one text, with the marks that Prover-V2's template has between them: the user's first, the model's and the user's by turns, and
 * the answer as far as it has begun. Where a server reads marks out of the text, the text of others must have none: PV_E_INVALID. */
PV_NODISCARD pv_status policy_prompt_turns(const char *const *turns, size_t count,
                                           const char *begun, pv_buf *out, pv_error *err);

#endif
