/* The oldest expansion's answers enter the graph. Everything here happens in an order that only
 * the answers determine. */
#include "pv_mem.h"
#include "search_record.h"
#include "search_run.h"

#include <string.h>

/* ---- what follows from a change ---- */

/* Expansions whose node nobody needs any more are dropped, except the one being applied. */
static void drop_unneeded(search_run *run, const search_expansion *head)
{
    for (uint64_t t = run->head; t < run->window.next; t++) {
        search_expansion *expansion = search_window_find(&run->window, t);
        if (expansion == NULL || expansion == head || expansion->dropped) {
            continue;
        }
        if (search_node_is(search_node_at(&run->graph, expansion->node), SEARCH_NODE_SOLVED) ||
            !search_graph_needed(&run->graph, expansion->node)) {
            search_run_note(run, 'D');
            search_run_note(run, expansion->ticket);
            search_run_drop(run, expansion);
        }
    }
}

/* To be called when nodes may have become solved or dead since `before` (graph.changes). */
static void react(search_run *run, uint64_t before, const search_expansion *head)
{
    if (run->graph.changes == before || run->state != SEARCH_RUNNING) {
        return;
    }
    if (search_graph_root_solved(&run->graph)) {
        search_run_stop(run, SEARCH_PROVED);
    } else if (search_edge_at(&run->graph, SEARCH_ROOT_EDGE)->dead) {
        search_run_stop(run, SEARCH_EXHAUSTED);
    } else {
        drop_unneeded(run, head);
    }
}

/* ---- one outcome ---- */

static search_step step_for(const search_expansion *x, size_t index)
{
    const search_outcome *outcome = &x->answers[index].outcome;
    search_step step = {.from = x->node,
                        .tactic = x->tries[index].tactic,
                        .logprob = x->tries[index].logprob,
                        .kind = outcome->kind,
                        .message = outcome->message};
    return step;
}

static void connect(search_run *run, const search_step *step)
{
    if (!search_graph_connect(&run->graph, step, &run->last_edge)) {
        search_run_starve(run);
    }
}

static void apply_negative(search_run *run, const search_expansion *x, size_t index,
                           const char *message)
{
    search_step step = step_for(x, index);
    if (message != NULL) {
        step.kind = SEARCH_FAILED;
        step.message = message;
    }
    connect(run, &step);
}

static bool changes_nothing(search_run *run, const search_outcome *outcome, pv_key own)
{
    for (size_t i = 0; i < outcome->part_count; i++) {
        pv_key key;
        pv_buf_clear(&run->scratch);
        (void)search_graph_arrive(&run->graph, &outcome->parts[i], &key, &run->scratch);
        if (pv_key_equal(outcome->parts[i].key, own) || pv_key_equal(key, own)) {
            return true;
        }
    }
    return false;
}

static bool fits_node_budget(search_run *run, const search_outcome *outcome)
{
    uint64_t max = run->options.nodes_max;
    uint64_t nodes = run->graph.nodes.count;
    if (max == 0 || nodes + outcome->part_count <= max) {
        return true;
    }
    for (size_t i = 0; i < outcome->part_count; i++) {
        pv_key key;
        pv_buf_clear(&run->scratch);
        nodes += search_graph_arrive(&run->graph, &outcome->parts[i], &key, &run->scratch) ==
                 SEARCH_ARRIVAL_NEW;
    }
    return nodes <= max;
}

/* Finds or makes the node of each part; what renames its hypotheses goes to run->renames. The
 * handles of parts from `*done` on are still the outcome's. */
