#include "run_settings.h"

#include "pv_mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The settings that are no options. */
static const char MODEL_HASH[] = "model_sha256", GIVEN[] = "given";

/* A value, and whether it was given: where it was not, a model may have its own idea of it. */
static void put_setting(void *user, const char *flag, const char *value, bool given,
                        bool of_process)
{
    json_t *settings = user;
    if (!of_process) { /* what decides results, but the problems, which the run has */
        json_object_set_new(settings, flag, json_string(value));
        if (given) {
            json_array_append_new(json_object_get(settings, GIVEN), json_string(flag));
        }
    }
}

/* Over what a run of another store must have in common with this one to be a part of the same benchmark. A checkpoint counts by what is
 * in it, not by where it lies. */
static void make_fingerprint(const json_t *settings, store_run *run)
{
    json_t *copy = json_copy((json_t *)settings);
    json_object_del(copy, "--model");
    char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    pv_sha256 sha;
    pv_sha256_init(&sha);
    if (text != NULL) {
        pv_sha256_add(&sha, text, strlen(text) + 1);
    }
    pv_sha256_add(&sha, run->problems_hash, strlen(run->problems_hash));
    pv_sha256_end(&sha, run->fingerprint);
    free(text);
    json_decref(copy);
}

pv_status run_settings_write(const options *opt, const char *model_hash, store_run *run,
                             pv_error *err)
{
    json_t *settings = json_pack("{s:[]}", GIVEN);
    options_visit(opt, put_setting, settings);
    json_object_set_new(settings, MODEL_HASH, json_string(model_hash));
    char *text = json_dumps(settings, JSON_COMPACT);
    run->settings = text == NULL ? NULL : pv_strdup(text);
    make_fingerprint(settings, run);
    free(text);
    json_decref(settings);
    return run->settings == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
}
