/* Locks, page reservation with copy-on-write, and eviction. */
#include "engine_tree_internal.h"

#include "pv_mem.h"

#include <assert.h>
#include <string.h>

/* ---- The list of unlocked leaves ---- */

void enginep_lru_remove(engine_tree *tree, engine_node *node)
{
    if (!node->in_lru) {
        return;
    }
    *(node->older != NULL ? &node->older->newer : &tree->oldest) = node->newer;
    *(node->newer != NULL ? &node->newer->older : &tree->newest) = node->older;
    node->older = node->newer = NULL;
    node->in_lru = false;
}

/* In order of stamps. A node that was just used goes to the newest end at once; a parent that lost its last child was
 * last used near the time of that child, which was the oldest. */
static void lru_insert(engine_tree *tree, engine_node *node)
{
    engine_node *after = NULL; /* the newest node that is older than this one */
    if (tree->newest != NULL && tree->newest->stamp <= node->stamp) {
        after = tree->newest;
    } else {
        for (engine_node *n = tree->oldest; n != NULL && n->stamp <= node->stamp; n = n->newer) {
            after = n;
        }
    }
    node->older = after;
    node->newer = after != NULL ? after->newer : tree->oldest;
    *(after != NULL ? &after->newer : &tree->oldest) = node;
    *(node->newer != NULL ? &node->newer->older : &tree->newest) = node;
    node->in_lru = true;
}

/* ---- Locks: a node counts its handles and its locked children ---- */

void enginep_lock(engine_tree *tree, engine_node *node)
{
    for (; node != tree->root; node = node->parent) {
        if (node->locks++ > 0) {
            return;
        }
        enginep_lru_remove(tree, node);
        for (size_t i = 0; i < node->page_count; i++) {
            engine_pages_lock(&tree->pages, node->pages[i]);
        }
    }
}

void enginep_unlock(engine_tree *tree, engine_node *node)
{
    uint64_t stamp = ++tree->clock;
    for (; node != tree->root; node = node->parent) {
        assert(node->locks > 0);
        node->stamp = stamp;
        if (--node->locks > 0) {
            return;
        }
        for (size_t i = 0; i < node->page_count; i++) {
            engine_pages_unlock(&tree->pages, node->pages[i]);
        }
    }
}

/* ---- Giving pages back ---- */

void enginep_drop_slots(engine_tree *tree, engine_node *node, size_t keep)
{
    while (node->page_count > keep) {
        uint32_t page = node->pages[--node->page_count];
        if (node->locks > 0) {
            engine_pages_unlock(&tree->pages, page);
        }
        engine_pages_unref(&tree->pages, page);
    }
}

static void set_len(engine_tree *tree, engine_node *node, size_t len)
{
    if (!node->is_tip) {
        tree->counts.tokens_pending -= node->len - node->computed;
    }
    node->len = len;
    node->computed = node->computed < len ? node->computed : (uint32_t)len;
    if (!node->is_tip) {
        tree->counts.tokens_pending += node->len - node->computed;
    }
}

/* Keeps the first `keep` (>= 1) tokens of a leaf. Slots behind them may be written in place again. */
void enginep_trim(engine_tree *tree, engine_node *node, size_t keep)
{
    assert(node->first_child == NULL && keep > 0);
    set_len(tree, node, keep);
    uint32_t end = node->start + node->computed;
    enginep_drop_slots(tree, node, enginep_slots(node->start, end));
    if (node->page_count > 0 && end % ENGINE_PAGE_TOKENS != 0) {
        tree->pages.filled[node->pages[node->page_count - 1]] = end % ENGINE_PAGE_TOKENS;
    }
}

