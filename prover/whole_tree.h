/* whole_tree: the beginnings of whole proofs as a tree, and which of them is to be gone on from next: RMaxTS (DeepSeek-Prover-V1.5, arXiv
 * 2408.08152, sections 3.2 and 3.3).
 *
 * A node is what is left to prove after a beginning; equal ones are one node. An expansion of a node asks for whole proofs that go on from
 * it, and its reward is 1 when they led to a node that was not there, else 0: nothing but novelty is rewarded. Selection walks down from
 * the root; at each node it chooses between staying and each child by the discounted upper confidence bound (Garivier and Moulines,
 * arXiv 0805.3415): value + sqrt(2 ln N / n), n and N visits of the option and of all options, discounted by 0.99 at each visit of
 * the node; an expansion under way counts as a visit without reward. Unlike the paper, only the end of a kept beginning is a node, not
 * each of its tactics. Threads: one at a time per tree. */
#ifndef WHOLE_TREE_H
#define WHOLE_TREE_H

#include "pv_error.h"
#include "pv_hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct whole_option { /* staying at a node, or going to it from its parent */
    double visits, reward;    /* discounted */
    unsigned running;
} whole_option;

typedef struct whole_node {
    pv_key key; /* of what is left to prove */
    size_t parent;
    char *body;     /* the beginning: what of a proof is kept; "" at the root */
    uint64_t asked; /* rounds that went on from here; the owner's */
    whole_option stay, come;
} whole_node;

typedef struct whole_tree {
    whole_node *nodes; /* the root first */
    size_t count, capacity;
} whole_tree;

enum { WHOLE_ROOT = 0 };

/* A tree with its root. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status whole_tree_init(whole_tree *tree, pv_key root, pv_error *err);
void whole_tree_release(whole_tree *tree);

/* The node to expand next. */
size_t whole_tree_select(const whole_tree *tree);

/* An expansion of the node begins, and ends with its reward. */
void whole_tree_begin(whole_tree *tree, size_t node);
void whole_tree_end(whole_tree *tree, size_t node, bool reward);

/* A beginning that an expansion of `parent` led to. *added is false when its key is there already. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status whole_tree_add(whole_tree *tree, size_t parent, pv_key key, const char *body,
                                      size_t n, bool *added, pv_error *err);

#endif
