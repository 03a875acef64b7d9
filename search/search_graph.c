#include "search_graph.h"

#include "pv_mem.h"
#include "search_rename.h"

#include <math.h>
#include <string.h>

enum { LENGTHS = 256 };

static double length_factor(double alpha, uint32_t depth)
{
    return depth == 0 ? 1.0 : pow((double)depth, -alpha);
}

bool search_graph_init(search_graph *graph, double alpha, uint32_t depth_max, uint64_t seed)
{
    memset(graph, 0, sizeof *graph);
    graph->nodes.item_size = sizeof(search_node);
    graph->edges.item_size = sizeof(search_edge);
    graph->links.item_size = sizeof(search_link);
    graph->frontier.seed = seed;
    graph->alpha = alpha;
    graph->depth_max = depth_max;
    graph->lengths = pv_malloc(LENGTHS * sizeof *graph->lengths);
    if (graph->lengths == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < LENGTHS; i++) {
        graph->lengths[i] = length_factor(alpha, i);
    }
    return true;
}

void search_graph_release(search_graph *graph)
{
    search_pages_release(&graph->nodes);
    search_pages_release(&graph->edges);
    search_pages_release(&graph->links);
    search_table_release(&graph->table);
    search_arena_release(&graph->arena);
    search_frontier_release(&graph->frontier);
    pv_free(graph->queue);
    pv_free(graph->lengths);
    memset(graph, 0, sizeof *graph);
}

/* What a state loses each time that it was asked about in vain: its next candidates are the unlikelier ones. A factor of e^2. */
static const double ASKED_LOSS = 2.0;

double search_graph_score(const search_graph *graph, const search_node *node, double loss)
{
    double factor = node->depth < LENGTHS ? graph->lengths[node->depth]
                                          : length_factor(graph->alpha, node->depth);
    return (node->logprob - loss - ASKED_LOSS * node->asked) * factor;
}

void search_node_goals(const search_node *node, const char **goals)
{
    const char *at = node->goals;
    for (uint32_t i = 0; i < node->goal_count; i++) {
        goals[i] = at;
        at += strlen(at) + 1;
    }
}

/* ---- nodes ---- */

static const char *pack_goals(search_arena *arena, const search_part *part)
{
    size_t total = 0;
    for (size_t i = 0; i < part->goal_count; i++) {
        total += strlen(part->goals[i]) + 1;
    }
    if (part->goal_count == 1) {
        return search_arena_text(arena, part->goals[0], total - 1);
    }
    char *packed = search_arena_alloc(arena, total);
    char *at = packed;
    for (size_t i = 0; packed != NULL && i < part->goal_count; i++) {
        size_t n = strlen(part->goals[i]) + 1;
        memcpy(at, part->goals[i], n);
        at += n;
    }
    return packed;
}

static bool reserve_node(search_graph *graph)
{
    size_t count = (size_t)graph->nodes.count + 1;
    return search_table_reserve(&graph->table) &&
           search_frontier_reserve(&graph->frontier, count) &&
           pv_grow((void **)&graph->queue, &graph->queue_capacity, count, sizeof *graph->queue) ==
               0;
}

/* Several goals are renamed by no script: which of them tactics see first changes. */
static search_names compare_names(const search_node *node, const search_part *part, pv_buf *rename)
{
    const char *at = node->goals;
    bool same = node->goal_count == part->goal_count;
    if (node->goal_count == 1 && same) {
        return search_rename(part->goals[0], at, rename);
    }
    pv_buf unused = {0};
    for (uint32_t i = 0; i < node->goal_count && same; i++) {
        same = search_rename(part->goals[i], at, &unused) == SEARCH_NAMES_SAME;
        at += strlen(at) + 1;
    }
    pv_buf_release(&unused);
    /* another number of goals is a fault of the verifier's, and seen by who adds the part */
    return same || node->goal_count != part->goal_count ? SEARCH_NAMES_SAME : SEARCH_NAMES_OTHER;
}

static pv_key key_with_names(const search_part *part)
{
    pv_key key = part->key;
    for (size_t i = 0; i < part->goal_count; i++) {
        key.hi = pv_mix64(key.hi ^ pv_hash_bytes(part->goals[i], strlen(part->goals[i]), key.lo));
        key.lo = pv_mix64(key.lo ^ key.hi);
    }
    return key;
}

search_arrival search_graph_arrive(const search_graph *graph, const search_part *part, pv_key *key,
                                   pv_buf *rename)
{
    uint32_t id;
    *key = part->key;
    if (!search_table_find(&graph->table, &graph->nodes, *key, &id)) {
        return SEARCH_ARRIVAL_NEW;
    }
    switch (compare_names(search_node_at(graph, id), part, rename)) {
    case SEARCH_NAMES_SAME:
        return SEARCH_ARRIVAL_SAME;
    case SEARCH_NAMES_RENAMED:
        return SEARCH_ARRIVAL_RENAMED;
    case SEARCH_NAMES_OTHER:
        break;
    }
    *key = key_with_names(part); /* of its own; the same texts come to the same one */
    return search_table_find(&graph->table, &graph->nodes, *key, &id) ? SEARCH_ARRIVAL_SAME
                                                                      : SEARCH_ARRIVAL_NEW;
}