/* Takes an unlocked leaf out of the tree, without a look at its parent. */
static void detach(engine_tree *tree, engine_node *node)
{
    assert(node->locks == 0 && node->first_child == NULL);
    engine_node *parent = node->parent;
    uint32_t slot = node->start % ENGINE_PAGE_TOKENS;
    bool in_place = slot != 0 && node->page_count > 0 && parent->page_count > 0 &&
                    parent->pages[parent->page_count - 1] == node->pages[0];
    if (in_place) { /* it wrote behind its parent's tokens; another child may now */
        tree->pages.filled[node->pages[0]] = slot;
    }
    set_len(tree, node, node->computed);
    enginep_drop_slots(tree, node, 0);
    enginep_lru_remove(tree, node);
    node->len = node->len == 0 ? 1 : node->len; /* the table finds it by its first token */
    enginep_unlink(tree, node);
    enginep_node_free(tree, node);
}

/* Brings a node in order that lost a handle or a child: what is unlocked keeps no uncomputed tokens, an unlocked leaf
 * is in the list, and a needless node is joined with its only child. */
void enginep_settle(engine_tree *tree, engine_node *node)
{
    while (node != tree->root && node->locks == 0 && node->first_child == NULL) {
        if (node->computed > 0) {
            if (node->computed < node->len) {
                enginep_trim(tree, node, node->computed);
            }
            if (!node->in_lru) {
                lru_insert(tree, node);
            }
            return;
        }
        engine_node *parent = node->parent;
        detach(tree, node);
        node = parent;
    }
    if (!tree->keep_chains) {
        enginep_merge_into_child(tree, node);
    }
}

void enginep_remove(engine_tree *tree, engine_node *node)
{
    engine_node *parent = node->parent;
    detach(tree, node);
    enginep_settle(tree, parent);
}

/* ---- Taking pages ---- */

/* Cuts the last page off the leaf that was in use the longest time ago. */
static void evict_step(engine_tree *tree)
{
    engine_node *node = tree->oldest;
    uint32_t end = node->start + node->computed;
    uint32_t cut = (end - 1) / ENGINE_PAGE_TOKENS * ENGINE_PAGE_TOKENS;
    if (cut <= node->start) {
        tree->counts.tokens_evicted += node->computed;
        enginep_remove(tree, node);
    } else {
        tree->counts.tokens_evicted += end - cut;
        enginep_trim(tree, node, cut - node->start);
    }
}

static uint32_t take_page(engine_tree *tree)
{
    uint32_t page = engine_pages_take(&tree->pages);
    while (page == ENGINE_PAGE_NONE && tree->oldest != NULL) {
        evict_step(tree);
        page = engine_pages_take(&tree->pages);
    }
    return page;
}

uint32_t engine_tree_take_page(engine_tree *tree)
{
    uint32_t page = take_page(tree);
    if (page != ENGINE_PAGE_NONE) {
        engine_pages_lock(&tree->pages, page);
        tree->loose++;
    }
    return page;
}

void engine_tree_give_page(engine_tree *tree, uint32_t page)
{
    engine_pages_unlock(&tree->pages, page);
    engine_pages_unref(&tree->pages, page);
    tree->loose--;
}

static void push_page(engine_tree *tree, engine_node *node, uint32_t page)
{
    node->pages[node->page_count++] = page; /* room was made before */
    if (node->locks > 0) {
        engine_pages_lock(&tree->pages, page);
    }
}

/* The first page of a node that begins inside a page: its parent's, when nobody has gone on there yet, or a copy. */
static pv_status continue_page(engine_tree *tree, engine_node *node, bool *short_of_pages,
                               pv_error *err)
{
    uint32_t slot = node->start % ENGINE_PAGE_TOKENS;
    const engine_node *parent = node->parent;
    uint32_t from = parent->pages[parent->page_count - 1];
    if (tree->pages.filled[from] == slot) {
        engine_pages_ref(&tree->pages, from);
        push_page(tree, node, from);
        return PV_OK;
    }
    uint32_t page = take_page(tree);
    if (page == ENGINE_PAGE_NONE) {
        *short_of_pages = true;
        return PV_OK;
    }
    pv_status status = tree->copy(tree->copy_user, page, from, slot, err);
    if (status != PV_OK) {
        engine_pages_unref(&tree->pages, page);
        return status;
    }
    tree->counts.copies++;
    tree->pages.filled[page] = slot;
    push_page(tree, node, page);
    return PV_OK;
}

