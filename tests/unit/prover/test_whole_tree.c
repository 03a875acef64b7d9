#include "pv_mem.h"
#include "whole_tree.h"

#include <criterion/criterion.h>
#include <string.h>

static whole_tree tree;

static void begin(void)
{
    cr_assert_eq(whole_tree_init(&tree, (pv_key){1, 1}, NULL), PV_OK);
}

static void end(void)
{
    whole_tree_release(&tree);
    cr_expect_eq(pv_mem_live(), 0);
}

TestSuite(whole_tree, .init = begin, .fini = end);

static size_t add(size_t parent, uint64_t key, bool expected)
{
    bool added = false;
    cr_assert_eq(whole_tree_add(&tree, parent, (pv_key){key, key}, "body", 3, &added, NULL), PV_OK);
    cr_expect_eq(added, expected);
    return tree.count - 1;
}

static void expand(size_t node, bool reward)
{
    whole_tree_begin(&tree, node);
    whole_tree_end(&tree, node, reward);
}

Test(whole_tree, what_was_never_tried_comes_first)
{
    cr_expect_eq(whole_tree_select(&tree), WHOLE_ROOT);
    whole_tree_begin(&tree, WHOLE_ROOT);
    size_t a = add(WHOLE_ROOT, 2, true);
    add(WHOLE_ROOT, 2, false);
    cr_expect_str_eq(tree.nodes[a].body, "bod");
    whole_tree_end(&tree, WHOLE_ROOT, true);
    cr_expect_eq(whole_tree_select(&tree), a);
    whole_tree_begin(&tree, a);
    size_t b = add(a, 3, true);
    whole_tree_end(&tree, a, true);
    size_t next = whole_tree_select(&tree);
    cr_expect(next == WHOLE_ROOT || next == b);
    expand(b, false);
    cr_expect_float_eq(tree.nodes[a].come.visits, 0.99 + 1, 1e-12, "two visits, one of them older");
    cr_expect_float_eq(tree.nodes[WHOLE_ROOT].stay.visits, 0.99 * 0.99, 1e-12);
}

/* Of two children, the one whose expansions lead to new nodes is visited more often, and the other is not forgotten. */
Test(whole_tree, novelty_draws_visits)
{
    expand(WHOLE_ROOT, true);
    size_t good = add(WHOLE_ROOT, 2, true), bad = add(WHOLE_ROOT, 3, true);
    size_t visits[3] = {0};
    for (int i = 0; i < 300; i++) {
        size_t node = whole_tree_select(&tree);
        visits[node]++;
        expand(node, node == good);
    }
    cr_expect_gt(visits[good], 2 * visits[bad]);
    cr_expect_gt(visits[bad], 10);
    cr_expect_gt(visits[WHOLE_ROOT], 10);
}

/* Expansions under way count as visits without reward, so that parallel ones spread. */
Test(whole_tree, parallel_expansions_spread)
{
    expand(WHOLE_ROOT, true);
    size_t a = add(WHOLE_ROOT, 2, true), b = add(WHOLE_ROOT, 3, true), seen[3] = {0};
    for (int i = 0; i < 9; i++) {
        size_t node = whole_tree_select(&tree);
        seen[node]++;
        whole_tree_begin(&tree, node);
    }
    cr_expect(seen[WHOLE_ROOT] >= 2 && seen[a] >= 2 && seen[b] >= 2, "%zu %zu %zu",
              seen[WHOLE_ROOT], seen[a], seen[b]);
}
