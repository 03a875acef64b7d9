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
#include "search_premises_policy.h"

#include <uv.h>

typedef struct policy_choice { /* {0}: nothing open */
    search_policy policy;
    model_policy *model;          /* owned; NULL without a model           */
    http_policy *http;            /* owned; NULL without a server          */
    search_premises *premises;    /* owned; NULL without --policy premises */
    search_premises_policy whole; /* `policy` points here then             */
} policy_choice;

/* The policy that does not propose the lemma `skip` (borrowed), for one search; `own` must outlive it. */
search_policy policy_choice_without(const policy_choice *choice, search_premises_policy *own,
                                    const char *skip);

/* Do --policy, --model, --url and what belongs to them go together, and is there a model when one is asked for? PV_E_INVALID says what is wrong. */
PV_NODISCARD pv_status policy_choice_check(const options *opt, pv_error *err);

/* Without --policy it is the server of --url, or the model where there is one (model_place.h), and else the portfolio, with a note on stderr. Loads the
 * model or the lemmas, or asks the server; `header` (borrowed for the call) is what prompts show. *out must stay where it is. Fails as
 * model_policy_open(): a model that is there and does not work is an error; PV_E_IO, PV_E_INVALID: the file of lemmas; and as
 * http_policy_open(). */
PV_NODISCARD pv_status policy_choice_open(policy_choice *out, uv_loop_t *loop, const options *opt,
                                          const char *header, pv_error *err);
void policy_choice_close(policy_choice *choice);

/* Candidates to ask for in each state: the option's, unless it is a default and the model says better. */
uint32_t policy_choice_width(const policy_choice *choice, bool given, uint64_t option);

#endif
