/* html_trees: the search trees of a page: which of them it holds, and their blobs as base64 in data blocks, opened when somebody asks.
 *
 * A page has a limit: the small ones come first, until it is full. Each is read once before it is taken (tree_blob.h): a damaged one is
 * not, and the page says so. Threads: one at a time. */
#ifndef HTML_TREES_H
#define HTML_TREES_H

#include "report_data.h"
#include "tree_blob.h"

typedef struct html_tree {
    const report_row *row; /* borrowed */
    size_t place;          /* of the search in its attempt */
    size_t bytes;          /* of base64 */
    char *flaw;            /* owned; NULL: none */
    tree_info info;
    bool kept;
} html_tree;

typedef struct html_trees {
    html_tree *items; /* by row, in the order in which runs were added */
    size_t count, capacity, limit;
} html_trees;

/* Adds the trees of all the run's rows, unless `limit` is 0. */
PV_NODISCARD pv_status html_trees_add(html_trees *trees, const report_run *run, pv_error *err);
/* Decides which are kept. */
PV_NODISCARD pv_status html_trees_settle(html_trees *trees, pv_error *err);
void html_trees_release(html_trees *trees);

/* What a row's detail says about its trees: a button for each, or why there is none. */
void html_trees_offer(const html_trees *trees, const report_row *row, pv_buf *out);

/* The data blocks. Fails as the store. */
PV_NODISCARD pv_status html_trees_write(const html_trees *trees, pv_buf *out, pv_error *err);

#endif
