#include "attempt.h"

#include "lean_verifier.h"
#include "progress.h"
#include "pv_clock.h"
#include "pv_mem.h"
#include "search_trace.h"
#include "tree_view.h"

#include <stdio.h>
#include <string.h>

static char *sentence(const char *fmt, ...) PV_PRINTF(1, 2);

static char *sentence(const char *fmt, ...)
{
    char text[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return pv_strdup(text);
}

void attempt_release(attempt *a)
{
    for (size_t i = 0; i < a->proof_count; i++) {
        pv_free(a->proofs[i]);
    }
    pv_free(a->proofs);
    pv_free(a->why);
    pv_free(a->text);
    pv_free(a->tree);
    verdict_release(&a->verdict);
    memset(a, 0, sizeof *a);
}

/* ---- what cannot be tried ---- */

char *attempt_why_skip(const theorem *t)
{
    if (t->hole_count == 0) {
        return sentence("has no `sorry`: nothing to prove (`prover verify` checks a proof)");
    }
    if (!t->prop) {
        return sentence("is not a proposition: a hole in data is a choice, not a proof");
    }
    if (strcmp(t->kind, "example") == 0) {
        return sentence("is an `example`: it has no name to audit; make it a `theorem`");
    }
    for (size_t i = 0; i < t->hole_count; i++) {
        if (!t->holes[i].prop) {
            return sentence("has a hole at line %zu that is data, not a proposition",
                            t->holes[i].line);
        }
    }
    return NULL;
}

/* ---- one search ---- */

typedef struct hunt {
    session *s;
    const source *src;
    const theorem *t;
    size_t hole;
    lean_verifier verifier;
    search_trace *trace;
    search_run *run;
    uint64_t started_ms;
} hunt;

/* The declaration's text, as the policy sees it. */
static char *statement_of(const source *src, const theorem *t)
{
    return pv_strndup(src->text + t->start, t->end - t->start);
}

/* The first search of a command goes to FILE, the next to FILE.2, and so on. */
static pv_status open_trace(hunt *h, pv_error *err)
{
    const char *path = h->s->opt->trace;
    if (path[0] == '\0') {
        return PV_OK;
    }
    if (h->s->searches++ == 0) {
        return search_trace_create(&h->trace, path, err);
    }
    pv_buf numbered = {0};
    pv_buf_printf(&numbered, "%s.%u", path, h->s->searches);
    pv_status status = search_trace_create(&h->trace, pv_buf_text(&numbered), err);
    pv_buf_release(&numbered);
    return status;
}

static search_options search_options_of(const hunt *h, const char *statement)
{
    const options *opt = h->s->opt;
    search_options out = {
        .statement = statement,
        .alpha = opt->alpha == 0 ? -1 : opt->alpha,
        .width = h->s->width,
        .window = (uint32_t)opt->window,
        .nodes_max = opt->nodes,
        .tokens_max = opt->tokens,
        .lean_seconds_max = opt->lean_seconds,
        .wall_seconds_max = opt->timeout,
        .depth_max = (uint32_t)opt->depth,
        .seed = opt->seed,
        .trace = h->trace,
    };
    return out;
}

static pv_status start_hunt(hunt *h, pv_error *err)
{
    const hole *target = &h->t->holes[h->hole];
    lean_part lean = {target->state, target->key, (const char *const *)target->goals,
                      target->goal_count};
    search_part part = lean_verifier_part(&lean);
    char *statement = statement_of(h->src, h->t);
    pv_status status = open_trace(h, err);
    if (status == PV_OK && statement == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    if (status == PV_OK) {
        search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
        search_options opt = search_options_of(h, statement);
        lean_verifier_init(&h->verifier, h->s->pool);
        status = search_run_new(&h->run, &opt, h->s->policy, lean_verifier_table(&h->verifier),
                                &root, err);
    }
    if (status != PV_OK) {
        lean_state_unref((lean_state *)part.handle);
    }
    pv_free(statement);
    return status;
}

static void show_progress(void *user)
{
    hunt *h = user;
    search_stats stats;
    search_stats_of(h->run, &stats);
    progress_update(h->t->name, &stats, (double)(pv_clock_ms() - h->started_ms) / 1000);
}

/* Pumps the search until it is proved or over. */
static search_state run_hunt(hunt *h)
{
    search_state state = search_pump(h->run);
    h->s->on_tick = show_progress;
    h->s->tick_user = h;
    while (state == SEARCH_RUNNING) {
        if (!search_wants_pump(h->run)) {
            session_round(h->s);
        }
        if (h->s->interrupted || h->verifier.failure.status != PV_OK) {
            search_cancel(h->run);
        }
        state = search_pump(h->run);
    }
    h->s->on_tick = NULL;
    return state;
}

void attempt_add_stats(search_stats *sum, const search_stats *one)
{
    sum->nodes += one->nodes;
    sum->edges += one->edges;
    sum->expansions += one->expansions;
    sum->tactics += one->tactics;
    sum->duplicates += one->duplicates;
    sum->no_ops += one->no_ops;
    sum->failed += one->failed;
    sum->timed_out += one->timed_out;
    sum->lost += one->lost;
    sum->tokens += one->tokens;
    sum->lean_seconds += one->lean_seconds;
    sum->wall_seconds += one->wall_seconds;
    sum->depth = one->depth > sum->depth ? one->depth : sum->depth;
    sum->digest ^= one->digest;
}

/* Lets what is in flight come home, and frees. */
static void end_hunt(hunt *h, attempt *out)
{
    if (h->run != NULL) {
        search_stats stats;
        search_stats_of(h->run, &stats);
        attempt_add_stats(&out->stats, &stats);
        search_cancel(h->run);
        while (search_in_flight(h->run) > 0 || !lean_verifier_idle(&h->verifier)) {
            session_round(h->s);
            search_pump(h->run);
        }
        search_run_free(h->run);
        h->run = NULL;
    }
    if (h->trace != NULL) {
        pv_status ignored = search_trace_close(h->trace, &out->trace_error);
        (void)ignored; /* the theorem does not depend on it; out->trace_error tells */
        h->trace = NULL;
    }
}

char *attempt_why_not(const search_run *run)
{
    switch (search_state_of(run)) {
    case SEARCH_EXHAUSTED:
        return sentence("the search is exhausted: no tactic of the policy leads further");
    case SEARCH_BUDGET:
        return sentence("the budget of %s is spent", search_budget_spent(run));
    case SEARCH_BROKEN:
        return sentence("the search broke off: %s", search_failure(run)->msg);
    default:
        return sentence("the search was stopped");
    }
}

/* ---- judging ---- */

static pv_status ask_about(session *s, const source *src, const theorem *t, const fill_list *done,
                           attempt *a, pv_error *err)
{
    size_t count = 0;
    source_fill *fills = fill_list_with(done, t, a->proofs, &count);
    pv_buf candidate = {0};
    pv_status status = fills == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                     : source_splice(src, false, fills, count, &candidate, err);
    const char *names[] = {t->name};
    if (status == PV_OK) {
        verdict_release(&a->verdict);
        status = ask_judge(s, src, pv_buf_text(&candidate), names, 1,
                           (const char *const *)a->proofs, a->proof_count, &a->verdict, err);
    }
    pv_buf_release(&candidate);
    pv_free(fills);
    return status;
}

/* ---- the attempt ---- */

static pv_status take_proof(hunt *h, attempt *out, pv_error *err)
{
    pv_buf text = {0};
    pv_status status = search_proof(h->run, &text, err);
    while (status == PV_OK && text.len > 0 && text.data[text.len - 1] == '\n') {
        text.data[--text.len] = '\0';
    }
    pv_free(out->proofs[h->hole]);
    out->proofs[h->hole] = status == PV_OK ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    return status;
}

static bool is_last_hole(const hunt *h)
{
    return h->hole + 1 == h->t->hole_count;
}

static pv_status settle(hunt *h, const fill_list *done, attempt *out, bool *accepted, pv_error *err)
{
    *accepted = true;
    pv_status status = take_proof(h, out, err);
    if (status == PV_OK && is_last_hole(h)) {
        progress_note(h->t->name, "a proof was found; a fresh Lean process checks it");
        status = ask_about(h->s, h->src, h->t, done, out, err);
        *accepted = status == PV_OK && session_accepts(h->s, out->verdict.level);
    }
    return status;
}

/* Searches one hole. The last hole's proof is judged with all the others; a refused proof sends the search on. */
static pv_status fill_hole(hunt *h, const fill_list *done, attempt *out, pv_error *err)
{
    pv_status status = start_hunt(h, err);
    bool accepted = false;
    for (int refusals = 0; status == PV_OK && !accepted && refusals < ATTEMPT_REFUSALS_MAX;
         refusals++) {
        if (run_hunt(h) != SEARCH_PROVED) {
            break;
        }
        status = settle(h, done, out, &accepted, err);
        if (status == PV_OK && !accepted) {
            search_reject_proof(h->run);
        }
    }
    if (status == PV_OK && h->verifier.failure.status != PV_OK) {
        status = pv_fail(err, h->verifier.failure.status, "%s", h->verifier.failure.msg);
    }
    if (status == PV_OK && !accepted && out->verdict.reason == NULL) {
        out->why = attempt_why_not(h->run);
    }
    if (h->run != NULL && h->s->opt->tree) {
        pv_free(out->tree);
        out->tree = tree_view(h->run);
    }
    end_hunt(h, out);
    return status;
}

static pv_status fill_holes(session *s, const source *src, const theorem *t, fill_list *done,
                            attempt *out, pv_error *err)
{
    for (size_t i = 0; i < t->hole_count; i++) {
        hunt h = {.s = s, .src = src, .t = t, .hole = i, .started_ms = pv_clock_ms()};
        pv_status status = fill_hole(&h, done, out, err);
        if (status != PV_OK || out->why != NULL || out->verdict.reason != NULL) {
            return status;
        }
    }
    out->end = ATTEMPT_PROVED;
    out->text = fill_declaration(src, t, out->proofs);
    return fill_list_keep(done, t, out->proofs, err);
}

pv_status attempt_theorem(session *s, const source *src, const theorem *t, fill_list *done,
                          attempt *out, pv_error *err)
{
    memset(out, 0, sizeof *out);
    uint64_t start = pv_clock_ms();
    out->end = ATTEMPT_SKIPPED;
    out->why = attempt_why_skip(t);
    if (out->why != NULL) {
        return PV_OK;
    }
    out->end = ATTEMPT_NOT_PROVED;
    out->proofs = pv_calloc(t->hole_count + 1, sizeof *out->proofs);
    if (out->proofs == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    out->proof_count = t->hole_count;
    pv_status status = fill_holes(s, src, t, done, out, err);
    out->seconds = (double)(pv_clock_ms() - start) / 1000;
    if (s->interrupted && out->end != ATTEMPT_PROVED) {
        out->end = ATTEMPT_INTERRUPTED;
        pv_error_clear(err);
        return PV_OK;
    }
    if (out->end != ATTEMPT_PROVED && out->verdict.reason != NULL) {
        out->end = ATTEMPT_REFUSED;
        pv_free(out->why);
        out->why = sentence("the judge refused the proof (%s): %s", out->verdict.reason,
                            out->verdict.message == NULL ? "" : out->verdict.message);
    }
    return status;
}
