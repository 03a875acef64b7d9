/* Which nodes the root still needs. Settling a node makes no news for the nodes below it: a node
 * learns that nobody needs it when its turn comes. The usual case costs one walk up the best
 * path. */
#include "search_graph.h"

/* The edge still needs its children: it is alive, and so is the question it would answer. */
static bool needs_children(const search_graph *graph, const search_edge *edge)
{
    return !edge->dead && (edge->from == SEARCH_NONE ||
                           !search_node_is(search_node_at(graph, edge->from), SEARCH_NODE_SOLVED));
}

static bool best_path_open(const search_graph *graph, uint32_t id)
{
    for (uint32_t steps = graph->nodes.count + 1; steps > 0; steps--) {
        const search_node *node = search_node_at(graph, id);
        if (node->best_edge == SEARCH_NONE) {
            return false;
        }
        const search_edge *edge = search_edge_at(graph, node->best_edge);
        if (!needs_children(graph, edge)) {
            return false;
        }
        if (edge->from == SEARCH_NONE) {
            return true;
        }
        id = edge->from;
    }
    return false;
}

/* Adds the node to the nodes visited (graph->queue) unless it is there, or is known not to be
 * needed. */
static void visit(search_graph *graph, size_t *count, uint32_t id)
{
    search_node *node = search_node_at(graph, id);
    if (!search_node_is(node, SEARCH_NODE_MARK | SEARCH_NODE_STALE)) {
        node->flags |= SEARCH_NODE_MARK;
        graph->queue[(*count)++] = id;
    }
}

/* Looks at every edge into the node; true when one comes from the root. */
static bool look_up(search_graph *graph, size_t *count, uint32_t id)
{
    for (uint32_t l = search_node_at(graph, id)->first_in; l != SEARCH_NONE;
         l = search_link_at(graph, l)->next) {
        const search_edge *edge = search_edge_at(graph, search_link_at(graph, l)->edge);
        if (!needs_children(graph, edge)) {
            continue;
        }
        if (edge->from == SEARCH_NONE) {
            return true;
        }
        visit(graph, count, edge->from);
    }
    return false;
}

bool search_graph_needed(search_graph *graph, uint32_t id)
{
    if (search_node_is(search_node_at(graph, id), SEARCH_NODE_STALE)) {
        return false;
    }
    if (best_path_open(graph, id)) {
        return true;
    }
    size_t count = 0;
    bool found = false;
    visit(graph, &count, id);
    for (size_t head = 0; head < count && !found; head++) {
        found = look_up(graph, &count, graph->queue[head]);
    }
    /* Not found: the set is closed upwards and holds no way to the root, so all of it is stale. */
    for (size_t i = 0; i < count; i++) {
        search_node *node = search_node_at(graph, graph->queue[i]);
        node->flags &= ~(uint32_t)SEARCH_NODE_MARK;
        node->flags |= found ? 0 : SEARCH_NODE_STALE;
    }
    return found;
}

static void wake(search_graph *graph, size_t *count, uint32_t id)
{
    search_node *node = search_node_at(graph, id);
    if (search_node_is(node, SEARCH_NODE_STALE)) {
        node->flags &= ~(uint32_t)SEARCH_NODE_STALE;
        graph->queue[(*count)++] = id;
        search_graph_offer(graph, id);
    }
}

void search_graph_refresh(search_graph *graph, uint32_t id)
{
    size_t count = 0;
    wake(graph, &count, id);
    for (size_t head = 0; head < count; head++) {
        const search_node *node = search_node_at(graph, graph->queue[head]);
        for (uint32_t e = node->first_out; e != SEARCH_NONE;) {
            const search_edge *edge = search_edge_at(graph, e);
            for (uint32_t i = 0; i < edge->child_count && needs_children(graph, edge); i++) {
                wake(graph, &count, edge->children[i]);
            }
            e = edge->next_out;
        }
    }
}
