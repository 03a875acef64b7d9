/* run_environment: what is written with every result in a store: program, Lean, sandbox, machine, policy, model, settings. Threads: one. */
#ifndef RUN_ENVIRONMENT_H
#define RUN_ENVIRONMENT_H

#include "policy_choice.h"
#include "session.h"

#include <jansson.h>

typedef struct run_environment { /* all borrowed */
    const session *s;
    const policy_choice *choice;
    const options *opt;
    const char *model_hash; /* "" without a model */
    const json_t *settings;
} run_environment;

/* One JSON object; the caller frees with pv_free(). NULL: memory is short. Lean must have answered. */
char *run_environment_json(const run_environment *e);

#endif
