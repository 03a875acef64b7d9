/* Samples without repetition: which prefixes of a series are opened next, and what becomes of it. */
#include "engine_scheduler.h"

#include "engine_detokenizer.h"
#include "pv_mem.h"

#include <string.h>

/* ---- Series that are kept for the next request ---- */

typedef struct kept_series {
    enginep_link link;
    engine_series *series;
    size_t bytes;
    /* what it is a series of: the job's own, taken from it */
    uint32_t *prefix;
    uint32_t prefix_len, max_tokens;
    engine_sampling sampling;
    engine_stops stops;
    uint64_t seed, key;
    bool ignore_eos;
} kept_series;

#define KEPT(l) ((kept_series *)(void *)((char *)(l)-offsetof(kept_series, link)))

static void free_kept(engine *e, kept_series *k)
{
    enginep_list_remove(&k->link);
    e->kept_bytes -= k->bytes;
    engine_series_free(k->series);
    engine_stops_release(&k->stops);
    pv_free(k->prefix);
    pv_free(k);
}

static bool same_stops(const engine_stops *a, const engine_stops *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++) {
        same = a->len[i] == b->len[i] && memcmp(a->bytes[i], b->bytes[i], a->len[i]) == 0;
    }
    return same;
}

static bool same_sampling(const engine_sampling *a, const engine_sampling *b)
{
    return !(a->temperature < b->temperature || a->temperature > b->temperature) &&
           a->top_k == b->top_k && !(a->top_p < b->top_p || a->top_p > b->top_p) &&
           !(a->min_p < b->min_p || a->min_p > b->min_p);
}

static bool is_of(const kept_series *k, const enginep_job *job)
{
    const enginep_distinct *d = job->distinct;
    return k->seed == d->seed && k->key == d->key && k->prefix_len == job->prefix_len &&
           k->max_tokens == job->max_tokens && k->ignore_eos == job->ignore_eos &&
           same_sampling(&k->sampling, &job->sampling) && same_stops(&k->stops, &job->stops) &&
           memcmp(k->prefix, job->prefix, job->prefix_len * sizeof *job->prefix) == 0;
}

/* Can the job go on from there? It has gone no further than the job begins, and it holds enough. */
static bool leads_to(const engine_series *s, const enginep_distinct *d)
{
    bool is_over = engine_series_count(s) == 0;
    return is_over || (engine_series_taken(s) <= d->first &&
                       engine_series_keep(s) >= d->first + 1 && engine_series_keep(s) >= d->total);
}

static engine_series *find_kept(engine *e, const enginep_job *job)
{
    for (enginep_link *l = e->kept.prev; l != &e->kept; l = l->prev) {
        kept_series *k = KEPT(l);
        if (is_of(k, job) && leads_to(k->series, job->distinct)) {
            engine_series *series = k->series;
            k->series = NULL;
            free_kept(e, k);
            return series;
        }
    }
    return NULL;
}

/* Takes series, prefix and stops from the job, none of which its deliveries read. Without memory it is not kept. */
static void keep(engine *e, enginep_job *job)
{
    kept_series *k = pv_calloc(1, sizeof *k);
    if (k == NULL) {
        return;
    }
    enginep_distinct *d = job->distinct;
    *k = (kept_series){.series = d->series, .prefix = job->prefix, .stops = job->stops};
    k->prefix_len = job->prefix_len;
    k->max_tokens = job->max_tokens;
    k->sampling = job->sampling;
    k->ignore_eos = job->ignore_eos;
    k->seed = d->seed;
    k->key = d->key;
    k->bytes = sizeof *k + engine_series_bytes(k->series) + k->prefix_len * sizeof *k->prefix;
    d->series = NULL;
    job->prefix = NULL;
    job->stops = (engine_stops){0};
    enginep_list_insert(&e->kept, &k->link);
    e->kept_bytes += k->bytes;
    while (e->kept_bytes > ENGINE_SERIES_BYTES) {
        free_kept(e, KEPT(e->kept.next));
    }
}

void enginep_distinct_close(engine *e)
{
    while (!enginep_list_empty(&e->kept)) {
        free_kept(e, KEPT(e->kept.next));
    }
}

/* ---- Life of a job ---- */

void enginep_distinct_begin(engine *e, enginep_job *job)
{
    enginep_list_insert(&e->distinct, &job->link);
    job->distinct->dirty = true;
}

static pv_status open_series(engine *e, enginep_job *job, pv_error *err)
{
    enginep_distinct *d = job->distinct;
    pv_status status = enginep_logits_ready(e, err);
    if (status != PV_OK || d->series != NULL) {
        return status;
    }
    d->series = find_kept(e, job);
    uint64_t key = engine_sample_key(d->seed, d->key, UINT32_MAX); /* no sample's own */
    return d->series != NULL ? PV_OK : engine_series_new(&d->series, key, d->total, err);
}

