#include "engine.h"

#include "engine_scheduler.h"
#include "pv_mem.h"

#include <assert.h>
#include <string.h>

enum { STEPS_AHEAD_DEFAULT = 2 }; /* one runs, one is ready to run: more only adds surplus rows */

const char *engine_finish_text(engine_finish finish)
{
    static const char *const texts[] = {"stop",      "eos",    "length",   "scored",
                                        "cancelled", "failed", "exhausted"};
    return (unsigned)finish < sizeof texts / sizeof *texts ? texts[finish] : "?";
}

/* ---- Open and close ---- */

static pv_status direct_token(void *user, enginep_sample *s, const engine_token *token,
                              pv_error *err)
{
    (void)user;
    (void)err;
    s->job->on_token(s->job->user, token);
    return PV_OK;
}

static void direct_done(void *user, enginep_sample *s)
{
    (void)user;
    enginep_sample_deliver(s);
}

static pv_status copy_on_device(void *user, uint32_t to, uint32_t from, uint32_t tokens,
                                pv_error *err)
{
    engine *e = user;
    return e->backend->copy_page(e->device, to, from, tokens, err);
}

pv_status enginep_logits_ready(engine *e, pv_error *err)
{
    uint32_t vocab = e->model->config.vocab_size;
    size_t rows = e->limits.max_logit_rows;
    if (e->logits == NULL) {
        e->logits = pv_calloc(rows * vocab, sizeof *e->logits);
    }
    if (e->logits == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for %zu rows of %u logits", rows, vocab);
    }
    return e->sampler.weights != NULL ? PV_OK : engine_sampler_init(&e->sampler, vocab, err);
}

/* What answers come in, on a device that samples while earlier ones are on their way. */
static bool allocate_flights(engine *e)
{
    uint32_t rows = e->limits.max_rows;
    e->answers = pv_calloc(rows, sizeof *e->answers);
    bool ok = e->answers != NULL;
    for (uint32_t i = 0; i < e->steps_ahead; i++) {
        e->flights[i].askers = pv_calloc(rows, sizeof(enginep_sample *));
        ok = ok && e->flights[i].askers != NULL;
    }
    return ok;
}

static pv_status allocate(engine *e, pv_error *err)
{
    uint32_t rows = e->limits.max_rows;
    uint32_t logit_rows = e->limits.max_logit_rows;
    e->items = pv_calloc(rows, sizeof *e->items);
    e->seqs = pv_calloc(rows, sizeof *e->seqs);
    e->tokens = pv_calloc(rows, sizeof *e->tokens);
    e->draws = pv_calloc(rows, sizeof *e->draws);
    e->askers = pv_calloc(rows, sizeof(enginep_sample *));
    e->logit_rows = pv_calloc(logit_rows, sizeof *e->logit_rows);
    bool ok = e->steps_ahead == 0 || allocate_flights(e);
    if (!ok || e->items == NULL || e->seqs == NULL || e->tokens == NULL || e->draws == NULL ||
        e->askers == NULL || e->logit_rows == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for batches of %u rows, %u of them with logits",
                       rows, logit_rows);
    }
    return e->steps_ahead > 0 ? PV_OK : enginep_logits_ready(e, err);
}

static pv_status set_steps_ahead(engine *e, uint32_t asked, pv_error *err)
{
    if (asked > ENGINE_STEPS_AHEAD) {
        return pv_fail(err, PV_E_INVALID, "steps_ahead is %u; at most %d", asked,
                       ENGINE_STEPS_AHEAD);
    }
    if (e->backend->submit != NULL && e->backend->collect != NULL) {
        e->steps_ahead = asked != 0 ? asked : STEPS_AHEAD_DEFAULT;
    }
    return PV_OK;
}

static pv_status open_tree(engine *e, uint32_t pages, pv_error *err)
{
    engine_memory memory = {0};
    e->backend->memory(e->device, &memory);
    if (pages > memory.kv_pages) {
        return pv_fail(err, PV_E_INVALID, "a budget of %u KV pages, but the device holds %u", pages,
                       memory.kv_pages);
    }
    e->stats.pages_total = pages != 0 ? pages : memory.kv_pages;
    return engine_tree_new(&e->tree, e->stats.pages_total, copy_on_device, e, err);
}

