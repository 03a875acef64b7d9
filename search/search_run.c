#include "search_run.h"

#include "pv_clock.h"
#include "pv_mem.h"
#include "search_extract.h"
#include "search_record.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { WIDTH_DEFAULT = 64, WINDOW_DEFAULT = 4, DEPTH_DEFAULT = 128 };

const char *search_state_name(search_state state)
{
    static const char *const names[] = {"running", "proved",    "exhausted",
                                        "budget",  "cancelled", "broken"};
    return (size_t)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

/* ---- start ---- */

static double limit(double value)
{
    return isfinite(value) && value > 0 ? value : 0;
}

static void resolve_options(search_options *options, const search_policy_ops *policy)
{
    if (isnan(options->alpha) || fabs(options->alpha) < 1e-12) {
        options->alpha = 0.5;
    } else if (options->alpha < 0) {
        options->alpha = -1;
    } else if (options->alpha > 1) {
        options->alpha = 1;
    }
    options->width = options->width == 0 ? WIDTH_DEFAULT : options->width;
    options->asks = options->asks == 0 ? policy->asks : options->asks;
    options->asks = options->asks == 0 ? 1 : options->asks;
    options->window = options->window == 0 ? WINDOW_DEFAULT : options->window;
    options->depth_max = options->depth_max == 0 ? DEPTH_DEFAULT : options->depth_max;
    options->lean_seconds_max = limit(options->lean_seconds_max);
    options->wall_seconds_max = limit(options->wall_seconds_max);
}

static bool intern_roots(search_run *run, const search_outcome *root)
{
    bool ok = search_run_reserve_children(run, root->part_count);
    for (size_t i = 0; i < root->part_count && ok; i++) {
        bool is_new;
        ok = search_run_intern(run, &root->parts[i], i, &is_new);
    }
    search_step step = {.from = SEARCH_NONE,
                        .kind = SEARCH_OPEN,
                        .children = run->children,
                        .child_count = root->part_count,
                        .order = root->order,
                        .goal_count = root->goal_count};
    if (ok) {
        step.renames = search_run_renames(run, root->part_count);
        ok = search_graph_connect(&run->graph, &step, NULL);
    }
    search_run_forget_renames(run, root->part_count);
    return ok;
}

/* Last, because the handles become the run's only on success. */
static void take_root_handles(search_run *run, const search_outcome *root)
{
    for (size_t i = 0; i < root->part_count; i++) {
        search_node *node = search_node_at(&run->graph, run->children[i]);
        if (node->handle == NULL) {
            node->handle = root->parts[i].handle;
        } else {
            search_handle_drop(&run->verifier, root->parts[i].handle);
        }
    }
}

static bool set_up(search_run *run, const search_options *options, const search_outcome *root)
{
    search_window_init(&run->window);
    run->options = *options;
    resolve_options(&run->options, run->policy.ops);
    double exponent = run->options.alpha < 0 ? 0 : run->options.alpha;
    run->statement = pv_strdup(options->statement == NULL ? "" : options->statement);
    bool ok = search_graph_init(&run->graph, exponent, run->options.depth_max, options->seed) &&
              run->statement != NULL && intern_roots(run, root);
    if (ok) {
        run->options.statement = run->statement;
        take_root_handles(run, root);
    }
    return ok;
}

static void free_parts(search_run *run)
{
    search_window_release(&run->window);
    search_graph_release(&run->graph);
    pv_buf_release(&run->scratch);
    pv_free(run->statement);
    pv_free(run->children);
    pv_free(run->renames);
    pv_free(run->texts);
    pv_free(run);
}

pv_status search_run_new(search_run **out, const search_options *options, search_policy policy,
                         search_verifier verifier, const search_outcome *root, pv_error *err)
{
    const char *flaw =
        root->kind == SEARCH_OPEN ? search_outcome_flaw(root) : "there is no open goal to prove";
    if (flaw != NULL) {
        return pv_fail(err, PV_E_INVALID, "the problem to search: %s", flaw);
    }
    search_run *run = pv_calloc(1, sizeof *run);
    if (run == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory at the start of a search");
    }
    run->policy = policy;
    run->verifier = verifier;
    run->head = 1;
    run->fill_due = true;
    run->start_ns = pv_clock_ns();
    if (!set_up(run, options, root)) {
        free_parts(run);
        return pv_fail(err, PV_E_NOMEM, "out of memory at the start of a search");
    }
    search_record_start(run->options.trace, &run->options, root);
    *out = run;
    return PV_OK;
}

void search_run_free(search_run *run)
{
    if (run == NULL) {
        return;
    }
    assert(run->in_flight == 0);
    for (uint64_t t = run->window.oldest; t < run->window.next; t++) {
        search_expansion *expansion = search_window_find(&run->window, t);
        if (expansion != NULL) {
            search_run_drop(run, expansion);
        }
    }
    for (uint32_t id = 0; id < run->graph.nodes.count; id++) {
        search_handle_drop(&run->verifier, search_node_at(&run->graph, id)->handle);
    }
    search_stats stats;
    search_stats_of(run, &stats);
    search_record_end(run->options.trace, run->state, &stats);
    free_parts(run);
}

/* ---- the end, and taking expansions out ---- */

static void release_stored(search_run *run, search_expansion *expansion)
{
    for (size_t i = expansion->applied; i < expansion->try_count; i++) {
        if (expansion->answers != NULL && expansion->answers[i].given) {
            search_outcome_drop(&run->verifier, &expansion->answers[i].outcome);
        }
    }
}

static void cancel_requests(search_run *run, const search_expansion *expansion)
{
    if (expansion->stage == SEARCH_ASKED) {
        if (run->policy.ops->cancel != NULL) {
            run->policy.ops->cancel(run->policy.self, run, expansion->ticket);
        }
    } else if (expansion->missing > 0 && run->verifier.ops->cancel != NULL) {
        run->verifier.ops->cancel(run->verifier.self, expansion->ticket);
    }
}

void search_run_drop(search_run *run, search_expansion *expansion)
{
    if (expansion->dropped) {
        return;
    }
    expansion->dropped = true;
    run->zombies++;
    run->active--;
    if (expansion->parent != SEARCH_NONE) {
        search_node_at(&run->graph, expansion->parent)->busy_children--;
    }
    search_node_at(&run->graph, expansion->node)->flags &= ~(uint32_t)SEARCH_NODE_BUSY;
    release_stored(run, expansion);
    if (expansion->stage == SEARCH_PROPOSED) {
        run->to_send--;
    }
    if (search_expansion_answered(expansion)) {
        run->to_reap++;
    } else {
        cancel_requests(run, expansion); /* the last answer counts it in to_reap */
    }
}

void search_run_stop(search_run *run, search_state state)
{
    if (run->state != SEARCH_RUNNING) {
        return;
    }
    run->state = state;
    run->stop_ns = pv_clock_ns();
    for (uint64_t t = run->window.oldest; t < run->window.next; t++) {
        search_expansion *expansion = search_window_find(&run->window, t);
        if (expansion != NULL) {
            search_run_drop(run, expansion);
        }
    }
}

void search_run_stop_budget(search_run *run, const char *budget)
{
    if (run->state == SEARCH_RUNNING) {
        run->budget = budget;
        search_run_stop(run, SEARCH_BUDGET);
    }
}

void search_run_break(search_run *run, pv_status status, const char *what, const char *why)
{
    if (run->state == SEARCH_RUNNING) {
        pv_fail(&run->failure, status, "%s: %s", what, why);
        search_run_stop(run, SEARCH_BROKEN);
    }
}

void search_run_starve(search_run *run)
{
    search_run_break(run, PV_E_NOMEM, "the search", "out of memory");
}

/* ---- the pump ---- */

search_expansion *search_run_head(search_run *run)
{
    for (; run->head < run->window.next; run->head++) {
        search_expansion *expansion = search_window_find(&run->window, run->head);
        if (expansion != NULL && !expansion->dropped) {
            return expansion;
        }
    }
    return NULL;
}

bool search_head_ready(const search_expansion *head)
{
    if (head->stage == SEARCH_ASKED || head->stage == SEARCH_PROPOSED) {
        return false;
    }
    return !head->begun || head->stage == SEARCH_BROKE || head->applied == head->try_count ||
           head->answers[head->applied].given;
}

static void reap(search_run *run)
{
    for (uint64_t t = run->window.oldest; run->to_reap > 0 && t < run->window.next; t++) {
        search_expansion *expansion = search_window_find(&run->window, t);
        if (expansion != NULL && expansion->dropped && search_expansion_answered(expansion)) {
            search_window_remove(&run->window, expansion);
            run->to_reap--;
            run->zombies--;
        }
    }
}

double search_run_wall(const search_run *run)
{
    uint64_t until = run->state == SEARCH_RUNNING ? pv_clock_ns() : run->stop_ns;
    return (double)(until - run->start_ns) / 1e9;
}

bool search_run_wall_spent(const search_run *run)
{
    return run->options.wall_seconds_max > 0 &&
           search_run_wall(run) >= run->options.wall_seconds_max;
}

/* True when another step may find something to do. */
static bool pump_step(search_run *run)
{
    if (run->starved) {
        search_run_starve(run);
        return false;
    }
    if (search_run_wall_spent(run)) {
        search_run_stop_budget(run, "wall time");
        return false;
    }
    if (run->fill_due) {
        search_run_fill(run);
    }
    search_run_send(run);
    return search_run_apply(run);
}

search_state search_pump(search_run *run)
{
    if (run->inside) {
        return run->state;
    }
    run->inside = true;
    while (run->state == SEARCH_RUNNING && pump_step(run)) {
    }
    reap(run);
    run->inside = false;
    return run->state;
}

bool search_wants_pump(const search_run *run)
{
    if (run->state != SEARCH_RUNNING) {
        return run->to_reap > 0;
    }
    if (run->starved || run->fill_due || run->to_send > 0 || search_run_wall_spent(run)) {
        return true;
    }
    for (uint64_t t = run->head; t < run->window.next; t++) {
        const search_expansion *expansion = search_window_find(&run->window, t);
        if (expansion != NULL && !expansion->dropped) {
            return search_head_ready(expansion);
        }
    }
    return false;
}

void search_cancel(search_run *run)
{
    search_run_stop(run, SEARCH_CANCELLED);
}

/* Arrivals on the proof that had to be renamed are what a script can be wrong about though each of
 * its steps is right: they are refused. False: there are none, or memory is short. */
static bool refuse_renamed(search_run *run)
{
    search_extract extract;
    bool any = false;
    if (!search_extract_init(&extract, &run->graph)) {
        return false;
    }
    for (uint32_t id = 0; id < run->graph.nodes.count; id++) {
        uint32_t e = extract.on_proof[id] ? extract.edge[id] : SEARCH_NONE;
        if (e != SEARCH_NONE && search_edge_at(&run->graph, e)->renames != NULL) {
            search_graph_refuse(&run->graph, e,
                                "the judge refused a proof that renames what this leaves");
            any = true;
        }
    }
    search_extract_release(&extract);
    return any;
}

search_state search_reject_proof(search_run *run)
{
    if (run->state != SEARCH_PROVED) {
        return run->state;
    }
    search_record_reject(run->options.trace);
    search_run_note(run, 'R');
    if (!refuse_renamed(run)) {
        search_graph_refuse(&run->graph, run->last_edge,
                            "the judge refused the proof that ends here");
    }
    if (search_graph_root_solved(&run->graph)) { /* by another way: PROVED as before */
        return run->state;
    }
    run->state = SEARCH_RUNNING;
    run->start_ns += pv_clock_ns() - run->stop_ns; /* the judge's time is not the search's */
    run->fill_due = true;
    const char *spent = search_run_issue_limit(run);
    if (!search_run_any_needed(run)) {
        search_run_stop(run, SEARCH_EXHAUSTED);
    } else if (spent != NULL) {
        search_run_stop_budget(run, spent);
    }
    return run->state;
}

/* ---- questions ---- */

search_state search_state_of(const search_run *run)
{
    return run->state;
}

size_t search_in_flight(const search_run *run)
{
    return run->in_flight;
}

void search_stats_of(const search_run *run, search_stats *out)
{
    *out = run->stats;
    out->nodes = run->graph.nodes.count;
    out->depth = run->graph.depth;
    out->wall_seconds = search_run_wall(run);
}

const char *search_budget_spent(const search_run *run)
{
    return run->budget;
}

const pv_error *search_failure(const search_run *run)
{
    return &run->failure;
}
