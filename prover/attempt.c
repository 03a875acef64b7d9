#include "attempt.h"

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
    tree_list_release(&a->trees);
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

char *attempt_statement(const source *src, const theorem *t)
{
    pv_buf text = {0};
    size_t n = strlen(src->header);
    while (n > 0 && strchr(" \t\r\n", src->header[n - 1]) != NULL) {
        n--;
    }
    pv_buf_append(&text, src->header, n);
    pv_buf_puts(&text, n > 0 ? "\n\n" : "");
    pv_buf_append(&text, src->text + t->start, t->end - t->start);
    return pv_buf_detach(&text);
}

/* ---- its searches ---- */

typedef struct hunt {
    session *s;
    const theorem *t;
    attempt *out;
    search_trace *trace;
    effort effort;
    uint64_t started_ms;
} hunt;

/* The first search of a command goes to FILE, the next to FILE.2, and so on. */
static pv_status on_search_begins(void *user, search_trace **trace, pv_error *err)
{
    hunt *h = user;
    const char *path = h->s->opt->trace;
    pv_status status = PV_OK;
    if (path[0] == '\0') {
        return PV_OK;
    }
    if (h->s->searches++ == 0) {
        status = search_trace_create(&h->trace, path, err);
    } else {
        pv_buf numbered = {0};
        pv_buf_printf(&numbered, "%s.%u", path, h->s->searches);
        status = search_trace_create(&h->trace, pv_buf_text(&numbered), err);
        pv_buf_release(&numbered);
    }
    *trace = h->trace;
    return status;
}

static void keep_tree(const hunt *h, const search_run *run)
{
    pv_buf title = {0};
    if (h->s->opt->prove_store[0] == '\0' || h->s->opt->no_trees) {
        return;
    }
    effort_search_title(&h->effort, &title);
    tree_list_add(&h->out->trees, run, pv_buf_text(&title));
    pv_buf_release(&title);
}

static void on_search_ends(void *user, const search_run *run)
{
    hunt *h = user;
    keep_tree(h, run);
    if (h->s->opt->tree) {
        pv_free(h->out->tree);
        h->out->tree = tree_view(run);
    }
}

static void on_search_freed(void *user)
{
    hunt *h = user;
    if (h->trace != NULL) {
        pv_status ignored = search_trace_close(h->trace, &h->out->trace_error);
        (void)ignored; /* the theorem does not depend on it; out->trace_error tells */
        h->trace = NULL;
    }
}

static void show_progress(void *user)
{
    hunt *h = user;
    search_stats stats = {0};
    const search_run *run = effort_search(&h->effort);
    if (run != NULL) {
        search_stats_of(run, &stats);
    }
    progress_update(h->t->name, &stats, (double)(pv_clock_ms() - h->started_ms) / 1000);
}

/* ---- the effort ---- */

static search_options search_options_of(const session *s)
{
    const options *opt = s->opt;
    search_options out = {
        .alpha = opt->alpha == 0 ? -1 : opt->alpha,
        .width = s->width,
        .window = (uint32_t)opt->window,
        .depth_max = (uint32_t)opt->depth,
        .seed = opt->seed,
    };
    return out;
}

static effort_plan plan_of(const attempt_task *task, hunt *h, const char *statement,
                           const char *step_statement)
{
    const options *opt = task->s->opt;
    effort_plan plan = {
        .whole = {.s = task->s,
                  .env = task->env,
                  .src = task->src,
                  .theorem = task->theorem,
                  .target = task->target,
                  .name = task->theorem->name,
                  .statement = statement,
                  .writer = task->writer,
                  .samples = opt->whole_samples,
                  .rounds = opt->whole_rounds,
                  .repairs = opt->repair,
                  .repair_samples = opt->repair_samples,
                  .seed = opt->seed},
        .step_statement = step_statement,
        .steps = task->steps,
        .policy = task->s->policy,
        .how = search_options_of(task->s),
        .limit = {opt->timeout, opt->lean_seconds, opt->nodes, opt->tokens},
        .done = task->done,
        .search_begins = on_search_begins,
        .search_ends = on_search_ends,
        .search_freed = on_search_freed,
        .user = h,
    };
    return plan;
}

