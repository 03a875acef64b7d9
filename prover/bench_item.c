/* One attempt's way. Each stage ends when its question is answered or its search is over; the next turn goes on.
 *
 *   HEADER -> OPENING -> SEARCH -> (NEXT -> SEARCH)* -> JUDGING -> ENDING
 *                          ^_____________________________/  a refused proof */
#include "attempt.h"
#include "bench.h"

#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- the end ---- */

static void forget(bench_item *item)
{
    bench *b = item->b;
    for (size_t i = 0; item->proofs != NULL && item->target != NULL && i < item->target->hole_count;
         i++) {
        pv_free(item->proofs[i]);
    }
    pv_free(item->proofs);
    pv_free(item->statement);
    theorem_list_release(&item->opened);
    verdict_release(&item->verdict);
    source_release(&item->src);
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

static char *axioms_json(const verdict *v)
{
    json_t *axioms = json_array();
    for (size_t i = 0; i < v->axiom_count; i++) {
        json_array_append_new(axioms, json_string(v->axioms[i]));
    }
    char *text = json_dumps(axioms, JSON_COMPACT);
    json_decref(axioms);
    return text;
}

static void write_result(bench_item *item, const char *status, const char *why)
{
    bench *b = item->b;
    bool proved = strcmp(status, "proved") == 0, kept = false;
    pv_error err = {0};
    char *axioms = proved ? axioms_json(&item->verdict) : NULL;
    char *text = proved ? fill_declaration(&item->src, item->target, item->proofs) : NULL;
    store_result result = {.claim = item->claim,
                           .status = status,
                           .why = why,
                           .text = text,
                           .level = proved ? lean_level_name(item->verdict.level) : NULL,
                           .axioms = axioms,
                           .environment = b->environment == NULL ? "{}" : b->environment,
                           .text_hash = item->problem->text_hash,
                           .header_hash = item->problem->header_hash,
                           .seed = item->seed,
                           .stats = item->stats,
                           .seconds = (double)(pv_clock_ms() - item->started_ms) / 1000,
                           .judge_seconds = item->verdict.seconds};
    if (proved && text == NULL) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        bench_fail(b, &err);
    } else if (store_finish(b->store, b->me, &result, &kept, &err) != PV_OK) {
        bench_fail(b, &err);
    } else if (!kept) {
        pv_log(PV_LOG_WARN,
               "%s: another process has taken this attempt over: the result of this "
               "one is dropped",
               item->problem->name);
    } else {
        b->done_here++;
        pv_log(PV_LOG_INFO, "%s: %s in %.1f s", item->problem->name, status, result.seconds);
    }
    free(axioms);
    pv_free(text);
}

