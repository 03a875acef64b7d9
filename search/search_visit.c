/* The graph, shown to whoever reports it. */
#include "pv_mem.h"
#include "search_extract.h"
#include "search_run.h"

typedef struct visitor {
    const search_graph *graph;
    const search_extract *extract;
    const char **goals;
    size_t goals_capacity;
    uint64_t *children;
    size_t children_capacity;
} visitor;

static bool view_node(visitor *v, uint32_t id, search_node_view *view)
{
    const search_node *node = search_node_at(v->graph, id);
    if (pv_grow((void **)&v->goals, &v->goals_capacity, node->goal_count, sizeof *v->goals) != 0) {
        return false;
    }
    search_node_goals(node, v->goals);
    const search_edge *edge =
        node->best_edge == SEARCH_NONE ? NULL : search_edge_at(v->graph, node->best_edge);
    bool has_parent = edge != NULL && edge->from != SEARCH_NONE;
    *view = (search_node_view){.id = id,
                               .key = node->key,
                               .goals = v->goals,
                               .goal_count = node->goal_count,
                               .logprob = node->logprob,
                               .depth = node->depth,
                               .parent = has_parent ? edge->from : UINT64_MAX,
                               .arrived_by = has_parent ? edge->tactic : NULL,
                               .score = search_graph_score(v->graph, node, 0),
                               .cost = v->extract->cost[id],
                               .expanded = search_node_is(node, SEARCH_NODE_EXPANDED) ||
                                           node->first_out != SEARCH_NONE,
                               .solved = search_node_is(node, SEARCH_NODE_SOLVED),
                               .dead = search_node_is(node, SEARCH_NODE_DEAD),
                               .on_proof = v->extract->on_proof[id]};
    return true;
}

static bool view_edge(visitor *v, uint32_t id, search_edge_view *view)
{
    const search_edge *edge = search_edge_at(v->graph, id);
    if (pv_grow((void **)&v->children, &v->children_capacity, edge->child_count,
                sizeof *v->children) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < edge->child_count; i++) {
        v->children[i] = edge->children[i];
    }
    *view = (search_edge_view){.from = edge->from,
                               .tactic = edge->tactic,
                               .logprob = edge->logprob,
                               .kind = (search_outcome_kind)edge->kind,
                               .children = v->children,
                               .child_count = edge->child_count,
                               .message = edge->message,
                               .smallest = v->extract->edge[edge->from] == id,
                               .on_proof = v->extract->on_proof[edge->from] &&
                                           v->extract->edge[edge->from] == id};
    return true;
}

static bool visit_edges(visitor *v, uint32_t id, void (*on_edge)(void *, const search_edge_view *),
                        void *user)
{
    for (uint32_t e = search_node_at(v->graph, id)->first_out; e != SEARCH_NONE;) {
        search_edge_view view;
        if (!view_edge(v, e, &view)) {
            return false;
        }
        on_edge(user, &view);
        e = search_edge_at(v->graph, e)->next_out;
    }
    return true;
}

void search_visit(const search_run *run, void (*on_node)(void *, const search_node_view *),
                  void (*on_edge)(void *, const search_edge_view *), void *user)
{
    search_extract extract;
    if (!search_extract_init(&extract, &run->graph)) {
        return;
    }
    visitor v = {.graph = &run->graph, .extract = &extract};
    bool ok = true;
    for (uint32_t id = 0; ok && id < run->graph.nodes.count; id++) {
        search_node_view view;
        ok = view_node(&v, id, &view);
        if (ok && on_node != NULL) {
            on_node(user, &view);
        }
        ok = ok && (on_edge == NULL || visit_edges(&v, id, on_edge, user));
    }
    search_extract_release(&extract);
    pv_free(v.goals);
    pv_free(v.children);
}
