/* The smallest proof: Knuth's generalisation of Dijkstra's algorithm to AND/OR graphs ("A
 * generalization of Dijkstra's algorithm", Information Processing Letters 6(1), 1977). The cost
 * of an edge is one plus the costs of its children, so costs become final in increasing order
 * and the choice never goes around a cycle. */
#include "search_extract.h"

#include "pv_mem.h"

#include <math.h>
#include <string.h>

typedef struct extraction {
    const search_graph *graph;
    search_extract *result;
    search_frontier waiting; /* nodes with a cost that is not final: a max-heap of negated costs */
    uint32_t *missing;       /* edge -> children without a final cost */
    double *sum;             /* edge -> costs of the children that have one */
} extraction;

static void offer_cost(extraction *x, uint32_t edge_id, double cost)
{
    uint32_t from = search_edge_at(x->graph, edge_id)->from;
    if (from != SEARCH_NONE && cost < x->result->cost[from]) {
        x->result->cost[from] = cost;
        x->result->edge[from] = edge_id;
        search_frontier_put(&x->waiting, from, -cost);
    }
}

static void spread_cost(extraction *x, uint32_t id)
{
    uint32_t l = search_node_at(x->graph, id)->first_in;
    for (; l != SEARCH_NONE; l = search_link_at(x->graph, l)->next) {
        uint32_t e = search_link_at(x->graph, l)->edge;
        if (!search_edge_solved(search_edge_at(x->graph, e))) {
            continue;
        }
        x->sum[e] += x->result->cost[id];
        if (--x->missing[e] == 0) {
            offer_cost(x, e, 1 + x->sum[e]);
        }
    }
}

static void choose_edges(extraction *x)
{
    for (uint32_t e = 0; e < x->graph->edges.count; e++) {
        const search_edge *edge = search_edge_at(x->graph, e);
        x->missing[e] = edge->child_count;
        if (edge->kind == SEARCH_CLOSED) {
            offer_cost(x, e, 1);
        }
    }
    const search_entry *top;
    while ((top = search_frontier_top(&x->waiting)) != NULL) {
        uint32_t id = top->id;
        search_frontier_remove(&x->waiting, id);
        spread_cost(x, id);
    }
}

/* graph->queue is scratch, but the graph is const here: a stack of its own. */
static bool mark_proof(search_extract *extract, const search_graph *graph)
{
    if (!search_edge_solved(search_edge_at(graph, SEARCH_ROOT_EDGE))) {
        return true;
    }
    uint32_t *stack = pv_malloc(graph->nodes.count * sizeof *stack);
    if (stack == NULL) {
        return false;
    }
    size_t top = 0;
    uint32_t e = SEARCH_ROOT_EDGE;
    for (;;) {
        const search_edge *edge = search_edge_at(graph, e);
        for (uint32_t i = 0; i < edge->child_count; i++) {
            uint32_t child = edge->children[i];
            if (!extract->on_proof[child]) {
                extract->on_proof[child] = true;
                stack[top++] = child;
            }
        }
        if (top == 0) {
            break;
        }
        e = extract->edge[stack[--top]];
    }
    pv_free(stack);
    return true;
}

static bool reserve(extraction *x)
{
    uint32_t nodes = x->graph->nodes.count;
    uint32_t edges = x->graph->edges.count;
    x->result->edge = pv_malloc(nodes * sizeof *x->result->edge);
    x->result->cost = pv_malloc(nodes * sizeof *x->result->cost);
    x->result->on_proof = pv_calloc(nodes, sizeof *x->result->on_proof);
    x->missing = pv_malloc(edges * sizeof *x->missing);
    x->sum = pv_calloc(edges, sizeof *x->sum);
    if (x->result->edge == NULL || x->result->cost == NULL || x->result->on_proof == NULL ||
        x->missing == NULL || x->sum == NULL || !search_frontier_reserve(&x->waiting, nodes)) {
        return false;
    }
    for (uint32_t id = 0; id < nodes; id++) {
        x->result->edge[id] = SEARCH_NONE;
        x->result->cost[id] = HUGE_VAL;
    }
    return true;
}

bool search_extract_init(search_extract *extract, const search_graph *graph)
{
    memset(extract, 0, sizeof *extract);
    extraction x = {.graph = graph, .result = extract};
    bool ok = reserve(&x);
    if (ok) {
        choose_edges(&x);
        ok = mark_proof(extract, graph);
    }
    search_frontier_release(&x.waiting);
    pv_free(x.missing);
    pv_free(x.sum);
    if (!ok) {
        search_extract_release(extract);
    }
    return ok;
}

void search_extract_release(search_extract *extract)
{
    pv_free(extract->edge);
    pv_free(extract->cost);
    pv_free(extract->on_proof);
    memset(extract, 0, sizeof *extract);
}