static bool intern_parts(search_run *run, const search_outcome *outcome, size_t *done)
{
    if (!search_run_reserve_children(run, outcome->part_count)) {
        search_run_starve(run);
        return false;
    }
    for (; *done < outcome->part_count; ++*done) {
        const search_part *part = &outcome->parts[*done];
        bool is_new;
        if (!search_run_intern(run, part, *done, &is_new)) {
            search_run_starve(run);
            return false;
        }
        search_node *node = search_node_at(&run->graph, run->children[*done]);
        if (node->goal_count != part->goal_count) {
            search_run_break(run, PV_E_PROTOCOL, "the verifier",
                             "one key for lists of goals of different length");
            return false;
        }
        run->stats.duplicates += !is_new;
        if (is_new) {
            node->handle = part->handle;
        } else {
            search_handle_drop(&run->verifier, part->handle);
        }
    }
    return true;
}

static void apply_parts(search_run *run, const search_expansion *x, size_t index)
{
    const search_outcome *outcome = &x->answers[index].outcome;
    size_t done = 0;
    bool interned = intern_parts(run, outcome, &done);
    for (size_t i = done; i < outcome->part_count; i++) {
        search_handle_drop(&run->verifier, outcome->parts[i].handle);
    }
    if (interned) {
        search_step step = step_for(x, index);
        step.children = run->children;
        step.renames = search_run_renames(run, outcome->part_count);
        step.child_count = outcome->part_count;
        step.order = outcome->order;
        step.goal_count = outcome->goal_count;
        run->stats.edges++;
        connect(run, &step);
    }
    search_run_forget_renames(run, outcome->part_count);
}

static void apply_open(search_run *run, search_expansion *x, size_t index)
{
    const search_outcome *outcome = &x->answers[index].outcome;
    if (changes_nothing(run, outcome, search_node_at(&run->graph, x->node)->key)) {
        run->stats.no_ops++;
        search_outcome_drop(&run->verifier, outcome);
        apply_negative(run, x, index, "the goal did not change");
    } else if (!fits_node_budget(run, outcome)) {
        search_outcome_drop(&run->verifier, outcome);
        search_run_stop_budget(run, "nodes");
    } else {
        apply_parts(run, x, index);
    }
}

static void note_outcome(search_run *run, size_t index, const search_outcome *outcome)
{
    search_run_note(run, (uint64_t)'V' << 32 | index);
    search_run_note(run, (uint64_t)outcome->kind << 32 | outcome->part_count);
    for (size_t i = 0; i < outcome->part_count; i++) {
        search_run_note(run, outcome->parts[i].key.hi);
        search_run_note(run, outcome->parts[i].key.lo);
    }
    for (size_t i = 0; i < outcome->goal_count; i++) {
        search_run_note(run, outcome->order[i]);
    }
}

static void apply_outcome(search_run *run, search_expansion *x, size_t index)
{
    const search_outcome *outcome = &x->answers[index].outcome;
    x->applied = index + 1; /* from here on the handles are no longer the expansion's */
    if (x->answers[index].flaw != NULL) {
        search_run_break(run, PV_E_PROTOCOL, "the verifier", x->answers[index].flaw);
        return;
    }
    note_outcome(run, index, outcome);
    search_record_outcome(run->options.trace, x->ticket, index, outcome);
    run->stats.tactics++;
    run->stats.lean_seconds += outcome->lean_ms / 1e3;
    switch (outcome->kind) {
    case SEARCH_CLOSED:
        run->stats.edges++;
        search_step step = step_for(x, index);
        connect(run, &step);
        break;
    case SEARCH_OPEN:
        apply_open(run, x, index);
        break;
    case SEARCH_FAILED:
    case SEARCH_TIMED_OUT:
    case SEARCH_LOST:
        run->stats.failed += outcome->kind == SEARCH_FAILED;
        run->stats.timed_out += outcome->kind == SEARCH_TIMED_OUT;
        run->stats.lost += outcome->kind == SEARCH_LOST;
        apply_negative(run, x, index, NULL);
        break;
    }
}

/* ---- one expansion ---- */

