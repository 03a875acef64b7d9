#include "lean_pool_internal.h"

#include "lean_export.h"

#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

/* ---- making ------------------------------------------------------------------------------------------------------ */

static lean_job *job_new(lean_pool *pool, lean_job_kind kind, void *user)
{
    lean_job *job = pv_calloc(1, sizeof *job);
    if (job != NULL) {
        job->kind = kind;
        job->pool = pool;
        job->user = user;
    }
    return job;
}

static void job_free(lean_job *job)
{
    lean_env_unref(job->env);
    lean_state_unref(job->state);
    lean_arena_release(&job->arena);
    pv_free(job);
}

/* Puts a complete job into the queue; takes it, also when it fails. */
static pv_status submit(lean_job *job, lean_ticket *ticket, pv_error *err)
{
    lean_pool *pool = job->pool;
    pv_status status = PV_E_NOMEM;
    if (lean_arena_ok(&job->arena)) {
        status = lean_pool_admit(pool, job, err);
    } else {
        pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    if (status != PV_OK) {
        job_free(job);
        return status;
    }
    lean_queue_push(&pool->queue, job);
    pool->stats.requests++;
    lean_pool_want_pump(pool);
    if (ticket != NULL) {
        *ticket = job->ticket;
    }
    return PV_OK;
}

static pv_status check_text(const char *text, const char *what, pv_error *err)
{
    if (text == NULL) {
        return pv_fail(err, PV_E_MISUSE, "%s is missing", what);
    }
    size_t n = strlen(text);
    size_t valid = pv_utf8_valid(text, n);
    if (valid != n) {
        return pv_fail(err, PV_E_INVALID, "%s is not valid UTF-8 at byte %zu", what, valid);
    }
    return PV_OK;
}

static pv_status check_open(const lean_pool *pool, pv_error *err)
{
    if (pool->closing) {
        return pv_fail(err, PV_E_CANCELLED, "the pool of Lean workers is being closed");
    }
    return PV_OK;
}

static const char *copy_text(lean_job *job, const char *text)
{
    return lean_arena_text(&job->arena, text, strlen(text));
}

static const char **copy_texts(lean_job *job, const char *const *texts, size_t n)
{
    const char **copies = lean_arena_alloc(&job->arena, n, sizeof *copies);
    for (size_t i = 0; copies != NULL && i < n; i++) {
        copies[i] = copy_text(job, texts[i]);
    }
    return copies;
}

static const uint64_t *copy_numbers(lean_job *job, const uint64_t *numbers, size_t n)
{
    uint64_t *copies = lean_arena_alloc(&job->arena, n, sizeof *copies);
    if (copies != NULL && n > 0) {
        memcpy(copies, numbers, n * sizeof *copies);
    }
    return copies;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static pv_status env_request(lean_pool *pool, lean_env *base, lean_env **out, const char *text,
                             lean_env_cb *cb, void *user, pv_error *err)
{
    pv_status status = check_open(pool, err);
    if (status == PV_OK) {
        status = check_text(text, base == NULL ? "the header" : "the text of the commands", err);
    }
    if (status != PV_OK) {
        return status;
    }
    lean_env *env = lean_env_obtain(pool, base, text);
    lean_job *job = job_new(pool, LEAN_JOB_ENV, user);
    if (env == NULL || job == NULL) {
        lean_env_unref(env);
        pv_free(job);
        return pv_fail(err, PV_E_NOMEM, "no memory for a header of Lean");
    }
    job->env = lean_env_ref(env);
    job->on_env = cb;
    status = submit(job, NULL, err);
    if (status != PV_OK) {
        lean_env_unref(env);
        return status;
    }
    *out = env;
    return PV_OK;
}

pv_status lean_env_new(lean_pool *pool, lean_env **out, const char *header, lean_env_cb *cb,
                       void *user, pv_error *err)
{
    if (pool == NULL || out == NULL) {
        return pv_fail(err, PV_E_MISUSE, "lean_env_new: no pool or no place for the result");
    }
    return env_request(pool, NULL, out, header, cb, user, err);
}

pv_status lean_env_extend(lean_env *base, lean_env **out, const char *text, lean_env_cb *cb,
                          void *user, pv_error *err)
{
    if (base == NULL || out == NULL) {
        return pv_fail(err, PV_E_MISUSE, "lean_env_extend: no env or no place for the result");
    }
    return env_request(base->pool, base, out, text, cb, user, err);
}

pv_status lean_open(lean_env *env, const char *text, lean_ticket *ticket, lean_open_cb *cb,
                    void *user, pv_error *err)
{
    if (env == NULL) {
        return pv_fail(err, PV_E_MISUSE, "lean_open: no env");
    }
    pv_status status = check_open(env->pool, err);
    if (status == PV_OK) {
        status = check_text(text, "the text to open", err);
    }
    if (status != PV_OK) {
        return status;
    }
    lean_job *job = job_new(env->pool, LEAN_JOB_OPEN, user);
    if (job == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    job->env = lean_env_ref(env);
    job->text = copy_text(job, text);
    job->on_open = cb;
    return submit(job, ticket, err);
}

static pv_status check_tactics(const char *const *tactics, size_t n, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < n && status == PV_OK; i++) {
        status = check_text(tactics[i], "a tactic", err);
    }
    return status;
}

pv_status lean_try(lean_state *state, const char *const *tactics, size_t n, lean_ticket *ticket,
                   lean_try_cb *cb, void *user, pv_error *err)
{
    if (state == NULL || (n > 0 && tactics == NULL)) {
        return pv_fail(err, PV_E_MISUSE, "lean_try: no state or no tactics");
    }
    pv_status status = check_open(state->pool, err);
    if (status == PV_OK) {
        status = check_tactics(tactics, n, err);
    }
    if (status != PV_OK) {
        return status;
    }
    lean_job *job = job_new(state->pool, LEAN_JOB_TRY, user);
    if (job == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    job->state = lean_state_ref(state);
    job->tactics = copy_texts(job, tactics, n);
    job->tactic_count = n;
    job->on_try = cb;
    return submit(job, ticket, err);
}

static pv_status check_judgement(const lean_check_request *request, pv_error *err)
{
    pv_status status = check_text(request->original, "the original text", err);
    if (status == PV_OK && request->declarations != NULL) {
        status = check_text(request->declarations, "the export", err);
        if (status == PV_OK) {
            status = lean_export_look(request->declarations, strlen(request->declarations), err);
        }
    } else if (status == PV_OK) {
        status = check_text(request->candidate, "the candidate text", err);
    }
    for (size_t i = 0; i < request->name_count && status == PV_OK; i++) {
        status = check_text(request->names[i], "a name", err);
    }
    return status;
}

static void fill_check(lean_job *job, const lean_check_request *request)
{
    job->check = *request;
    job->check.original = copy_text(job, request->original);
    if (request->declarations != NULL) {
        job->check.declarations = copy_text(job, request->declarations);
        job->check.candidate = NULL;
    } else {
        job->check.candidate = copy_text(job, request->candidate);
    }
    job->check.names = copy_texts(job, request->names, request->name_count);
    job->check.fills = copy_numbers(job, request->fills, request->fill_numbers);
    if (request->deadline_ms == 0) {
        job->check.deadline_ms = 60000;
    }
    if (request->heartbeats == 0) {
        job->check.heartbeats = job->pool->options.heartbeats;
    }
}

pv_status lean_check(lean_env *env, const lean_check_request *request, lean_ticket *ticket,
                     lean_check_cb *cb, void *user, pv_error *err)
{
    if (env == NULL || request == NULL) {
        return pv_fail(err, PV_E_MISUSE, "lean_check: no env or no request");
    }
    pv_status status = check_open(env->pool, err);
    if (status == PV_OK) {
        status = check_judgement(request, err);
    }
    if (status != PV_OK) {
        return status;
    }
    lean_job *job = job_new(env->pool, LEAN_JOB_CHECK, user);
    if (job == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    job->env = lean_env_ref(env);
    fill_check(job, request);
    job->on_check = cb;
    return submit(job, ticket, err);
}

static pv_status check_question(const lean_library_request *request, pv_error *err)
{
    bool by_text = request->kind == LEAN_MUTATE || request->kind == LEAN_USAGE;
    pv_status status = PV_OK;
    if (request->kind == LEAN_STATEMENTS) {
        status = check_text(request->module, "the module", err);
    } else if (by_text) {
        status = check_text(request->text, "the text of the theorem", err);
    }
    if (status == PV_OK && by_text) {
        status = check_text(request->name, "the theorem's name", err);
    }
    for (size_t i = 0; i < request->mutation_count && status == PV_OK; i++) {
        status = check_text(request->mutations[i], "a mutation", err);
    }
    return status;
}

static void fill_question(lean_job *job, const lean_library_request *request)
{
    lean_library_request *copy = &job->library;
    *copy = *request;
    copy->module = request->module == NULL ? NULL : copy_text(job, request->module);
    copy->text = request->text == NULL ? NULL : copy_text(job, request->text);
    copy->name = request->name == NULL ? NULL : copy_text(job, request->name);
    copy->mutations = copy_texts(job, request->mutations, request->mutation_count);
    if (request->deadline_ms == 0) {
        copy->deadline_ms = 120000;
    }
}

pv_status lean_library_ask(lean_env *env, const lean_library_request *request, lean_ticket *ticket,
                           lean_library_cb *cb, void *user, pv_error *err)
{
    if (env == NULL || request == NULL) {
        return pv_fail(err, PV_E_MISUSE, "lean_library_ask: no env or no request");
    }
    pv_status status = check_open(env->pool, err);
    if (status == PV_OK) {
        status = check_question(request, err);
    }
    if (status != PV_OK) {
        return status;
    }
    lean_job *job = job_new(env->pool, LEAN_JOB_LIBRARY, user);
    if (job == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    job->env = lean_env_ref(env);
    fill_question(job, request);
    job->on_library = cb;
    return submit(job, ticket, err);
}

void lean_cancel(lean_pool *pool, lean_ticket ticket)
{
    size_t index = (size_t)(ticket & UINT32_MAX);
    if (pool == NULL || index == 0 || index > pool->ticket_count) {
        return;
    }
    lean_job *job = pool->tickets[index - 1].job;
    if (job != NULL && job->ticket == ticket) {
        job->cancelled = true;
        pool->cancel_wanted = true;
        lean_pool_want_pump(pool);
    }
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

void lean_job_answer(lean_job *job, const lean_tried *tried)
{
    size_t index = job->next_tactic++;
    job->struck_tactic = 0;
    job->strikes = 0; /* it goes on */
    if (job->on_try != NULL) {
        job->on_try(job->user, job->ticket, index, tried, NULL);
    }
}

static void end_try(lean_job *job, const pv_error *failure)
{
    lean_tried lost = {.kind = LEAN_TRY_LOST, .message = failure == NULL ? "" : failure->msg};
    while (job->next_tactic < job->tactic_count) {
        lean_job_answer(job, &lost);
    }
    if (job->on_try != NULL) {
        job->on_try(job->user, job->ticket, job->tactic_count, NULL, failure);
    }
}

static void end_env(lean_job *job, const pv_error *failure)
{
    if (job->on_env == NULL) {
        return;
    }
    /* Messages also when the header failed: they say where. */
    job->on_env(job->user, job->ticket, job->env->messages, job->env->message_count, failure);
}

static void call_back(lean_job *job, lean_reply *reply, const pv_error *failure)
{
    switch (job->kind) {
    case LEAN_JOB_ENV:
        end_env(job, failure);
        break;
    case LEAN_JOB_OPEN:
        if (job->on_open != NULL) {
            job->on_open(job->user, job->ticket, failure == NULL ? &reply->opened : NULL, failure);
        }
        break;
    case LEAN_JOB_TRY:
        end_try(job, failure);
        break;
    case LEAN_JOB_CHECK:
        if (job->on_check != NULL) {
            job->on_check(job->user, job->ticket, failure == NULL ? &reply->checked : NULL,
                          failure);
        }
        break;
    case LEAN_JOB_LIBRARY:
        if (job->on_library != NULL) {
            job->on_library(job->user, job->ticket, failure == NULL ? &reply->library : NULL,
                            failure);
        }
        break;
    }
}

void lean_job_end(lean_job *job, lean_reply *reply, const pv_error *failure)
{
    lean_pool *pool = job->pool;
    lean_pool_ref(pool); /* the job may hold the last env */
    if (job->queued) {
        lean_queue_remove(&pool->queue, job);
    }
    if (job->slot != NULL) {
        lean_slot_leave(job->slot);
    }
    lean_pool_dismiss(pool, job);
    pool->stats.completed++;
    call_back(job, reply, failure);
    job_free(job);
    lean_pool_want_pump(pool);
    lean_pool_unref(pool);
}
