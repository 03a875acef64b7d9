#include "writer_choice.h"

#include <string.h>

typedef struct mode {
    const char *name;
    bool whole, steps, plan;
} mode;

static const mode *find_mode(const char *name)
{
    static const mode modes[] = {{"step", false, true, false},
                                 {"whole", true, false, false},
                                 {"both", true, true, false},
                                 {"whole-cot", true, false, true},
                                 {"both-cot", true, true, true}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, name) == 0) {
            return &modes[i];
        }
    }
    return NULL;
}

pv_status writer_choice_check(const options *opt, pv_error *err)
{
    const mode *m = find_mode(opt->mode);
    bool writes = strcmp(opt->policy, "portfolio") != 0 && strcmp(opt->policy, "premises") != 0;
    if (m == NULL) {
        return pv_fail(err, PV_E_INVALID,
                       "--mode %s: the modes are step, whole, whole-cot, both and both-cot",
                       opt->mode);
    }
    if (m->whole && opt->proofs[0] == '\0' && !writes) {
        return pv_fail(
            err, PV_E_INVALID,
            "--mode %s needs whole proofs: from a model or a server (--policy %s asks none), or "
            "from --proofs FILE",
            opt->mode, opt->policy);
    }
    if (!m->whole && opt->proofs[0] != '\0') {
        return pv_fail(err, PV_E_INVALID, "--proofs goes with --mode whole or both");
    }
    if (!m->whole && opt->repair > 0) {
        return pv_fail(err, PV_E_INVALID, "--repair goes with --mode whole or both");
    }
    return PV_OK;
}

pv_status writer_choice_open(writer_choice *out, policy_choice *policies, const options *opt,
                             pv_error *err)
{
    const mode *m = find_mode(opt->mode);
    const char *prompt = m != NULL && m->plan ? "prover-v2-cot" : "prover-v2-noncot";
    pv_status status = PV_OK;
    *out = (writer_choice){.steps = m == NULL || m->steps};
    if (m == NULL || !m->whole) {
        return PV_OK;
    }
    if (opt->proofs[0] != '\0') {
        status = proof_file_open(&out->file, opt->proofs, err);
        out->table = status == PV_OK ? proof_file_writer(out->file) : out->table;
    } else if (policies->http != NULL) {
        status = http_writer_new(&out->http, policies->http, opt, prompt, err);
        out->table = status == PV_OK ? http_writer_table(out->http) : out->table;
    } else if (policies->model != NULL) {
        status = model_writer_new(&out->model, policies->model, opt, prompt, err);
        out->table = status == PV_OK ? model_writer_table(out->model) : out->table;
    } else {
        status = pv_fail(err, PV_E_INVALID,
                         "--mode %s needs whole proofs: from --model DIR, --url URL, or --proofs "
                         "FILE",
                         opt->mode);
    }
    return status;
}

void writer_choice_close(writer_choice *choice)
{
    proof_file_close(choice->file);
    model_writer_free(choice->model);
    http_writer_free(choice->http);
    *choice = (writer_choice){0};
}
