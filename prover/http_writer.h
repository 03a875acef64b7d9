/* http_writer: whole proofs by the server of an http_policy, asked with Prover-V2's prompts: over the same connections, limits and second
 * tries as its steps.
 *
 * completions: Prover-V2's chat text; a repair is its next turn, behind the marks of the turns before it. chat: messages; an answer that has
 * begun is an assistant's message that the server shall continue. An answer that max_tokens cut is read as far as it goes. A request that
 * failed gives no answers and a warning, unless the server is at fault or four failed in a row: then the failure is the answers'.
 * Threads: the loop's. */
#ifndef HTTP_WRITER_H
#define HTTP_WRITER_H

#include "http_policy.h"
#include "writer.h"

typedef struct http_writer http_writer;

/* `prompt`: prover-v2-noncot or prover-v2-cot. Policy and options are borrowed and outlive the writer's requests. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status http_writer_new(http_writer **out, http_policy *policy, const options *opt,
                                       const char *prompt, pv_error *err);
void http_writer_free(http_writer *w); /* NULL allowed; no request is out */
writer http_writer_table(http_writer *w);

#endif
