/* Whole proofs before the search. Each is compiled where the user's `sorry` stands: one that compiles goes to the judge, of one that does
 * not the beginning before its first error is kept with holes behind it (resume.h), for the search to go on from. */
#include "bench.h"

#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

/* ---- writing ---- */

static void on_text(void *user, const char *text, size_t n, uint32_t tokens,
                    const pv_error *failure)
{
    bench_item *item = user;
    bench_whole *w = &item->whole;
    item->stats.tokens += tokens;
    if (failure != NULL && w->failure.status == PV_OK) {
        w->failure = *failure;
    }
    w->answers[w->count] = failure == NULL && text != NULL ? pv_strndup(text, n) : NULL;
    if (failure == NULL && text != NULL && w->answers[w->count] == NULL) {
        pv_fail(&w->failure, PV_E_NOMEM, "out of memory");
    }
    w->read += w->answers[w->count] != NULL;
    w->count++;
}

bool bench_whole_start(bench_item *item)
{
    bench *b = item->b;
    bench_whole *w = &item->whole;
    pv_error err = {0};
    if (b->writer.ops == NULL || item->own.target->hole_count != 1) {
        return false;
    }
    w->answers = pv_calloc(b->opt.whole_samples, sizeof *w->answers);
    item->stage = BENCH_WRITING;
    w->wanted = (size_t)b->opt.whole_samples;
    writer_request q = {.name = item->problem->name,
                        .statement = item->statement,
                        .samples = (uint32_t)w->wanted,
                        .first = item->claim.pass * w->wanted,
                        .seed = item->seed,
                        .on_text = on_text,
                        .user = item};
    if (w->answers == NULL) {
        w->wanted = 0;
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        bench_item_fail(item, &err);
        return true;
    }
    pv_status status = b->writer.ops->write(b->writer.self, &q, &w->ticket, &err);
    if (status != PV_OK) {
        w->wanted = w->count = 0;
    }
    if (status == PV_E_INVALID || status == PV_E_LIMIT) { /* a prompt that the model cannot hold */
        pv_log(PV_LOG_WARN, "%s: no whole proofs: %s", item->problem->name, err.msg);
        return false;
    }
    if (status != PV_OK) {
        bench_item_fail(item, &err);
    }
    return true;
}

/* ---- trying ---- */

static bool said_before(const bench_whole *w, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (w->answers[i] != NULL && strcmp(w->answers[i], w->answers[at]) == 0) {
            return true;
        }
    }
    return false;
}

/* Compiles the next answer that has a proof in it. False: there is none left. */
static bool try_next(bench_item *item)
{
    bench_whole *w = &item->whole;
    const theorem *t = item->own.target;
    while (w->next < w->count) {
        size_t at = w->next++;
        const char *text = w->answers[at];
        whole_proof proof;
        pv_error err = {0};
        if (text == NULL || said_before(w, at)) {
            continue;
        }
        if (whole_proof_find(&proof, text, strlen(text), t->name, &err) == PV_OK &&
            resume_start(&w->trial, &item->b->s, item->env, &item->own.src, item->problem->target,
                         t->holes[0].start, &proof, text, &err) == PV_OK) {
            w->trying = true;
            item->stage = BENCH_TRYING;
            return true;
        }
        if (err.status == PV_E_NOMEM) {
            bench_item_fail(item, &err);
            return true;
        }
        pv_log(PV_LOG_DEBUG, "%s: whole proof %zu: %s", item->problem->name, at, err.msg);
    }
    return false;
}

static void end_trial(bench_whole *w)
{
    if (w->trying) {
        resume_release(&w->trial);
        w->trying = w->compiled = false;
    }
}

/* The next answer, or the search when all of them have been tried. */
static void go_on(bench_item *item)
{
    end_trial(&item->whole);
    if (!try_next(item)) {
        bench_item_next_text(item);
    }
}

