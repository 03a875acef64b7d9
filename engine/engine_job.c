/* Requests as the scheduler keeps them: checked, copied, and what a sample gathers on its way. */
#include "engine_scheduler.h"

#include "engine_detokenizer.h"
#include "pv_mem.h"

#include <string.h>

/* ---- Checks ---- */

pv_status enginep_tokens_check(const engine *e, const char *what, const uint32_t *tokens, size_t n,
                               pv_error *err)
{
    uint32_t vocab = e->model->config.vocab_size;
    if (n == 0 || tokens == NULL) {
        return pv_fail(err, PV_E_INVALID,
                       "%s has no tokens; at least one is needed (such as the begin token)", what);
    }
    if (n > e->model->config.max_positions) {
        return pv_fail(err, PV_E_LIMIT, "%s has %zu tokens; the model's context holds %u", what, n,
                       e->model->config.max_positions);
    }
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] >= vocab) {
            return pv_fail(err, PV_E_INVALID, "token %zu of %s is %u; the vocabulary has %u", i,
                           what, tokens[i], vocab);
        }
    }
    return PV_OK;
}

static uint32_t pages_for(uint32_t from, uint64_t to)
{
    return to <= from ? 0
                      : (uint32_t)((to - 1) / ENGINE_PAGE_TOKENS - from / ENGINE_PAGE_TOKENS + 1);
}

/* The most that one sample can need at one time: its prefix, and beside that a branch which may begin with a copy of
 * the prefix's last page (the last token drawn is never computed). */
static pv_status fit_pages(const engine *e, uint32_t prefix, uint32_t *max_tokens, bool may_cut,
                           pv_error *err)
{
    uint32_t total = e->stats.pages_total;
    uint32_t base = pages_for(0, prefix);
    uint32_t branch = pages_for(prefix, (uint64_t)prefix + *max_tokens - 1);
    uint64_t need = (uint64_t)base + (branch > 0 ? branch : 1);
    if (need <= total) {
        return PV_OK;
    }
    if (!may_cut || base >= total) {
        return pv_fail(err, PV_E_LIMIT,
                       "a prefix of %u tokens and %u more need %llu KV pages of %d tokens; there "
                       "are %u: raise the "
                       "number of pages, or ask for fewer tokens",
                       prefix, *max_tokens, (unsigned long long)need, ENGINE_PAGE_TOKENS, total);
    }
    *max_tokens = (total - base) * ENGINE_PAGE_TOKENS - prefix % ENGINE_PAGE_TOKENS + 1;
    return PV_OK;
}

static pv_status fit(const engine *e, enginep_job *job, uint32_t asked, pv_error *err)
{
    uint32_t context = e->model->config.max_positions;
    if (job->prefix_len >= context || asked > context - job->prefix_len) {
        return pv_fail(
            err, PV_E_LIMIT,
            "a prefix of %u tokens and %u more do not fit into the model's context of %u",
            job->prefix_len, asked == 0 ? 1 : asked, context);
    }
    job->max_tokens = asked != 0 ? asked : context - job->prefix_len;
    return fit_pages(e, job->prefix_len, &job->max_tokens, asked == 0, err);
}

/* ---- Making and freeing ---- */

static pv_status new_job(size_t prefix_len, size_t samples, enginep_job **out, pv_error *err)
{
    enginep_job *job = pv_calloc(1, sizeof *job);
    if (job != NULL) {
        enginep_list_init(&job->link);
        job->prefix_len = (uint32_t)prefix_len;
        job->prefix = pv_malloc(prefix_len * sizeof *job->prefix);
        job->samples = pv_calloc(samples, sizeof *job->samples);
    }
    if (job == NULL || job->prefix == NULL || job->samples == NULL) {
        enginep_job_free(job);
        return pv_fail(err, PV_E_NOMEM, "no memory for a request of %zu samples", samples);
    }
    job->sample_count = job->live = job->undelivered = (uint32_t)samples;
    for (uint32_t i = 0; i < job->sample_count; i++) {
        enginep_list_init(&job->samples[i].link);
        job->samples[i].job = job;
        job->samples[i].index = i;
    }
    *out = job;
    return PV_OK;
}

static pv_status make_job(const engine *e, const uint32_t *prefix, size_t prefix_len,
                          size_t samples, enginep_job **out, pv_error *err)
{
    pv_status status = enginep_tokens_check(e, "the prefix", prefix, prefix_len, err);
    if (status == PV_OK) {
        status = new_job(prefix_len, samples, out, err);
    }
    if (status == PV_OK) {
        memcpy((*out)->prefix, prefix, prefix_len * sizeof *prefix);
    }
    return status;
}

