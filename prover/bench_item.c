/* One attempt's way. Each stage ends when its question is answered or its search is over; the next turn goes on.
 *
 *   HEADER -> OPENING -> SEARCH -> (NEXT -> SEARCH)* -> JUDGING -> ENDING
 *                          ^_____________________________/  a refused proof
 * With whole proofs WRITING and TRYING (bench_whole.c) come before SEARCH, and SEARCH -> TEXT -> SEARCH goes from one beginning of a
 * proof to the next, the user's own text last. */
#include "attempt.h"
#include "bench.h"

#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

/* ---- the end ---- */

static void drop_proofs(bench_item *item)
{
    for (size_t i = 0; i < item->proof_count; i++) {
        pv_free(item->proofs[i]);
    }
    pv_free(item->proofs);
    item->proofs = NULL;
    item->proof_count = 0;
}

static void forget(bench_item *item)
{
    bench *b = item->b;
    drop_proofs(item);
    bench_whole_release(item);
    pv_free(item->statement);
    theorem_list_release(&item->own.opened);
    verdict_release(&item->verdict);
    source_release(&item->own.src);
    if (item->env != NULL) {
        lean_env_unref(item->env);
    }
    memset(item, 0, sizeof *item);
    item->b = b;
}

void bench_item_release(bench_item *item)
{
    forget(item);
}

static void add_search(bench_item *item)
{
    if (item->search.run != NULL) {
        search_stats stats;
        search_stats_of(item->search.run, &stats);
        attempt_add_stats(&item->stats, &stats);
    }
}

void bench_item_finish(bench_item *item, const char *status, const char *why)
{
    add_search(item);
    bench_result_write(item, status, why);
    item->stage = BENCH_ENDING;
}

/* The attempt has no result: it goes back, and the run ends. */
static void fail_run(bench_item *item, const pv_error *why)
{
    pv_error err = *why;
    if (err.status == PV_OK) {
        pv_fail(&err, PV_E_MISUSE, "an answer of Lean was lost");
    }
    bench_fail(item->b, &err);
    item->stage = BENCH_ENDING;
}

/* What is wrong with the problem is its result; what is wrong with the machine ends the run. */
void bench_item_fail(bench_item *item, const pv_error *why)
{
    if (why->status == PV_E_INVALID || why->status == PV_E_TIMEOUT || why->status == PV_E_LOST ||
        why->status == PV_E_LIMIT || why->status == PV_E_PROTOCOL) {
        bench_item_finish(item, "error", why->msg);
    } else {
        fail_run(item, why);
    }
}

static void fail_memory(bench_item *item)
{
    pv_error err = {0};
    pv_fail(&err, PV_E_NOMEM, "out of memory");
    fail_run(item, &err);
}

static bool turn_ending(bench_item *item)
{
    if (!quest_end(&item->search) || !bench_whole_end(item) || item->pending) {
        return false;
    }
    forget(item);
    return true;
}

bool bench_item_end(bench_item *item)
{
    if (item->stage == BENCH_OPENING && item->pending) {
        lean_cancel(item->b->s.pool, item->ticket);
    }
    if (item->stage != BENCH_IDLE) {
        item->stage = BENCH_ENDING;
    }
    bool whole = bench_whole_end(item);
    return quest_end(&item->search) && whole;
}

/* ---- header and statement ---- */

static void on_header(void *user, lean_ticket t, const lean_message *messages, size_t n,
                      const pv_error *failure)
{
    (void)t;
    (void)messages;
    (void)n;
    bench_item *item = user;
    item->pending = false;
    if (failure != NULL) {
        item->failure = *failure;
    }
}

static uint64_t seed_of(const bench_item *item)
{
    const problem *p = item->problem;
    uint64_t own = pv_hash_bytes(p->text_hash, sizeof p->text_hash, p->target);
    return pv_mix64(item->b->run.seed ^ pv_mix64(own + item->claim.pass)) % 9000000000000000u;
}

void bench_item_start(bench_item *item, store_claim claim)
{
    const problem *p = &item->b->problems.items[claim.problem];
    item->claim = claim;
    item->problem = p;
    item->seed = seed_of(item);
    item->started_ms = pv_clock_ms();
    item->stage = BENCH_HEADER;
    pv_error err = {0};
    if (source_of_text(&item->own.src, p->name, p->header, p->text, strlen(p->text), false, &err) !=
            PV_OK ||
        lean_env_new(item->b->s.pool, &item->env, item->own.src.header, on_header, item, &err) !=
            PV_OK) {
        bench_item_fail(item, &err);
        return;
    }
    item->pending = true;
    lean_judge_prepare(item->b->s.judge, item->own.src.header);
}

