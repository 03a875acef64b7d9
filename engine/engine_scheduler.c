/* What runs in the next batch: admission, starting samples, pages, rows. */
#include "engine_scheduler.h"

#include "pv_mem.h"

#include <string.h>

/* ---- Who is where ---- */

static uint32_t rows_left(const engine *e)
{
    return e->limits.max_rows - e->row_count;
}

static uint32_t logits_left(const engine *e)
{
    return e->limits.max_logit_rows - e->logit_count;
}

static uint32_t draws_left(const engine *e)
{
    return e->limits.max_rows - e->draw_count;
}

static bool has_new(enginep_job *job)
{
    while (job->next_new < job->sample_count && job->samples[job->next_new].state != ENGINEP_NEW) {
        job->next_new++;
    }
    return job->next_new < job->sample_count;
}

static bool in_prefix(enginep_job *job)
{
    return has_new(job) || engine_tree_incomplete(job->base) != NULL;
}

/* Can the token that was asked for last go into this batch? */
static bool is_fresh(const engine *e, const enginep_sample *s)
{
    return enginep_in_flight(s) == 0 || s->job->scoring || s->asked_in == e->launches;
}

/* Rows that could be computed now. */
static uint32_t pending_rows(const engine *e, const enginep_sample *s)
{
    uint32_t rows = (uint32_t)s->tip->len - s->tip->computed;
    return rows > 0 && !is_fresh(e, s) ? rows - 1 : rows;
}

static void rotate(enginep_link *head, enginep_link *link)
{
    enginep_list_remove(link);
    enginep_list_insert(head, link);
}

static void fail_prefix(engine *e, enginep_job *job, const pv_error *why)
{
    for (uint32_t i = 0; i < job->sample_count; i++) {
        if (job->samples[i].state != ENGINEP_RUNNING) { /* those need the prefix's node no more */
            enginep_end_sample(e, &job->samples[i], ENGINE_FINISH_FAILED, why);
        }
    }
}

/* Ends what cannot go on; a device's failure is everybody's and goes up. */
static pv_status give_up(engine *e, enginep_job *job, enginep_sample *s, pv_error *why,
                         pv_error *err)
{
    if (why->status == PV_E_DEVICE) {
        return pv_fail(err, PV_E_DEVICE, "%s", why->msg);
    }
    if (s != NULL) {
        enginep_end_sample(e, s, ENGINE_FINISH_FAILED, why);
    } else {
        fail_prefix(e, job, why);
    }
    return PV_OK;
}

/* ---- Admission: in the order of submission, as long as pages are in sight ---- */