static void end_rows(engine *e, enginep_link *head, const enginep_job *job)
{
    e->cursor = head->next;
    while (e->cursor != head && job->distinct->rows > 0) {
        enginep_job *row = ENGINEP_JOB(e->cursor);
        e->cursor = e->cursor->next;
        if (row->row_of == job) {
            enginep_end_sample(e, &row->samples[0], ENGINE_FINISH_CANCELLED, NULL);
        }
    }
    e->cursor = NULL;
}

/* All samples are done; the job has left its list. */
void enginep_distinct_retire(engine *e, enginep_job *job)
{
    enginep_distinct *d = job->distinct;
    end_rows(e, &e->active, job);
    end_rows(e, &e->waiting, job);
    bool is_whole = d->series != NULL && d->failure.status == PV_OK &&
                    (engine_series_count(d->series) == 0 ||
                     engine_series_taken(d->series) == d->first + job->sample_count);
    if (is_whole && d->total > d->first + job->sample_count && !e->dead) {
        keep(e, job);
    }
}

/* ---- Row jobs ---- */

void enginep_row_opened(engine *e, enginep_job *row)
{
    enginep_distinct *d = row->row_of->distinct;
    pv_error why = {0};
    e->stats.rows_distinct++;
    engine_series_node_of(d->series, row->row_node)->asked = NULL;
    pv_status status = engine_series_open(d->series, row->row_node, &e->sampler, &why);
    row->row_node = ENGINE_SERIES_NONE;
    enginep_end_sample(e, &row->samples[0],
                       status == PV_OK ? ENGINE_FINISH_SCORED : ENGINE_FINISH_FAILED, &why);
}

/* Its memory stays until the end of the step: whoever walks over it now may still look. */
void enginep_row_ended(engine *e, enginep_job *row, const pv_error *why)
{
    enginep_distinct *d = row->row_of->distinct;
    d->rows--;
    d->dirty = true;
    if (row->row_node != ENGINE_SERIES_NONE) { /* not opened */
        engine_series_node *n = engine_series_node_of(d->series, row->row_node);
        n->state = ENGINE_SERIES_OPEN;
        n->asked = NULL;
    }
    if (why != NULL && d->failure.status == PV_OK) {
        d->failure = *why;
    }
    enginep_list_insert(&e->spent, &row->link);
}

void enginep_free_spent(engine *e)
{
    while (!enginep_list_empty(&e->spent)) {
        enginep_job *row = ENGINEP_JOB(e->spent.next);
        enginep_list_remove(&row->link);
        enginep_job_free(row);
    }
}

static pv_status ask(engine *e, enginep_job *job, uint32_t node, pv_error *err)
{
    enginep_job *row = NULL;
    pv_status status = enginep_job_row(job, node, &row, err);
    if (status == PV_OK) {
        engine_series_node *n = engine_series_node_of(job->distinct->series, node);
        n->state = ENGINE_SERIES_ASKED;
        n->asked = row;
        job->distinct->rows++;
        enginep_insert_waiting(e, row);
    }
    return status;
}

/* ---- Whole sequences ---- */

static bool stops_here(const engine *e, const enginep_job *job, engine_series_node *n,
                       pv_status *status, pv_error *err)
{
    if (e->model->tokenizer == NULL || job->stops.count == 0) {
        return false;
    }
    pv_buf text = {0};
    size_t used = 0;
    size_t match = 0;
    engine_detokenizer d;
    engine_detokenizer_init(&d, e->model->tokenizer,
                            ENGINE_DECODE_EXACT_BYTES | ENGINE_DECODE_SKIP_SPECIAL);
    engine_detokenizer_push(&d, n->token, &text);
    if (!pv_buf_ok(&text)) {
        *status = pv_fail(err, PV_E_NOMEM, "no memory for the text of a token");
    }
    bool stops = *status == PV_OK && engine_stop_feed(&job->stops, &n->stop, pv_buf_text(&text),
                                                      text.len, &used, &match);
    pv_buf_release(&text);
    return stops;
}

/* Does the sequence end with this prefix's last token? As enginep_sample_push() has it. */
static pv_status see(engine *e, enginep_job *job, uint32_t node, pv_error *err)
{
    engine_series *series = job->distinct->series;
    engine_series_node *n = engine_series_node_of(series, node);
    pv_status status = PV_OK;
    n->state = ENGINE_SERIES_OPEN;
    if (n->depth == 0) {
        return status;
    }
    n->stop = engine_series_node_of(series, n->parent)->stop;
    bool eos = !job->ignore_eos && engine_model_is_eos(e->model, n->token);
    bool stops = !eos && stops_here(e, job, n, &status, err);
    if (eos || stops || n->depth >= job->max_tokens) {
        n->state = ENGINE_SERIES_WHOLE;
    }
    return status;
}