static void on_opened(void *user, lean_ticket t, const lean_opened *opened, const pv_error *failure)
{
    (void)t;
    bench_item *item = user;
    item->pending = false;
    if (failure != NULL) {
        item->failure = *failure;
        return;
    }
    const lean_message *wrong = theorem_first_error(opened);
    if (wrong != NULL) {
        pv_fail(&item->failure, PV_E_INVALID, "the statement at %zu:%zu: Lean says: %s",
                wrong->start.line, wrong->start.column, wrong->text);
        return;
    }
    pv_status status = theorem_list_copy(&item->own.opened, opened, &item->failure);
    (void)status; /* kept in item->failure */
}

/* Lean is known now: results say which, and a run has one. */
static pv_status know_lean(bench *b, pv_error *err)
{
    const char *lean = lean_pool_lean_version(b->s.pool);
    pv_status status = store_run_lean(b->store, b->run.id, lean == NULL ? "?" : lean, err);
    return status == PV_OK ? bench_environment(b, err) : status;
}

static void keep_env(bench *b, lean_env *env)
{
    lean_env *before = b->kept;
    b->kept = lean_env_ref(env);
    if (before != NULL) {
        lean_env_unref(before);
    }
}

static bool turn_header(bench_item *item)
{
    pv_error err = {0};
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        bench_item_fail(item, &item->failure);
        return true;
    }
    if (item->b->environment == NULL && know_lean(item->b, &err) != PV_OK) {
        fail_run(item, &err);
        return true;
    }
    keep_env(item->b, item->env);
    item->stage = BENCH_OPENING;
    if (lean_open(item->env, item->own.src.body, &item->ticket, on_opened, item, &err) != PV_OK) {
        bench_item_fail(item, &err);
    } else {
        item->pending = true;
    }
    return true;
}

/* ---- search ---- */

static const theorem *find_target(const bench_item *item)
{
    size_t place = 0;
    for (size_t i = 0; i < item->own.opened.count; i++) {
        const theorem *t = &item->own.opened.items[i];
        if (t->hole_count > 0 && place++ == item->problem->target) {
            return t;
        }
    }
    return NULL;
}

/* The header and the declaration: what a prompt for a whole proof begins with. */
static char *make_statement(const bench_item *item)
{
    pv_buf text = {0};
    const char *header = item->own.src.header;
    size_t n = strlen(header);
    while (n > 0 && strchr(" \t\r\n", header[n - 1]) != NULL) {
        n--;
    }
    pv_buf_append(&text, header, n);
    pv_buf_puts(&text, n > 0 ? "\n\n" : "");
    pv_buf_append(&text, item->own.src.text + item->own.target->start,
                  item->own.target->end - item->own.target->start);
    return pv_buf_detach(&text);
}

/* A part of what is left of the budget: the texts that are still to come want theirs, too. False: nothing is left. */
static bool share_budget(const bench_item *item, search_options *how)
{
    const budget *limit = &item->b->limit;
    const search_stats *spent = &item->stats;
    size_t texts = !item->own.tried; /* and this one, which counts as tried */
    for (size_t i = 0; i < item->whole.cut_count; i++) {
        texts += !item->whole.cuts[i].tried;
    }
    double part = 1 / (double)(texts + 1);
    double elapsed = item->whole.read > 0 || item->hole > 0
                         ? (double)(pv_clock_ms() - item->searching_ms) / 1000
                         : 0;
    budget left = {(limit->wall_seconds - elapsed) * part,
                   (limit->lean_seconds - spent->lean_seconds) * part, 0, 0};
    if (limit->nodes > spent->nodes) {
        left.nodes = (uint64_t)((double)(limit->nodes - spent->nodes) * part + 0.999);
    }
    if (limit->tokens > spent->tokens) {
        left.tokens = (uint64_t)((double)(limit->tokens - spent->tokens) * part + 0.999);
    }
    bool any = (limit->wall_seconds <= 0 || left.wall_seconds > 0) &&
               (limit->lean_seconds <= 0 || left.lean_seconds > 0) &&
               (limit->nodes == 0 || left.nodes > 0) && (limit->tokens == 0 || left.tokens > 0);
    left.wall_seconds = limit->wall_seconds > 0 ? left.wall_seconds : 0;
    left.lean_seconds = limit->lean_seconds > 0 ? left.lean_seconds : 0;
    budget_apply(&left, how);
    return any;
}