static pv_status open_parts(engine *e, const engine_options *options, pv_error *err)
{
    pv_status status =
        engine_backend_options_resolve(&e->limits, &e->model->config, &options->backend, err);
    if (status != PV_OK) {
        return status;
    }
    if (options->backend.kv_pages == 0) {
        e->limits.kv_pages++; /* a branch may begin with a copy of its prefix's last page */
    }
    e->max_sequences =
        options->max_sequences != 0 ? options->max_sequences : e->limits.max_logit_rows;
    status = set_steps_ahead(e, options->steps_ahead, err);
    if (status != PV_OK) {
        return status;
    }
    status = e->backend->open(&e->device, &e->model->weights, &e->limits, err);
    if (status == PV_OK) {
        status = open_tree(e, options->pages, err);
    }
    return status == PV_OK ? allocate(e, err) : status;
}

pv_status engine_open(engine **out, const engine_model *model, const engine_backend *backend,
                      const engine_options *options, pv_error *err)
{
    static const engine_options defaults;
    engine *e = pv_calloc(1, sizeof *e);
    if (e == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for an engine");
    }
    e->model = model;
    e->backend = backend;
    e->sink = (enginep_sink){direct_token, direct_done, NULL};
    e->next_id = 1;
    enginep_list_init(&e->waiting);
    enginep_list_init(&e->active);
    enginep_list_init(&e->running);
    enginep_list_init(&e->finished);
    enginep_list_init(&e->distinct);
    enginep_list_init(&e->spent);
    enginep_list_init(&e->kept);
    pv_status status = open_parts(e, options != NULL ? options : &defaults, err);
    if (status != PV_OK) {
        engine_close(e);
        return status;
    }
    *out = e;
    return PV_OK;
}

void engine_close(engine *e)
{
    if (e == NULL) {
        return;
    }
    assert(!e->stepping);
    e->stepping = true;
    e->dead = true; /* callbacks may submit no more */
    (void)pv_fail(&e->death, PV_E_CANCELLED, "the engine is being closed");
    while (!enginep_list_empty(&e->waiting) || !enginep_list_empty(&e->active) ||
           !enginep_list_empty(&e->distinct) || !enginep_list_empty(&e->finished)) {
        enginep_end_all(e, ENGINE_FINISH_CANCELLED, NULL);
        enginep_free_spent(e);
        enginep_deliver(e);
    }
    enginep_distinct_close(e);
    engine_tree_free(e->tree);
    if (e->device != NULL) {
        e->backend->close(e->device);
    }
    engine_sampler_release(&e->sampler);
    pv_free(e->items);
    pv_free(e->seqs);
    pv_free(e->tokens);
    pv_free(e->draws);
    pv_free(e->askers);
    pv_free(e->logit_rows);
    pv_free(e->logits);
    pv_free(e->answers);
    for (uint32_t i = 0; i < ENGINE_STEPS_AHEAD; i++) {
        pv_free(e->flights[i].askers);
    }
    pv_free(e->tables);
    pv_free(e);
}

/* ---- Requests in ---- */

void enginep_insert_waiting(engine *e, enginep_job *job)
{
    enginep_link *before = &e->waiting; /* by age: a suspended job goes back to where it was */
    while (before->prev != &e->waiting && enginep_job_younger(ENGINEP_JOB(before->prev), job)) {
        before = before->prev;
    }
    enginep_list_insert(before, &job->link);
    e->waiting_count++;
}

void enginep_enqueue(engine *e, enginep_job *job)
{
    if (job->id == 0) {
        job->id = e->next_id++;
    }
    if (job->distinct != NULL) {
        enginep_distinct_begin(e, job);
    } else {
        enginep_insert_waiting(e, job);
    }
}

static pv_status accept(engine *e, pv_status status, enginep_job *job, uint64_t *id)
{
    if (status == PV_OK) {
        enginep_enqueue(e, job);
        if (id != NULL) {
            *id = job->id;
        }
    }
    return status;
}

