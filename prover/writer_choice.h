/* writer_choice: what --mode asks for, and where its whole proofs come from: --proofs, or the model or server of the policy.
 *
 *     status = writer_choice_check(opt, &err);                   before anything is started
 *     status = writer_choice_open(&writers, &policies, opt, &err);
 *     ... writers.table (ops NULL: no whole proofs are wanted) ...
 *     writer_choice_close(&writers);                             no request is out
 * Threads: the loop's. */
#ifndef WRITER_CHOICE_H
#define WRITER_CHOICE_H

#include "http_writer.h"
#include "model_writer.h"
#include "policy_choice.h"
#include "proof_file.h"

typedef struct writer_choice { /* {0}: nothing open */
    writer table;
    bool steps; /* what is not proved whole is searched */
    proof_file *file;
    model_writer *model;
    http_writer *http;
} writer_choice;

/* Is there such a mode, and do --policy and --proofs go with it? PV_E_INVALID says what does not. */
PV_NODISCARD pv_status writer_choice_check(const options *opt, pv_error *err);

/* `policies` and `opt` are borrowed until the end. Fails: PV_E_INVALID (nothing there that writes), and as proof_file_open(). */
PV_NODISCARD pv_status writer_choice_open(writer_choice *out, policy_choice *policies,
                                          const options *opt, pv_error *err);
void writer_choice_close(writer_choice *choice);

#endif
