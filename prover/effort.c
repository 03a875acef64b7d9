/* WHOLE -> (FOUND -> WHOLE)* -> SEARCH -> (NEXT -> SEARCH)* -> FOUND -> PROVED
 *                                 ^ ^___________________________/  a refused proof
 *                                 TEXT: from one beginning of a proof to the next, the user's own text last */
#include "effort.h"

#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

enum stage {
    WHOLE,
    SEARCH, /* one hole of a text                                 */
    NEXT,   /* a hole has its proof; the search of it ends        */
    TEXT,   /* a text is given up for the next; its search ends   */
};

const char *effort_way_name(effort_way way)
{
    static const char *const names[] = {"step", "cut", "whole", "repair"};
    return names[way];
}

/* ---- ends ---- */

static const session *session_of(const effort *e)
{
    return e->plan.whole.s;
}

static void count_whole(effort *e)
{
    e->stats.tokens += e->whole.tokens - e->whole_tokens;
    e->whole_tokens = e->whole.tokens;
}

/* The search has said what it has to say. */
static void leave_search(effort *e)
{
    if (!e->running || e->counted) {
        return;
    }
    search_stats stats;
    search_stats_of(e->search.run, &stats);
    quest_add_stats(&e->stats, &stats);
    e->counted = true;
    if (e->plan.search_ends != NULL) {
        e->plan.search_ends(e->plan.user, e->search.run);
    }
}

static void enter(effort *e, effort_state state)
{
    count_whole(e);
    leave_search(e);
    e->state = state;
}

static void fail(effort *e, const pv_error *why, bool is_machine)
{
    e->failure = *why;
    e->is_machine = is_machine;
    enter(e, EFFORT_FAILED);
}

static void fail_memory(effort *e)
{
    pv_error err = {0};
    pv_fail(&err, PV_E_NOMEM, "out of memory");
    fail(e, &err, true);
}

/* Over without a proof. What the judge said last counts more than why the search ended. */
static void give_up(effort *e, const char *why)
{
    e->refused = e->last_refusal != NULL;
    pv_free(e->why);
    e->why = pv_strdup(e->refused ? e->last_refusal : why);
    enter(e, EFFORT_OVER);
    if (e->why == NULL) {
        fail_memory(e);
    }
}

/* ---- texts ---- */

static const theorem *target_of(const effort *e)
{
    return e->now == NULL ? e->plan.whole.theorem : e->now->target;
}

/* The text that keeps most of a whole proof; NULL: the user's own is next, or (*none) there is no more. */
static whole_text *best_text(const effort *e, bool *none)
{
    whole_text *best = NULL;
    for (size_t i = 0; i < e->whole.text_count; i++) {
        whole_text *text = &e->whole.texts[i];
        if (!text->tried && (best == NULL || text->keep > best->keep)) {
            best = text;
        }
    }
    *none = best == NULL && e->own_tried;
    return best;
}

static size_t texts_left(const effort *e)
{
    size_t texts = !e->own_tried;
    for (size_t i = 0; i < e->whole.text_count; i++) {
        texts += !e->whole.texts[i].tried;
    }
    return texts;
}

