/* Whole proofs before the search, in rounds: the first from nothing, the others from a beginning that RMaxTS chooses (whole_tree.h). Each
 * is compiled where the user's `sorry` stands: one that compiles goes to the judge, of one that does
 * not the beginning before its first error is kept with holes behind it (resume.h), for the search to go on from. */
#include "bench.h"

#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

enum { SEARCHED_MAX = 8 }; /* beginnings that share the search's budget */

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

/* Header, declaration and the node's beginning, up to where an answer goes on; NULL at the root, *ok false when memory is short. */
static char *prefix_of(const bench_item *item, bool *ok)
{
    const bench_whole *w = &item->whole;
    const hole *h = &item->own.target->holes[0];
    size_t from_end = item->own.target->end - h->start; /* of the statement's text */
    pv_buf text = {0};
    *ok = true;
    if (w->node == WHOLE_ROOT) {
        return NULL;
    }
    pv_buf_append(&text, item->statement, strlen(item->statement) - from_end);
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL) {
        text.len--;
    }
    pv_buf_printf(&text, "%s%s\n", h->term ? " by" : "", w->tree.nodes[w->node].body);
    *ok = pv_buf_ok(&text);
    return pv_buf_detach(&text);
}

/* How many answers have been asked for from this node before; each attempt at a problem has its own. */
static uint64_t first_of(const bench_item *item)
{
    const bench_whole *w = &item->whole;
    uint64_t rounds = w->node == WHOLE_ROOT ? item->claim.pass * item->b->opt.whole_rounds : 0;
    return (rounds + w->tree.nodes[w->node].asked) * item->b->opt.whole_samples;
}

static void drop_answers(bench_whole *w)
{
    for (size_t i = 0; i < w->count; i++) {
        pv_free(w->answers[i]);
    }
    pv_free(w->answers);
    w->answers = NULL;
    w->wanted = w->count = w->next = 0;
}

