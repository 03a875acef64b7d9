#include "whole_run.h"

#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

enum { TEXTS_MAX = 8 }; /* beginnings that share a search's budget */

static void fail(whole_run *w, const pv_error *why)
{
    w->failure = *why;
    w->state = WHOLE_FAILED;
}

static void fail_memory(whole_run *w)
{
    pv_error err = {0};
    pv_fail(&err, PV_E_NOMEM, "out of memory");
    fail(w, &err);
}

/* ---- writing ---- */

static void on_text(void *user, const char *text, size_t n, uint32_t tokens,
                    const pv_error *failure)
{
    whole_run *w = user;
    w->tokens += tokens;
    if (failure != NULL && w->failure.status == PV_OK) {
        w->failure = *failure;
    }
    w->answers[w->count] = failure == NULL && text != NULL ? pv_strndup(text, n) : NULL;
    if (failure == NULL && text != NULL && w->answers[w->count] == NULL) {
        pv_fail(&w->failure, PV_E_NOMEM, "out of memory");
    }
    w->read += w->answers[w->count] != NULL;
    w->repairs += w->answers[w->count] != NULL && w->current != NULL;
    w->count++;
}

/* Header, declaration and the node's beginning, up to where an answer goes on; NULL at the root, *ok false when memory is short. */
static char *prefix_of(const whole_run *w, bool *ok)
{
    const hole *h = &w->plan.theorem->holes[0];
    size_t from_end = w->plan.theorem->end - h->start; /* of the statement's text */
    pv_buf text = {0};
    *ok = true;
    if (w->node == WHOLE_ROOT) {
        return NULL;
    }
    pv_buf_append(&text, w->plan.statement, strlen(w->plan.statement) - from_end);
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL) {
        text.len--;
    }
    pv_buf_printf(&text, "%s%s\n", h->term ? " by" : "", w->tree.nodes[w->node].body);
    *ok = pv_buf_ok(&text);
    return pv_buf_detach(&text);
}

/* How many answers have been asked for from this node before; each attempt at a problem has its own. */
static uint64_t first_of(const whole_run *w)
{
    uint64_t rounds = w->node == WHOLE_ROOT ? w->plan.first * w->plan.rounds : 0;
    return (rounds + w->tree.nodes[w->node].asked) * w->plan.samples;
}

static void drop_answers(whole_run *w)
{
    for (size_t i = 0; i < w->count; i++) {
        pv_free(w->answers[i]);
    }
    pv_free(w->answers);
    w->answers = NULL;
    w->wanted = w->count = w->next = 0;
}

