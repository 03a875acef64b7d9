/* search_graph: what the search knows: states, the tactics tried on them, and what is solved.
 * Internal to search/.
 *
 * A node is a part of the problem (an OR node: one edge that succeeds solves it). An edge is a
 * tactic applied to a node; it is solved when all its children are (an AND edge). Edge 0 is the
 * root: no tactic, from nowhere, to the parts of the problem. Nodes are merged by key, so the
 * graph may have cycles. Invariants:
 * - solved is well-founded: a node becomes solved by an edge whose children were all solved
 *   before it;
 * - dead is sound: a dead node cannot become solved whatever is tried; a node is never both;
 * - edge.unsolved counts the children (with repetition) that are not solved; node.live the edges
 *   that are not dead;
 * - the best path of a node (best_edge upwards) is simple and ends in edge 0: paths are compared
 *   by eligibility, then by the sum S of log-probabilities, then by fewer steps, and none of
 *   these improves around a cycle;
 * - the frontier holds no node that is solved, dead, expanded or busy.
 *
 * Room is reserved when a node is added, so that nothing but adding can run out of memory. */
#ifndef SEARCH_GRAPH_H
#define SEARCH_GRAPH_H

#include "pv_buf.h"
#include "search_arena.h"
#include "search_frontier.h"
#include "search_outcome.h"
#include "search_table.h"

#define SEARCH_NONE UINT32_MAX

enum { SEARCH_ROOT_EDGE = 0 };

enum {
    SEARCH_NODE_EXPANDED = 1, /* every candidate has been tried                         */
    SEARCH_NODE_BUSY = 2,     /* an expansion of it is in flight                         */
    SEARCH_NODE_SOLVED = 4,
    SEARCH_NODE_DEAD = 8,
    SEARCH_NODE_STALE = 16, /* no open way leads from the root to it (see search_graph_needed) */
    SEARCH_NODE_MARK = 32,  /* scratch of one traversal                                */
};

typedef struct search_node {
    pv_key key; /* first: search_table reads it */
    search_handle *handle;
    const char *goals; /* goal_count texts, each with its NUL, one after the other */
    double logprob;    /* S of the best path */
    uint32_t goal_count;
    uint32_t depth; /* L of the best path */
    uint32_t best_edge;
    uint32_t first_out, last_out; /* edges, in the order in which they were added */
    uint32_t first_in;            /* link */
    uint32_t live;                /* outgoing edges that are not dead */
    uint32_t
        busy_children; /* expansions in flight among the nodes whose best path comes from here */
    uint32_t flags;
    uint32_t asked; /* times that all its candidates were tried, and it was not finished */
} search_node;

typedef struct search_edge {
    const char *tactic;
    const uint32_t *children; /* child_count nodes */
    const uint32_t
        *order; /* goal_count child indices; NULL: the children's goals follow each other */
    const char *const *renames; /* child_count scripts, each NULL or what gives the names of the
                                 * child's node to what arrives here; NULL: none is needed */
    const char *message;        /* negatives: Lean's message; else NULL */
    double logprob;
    uint32_t from;
    uint32_t next_out;
    uint32_t child_count, goal_count;
    uint32_t unsolved;
    uint8_t kind; /* search_outcome_kind; CLOSED and OPEN are the successful ones */
    bool dead;
} search_edge;

typedef struct search_link { /* one child of an edge, seen from the child */
    uint32_t edge;
    uint32_t next;
} search_link;

typedef struct search_graph {
    search_pages nodes, edges, links;
    search_table table;
    search_arena arena;
    search_frontier frontier;
    uint32_t *queue; /* scratch for traversals: room for every node once */
    size_t queue_capacity;
    double alpha;       /* exponent of the length */
    uint32_t depth_max; /* deeper nodes are kept but not expanded */
    uint32_t depth;     /* longest best path so far */
    uint64_t changes; /* nodes that became solved or dead: lets the owner see that something did */
    uint32_t and_edges, back_edges; /* edges with several children; edges to expanded nodes */
    uint32_t swept_edges;           /* edges at the last sweep */
    double *lengths;                /* L^-alpha for small L */
} search_graph;

/* An edge to be added. `order` follows search_outcome; children are nodes of the graph. All
 * copied. */