static pv_status next_page(engine_tree *tree, engine_node *node, bool *short_of_pages,
                           pv_error *err)
{
    if (node->page_count == 0 && node->start % ENGINE_PAGE_TOKENS != 0) {
        return continue_page(tree, node, short_of_pages, err);
    }
    uint32_t page = take_page(tree);
    *short_of_pages = page == ENGINE_PAGE_NONE;
    if (!*short_of_pages) {
        push_page(tree, node, page);
    }
    return PV_OK;
}

/* Marks the slots of positions from .. to - 1 as spoken for. */
static void claim(engine_tree *tree, const engine_node *node, uint32_t to)
{
    uint32_t first = node->start / ENGINE_PAGE_TOKENS;
    uint32_t from = node->start + node->computed;
    while (from < to) {
        uint32_t page = node->pages[from / ENGINE_PAGE_TOKENS - first];
        uint32_t page_end = (from / ENGINE_PAGE_TOKENS + 1) * ENGINE_PAGE_TOKENS;
        uint32_t end = to < page_end ? to : page_end;
        uint32_t filled = end - (page_end - ENGINE_PAGE_TOKENS);
        if (tree->pages.filled[page] < filled) {
            tree->pages.filled[page] = filled;
        }
        from = end;
    }
}

/* For how many of the next `want` tokens the node's pages suffice. */
static uint32_t covered(const engine_node *node, uint32_t want)
{
    uint32_t from = node->start + node->computed;
    uint32_t base = node->start / ENGINE_PAGE_TOKENS * ENGINE_PAGE_TOKENS;
    uint32_t end = base + (uint32_t)node->page_count * ENGINE_PAGE_TOKENS;
    end = end < from + want ? end : from + want;
    return node->page_count > 0 && end > from ? end - from : 0;
}

pv_status engine_tree_reserve(engine_tree *tree, engine_node *node, uint32_t want,
                              uint32_t *granted, pv_error *err)
{
    assert(node->locks > 0 && node->computed + want <= node->len);
    assert(node->parent->computed == node->parent->len);
    uint32_t from = node->start + node->computed;
    size_t slots = enginep_slots(node->start, from + want);
    if (pv_grow((void **)&node->pages, &node->page_capacity, slots, sizeof *node->pages) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a table of %zu pages", slots);
    }
    node->parent
        ->handles++; /* eviction must not join it with this node while its last page is read */
    bool short_of_pages = false;
    pv_status status = PV_OK;
    while (status == PV_OK && node->page_count < slots && !short_of_pages) {
        status = next_page(tree, node, &short_of_pages, err);
    }
    node->parent->handles--;
    if (status == PV_OK) {
        *granted = covered(node, want);
        claim(tree, node, from + *granted);
    }
    return status;
}

void engine_tree_wrote(engine_tree *tree, engine_node *node, uint32_t n)
{
    assert(node->computed + n <= node->len);
    node->computed += n;
    tree->counts.tokens_written += n;
    if (!node->is_tip) {
        tree->counts.tokens_pending -= n;
    }
}

/* ---- Page tables ---- */

uint32_t engine_tree_table_len(const engine_node *node)
{
    while (node->page_count == 0 && node->parent != NULL) {
        node = node->parent;
    }
    return node->start / ENGINE_PAGE_TOKENS + (uint32_t)node->page_count;
}

void engine_tree_table(const engine_node *node, uint32_t *out)
{
    uint32_t missing = engine_tree_table_len(node); /* slots 0 .. missing - 1 are not known yet */
    for (; node != NULL && missing > 0; node = node->parent) {
        uint32_t first = node->start / ENGINE_PAGE_TOKENS;
        uint32_t n = missing > first ? missing - first : 0;
        n = n < node->page_count ? n : (uint32_t)node->page_count;
        if (n > 0) {
            memcpy(out + first, node->pages, n * sizeof *out);
            missing = first;
        }
    }
}
