#include "pv_hash.h"
#include "pv_mem.h"
#include "search_frontier.h"

#include <criterion/criterion.h>

static uint32_t pop(search_frontier *f)
{
    uint32_t id = search_frontier_top(f)->id;
    search_frontier_remove(f, id);
    return id;
}

Test(search_frontier, empties_in_order_of_score)
{
    search_frontier f = {0};
    cr_assert(search_frontier_reserve(&f, 4));
    cr_assert_null(search_frontier_top(&f));
    search_frontier_put(&f, 0, -3);
    search_frontier_put(&f, 1, -1);
    search_frontier_put(&f, 2, -2);
    search_frontier_put(&f, 3, 0);
    search_frontier_put(&f, 0, -0.5); /* moves */
    search_frontier_remove(&f, 2);
    search_frontier_remove(&f, 2); /* absent: nothing */
    cr_assert(!search_frontier_has(&f, 2));
    cr_assert_eq(pop(&f), 3);
    cr_assert_eq(pop(&f), 0);
    cr_assert_eq(pop(&f), 1);
    cr_assert_null(search_frontier_top(&f));
    search_frontier_release(&f);
}

static void order_of_ties(uint64_t seed, uint32_t out[16], bool reversed)
{
    search_frontier f = {.seed = seed};
    cr_assert(search_frontier_reserve(&f, 16));
    for (uint32_t i = 0; i < 16; i++) {
        search_frontier_put(&f, reversed ? 15 - i : i, -1);
    }
    for (int i = 0; i < 16; i++) {
        out[i] = pop(&f);
    }
    search_frontier_release(&f);
}

Test(search_frontier, ties_follow_the_seed_and_not_the_order_of_insertion)
{
    uint32_t a[16];
    uint32_t b[16];
    uint32_t other[16];
    order_of_ties(7, a, false);
    order_of_ties(7, b, true);
    order_of_ties(8, other, false);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    cr_assert_neq(memcmp(a, other, sizeof a), 0);
}

/* Against the plainest frontier there is: an array that is searched from end to end. */
Test(search_frontier, agrees_with_a_linear_scan)
{
    enum { IDS = 200 };

    uint64_t live = pv_mem_live();
    search_frontier f = {.seed = 3};
    double score[IDS];
    bool in[IDS] = {false};
    uint64_t x = 1;
    for (int step = 0; step < 20000; step++) {
        x = pv_mix64(x);
        uint32_t id = (uint32_t)(x % IDS);
        cr_assert(search_frontier_reserve(&f, id + 1));
        if (x >> 32 & 1) {
            score[id] = -(double)((x >> 40) % 50);
            in[id] = true;
            search_frontier_put(&f, id, score[id]);
        } else {
            in[id] = false;
            search_frontier_remove(&f, id);
        }
        double best = -1e9;
        size_t count = 0;
        for (uint32_t i = 0; i < IDS; i++) {
            best = in[i] && score[i] > best ? score[i] : best;
            count += in[i];
        }
        const search_entry *top = search_frontier_top(&f);
        cr_assert_eq(f.len, count);
        cr_assert(top == NULL ? count == 0 : in[top->id] && score[top->id] >= best);
    }
    search_frontier_release(&f);
    cr_assert_eq(pv_mem_live(), live);
}
