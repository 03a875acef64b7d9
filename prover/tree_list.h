/* tree_list: the search trees of one attempt, search by search, until its result is written. Threads: one at a time. */
#ifndef TREE_LIST_H
#define TREE_LIST_H

#include "store.h"
#include "tree_blob.h"

typedef struct tree_list {
    store_blob *items; /* owned */
    size_t count, capacity, bytes;
    uint64_t
        left_out; /* searches that were not kept: TREE_BLOB_MAX bytes were full, or memory short */
} tree_list;

/* Keeps the tree of a search as it is now. `title` says to people what was searched; borrowed for the call. */
void tree_list_add(tree_list *list, const search_run *run, const char *title);
void tree_list_release(tree_list *list);

#endif