static pv_status check_alive(const engine *e, pv_error *err)
{
    return e->dead ? pv_fail(err, e->death.status, "%s", e->death.msg) : PV_OK;
}

pv_status engine_submit(engine *e, const engine_request *request, uint64_t *id, pv_error *err)
{
    pv_status status = check_alive(e, err);
    if (status != PV_OK) {
        return status;
    }
    enginep_job *job = NULL;
    status = enginep_job_submit(e, request, &job, err);
    return accept(e, status, job, id);
}

pv_status engine_score(engine *e, const engine_score_request *request, uint64_t *id, pv_error *err)
{
    pv_status status = check_alive(e, err);
    if (status != PV_OK) {
        return status;
    }
    enginep_job *job = NULL;
    status = enginep_job_score(e, request, &job, err);
    return accept(e, status, job, id);
}

/* ---- Ends ---- */

void enginep_leave(engine *e, enginep_link *link)
{
    if (e->cursor == link) {
        e->cursor = link->next;
    }
    enginep_list_remove(link);
}

static void retire(engine *e, enginep_job *job)
{
    enginep_leave(e, &job->link);
    if (job->distinct != NULL) {
        enginep_distinct_retire(e, job);
        return;
    }
    *(job->active ? &e->active_count : &e->waiting_count) -= 1;
    e->row_count_active -= job->active && job->row_of != NULL;
    engine_tree_release(e->tree, job->base);
    job->base = NULL;
}

static void keep_error(enginep_sample *s, const pv_error *why)
{
    s->error = why == NULL ? NULL : pv_malloc(sizeof *why);
    if (s->error != NULL) {
        memcpy(s->error, why, sizeof *why);
    }
}

/* The tree gets what has been computed up to the last token's predecessor. More than that was launched ahead. */
static void close_tip(engine *e, enginep_sample *s, engine_finish finish)
{
    size_t keep = s->count > 0 ? s->count - 1 : 0;
    if (s->tip->computed > keep) {
        e->stats.tokens_computed -= s->tip->computed - keep;
        e->stats.tokens_surplus += s->tip->computed - keep;
    }
    if (finish == ENGINE_FINISH_FAILED) {
        engine_tree_discard(e->tree, s->tip);
    } else {
        engine_tree_cut(e->tree, s->tip, keep);
        engine_tree_commit(e->tree, s->tip);
    }
    s->tip = NULL;
}

void enginep_end_sample(engine *e, enginep_sample *s, engine_finish finish, const pv_error *why)
{
    if (s->state == ENGINEP_DONE) {
        return;
    }
    if (enginep_in_flight(s) > 0) {
        enginep_leave_flights(e, s);
    }
    if (s->state == ENGINEP_RUNNING) {
        close_tip(e, s, finish);
        enginep_leave(e, &s->link);
        e->running_count--;
        s->job->running--;
    }
    s->state = ENGINEP_DONE;
    s->finish = finish;
    if (s->job->row_of != NULL) {
        s->job->live = 0;
        retire(e, s->job);
        enginep_row_ended(e, s->job, finish == ENGINE_FINISH_FAILED ? why : NULL);
        return;
    }
    if (finish == ENGINE_FINISH_FAILED) {
        keep_error(s, why);
    }
    e->stats.finished++;
    enginep_list_insert(&e->finished, &s->link);
    if (--s->job->live == 0) {
        retire(e, s->job);
    }
}

void enginep_end_job(engine *e, enginep_job *job, engine_finish finish, const pv_error *why)
{
    for (uint32_t i = 0; i < job->sample_count; i++) {
        enginep_end_sample(e, &job->samples[i], finish, why);
    }
}

void enginep_end_all(engine *e, engine_finish finish, const pv_error *why)
{
    while (!enginep_list_empty(&e->distinct)) { /* and their row jobs */
        enginep_end_job(e, ENGINEP_JOB(e->distinct.next), finish, why);
    }
    while (!enginep_list_empty(&e->active)) {
        enginep_end_job(e, ENGINEP_JOB(e->active.next), finish, why);
    }
    while (!enginep_list_empty(&e->waiting)) {
        enginep_end_job(e, ENGINEP_JOB(e->waiting.next), finish, why);
    }
}

