#include "tree_view.h"

#include "pv_mem.h"
#include "pv_utf8.h"

#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 60, CHILDREN_MAX = 6, DEPTH_MAX = 40, GOAL_WIDTH = 64 };

typedef struct view_edge {
    uint64_t from;
    char *tactic;
    double logprob;
    bool closed;
    uint64_t *children;
    size_t child_count;
} view_edge;

typedef struct view_node {
    char *goal; /* the target of the first goal */
    bool solved, on_proof, shown;
    size_t goal_count;
} view_node;

typedef struct view {
    view_node *nodes;
    size_t node_count, node_capacity;
    view_edge *edges;
    size_t edge_count, edge_capacity;
    size_t lines, hidden;
    pv_buf out;
} view;

/* What follows the turnstile, on one line. */
static char *target_of(const char *goal)
{
    const char *turnstile = strstr(goal, "\xe2\x8a\xa2");
    char *text = pv_strdup(turnstile == NULL ? goal : turnstile);
    for (char *c = text; c != NULL && *c != '\0'; c++) {
        if (*c == '\n') {
            *c = ' ';
        }
    }
    if (text != NULL && strlen(text) > GOAL_WIDTH) {
        text[pv_utf8_clip(text, strlen(text), GOAL_WIDTH)] = '\0';
    }
    return text;
}

static void on_node(void *user, const search_node_view *from)
{
    view *v = user;
    if (pv_grow((void **)&v->nodes, &v->node_capacity, v->node_count + 1, sizeof *v->nodes) != 0) {
        return;
    }
    view_node *node = &v->nodes[v->node_count++];
    memset(node, 0, sizeof *node);
    node->goal = target_of(from->goal_count > 0 ? from->goals[0] : "");
    node->goal_count = from->goal_count;
    node->solved = from->solved;
    node->on_proof = from->on_proof;
}

static void on_edge(void *user, const search_edge_view *from)
{
    view *v = user;
    if (from->kind != SEARCH_CLOSED && from->kind != SEARCH_OPEN) {
        return;
    }
    if (pv_grow((void **)&v->edges, &v->edge_capacity, v->edge_count + 1, sizeof *v->edges) != 0) {
        return;
    }
    uint64_t *children = pv_calloc(from->child_count + 1, sizeof *children);
    if (children == NULL) {
        return;
    }
    if (from->child_count > 0) {
        memcpy(children, from->children, from->child_count * sizeof *children);
    }
    v->edges[v->edge_count++] =
        (view_edge){from->from, pv_strdup(from->tactic), from->logprob, from->kind == SEARCH_CLOSED,
                    children,   from->child_count};
}

/* Edges by their node; within a node the solving ones first, then the likelier. */
static const view *sorting;

static bool solves(const view_edge *e)
{
    for (size_t i = 0; i < e->child_count; i++) {
        uint64_t child = e->children[i];
        if (child >= sorting->node_count || !sorting->nodes[child].solved) {
            return false;
        }
    }
    return true;
}

static int compare_edges(const void *a, const void *b)
{
    const view_edge *x = a, *y = b;
    if (x->from != y->from) {
        return x->from < y->from ? -1 : 1;
    }
    int solved = (int)solves(y) - (int)solves(x);
    if (solved != 0) {
        return solved;
    }
    return (x->logprob < y->logprob) - (x->logprob > y->logprob);
}

static const view_edge *first_edge(const view *v, uint64_t node)
{
    size_t low = 0, high = v->edge_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v->edges[mid].from < node) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return v->edges + low;
}

static void indent(view *v, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++) {
        pv_buf_puts(&v->out, "  ");
    }
}

static void draw_node(view *v, uint64_t id, unsigned depth);

static void draw_tactic(view *v, const view_edge *e, unsigned depth, bool on_proof)
{
    indent(v, depth);
    pv_buf_puts(&v->out, on_proof ? "* " : "- ");
    size_t n = strcspn(e->tactic, "\n");
    pv_buf_append(&v->out, e->tactic, n);
    pv_buf_printf(&v->out, "%s  (%.2f)%s\n", e->tactic[n] == '\0' ? "" : " ...", e->logprob,
                  e->closed ? "  closed" : "");
    v->lines++;
}

static void draw_edges(view *v, uint64_t id, unsigned depth)
{
    size_t drawn = 0;
    for (const view_edge *e = first_edge(v, id); e < v->edges + v->edge_count && e->from == id;
         e++) {
        if (drawn == CHILDREN_MAX || v->lines >= LINES_MAX || depth > DEPTH_MAX) {
            v->hidden++;
            continue;
        }
        bool proof = v->nodes[id].on_proof && drawn == 0 && solves(e);
        drawn++;
        draw_tactic(v, e, depth, proof);
        for (size_t i = 0; i < e->child_count; i++) {
            draw_node(v, e->children[i], depth + 1);
        }
    }
}

static void draw_node(view *v, uint64_t id, unsigned depth)
{
    if (id >= v->node_count) {
        return;
    }
    view_node *node = &v->nodes[id];
    indent(v, depth);
    pv_buf_printf(&v->out, "%s%s", node->goal == NULL ? "?" : node->goal,
                  node->solved ? "  [solved]" : "");
    if (node->goal_count > 1) {
        pv_buf_printf(&v->out, "  (+%zu goals)", node->goal_count - 1);
    }
    pv_buf_puts(&v->out, node->shown ? "  (above)\n" : "\n");
    v->lines++;
    if (!node->shown) {
        node->shown = true;
        draw_edges(v, id, depth + 1);
    }
}

static void release_view(view *v)
{
    for (size_t i = 0; i < v->node_count; i++) {
        pv_free(v->nodes[i].goal);
    }
    for (size_t i = 0; i < v->edge_count; i++) {
        pv_free(v->edges[i].tactic);
        pv_free(v->edges[i].children);
    }
    pv_free(v->nodes);
    pv_free(v->edges);
}

char *tree_view(const search_run *run)
{
    view v = {0};
    search_visit(run, on_node, on_edge, &v);
    sorting = &v;
    if (v.edge_count > 0) {
        qsort(v.edges, v.edge_count, sizeof *v.edges, compare_edges);
    }
    draw_node(&v, 0, 0);
    if (v.hidden > 0) {
        pv_buf_printf(&v.out, "... and %zu more tactics that led somewhere\n", v.hidden);
    }
    release_view(&v);
    return pv_buf_detach(&v.out);
}