typedef struct search_step {
    uint32_t from;
    const char *tactic; /* NULL: none (the root) */
    double logprob;
    search_outcome_kind kind;
    const char *message;
    const uint32_t *children;
    const char *const *renames; /* child_count scripts or NULLs (search_edge); NULL: none */
    size_t child_count;
    const uint32_t *order;
    size_t goal_count;
} search_step;

static inline search_node *search_node_at(const search_graph *graph, uint32_t id)
{
    return search_pages_at(&graph->nodes, id);
}

static inline search_edge *search_edge_at(const search_graph *graph, uint32_t id)
{
    return search_pages_at(&graph->edges, id);
}

static inline search_link *search_link_at(const search_graph *graph, uint32_t id)
{
    return search_pages_at(&graph->links, id);
}

static inline bool search_node_is(const search_node *node, uint32_t flags)
{
    return (node->flags & flags) != 0;
}

static inline bool search_edge_succeeded(const search_edge *edge)
{
    return edge->kind == SEARCH_CLOSED || edge->kind == SEARCH_OPEN;
}

/* An edge that can be part of a proof now. */
static inline bool search_edge_solved(const search_edge *edge)
{
    return search_edge_succeeded(edge) && edge->unsolved == 0;
}

/* False when memory is short; release in any case. */
bool search_graph_init(search_graph *graph, double alpha, uint32_t depth_max, uint64_t seed);
void search_graph_release(search_graph *graph);

/* How a part arrives at the node of its key. */
typedef enum search_arrival {
    SEARCH_ARRIVAL_NEW,     /* there is no such node                                          */
    SEARCH_ARRIVAL_SAME,    /* there is, and its tactics can be used as they are               */
    SEARCH_ARRIVAL_RENAMED, /* after the script that was appended to *rename                   */
} search_arrival;

/* Looks the part up, without adding it. *key is where its node is or will be: another than the part's
 * when the node there has hypotheses of other names and no script brings them together. */
search_arrival search_graph_arrive(const search_graph *graph, const search_part *part, pv_key *key,
                                   pv_buf *rename);

/* The node of the part's key, added (without handle and path) when it is new. False when memory
 * is short. */
bool search_graph_intern(search_graph *graph, const search_part *part, uint32_t *id, bool *is_new);

/* Adds the edge, improves the paths below it, and settles what becomes solved or dead by it.
 * False when memory is short: nothing was added. *edge may be NULL. */
bool search_graph_connect(search_graph *graph, const search_step *step, uint32_t *edge);

/* Priority: (S - loss) / L^alpha. */
double search_graph_score(const search_graph *graph, const search_node *node, double loss);

/* Puts the node into the frontier when it waits for expansion, or moves it to its new score. */
void search_graph_offer(search_graph *graph, uint32_t id);

/* Goals as an array: writes node->goal_count pointers. */
void search_node_goals(const search_node *node, const char **goals);

/* ---- search_settle.c: solved and dead ---- */

bool search_graph_root_solved(const search_graph *graph);

/* Tells everything above that the node became solved, or dead. Idempotent. */
void search_graph_solve(search_graph *graph, uint32_t id);
void search_graph_kill(search_graph *graph, uint32_t id);

/* Every candidate of the node has been tried: it is dead when no edge lives. */
void search_graph_finish(search_graph *graph, uint32_t id);

/* Finds nodes that only wait for each other in cycles, which counters cannot see, and settles
 * them as dead. False when memory is short. search_graph_sweep_due: enough was added since the
 * last sweep that it pays. */
bool search_graph_sweep(search_graph *graph);
bool search_graph_sweep_due(const search_graph *graph);

/* Takes the success of an edge back; solved is worked out anew, and all that waits for expansion
 * is offered again. */
void search_graph_refuse(search_graph *graph, uint32_t edge, const char *message);

/* ---- search_need.c: relevance ---- */

/* True when some chain of edges that are neither dead nor leave a solved node leads from the
 * root to the node. When none does, the node and all above it are marked stale. */
bool search_graph_needed(search_graph *graph, uint32_t id);

/* An edge from a needed node reached this stale node: it and what hangs below it are offered
 * again. */
void search_graph_refresh(search_graph *graph, uint32_t id);

#endif
