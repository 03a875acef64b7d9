#include "run_describe.h"

#include "model_id.h"
#include "model_place.h"
#include "run_environment.h"
#include "run_settings.h"

#include <jansson.h>

/* The options as they turned out: with the policy and the model that are used. */
static pv_status settle_options(options *opt, model_place *place, const policy_choice *choice,
                                char hash[PV_SHA256_TEXT], pv_error *err)
{
    hash[0] = '\0';
    opt->policy = choice->policy.ops->name;
    if (choice->model == NULL) {
        return PV_OK;
    }
    pv_status status = model_place_find(place, opt->model, err);
    if (status == PV_OK && place->dir != NULL) {
        opt->model = place->dir;
        status = model_id(opt->model, hash, err);
    }
    return status;
}

pv_status run_describe(store_run *run, char **environment, const session *s,
                       const policy_choice *choice, pv_error *err)
{
    options opt = *s->opt;
    model_place place = {0};
    char hash[PV_SHA256_TEXT];
    pv_status status = settle_options(&opt, &place, choice, hash, err);
    if (status == PV_OK) {
        status = run_settings_write(&opt, hash, run, err);
    }
    if (status == PV_OK) {
        json_t *settings = json_loads(run->settings, 0, NULL);
        run_environment where = {s, choice, &opt, hash, settings};
        *environment = run_environment_json(&where);
        json_decref(settings);
        status = *environment == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
    }
    model_place_release(&place);
    return status;
}