static void start_search(bench_item *item)
{
    const options *opt = &item->b->opt;
    pv_error err = {0};
    search_options how = {.statement = item->statement,
                          .alpha = opt->alpha == 0 ? -1 : opt->alpha,
                          .width =
                              policy_choice_width(&item->b->choice, opt->width_given, opt->width),
                          .window = (uint32_t)opt->window,
                          .depth_max = (uint32_t)opt->depth,
                          .seed = item->seed};
    item->stage = BENCH_SEARCH;
    if (!share_budget(item, &how)) {
        bench_item_finish(item, "not proved", "the budget is spent");
    } else if (quest_start(&item->search, &item->b->s, item->b->choice.policy, &how,
                           &item->now->target->holes[item->hole], NULL, 0, &err) != PV_OK) {
        bench_item_fail(item, &err);
    }
}

/* The text that keeps most of a whole proof; the user's own after all others. */
static bench_text *best_text(bench_item *item)
{
    bench_text *best = NULL;
    for (size_t i = 0; i < item->whole.cut_count; i++) {
        bench_text *cut = &item->whole.cuts[i];
        if (!cut->tried && (best == NULL || cut->keep > best->keep)) {
            best = cut;
        }
    }
    return best != NULL ? best : item->own.tried ? NULL : &item->own;
}

void bench_item_next_text(bench_item *item)
{
    drop_proofs(item);
    item->now = best_text(item);
    item->now->tried = true;
    item->hole = 0;
    item->proofs = pv_calloc(item->now->target->hole_count + 1, sizeof *item->proofs);
    if (item->proofs == NULL) {
        fail_memory(item);
        return;
    }
    item->proof_count = item->now->target->hole_count;
    start_search(item);
}

static bool turn_opening(bench_item *item)
{
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        bench_item_fail(item, &item->failure);
        return true;
    }
    item->own.target = find_target(item);
    if (item->own.target == NULL) {
        bench_item_finish(item, "skipped", "Lean finds no declaration with a `sorry` here");
        return true;
    }
    char *why = attempt_why_skip(item->own.target);
    if (why != NULL) {
        bench_item_finish(item, "skipped", why);
        pv_free(why);
        return true;
    }
    item->searching_ms = pv_clock_ms();
    item->statement = make_statement(item);
    if (item->statement == NULL) {
        fail_memory(item);
    } else if (!bench_whole_start(item)) {
        bench_item_next_text(item);
    }
    return true;
}

static bool take_proof(bench_item *item)
{
    pv_buf text = {0};
    pv_error err = {0};
    pv_status status = search_proof(item->search.run, &text, &err);
    pv_free(item->proofs[item->hole]);
    item->proofs[item->hole] = status == PV_OK ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    if (status != PV_OK || item->proofs[item->hole] == NULL) {
        fail_memory(item);
        return false;
    }
    return true;
}

/* ---- judging ---- */

static void on_judged(void *user, const lean_judgement *judgement, const pv_error *failure)
{
    bench_item *item = user;
    item->pending = false;
    if (failure != NULL) {
        item->failure = *failure;
    } else {
        verdict_copy(&item->verdict, judgement);
    }
}

void bench_item_judge(bench_item *item, const char *candidate, const char *const *inserted,
                      size_t count)
{
    pv_error err = {0};
    const char *names[] = {item->own.target->name};
    lean_judge_request request = {.header = item->own.src.header,
                                  .original = item->own.src.body,
                                  .candidate = candidate,
                                  .names = names,
                                  .name_count = 1,
                                  .proofs = inserted,
                                  .proof_count = count};
    verdict_release(&item->verdict);
    item->stage = BENCH_JUDGING;
    if (lean_judge_ask(item->b->s.judge, &request, on_judged, item, &err) != PV_OK) {
        bench_item_fail(item, &err);
    } else {
        item->pending = true;
    }
}

/* What stands in the candidate for the user's one hole: the kept beginning and the search's proofs. */
static char *inserted_in(const bench_item *item, const pv_buf *candidate)
{
    const hole *own = &item->own.target->holes[0];
    size_t behind = item->own.src.length - own->end;
    return pv_strndup(candidate->data + own->start, candidate->len - behind - own->start);
}

