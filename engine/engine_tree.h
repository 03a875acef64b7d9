/* engine_tree: which token sequences have their keys and values in which pages.
 *
 * A radix tree over token ids. A node holds the tokens of positions start .. start + len - 1 of every sequence through
 * it, and the pages that cover its computed tokens. Nodes are split at any token, so a fork loses none. Two nodes may
 * hold one page: a node's page also serves its ancestors' tokens in the same 64 positions, and the page of a position is
 * that of the deepest node on the path that covers it. The first child that goes on in the middle of a page writes
 * behind its parent's tokens in place; every later one gets a copy of the parent's slots (copy-on-write).
 *
 *     root -- [prompt: 0..99] -+- [tip of sample 0: 100..]   same page 1, slots 36..
 *                              +- [tip of sample 1: 100..]   a copy of page 1's first 36 slots
 *
 * Two kinds of nodes: those found by engine_tree_acquire() (their tokens are all known from the start; what is computed
 * grows to len), and tips, which belong to one sample, grow at their end, and join the former by engine_tree_commit().
 * A node with a handle, and all its ancestors, are locked: never evicted. Unlocked leaves are evicted page by page from
 * their end, the least recently used first, when a page is wanted and none is free.
 * Pages are taken when tokens are about to be computed (engine_tree_reserve), not when a node is made.
 *
 * Threads: the scheduler's. */
#ifndef ENGINE_TREE_H
#define ENGINE_TREE_H

#include "engine_pages.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_node engine_node;
typedef struct engine_tree engine_tree;

/* Copies the first `tokens` tokens of page `from` to page `to` on the device. */
typedef pv_status engine_copy_fn(void *user, uint32_t to, uint32_t from, uint32_t tokens,
                                 pv_error *err);

typedef struct engine_tree_counts {
    uint64_t
        tokens_matched; /* tokens that acquire() found, computed or about to be                */
    uint64_t
        tokens_written; /* engine_tree_wrote()                                                 */
    uint64_t
        tokens_pending; /* in nodes (not tips), not computed yet: now                          */
    uint64_t copies;    /* partial pages copied                                                */
    uint64_t tokens_evicted;
    uint32_t
        nodes; /* now, without the root; tips included                                         */
    uint32_t pages_total;
    uint32_t pages_used; /* now                                                                   */
    uint32_t
        pages_locked; /* now: used, and not to be had by eviction                              */
    uint32_t pages_peak;
} engine_tree_counts;

struct engine_node { /* read it; engine_tree functions write it */
    engine_node *parent;
    uint32_t *tokens;
    size_t len;
    size_t capacity;
    uint32_t start; /* position of tokens[0]                                                     */
    uint32_t
        computed;    /* leading tokens whose keys and values are in the pages                     */
    uint32_t *pages; /* of positions from (start / 64) * 64 on                                    */
    size_t page_count;
    size_t page_capacity;
    bool is_tip;
    uint64_t
        claim_step; /* the scheduler's: the last step in whose batch the node was written,     */
    uint32_t
        claim_item; /* and the item of that batch                                              */
    /* the tree's own */
    uint32_t handles;
    uint32_t
        locks; /* handles + locked children                                                    */
    uint64_t stamp;
    engine_node *first_child;
    engine_node *prev_sibling;
    engine_node *next_sibling;
    engine_node *hash_next;
    engine_node
        *older; /* in the list of unlocked leaves                                           */
    engine_node *newer;
    bool in_lru;
};

/* `copy` is called by engine_tree_reserve(). Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status engine_tree_new(engine_tree **out, uint32_t pages, engine_copy_fn *copy,
                                       void *user, pv_error *err);
void engine_tree_free(engine_tree *tree); /* NULL allowed; handles die with it */

/* Leading tokens of tokens[0..n) that are in the tree and computed. */
size_t engine_tree_match(const engine_tree *tree, const uint32_t *tokens, size_t n);

/* Leading tokens that are in the tree, computed or about to be. */
size_t engine_tree_known(const engine_tree *tree, const uint32_t *tokens, size_t n);

/* A handle on the node that ends at n (>= 1) exactly, made or split as needed. Release it once.
 * Fails: PV_E_NOMEM, nothing lost. */
PV_NODISCARD pv_status engine_tree_acquire(engine_tree *tree, const uint32_t *tokens, size_t n,
                                           engine_node **out, pv_error *err);
void engine_tree_release(engine_tree *tree, engine_node *node); /* NULL allowed */

/* A new tip below `base` (not a tip), with a handle. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status engine_tree_tip(engine_tree *tree, engine_node *base, engine_node **out,
                                       pv_error *err);
PV_NODISCARD pv_status engine_tree_append(engine_node *tip, uint32_t token, pv_error *err);

/* Ends a tip and its handle: its computed tokens become findable. When they are already there, or memory is short,
 * they are dropped. */
void engine_tree_commit(engine_tree *tree, engine_node *tip);
void engine_tree_discard(engine_tree *tree, engine_node *tip); /* NULL allowed */

/* Keeps the first `n` tokens of a tip, computed or not. */
void engine_tree_cut(engine_tree *tree, engine_node *tip, size_t n);

/* The first node on the way to `node` that is not wholly computed; NULL when all are. */
engine_node *engine_tree_incomplete(engine_node *node);

/* Takes the pages for the next `want` tokens of a node whose ancestors are complete. *granted: for how many of them
 * there are pages now, `want` unless the pool is exhausted and nothing can be evicted. Reserving again is harmless.
 * Fails: PV_E_NOMEM, PV_E_DEVICE (the copy). */
PV_NODISCARD pv_status engine_tree_reserve(engine_tree *tree, engine_node *node, uint32_t want,
                                           uint32_t *granted, pv_error *err);

/* The next `n` reserved tokens have been computed. */
void engine_tree_wrote(engine_tree *tree, engine_node *node, uint32_t n);

/* A page outside the tree (evicting if need be), locked; ENGINE_PAGE_NONE when there is none to be had. */
uint32_t engine_tree_take_page(engine_tree *tree);
void engine_tree_give_page(engine_tree *tree, uint32_t page);

/* Page numbers of positions 0 .. up to the node's last reserved one, ceil(.. / 64) of them. */
uint32_t engine_tree_table_len(const engine_node *node);
void engine_tree_table(const engine_node *node, uint32_t *out);

/* Frees every unlocked node below the sequence tokens[0..n), and the part of it that nothing else needs; n == 0: all
 * that is unlocked. */
void engine_tree_forget(engine_tree *tree, const uint32_t *tokens, size_t n);

/* Pages that can be had now: free ones, and those that eviction would free. */
uint32_t engine_tree_available(const engine_tree *tree);
void engine_tree_counts_get(const engine_tree *tree, engine_tree_counts *out);

/* For tests: PV_E_MISUSE naming the first broken invariant (or PV_E_NOMEM). O(nodes + pages). */
PV_NODISCARD pv_status engine_tree_check(const engine_tree *tree, pv_error *err);

#ifdef __cplusplus
}
#endif
#endif