/* A part of what is left of the budget: the texts that are still to come want theirs, too. False: nothing is left. */
static bool share_budget(const effort *e, search_options *how)
{
    const budget *limit = &e->plan.limit;
    const search_stats *spent = &e->stats;
    double part = 1 / (double)(texts_left(e) + 1);
    bool first = e->whole.read == 0 && e->hole == 0;
    double elapsed = first ? 0 : (double)(pv_clock_ms() - e->started_ms) / 1000;
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

static void drop_parts(effort *e)
{
    for (size_t i = 0; i < e->part_count; i++) {
        pv_free(e->parts[i]);
    }
    pv_free(e->parts);
    e->parts = NULL;
    e->part_count = 0;
}

/* ---- searching ---- */

static void start_search(effort *e)
{
    const effort_plan *p = &e->plan;
    search_options how = p->how;
    pv_error err = {0};
    e->stage = SEARCH;
    e->state = EFFORT_WORKING;
    how.statement = p->step_statement != NULL ? p->step_statement : p->whole.statement;
    how.trace = NULL;
    if (!share_budget(e, &how)) {
        give_up(e, "the budget is spent");
        return;
    }
    pv_status status = PV_OK;
    if (p->search_begins != NULL) {
        status = p->search_begins(p->user, &how.trace, &err);
    }
    if (status == PV_OK) {
        status = quest_start(&e->search, p->whole.s, p->policy, &how, &target_of(e)->holes[e->hole],
                             NULL, 0, &err);
        e->search.verifier.chunk = p->chunk;
    }
    if (status != PV_OK) {
        fail(e, &err, true);
        return;
    }
    e->running = true;
    e->counted = false;
}

/* Searches the best text that has not had its turn. */
static void next_text(effort *e)
{
    bool none = false;
    drop_parts(e);
    e->refusals = 0;
    e->hole = 0;
    e->now = best_text(e, &none);
    if (e->now == NULL) {
        e->own_tried = true;
    } else {
        e->now->tried = true;
    }
    e->part_count = target_of(e)->hole_count;
    e->parts = pv_calloc(e->part_count + 1, sizeof *e->parts);
    if (e->parts == NULL) {
        e->part_count = 0;
        fail_memory(e);
        return;
    }
    start_search(e);
}

/* This text is given up. */
static void leave_text(effort *e, const char *why)
{
    bool none = false;
    best_text(e, &none);
    if (none) {
        give_up(e, why);
    } else {
        leave_search(e);
        e->stage = TEXT;
        e->state = EFFORT_WORKING;
    }
}

static bool take_part(effort *e)
{
    pv_buf text = {0};
    pv_error err = {0};
    pv_status status = search_proof(e->search.run, &text, &err);
    pv_free(e->parts[e->hole]);
    e->parts[e->hole] = status == PV_OK ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    if (status != PV_OK || e->parts[e->hole] == NULL) {
        fail(e, &err, true);
        return false;
    }
    return true;
}

/* ---- candidates ---- */

static void drop_proofs(effort *e)
{
    for (size_t i = 0; i < e->proof_count; i++) {
        pv_free(e->proofs[i]);
        e->proofs[i] = NULL;
    }
}

/* What stands in the text for the user's one hole: the kept beginning, and the search's proofs in it. The caller frees. */
static char *inserted_in(const effort *e)
{
    const hole *own = &e->plan.whole.theorem->holes[0];
    size_t behind = e->plan.whole.src->length - own->end, count = 0;
    fill_list none = {0};
    pv_buf text = {0};
    char *inserted = NULL;
    source_fill *fills = fill_list_with(&none, e->now->target, e->parts, false, &count);
    if (fills != NULL && source_splice(&e->now->src, false, fills, count, &text, NULL) == PV_OK) {
        inserted = pv_strndup(text.data + own->start, text.len - behind - own->start);
    }
    pv_buf_release(&text);
    pv_free(fills);
    return inserted;
}

/* The user's text with e->proofs. */
static void offer(effort *e, effort_way way)
{
    const fill_list none = {0};
    size_t count = 0;
    const whole_plan *p = &e->plan.whole;
    source_fill *fills = fill_list_with(e->plan.done == NULL ? &none : e->plan.done, p->theorem,
                                        e->proofs, e->as_is, &count);
    pv_error err = {0};
    pv_buf_clear(&e->candidate);
    pv_status status = fills == NULL
                           ? pv_fail(&err, PV_E_NOMEM, "out of memory")
                           : source_splice(p->src, false, fills, count, &e->candidate, &err);
    pv_free(fills);
    e->way = way;
    e->state = EFFORT_FOUND;
    e->found_ms = pv_clock_ms();
    if (status != PV_OK) {
        fail(e, &err, true);
    }
}

static void offer_searched(effort *e)
{
    bool ok = true;
    drop_proofs(e);
    e->as_is = e->now != NULL;
    if (e->now != NULL) {
        e->proofs[0] = inserted_in(e);
        ok = e->proofs[0] != NULL;
    }
    for (size_t i = 0; e->now == NULL && i < e->proof_count; i++) {
        e->proofs[i] = pv_strdup(e->parts[i]);
        ok = ok && e->proofs[i] != NULL;
    }
    if (ok) {
        offer(e, e->now == NULL ? EFFORT_STEP : EFFORT_CUT);
    } else {
        fail_memory(e);
    }
}

static void offer_whole(effort *e)
{
    drop_proofs(e);
    e->as_is = true;
    e->proofs[0] = pv_strdup(e->whole.found);
    if (e->proofs[0] != NULL) {
        offer(e, e->whole.repaired ? EFFORT_REPAIR : EFFORT_WHOLE);
    } else {
        fail_memory(e);
    }
}

/* ---- turns ---- */

static void whole_is_over(effort *e)
{
    count_whole(e);
    if (e->plan.steps) {
        e->started_ms = e->whole.read > 0 ? e->started_ms : pv_clock_ms();
        next_text(e);
        return;
    }
    pv_buf why = {0};
    pv_buf_printf(&why, "none of %llu whole proofs is one", (unsigned long long)e->whole.read);
    give_up(e, pv_buf_ok(&why) ? pv_buf_text(&why) : "no whole proof is one");
    pv_buf_release(&why);
}

static bool turn_whole(effort *e)
{
    switch (e->whole.state) {
    case WHOLE_WORKING:
        return whole_run_turn(&e->whole);
    case WHOLE_FOUND:
        offer_whole(e);
        break;
    case WHOLE_OVER:
        whole_is_over(e);
        break;
    case WHOLE_FAILED:
        fail(e, &e->whole.failure, false);
        break;
    }
    return true;
}

static void settle_search(effort *e, search_state state)
{
    const pv_error *lean = &e->search.verifier.failure;
    if (state == SEARCH_PROVED) {
        if (!take_part(e)) {
            return;
        }
        if (e->hole + 1 < e->part_count) {
            leave_search(e);
            e->stage = NEXT;
        } else {
            offer_searched(e);
        }
    } else if (lean->status != PV_OK) {
        fail(e, lean, true);
    } else if (state == SEARCH_BROKEN) {
        fail(e, search_failure(e->search.run), false);
    } else if (state == SEARCH_CANCELLED) {
        enter(e, EFFORT_STOPPED);
    } else {
        char *why = quest_why_not(e->search.run);
        leave_text(e, why == NULL ? "the search found none" : why);
        pv_free(why);
    }
}

static bool turn_search(effort *e)
{
    if (!quest_ready(&e->search)) {
        return false;
    }
    search_state state = quest_pump(&e->search);
    if (state != SEARCH_RUNNING) {
        settle_search(e, state);
    }
    return true;
}

/* Frees the search that was left. */
static bool end_search(effort *e)
{
    if (!quest_end(&e->search)) {
        return false;
    }
    if (e->running && e->plan.search_freed != NULL) {
        e->plan.search_freed(e->plan.user);
    }
    e->running = false;
    return true;
}

bool effort_turn(effort *e)
{
    if (e->state != EFFORT_WORKING) {
        return false;
    }
    switch ((enum stage)e->stage) {
    case WHOLE:
        if (session_of(e)->interrupted) {
            enter(e, EFFORT_STOPPED);
            return true;
        }
        return turn_whole(e);
    case SEARCH:
        return turn_search(e);
    case NEXT:
    case TEXT:
        break;
    }
    if (!end_search(e)) {
        return false;
    }
    if (e->stage == TEXT) {
        next_text(e);
    } else {
        e->hole++;
        start_search(e);
    }
    return true;
}

/* ---- the judge ---- */

void effort_judged(effort *e, bool accepted, const char *why)
{
    if (e->state != EFFORT_FOUND) {
        return;
    }
    if (accepted) {
        enter(e, EFFORT_PROVED);
        return;
    }
    uint64_t waited = pv_clock_ms() - e->found_ms;
    e->started_ms += waited;
    e->whole.started_ms += waited;
    if (e->stage == WHOLE) { /* what counts is the judge's word on what comes after it */
        e->state = EFFORT_WORKING;
        whole_run_refused(&e->whole, why);
        return;
    }
    pv_free(e->last_refusal);
    e->last_refusal = pv_strdup(why == NULL ? "" : why);
    if (e->last_refusal == NULL) {
        fail_memory(e);
    } else if (++e->refusals < EFFORT_REFUSALS_MAX) {
        search_reject_proof(e->search.run);
        e->state = EFFORT_WORKING;
    } else {
        leave_text(e, why);
    }
}

/* ---- life ---- */

/* Asks for whole proofs. False: there are none to expect. */
static bool start_whole(effort *e, pv_buf *why)
{
    pv_error err = {0};
    if (e->plan.whole.writer.ops == NULL) {
        return false;
    }
    if (e->plan.whole.theorem->hole_count != 1) {
        pv_buf_printf(why, "there are whole proofs only where there is one `sorry`");
        return false;
    }
    e->plan.whole.tokens_max = e->plan.limit.tokens;
    e->plan.whole.wall_seconds_max = e->plan.limit.wall_seconds;
    pv_status status = whole_run_start(&e->whole, &e->plan.whole, &err);
    if (status == PV_E_INVALID || status == PV_E_LIMIT) { /* a prompt that the model cannot hold */
        pv_log(PV_LOG_WARN, "%s: no whole proofs: %s", e->plan.whole.name, err.msg);
        pv_buf_printf(why, "no whole proofs: %s", err.msg);
        return false;
    }
    if (status != PV_OK) {
        fail(e, &err, false);
    }
    return true;
}

void effort_start(effort *e, const effort_plan *plan)
{
    pv_buf why = {0};
    memset(e, 0, sizeof *e);
    e->plan = *plan;
    e->started_ms = pv_clock_ms();
    e->proofs = pv_calloc(plan->whole.theorem->hole_count + 1, sizeof *e->proofs);
    if (e->proofs == NULL) {
        fail_memory(e);
        return;
    }
    e->proof_count = plan->whole.theorem->hole_count;
    if (!start_whole(e, &why)) {
        if (plan->steps) {
            next_text(e);
        } else {
            give_up(e, pv_buf_text(&why));
        }
    }
    pv_buf_release(&why);
}

void effort_search_title(const effort *e, pv_buf *out)
{
    size_t holes = target_of(e)->hole_count;
    if (e->now != NULL) {
        pv_buf_printf(out, "after the first %zu bytes of a whole proof", e->now->keep);
    } else {
        pv_buf_puts(out, "the statement");
    }
    if (holes > 1) {
        pv_buf_printf(out, ", hole %zu of %zu", e->hole + 1, holes);
    }
}

const search_run *effort_search(const effort *e)
{
    return e->running ? e->search.run : NULL;
}

bool effort_end(effort *e)
{
    leave_search(e);
    bool whole = e->plan.whole.s == NULL || whole_run_end(&e->whole);
    return (e->plan.whole.s == NULL || end_search(e)) && whole;
}

void effort_release(effort *e)
{
    drop_parts(e);
    if (e->proofs != NULL) {
        drop_proofs(e);
    }
    pv_free(e->proofs);
    pv_free(e->why);
    pv_free(e->last_refusal);
    pv_buf_release(&e->candidate);
    whole_run_release(&e->whole);
    memset(e, 0, sizeof *e);
}
