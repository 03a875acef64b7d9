#include "policy_choice.h"

#include "device.h"
#include "progress.h"
#include "search_portfolio.h"

#include <string.h>

static const char *policy_name(const options *opt)
{
    if (opt->policy[0] != '\0') {
        return opt->policy;
    }
    return opt->model[0] != '\0' ? "model" : opt->url[0] != '\0' ? "http" : "portfolio";
}

static bool wants(const options *opt, const char *name)
{
    return strcmp(policy_name(opt), name) == 0;
}

pv_status policy_choice_check(const options *opt, pv_error *err)
{
    if (!wants(opt, "portfolio") && !wants(opt, "model") && !wants(opt, "http")) {
        return pv_fail(err, PV_E_INVALID, "--policy %s: the policies are portfolio, model and http",
                       opt->policy);
    }
    if (opt->policy[0] == '\0' && opt->model[0] != '\0' && opt->url[0] != '\0') {
        return pv_fail(err, PV_E_INVALID,
                       "--model and --url are both given: say with --policy model or --policy http "
                       "which proposes the tactics");
    }
    if (wants(opt, "model") && opt->model[0] == '\0') {
        return pv_fail(err, PV_E_INVALID, "--policy model needs --model DIR, a checkpoint folder");
    }
    pv_status status = wants(opt, "http") ? http_policy_check(opt, err) : PV_OK;
    return status == PV_OK ? device_check(opt, err) : status;
}

static pv_status open_model(policy_choice *out, uv_loop_t *loop, const options *opt,
                            const char *header, pv_error *err)
{
    progress_note("prover", "loading the model");
    pv_status status = model_policy_open(&out->model, loop, opt, header, err);
    if (status == PV_OK) {
        out->policy = model_policy_table(out->model);
    }
    return status;
}

static pv_status open_http(policy_choice *out, uv_loop_t *loop, const options *opt,
                           const char *header, pv_error *err)
{
    progress_note("prover", "asking the server for its models");
    pv_status status = http_policy_open(&out->http, loop, opt, header, err);
    if (status == PV_OK) {
        out->policy = http_policy_table(out->http);
    }
    return status;
}

pv_status policy_choice_open(policy_choice *out, uv_loop_t *loop, const options *opt,
                             const char *header, pv_error *err)
{
    *out = (policy_choice){.policy = search_portfolio()};
    if (wants(opt, "model")) {
        return open_model(out, loop, opt, header, err);
    }
    return wants(opt, "http") ? open_http(out, loop, opt, header, err) : PV_OK;
}

void policy_choice_close(policy_choice *choice)
{
    model_policy_close(choice->model);
    http_policy_close(choice->http);
    *choice = (policy_choice){0};
}
