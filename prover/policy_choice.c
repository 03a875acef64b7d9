#include "policy_choice.h"

#include "device.h"
#include "model_place.h"
#include "progress.h"
#include "pv_log.h"
#include "search_portfolio.h"

#include <string.h>

static bool asks_for(const options *opt, const char *policy)
{
    return strcmp(opt->policy, policy) == 0;
}

static bool asks_for_model(const options *opt)
{
    return asks_for(opt, "model") || asks_for(opt, "mixed");
}

static pv_status no_model(const options *opt, const model_place *place, pv_error *err)
{
    return pv_fail(err, PV_E_INVALID,
                   "--policy %s needs a model: --model DIR or PROVER_MODEL names a checkpoint "
                   "folder, and none is shipped at %s",
                   opt->policy, place->shipped);
}

pv_status policy_choice_check(const options *opt, pv_error *err)
{
    if (opt->policy[0] == '\0') {
        return device_check(opt, err);
    }
    if (!asks_for(opt, "portfolio") && !asks_for_model(opt)) {
        return pv_fail(err, PV_E_INVALID,
                       "--policy %s: the policies are model, mixed and portfolio", opt->policy);
    }
    model_place place = {0};
    pv_status status = model_place_find(&place, opt->model, err);
    if (status == PV_OK && asks_for_model(opt) && place.dir == NULL) {
        status = no_model(opt, &place, err);
    }
    model_place_release(&place);
    return status == PV_OK ? device_check(opt, err) : status;
}

static pv_status open_model(policy_choice *out, uv_loop_t *loop, const options *opt,
                            const char *header, const model_place *place, pv_error *err)
{
    pv_log(PV_LOG_INFO, "the model is %s (%s)", place->dir, place->from);
    progress_note("prover", "loading the model");
    pv_status status = model_policy_open(&out->model, loop, opt, place->dir, header, err);
    if (status == PV_OK) {
        out->policy = asks_for(opt, "mixed") ? model_policy_mixed_table(out->model)
                                             : model_policy_table(out->model);
    } else if (err != NULL && opt->model[0] == '\0') {
        status = pv_error_wrap(err, "the model %s (%s; --policy portfolio does without)",
                               place->dir, place->from);
    }
    return status;
}

pv_status policy_choice_open(policy_choice *out, uv_loop_t *loop, const options *opt,
                             const char *header, pv_error *err)
{
    *out = (policy_choice){.policy = search_portfolio()};
    if (asks_for(opt, "portfolio")) {
        return PV_OK;
    }
    model_place place = {0};
    pv_status status = model_place_find(&place, opt->model, err);
    if (status == PV_OK && place.dir != NULL) {
        status = open_model(out, loop, opt, header, &place, err);
    } else if (status == PV_OK && asks_for_model(opt)) {
        status = no_model(opt, &place, err);
    } else if (status == PV_OK) {
        pv_log(PV_LOG_WARN,
               "no model: none is shipped at %s; tactics come from the portfolio (--model DIR or "
               "PROVER_MODEL names a model, --policy portfolio says that none is wanted)",
               place.shipped);
    }
    model_place_release(&place);
    return status;
}

void policy_choice_close(policy_choice *choice)
{
    model_policy_close(choice->model);
    *choice = (policy_choice){0};
}

uint32_t policy_choice_width(const policy_choice *choice, bool given, uint64_t option)
{
    uint32_t said = choice->model == NULL ? 0 : model_policy_samples(choice->model);
    return given || said == 0 ? (uint32_t)option : said;
}