static void start_judging(bench_item *item)
{
    fill_list none = {0};
    pv_error err = {0};
    size_t count = 0;
    const bench_text *now = item->now;
    source_fill *fills = fill_list_with(&none, now->target, item->proofs, &count);
    pv_buf candidate = {0};
    char *inserted = NULL;
    if (fills != NULL && source_splice(&now->src, false, fills, count, &candidate, &err) == PV_OK) {
        inserted = now == &item->own ? NULL : inserted_in(item, &candidate);
    }
    if (fills == NULL || err.status != PV_OK || (now != &item->own && inserted == NULL)) {
        fail_memory(item);
    } else if (inserted != NULL) {
        bench_item_judge(item, pv_buf_text(&candidate), (const char *const *)&inserted, 1);
    } else {
        bench_item_judge(item, pv_buf_text(&candidate), (const char *const *)item->proofs,
                         item->proof_count);
    }
    pv_free(inserted);
    pv_buf_release(&candidate);
    pv_free(fills);
}

/* A judge that can only compile (a Lean server other than ours) accepts without an audit: that is no proof yet. */
static const char *why_refused(const verdict *v)
{
    return v->message != NULL ? v->message : "it compiles, but its axioms could not be audited";
}

/* The search of this text is over without a proof. */
static void give_up_text(bench_item *item)
{
    char *why = attempt_why_not(item->search.run);
    bool refused = item->verdict.reason != NULL;
    if (best_text(item) != NULL) {
        add_search(item);
        item->stage = BENCH_TEXT;
    } else {
        bench_item_finish(item, refused ? "refused" : "not proved",
                          refused       ? why_refused(&item->verdict)
                          : why == NULL ? ""
                                        : why);
    }
    pv_free(why);
}

static void settle_search(bench_item *item, search_state state)
{
    if (state == SEARCH_PROVED) {
        if (!take_proof(item)) {
            return;
        }
        if (item->hole + 1 < item->now->target->hole_count) {
            add_search(item);
            item->stage = BENCH_NEXT;
        } else {
            start_judging(item);
        }
    } else if (item->search.verifier.failure.status != PV_OK) {
        fail_run(item, &item->search.verifier.failure);
    } else if (state == SEARCH_BROKEN) {
        bench_item_fail(item, search_failure(item->search.run));
    } else if (state != SEARCH_CANCELLED) {
        give_up_text(item);
    }
}

static bool turn_search(bench_item *item)
{
    if (!quest_ready(&item->search)) {
        return false;
    }
    search_state state = quest_pump(&item->search);
    if (state != SEARCH_RUNNING) {
        settle_search(item, state);
    }
    return state != SEARCH_CANCELLED;
}

static bool turn_next(bench_item *item)
{
    if (!quest_end(&item->search)) {
        return false;
    }
    item->hole++;
    start_search(item);
    return true;
}

static bool turn_text(bench_item *item)
{
    if (!quest_end(&item->search)) {
        return false;
    }
    bench_item_next_text(item);
    return true;
}

/* The judge refused what the search of `now` found. */
static void go_on(bench_item *item)
{
    if (++item->refusals < ATTEMPT_REFUSALS_MAX) {
        search_reject_proof(item->search.run);
        item->stage = BENCH_SEARCH;
    } else if (best_text(item) != NULL) {
        item->refusals = 0;
        add_search(item);
        item->stage = BENCH_TEXT;
    } else {
        bench_item_finish(item, "refused", why_refused(&item->verdict));
    }
}

static bool turn_judging(bench_item *item)
{
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        fail_run(item, &item->failure);
    } else if (session_accepts(&item->b->s, item->verdict.level)) {
        bench_item_finish(item, "proved", NULL);
    } else if (item->whole.compiled) {
        bench_whole_judged(item);
    } else {
        go_on(item);
    }
    return true;
}

bool bench_item_turn(bench_item *item)
{
    switch (item->stage) {
    case BENCH_HEADER:
        return turn_header(item);
    case BENCH_OPENING:
        return turn_opening(item);
    case BENCH_SEARCH:
        return turn_search(item);
    case BENCH_WRITING:
    case BENCH_TRYING:
        return bench_whole_turn(item);
    case BENCH_NEXT:
        return turn_next(item);
    case BENCH_TEXT:
        return turn_text(item);
    case BENCH_JUDGING:
        return turn_judging(item);
    case BENCH_ENDING:
        return turn_ending(item);
    case BENCH_IDLE:
        break;
    }
    return false;
}