static void begin(search_run *run, search_expansion *x)
{
    x->begun = true;
    search_run_note(run, (uint64_t)'E' << 32 | x->node);
    search_run_note(run, x->ticket);
    for (size_t i = 0; i < x->candidate_count; i++) {
        const search_candidate *c = &x->candidates[i];
        uint64_t bits;
        memcpy(&bits, &c->logprob, sizeof bits);
        search_run_note(run, pv_hash_bytes(c->tactic, strlen(c->tactic), bits));
        run->stats.tokens += c->tokens;
    }
    search_record_policy(run->options.trace, x);
}

/* A dropped expansion of the same node may still be at work on its state: the verifier holds it
 * to the last answer. */
static bool state_is_borrowed(const search_run *run, uint32_t node)
{
    for (uint64_t t = run->window.oldest; run->zombies > 0 && t < run->window.next; t++) {
        const search_expansion *x = search_window_find(&run->window, t);
        if (x != NULL && x->dropped && x->node == node && x->missing > 0) {
            return true;
        }
    }
    return false;
}

/* The policy may be asked again: the node goes back to the frontier, lower than before. */
static bool is_asked_again(const search_run *run, search_node *node)
{
    if (node->asked + 1 >= run->options.asks) {
        return false;
    }
    node->asked++;
    return true;
}

/* All candidates have been tried: unless the policy is asked again, the node is finished, and its state in Lean is not needed any
 * more. */
static void complete(search_run *run, search_expansion *x)
{
    search_node *node = search_node_at(&run->graph, x->node);
    node->flags &= ~(uint32_t)SEARCH_NODE_BUSY;
    if (x->parent != SEARCH_NONE) {
        search_node_at(&run->graph, x->parent)->busy_children--;
    }
    run->active--;
    uint64_t before = run->graph.changes;
    if (is_asked_again(run, node)) {
        search_graph_offer(&run->graph, x->node);
    } else {
        if (!state_is_borrowed(run, x->node)) {
            search_handle_drop(&run->verifier, node->handle);
            node->handle = NULL;
        }
        search_graph_finish(&run->graph, x->node);
    }
    search_window_remove(&run->window, x);
    react(run, before, NULL);
}

static void sweep(search_run *run)
{
    uint64_t before = run->graph.changes;
    if (run->state == SEARCH_RUNNING && search_graph_sweep_due(&run->graph)) {
        if (search_graph_sweep(&run->graph)) {
            react(run, before, NULL);
        } else {
            search_run_starve(run);
        }
    }
}

static void check_lean_budget(search_run *run)
{
    double max = run->options.lean_seconds_max;
    if (max > 0 && run->stats.lean_seconds >= max) {
        search_run_stop_budget(run, "Lean time");
    }
}

/* Applies outcomes until one is missing, the run ends, or the node is solved (then the rest is
 * of no use). */
static bool apply_outcomes(search_run *run, search_expansion *x)
{
    while (x->applied < x->try_count) {
        if (!x->answers[x->applied].given) {
            return false;
        }
        uint64_t before = run->graph.changes;
        apply_outcome(run, x, x->applied);
        react(run, before, x);
        check_lean_budget(run);
        if (run->state != SEARCH_RUNNING) {
            return false;
        }
        if (search_node_is(search_node_at(&run->graph, x->node), SEARCH_NODE_SOLVED)) {
            search_run_drop(run, x);
            return true;
        }
    }
    complete(run, x);
    return true;
}

static void break_by(search_run *run, const search_expansion *x)
{
    const char *what = x->try_count > 0 ? "the verifier" : "the policy";
    search_run_break(run, x->failure, what,
                     x->failure_text == NULL ? pv_status_text(x->failure) : x->failure_text);
}

bool search_run_apply(search_run *run)
{
    search_expansion *head = search_run_head(run);
    if (run->state != SEARCH_RUNNING || run->starved || head == NULL || !search_head_ready(head)) {
        return run->starved;
    }
    if (head->stage == SEARCH_BROKE) {
        break_by(run, head);
        return false;
    }
    if (!head->begun) {
        begin(run, head);
    }
    if (!apply_outcomes(run, head)) {
        return false;
    }
    run->fill_due = true;
    sweep(run);
    return true;
}