void enginep_job_free(enginep_job *job)
{
    if (job == NULL) {
        return;
    }
    for (uint32_t i = 0; job->samples != NULL && i < job->sample_count; i++) {
        enginep_sample *s = &job->samples[i];
        pv_free(s->tokens);
        pv_free(s->logprobs);
        pv_free(s->error);
        pv_buf_release(&s->text);
    }
    if (job->distinct != NULL) {
        engine_series_free(job->distinct->series);
        pv_free(job->distinct);
    }
    engine_stops_release(&job->stops);
    pv_free(job->samples);
    pv_free(job->prefix);
    pv_free(job);
}

static pv_status check_request(const engine *e, const engine_request *r, pv_error *err)
{
    if (r->on_done == NULL) {
        return pv_fail(err, PV_E_INVALID, "a request has no on_done");
    }
    if (r->stop_count > 0 && e->model->tokenizer == NULL) {
        return pv_fail(err, PV_E_INVALID,
                       "stop strings need a tokenizer, and this model was opened without one");
    }
    if (r->samples > UINT32_MAX - 1 - r->first_sample) {
        return pv_fail(err, PV_E_INVALID, "%u samples from index %u on are too many", r->samples,
                       r->first_sample);
    }
    if (r->distinct && r->on_token != NULL) {
        return pv_fail(err, PV_E_INVALID,
                       "distinct samples are known when they are whole; on_token must be NULL");
    }
    return engine_sampling_check(&r->sampling, err);
}

static pv_status set_distinct(enginep_job *job, const engine_request *r, pv_error *err)
{
    enginep_distinct *d = pv_calloc(1, sizeof *d);
    if (d == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for draws without repetition");
    }
    uint32_t end = r->first_sample + job->sample_count;
    *d = (enginep_distinct){.seed = r->seed, .key = r->key, .first = r->first_sample};
    d->total = r->series_samples > end ? r->series_samples : end;
    job->distinct = d;
    return PV_OK;
}

static void set_request(enginep_job *job, const engine_request *r)
{
    job->sampling = r->sampling;
    job->ignore_eos = r->ignore_eos;
    job->on_token = r->on_token;
    job->on_done = r->on_done;
    job->user = r->user;
    for (uint32_t i = 0; i < job->sample_count; i++) {
        job->samples[i].index = r->first_sample + i;
        job->samples[i].key = engine_sample_key(r->seed, r->key, r->first_sample + i);
    }
}

pv_status enginep_job_submit(const engine *e, const engine_request *r, enginep_job **out,
                             pv_error *err)
{
    enginep_job *job = NULL;
    pv_status status = check_request(e, r, err);
    if (status == PV_OK) {
        status = make_job(e, r->prefix, r->prefix_len, r->samples == 0 ? 1 : r->samples, &job, err);
    }
    if (status != PV_OK) {
        return status;
    }
    set_request(job, r);
    status = r->distinct ? set_distinct(job, r, err) : PV_OK;
    if (status == PV_OK) {
        status = fit(e, job, r->max_tokens, err);
    }
    if (status == PV_OK) {
        status = engine_stops_init(&job->stops, r->stops, r->stop_count, err);
    }
    if (status != PV_OK) {
        enginep_job_free(job);
        return status;
    }
    *out = job;
    return PV_OK;
}

pv_status enginep_job_row(enginep_job *distinct, uint32_t node, enginep_job **out, pv_error *err)
{
    engine_series *series = distinct->distinct->series;
    engine_series_node *n = engine_series_node_of(series, node);
    size_t len = distinct->prefix_len + (size_t)n->depth;
    enginep_job *job = NULL;
    pv_status status = new_job(len, 1, &job, err);
    if (status != PV_OK) {
        return status;
    }
    memcpy(job->prefix, distinct->prefix, distinct->prefix_len * sizeof *job->prefix);
    engine_series_path(series, node, job->prefix + distinct->prefix_len, NULL);
    job->id = distinct->id;
    job->max_tokens = 1;
    job->sampling = distinct->sampling;
    job->row_of = distinct;
    job->row = ++distinct->distinct->next_row;
    job->row_node = node;
    *out = job;
    return PV_OK;
}

static pv_status set_continuation(const engine *e, enginep_sample *s, const engine_span *c,
                                  pv_error *err)
{
    pv_status status = enginep_tokens_check(e, "a continuation", c->ids, c->len, err);
    if (status != PV_OK) {
        return status;
    }
    if (pv_grow((void **)&s->tokens, &s->token_capacity, c->len, sizeof *s->tokens) != 0 ||
        pv_grow((void **)&s->logprobs, &s->logprob_capacity, c->len, sizeof *s->logprobs) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a continuation of %zu tokens", c->len);
    }
    memcpy(s->tokens, c->ids, c->len * sizeof *c->ids);
    s->count = c->len;
    return PV_OK;
}

