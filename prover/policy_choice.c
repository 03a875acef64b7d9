#include "policy_choice.h"

#include "device.h"
#include "progress.h"
#include "search_portfolio.h"

#include <string.h>

static bool wants_model(const options *opt)
{
    return strcmp(opt->policy, "model") == 0 || (opt->policy[0] == '\0' && opt->model[0] != '\0');
}

pv_status policy_choice_check(const options *opt, pv_error *err)
{
    bool known = opt->policy[0] == '\0' || strcmp(opt->policy, "portfolio") == 0 ||
                 strcmp(opt->policy, "model") == 0;
    if (!known) {
        return pv_fail(err, PV_E_INVALID, "--policy %s: the policies are portfolio and model",
                       opt->policy);
    }
    if (wants_model(opt) && opt->model[0] == '\0') {
        return pv_fail(err, PV_E_INVALID, "--policy model needs --model DIR, a checkpoint folder");
    }
    return device_check(opt, err);
}

pv_status policy_choice_open(policy_choice *out, uv_loop_t *loop, const options *opt,
                             const char *header, pv_error *err)
{
    *out = (policy_choice){.policy = search_portfolio()};
    if (!wants_model(opt)) {
        return PV_OK;
    }
    progress_note("prover", "loading the model");
    pv_status status = model_policy_open(&out->model, loop, opt, header, err);
    if (status == PV_OK) {
        out->policy = model_policy_table(out->model);
    }
    return status;
}

void policy_choice_close(policy_choice *choice)
{
    model_policy_close(choice->model);
    *choice = (policy_choice){0};
}
