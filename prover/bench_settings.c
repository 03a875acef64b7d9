#include "bench.h"

#include "pv_mem.h"
#include "run_environment.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char MODEL_HASH[] = "model_sha256", GIVEN[] = "given"; /* as run_settings.c */

static bool is_given(const json_t *settings, const char *flag)
{
    const json_t *given = json_object_get(settings, GIVEN);
    for (size_t i = 0; i < json_array_size(given); i++) {
        const char *name = json_string_value(json_array_get(given, i));
        if (name != NULL && strcmp(name, flag) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- back ---- */

typedef struct comparison {
    const json_t *settings;
    const char *run;
    pv_error *err;
    pv_status status;
} comparison;

static void compare(void *user, const char *flag, const char *value, bool given, bool of_process)
{
    comparison *c = user;
    (void)of_process; /* the run has no value for it */
    const char *theirs = json_string_value(json_object_get(c->settings, flag));
    bool moved = strcmp(flag, "--model") == 0; /* another path; the weights are compared later */
    if (c->status == PV_OK && theirs != NULL && !moved && given && strcmp(value, theirs) != 0) {
        c->status = pv_fail(c->err, PV_E_INVALID,
                            "run %s has %s %s: leave the option out to go on with it, or start a "
                            "new run",
                            c->run, flag, theirs[0] == '\0' ? "\"\"" : theirs);
    }
}

pv_status bench_settings_read(bench *b, pv_error *err)
{
    json_t *settings = json_loads(b->run.settings, 0, NULL);
    comparison c = {settings, b->run.id, err, PV_OK};
    const char *flag, *own_model = b->opt.model_given ? b->opt.model : "";
    json_t *value;
    if (!json_is_object(settings)) {
        json_decref(settings);
        return pv_fail(err, PV_E_INVALID, "run %s: its settings are damaged", b->run.id);
    }
    options_visit(&b->opt, compare, &c);
    pv_status status = c.status;
    json_object_foreach(settings, flag, value)
    {
        if (status == PV_OK && flag[0] == '-' && json_is_string(value)) {
            status =
                options_set(&b->opt, flag, json_string_value(value), is_given(settings, flag), err);
        }
    }
    if (own_model[0] != '\0') {
        b->opt.model = own_model;
    }
    b->settings = settings; /* what the options point into */
    return status;
}

const char *bench_settings_model(const bench *b)
{
    const char *hash = json_string_value(json_object_get(b->settings, MODEL_HASH));
    return hash == NULL ? "" : hash;
}

pv_status bench_environment(bench *b, pv_error *err)
{
    run_environment where = {&b->s, &b->choice, &b->opt, b->model_hash, b->settings};
    b->environment = run_environment_json(&where);
    return b->environment == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
}