pv_status enginep_job_score(const engine *e, const engine_score_request *r, enginep_job **out,
                            pv_error *err)
{
    if (r->on_done == NULL || r->count == 0 || r->count >= UINT32_MAX) {
        return pv_fail(err, PV_E_INVALID,
                       "a scoring request needs on_done and at least one continuation");
    }
    enginep_job *job = NULL;
    pv_status status = make_job(e, r->prefix, r->prefix_len, r->count, &job, err);
    if (status != PV_OK) {
        return status;
    }
    job->scoring = true;
    job->on_done = r->on_done;
    job->user = r->user;
    for (uint32_t i = 0; i < job->sample_count && status == PV_OK; i++) {
        status = set_continuation(e, &job->samples[i], &r->continuations[i], err);
        if (status == PV_OK) {
            status = fit(e, job, (uint32_t)r->continuations[i].len, err);
        }
    }
    if (status != PV_OK) {
        enginep_job_free(job);
        return status;
    }
    *out = job;
    return PV_OK;
}

/* ---- A sample's tokens and text ---- */

/* Appends the token's bytes and looks for stop strings in them. */
static bool push_text(const engine *e, enginep_sample *s, uint32_t token)
{
    if (e->model->tokenizer == NULL) {
        return false;
    }
    engine_detokenizer d; /* exact bytes: it holds nothing back, so none needs to be kept */
    engine_detokenizer_init(&d, e->model->tokenizer,
                            ENGINE_DECODE_EXACT_BYTES | ENGINE_DECODE_SKIP_SPECIAL);
    size_t before = s->text.len;
    engine_detokenizer_push(&d, token, &s->text);
    size_t added = s->text.len - before;
    size_t used = 0;
    size_t match = 0;
    if (!engine_stop_feed(&s->job->stops, &s->stop, pv_buf_text(&s->text) + before, added, &used,
                          &match)) {
        return false;
    }
    s->text.len = before + used - match; /* the match lies in the text: its bytes were held back */
    s->text.data[s->text.len] = '\0';
    return true;
}

static pv_status stream(engine *e, enginep_sample *s, engine_pick pick, bool ended, pv_error *err)
{
    if (s->job->on_token == NULL) {
        return PV_OK;
    }
    size_t held = ended ? 0 : engine_stop_held(&s->job->stops, &s->stop);
    size_t certain = s->text.len - held;
    certain = certain > s->streamed ? certain : s->streamed;
    engine_token t = {.id = s->job->id,
                      .sample = s->index,
                      .index = (uint32_t)s->count - 1,
                      .token = pick.token,
                      .logprob = pick.logprob,
                      .text = pv_buf_text(&s->text) + s->streamed,
                      .text_len = certain - s->streamed};
    s->streamed = certain;
    return e->sink.token(e->sink.user, s, &t, err);
}

pv_status enginep_sample_push(engine *e, enginep_sample *s, engine_pick pick, bool *ended,
                              engine_finish *finish, pv_error *err)
{
    if (pv_grow((void **)&s->tokens, &s->token_capacity, s->count + 1, sizeof *s->tokens) != 0 ||
        pv_grow((void **)&s->logprobs, &s->logprob_capacity, s->count + 1, sizeof *s->logprobs) !=
            0) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a sample of %zu tokens", s->count + 1);
    }
    s->tokens[s->count++] = pick.token;
    s->logprobs[s->known++] = pick.logprob;
    bool eos = !s->job->ignore_eos && engine_model_is_eos(e->model, pick.token);
    bool stopped = !eos && push_text(e, s, pick.token);
    if (!pv_buf_ok(&s->text)) {
        return pv_fail(err, PV_E_NOMEM, "no memory for the text of %zu tokens", s->count);
    }
    *ended = eos || stopped || s->count >= s->job->max_tokens;
    *finish = eos ? ENGINE_FINISH_EOS : stopped ? ENGINE_FINISH_STOP : ENGINE_FINISH_LENGTH;
    return stream(e, s, pick, *ended, err);
}

static const pv_error out_of_memory = {PV_E_NOMEM, 0, "out of memory"};

static void make_result(const enginep_sample *s, engine_result *out)
{
    memset(out, 0, sizeof *out);
    out->id = s->job->id;
    out->sample = s->index;
    out->finish = s->finish;
    out->tokens = s->tokens;
    out->logprobs = s->logprobs;
    out->token_count = s->job->scoring ? s->known : s->count;
    out->tokens_new = s->job->distinct != NULL ? s->tokens_new : out->token_count;
    out->text = pv_buf_text(&s->text);
    out->text_len = s->text.len;
    if (s->finish == ENGINE_FINISH_FAILED) {
        out->error = s->error != NULL ? s->error : &out_of_memory;
    }
}

void enginep_sample_deliver(enginep_sample *s)
{
    enginep_job *job = s->job;
    engine_result result;
    make_result(s, &result);
    job->on_done(job->user, &result);
    if (--job->undelivered == 0) {
        enginep_job_free(job);
    }
}