/* Sends a question; its texts and numbers are the caller's. */
static pv_status ask(whole_run *w, writer_request *q, pv_error *err)
{
    drop_answers(w);
    w->answers = pv_calloc(q->samples, sizeof *w->answers);
    if (w->answers == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    q->name = w->plan.name;
    q->statement = w->plan.statement;
    q->seed = w->plan.seed;
    q->on_text = on_text;
    q->user = w;
    w->wanted = q->samples;
    pv_status status = w->plan.writer.ops->write(w->plan.writer.self, q, &w->ticket, err);
    if (status != PV_OK) {
        w->wanted = w->count = 0;
    }
    return status;
}

static pv_status ask_round(whole_run *w, pv_error *err)
{
    bool ok = true;
    char *prefix = prefix_of(w, &ok);
    if (!ok) {
        pv_free(prefix);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    writer_request q = {
        .prefix = prefix, .samples = (uint32_t)w->plan.samples, .first = first_of(w)};
    w->novel = false;
    w->current = NULL;
    pv_status status = ask(w, &q, err);
    if (status == PV_OK) {
        whole_tree_begin(&w->tree, w->node);
        w->tree.nodes[w->node].asked++;
    }
    pv_free(prefix);
    return status;
}

/* ---- trying ---- */

static bool said_before(const whole_run *w, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (w->answers[i] != NULL && strcmp(w->answers[i], w->answers[at]) == 0) {
            return true;
        }
    }
    return false;
}

/* The answer as a model without a beginning would have given it: a block with the declaration in it. The caller frees. */
static char *full_text(const whole_run *w, const char *answer)
{
    bool ok = true;
    pv_buf text = {0};
    char *prefix = w->current == NULL ? prefix_of(w, &ok) : NULL;
    if (ok && prefix != NULL) {
        pv_buf_printf(&text, "```lean4\n%s", prefix);
    }
    pv_buf_puts(&text, answer);
    pv_free(prefix);
    if (!ok) {
        pv_buf_release(&text);
    }
    return pv_buf_detach(&text);
}

static pv_status start_trial(whole_run *w, const char *text, pv_error *err)
{
    const whole_plan *p = &w->plan;
    whole_proof proof;
    pv_status status = whole_proof_find(&proof, text, strlen(text), p->theorem->name, err);
    return status == PV_OK ? resume_start(&w->trial, p->s, p->env, p->src, p->target,
                                          p->theorem->holes[0].start, &proof, text, err)
                           : status;
}

/* Compiles the next answer that has a proof in it. False: there is none left. */
static bool try_next(whole_run *w)
{
    while (w->next < w->count) {
        size_t at = w->next++;
        pv_error err = {0};
        if (w->answers[at] == NULL || w->answers[at][0] == '\0' || said_before(w, at)) {
            continue;
        }
        char *text = full_text(w, w->answers[at]);
        pv_status status =
            text == NULL ? pv_fail(&err, PV_E_NOMEM, "out of memory") : start_trial(w, text, &err);
        if (status == PV_OK) {
            w->trying = true;
            w->trial_text = text;
            return true;
        }
        pv_free(text);
        if (status == PV_E_NOMEM) {
            fail(w, &err);
            return true;
        }
        pv_log(PV_LOG_DEBUG, "%s: whole proof %zu: %s", w->plan.name, at, err.msg);
    }
    return false;
}

static void end_trial(whole_run *w)
{
    if (w->trying) {
        resume_release(&w->trial);
        w->trying = false;
    }
    pv_free(w->trial_text);
    pv_free(w->found);
    w->trial_text = w->found = NULL;
}

static bool may_ask(const whole_run *w)
{
    double elapsed = (double)(pv_clock_ms() - w->started_ms) / 1000;
    return (w->plan.tokens_max == 0 || w->tokens < w->plan.tokens_max) &&
           (w->plan.wall_seconds_max <= 0 || elapsed < w->plan.wall_seconds_max);
}

/* A question that the writer cannot take is left out; other failures end the run. True: it is asked, or the run is over. */
static bool asked(whole_run *w, pv_status status, const pv_error *err, const char *what)
{
    if (status == PV_E_INVALID || status == PV_E_LIMIT) {
        pv_log(PV_LOG_WARN, "%s: no %s: %s", w->plan.name, what, err->msg);
        return false;
    }
    if (status != PV_OK) {
        fail(w, err);
    }
    return true;
}

/* ---- repairs ---- */

static bool was_shown(const whole_run *w, uint64_t hash)
{
    for (size_t i = 0; i < w->shown_count; i++) {
        if (w->shown[i] == hash) {
            return true;
        }
    }
    return false;
}

/* The declaration as Lean saw it, with the proof on trial, and its errors from the declaration's start. */
static char *turn_of(const whole_run *w, unsigned depth)
{
    const resume *r = &w->trial;
    size_t start = w->plan.theorem->start, behind = w->plan.src->length - w->plan.theorem->end;
    repair_error errors[REPAIR_ERRORS_MAX];
    for (size_t i = 0; i < r->error_count; i++) {
        const repair_error *e = &r->errors[i];
        errors[i] = (repair_error){e->start > start ? e->start - start : 0,
                                   e->end > start ? e->end - start : 0, e->message};
    }
    pv_buf turn = {0};
    repair_prompt_write(&turn, depth + 1, r->whole.data + start, r->whole.len - behind - start,
                        errors, r->error_count, r->error_total);
    return pv_buf_detach(&turn);
}

/* Notes the answer on trial, to be shown with its errors when its turn comes. */
static void keep_refused(whole_run *w)
{
    unsigned depth = w->current == NULL ? 0 : w->current->depth;
    if (depth >= w->plan.repairs || w->trial.error_count == 0) {
        return;
    }
    size_t place = w->current == NULL ? 0 : (size_t)(w->current - w->refused);
    whole_refused one = {
        .answer = pv_strdup(w->trial_text), .turn = turn_of(w, depth), .depth = depth};
    bool ok = one.answer != NULL && one.turn != NULL &&
              pv_grow((void **)&w->refused, &w->refused_capacity, w->refused_count + 1,
                      sizeof *w->refused) == 0;
    w->current = w->current == NULL ? NULL : &w->refused[place]; /* they may have moved */
    if (ok) {
        w->refused[w->refused_count++] = one;
    } else {
        pv_free(one.answer);
        pv_free(one.turn);
        fail_memory(w);
    }
}

static void drop_refused(whole_run *w)
{
    for (size_t i = 0; i < w->refused_count; i++) {
        pv_free(w->refused[i].answer);
        pv_free(w->refused[i].turn);
    }
    w->refused_count = w->refused_next = 0;
    w->current = NULL;
}

static pv_status ask_repair(whole_run *w, whole_refused *one, pv_error *err)
{
    writer_repair repair = {one->answer, one->turn};
    writer_request q = {.repair = &repair,
                        .samples = (uint32_t)w->plan.repair_samples,
                        .first = w->plan.first * w->plan.repair_samples};
    w->current = one;
    one->depth++; /* of the answers that come */
    return ask(w, &q, err);
}

/* Shows the next refused proof to the writer; false: there is none left. */
static bool next_repair(whole_run *w)
{
    while (w->refused_next < w->refused_count && may_ask(w)) {
        whole_refused *one = &w->refused[w->refused_next++];
        uint64_t hash = pv_hash_bytes(one->answer, strlen(one->answer),
                                      pv_hash_bytes(one->turn, strlen(one->turn), 0));
        pv_error err = {0};
        if (was_shown(w, hash)) {
            continue;
        }
        if (pv_grow((void **)&w->shown, &w->shown_capacity, w->shown_count + 1, sizeof *w->shown) !=
            0) {
            fail_memory(w);
            return true;
        }
        w->shown[w->shown_count++] = hash;
        pv_status status = ask_repair(w, one, &err);
        if (asked(w, status, &err, "repair of a whole proof")) {
            return true;
        }
    }
    drop_refused(w);
    return false;
}

/* ---- what comes next ---- */

/* The next round; false after the last, or when the budget is spent. */
static bool next_round(whole_run *w)
{
    pv_error err = {0};
    whole_tree_end(&w->tree, w->node, w->novel);
    if (++w->round >= w->plan.rounds || !may_ask(w)) {
        return false;
    }
    w->node = whole_tree_select(&w->tree);
    pv_status status = ask_round(w, &err);
    return asked(w, status, &err, "further whole proofs");
}

/* The next answer, the next repair, the next round; OVER when there is none. */
static void go_on(whole_run *w)
{
    end_trial(w);
    if (w->state == WHOLE_FAILED) {
        return;
    }
    w->state = WHOLE_WORKING;
    if (!try_next(w) && !next_repair(w) && !next_round(w)) {
        w->state = WHOLE_OVER;
    }
}

/* ---- what is kept ---- */

/* What is left to prove: the goals of all holes, in order. */
static pv_key key_of(const theorem *t)
{
    pv_key key = t->holes[0].key;
    for (size_t i = 1; i < t->hole_count; i++) {
        pv_key both[] = {key, t->holes[i].key};
        key = pv_key_of(both, sizeof both);
    }
    return key;
}

static const char *kept_body(const resume *r, size_t *n)
{
    const char *body = r->whole.data + r->body_at;
    *n = r->keep;
    while (*n > 0 && strchr(" \t\r\n", body[*n - 1]) != NULL) {
        --*n;
    }
    return body;
}

static void drop_text(whole_text *text)
{
    source_release(&text->src);
    theorem_list_release(&text->opened);
}

/* Where a text of so many kept bytes goes: of many only the longest are kept. NULL: they are all longer. */
static whole_text *place_for_text(whole_run *w, size_t keep)
{
    if (w->text_count < TEXTS_MAX) {
        return &w->texts[w->text_count];
    }
    whole_text *least = &w->texts[0];
    for (size_t i = 1; i < w->text_count; i++) {
        least = w->texts[i].keep < least->keep ? &w->texts[i] : least;
    }
    return least->keep >= keep ? NULL : least;
}

/* Keeps the trial's text with its holes. False when memory is short. */
static bool keep_text(whole_run *w)
{
    const source *own = w->plan.src;
    whole_text *place = place_for_text(w, w->trial.keep);
    if (place == NULL) {
        return true;
    }
    whole_text text = {
        .keep = w->trial.keep, .target = w->trial.theorem, .opened = w->trial.opened};
    text.src = (source){.name = pv_strdup(own->name),
                        .header = pv_strdup(own->header),
                        .body = pv_strdup(pv_buf_text(&w->trial.text)),
                        .text = pv_strdup(pv_buf_text(&w->trial.text)),
                        .length = w->trial.text.len};
    if (text.src.name == NULL || text.src.header == NULL || text.src.body == NULL ||
        text.src.text == NULL) {
        source_release(&text.src);
        return false;
    }
    w->trial.opened = (theorem_list){0};
    if (place == &w->texts[w->text_count]) {
        w->text_count++;
    } else {
        drop_text(place);
    }
    *place = text;
    return true;
}

/* A beginning that leaves other goals than all those before it is a node of the tree and a text to search. */
static pv_status keep_node(whole_run *w, pv_error *err)
{
    size_t n = 0;
    bool added = false;
    const char *body = kept_body(&w->trial, &n);
    pv_status status =
        whole_tree_add(&w->tree, w->node, key_of(w->trial.theorem), body, n, &added, err);
    w->novel = w->novel || added;
    if (status == PV_OK && added && !keep_text(w)) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return status;
}

/* ---- answers ---- */

static void offer(whole_run *w)
{
    const resume *r = &w->trial;
    size_t start = w->plan.theorem->holes[0].start;
    size_t behind = w->plan.src->length - w->plan.theorem->holes[0].end;
    w->found = pv_strndup(r->whole.data + start, r->whole.len - behind - start);
    w->repaired = w->current != NULL;
    w->state = WHOLE_FOUND;
    if (w->found == NULL) {
        fail_memory(w);
    }
}

static bool settle_trial(whole_run *w)
{
    resume_result result = resume_state(&w->trial);
    pv_error err = {0};
    if (w->trial.keep > w->kept && (result == RESUME_CUT || result == RESUME_COMPILES)) {
        w->kept = w->trial.keep;
    }
    switch (result) {
    case RESUME_RUNNING:
        return resume_turn(&w->trial);
    case RESUME_COMPILES:
        offer(w);
        break;
    case RESUME_CUT:
        if (keep_node(w, &err) != PV_OK) {
            fail(w, &err);
            break;
        }
        keep_refused(w);
        go_on(w);
        break;
    case RESUME_NOTHING:
        keep_refused(w);
        go_on(w);
        break;
    case RESUME_FAILED:
        fail(w, &w->trial.failure);
        break;
    }
    return true;
}

bool whole_run_turn(whole_run *w)
{
    if (w->state != WHOLE_WORKING) {
        return false;
    }
    if (w->trying) {
        return settle_trial(w);
    }
    if (w->count < w->wanted) {
        return false;
    }
    if (w->failure.status != PV_OK) {
        w->state = WHOLE_FAILED;
    } else {
        go_on(w);
    }
    return true;
}

void whole_run_refused(whole_run *w, const char *why)
{
    pv_log(PV_LOG_INFO, "%s: the judge refused a whole proof: %s", w->plan.name,
           why == NULL ? "" : why);
    go_on(w);
}

/* ---- life ---- */

pv_status whole_run_start(whole_run *w, const whole_plan *plan, pv_error *err)
{
    memset(w, 0, sizeof *w);
    w->plan = *plan;
    w->started_ms = pv_clock_ms();
    w->texts = pv_calloc(TEXTS_MAX, sizeof *w->texts);
    pv_status status = w->texts == NULL
                           ? pv_fail(err, PV_E_NOMEM, "out of memory")
                           : whole_tree_init(&w->tree, plan->theorem->holes[0].key, err);
    if (status == PV_OK) {
        status = ask_round(w, err);
    }
    if (status != PV_OK) {
        whole_run_release(w);
    }
    return status;
}

bool whole_run_end(whole_run *w)
{
    bool trial_over = !w->trying || resume_end(&w->trial);
    if (w->count < w->wanted) {
        w->plan.writer.ops->cancel(w->plan.writer.self, w->ticket);
        return false;
    }
    return trial_over;
}

void whole_run_release(whole_run *w)
{
    end_trial(w);
    drop_answers(w);
    drop_refused(w);
    pv_free(w->refused);
    pv_free(w->shown);
    whole_tree_release(&w->tree);
    for (size_t i = 0; i < w->text_count; i++) {
        drop_text(&w->texts[i]);
    }
    pv_free(w->texts);
    memset(w, 0, sizeof *w);
}