void enginep_deliver(engine *e)
{
    while (!enginep_list_empty(&e->finished)) {
        enginep_sample *s = ENGINEP_SAMPLE(e->finished.next);
        enginep_list_remove(&s->link);
        e->sink.done(e->sink.user, s);
    }
}

/* ---- Cancellation ---- */

static enginep_job *find_job(enginep_link *head, uint64_t id)
{
    for (enginep_link *l = head->next; l != head; l = l->next) {
        if (ENGINEP_JOB(l)->id == id && ENGINEP_JOB(l)->row_of == NULL) {
            return ENGINEP_JOB(l);
        }
    }
    return NULL;
}

bool engine_cancel(engine *e, uint64_t id, uint32_t sample)
{
    enginep_job *job = find_job(&e->active, id);
    job = job != NULL ? job : find_job(&e->waiting, id);
    job = job != NULL ? job : find_job(&e->distinct, id);
    bool found = false;
    for (uint32_t i = 0; job != NULL && i < job->sample_count; i++) {
        enginep_sample *s = &job->samples[i];
        if ((sample == ENGINE_ALL_SAMPLES || s->index == sample) && s->state != ENGINEP_DONE &&
            !s->cancelled) {
            s->cancelled = found = true;
        }
    }
    if (found) {
        job->cancelled = e->any_cancelled = true;
    }
    return found;
}

static void sweep_list(engine *e, enginep_link *head)
{
    for (enginep_link *l = head->next, *next; l != head; l = next) {
        next = l->next;
        enginep_job *job = ENGINEP_JOB(l);
        for (uint32_t i = 0; job->cancelled && i < job->sample_count; i++) {
            if (job->samples[i].cancelled) {
                enginep_end_sample(e, &job->samples[i], ENGINE_FINISH_CANCELLED, NULL);
            }
        }
        job->cancelled = false; /* a retired job lives until its last sample is delivered */
    }
}

void enginep_sweep(engine *e)
{
    if (e->any_cancelled) {
        e->any_cancelled = false;
        sweep_list(e, &e->distinct);
        sweep_list(e, &e->active);
        sweep_list(e, &e->waiting);
    }
}

/* ---- The tree, for callers ---- */

pv_status engine_pin(engine *e, const uint32_t *tokens, size_t n, engine_pinned **out,
                     pv_error *err)
{
    pv_status status = enginep_tokens_check(e, "the prefix", tokens, n, err);
    if (status != PV_OK) {
        return status;
    }
    engine_pinned *pinned = pv_malloc(sizeof *pinned);
    if (pinned == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a pin");
    }
    status = engine_tree_acquire(e->tree, tokens, n, &pinned->node, err);
    if (status != PV_OK) {
        pv_free(pinned);
        return status;
    }
    e->pinned_count++;
    *out = pinned;
    return PV_OK;
}

void engine_unpin(engine *e, engine_pinned *pinned)
{
    if (pinned != NULL) {
        engine_tree_release(e->tree, pinned->node);
        pv_free(pinned);
        e->pinned_count--;
    }
}

size_t engine_cached(const engine *e, const uint32_t *tokens, size_t n)
{
    return engine_tree_match(e->tree, tokens, n);
}

void engine_forget(engine *e, const uint32_t *tokens, size_t n)
{
    engine_tree_forget(e->tree, tokens, n);
}

/* ---- Figures ---- */

void engine_stats_get(const engine *e, engine_stats *out)
{
    engine_tree_counts c;
    engine_tree_counts_get(e->tree, &c);
    *out = e->stats;
    out->tokens_evicted = c.tokens_evicted;
    out->copies = c.copies;
    out->waiting = e->waiting_count;
    out->active = e->active_count;
    out->running = e->running_count;
    out->pinned = e->pinned_count;
    out->nodes = c.nodes;
    out->pages_used = c.pages_used;
    out->pages_locked = c.pages_locked;
    out->pages_peak = c.pages_peak;
}

void engine_memory_get(const engine *e, engine_memory *out)
{
    e->backend->memory(e->device, out);
}

const engine_model *engine_model_of(const engine *e)
{
    return e->model;
}
