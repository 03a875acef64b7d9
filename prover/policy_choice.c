#include "policy_choice.h"

#include "data_file.h"
#include "device.h"
#include "progress.h"
#include "search_portfolio.h"

#include <string.h>

static bool wants_model(const options *opt)
{
    return strcmp(opt->policy, "model") == 0 || (opt->policy[0] == '\0' && opt->model[0] != '\0');
}

static bool wants_premises(const options *opt)
{
    return strcmp(opt->policy, "premises") == 0;
}

pv_status policy_choice_check(const options *opt, pv_error *err)
{
    bool known = opt->policy[0] == '\0' || strcmp(opt->policy, "portfolio") == 0 ||
                 strcmp(opt->policy, "premises") == 0 || strcmp(opt->policy, "model") == 0;
    if (!known) {
        return pv_fail(err, PV_E_INVALID,
                       "--policy %s: the policies are portfolio, premises and model", opt->policy);
    }
    if (wants_premises(opt) != (opt->premises[0] != '\0')) {
        return pv_fail(err, PV_E_INVALID,
                       "--policy premises and --premises FILE.jsonl go together: the file has the "
                       "lemmas, as `prover generate --list` writes them");
    }
    if (wants_model(opt) && opt->model[0] == '\0') {
        return pv_fail(err, PV_E_INVALID, "--policy model needs --model DIR, a checkpoint folder");
    }
    return device_check(opt, err);
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
    search_premises_free(choice->premises);
    *choice = (policy_choice){0};
}
