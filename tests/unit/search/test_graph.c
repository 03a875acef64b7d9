#include "pv_mem.h"
#include "search_graph.h"

#include <criterion/criterion.h>
#include <math.h>

/* ---- building by hand ---- */

static uint32_t add_node(search_graph *g, uint64_t name)
{
    const char *goal = "goal";
    search_part part = {.key = {0, name}, .goals = &goal, .goal_count = 1};
    uint32_t id;
    bool is_new;
    cr_assert(search_graph_intern(g, &part, &id, &is_new));
    return id;
}

static uint32_t add_edge(search_graph *g, uint32_t from, double logprob, const uint32_t *children,
                         size_t n)
{
    search_step step = {.from = from,
                        .tactic = "t",
                        .logprob = logprob,
                        .kind = n == 0 ? SEARCH_CLOSED : SEARCH_OPEN,
                        .children = children,
                        .child_count = n};
    uint32_t edge;
    cr_assert(search_graph_connect(g, &step, &edge));
    return edge;
}

static uint32_t edge1(search_graph *g, uint32_t from, double logprob, uint32_t child)
{
    return add_edge(g, from, logprob, &child, 1);
}

static void start(search_graph *g, uint32_t *root)
{
    cr_assert(search_graph_init(g, 0.5, 1000, 1));
    *root = add_node(g, 1000);
    edge1(g, SEARCH_NONE, 0, *root);
}

static bool is(const search_graph *g, uint32_t id, uint32_t flag)
{
    return search_node_is(search_node_at(g, id), flag);
}

Test(search_graph, solved_goes_up_through_and_edges)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t pair[2] = {add_node(&g, 1), add_node(&g, 2)};
    add_edge(&g, root, -1, pair, 2);
    add_edge(&g, pair[0], -1, NULL, 0);
    cr_assert(is(&g, pair[0], SEARCH_NODE_SOLVED));
    cr_assert(!search_graph_root_solved(&g));
    add_edge(&g, pair[1], -1, NULL, 0);
    cr_assert(search_graph_root_solved(&g));
    search_graph_release(&g);
}

Test(search_graph, a_child_that_comes_twice_is_counted_twice)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t child = add_node(&g, 1);
    uint32_t pair[2] = {child, child};
    add_edge(&g, root, -1, pair, 2);
    add_edge(&g, child, -1, NULL, 0);
    cr_assert(search_graph_root_solved(&g));
    search_graph_release(&g);
}

Test(search_graph, a_cycle_does_not_solve_itself)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t a = add_node(&g, 1);
    edge1(&g, root, -1, a);
    edge1(&g, a, -1, root);
    cr_assert(!search_graph_root_solved(&g));
    search_graph_finish(&g, a);
    search_graph_finish(&g, root);
    cr_assert(!is(&g, root, SEARCH_NODE_DEAD), "counters cannot see it");
    cr_assert(search_graph_sweep(&g));
    cr_assert(is(&g, root, SEARCH_NODE_DEAD) && is(&g, a, SEARCH_NODE_DEAD));
    search_graph_release(&g);
}

Test(search_graph, dead_goes_up_when_the_last_edge_dies)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t a = add_node(&g, 1);
    uint32_t pair[2] = {add_node(&g, 2), add_node(&g, 3)};
    edge1(&g, root, -1, a);
    add_edge(&g, root, -1, pair, 2);
    search_graph_finish(&g, root);
    search_graph_finish(&g, pair[0]);
    cr_assert(is(&g, pair[0], SEARCH_NODE_DEAD) && !is(&g, root, SEARCH_NODE_DEAD));
    cr_assert(!search_graph_needed(&g, pair[1]), "its sibling is dead");
    cr_assert(search_graph_needed(&g, a));
    search_graph_finish(&g, a);
    cr_assert(is(&g, root, SEARCH_NODE_DEAD));
    cr_assert(search_edge_at(&g, SEARCH_ROOT_EDGE)->dead);
    search_graph_release(&g);
}

