/* One step: the planned batch goes through the model, and what comes out goes to the samples. */
#include "engine_scheduler.h"

/* ---- Launch ---- */

static void fill_seqs(engine *e)
{
    for (uint32_t i = 0; i < e->item_count; i++) {
        const enginep_item *it = &e->items[i];
        e->seqs[i] = (engine_batch_seq){.pages = e->tables + it->table_at,
                                        .page_count = it->table_len,
                                        .start = it->start,
                                        .rows = it->rows};
    }
}

static pv_status launch(engine *e, pv_error *err)
{
    fill_seqs(e);
    engine_batch batch = {.tokens = e->tokens,
                          .rows = e->row_count,
                          .seqs = e->seqs,
                          .seq_count = e->item_count,
                          .logit_rows = e->logit_count > 0 ? e->logit_rows : NULL,
                          .logit_count = e->logit_count};
    return e->backend->forward(e->device, &batch, e->logit_count > 0 ? e->logits : NULL, err);
}

/* ---- Absorb ---- */

static const float *logits_of(const engine *e, const enginep_item *item, uint32_t i)
{
    return e->logits + (size_t)(item->first_logit + i) * e->model->config.vocab_size;
}

/* Rows of a tip whose log-probability was known before are there because the sample had lost its pages. */
static void count_rows(engine *e, const enginep_item *item)
{
    uint32_t again = item->node == NULL ? item->rows : 0;
    if (item->sample != NULL) {
        uint32_t from = item->start - item->sample->tip->start;
        uint32_t known = (uint32_t)item->sample->known - 1;
        again = known > from ? known - from : 0;
        again = again < item->rows ? again : item->rows;
    }
    e->stats.rows += item->rows;
    e->stats.tokens_again += again;
    e->stats.tokens_computed += item->rows - again;
}

static void book_rows(engine *e, bool written)
{
    for (uint32_t i = 0; i < e->item_count; i++) {
        const enginep_item *item = &e->items[i];
        if (item->probe_page != ENGINE_PAGE_NONE) {
            engine_tree_give_page(e->tree, item->probe_page);
        }
        if (written) {
            count_rows(e, item);
            if (item->node != NULL) {
                engine_tree_wrote(e->tree, item->node, item->rows);
            }
        }
    }
}

static void fail_sample(engine *e, enginep_sample *s, const pv_error *why)
{
    enginep_end_sample(e, s, ENGINE_FINISH_FAILED, why);
}

/* The next token of a sample is drawn from the loaded row, which is that of position `position`. */
static void draw(engine *e, enginep_sample *s, uint32_t position)
{
    engine_pick pick = engine_sampler_draw(&e->sampler, engine_uniform(s->key, position));
    bool ended = false;
    engine_finish finish = ENGINE_FINISH_LENGTH;
    pv_error why = {0};
    pv_status status = enginep_sample_push(e, s, pick, &ended, &finish, &why);
    if (status == PV_OK && !ended && s->state == ENGINEP_RUNNING) {
        status = engine_tree_append(s->tip, pick.token, &why);
    }
    if (status != PV_OK) {
        fail_sample(e, s, &why);
    } else if (ended) {
        enginep_end_sample(e, s, finish, NULL);
    } else if (s->state == ENGINEP_NEW) {
        s->state = ENGINEP_READY;
    }
}

static void score(engine *e, enginep_sample *s)
{
    s->logprobs[s->known] = engine_sampler_logprob(&e->sampler, s->tokens[s->known]);
    s->known++;
    if (s->known == s->count) {
        enginep_end_sample(e, s, ENGINE_FINISH_SCORED, NULL);
    } else if (s->state == ENGINEP_NEW) {
        s->state = ENGINEP_READY;
    }
}

static pv_status load(engine *e, const enginep_job *job, const float *logits, uint32_t position,
                      pv_error *err)
{
    pv_status status =
        engine_sampler_load(&e->sampler, logits, job->scoring ? NULL : &job->sampling, err);
    if (status != PV_OK) {
        (void)pv_error_wrap(err, "at position %u", position);
    }
    return status;
}