static pv_status judge(const attempt_task *task, effort *e, verdict *v, pv_error *err)
{
    const char *names[] = {task->theorem->name};
    progress_note(task->theorem->name, "a proof was found; a fresh Lean process checks it");
    verdict_release(v);
    pv_status status = ask_judge(task->s, task->src, pv_buf_text(&e->candidate), names, 1,
                                 (const char *const *)e->proofs, e->proof_count, v, err);
    if (status == PV_OK) {
        bool accepted = session_accepts(task->s, v->level);
        pv_buf why = {0};
        pv_buf_printf(
            &why, "the judge refused the proof (%s): ", v->reason == NULL ? "level" : v->reason);
        if (v->message == NULL) {
            session_explain_level(task->s, v->level, &why);
        } else {
            pv_buf_puts(&why, v->message);
        }
        effort_judged(e, accepted, pv_buf_ok(&why) ? pv_buf_text(&why) : "the judge refused it");
        pv_buf_release(&why);
    }
    return status;
}

static pv_status run_effort(const attempt_task *task, hunt *h, pv_error *err)
{
    effort *e = &h->effort;
    pv_status status = PV_OK;
    task->s->on_tick = show_progress;
    task->s->tick_user = h;
    while (status == PV_OK && !task->s->interrupted &&
           (e->state == EFFORT_WORKING || e->state == EFFORT_FOUND)) {
        if (e->state == EFFORT_FOUND) {
            status = judge(task, e, &h->out->verdict, err);
        } else if (!effort_turn(e)) {
            session_round(task->s);
        }
    }
    task->s->on_tick = NULL;
    while (!effort_end(e)) {
        session_round(task->s);
    }
    if (status == PV_OK && e->state == EFFORT_FAILED) {
        h->out->why = e->is_machine ? NULL : sentence("the search broke off: %s", e->failure.msg);
        status = e->is_machine ? pv_fail(err, e->failure.status, "%s", e->failure.msg) : PV_OK;
    }
    return status;
}

/* ---- the attempt ---- */

static void take_numbers(const effort *e, attempt *out)
{
    out->stats = e->stats;
    out->samples = e->whole.read;
    out->repairs = e->whole.repairs;
    out->kept = e->whole.kept;
    out->way = e->way;
}

static pv_status take_proofs(const attempt_task *task, effort *e, attempt *out, pv_error *err)
{
    out->end = ATTEMPT_PROVED;
    out->as_is = e->as_is;
    out->text = fill_declaration(task->src, task->theorem, e->proofs, e->as_is);
    return fill_list_keep(task->done, task->theorem, e->proofs, e->as_is, err);
}

static void take_end(effort *e, attempt *out)
{
    if (e->state == EFFORT_OVER) {
        out->end = e->refused ? ATTEMPT_REFUSED : ATTEMPT_NOT_PROVED;
        out->why = e->why;
        e->why = NULL;
    }
    out->proofs = e->proofs;
    out->proof_count = e->proof_count;
    e->proofs = NULL;
    e->proof_count = 0;
}

static pv_status try_holes(const attempt_task *task, attempt *out, pv_error *err)
{
    hunt *h = pv_calloc(1, sizeof *h);
    char *statement = attempt_statement(task->src, task->theorem);
    char *step_statement = pv_strndup(task->src->text + task->theorem->start,
                                      task->theorem->end - task->theorem->start);
    pv_status status = PV_OK;
    if (h == NULL || statement == NULL || step_statement == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    } else {
        *h = (hunt){.s = task->s, .t = task->theorem, .out = out, .started_ms = pv_clock_ms()};
        effort_plan plan = plan_of(task, h, statement, step_statement);
        effort_start(&h->effort, &plan);
        status = run_effort(task, h, err);
        if (status == PV_OK && h->effort.state == EFFORT_PROVED) {
            status = take_proofs(task, &h->effort, out, err);
        }
        take_numbers(&h->effort, out);
        take_end(&h->effort, out);
        effort_release(&h->effort);
    }
    pv_free(h);
    pv_free(statement);
    pv_free(step_statement);
    return status;
}

pv_status attempt_theorem(const attempt_task *task, attempt *out, pv_error *err)
{
    memset(out, 0, sizeof *out);
    uint64_t start = pv_clock_ms();
    out->end = ATTEMPT_SKIPPED;
    out->why = attempt_why_skip(task->theorem);
    if (out->why != NULL) {
        return PV_OK;
    }
    out->end = ATTEMPT_NOT_PROVED;
    pv_status status = try_holes(task, out, err);
    out->seconds = (double)(pv_clock_ms() - start) / 1000;
    if (task->s->interrupted && out->end != ATTEMPT_PROVED) {
        out->end = ATTEMPT_INTERRUPTED;
        pv_error_clear(err);
        return PV_OK;
    }
    return status;
}