Test(search_graph, a_stale_node_comes_back_with_all_below_it)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t pair[2] = {add_node(&g, 1), add_node(&g, 2)};
    add_edge(&g, root, -1, pair, 2);
    uint32_t below = add_node(&g, 3);
    edge1(&g, pair[1], -1, below);
    search_graph_finish(&g, pair[1]);
    search_graph_finish(&g, pair[0]); /* dead: pair[1] and below are of no use */
    cr_assert(!search_graph_needed(&g, below));
    search_frontier_remove(&g.frontier, below);
    edge1(&g, root, -2, pair[1]);
    cr_assert(search_frontier_has(&g.frontier, below));
    cr_assert(search_graph_needed(&g, below));
    search_graph_release(&g);
}

Test(search_graph, a_better_path_moves_all_below_it)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t a = add_node(&g, 1);
    uint32_t b = add_node(&g, 2);
    uint32_t c = add_node(&g, 3);
    edge1(&g, root, -5, a);
    edge1(&g, a, -1, b);
    edge1(&g, b, -1, c);
    cr_assert_float_eq(search_node_at(&g, c)->logprob, -7, 1e-12);
    edge1(&g, root, -0.5, b);
    cr_assert_float_eq(search_node_at(&g, c)->logprob, -1.5, 1e-12);
    cr_assert_eq(search_node_at(&g, c)->depth, 2);
    edge1(&g, c, 0, a); /* a way around, for nothing: also better */
    cr_assert_float_eq(search_node_at(&g, a)->logprob, -1.5, 1e-12);
    edge1(&g, c, 0, b); /* a cycle without a cost improves nothing */
    cr_assert_eq(search_node_at(&g, b)->depth, 1);
    search_graph_release(&g);
}

Test(search_graph, scores_divide_by_the_length)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t a = add_node(&g, 1);
    uint32_t b = add_node(&g, 2);
    edge1(&g, root, -3, a);
    edge1(&g, a, -1, b);
    cr_assert_float_eq(search_graph_score(&g, search_node_at(&g, b), 0), -4 / sqrt(2), 1e-12);
    cr_assert_float_eq(search_graph_score(&g, search_node_at(&g, b), 1), -5 / sqrt(2), 1e-12);
    cr_assert_float_eq(search_graph_score(&g, search_node_at(&g, root), 0), 0, 1e-12);
    search_graph_release(&g);
}

Test(search_graph, refusing_an_edge_takes_back_what_it_solved)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint32_t a = add_node(&g, 1);
    edge1(&g, root, -1, a);
    uint32_t closing = add_edge(&g, a, -1, NULL, 0);
    cr_assert(search_graph_root_solved(&g));
    search_graph_refuse(&g, closing, "no");
    cr_assert(!search_graph_root_solved(&g));
    cr_assert(search_frontier_has(&g.frontier, a));
    cr_assert_eq(search_edge_at(&g, closing)->kind, SEARCH_FAILED);
    add_edge(&g, a, -1, NULL, 0);
    cr_assert(search_graph_root_solved(&g));
    search_graph_release(&g);
}

/* ---- against definitions ---- */

enum { NODES = 14 };

/* The least set that contains the ground and, with all children of an edge, its source. */
static void close_upwards(const search_graph *g, bool *in)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t e = 1; e < g->edges.count; e++) {
            const search_edge *edge = search_edge_at(g, e);
            bool all = search_edge_succeeded(edge) && !in[edge->from];
            for (uint32_t i = 0; i < edge->child_count && all; i++) {
                all = in[edge->children[i]];
            }
            if (all) {
                in[edge->from] = true;
                changed = true;
            }
        }
    }
}

static void check_solved(const search_graph *g, bool *solved)
{
    memset(solved, 0, NODES * sizeof *solved);
    close_upwards(g, solved);
    for (uint32_t id = 0; id < g->nodes.count; id++) {
        cr_assert_eq(is(g, id, SEARCH_NODE_SOLVED), solved[id]);
    }
}

static void check_dead(const search_graph *g, bool exact)
{
    bool hope[NODES];
    for (uint32_t id = 0; id < g->nodes.count; id++) {
        hope[id] = !is(g, id, SEARCH_NODE_EXPANDED);
    }
    close_upwards(g, hope);
    for (uint32_t id = 0; id < g->nodes.count; id++) {
        bool dead = is(g, id, SEARCH_NODE_DEAD);
        cr_assert(!dead || !hope[id], "a dead node could still be solved");
        cr_assert(!exact || dead == !hope[id], "a hopeless node was not found");
    }
}

