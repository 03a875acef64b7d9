/* The tree's invariants, for tests. */
#include "engine_tree_internal.h"

#include "pv_mem.h"

#include <string.h>

typedef struct tally { /* what the nodes say, to be compared with the books */
    uint32_t *refs;
    uint32_t *locks;
    uint64_t pending;
    uint32_t nodes;
    size_t findable;
} tally;

static const char *check_links(const engine_tree *tree, const engine_node *n)
{
    uint32_t locked_children = 0;
    for (const engine_node *c = n->first_child; c != NULL; c = c->next_sibling) {
        locked_children += c->locks > 0;
        if (c->parent != n || c->start != enginep_node_end(n)) {
            return "a child does not begin where its parent ends";
        }
        if (c->computed > 0 && n->computed < n->len) {
            return "tokens are computed behind tokens that are not";
        }
        if (!c->is_tip && enginep_child(tree, n, c->tokens[0]) != c) {
            return "a node is not found by its first token";
        }
    }
    if (n != tree->root && n->locks != n->handles + locked_children) {
        return "a lock count is wrong";
    }
    return NULL;
}

static const char *check_pages(const engine_tree *tree, const engine_node *n)
{
    if (n->page_count < enginep_slots(n->start, n->start + n->computed)) {
        return "computed tokens without a page";
    }
    if (n->computed > n->len) {
        return "more tokens computed than there are";
    }
    if (n->computed > 0) {
        uint32_t end = n->start + n->computed;
        uint32_t first = n->start / ENGINE_PAGE_TOKENS;
        uint32_t page = n->pages[(end - 1) / ENGINE_PAGE_TOKENS - first];
        if (tree->pages.filled[page] < (end - 1) % ENGINE_PAGE_TOKENS + 1) {
            return "a page is filled less than its node says";
        }
    }
    return NULL;
}

static const char *check_node(const engine_tree *tree, const engine_node *n, tally *t)
{
    const char *wrong = check_links(tree, n);
    wrong = wrong != NULL ? wrong : check_pages(tree, n);
    if (wrong != NULL || n == tree->root) {
        return wrong;
    }
    for (size_t i = 0; i < n->page_count; i++) {
        t->refs[n->pages[i]]++;
        t->locks[n->pages[i]] += n->locks > 0;
    }
    t->nodes++;
    t->findable += !n->is_tip;
    t->pending += n->is_tip ? 0 : n->len - n->computed;
    if (n->in_lru != (n->locks == 0 && n->first_child == NULL)) {
        return "the list of unlocked leaves is wrong";
    }
    if (n->locks == 0 && n->computed < n->len) {
        return "an unlocked node keeps uncomputed tokens";
    }
    return NULL;
}

static const engine_node *next_node(const engine_tree *tree, const engine_node *n)
{
    if (n->first_child != NULL) {
        return n->first_child;
    }
    while (n != tree->root && n->next_sibling == NULL) {
        n = n->parent;
    }
    return n == tree->root ? NULL : n->next_sibling;
}

static const char *check_books(const engine_tree *tree, const tally *t)
{
    uint32_t loose = 0;
    uint32_t locked = 0;
    for (uint32_t i = 0; i < tree->pages.count; i++) {
        uint32_t extra = tree->pages.refs[i] - t->refs[i];
        loose += extra;
        locked += tree->pages.locks[i] > 0;
        if (extra > 1 || tree->pages.locks[i] - t->locks[i] != extra) {
            return "the holders of a page are not those counted";
        }
    }
    if (loose != tree->loose || locked != tree->pages.locked) {
        return "the number of loose or locked pages is wrong";
    }
    if (t->pending != tree->counts.tokens_pending || t->nodes != tree->counts.nodes ||
        t->findable != tree->findable) {
        return "the number of nodes or of pending tokens is wrong";
    }
    return NULL;
}

pv_status engine_tree_check(const engine_tree *tree, pv_error *err)
{
    tally t = {0};
    t.refs = pv_calloc(tree->pages.count, sizeof *t.refs);
    t.locks = pv_calloc(tree->pages.count, sizeof *t.locks);
    if (t.refs == NULL || t.locks == NULL) {
        pv_free(t.refs);
        pv_free(t.locks);
        return pv_fail(err, PV_E_NOMEM, "no memory to check a prefix tree");
    }
    const char *wrong = NULL;
    for (const engine_node *n = tree->root; n != NULL && wrong == NULL; n = next_node(tree, n)) {
        wrong = check_node(tree, n, &t);
    }
    wrong = wrong != NULL ? wrong : check_books(tree, &t);
    pv_free(t.refs);
    pv_free(t.locks);
    return wrong == NULL ? PV_OK : pv_fail(err, PV_E_MISUSE, "%s", wrong);
}
