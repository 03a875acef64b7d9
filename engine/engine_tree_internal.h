/* engine_tree_internal: what the parts of the prefix tree share. Not included outside this folder. */
#ifndef ENGINE_TREE_INTERNAL_H
#define ENGINE_TREE_INTERNAL_H

#include "engine_tree.h"

struct engine_tree {
    engine_pages pages;
    engine_node
        *root; /* no tokens, never locked away, never evicted                                   */
    engine_node *
        *buckets; /* findable nodes by (parent, first token)                                   */
    size_t
        bucket_count; /* a power of two                                                            */
    size_t findable;
    engine_node
        *oldest; /* unlocked leaves, by the time they were last in use                          */
    engine_node *newest;
    uint64_t clock;
    bool
        keep_chains; /* settle() joins nothing: somebody walks over the nodes                           */
    uint32_t
        loose; /* pages given out by engine_tree_take_page()                                       */
    engine_copy_fn *copy;
    void *copy_user;
    engine_tree_counts counts;
};

static inline uint32_t enginep_node_end(const engine_node *node)
{
    return node->start + (uint32_t)node->len;
}

static inline uint32_t enginep_slots(uint32_t from,
                                     uint32_t to) /* pages that positions from .. to - 1 touch */
{
    return to <= from ? 0 : (to - 1) / ENGINE_PAGE_TOKENS - from / ENGINE_PAGE_TOKENS + 1;
}

/* Where the walk along tokens[0..n) from `from` ends. */
typedef struct enginep_place {
    engine_node *node; /* deepest node reached                     */
    size_t inside;     /* tokens of it that matched                */
    size_t matched;    /* tokens that matched in all               */
    size_t computed;   /* leading ones of them that are computed   */
} enginep_place;

enginep_place enginep_walk(const engine_tree *tree, engine_node *from, const uint32_t *tokens,
                           size_t n);
engine_node *enginep_child(const engine_tree *tree, const engine_node *parent, uint32_t token);

/* engine_tree_nodes.c: nodes and their links */
engine_node *enginep_node_new(engine_tree *tree, const uint32_t *tokens, size_t n);
void enginep_node_free(engine_tree *tree,
                       engine_node *node); /* holds no pages any more, linked nowhere */
void enginep_link(engine_tree *tree, engine_node *parent, engine_node *node);
void enginep_unlink(engine_tree *tree, engine_node *node);
pv_status enginep_split(engine_tree *tree, engine_node *node, size_t at, engine_node **upper,
                        pv_error *err);
void enginep_merge_into_child(engine_tree *tree, engine_node *node);

/* engine_tree_pages.c: locks, pages, eviction */
void enginep_lock(engine_tree *tree, engine_node *node);
void enginep_unlock(engine_tree *tree, engine_node *node);
void enginep_drop_slots(engine_tree *tree, engine_node *node, size_t keep);
void enginep_trim(engine_tree *tree, engine_node *node, size_t keep);
void enginep_settle(engine_tree *tree, engine_node *node);
void enginep_remove(engine_tree *tree, engine_node *node);
void enginep_lru_remove(engine_tree *tree, engine_node *node);

#endif