static void finish(bench_item *item, const char *status, const char *why)
{
    add_search(item);
    write_result(item, status, why);
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
static void fail_item(bench_item *item, const pv_error *why)
{
    if (why->status == PV_E_INVALID || why->status == PV_E_TIMEOUT || why->status == PV_E_LOST ||
        why->status == PV_E_LIMIT || why->status == PV_E_PROTOCOL) {
        finish(item, "error", why->msg);
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
    if (!quest_end(&item->search) || item->pending) {
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
    return quest_end(&item->search);
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
    if (source_of_text(&item->src, p->name, p->header, p->text, strlen(p->text), false, &err) !=
            PV_OK ||
        lean_env_new(item->b->s.pool, &item->env, item->src.header, on_header, item, &err) !=
            PV_OK) {
        fail_item(item, &err);
        return;
    }
    item->pending = true;
    lean_judge_prepare(item->b->s.judge, item->src.header);
}

static const lean_message *first_error(const lean_opened *opened)
{
    for (size_t i = 0; i < opened->message_count; i++) {
        if (opened->messages[i].severity == LEAN_ERROR) {
            return &opened->messages[i];
        }
    }
    return NULL;
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
    const lean_message *wrong = first_error(opened);
    if (wrong != NULL) {
        pv_fail(&item->failure, PV_E_INVALID, "the statement at %zu:%zu: Lean says: %s",
                wrong->start.line, wrong->start.column, wrong->text);
        return;
    }
    pv_status status = theorem_list_copy(&item->opened, opened, &item->failure);
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
        fail_item(item, &item->failure);
        return true;
    }
    if (item->b->environment == NULL && know_lean(item->b, &err) != PV_OK) {
        fail_run(item, &err);
        return true;
    }
    keep_env(item->b, item->env);
    item->stage = BENCH_OPENING;
    if (lean_open(item->env, item->src.body, &item->ticket, on_opened, item, &err) != PV_OK) {
        fail_item(item, &err);
    } else {
        item->pending = true;
    }
    return true;
}

/* ---- search ---- */

static const theorem *find_target(const bench_item *item)
{
    size_t place = 0;
    for (size_t i = 0; i < item->opened.count; i++) {
        const theorem *t = &item->opened.items[i];
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
    const char *header = item->src.header;
    size_t n = strlen(header);
    while (n > 0 && strchr(" \t\r\n", header[n - 1]) != NULL) {
        n--;
    }
    pv_buf_append(&text, header, n);
    pv_buf_puts(&text, n > 0 && item->b->choice.model != NULL ? "\n\n" : "");
    if (item->b->choice.model == NULL) {
        pv_buf_clear(&text);
    }
    pv_buf_append(&text, item->src.text + item->target->start,
                  item->target->end - item->target->start);
    return pv_buf_detach(&text);
}

static void start_search(bench_item *item)
{
    const options *opt = &item->b->opt;
    pv_error err = {0};
    search_options how = {.statement = item->statement,
                          .alpha = opt->alpha == 0 ? -1 : opt->alpha,
                          .width = (uint32_t)opt->width,
                          .window = (uint32_t)opt->window,
                          .depth_max = (uint32_t)opt->depth,
                          .seed = item->seed};
    budget_apply(&item->b->limit, &how);
    item->stage = BENCH_SEARCH;
    if (quest_start(&item->search, &item->b->s, item->b->choice.policy, &how,
                    &item->target->holes[item->hole], NULL, 0, &err) != PV_OK) {
        fail_item(item, &err);
    }
}

static bool turn_opening(bench_item *item)
{
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        fail_item(item, &item->failure);
        return true;
    }
    item->target = find_target(item);
    if (item->target == NULL) {
        finish(item, "skipped", "Lean finds no declaration with a `sorry` here");
        return true;
    }
    char *why = attempt_why_skip(item->target);
    if (why != NULL) {
        finish(item, "skipped", why);
        pv_free(why);
        return true;
    }
    item->statement = make_statement(item);
    item->proofs = pv_calloc(item->target->hole_count + 1, sizeof *item->proofs);
    if (item->statement == NULL || item->proofs == NULL) {
        fail_memory(item);
    } else {
        start_search(item);
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

static pv_status ask_about(bench_item *item, pv_error *err)
{
    const theorem *t = item->target;
    fill_list none = {0};
    size_t count = 0;
    source_fill *fills = fill_list_with(&none, t, item->proofs, &count);
    pv_buf candidate = {0};
    const char *names[] = {t->name};
    pv_status status = fills == NULL
                           ? pv_fail(err, PV_E_NOMEM, "out of memory")
                           : source_splice(&item->src, false, fills, count, &candidate, err);
    if (status == PV_OK) {
        lean_judge_request request = {.header = item->src.header,
                                      .original = item->src.body,
                                      .candidate = pv_buf_text(&candidate),
                                      .names = names,
                                      .name_count = 1,
                                      .proofs = (const char *const *)item->proofs,
                                      .proof_count = t->hole_count};
        status = lean_judge_ask(item->b->s.judge, &request, on_judged, item, err);
    }
    pv_buf_release(&candidate);
    pv_free(fills);
    return status;
}

static void start_judging(bench_item *item)
{
    pv_error err = {0};
    verdict_release(&item->verdict);
    item->stage = BENCH_JUDGING;
    if (ask_about(item, &err) != PV_OK) {
        fail_item(item, &err);
    } else {
        item->pending = true;
    }
}

static void settle_search(bench_item *item, search_state state)
{
    if (state == SEARCH_PROVED) {
        if (take_proof(item)) {
            if (item->hole + 1 < item->target->hole_count) {
                add_search(item);
                item->stage = BENCH_NEXT;
            } else {
                start_judging(item);
            }
        }
        return;
    }
    if (item->search.verifier.failure.status != PV_OK) {
        fail_run(item, &item->search.verifier.failure);
    } else if (state == SEARCH_BROKEN) {
        fail_item(item, search_failure(item->search.run));
    } else if (state != SEARCH_CANCELLED) {
        char *why = attempt_why_not(item->search.run);
        bool refused = item->verdict.reason != NULL;
        finish(item, refused ? "refused" : "not proved",
               refused       ? item->verdict.message
               : why == NULL ? ""
                             : why);
        pv_free(why);
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

/* A judge that can only compile (a Lean server other than ours) accepts without an audit: that is no proof yet. */
static const char *why_refused(const verdict *v)
{
    return v->message != NULL ? v->message : "it compiles, but its axioms could not be audited";
}

static bool turn_judging(bench_item *item)
{
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        fail_run(item, &item->failure);
    } else if (item->verdict.level >= LEAN_LEVEL_AUDITED) {
        finish(item, "proved", NULL);
    } else if (++item->refusals == ATTEMPT_REFUSALS_MAX) {
        finish(item, "refused", why_refused(&item->verdict));
    } else {
        search_reject_proof(item->search.run);
        item->stage = BENCH_SEARCH;
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
    case BENCH_NEXT:
        return turn_next(item);
    case BENCH_JUDGING:
        return turn_judging(item);
    case BENCH_ENDING:
        return turn_ending(item);
    case BENCH_IDLE:
        break;
    }
    return false;
}
