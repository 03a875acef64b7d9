/* What is solved and what is dead. Each node is settled at most once, so that counters carry the
 * news upwards in time linear in the edges; cycles of waiting nodes are found by the sweep. */
#include "pv_mem.h"
#include "search_graph.h"

#include <string.h>

bool search_graph_root_solved(const search_graph *graph)
{
    return graph->edges.count > 0 && search_edge_solved(search_edge_at(graph, SEARCH_ROOT_EDGE));
}

/* Sets the flag and puts the node on the stack (graph->queue), once. */
static void settle_node(search_graph *graph, size_t *top, uint32_t id, uint32_t flag)
{
    search_node *node = search_node_at(graph, id);
    if (!search_node_is(node, SEARCH_NODE_SOLVED | SEARCH_NODE_DEAD)) {
        node->flags |= flag;
        graph->changes++;
        search_frontier_remove(&graph->frontier, id);
        graph->queue[(*top)++] = id;
    }
}

void search_graph_solve(search_graph *graph, uint32_t id)
{
    size_t top = 0;
    settle_node(graph, &top, id, SEARCH_NODE_SOLVED);
    while (top > 0) {
        uint32_t l = search_node_at(graph, graph->queue[--top])->first_in;
        while (l != SEARCH_NONE) {
            const search_link *link = search_link_at(graph, l);
            search_edge *edge = search_edge_at(graph, link->edge);
            edge->unsolved--;
            if (search_edge_solved(edge) && edge->from != SEARCH_NONE) {
                settle_node(graph, &top, edge->from, SEARCH_NODE_SOLVED);
            }
            l = link->next;
        }
    }
}

static bool is_stuck(const search_node *node)
{
    return search_node_is(node, SEARCH_NODE_EXPANDED) && node->live == 0;
}

static void kill_edge(search_graph *graph, size_t *top, search_edge *edge)
{
    if (edge->dead) {
        return;
    }
    edge->dead = true;
    if (edge->from == SEARCH_NONE) {
        return;
    }
    search_node *from = search_node_at(graph, edge->from);
    from->live--;
    if (is_stuck(from)) {
        settle_node(graph, top, edge->from, SEARCH_NODE_DEAD);
    }
}

void search_graph_kill(search_graph *graph, uint32_t id)
{
    size_t top = 0;
    settle_node(graph, &top, id, SEARCH_NODE_DEAD);
    while (top > 0) {
        uint32_t l = search_node_at(graph, graph->queue[--top])->first_in;
        while (l != SEARCH_NONE) {
            const search_link *link = search_link_at(graph, l);
            kill_edge(graph, &top, search_edge_at(graph, link->edge));
            l = link->next;
        }
    }
}

void search_graph_finish(search_graph *graph, uint32_t id)
{
    search_node *node = search_node_at(graph, id);
    node->flags |= SEARCH_NODE_EXPANDED;
    if (is_stuck(node)) {
        search_graph_kill(graph, id);
    }
}

/* ---- the sweep ---- */

bool search_graph_sweep_due(const search_graph *graph)
{
    /* Cycles need an edge back; a dead end matters before the frontier is empty only where it
     * has siblings. Waiting for the edges to double keeps all sweeps together linear. */
    return graph->and_edges > 0 && graph->back_edges > 0 &&
           graph->edges.count / 2 >= graph->swept_edges + 16;
}

/* A node may still be solved when it is solved, when something about it is untried, or when an
 * edge leads from it only to nodes that may. This is the least set with that property: nodes
 * that lean on each other are not in it. */
static void spread_hope(search_graph *graph, uint32_t *missing, unsigned char *hope)
{
    size_t tail = 0;
    for (uint32_t id = 0; id < graph->nodes.count; id++) {
        const search_node *node = search_node_at(graph, id);
        if (!search_node_is(node, SEARCH_NODE_DEAD) &&
            (search_node_is(node, SEARCH_NODE_SOLVED) ||
             !search_node_is(node, SEARCH_NODE_EXPANDED))) {
            hope[id] = 1;
            graph->queue[tail++] = id;
        }
    }
    for (size_t head = 0; head < tail; head++) {
        uint32_t l = search_node_at(graph, graph->queue[head])->first_in;
        for (; l != SEARCH_NONE; l = search_link_at(graph, l)->next) {
            uint32_t e = search_link_at(graph, l)->edge;
            const search_edge *edge = search_edge_at(graph, e);
            if (edge->dead || --missing[e] != 0 || edge->from == SEARCH_NONE || hope[edge->from]) {
                continue;
            }
            hope[edge->from] = 1;
            graph->queue[tail++] = edge->from;
        }
    }
}

bool search_graph_sweep(search_graph *graph)
{
    uint32_t *missing = pv_malloc(graph->edges.count * sizeof *missing);
    unsigned char *hope = pv_calloc(graph->nodes.count, 1);
    bool ok = missing != NULL && hope != NULL;
    if (ok) {
        for (uint32_t e = 0; e < graph->edges.count; e++) {
            missing[e] = search_edge_at(graph, e)->child_count;
        }
        spread_hope(graph, missing, hope);
        for (uint32_t id = 0; id < graph->nodes.count; id++) {
            if (!hope[id]) {
                search_graph_kill(graph, id);
            }
        }
        graph->swept_edges = graph->edges.count;
        graph->back_edges = 0;
    }
    pv_free(missing);
    pv_free(hope);
    return ok;
}

/* ---- taking a success back ---- */

static void forget_solved(search_graph *graph)
{
    for (uint32_t id = 0; id < graph->nodes.count; id++) {
        search_node_at(graph, id)->flags &= ~(uint32_t)(SEARCH_NODE_SOLVED | SEARCH_NODE_STALE);
    }
    for (uint32_t e = 0; e < graph->edges.count; e++) {
        search_edge *edge = search_edge_at(graph, e);
        edge->unsolved = edge->child_count;
    }
}

void search_graph_refuse(search_graph *graph, uint32_t edge_id, const char *message)
{
    search_edge *refused = search_edge_at(graph, edge_id);
    if (!refused->dead) {
        refused->dead = true;
        search_node_at(graph, refused->from)->live--;
    }
    refused->kind = SEARCH_FAILED;
    refused->message = message;
    forget_solved(graph);
    for (uint32_t e = 0; e < graph->edges.count; e++) {
        const search_edge *edge = search_edge_at(graph, e);
        if (edge->kind == SEARCH_CLOSED) {
            search_graph_solve(graph, edge->from);
        }
    }
    for (uint32_t id = 0; id < graph->nodes.count; id++) {
        if (is_stuck(search_node_at(graph, id))) {
            search_graph_kill(graph, id);
        }
        search_graph_offer(graph, id);
    }
}
