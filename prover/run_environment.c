#include "run_environment.h"

#include "pv_mem.h"

#include <stdlib.h>
#include <unistd.h>

static json_t *sampling_json(const engine_sampling *drawn)
{
    return json_pack("{s:f,s:f,s:I,s:f}", "temperature", (double)drawn->temperature, "top_p",
                     (double)drawn->top_p, "top_k", (json_int_t)drawn->top_k, "min_p",
                     (double)drawn->min_p);
}

/* A server draws with what the options say. */
static json_t *server_json(const run_environment *e)
{
    const options *opt = e->opt;
    engine_sampling asked = {.temperature = (float)opt->temperature,
                             .top_p = (float)opt->top_p,
                             .top_k = (uint32_t)opt->top_k,
                             .min_p = (float)opt->min_p};
    return json_pack("{s:s,s:s,s:s,s:o}", "model", http_policy_model(e->choice->http), "api",
                     opt->api, "prompt", opt->prompt, "sampling", sampling_json(&asked));
}

static json_t *model_json(const run_environment *e)
{
    engine_sampling drawn = model_policy_sampling(e->choice->model);
    return json_pack("{s:s,s:s,s:s,s:o}", "model", e->opt->model, "model_hash", e->model_hash,
                     "prompt", model_policy_prompt(e->choice->model), "sampling",
                     sampling_json(&drawn));
}

static json_t *policy_json(const run_environment *e)
{
    json_t *out = json_pack("{s:s}", "policy", e->choice->policy.ops->name);
    json_t *more = e->choice->model != NULL  ? model_json(e)
                   : e->choice->http != NULL ? server_json(e)
                                             : NULL;
    if (more != NULL) {
        json_object_update_missing(out, more);
        json_decref(more);
    }
    return out;
}

char *run_environment_json(const run_environment *e)
{
    char host[65] = "";
    const char *lean = lean_pool_lean_version(e->s->pool), *sandbox = e->s->sandbox.describe;
    gethostname(host, sizeof host - 1);
    json_t *out = policy_json(e);
    json_object_set_new(out, "prover", json_string(PROVER_VERSION));
    json_object_set_new(out, "lean", json_string(lean == NULL ? "?" : lean));
    json_object_set_new(out, "sandboxed", json_boolean(e->s->sandbox.active));
    json_object_set_new(out, "sandbox", json_string(sandbox == NULL ? "?" : sandbox));
    json_object_set_new(out, "host", json_string(host));
    json_object_set_new(out, "workers", json_integer((json_int_t)e->s->pool_options.workers));
    json_object_set_new(out, "settings", json_deep_copy(e->settings));
    char *text = json_dumps(out, JSON_COMPACT), *copy = text == NULL ? NULL : pv_strdup(text);
    free(text);
    json_decref(out);
    return copy;
}
