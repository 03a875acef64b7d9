/* Requests: which node is expanded next, what the policy is asked, what the verifier is sent. */
#include "pv_mem.h"
#include "search_run.h"

#include <string.h>

/* An expansion in flight lowers its siblings as if it had cost them this much log-probability: a
 * factor of e. */
static const double VIRTUAL_LOSS = 1.0;

/* How many of the best nodes are compared under virtual loss: a bound on the work, the same in
 * every run. */
enum { COMPARED_MAX = 16 };

static uint32_t parent_of(const search_graph *graph, const search_node *node)
{
    return node->best_edge == SEARCH_NONE ? SEARCH_NONE
                                          : search_edge_at(graph, node->best_edge)->from;
}

static double lowered_score(const search_graph *graph, uint32_t id)
{
    const search_node *node = search_node_at(graph, id);
    uint32_t parent = parent_of(graph, node);
    uint32_t busy = parent == SEARCH_NONE ? 0 : search_node_at(graph, parent)->busy_children;
    return search_graph_score(graph, node, VIRTUAL_LOSS * busy);
}

/* Takes unneeded nodes off the top of the frontier; they are marked, so that a new edge can
 * bring them back. */
static const search_entry *needed_top(search_graph *graph)
{
    const search_entry *top = search_frontier_top(&graph->frontier);
    while (top != NULL && !search_graph_needed(graph, top->id)) {
        search_frontier_remove(&graph->frontier, top->id);
        top = search_frontier_top(&graph->frontier);
    }
    return top;
}

bool search_run_any_needed(search_run *run)
{
    return needed_top(&run->graph) != NULL;
}

/* The best needed node after virtual loss, taken out of the frontier. Losses only lower, so that
 * nothing below the best lowered score need be looked at. */
static bool choose(search_graph *graph, uint32_t *chosen)
{
    uint32_t held[COMPARED_MAX];
    size_t count = 0;
    size_t best = 0;
    double best_score = 0;
    while (count < COMPARED_MAX) {
        const search_entry *top = needed_top(graph);
        if (top == NULL || (count > 0 && top->score <= best_score)) {
            break;
        }
        double score = lowered_score(graph, top->id);
        if (count == 0 || score > best_score) {
            best = count;
            best_score = score;
        }
        held[count++] = top->id;
        search_frontier_remove(&graph->frontier, top->id);
    }
    for (size_t i = 0; i < count; i++) {
        if (i != best) {
            search_graph_offer(graph, held[i]);
        }
    }
    *chosen = count > 0 ? held[best] : SEARCH_NONE;
    return count > 0;
}

/* ---- the policy's request ---- */

static size_t path_length(const search_graph *graph, uint32_t id)
{
    size_t n = 0;
    for (const search_node *node = search_node_at(graph, id); node->best_edge != SEARCH_ROOT_EDGE;
         node = search_node_at(graph, search_edge_at(graph, node->best_edge)->from)) {
        n++;
    }
    return n;
}

static void write_path(const search_graph *graph, uint32_t id, const char **path, size_t n)
{
    const search_node *node = search_node_at(graph, id);
    while (n > 0) {
        const search_edge *edge = search_edge_at(graph, node->best_edge);
        path[--n] = edge->tactic;
        node = search_node_at(graph, edge->from);
    }
}

static bool reserve_texts(search_run *run, size_t n)
{
    return pv_grow((void **)&run->texts, &run->texts_capacity, n, sizeof *run->texts) == 0;
}

/* The same state gets the same seed in every run with the same seed, however it was reached. */
static uint64_t state_seed(const search_run *run, const search_node *node)
{
    return pv_mix64(run->options.seed ^ pv_mix64(node->key.hi ^ pv_mix64(node->key.lo)));
}

/* Another one each time that it is asked about. */
static uint64_t seed_for(const search_run *run, const search_node *node)
{
    uint64_t seed = state_seed(run, node);
    return node->asked == 0 ? seed : pv_mix64(seed + node->asked);
}

static void fail_expansion(search_expansion *expansion, pv_status status, const char *text)
{
    expansion->stage = SEARCH_BROKE;
    expansion->failure = status;
    expansion->failure_text = search_arena_text(&expansion->arena, text, strlen(text));
}