static bool has_room_for(const engine *e, const enginep_job *job, size_t known)
{
    engine_tree_counts c;
    engine_tree_counts_get(e->tree, &c);
    uint64_t tokens = job->prefix_len - known + c.tokens_pending;
    uint64_t pages = (tokens + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS + 1;
    return pages + e->running_count <= engine_tree_available(e->tree);
}

static bool admit_first(engine *e)
{
    enginep_job *job = ENGINEP_JOB(e->waiting.next);
    size_t known = engine_tree_known(e->tree, job->prefix, job->prefix_len);
    if (e->active_count > 0 && !has_room_for(e, job, known)) {
        return false; /* the oldest one is always let in */
    }
    pv_error why = {0};
    if (engine_tree_acquire(e->tree, job->prefix, job->prefix_len, &job->base, &why) != PV_OK) {
        enginep_end_job(e, job, ENGINE_FINISH_FAILED, &why);
        return true;
    }
    e->stats.tokens_reused +=
        job->row > 1 ? 0 : known; /* a later row of a distinct job: its own tokens */
    e->row_count_active += job->row_of != NULL;
    enginep_list_remove(&job->link);
    enginep_list_insert(&e->active, &job->link);
    job->active = true;
    e->waiting_count--;
    e->active_count++;
    return true;
}

static void admit(engine *e)
{
    while (!enginep_list_empty(&e->waiting) && admit_first(e)) {
    }
}

/* ---- Starting samples ---- */

static pv_status make_tip(engine *e, enginep_sample *s, pv_error *err)
{
    engine_node *tip = NULL;
    pv_status status = engine_tree_tip(e->tree, s->job->base, &tip, err);
    size_t n =
        s->job->scoring ? s->count - 1 : s->count; /* nobody asks what follows the last one */
    for (size_t i = 0; status == PV_OK && i < n; i++) {
        status = engine_tree_append(tip, s->tokens[i], err);
    }
    if (status == PV_OK && !s->job->scoring && enginep_in_flight(s) > 0) {
        status = engine_tree_append(tip, ENGINE_TOKEN_FROM_ROW(s->asked_as), err);
    }
    if (status != PV_OK) {
        engine_tree_discard(e->tree, tip);
        return status;
    }
    s->tip = tip;
    return PV_OK;
}

static void start_sample(engine *e, enginep_sample *s)
{
    pv_error why = {0};
    if (make_tip(e, s, &why) != PV_OK) {
        enginep_end_sample(e, s, ENGINE_FINISH_FAILED, &why);
        return;
    }
    s->state = ENGINEP_RUNNING;
    enginep_list_insert(&e->running, &s->link);
    e->running_count++;
    s->job->running++;
}

/* Room for one more: a page for it, and one for each that runs already, all of which may ask soon. */
static bool may_start(const engine *e)
{
    return e->running_count == 0 || (e->running_count < e->max_sequences &&
                                     engine_tree_available(e->tree) > e->running_count + 1);
}

/* The tokens of a tip are known, but for the last. */
static bool can_start(const engine *e, const enginep_sample *s)
{
    uint32_t in_flight = enginep_in_flight(s);
    return in_flight == 0 ||
           (in_flight == 1 && is_fresh(e, s) && (s->job->scoring || s->asked < s->job->max_tokens));
}

static void start_job(engine *e, enginep_job *job)
{
    for (; job->next_ready < job->sample_count && may_start(e); job->next_ready++) {
        enginep_sample *s = &job->samples[job->next_ready];
        if (s->state == ENGINEP_READY && !can_start(e, s)) {
            return;
        }
        if (s->state == ENGINEP_READY) {
            start_sample(e, s);
        }
    }
}

static void start_samples(engine *e)
{
    for (enginep_link *l = e->active.next, *next; l != &e->active && may_start(e); l = next) {
        next = l->next;
        if (engine_tree_incomplete(ENGINEP_JOB(l)->base) == NULL) {
            start_job(e, ENGINEP_JOB(l));
        }
    }
}

/* ---- Making room: younger ones give way to older ones ---- */

static void preempt(engine *e, enginep_sample *s)
{
    engine_tree_discard(e->tree, s->tip);
    s->tip = NULL;
    s->state = ENGINEP_READY;
    enginep_leave(e, &s->link);
    e->running_count--;
    s->job->running--;
    uint32_t at = (uint32_t)(s - s->job->samples);
    s->job->next_ready = at < s->job->next_ready ? at : s->job->next_ready;
    e->stats.preemptions++;
}

static void suspend(engine *e, enginep_job *job)
{
    enginep_leave(e, &job->link);
    engine_tree_release(e->tree, job->base);
    job->base = NULL;
    job->active = false;
    e->active_count--;
    e->row_count_active -= job->row_of != NULL;
    enginep_insert_waiting(e, job);
}

static bool is_younger(const enginep_sample *a, const enginep_job *job, const enginep_sample *b)
{
    return enginep_job_younger(a->job, job) || (a->job == job && b != NULL && a > b);
}

static enginep_sample *youngest_sample(const engine *e, const enginep_job *job,
                                       const enginep_sample *asking)
{
    enginep_sample *found = NULL;
    for (enginep_link *l = e->running.next; l != &e->running; l = l->next) {
        enginep_sample *s = ENGINEP_SAMPLE(l);
        if (s->planned != e->step && is_younger(s, job, asking) &&
            (found == NULL || is_younger(s, found->job, found))) {
            found = s;
        }
    }
    return found;
}

static enginep_job *youngest_idle_job(const engine *e, const enginep_job *job)
{
    enginep_job *found = NULL;
    for (enginep_link *l = e->active.next; l != &e->active; l = l->next) {
        enginep_job *j = ENGINEP_JOB(l);
        if (j->running == 0 && j->planned != e->step && enginep_job_younger(j, job) &&
            (found == NULL || enginep_job_younger(j, found))) {
            found = j;
        }
    }
    return found;
}

static bool make_room(engine *e, const enginep_job *job, const enginep_sample *asking)
{
    enginep_sample *s = youngest_sample(e, job, asking);
    enginep_job *j = youngest_idle_job(e, job);
    if (j != NULL && (s == NULL || enginep_job_younger(j, s->job))) {
        suspend(e, j);
    } else if (s != NULL) {
        preempt(e, s);
    }
    return j != NULL || s != NULL;
}

static pv_status reserve(engine *e, engine_node *node, uint32_t want, enginep_job *job,
                         enginep_sample *s, uint32_t *granted, pv_error *err)
{
    pv_error why = {0};
    pv_status status;
    do {
        status = engine_tree_reserve(e->tree, node, want, granted, &why);
    } while (status == PV_OK && *granted == 0 && make_room(e, job, s));
    if (status != PV_OK) {
        *granted = 0;
        return give_up(e, job, s, &why, err);
    }
    return PV_OK;
}

/* ---- Items ---- */

/* Adds `item` with tokens[0 .. rows) and the page table of `path`. */
static pv_status add_item(engine *e, const enginep_item *item, const uint32_t *tokens,
                          const engine_node *path, enginep_item **out, pv_error *err)
{
    uint32_t len = engine_tree_table_len(path);
    if (pv_grow((void **)&e->tables, &e->table_capacity, e->table_count + len, sizeof *e->tables) !=
        0) {
        return pv_fail(err, PV_E_NOMEM, "no memory for the page tables of a batch");
    }
    enginep_item *it = &e->items[e->item_count];
    *it = *item;
    it->first_row = e->row_count;
    it->last_logit = ENGINEP_NO_LOGIT;
    it->table_at = e->table_count;
    it->table_len = len;
    engine_tree_table(path, e->tables + it->table_at);
    memcpy(e->tokens + e->row_count, tokens, it->rows * sizeof *tokens);
    e->row_count += it->rows;
    e->table_count += len;
    e->item_count++;
    *out = it;
    return PV_OK;
}

/* The logits of one more row of the item, the last one asked for so far. */
static uint32_t want_logits(engine *e, enginep_item *item, uint32_t row)
{
    e->logit_rows[e->logit_count] = item->first_row + row;
    item->last_logit = e->logit_count++;
    return item->last_logit;
}

/* ---- Samples ---- */

typedef struct portion {
    uint32_t rows;   /* of the tip                                        */
    uint32_t silent; /* of them, in front: nothing is asked of these      */
    uint32_t again;  /* of them, in front: their logits were used before  */
} portion;

static uint32_t at_most(uint32_t n, uint32_t limit)
{
    return n < limit ? n : limit;
}

/* Row i of a tip tells about tokens[i + 1]; at least the first token is asked for. */
static portion portion_of(const engine *e, const enginep_sample *s)
{
    uint32_t from = s->tip->computed;
    uint32_t first = (uint32_t)s->asked - 1;
    portion p = {.rows = pending_rows(e, s), .silent = first > from ? first - from : 0};
    p.again = p.silent;
    p.rows = at_most(p.rows, rows_left(e));
    p.rows = at_most(p.rows, p.silent + at_most(logits_left(e), draws_left(e)));
    return p;
}

/* The token that the batch draws for the sample, to be computed later. The last one of all never is. */
static pv_status append_drawn(engine *e, enginep_sample *s, pv_error *err)
{
    bool goes_on = !s->job->scoring && s->asked + 1 < s->job->max_tokens;
    return goes_on ? engine_tree_append(s->tip, ENGINE_TOKEN_FROM_ROW(e->draw_count), err) : PV_OK;
}

static pv_status add_sample(engine *e, enginep_sample *s, const portion *p, pv_error *err)
{
    uint32_t from = s->tip->computed;
    if (p->rows > p->silent && append_drawn(e, s, err) != PV_OK) {
        return PV_E_NOMEM;
    }
    enginep_item item = {.node = s->tip,
                         .probe_page = ENGINE_PAGE_NONE,
                         .start = s->tip->start + from,
                         .rows = p->rows,
                         .again = at_most(p->again, p->rows)};
    enginep_item *added = NULL;
    pv_status status = add_item(e, &item, s->tip->tokens + from, s->tip, &added, err);
    for (uint32_t row = p->silent; status == PV_OK && row < p->rows; row++) {
        enginep_ask(e, s, want_logits(e, added, row));
    }
    return status;
}

static pv_status plan_sample(engine *e, enginep_sample *s, pv_error *err)
{
    portion p = portion_of(e, s);
    if (p.rows == 0) {
        return PV_OK;
    }
    pv_status status = reserve(e, s->tip, p.rows, s->job, s, &p.rows, err);
    if (status != PV_OK || p.rows == 0) {
        return status;
    }
    pv_error why = {0};
    if (add_sample(e, s, &p, &why) != PV_OK) {
        return give_up(e, s->job, s, &why, err);
    }
    s->planned = s->job->planned = e->step;
    rotate(&e->running, &s->link);
    return PV_OK;
}

/* ---- Prefixes ---- */

/* The first tokens of as many samples as the batch has draws left for. */
static void ask_first(engine *e, enginep_job *job, enginep_item *item)
{
    if (item->last_logit == ENGINEP_NO_LOGIT) {
        (void)want_logits(e, item, item->rows - 1);
    }
    while (has_new(job) && draws_left(e) > 0) {
        enginep_ask(e, &job->samples[job->next_new], item->last_logit);
    }
    job->planned = job->prefixed = e->step;
}

static bool can_ask(const engine *e)
{
    return logits_left(e) > 0 && draws_left(e) > 0;
}

/* Somebody else's item computes the node in this batch. If it reaches the end of this job's prefix, its last row's
 * logits are this job's, too. */
static void join(engine *e, enginep_job *job, const engine_node *node)
{
    enginep_item *item = &e->items[node->claim_item];
    bool ends_here = node == job->base && item->start + item->rows == job->prefix_len;
    bool can = item->last_logit == ENGINEP_NO_LOGIT ? can_ask(e) : draws_left(e) > 0;
    if (ends_here && can && has_new(job)) {
        ask_first(e, job, item);
    }
}

static void claim(engine *e, enginep_job *job, engine_node *node, const enginep_item *item)
{
    node->claim_step = e->step;
    node->claim_item = (uint32_t)(item - e->items);
    job->planned = job->prefixed = e->step;
    rotate(&e->active, &job->link);
}

static pv_status plan_chunk(engine *e, enginep_job *job, engine_node *node, pv_error *err)
{
    uint32_t left = (uint32_t)node->len - node->computed;
    uint32_t want = at_most(left, rows_left(e));
    bool asks = node == job->base && has_new(job);
    if (asks && want == left && !can_ask(e)) {
        want--; /* the last row waits until its logits can be had */
    }
    uint32_t granted = 0;
    pv_status status = want > 0 ? reserve(e, node, want, job, NULL, &granted, err) : PV_OK;
    if (status != PV_OK || granted == 0) {
        return status;
    }
    enginep_item item = {.node = node,
                         .probe_page = ENGINE_PAGE_NONE,
                         .start = node->start + node->computed,
                         .rows = granted};
    pv_error why = {0};
    enginep_item *added = NULL;
    if (add_item(e, &item, node->tokens + node->computed, node, &added, &why) != PV_OK) {
        return give_up(e, job, NULL, &why, err);
    }
    claim(e, job, node, added);
    if (asks && granted == left) {
        ask_first(e, job, added);
    }
    return PV_OK;
}

/* A page of the probe's own: the row writes its token again, and others may read the shared page meanwhile. */
static pv_status probe_page(engine *e, enginep_job *job, uint32_t *page, pv_error *err)
{
    do {
        *page = engine_tree_take_page(e->tree);
    } while (*page == ENGINE_PAGE_NONE && make_room(e, job, NULL));
    uint32_t slot = (job->prefix_len - 1) % ENGINE_PAGE_TOKENS;
    if (*page == ENGINE_PAGE_NONE || slot == 0) {
        return PV_OK;
    }
    uint32_t from = job->base->pages[job->base->page_count - 1];
    pv_status status = e->backend->copy_page(e->device, *page, from, slot, err);
    if (status != PV_OK) {
        engine_tree_give_page(e->tree, *page);
    }
    return status;
}

/* The whole prefix is cached; the logits at its end are not: its last token runs once more. */
static pv_status plan_probe(engine *e, enginep_job *job, pv_error *err)
{
    if (rows_left(e) == 0 || !can_ask(e)) {
        return PV_OK;
    }
    uint32_t page = ENGINE_PAGE_NONE;
    pv_status status = probe_page(e, job, &page, err);
    if (status != PV_OK || page == ENGINE_PAGE_NONE) {
        return status;
    }
    enginep_item item = {.probe_page = page, .start = job->prefix_len - 1, .rows = 1, .again = 1};
    pv_error why = {0};
    enginep_item *added = NULL;
    if (add_item(e, &item, job->prefix + job->prefix_len - 1, job->base, &added, &why) != PV_OK) {
        engine_tree_give_page(e->tree, page);
        return give_up(e, job, NULL, &why, err);
    }
    e->tables[added->table_at + added->table_len - 1] = page;
    claim(e, job, job->base, added);
    ask_first(e, job, added);
    return PV_OK;
}

static pv_status plan_prefix(engine *e, enginep_job *job, pv_error *err)
{
    engine_node *node = engine_tree_incomplete(job->base);
    engine_node *target = node != NULL ? node : job->base;
    if (target->claim_step == e->step) {
        join(e, job, target);
        return PV_OK;
    }
    return node != NULL ? plan_chunk(e, job, node, err) : plan_probe(e, job, err);
}

/* ---- The three passes over one batch ---- */

static bool others_wait(const engine *e)
{
    for (enginep_link *l = e->running.next; l != &e->running; l = l->next) {
        if (pending_rows(e, ENGINEP_SAMPLE(l)) > 1) {
            return true;
        }
    }
    for (enginep_link *l = e->active.next; l != &e->active; l = l->next) {
        if (in_prefix(ENGINEP_JOB(l))) {
            return true;
        }
    }
    return false;
}

/* One row with logits is left to prompts when any are there, so that neither side starves; where there is but one row,
 * they take turns. */
static uint32_t decode_limit(const engine *e)
{
    uint32_t limit = e->limits.max_logit_rows; /* <= max_rows */
    if (!others_wait(e)) {
        return limit;
    }
    uint32_t rows = e->steps_ahead == 0 ? at_most(e->row_count_active, limit / 2) : 0;
    if (rows > 1) { /* row jobs are decoding, too */
        return limit - rows;
    }
    return limit > 1 ? limit - 1 : (uint32_t)(e->step & 1);
}

/* Decode rows, those that waited longest first. */
static pv_status plan_decode(engine *e, uint32_t limit, pv_error *err)
{
    pv_status status = PV_OK;
    e->cursor = e->running.next;
    for (uint32_t n = e->running_count; n > 0 && e->cursor != &e->running; n--) {
        enginep_sample *s = ENGINEP_SAMPLE(e->cursor);
        e->cursor = e->cursor->next;
        if (e->row_count >= limit || status != PV_OK) {
            break;
        }
        if (s->planned != e->step && pending_rows(e, s) == 1) {
            status = plan_sample(e, s, err);
        }
    }
    e->cursor = NULL;
    return status;
}

/* Continuations to be scored, and samples that had to make room. */
static pv_status plan_longer(engine *e, pv_error *err)
{
    pv_status status = PV_OK;
    e->cursor = e->running.next;
    for (uint32_t n = e->running_count; n > 0 && e->cursor != &e->running; n--) {
        enginep_sample *s = ENGINEP_SAMPLE(e->cursor);
        e->cursor = e->cursor->next;
        if (rows_left(e) == 0 || status != PV_OK) {
            break;
        }
        if (s->planned != e->step && pending_rows(e, s) > 1) {
            status = plan_sample(e, s, err);
        }
    }
    e->cursor = NULL;
    return status;
}

/* Where the device samples, row jobs have batches of their own. */
static bool is_of_this_batch(const engine *e, const enginep_job *job)
{
    return e->steps_ahead == 0 || (job->row_of != NULL) == e->from_logits;
}

static pv_status plan_prefixes(engine *e, pv_error *err)
{
    pv_status status = PV_OK;
    e->cursor = e->active.next;
    for (uint32_t n = e->active_count; n > 0 && e->cursor != &e->active; n--) {
        enginep_job *job = ENGINEP_JOB(e->cursor);
        e->cursor = e->cursor->next;
        if (status != PV_OK) {
            break;
        }
        if (job->prefixed != e->step && is_of_this_batch(e, job) && in_prefix(job)) {
            status = plan_prefix(e, job, err);
        }
    }
    e->cursor = NULL;
    return status;
}

/* Nothing fits. A younger request may hold the pages that an older one waits for to start: all make room for the oldest.
 * When nobody younger holds any, only pins can be in the way, or a tree of many forks within one page: the oldest request
 * is told so, rather than left waiting. */
static void unblock_oldest(engine *e)
{
    enginep_job *oldest = NULL;
    for (enginep_link *l = e->active.next; l != &e->active; l = l->next) {
        enginep_job *j = ENGINEP_JOB(l);
        oldest = oldest == NULL || enginep_job_younger(oldest, j) ? j : oldest;
    }
    bool any = false;
    while (oldest != NULL && make_room(e, oldest, NULL)) {
        any = true;
    }
    if (oldest == NULL || any) {
        return;
    }
    engine_stats s;
    engine_stats_get(e, &s);
    pv_error why = {0};
    (void)pv_fail(&why, PV_E_LIMIT,
                  "no KV page is left for a prefix of %u tokens: %u of %u pages are in use, none "
                  "of them can be "
                  "evicted, and %u pins are held; unpin some, or raise the number of pages",
                  oldest->prefix_len, s.pages_locked, s.pages_total, s.pinned);
    enginep_end_job(e, oldest, ENGINE_FINISH_FAILED, &why);
}

static pv_status plan_draws(engine *e, pv_error *err)
{
    pv_status status = plan_decode(e, decode_limit(e), err);
    if (status == PV_OK) {
        status = plan_longer(e, err);
    }
    if (status == PV_OK) {
        status = plan_prefixes(e, err);
    }
    if (status == PV_OK &&
        e->item_count == 0) { /* it was the prompts' turn, and none could go on */
        status = plan_decode(e, e->limits.max_logit_rows, err);
    }
    return status;
}

/* Where the device samples: rows and draws in turns, when there are both. */
static pv_status plan_in_turns(engine *e, pv_error *err)
{
    e->from_logits = e->row_count_active > 0 && !e->from_logits;
    pv_status status = PV_OK;
    for (int turn = 0; turn < 2 && status == PV_OK && e->item_count == 0; turn++) {
        if (turn > 0) {
            e->from_logits = !e->from_logits;
        }
        status = e->from_logits ? plan_prefixes(e, err) : plan_draws(e, err);
    }
    return status;
}

pv_status enginep_plan(engine *e, pv_error *err)
{
    e->item_count = e->row_count = e->logit_count = e->draw_count = 0;
    e->table_count = 0;
    admit(e);
    start_samples(e);
    e->from_logits = e->from_logits || e->steps_ahead == 0;
    pv_status status = e->steps_ahead == 0 ? plan_draws(e, err) : plan_in_turns(e, err);
    if (status == PV_OK && e->item_count == 0 && e->flight_count == 0 &&
        enginep_list_empty(&e->finished)) {
        unblock_oldest(e);
    }
    return status;
}