/* The logits at the end of the prefix: a first token for each sample. */
static void absorb_prefix(engine *e, enginep_job *job)
{
    const enginep_item *item = &e->items[job->item];
    uint32_t position = job->prefix_len - 1;
    job->item = ENGINEP_NO_ITEM;
    job->drawn = true;
    pv_error why = {0};
    if (load(e, job, logits_of(e, item, item->logit_count - 1), position, &why) != PV_OK) {
        enginep_end_job(e, job, ENGINE_FINISH_FAILED, &why);
        return;
    }
    for (uint32_t i = 0; i < job->sample_count; i++) {
        enginep_sample *s = &job->samples[i];
        if (s->state != ENGINEP_NEW) {
            continue;
        }
        if (job->scoring) {
            score(e, s);
        } else {
            draw(e, s, position);
        }
    }
}

static void absorb_sample(engine *e, const enginep_item *item)
{
    enginep_sample *s = item->sample;
    s->item = ENGINEP_NO_ITEM;
    for (uint32_t i = 0; i < item->logit_count && s->state == ENGINEP_RUNNING; i++) {
        uint32_t position = item->start + item->rows - item->logit_count + i;
        pv_error why = {0};
        if (load(e, s->job, logits_of(e, item, i), position, &why) != PV_OK) {
            fail_sample(e, s, &why);
        } else if (s->job->scoring) {
            score(e, s);
        } else {
            draw(e, s, position);
        }
    }
}

/* Callbacks of on_token run in here: they may submit and cancel, but jobs and samples stay where they are until
 * enginep_deliver(). */
static void absorb(engine *e)
{
    book_rows(e, true);
    for (uint32_t i = 0; i < e->item_count; i++) {
        if (e->items[i].sample != NULL) {
            absorb_sample(e, &e->items[i]);
        }
    }
    e->cursor = e->active.next;
    while (e->cursor != &e->active) {
        enginep_job *job = ENGINEP_JOB(e->cursor);
        e->cursor = e->cursor->next;
        if (job->item != ENGINEP_NO_ITEM) {
            absorb_prefix(e, job);
        }
    }
    e->cursor = NULL;
}

/* ---- The step ---- */

static void forget_items(engine *e)
{
    for (uint32_t i = 0; i < e->item_count; i++) {
        if (e->items[i].sample != NULL) {
            e->items[i].sample->item = ENGINEP_NO_ITEM;
        }
    }
    e->item_count = 0;
}

static pv_status fail_step(engine *e, const pv_error *why, pv_error *err)
{
    book_rows(e, false);
    forget_items(e);
    if (why->status == PV_E_DEVICE) {
        e->dead = true;
        e->death = *why;
    }
    enginep_end_all(e, ENGINE_FINISH_FAILED, why);
    return pv_fail(err, why->status, "%s", why->msg);
}

static pv_status run(engine *e, pv_error *err)
{
    pv_error why = {0};
    pv_status status = enginep_plan(e, &why);
    if (status == PV_OK && e->item_count > 0) {
        status = launch(e, &why);
    }
    if (status != PV_OK) {
        (void)pv_error_wrap(&why, "the %s device failed", e->backend->name);
        return fail_step(e, &why, err);
    }
    if (e->item_count > 0) {
        e->stats.steps++;
        absorb(e);
    }
    return PV_OK;
}

pv_status engine_step(engine *e, bool *busy, pv_error *err)
{
    if (e->stepping) {
        return pv_fail(err, PV_E_MISUSE, "engine_step() was called from a callback of this engine");
    }
    e->stepping = true;
    e->step++;
    enginep_sweep(e);
    pv_status status = run(e, err);
    enginep_sweep(e);
    enginep_deliver(e);
    e->stepping = false;
    if (busy != NULL) {
        *busy = !enginep_list_empty(&e->active) || !enginep_list_empty(&e->waiting);
    }
    return status;
}