static pv_status write_sample(engine *e, enginep_sample *s, uint32_t node, engine_finish *finish,
                              pv_error *err)
{
    engine_series *series = s->job->distinct->series;
    uint32_t depth = engine_series_node_of(series, node)->depth;
    uint32_t *tokens = pv_malloc(depth * sizeof *tokens);
    float *logprobs = pv_malloc(depth * sizeof *logprobs);
    pv_status status = PV_OK;
    if (tokens == NULL || logprobs == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "no memory for a sample of %u tokens", depth);
    } else {
        engine_series_path(series, node, tokens, logprobs);
    }
    bool ended = false;
    for (uint32_t i = 0; i < depth && status == PV_OK; i++) {
        engine_pick pick = {tokens[i], logprobs[i]};
        status = enginep_sample_push(e, s, pick, &ended, finish, err);
    }
    pv_free(tokens);
    pv_free(logprobs);
    return status;
}

/* The first prefix is a whole sequence: the next one of the series. */
static pv_status take_first(engine *e, enginep_job *job, pv_error *err)
{
    enginep_distinct *d = job->distinct;
    uint32_t at = engine_series_taken(d->series) - d->first;
    bool is_wanted =
        engine_series_taken(d->series) >= d->first && job->samples[at].state != ENGINEP_DONE;
    engine_finish finish = ENGINE_FINISH_LENGTH;
    pv_status status = PV_OK;
    if (is_wanted) {
        status = write_sample(e, &job->samples[at], engine_series_at(d->series, 0), &finish, err);
    }
    if (status != PV_OK) {
        return status;
    }
    uint32_t paid = engine_series_take(d->series);
    if (is_wanted) {
        job->samples[at].tokens_new = paid;
        e->stats.tokens_sampled += paid;
        enginep_end_sample(e, &job->samples[at], finish, NULL);
    }
    return PV_OK;
}

/* ---- Going on ---- */

/* Sequences still to be taken; those behind the last sample that somebody waits for are not. */
static uint32_t wanted(const enginep_job *job)
{
    const enginep_distinct *d = job->distinct;
    uint32_t last = job->sample_count;
    while (last > 0 && job->samples[last - 1].state == ENGINEP_DONE) {
        last--;
    }
    return last == 0 ? 0 : d->first + last - engine_series_taken(d->series);
}

/* Whoever has fallen behind those that are wanted need not be computed any more. */
static void end_behind(engine *e, const enginep_job *job, uint32_t limit)
{
    engine_series *series = job->distinct->series;
    for (uint32_t i = limit; i < engine_series_count(series); i++) {
        engine_series_node *n = engine_series_node_of(series, engine_series_at(series, i));
        if (n->state == ENGINE_SERIES_ASKED) {
            enginep_job *row = n->asked;
            enginep_end_sample(e, &row->samples[0], ENGINE_FINISH_CANCELLED, NULL);
        }
    }
}

/* Each of the first `limit` open prefixes leads to a sequence that precedes all behind them: so no other can be among the next
 * `limit` sequences. */
static pv_status ask_first_ones(engine *e, enginep_job *job, uint32_t limit, pv_error *err)
{
    engine_series *series = job->distinct->series;
    pv_status status = PV_OK;
    for (uint32_t i = 0; i < limit && i < engine_series_count(series) && status == PV_OK; i++) {
        uint32_t node = engine_series_at(series, i);
        if (engine_series_node_of(series, node)->state == ENGINE_SERIES_UNSEEN) {
            status = see(e, job, node, err);
        }
        if (status == PV_OK && engine_series_node_of(series, node)->state == ENGINE_SERIES_OPEN) {
            status = ask(e, job, node, err);
        }
    }
    return status;
}

static bool has_whole_first(const enginep_job *job)
{
    engine_series *series = job->distinct->series;
    return engine_series_count(series) > 0 &&
           engine_series_node_of(series, engine_series_at(series, 0))->state == ENGINE_SERIES_WHOLE;
}

static pv_status go_on(engine *e, enginep_job *job, pv_error *err)
{
    pv_status status = open_series(e, job, err);
    while (status == PV_OK && wanted(job) > 0) {
        uint32_t limit = wanted(job);
        end_behind(e, job, limit);
        status = ask_first_ones(e, job, limit, err);
        if (status == PV_OK && !has_whole_first(job)) {
            break;
        }
        if (status == PV_OK) {
            status = take_first(e, job, err);
        }
    }
    return status;
}

static void advance(engine *e, enginep_job *job)
{
    enginep_distinct *d = job->distinct;
    d->dirty = false;
    pv_error why = d->failure;
    if (why.status == PV_OK && go_on(e, job, &why) == PV_OK) {
        if (job->live > 0 && engine_series_count(d->series) == 0) {
            enginep_end_job(e, job, ENGINE_FINISH_EXHAUSTED, NULL);
        }
        return;
    }
    d->failure = why;
    enginep_end_job(e, job, ENGINE_FINISH_FAILED, &why);
}

void enginep_distinct_advance(engine *e)
{
    for (enginep_link *l = e->distinct.next, *next; l != &e->distinct; l = next) {
        next = l->next;
        if (ENGINEP_JOB(l)->distinct->dirty) {
            advance(e, ENGINEP_JOB(l));
        }
    }
}
