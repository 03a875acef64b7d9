/* policy_choice: which policy --policy, --model and --url ask for, and that policy opened.
 *
 *     status = policy_choice_check(opt, &err);                       before anything is started
 *     status = policy_choice_open(&choice, &s.loop, opt, header, &err);
 *     ... choice.policy ...
 *     policy_choice_close(&choice);
 * Threads: the loop's. */
#ifndef POLICY_CHOICE_H
#define POLICY_CHOICE_H

#include "http_policy.h"
#include "model_policy.h"
#include "options.h"
#include "search_policy.h"

#include <uv.h>

typedef struct policy_choice { /* {0}: nothing open */
    search_policy policy;
    model_policy *model; /* owned; NULL for the others */
    http_policy *http;   /* owned; NULL for the others */
} policy_choice;

/* Do --policy, --model, --url and what belongs to them go together? PV_E_INVALID says what does not. */
PV_NODISCARD pv_status policy_choice_check(const options *opt, pv_error *err);

/* Loads the model, or asks the server, when one is asked for; `header` (borrowed for the call) is what prompts show. Fails as
 * model_policy_open() and http_policy_open(). */
PV_NODISCARD pv_status policy_choice_open(policy_choice *out, uv_loop_t *loop, const options *opt,
                                          const char *header, pv_error *err);
void policy_choice_close(policy_choice *choice);

#endif