/* Asks for the answers of one round. */
static pv_status ask(bench_item *item, pv_error *err)
{
    const bench *b = item->b;
    bench_whole *w = &item->whole;
    bool ok = true;
    drop_answers(w);
    w->answers = pv_calloc(b->opt.whole_samples, sizeof *w->answers);
    char *prefix = prefix_of(item, &ok);
    if (w->answers == NULL || !ok) {
        pv_free(prefix);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    writer_request q = {.name = item->problem->name,
                        .statement = item->statement,
                        .prefix = prefix,
                        .samples = (uint32_t)b->opt.whole_samples,
                        .first = first_of(item),
                        .seed = item->seed,
                        .on_text = on_text,
                        .user = item};
    item->stage = BENCH_WRITING;
    w->wanted = (size_t)b->opt.whole_samples;
    w->novel = false;
    pv_status status = b->writer.ops->write(b->writer.self, &q, &w->ticket, err);
    if (status == PV_OK) {
        whole_tree_begin(&w->tree, w->node);
        w->tree.nodes[w->node].asked++;
    } else {
        w->wanted = w->count = 0;
    }
    pv_free(prefix);
    return status;
}

bool bench_whole_start(bench_item *item)
{
    bench_whole *w = &item->whole;
    const theorem *t = item->own.target;
    pv_error err = {0};
    if (item->b->writer.ops == NULL || t->hole_count != 1) {
        return false;
    }
    pv_status status = whole_tree_init(&w->tree, t->holes[0].key, &err);
    if (status == PV_OK) {
        status = ask(item, &err);
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

/* The answer as a model without a beginning would have given it: a block with the declaration in it. The caller frees. */
static char *full_text(const bench_item *item, const char *answer)
{
    bool ok = true;
    pv_buf text = {0};
    char *prefix = prefix_of(item, &ok);
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

static pv_status start_trial(bench_item *item, const char *text, pv_error *err)
{
    const theorem *t = item->own.target;
    whole_proof proof;
    pv_status status = whole_proof_find(&proof, text, strlen(text), t->name, err);
    return status == PV_OK
               ? resume_start(&item->whole.trial, &item->b->s, item->env, &item->own.src,
                              item->problem->target, t->holes[0].start, &proof, text, err)
               : status;
}

/* Compiles the next answer that has a proof in it. False: there is none left. */
static bool try_next(bench_item *item)
{
    bench_whole *w = &item->whole;
    while (w->next < w->count) {
        size_t at = w->next++;
        pv_error err = {0};
        if (w->answers[at] == NULL || w->answers[at][0] == '\0' || said_before(w, at)) {
            continue;
        }
        char *text = full_text(item, w->answers[at]);
        pv_status status = text == NULL ? pv_fail(&err, PV_E_NOMEM, "out of memory")
                                        : start_trial(item, text, &err);
        pv_free(text);
        if (status == PV_OK) {
            w->trying = true;
            item->stage = BENCH_TRYING;
            return true;
        }
        if (status == PV_E_NOMEM) {
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

static bool tokens_left(const bench_item *item)
{
    uint64_t limit = item->b->limit.tokens;
    return limit == 0 || item->stats.tokens < limit;
}

/* The next round; false after the last, or when the tokens are spent. */
static bool next_round(bench_item *item)
{
    bench_whole *w = &item->whole;
    pv_error err = {0};
    whole_tree_end(&w->tree, w->node, w->novel);
    if (++w->round >= item->b->opt.whole_rounds || !tokens_left(item)) {
        return false;
    }
    w->node = whole_tree_select(&w->tree);
    pv_status status = ask(item, &err);
    if (status == PV_E_INVALID || status == PV_E_LIMIT) {
        pv_log(PV_LOG_WARN, "%s: no further whole proofs: %s", item->problem->name, err.msg);
        return false;
    }
    if (status != PV_OK) {
        bench_item_fail(item, &err);
    }
    return true;
}

/* The next answer, the next round, or the search when there is neither. */
static void go_on(bench_item *item)
{
    end_trial(&item->whole);
    if (!try_next(item) && !next_round(item)) {
        bench_item_next_text(item);
    }
}

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

static void drop_cut(bench_text *cut)
{
    source_release(&cut->src);
    theorem_list_release(&cut->opened);
}

/* Where a text of so many kept bytes goes: of many only the longest are searched. NULL: memory is short, or (*full) it is too short. */
static bench_text *place_for_cut(bench_whole *w, size_t keep, bool *full)
{
    *full = false;
    if (w->cut_count < SEARCHED_MAX) {
        return pv_grow((void **)&w->cuts, &w->cut_capacity, w->cut_count + 1, sizeof *w->cuts) == 0
                   ? &w->cuts[w->cut_count]
                   : NULL;
    }
    bench_text *least = &w->cuts[0];
    for (size_t i = 1; i < w->cut_count; i++) {
        least = w->cuts[i].keep < least->keep ? &w->cuts[i] : least;
    }
    *full = least->keep >= keep;
    return *full ? NULL : least;
}

/* Keeps the trial's text with its holes. */
static bool keep_cut(bench_item *item)
{
    bench_whole *w = &item->whole;
    const source *own = &item->own.src;
    bool full = false;
    bench_text *place = place_for_cut(w, w->trial.keep, &full);
    if (place == NULL) {
        return full;
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
    if (place == &w->cuts[w->cut_count]) {
        w->cut_count++;
    } else {
        drop_cut(place);
    }
    *place = cut;
    return true;
}

/* A beginning that leaves other goals than all those before it is a node of the tree and a text to search. */
static pv_status keep_node(bench_item *item, pv_error *err)
{
    bench_whole *w = &item->whole;
    size_t n = 0;
    bool added = false;
    const char *body = kept_body(&w->trial, &n);
    pv_status status =
        whole_tree_add(&w->tree, w->node, key_of(w->trial.theorem), body, n, &added, err);
    w->novel = w->novel || added;
    if (status == PV_OK && added && !keep_cut(item)) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return status;
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
        if (keep_node(item, &err) == PV_OK) {
            go_on(item);
        } else {
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
    drop_answers(w);
    whole_tree_release(&w->tree);
    for (size_t i = 0; i < w->cut_count; i++) {
        drop_cut(&w->cuts[i]);
    }
    pv_free(w->cuts);
    memset(w, 0, sizeof *w);
}