bool search_graph_intern(search_graph *graph, const search_part *part, uint32_t *id, bool *is_new)
{
    *is_new = false;
    if (search_table_find(&graph->table, &graph->nodes, part->key, id)) {
        return true;
    }
    if (part->goal_count > UINT32_MAX || !reserve_node(graph)) {
        return false;
    }
    const char *goals = pack_goals(&graph->arena, part);
    search_node *node = goals == NULL ? NULL : search_pages_push(&graph->nodes);
    if (node == NULL) {
        return false;
    }
    *id = graph->nodes.count - 1;
    node->key = part->key;
    node->goals = goals;
    node->goal_count = (uint32_t)part->goal_count;
    node->logprob = -HUGE_VAL;
    node->depth = UINT32_MAX;
    node->best_edge = node->first_out = node->last_out = node->first_in = SEARCH_NONE;
    search_table_add(&graph->table, node->key, *id);
    *is_new = true;
    return true;
}

void search_graph_offer(search_graph *graph, uint32_t id)
{
    const search_node *node = search_node_at(graph, id);
    const uint32_t settled =
        SEARCH_NODE_EXPANDED | SEARCH_NODE_BUSY | SEARCH_NODE_SOLVED | SEARCH_NODE_DEAD;
    if (!search_node_is(node, settled) && node->depth < graph->depth_max) {
        search_frontier_put(&graph->frontier, id, search_graph_score(graph, node, 0));
    }
}

/* ---- best paths ---- */

static bool better_path(const search_graph *graph, const search_node *node, double logprob,
                        uint32_t depth)
{
    bool eligible = depth < graph->depth_max;
    bool was_eligible = node->depth < graph->depth_max;
    if (eligible != was_eligible) {
        return eligible;
    }
    if (logprob > node->logprob || logprob < node->logprob) {
        return logprob > node->logprob;
    }
    return depth < node->depth;
}

typedef struct path_queue { /* a ring over graph->queue; MARK: the node is in it */
    size_t head, len;
} path_queue;

static void enqueue(search_graph *graph, path_queue *queue, uint32_t id)
{
    search_node *node = search_node_at(graph, id);
    if (!search_node_is(node, SEARCH_NODE_MARK)) {
        node->flags |= SEARCH_NODE_MARK;
        graph->queue[(queue->head + queue->len++) % graph->queue_capacity] = id;
    }
}

static void improve_children(search_graph *graph, path_queue *queue, uint32_t edge_id)
{
    const search_edge *edge = search_edge_at(graph, edge_id);
    double logprob = 0;
    uint32_t depth = 0;
    if (edge->from != SEARCH_NONE) {
        const search_node *from = search_node_at(graph, edge->from);
        logprob = from->logprob + edge->logprob;
        depth = from->depth + 1;
    }
    for (uint32_t i = 0; i < edge->child_count; i++) {
        search_node *child = search_node_at(graph, edge->children[i]);
        if (better_path(graph, child, logprob, depth)) {
            child->logprob = logprob;
            child->depth = depth;
            child->best_edge = edge_id;
            graph->depth = depth > graph->depth ? depth : graph->depth;
            enqueue(graph, queue, edge->children[i]);
        }
    }
}

/* Label correction in first-in first-out order (Bellman and Ford): paths only get better, and
 * finitely often. */
static void improve_paths(search_graph *graph, uint32_t edge_id)
{
    path_queue queue = {0, 0};
    improve_children(graph, &queue, edge_id);
    while (queue.len > 0) {
        uint32_t id = graph->queue[queue.head];
        queue.head = (queue.head + 1) % graph->queue_capacity;
        queue.len--;
        search_node *node = search_node_at(graph, id);
        node->flags &= ~(uint32_t)SEARCH_NODE_MARK;
        search_graph_offer(graph, id);
        for (uint32_t e = node->first_out; e != SEARCH_NONE;) {
            const search_edge *edge = search_edge_at(graph, e);
            if (edge->kind == SEARCH_OPEN && !edge->dead) {
                improve_children(graph, &queue, e);
            }
            e = edge->next_out;
        }
    }
}

/* ---- edges ---- */

static const uint32_t *copy_indices(search_arena *arena, const uint32_t *indices, size_t n)
{
    uint32_t *copy = search_arena_alloc(arena, n * sizeof *copy);
    if (copy != NULL && n > 0) {
        memcpy(copy, indices, n * sizeof *copy);
    }
    return copy;
}

/* True when the goals of the children follow each other: then no order need be kept. */
static bool order_is_plain(const search_step *step)
{
    for (size_t i = 1; i < step->goal_count; i++) {
        if (step->order[i] < step->order[i - 1]) {
            return false;
        }
    }
    return true;
}

static bool copy_texts(search_graph *graph, search_edge *edge, const search_step *step)
{
    if (step->tactic != NULL) {
        edge->tactic = search_arena_text(&graph->arena, step->tactic, strlen(step->tactic));
    }
    if (step->message != NULL) {
        edge->message = search_arena_text(&graph->arena, step->message, strlen(step->message));
    }
    return (edge->tactic != NULL) == (step->tactic != NULL) &&
           (edge->message != NULL) == (step->message != NULL);
}

