#include "policy_choice.h"

#include "data_file.h"
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

static bool asks_for_server(const options *opt)
{
    return asks_for(opt, "http") ||
           (opt->policy[0] == '\0' && opt->url[0] != '\0' && opt->model[0] == '\0');
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

static bool wants_premises(const options *opt)
{
    return asks_for(opt, "premises");
}

pv_status policy_choice_check(const options *opt, pv_error *err)
{
    if (wants_premises(opt) != (opt->premises[0] != '\0')) {
        return pv_fail(err, PV_E_INVALID,
                       "--policy premises and --premises FILE.jsonl go together: the file has the "
                       "lemmas, as `prover generate --list` writes them");
    }
    if (opt->policy[0] == '\0' && opt->model[0] != '\0' && opt->url[0] != '\0') {
        return pv_fail(err, PV_E_INVALID,
                       "--model and --url are both given: say with --policy model or --policy http "
                       "which proposes the tactics");
    }
    if (asks_for_server(opt)) {
        return http_policy_check(opt, err);
    }
    if (opt->policy[0] == '\0' || wants_premises(opt)) {
        return device_check(opt, err);
    }
    if (!asks_for(opt, "portfolio") && !asks_for_model(opt)) {
        return pv_fail(err, PV_E_INVALID,
                       "--policy %s: the policies are model, mixed, http, premises and portfolio",
                       opt->policy);
    }
    model_place place = {0};
    pv_status status = model_place_find(&place, opt->model, err);
    if (status == PV_OK && asks_for_model(opt) && place.dir == NULL) {
        status = no_model(opt, &place, err);
    }
    model_place_release(&place);
    return status == PV_OK ? device_check(opt, err) : status;
}

/* A model that the user names is asked alone unless he says otherwise; the shipped one is small, and has the portfolio behind it. */
static bool is_mixed(const options *opt, const model_place *place)
{
    return asks_for(opt, "mixed") || (opt->policy[0] == '\0' && place->is_shipped);
}

static pv_status open_model(policy_choice *out, uv_loop_t *loop, const options *opt,
                            const char *header, const model_place *place, pv_error *err)
{
    pv_log(PV_LOG_INFO, "the model is %s (%s)", place->dir, place->from);
    progress_note("prover", "loading the model");
    pv_status status = model_policy_open(&out->model, loop, opt, place->dir, header, err);
    if (status == PV_OK) {
        out->policy = is_mixed(opt, place) ? model_policy_mixed_table(out->model)
                                           : model_policy_table(out->model);
    } else if (err != NULL && opt->model[0] == '\0') {
        status = pv_error_wrap(err, "the model %s (%s; --policy portfolio does without)",
                               place->dir, place->from);
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

/* ---- lemmas ---- */

/* A row without a name or a statement, or of a mutation (which has no name of its own), is left out. */
static pv_status take_premise(void *user, const json_t *row, pv_error *err)
{
    const char *name = json_string_value(json_object_get(row, "name")),
               *statement = json_string_value(json_object_get(row, "statement")),
               *mutation = json_string_value(json_object_get(row, "mutation"));
    bool whole =
        name != NULL && statement != NULL && (mutation == NULL || strcmp(mutation, "theorem") == 0);
    return whole ? search_premises_add(user, name, statement, err) : PV_OK;
}

static pv_status open_premises(policy_choice *out, const char *path, pv_error *err)
{
    pv_status status = search_premises_new(&out->premises, err);
    if (status == PV_OK) {
        status = data_file_read(path, take_premise, out->premises, err);
    }
    if (status == PV_OK && search_premises_count(out->premises) == 0) {
        status = pv_fail(err, PV_E_INVALID,
                         "--premises %s: no row has `name` and `statement`; make the file with "
                         "`prover generate --list`",
                         path);
    }
    if (status == PV_OK) {
        status = search_premises_seal(out->premises, err);
    }
    if (status == PV_OK) {
        out->whole = (search_premises_policy){.set = out->premises};
        out->policy = search_premises_policy_table(&out->whole);
    }
    return status;
}

search_policy policy_choice_without(const policy_choice *choice, search_premises_policy *own,
                                    const char *skip)
{
    if (choice->premises == NULL) {
        return choice->policy;
    }
    *own = (search_premises_policy){.set = choice->premises, .skip = skip};
    return search_premises_policy_table(own);
}

/* ---- all ---- */

pv_status policy_choice_open(policy_choice *out, uv_loop_t *loop, const options *opt,
                             const char *header, pv_error *err)
{
    *out = (policy_choice){.policy = search_portfolio()};
    if (wants_premises(opt)) {
        return open_premises(out, opt->premises, err);
    }
    if (asks_for_server(opt)) {
        return open_http(out, loop, opt, header, err);
    }
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
    http_policy_close(choice->http);
    search_premises_free(choice->premises);
    *choice = (policy_choice){0};
}

uint32_t policy_choice_width(const policy_choice *choice, bool given, uint64_t option)
{
    uint32_t said = choice->model == NULL ? 0 : model_policy_samples(choice->model);
    return given || said == 0 ? (uint32_t)option : said;
}
