#include "whole_tree.h"

#include "pv_mem.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const double DISCOUNT = 0.99;

static pv_status push(whole_tree *tree, size_t parent, pv_key key, const char *body, size_t n,
                      pv_error *err)
{
    whole_node node = {.key = key, .parent = parent, .body = pv_strndup(body, n)};
    if (node.body == NULL || pv_grow((void **)&tree->nodes, &tree->capacity, tree->count + 1,
                                     sizeof *tree->nodes) != 0) {
        pv_free(node.body);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    tree->nodes[tree->count++] = node;
    return PV_OK;
}

pv_status whole_tree_init(whole_tree *tree, pv_key root, pv_error *err)
{
    memset(tree, 0, sizeof *tree);
    return push(tree, SIZE_MAX, root, "", 0, err);
}

void whole_tree_release(whole_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        pv_free(tree->nodes[i].body);
    }
    pv_free(tree->nodes);
    memset(tree, 0, sizeof *tree);
}

/* ---- selection ---- */

static double visits_of(const whole_option *o)
{
    return o->visits + o->running;
}

/* Infinite for what was never chosen. */
static double bound_of(const whole_option *o, double all)
{
    double n = visits_of(o);
    return n <= 0 ? INFINITY : o->reward / n + sqrt(2 * log(fmax(all, 1)) / n);
}

static double all_visits(const whole_tree *tree, size_t node)
{
    double all = visits_of(&tree->nodes[node].stay);
    for (size_t i = node + 1; i < tree->count; i++) {
        all += tree->nodes[i].parent == node ? visits_of(&tree->nodes[i].come) : 0;
    }
    return all;
}

/* The best option at a node: the node itself, or one of its children; of equal ones the first. */
static size_t choose(const whole_tree *tree, size_t node)
{
    double all = all_visits(tree, node), best_bound = bound_of(&tree->nodes[node].stay, all);
    size_t best = node;
    for (size_t i = node + 1; i < tree->count; i++) {
        const whole_node *child = &tree->nodes[i];
        if (child->parent == node && bound_of(&child->come, all) > best_bound) {
            best = i;
            best_bound = bound_of(&child->come, all);
        }
    }
    return best;
}

size_t whole_tree_select(const whole_tree *tree)
{
    size_t node = WHOLE_ROOT;
    for (;;) {
        size_t next = choose(tree, node);
        if (next == node) {
            return node;
        }
        node = next;
    }
}

/* ---- visits ---- */

void whole_tree_begin(whole_tree *tree, size_t node)
{
    tree->nodes[node].stay.running++;
    for (size_t i = node; i != WHOLE_ROOT; i = tree->nodes[i].parent) {
        tree->nodes[i].come.running++;
    }
}

static void end_visit(whole_option *o, bool reward)
{
    o->running--;
    o->visits += 1;
    o->reward += reward;
}

/* All options at the node grow older. */
static void discount(whole_tree *tree, size_t node)
{
    tree->nodes[node].stay.visits *= DISCOUNT;
    tree->nodes[node].stay.reward *= DISCOUNT;
    for (size_t i = node + 1; i < tree->count; i++) {
        if (tree->nodes[i].parent == node) {
            tree->nodes[i].come.visits *= DISCOUNT;
            tree->nodes[i].come.reward *= DISCOUNT;
        }
    }
}

void whole_tree_end(whole_tree *tree, size_t node, bool reward)
{
    discount(tree, node);
    end_visit(&tree->nodes[node].stay, reward);
    for (size_t i = node; i != WHOLE_ROOT; i = tree->nodes[i].parent) {
        discount(tree, tree->nodes[i].parent);
        end_visit(&tree->nodes[i].come, reward);
    }
}

pv_status whole_tree_add(whole_tree *tree, size_t parent, pv_key key, const char *body, size_t n,
                         bool *added, pv_error *err)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (pv_key_equal(tree->nodes[i].key, key)) {
            *added = false;
            return PV_OK;
        }
    }
    pv_status status = push(tree, parent, key, body, n, err);
    *added = status == PV_OK;
    return status;
}