static bool needed_by_definition(const search_graph *g, uint32_t target)
{
    bool reached[NODES] = {false};
    reached[0] = true;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t e = 1; e < g->edges.count; e++) {
            const search_edge *edge = search_edge_at(g, e);
            bool open = search_edge_succeeded(edge) && reached[edge->from] &&
                        !is(g, edge->from, SEARCH_NODE_SOLVED);
            for (uint32_t i = 0; i < edge->child_count; i++) {
                open = open && !is(g, edge->children[i], SEARCH_NODE_DEAD);
            }
            for (uint32_t i = 0; i < edge->child_count && open; i++) {
                changed = changed || !reached[edge->children[i]];
                reached[edge->children[i]] = true;
            }
        }
    }
    return reached[target] && !is(g, 0, SEARCH_NODE_DEAD);
}

static void check_needed(search_graph *g)
{
    for (uint32_t id = 0; id < g->nodes.count; id++) {
        cr_assert_eq(search_graph_needed(g, id), needed_by_definition(g, id), "node %u", id);
    }
}

/* Every node has a simple path that ends in the root, and its label is not better than its
 * parent's makes it. */
static void check_paths(const search_graph *g)
{
    for (uint32_t id = 0; id < g->nodes.count; id++) {
        uint32_t at = id;
        uint32_t steps = 0;
        if (search_node_at(g, id)->best_edge == SEARCH_NONE) {
            continue; /* made, but not connected */
        }
        while (search_node_at(g, at)->best_edge != SEARCH_ROOT_EDGE) {
            const search_node *node = search_node_at(g, at);
            const search_edge *edge = search_edge_at(g, node->best_edge);
            cr_assert_leq(node->logprob, search_node_at(g, edge->from)->logprob + edge->logprob);
            at = edge->from;
            cr_assert_lt(steps++, NODES, "a path goes in circles");
        }
    }
}

static void add_random_edge(search_graph *g, uint32_t from, uint64_t *x)
{
    uint32_t children[3];
    *x = pv_mix64(*x);
    size_t n = *x % 16 == 0 ? 0 : 1 + (*x >> 8) % 3;
    for (size_t i = 0; i < n; i++) {
        *x = pv_mix64(*x);
        children[i] = add_node(g, 1000 + *x % NODES);
        if (children[i] == from) {
            return; /* the search takes such a tactic for one that changed nothing */
        }
    }
    *x = pv_mix64(*x);
    add_edge(g, from, -(double)(*x % 4), children, n);
}

static void random_history(uint64_t seed)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    uint64_t x = seed;
    bool solved[NODES];
    for (int step = 0; step < 60; step++) {
        x = pv_mix64(x);
        uint32_t id = (uint32_t)(x % g.nodes.count);
        const uint32_t over = SEARCH_NODE_SOLVED | SEARCH_NODE_DEAD | SEARCH_NODE_EXPANDED;
        if (search_node_is(search_node_at(&g, id), over) || !search_graph_needed(&g, id)) {
            continue; /* the search expands no such node */
        }
        if (x >> 32 & 1) {
            add_random_edge(&g, id, &x);
        } else {
            search_graph_finish(&g, id);
        }
        check_solved(&g, solved);
        check_dead(&g, false);
        check_needed(&g);
        check_paths(&g);
        if (step % 10 == 9) {
            cr_assert(search_graph_sweep(&g));
            check_dead(&g, true);
            check_needed(&g);
        }
    }
    search_graph_release(&g);
}

Test(search_graph, random_histories_agree_with_the_definitions)
{
    uint64_t live = pv_mem_live();
    for (uint64_t seed = 0; seed < 3000; seed++) {
        random_history(seed);
    }
    cr_assert_eq(pv_mem_live(), live);
}

Test(search_graph, finds_ten_thousand_keys_again)
{
    search_graph g;
    uint32_t root;
    start(&g, &root);
    for (uint64_t i = 0; i < 10000; i++) {
        cr_assert_eq(add_node(&g, 5000 + i), i + 1);
    }
    for (uint64_t i = 0; i < 10000; i++) {
        cr_assert_eq(add_node(&g, 5000 + i), i + 1);
    }
    cr_assert_eq(g.nodes.count, 10001);
    search_graph_release(&g);
}
