#include "engine_tree_internal.h"

#include "pv_mem.h"

#include <assert.h>
#include <string.h>

enum { BUCKETS_AT_START = 64 };

pv_status engine_tree_new(engine_tree **out, uint32_t pages, engine_copy_fn *copy, void *user,
                          pv_error *err)
{
    engine_tree *tree = pv_calloc(1, sizeof *tree);
    if (tree == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a prefix tree");
    }
    tree->copy = copy;
    tree->copy_user = user;
    tree->bucket_count = BUCKETS_AT_START;
    tree->buckets = pv_calloc(BUCKETS_AT_START, sizeof(engine_node *));
    tree->root = enginep_node_new(tree, NULL, 0);
    if (tree->buckets == NULL || tree->root == NULL) {
        engine_tree_free(tree);
        return pv_fail(err, PV_E_NOMEM, "no memory for a prefix tree");
    }
    tree->counts.nodes = 0;
    pv_status status = engine_pages_init(&tree->pages, pages, err);
    if (status != PV_OK) {
        engine_tree_free(tree);
        return status;
    }
    *out = tree;
    return PV_OK;
}

static engine_node *deepest_first(engine_node *node)
{
    while (node->first_child != NULL) {
        node = node->first_child;
    }
    return node;
}

void engine_tree_free(engine_tree *tree)
{
    if (tree == NULL) {
        return;
    }
    for (engine_node *n = tree->root; n != NULL;) {
        n = deepest_first(n);
        engine_node *parent = n->parent;
        if (parent != NULL) {
            parent->first_child = n->next_sibling;
        }
        enginep_node_free(tree, n);
        n = parent;
    }
    engine_pages_release(&tree->pages);
    pv_free(tree->buckets);
    pv_free(tree);
}

size_t engine_tree_match(const engine_tree *tree, const uint32_t *tokens, size_t n)
{
    return enginep_walk(tree, tree->root, tokens, n).computed;
}

size_t engine_tree_known(const engine_tree *tree, const uint32_t *tokens, size_t n)
{
    return enginep_walk(tree, tree->root, tokens, n).matched;
}

static void hold(engine_tree *tree, engine_node *node)
{
    node->handles++;
    enginep_lock(tree, node);
}

static pv_status add_node(engine_tree *tree, engine_node *parent, const uint32_t *tokens, size_t n,
                          engine_node **out, pv_error *err)
{
    engine_node *node = enginep_node_new(tree, tokens, n);
    if (node == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a prefix of %zu tokens", n);
    }
    node->start = enginep_node_end(parent);
    tree->counts.tokens_pending += n;
    /* In the list of nobody yet: the parent may be an unlocked leaf, and is so no longer. */
    enginep_lru_remove(tree, parent);
    enginep_link(tree, parent, node);
    *out = node;
    return PV_OK;
}

pv_status engine_tree_acquire(engine_tree *tree, const uint32_t *tokens, size_t n,
                              engine_node **out, pv_error *err)
{
    assert(n > 0);
    enginep_place at = enginep_walk(tree, tree->root, tokens, n);
    engine_node *node = at.node;
    if (at.inside < node->len) {
        pv_status status = enginep_split(tree, node, at.inside, &node, err);
        if (status != PV_OK) {
            return status;
        }
    }
    if (at.matched < n) {
        pv_status status = add_node(tree, node, tokens + at.matched, n - at.matched, &node, err);
        if (status != PV_OK) {
            enginep_settle(tree, node); /* joins again what was cut */
            return status;
        }
    }
    tree->counts.tokens_matched += at.matched;
    hold(tree, node);
    *out = node;
    return PV_OK;
}

void engine_tree_release(engine_tree *tree, engine_node *node)
{
    if (node != NULL) {
        assert(node->handles > 0);
        node->handles--;
        enginep_unlock(tree, node);
        enginep_settle(tree, node);
    }
}

pv_status engine_tree_tip(engine_tree *tree, engine_node *base, engine_node **out, pv_error *err)
{
    assert(!base->is_tip);
    engine_node *tip = enginep_node_new(tree, NULL, 0);
    if (tip == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a branch");
    }
    tip->is_tip = true;
    tip->start = enginep_node_end(base);
    enginep_lru_remove(tree, base);
    enginep_link(tree, base, tip);
    hold(tree, tip);
    *out = tip;
    return PV_OK;
}

pv_status engine_tree_append(engine_node *tip, uint32_t token, pv_error *err)
{
    assert(tip->is_tip);
    if (pv_grow((void **)&tip->tokens, &tip->capacity, tip->len + 1, sizeof token) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a branch of %zu tokens", tip->len + 1);
    }
    tip->tokens[tip->len++] = token;
    return PV_OK;
}

void engine_tree_discard(engine_tree *tree, engine_node *tip)
{
    if (tip == NULL) {
        return;
    }
    tip->computed = 0; /* settle() then drops it */
    engine_tree_release(tree, tip);
}

