/* http_policy: the search's policy over a server: a language model behind OpenAI's protocol that proposes tactics.
 *
 * The prompts are those of model_policy (policy_prompt), by --prompt:
 *   prover-v2-noncot   completions: Prover-V2's chat text with the user's message and the beginning of the answer; the server puts the
 *                      begin token before it. chat: the user's message, and the beginning of the answer as an assistant's message that
 *                      the server shall continue.
 *   state, FILE.json   the goals' texts between two strings, as a prompt or as the user's message
 * A state's samples are asked for in one request, or in several with --choices; a candidate's log-probability is as sample_set says.
 *
 * When a request fails after all its tries: if the address, the key, the model or the certificate is at fault, the search breaks off
 * with the server's words. Otherwise the state gets the candidates of its other requests, perhaps none, the log has a warning, and the
 * search goes on; it breaks off at the fourth failure in a row, and at the first while the server has answered nothing yet.
 * Threads: the loop's. */
#ifndef HTTP_POLICY_H
#define HTTP_POLICY_H

#include "openai_server.h"
#include "options.h"
#include "search_policy.h"

#include <uv.h>

typedef struct http_policy http_policy;

/* Do the options of --policy http go together? Reads the environment. PV_E_INVALID says what does not. */
PV_NODISCARD pv_status http_policy_check(const options *opt, pv_error *err);

/* Asks the server for its models, running the loop. `header`: as model_policy_open().
 * Fails: as http_policy_check(), openai_server_hello() and prover_json_named(). */
PV_NODISCARD pv_status http_policy_open(http_policy **out, uv_loop_t *loop, const options *opt,
                                        const char *header, pv_error *err);
search_policy http_policy_table(http_policy *policy);

/* The server, for others that ask it; borrowed until the policy is closed. */
openai_server *http_policy_server(http_policy *policy);

/* The name that the server gives its model. Borrowed. */
const char *http_policy_model(const http_policy *policy);

/* The policy must be idle; the loop must run once more, to close its handles. NULL allowed. */
void http_policy_close(http_policy *policy);

#endif