static void ask(search_run *run, search_expansion *expansion)
{
    const search_node *node = search_node_at(&run->graph, expansion->node);
    size_t path_count = path_length(&run->graph, expansion->node);
    if (!reserve_texts(run, node->goal_count + path_count)) {
        run->starved = true;
        expansion->stage = SEARCH_BROKE;
        return;
    }
    search_node_goals(node, run->texts);
    write_path(&run->graph, expansion->node, run->texts + node->goal_count, path_count);
    search_policy_request request = {.run = run,
                                     .ticket = expansion->ticket,
                                     .statement = run->statement,
                                     .goals = run->texts,
                                     .goal_count = node->goal_count,
                                     .path = run->texts + node->goal_count,
                                     .path_count = path_count,
                                     .wanted = run->options.width,
                                     .seed = seed_for(run, node),
                                     .state_seed = state_seed(run, node),
                                     .asked = node->asked,
                                     .asks = run->options.asks};
    run->in_flight++;
    pv_error err = {0};
    pv_status status = run->policy.ops->propose(run->policy.self, &request, &err);
    if (status != PV_OK && expansion->stage == SEARCH_ASKED) {
        run->in_flight--;
        fail_expansion(expansion, status, err.status == PV_OK ? pv_status_text(status) : err.msg);
    }
}

static void issue(search_run *run, uint32_t id)
{
    search_expansion *expansion = search_window_push(&run->window);
    if (expansion == NULL) {
        search_graph_offer(&run->graph, id);
        run->starved = true;
        return;
    }
    search_node *node = search_node_at(&run->graph, id);
    node->flags |= SEARCH_NODE_BUSY;
    expansion->node = id;
    expansion->parent = parent_of(&run->graph, node);
    if (expansion->parent != SEARCH_NONE) {
        search_node_at(&run->graph, expansion->parent)->busy_children++;
    }
    run->active++;
    run->stats.expansions++;
    ask(run, expansion);
}

const char *search_run_issue_limit(const search_run *run)
{
    const search_options *o = &run->options;
    if (o->expansions_max > 0 && run->stats.expansions >= o->expansions_max) {
        return "expansions";
    }
    if (o->tokens_max > 0 && run->stats.tokens >= o->tokens_max) {
        return "tokens";
    }
    return NULL;
}

void search_run_fill(search_run *run)
{
    run->fill_due = false;
    const char *spent = search_run_issue_limit(run);
    uint32_t id;
    while (spent == NULL && !run->starved && run->state == SEARCH_RUNNING &&
           run->active < run->options.window && choose(&run->graph, &id)) {
        issue(run, id);
        spent = search_run_issue_limit(run);
    }
    if (run->active > 0 || run->starved) {
        return; /* what is in flight is still worth its answers */
    }
    if (spent != NULL && search_run_any_needed(run)) {
        search_run_stop_budget(run, spent);
    } else {
        search_run_stop(run, SEARCH_EXHAUSTED);
    }
}

/* ---- the verifier's request ---- */

static void try_candidates(search_run *run, search_expansion *expansion)
{
    if (!search_expansion_choose(expansion, &run->graph, &run->scratch) ||
        !reserve_texts(run, expansion->try_count)) {
        expansion->missing = 0;
        expansion->stage = SEARCH_BROKE;
        run->starved = true;
        return;
    }
    expansion->stage = SEARCH_TRYING;
    if (expansion->try_count == 0) {
        return;
    }
    for (size_t i = 0; i < expansion->try_count; i++) {
        run->texts[i] = expansion->tries[i].tactic;
    }
    search_try_request request = {.run = run,
                                  .ticket = expansion->ticket,
                                  .state = search_node_at(&run->graph, expansion->node)->handle,
                                  .tactics = run->texts,
                                  .n = expansion->try_count};
    run->in_flight++;
    pv_error err = {0};
    pv_status status = run->verifier.ops->try_tactics(run->verifier.self, &request, &err);
    if (status != PV_OK && expansion->missing == expansion->try_count) {
        run->in_flight--;
        expansion->missing = 0;
        fail_expansion(expansion, status, err.status == PV_OK ? pv_status_text(status) : err.msg);
    }
}

void search_run_send(search_run *run)
{
    for (uint64_t t = run->head; run->to_send > 0 && t < run->window.next; t++) {
        search_expansion *expansion = search_window_find(&run->window, t);
        if (expansion != NULL && !expansion->dropped && expansion->stage == SEARCH_PROPOSED) {
            run->to_send--;
            try_candidates(run, expansion);
        }
    }
}