void engine_tree_cut(engine_tree *tree, engine_node *tip, size_t n)
{
    assert(tip->is_tip);
    if (n < tip->len && n > 0) {
        enginep_trim(tree, tip, n);
    } else if (n == 0) {
        tip->len = tip->computed = 0; /* its pages are for what comes next, or go with it */
    }
}

/* Hangs a tip that shares its first `skip` tokens with findable nodes below the last of these. */
static void move_tip(engine_tree *tree, engine_node *tip, engine_node *to, size_t skip)
{
    engine_node *from = tip->parent;
    uint32_t start = tip->start + (uint32_t)skip;
    size_t slots = start / ENGINE_PAGE_TOKENS - tip->start / ENGINE_PAGE_TOKENS;
    enginep_unlink(tree, tip);
    for (size_t i = 0; i < slots; i++) {
        engine_pages_unlock(&tree->pages, tip->pages[i]);
        engine_pages_unref(&tree->pages, tip->pages[i]);
    }
    tip->page_count -= slots;
    memmove(tip->pages, tip->pages + slots, tip->page_count * sizeof *tip->pages);
    tip->len -= skip;
    tip->computed -= (uint32_t)skip;
    memmove(tip->tokens, tip->tokens + skip, tip->len * sizeof *tip->tokens);
    tip->start = start;
    enginep_lru_remove(tree, to);
    enginep_link(tree, to, tip);
    enginep_lock(tree, to);
    enginep_unlock(tree, from);
    enginep_settle(tree, from);
}

/* Where the tip's tokens leave the findable nodes; NULL when it is not worth keeping. */
static engine_node *place_of_tip(engine_tree *tree, engine_node *tip, size_t *skip)
{
    enginep_place at = enginep_walk(tree, tip->parent, tip->tokens, tip->len);
    if (at.matched == tip->len || at.computed < at.matched) {
        return NULL; /* there already, or below tokens that somebody else is about to compute */
    }
    *skip = at.matched;
    engine_node *node = at.node;
    if (at.inside < node->len && enginep_split(tree, node, at.inside, &node, NULL) != PV_OK) {
        return NULL;
    }
    return node;
}

void engine_tree_commit(engine_tree *tree, engine_node *tip)
{
    assert(tip->is_tip && tip->handles == 1);
    if (tip->computed == 0) {
        engine_tree_discard(tree, tip);
        return;
    }
    enginep_trim(tree, tip, tip->computed);
    size_t skip = 0;
    engine_node *below = place_of_tip(tree, tip, &skip);
    if (below == NULL) {
        engine_tree_discard(tree, tip);
        return;
    }
    if (skip > 0) {
        move_tip(tree, tip, below, skip);
    }
    enginep_unlink(tree, tip);
    tip->is_tip = false;
    enginep_link(tree, below, tip);
    engine_tree_release(tree, tip);
}

engine_node *engine_tree_incomplete(engine_node *node)
{
    engine_node *found = NULL;
    for (; node != NULL && node->computed < node->len; node = node->parent) {
        found = node;
    }
    return found;
}

/* Removes the unlocked nodes below `top`, children before parents: a node that is reached unlocked is a leaf by then.
 * `next` and `parent` stay valid because nothing else is joined meanwhile. */
static void forget_below(engine_tree *tree, engine_node *top)
{
    tree->keep_chains = true;
    engine_node *n = top->first_child == NULL ? NULL : deepest_first(top);
    while (n != NULL) {
        engine_node *next = n->next_sibling;
        engine_node *parent = n->parent;
        if (n->locks == 0) {
            enginep_remove(tree, n);
        } else {
            enginep_merge_into_child(tree, n);
        }
        n = next != NULL ? deepest_first(next) : parent == top ? NULL : parent;
    }
    tree->keep_chains = false;
}

void engine_tree_forget(engine_tree *tree, const uint32_t *tokens, size_t n)
{
    enginep_place at = enginep_walk(tree, tree->root, tokens, n);
    if (at.matched < n) {
        return;
    }
    engine_node *hold_me = at.node == tree->root ? NULL : at.node;
    if (hold_me != NULL) {
        hold(tree, hold_me);
    }
    forget_below(tree, at.node);
    if (hold_me != NULL) {
        bool leaf = hold_me->first_child == NULL && hold_me->handles == 1;
        if (leaf && at.inside < hold_me->len) {
            enginep_trim(tree, hold_me, at.inside);
        }
        engine_tree_release(tree, hold_me);
    }
}

uint32_t engine_tree_available(const engine_tree *tree)
{
    return tree->pages.count - tree->pages.locked;
}

void engine_tree_counts_get(const engine_tree *tree, engine_tree_counts *out)
{
    *out = tree->counts;
    out->pages_total = tree->pages.count;
    out->pages_used = engine_pages_used(&tree->pages);
    out->pages_locked = tree->pages.locked;
    out->pages_peak = tree->pages.peak;
}
