/* Nodes, the table that finds them, and how they are cut in two and joined again. */
#include "engine_tree_internal.h"

#include "pv_hash.h"
#include "pv_mem.h"

#include <assert.h>
#include <string.h>

static size_t bucket_of(const engine_tree *tree, const engine_node *parent, uint32_t token)
{
    uint64_t h = pv_mix64(pv_mix64((uint64_t)(uintptr_t)parent) ^ token);
    return (size_t)h & (tree->bucket_count - 1);
}

engine_node *enginep_child(const engine_tree *tree, const engine_node *parent, uint32_t token)
{
    engine_node *n = tree->buckets[bucket_of(tree, parent, token)];
    while (n != NULL && (n->parent != parent || n->tokens[0] != token)) {
        n = n->hash_next;
    }
    return n;
}

enginep_place enginep_walk(const engine_tree *tree, engine_node *from, const uint32_t *tokens,
                           size_t n)
{
    enginep_place p = {from, from->len, 0, 0};
    while (p.matched < n && p.inside == p.node->len) {
        engine_node *next = enginep_child(tree, p.node, tokens[p.matched]);
        if (next == NULL) {
            break;
        }
        size_t limit = n - p.matched < next->len ? n - p.matched : next->len;
        size_t k = 1;
        while (k < limit && next->tokens[k] == tokens[p.matched + k]) {
            k++;
        }
        p.computed += k < next->computed ? k : next->computed;
        p.matched += k;
        p.node = next;
        p.inside = k;
    }
    return p;
}

/* A table that cannot grow stays correct, its chains get longer. */
static void grow_buckets(engine_tree *tree)
{
    size_t count = tree->bucket_count * 2;
    engine_node **old = tree->buckets;
    engine_node **grown = pv_calloc(count, sizeof(engine_node *));
    if (grown == NULL) {
        return;
    }
    size_t old_count = tree->bucket_count;
    tree->buckets = grown;
    tree->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (engine_node *n = old[i], *next; n != NULL; n = next) {
            next = n->hash_next;
            engine_node **head = &grown[bucket_of(tree, n->parent, n->tokens[0])];
            n->hash_next = *head;
            *head = n;
        }
    }
    pv_free(old);
}

static void hash_insert(engine_tree *tree, engine_node *node)
{
    if (tree->findable >= tree->bucket_count) {
        grow_buckets(tree);
    }
    engine_node **head = &tree->buckets[bucket_of(tree, node->parent, node->tokens[0])];
    node->hash_next = *head;
    *head = node;
    tree->findable++;
}

static void hash_remove(engine_tree *tree, engine_node *node)
{
    engine_node **at = &tree->buckets[bucket_of(tree, node->parent, node->tokens[0])];
    while (*at != node) {
        at = &(*at)->hash_next;
    }
    *at = node->hash_next;
    node->hash_next = NULL;
    tree->findable--;
}

engine_node *enginep_node_new(engine_tree *tree, const uint32_t *tokens, size_t n)
{
    engine_node *node = pv_calloc(1, sizeof *node);
    if (node == NULL || pv_grow((void **)&node->tokens, &node->capacity, n, sizeof *tokens) != 0) {
        pv_free(node);
        return NULL;
    }
    if (n > 0) {
        memcpy(node->tokens, tokens, n * sizeof *tokens);
    }
    node->len = n;
    tree->counts.nodes++;
    return node;
}

void enginep_node_free(engine_tree *tree, engine_node *node)
{
    tree->counts.nodes--;
    pv_free(node->tokens);
    pv_free(node->pages);
    pv_free(node);
}

void enginep_link(engine_tree *tree, engine_node *parent, engine_node *node)
{
    node->parent = parent;
    node->prev_sibling = NULL;
    node->next_sibling = parent->first_child;
    if (parent->first_child != NULL) {
        parent->first_child->prev_sibling = node;
    }
    parent->first_child = node;
    if (!node->is_tip) {
        hash_insert(tree, node);
    }
}

void enginep_unlink(engine_tree *tree, engine_node *node)
{
    if (!node->is_tip) {
        hash_remove(tree, node);
    }
    if (node->prev_sibling != NULL) {
        node->prev_sibling->next_sibling = node->next_sibling;
    } else {
        node->parent->first_child = node->next_sibling;
    }
    if (node->next_sibling != NULL) {
        node->next_sibling->prev_sibling = node->prev_sibling;
    }
    node->prev_sibling = node->next_sibling = NULL;
}

static void copy_words(uint32_t *to, const uint32_t *from, size_t n)
{
    if (n > 0) { /* memcpy() takes no NULL, even for nothing */
        memcpy(to, from, n * sizeof *to);
    }
}

/* The upper part takes the pages up to the cut. When computed tokens lie on both sides of it within one page, both
 * parts hold that page. A page that the lower part had only reserved is given back: it will be reserved again. */
