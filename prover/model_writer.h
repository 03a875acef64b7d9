/* model_writer: whole proofs by the model of a model_policy, asked with Prover-V2's prompts. It shares the policy's engine, so that steps
 * and whole proofs of all problems decode in the same batches. Threads: the loop's. */
#ifndef MODEL_WRITER_H
#define MODEL_WRITER_H

#include "model_policy.h"
#include "writer.h"

typedef struct model_writer model_writer;

/* `prompt`: prover-v2-noncot or prover-v2-cot. The policy is borrowed and outlives the writer's requests: those that are out when it is
 * closed end then, after which the writer may be freed. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status model_writer_new(model_writer **out, model_policy *policy,
                                        const options *opt, const char *prompt, pv_error *err);
void model_writer_free(model_writer *w); /* NULL allowed; no request is out */
writer model_writer_table(model_writer *w);

#endif
