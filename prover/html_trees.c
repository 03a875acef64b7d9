#include "html_trees.h"

#include "html_text.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

void html_trees_release(html_trees *trees)
{
    for (size_t i = 0; i < trees->count; i++) {
        pv_free(trees->items[i].flaw);
    }
    pv_free(trees->items);
    memset(trees, 0, sizeof *trees);
}

/* ---- which there are ---- */

typedef struct collecting {
    html_trees *trees;
    const report_row *row;
    size_t place;
} collecting;

static pv_status on_tree(void *user, const void *blob, size_t n, pv_error *err)
{
    collecting *c = user;
    html_tree tree = {.row = c->row, .place = c->place++, .bytes = (n + 2) / 3 * 4};
    pv_error flaw = {0};
    pv_status status = tree_blob_read(blob, n, &tree.info, NULL, &flaw);
    tree.flaw = status == PV_OK ? NULL : pv_strdup(flaw.msg);
    if (status == PV_E_NOMEM || (status != PV_OK && tree.flaw == NULL) ||
        pv_grow((void **)&c->trees->items, &c->trees->capacity, c->trees->count + 1,
                sizeof *c->trees->items) != 0) {
        pv_free(tree.flaw);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    c->trees->items[c->trees->count++] = tree;
    return PV_OK;
}

pv_status html_trees_add(html_trees *trees, const report_run *run, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < run->problem_count && trees->limit > 0; i++) {
        const report_problem *p = &run->problems[i];
        for (size_t k = 0; k < p->row_count && status == PV_OK; k++) {
            collecting c = {.trees = trees, .row = &p->rows[k]};
            status = store_trees(c.row->part->from->store, c.row->part->run->id, c.row->claim,
                                 on_tree, &c, err);
        }
    }
    return status;
}

static int by_size(const void *a, const void *b)
{
    const html_tree *x = *(html_tree *const *)a, *y = *(html_tree *const *)b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? -1 : 1;
    }
    return (x > y) - (x < y);
}

pv_status html_trees_settle(html_trees *trees, pv_error *err)
{
    size_t bytes = 0;
    html_tree **order = pv_calloc(trees->count + 1, sizeof(html_tree *));
    if (order == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < trees->count; i++) {
        order[i] = &trees->items[i];
    }
    if (trees->count > 1) {
        qsort(order, trees->count, sizeof *order, by_size);
    }
    for (size_t i = 0; i < trees->count; i++) {
        order[i]->kept = order[i]->flaw == NULL && bytes + order[i]->bytes <= trees->limit;
        bytes += order[i]->kept ? order[i]->bytes : 0;
    }
    pv_free(order);
    return PV_OK;
}

/* ---- on the page ---- */

static void offer(const html_trees *trees, const html_tree *tree, pv_buf *out)
{
    if (tree->kept) {
        pv_buf_printf(out,
                      "<div class=\"search\"><button type=\"button\" class=\"open-tree\" "
                      "data-tree=\"t%zu\" hidden>Search of ",
                      (size_t)(tree - trees->items));
        html_text(out, tree->info.title);
        pv_buf_puts(out, ": ");
        html_count(out, tree->info.states + tree->info.cut_states);
        pv_buf_puts(out, tree->info.states + tree->info.cut_states == 1
                             ? " state</button></div>\n"
                             : " states</button></div>\n");
    } else if (tree->flaw != NULL) {
        pv_buf_puts(out, "<p class=\"note\">");
        html_text(out, tree->flaw);
        pv_buf_puts(out, ".</p>\n");
    } else {
        pv_buf_puts(out, "<p class=\"note\">The search of ");
        html_text(out, tree->info.title);
        pv_buf_printf(out,
                      " (%llu states) is not in this page, which has room for %.3g MiB of "
                      "trees; --trees gives more.</p>\n",
                      (unsigned long long)(tree->info.states + tree->info.cut_states),
                      (double)trees->limit / (1 << 20));
    }
}

void html_trees_offer(const html_trees *trees, const report_row *row, pv_buf *out)
{
    for (size_t i = 0; i < trees->count; i++) {
        if (trees->items[i].row == row) {
            offer(trees, &trees->items[i], out);
        }
    }
    if (row->trees_left_out > 0) {
        pv_buf_printf(
            out, "<p class=\"note\">Searches whose tree was not kept in the store: %llu.</p>\n",
            (unsigned long long)row->trees_left_out);
    }
}

typedef struct writing {
    const html_trees *trees;
    size_t next; /* in trees->items */
    const report_row *row;
    pv_buf *out;
} writing;

static pv_status write_tree(void *user, const void *blob, size_t n, pv_error *err)
{
    writing *w = user;
    if (w->next >= w->trees->count || w->trees->items[w->next].row != w->row) {
        return PV_OK;
    }
    const html_tree *tree = &w->trees->items[w->next];
    if (tree->kept && tree->bytes == (n + 2) / 3 * 4) {
        pv_buf_printf(w->out, "<script type=\"application/octet-stream\" id=\"t%zu\">", w->next);
        html_base64(w->out, blob, n);
        pv_buf_puts(w->out, "</script>\n");
    }
    w->next++;
    return pv_buf_ok(w->out) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* The trees of a row follow each other, in the order in which the store has them. */
pv_status html_trees_write(const html_trees *trees, pv_buf *out, pv_error *err)
{
    writing w = {.trees = trees, .out = out};
    pv_status status = PV_OK;
    while (w.next < trees->count && status == PV_OK) {
        const report_row *row = trees->items[w.next].row;
        size_t before = w.next;
        w.row = row;
        status = store_trees(row->part->from->store, row->part->run->id, row->claim, write_tree, &w,
                             err);
        if (status == PV_OK && w.next == before) {
            status =
                pv_fail(err, PV_E_INVALID, "%s changed while it was read", row->part->from->path);
        }
    }
    return status;
}
