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

#endif