/* Keeps the trial's text with its holes. */
static bool keep_cut(bench_item *item)
{
    bench_whole *w = &item->whole;
    const source *own = &item->own.src;
    if (pv_grow((void **)&w->cuts, &w->cut_capacity, w->cut_count + 1, sizeof *w->cuts) != 0) {
        return false;
    }
    bench_text cut = {.keep = w->trial.keep, .target = w->trial.theorem, .opened = w->trial.opened};
    cut.src = (source){.name = pv_strdup(own->name),
                       .header = pv_strdup(own->header),
                       .body = pv_strdup(pv_buf_text(&w->trial.text)),
                       .text = pv_strdup(pv_buf_text(&w->trial.text)),
                       .length = w->trial.text.len};
    if (cut.src.name == NULL || cut.src.header == NULL || cut.src.body == NULL ||
        cut.src.text == NULL) {
        source_release(&cut.src);
        return false;
    }
    w->trial.opened = (theorem_list){0};
    w->cuts[w->cut_count++] = cut;
    return true;
}

static void judge_whole(bench_item *item)
{
    bench_whole *w = &item->whole;
    const resume *r = &w->trial;
    char *body = pv_strndup(r->whole.data + r->body_at, r->body_length);
    if (body == NULL) {
        pv_error err = {0};
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        bench_item_fail(item, &err);
        return;
    }
    w->compiled = true;
    bench_item_judge(item, pv_buf_text(&r->whole), (const char *const *)&body, 1);
    pv_free(body);
}

void bench_whole_judged(bench_item *item)
{
    pv_log(PV_LOG_INFO, "%s: the judge refused a whole proof: %s", item->problem->name,
           item->verdict.message == NULL ? "" : item->verdict.message);
    verdict_release(&item->verdict); /* what counts is the judge's word on what comes after it */
    go_on(item);
}

static bool settle_trial(bench_item *item)
{
    bench_whole *w = &item->whole;
    resume_result result = resume_state(&w->trial);
    pv_error err = {0};
    if (w->trial.keep > w->kept && (result == RESUME_CUT || result == RESUME_COMPILES)) {
        w->kept = w->trial.keep;
    }
    switch (result) {
    case RESUME_RUNNING:
        return resume_turn(&w->trial);
    case RESUME_COMPILES:
        judge_whole(item);
        break;
    case RESUME_CUT:
        if (keep_cut(item)) {
            go_on(item);
        } else {
            pv_fail(&err, PV_E_NOMEM, "out of memory");
            bench_item_fail(item, &err);
        }
        break;
    case RESUME_NOTHING:
        go_on(item);
        break;
    case RESUME_FAILED:
        bench_item_fail(item, &w->trial.failure);
        break;
    }
    return true;
}

bool bench_whole_turn(bench_item *item)
{
    bench_whole *w = &item->whole;
    if (item->stage == BENCH_TRYING) {
        return settle_trial(item);
    }
    if (w->count < w->wanted) {
        return false;
    }
    if (w->failure.status != PV_OK) {
        bench_item_fail(item, &w->failure);
    } else {
        go_on(item);
    }
    return true;
}

char *bench_whole_declaration(const bench_item *item)
{
    const resume *r = &item->whole.trial;
    for (size_t i = 0; i < r->opened.count; i++) {
        const theorem *t = &r->opened.items[i];
        if (strcmp(t->name, item->own.target->name) == 0) {
            return pv_strndup(r->whole.data + t->start, t->end - t->start);
        }
    }
    return NULL;
}

/* ---- the end ---- */

bool bench_whole_end(bench_item *item)
{
    bench_whole *w = &item->whole;
    bool trial_over = !w->trying || resume_end(&w->trial);
    if (w->count < w->wanted) {
        item->b->writer.ops->cancel(item->b->writer.self, w->ticket);
        return false;
    }
    return trial_over;
}

void bench_whole_release(bench_item *item)
{
    bench_whole *w = &item->whole;
    end_trial(w);
    for (size_t i = 0; i < w->count; i++) {
        pv_free(w->answers[i]);
    }
    pv_free(w->answers);
    for (size_t i = 0; i < w->cut_count; i++) {
        source_release(&w->cuts[i].src);
        theorem_list_release(&w->cuts[i].opened);
    }
    pv_free(w->cuts);
    memset(w, 0, sizeof *w);
}
