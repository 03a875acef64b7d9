#include "lean_pool_internal.h"

#include <string.h>

void lean_step_release(lean_step *step)
{
    lean_env_unref(step->env);
    lean_state_unref(step->target);
    lean_numbers_release(&step->sent);
    memset(step, 0, sizeof *step);
}

/* A guess from above: lines that begin like a command. The deadline of an `open` is one for each. */
static uint64_t count_commands(const char *text)
{
    uint64_t n = 1;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        char c = *line;
        n += (c >= 'a' && c <= 'z') || c == '@' || c == '#';
    }
    return n;
}

static void plan_env(lean_env *env, const lean_slot *slot, lean_step *step)
{
    const lean_pool_options *options = &slot->pool->options;
    step->kind = LEAN_STEP_ENV;
    step->env = lean_env_ref(env);
    step->call.text = env->text;
    step->call.op = env->base == NULL ? LEAN_OP_HEADER : LEAN_OP_COMMAND;
    step->call.heartbeats = options->heartbeats;
    step->deadline_ms = options->start_deadline_ms;
    if (env->base != NULL) {
        lean_env_held(env->base, slot, &step->call.env);
        step->deadline_ms = options->deadline_ms * count_commands(env->text);
    }
}

/* True when `env` is on the slot already, with its number; else *step makes what is missing nearest to the root. */
static bool have_env(lean_env *env, const lean_slot *slot, lean_step *step)
{
    lean_env *missing = NULL;
    uint64_t number = 0;
    for (lean_env *e = env; e != NULL && !lean_env_held(e, slot, &number); e = e->base) {
        missing = e;
    }
    if (missing != NULL) {
        plan_env(missing, slot, step);
        return false;
    }
    lean_env_held(env, slot, &step->call.env);
    return true;
}

static void plan_open(const char *text, const lean_slot *slot, lean_step *step)
{
    const lean_pool_options *options = &slot->pool->options;
    step->call.op = LEAN_OP_OPEN;
    step->call.text = text;
    step->call.heartbeats = options->heartbeats;
    step->deadline_ms = options->deadline_ms * count_commands(text);
}

static void plan_try(uint64_t state, const char *const *tactics, size_t n, const lean_slot *slot,
                     lean_step *step)
{
    const lean_pool_options *options = &slot->pool->options;
    step->call.op = LEAN_OP_TRY;
    step->call.state = state;
    step->call.tactics = tactics;
    step->call.tactic_count = n;
    step->call.heartbeats = options->heartbeats;
    step->deadline_ms = options->deadline_ms;
}

/* True when `state` is on the slot already, with its number; else *step brings it nearer. */
static bool have_state(lean_state *state, const lean_slot *slot, lean_step *step, uint64_t *number)
{
    lean_state *missing = NULL;
    lean_handle *handle = NULL;
    for (lean_state *s = state; s != NULL; s = s->origin->parent) {
        handle = lean_state_on(s, slot);
        if (handle != NULL) {
            break;
        }
        missing = s;
    }
    if (missing == NULL) {
        lean_handle_touch(handle);
        *number = handle->number;
        return true;
    }
    lean_origin *origin = missing->origin;
    if (origin->parent == NULL && !have_env(origin->env, slot, step)) {
        return false;
    }
    step->target = lean_state_ref(missing);
    if (origin->parent == NULL) {
        step->kind = LEAN_STEP_OPEN;
        plan_open(origin->text, slot, step);
    } else {
        step->kind = LEAN_STEP_TRY;
        plan_try(handle->number, (const char *const *)&origin->text, 1, slot, step);
    }
    return false;
}

static void plan_check(const lean_job *job, lean_step *step)
{
    bool replay = job->check.declarations != NULL;
    step->call.op = replay ? LEAN_OP_REPLAY : LEAN_OP_CHECK;
    step->call.original = job->check.original;
    step->call.candidate = replay ? job->check.declarations : job->check.candidate;
    step->call.exporting = job->check.exporting && !replay;
    step->call.names = job->check.names;
    step->call.name_count = job->check.name_count;
    step->call.fills = job->check.fills;
    step->call.fill_numbers = job->check.fill_numbers;
    step->call.fill_data = job->check.fill_data;
    step->call.heartbeats = job->check.heartbeats;
    step->deadline_ms = job->check.deadline_ms;
}

static void plan_library(const lean_job *job, lean_step *step)
{
    static const lean_op ops[] = {
        [LEAN_MODULES] = LEAN_OP_MODULES,
        [LEAN_STATEMENTS] = LEAN_OP_STATEMENTS,
        [LEAN_MUTATE] = LEAN_OP_MUTATE,
        [LEAN_USAGE] = LEAN_OP_USAGE,
    };
    const lean_library_request *request = &job->library;
    step->call.op = ops[request->kind];
    step->call.text = request->kind == LEAN_STATEMENTS ? request->module : request->text;
    step->call.name = request->name;
    step->call.mutations = request->mutations;
    step->call.mutation_count = request->mutation_count;
    step->call.no_absurd = request->no_absurd;
    step->call.skip = request->skip;
    step->call.limit = request->limit;
    step->deadline_ms = request->deadline_ms;
}

void lean_plan(lean_job *job, const lean_slot *slot, lean_step *step)
{
    uint64_t number = 0;
    memset(step, 0, sizeof *step);
    if (job->kind == LEAN_JOB_TRY) {
        if (!have_state(job->state, slot, step, &number)) {
            return;
        }
        plan_try(number, job->tactics + job->next_tactic, job->tactic_count - job->next_tactic,
                 slot, step);
    } else if (!have_env(job->env, slot, step)) {
        return;
    } else if (job->kind == LEAN_JOB_OPEN) {
        plan_open(job->text, slot, step);
    } else if (job->kind == LEAN_JOB_CHECK) {
        plan_check(job, step);
    } else if (job->kind == LEAN_JOB_LIBRARY) {
        plan_library(job, step);
    }
    /* An ENV job is over once its env is there, and never comes here. */
    step->kind = LEAN_STEP_FINAL;
}