static void split_pages(engine_tree *tree, engine_node *upper, engine_node *lower)
{
    uint32_t cut = lower->start;
    size_t shared_at = cut / ENGINE_PAGE_TOKENS - upper->start / ENGINE_PAGE_TOKENS;
    if (lower->computed == 0) {
        size_t keep = enginep_slots(upper->start, cut);
        enginep_drop_slots(tree, lower, keep < lower->page_count ? keep : lower->page_count);
        copy_words(upper->pages, lower->pages, lower->page_count);
        upper->page_count = lower->page_count;
        lower->page_count = 0;
        return;
    }
    upper->page_count = enginep_slots(upper->start, cut);
    copy_words(upper->pages, lower->pages, upper->page_count);
    if (upper->page_count > shared_at) { /* the cut is inside a page */
        engine_pages_ref(&tree->pages, upper->pages[shared_at]);
        if (lower->locks > 0) {
            engine_pages_lock(&tree->pages, upper->pages[shared_at]);
        }
    }
    lower->page_count -= shared_at;
    memmove(lower->pages, lower->pages + shared_at, lower->page_count * sizeof *lower->pages);
}

/* Cuts `node` before its token `at`. The new node is the upper part, so that handles keep naming the same end. */
pv_status enginep_split(engine_tree *tree, engine_node *node, size_t at, engine_node **out,
                        pv_error *err)
{
    assert(at > 0 && at < node->len && !node->is_tip);
    engine_node *upper = enginep_node_new(tree, node->tokens, at);
    size_t slots = enginep_slots(node->start, node->start + (uint32_t)at);
    if (upper == NULL ||
        pv_grow((void **)&upper->pages, &upper->page_capacity, slots, sizeof *upper->pages) != 0) {
        if (upper != NULL) {
            enginep_node_free(tree, upper);
        }
        return pv_fail(err, PV_E_NOMEM, "no memory to fork a prefix of %zu tokens", at);
    }
    engine_node *parent = node->parent;
    enginep_unlink(tree, node);
    upper->start = node->start;
    upper->computed = node->computed < at ? node->computed : (uint32_t)at;
    upper->stamp = node->stamp;
    upper->locks = node->locks > 0 ? 1 : 0;
    node->start += (uint32_t)at;
    node->computed -= upper->computed;
    node->len -= at;
    memmove(node->tokens, node->tokens + at, node->len * sizeof *node->tokens);
    split_pages(tree, upper, node);
    enginep_link(tree, parent, upper);
    enginep_link(tree, upper, node);
    *out = upper;
    return PV_OK;
}

/* Pages of the joined node: the parent's, the child's own in the slot where they meet. */
static void merge_pages(engine_tree *tree, engine_node *parent, engine_node *child,
                        uint32_t *joined)
{
    size_t base = child->start / ENGINE_PAGE_TOKENS - parent->start / ENGINE_PAGE_TOKENS;
    size_t keep = parent->page_count;
    if (child->page_count > 0 && keep > base) {
        enginep_drop_slots(tree, parent, base);
        keep = base;
    }
    copy_words(joined, parent->pages, keep);
    copy_words(joined + keep, child->pages, child->page_count);
    child->page_count += keep;
    parent->page_count = 0;
}

static bool is_needless(const engine_tree *tree, const engine_node *node)
{
    const engine_node *child = node->first_child;
    if (node == tree->root || node->is_tip || node->handles > 0 || node->computed < node->len ||
        child == NULL || child->next_sibling != NULL || child->is_tip) {
        return false;
    }
    /* A child without pages would go on in its parent's last page: only if nobody else did. */
    uint32_t slot = child->start % ENGINE_PAGE_TOKENS;
    return child->page_count > 0 || slot == 0 ||
           tree->pages.filled[node->pages[node->page_count - 1]] == slot;
}

/* A complete node with one child and no handle is needless: the child takes its tokens and pages over. Where parent and
 * child had a page each for the same 64 positions, the parent's is freed. Skipped when memory is short. */
void enginep_merge_into_child(engine_tree *tree, engine_node *parent)
{
    if (!is_needless(tree, parent)) {
        return;
    }
    engine_node *child = parent->first_child;
    size_t len = parent->len + child->len;
    size_t slots = parent->page_count + child->page_count;
    uint32_t *tokens = pv_malloc(len * sizeof *tokens);
    uint32_t *pages = pv_malloc(slots * sizeof *pages);
    if (tokens == NULL || pages == NULL) {
        pv_free(tokens);
        pv_free(pages);
        return;
    }
    memcpy(tokens, parent->tokens, parent->len * sizeof *tokens);
    memcpy(tokens + parent->len, child->tokens, child->len * sizeof *tokens);
    merge_pages(tree, parent, child, pages);
    engine_node *above = parent->parent;
    enginep_unlink(tree, child);
    enginep_unlink(tree, parent);
    pv_free(child->tokens);
    pv_free(child->pages);
    child->tokens = tokens;
    child->len = child->capacity = len;
    child->pages = pages;
    child->page_capacity = slots;
    child->start = parent->start;
    child->computed += parent->computed;
    enginep_link(tree, above, child);
    enginep_node_free(tree, parent);
}