static bool copy_renames(search_graph *graph, search_edge *edge, const search_step *step)
{
    if (step->renames == NULL) {
        return true;
    }
    const char **copy = search_arena_zeroed(&graph->arena, step->child_count, sizeof *copy);
    bool ok = copy != NULL;
    for (size_t i = 0; i < step->child_count && ok; i++) {
        if (step->renames[i] != NULL) {
            copy[i] = search_arena_text(&graph->arena, step->renames[i], strlen(step->renames[i]));
            ok = copy[i] != NULL;
        }
    }
    edge->renames = copy;
    return ok;
}

static bool copy_children(search_graph *graph, search_edge *edge, const search_step *step)
{
    if (step->child_count == 0) {
        return true;
    }
    edge->children = copy_indices(&graph->arena, step->children, step->child_count);
    if (edge->children == NULL) {
        return false;
    }
    if (!order_is_plain(step)) {
        edge->order = copy_indices(&graph->arena, step->order, step->goal_count);
        return edge->order != NULL;
    }
    return true;
}

/* Everything of the edge that needs memory, so that what follows cannot fail. */
static bool fill_edge(search_graph *graph, search_edge *edge, const search_step *step)
{
    memset(edge, 0, sizeof *edge);
    edge->logprob = step->logprob;
    edge->kind = (uint8_t)step->kind;
    edge->from = step->from;
    edge->next_out = SEARCH_NONE;
    edge->dead = !search_edge_succeeded(edge);
    edge->child_count = (uint32_t)step->child_count;
    edge->goal_count = (uint32_t)step->goal_count;
    return copy_texts(graph, edge, step) && copy_children(graph, edge, step) &&
           copy_renames(graph, edge, step);
}

static bool add_links(search_graph *graph, const search_edge *edge, uint32_t edge_id)
{
    uint32_t before = graph->links.count;
    for (uint32_t i = 0; i < edge->child_count; i++) {
        search_link *link = search_pages_push(&graph->links);
        if (link == NULL) {
            graph->links.count = before;
            return false;
        }
        link->edge = edge_id;
    }
    for (uint32_t i = 0; i < edge->child_count; i++) {
        search_node *child = search_node_at(graph, edge->children[i]);
        search_link_at(graph, before + i)->next = child->first_in;
        child->first_in = before + i;
    }
    return true;
}

static void count_children(search_graph *graph, search_edge *edge)
{
    for (uint32_t i = 0; i < edge->child_count; i++) {
        const search_node *child = search_node_at(graph, edge->children[i]);
        edge->unsolved += !search_node_is(child, SEARCH_NODE_SOLVED);
        edge->dead = edge->dead || search_node_is(child, SEARCH_NODE_DEAD);
        graph->back_edges += search_node_is(child, SEARCH_NODE_EXPANDED | SEARCH_NODE_BUSY);
    }
    graph->and_edges += edge->child_count > 1;
}

static void append_out(search_graph *graph, uint32_t from, uint32_t edge_id)
{
    search_node *node = search_node_at(graph, from);
    if (node->last_out == SEARCH_NONE) {
        node->first_out = edge_id;
    } else {
        search_edge_at(graph, node->last_out)->next_out = edge_id;
    }
    node->last_out = edge_id;
}

static void activate(search_graph *graph, search_edge *edge, uint32_t edge_id)
{
    bool from_root = edge->from == SEARCH_NONE;
    if (!from_root && !edge->dead) {
        search_node_at(graph, edge->from)->live++;
    }
    /* Also when a child is dead already: every node has a path, if only for reports. */
    improve_paths(graph, edge_id);
    for (uint32_t i = 0; i < edge->child_count && !edge->dead; i++) {
        if (search_node_is(search_node_at(graph, edge->children[i]), SEARCH_NODE_STALE)) {
            search_graph_refresh(graph, edge->children[i]);
        }
    }
    if (edge->unsolved == 0 && !from_root) {
        search_graph_solve(graph, edge->from);
    }
}

bool search_graph_connect(search_graph *graph, const search_step *step, uint32_t *edge_out)
{
    search_edge filled;
    if (step->child_count > UINT32_MAX || step->goal_count > UINT32_MAX ||
        !fill_edge(graph, &filled, step)) {
        return false;
    }
    search_edge *edge = search_pages_push(&graph->edges);
    if (edge == NULL) {
        return false;
    }
    uint32_t edge_id = graph->edges.count - 1;
    *edge = filled;
    if (!add_links(graph, edge, edge_id)) {
        graph->edges.count--;
        return false;
    }
    if (edge->from != SEARCH_NONE) {
        append_out(graph, edge->from, edge_id);
    }
    if (search_edge_succeeded(edge)) {
        count_children(graph, edge);
        activate(graph, edge, edge_id);
    }
    if (edge_out != NULL) {
        *edge_out = edge_id;
    }
    return true;
}
