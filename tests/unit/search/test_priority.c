/* Which node is expanded next. */
#include "toy_search.h"

static uint32_t asked[64];
static size_t asked_count;

static pv_status listing_propose(void *self, const search_policy_request *request, pv_error *err)
{
    asked[asked_count++] = goal_number(request->goals[0]);
    return world_propose(self, request, err);
}

static void list_expansions(world *w, search_options options)
{
    static const search_policy_ops ops = {.name = "listing", .propose = listing_propose};
    const char *goals[1] = {"goal 0"};
    search_part part = {.handle = world_handle(w), .goals = goals, .goal_count = 1};
    part.handle->count = 1;
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_run *run;
    asked_count = 0;
    cr_assert_eq(
        search_run_new(&run, &options, (search_policy){&ops, w}, world_verifier(w), &root, NULL),
        PV_OK);
    search_pump(run);
    end(w, run);
}

/* Goal 1 costs 2 in one step, goal 2 costs 2.4 in two: the sum prefers goal 1, the normalised
 * sum goal 2. */
static void two_ways(world *w)
{
    calculus_rule(&w->c, 0, -2, SUBS(1));
    calculus_rule(&w->c, 0, -1.2, SUBS(3));
    calculus_rule(&w->c, 3, -1.2, SUBS(2));
    w->c.goal_count = 4;
}

Test(search_priority, the_exponent_trades_length_for_probability)
{
    world w = {0};
    two_ways(&w);
    list_expansions(&w, (search_options){.window = 1, .alpha = -1});
    cr_assert(asked[1] == 3 && asked[2] == 1 && asked[3] == 2);
    list_expansions(&w, (search_options){.window = 1, .alpha = 0.5});
    cr_assert(asked[1] == 3 && asked[2] == 2 && asked[3] == 1);
}

Test(search_priority, expansions_in_flight_spread_over_siblings)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1.0, SUBS(1)); /* two subtrees, the first a little better */
    calculus_rule(&w.c, 0, -1.2, SUBS(2));
    calculus_rule(&w.c, 1, -0.1, SUBS(3));
    calculus_rule(&w.c, 1, -0.1, SUBS(4));
    calculus_rule(&w.c, 2, -0.2, SUBS(5));
    calculus_rule(&w.c, 2, -0.2, SUBS(6));
    w.c.goal_count = 7;
    list_expansions(&w, (search_options){.window = 1, .alpha = -1});
    cr_assert(asked[2] + asked[3] == 7, "one at a time: both children of goal 1 first");
    list_expansions(&w, (search_options){.window = 2, .alpha = -1});
    cr_assert((asked[3] <= 4) != (asked[4] <= 4), "two at a time: one of each family");
}

/* ---- asking again ---- */

static uint64_t seeds[8];

/* Silent about goal 0 until it is asked for the third time. */
static pv_status hesitant_propose(void *self, const search_policy_request *request, pv_error *err)
{
    cr_assert_lt(request->asked, 8);
    seeds[request->asked] = request->seed;
    asked[asked_count++] = goal_number(request->goals[0]);
    if (goal_number(request->goals[0]) != 0 || request->asked >= 2) {
        return world_propose(self, request, err);
    }
    search_deliver_candidates(request->run, request->ticket, NULL, 0, NULL);
    return PV_OK;
}

static search_state ask_hesitant(world *w, uint32_t asks_of_policy, uint32_t asks_of_run)
{
    const search_policy_ops ops = {
        .name = "hesitant", .propose = hesitant_propose, .asks = asks_of_policy};
    const char *goals[1] = {"goal 0"};
    search_part part = {.handle = world_handle(w), .goals = goals, .goal_count = 1};
    part.handle->count = 1;
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_options options = {.asks = asks_of_run};
    search_run *run;
    asked_count = 0;
    cr_assert_eq(
        search_run_new(&run, &options, (search_policy){&ops, w}, world_verifier(w), &root, NULL),
        PV_OK);
    search_state state = search_pump(run);
    end(w, run);
    return state;
}

Test(search_priority, a_state_is_asked_about_again_with_another_seed)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 1, -1, CLOSES);
    w.c.goal_count = 2;
    cr_assert_eq(ask_hesitant(&w, 0, 0), SEARCH_EXHAUSTED);
    cr_assert_eq(asked_count, 1);
    cr_assert_eq(ask_hesitant(&w, 2, 0), SEARCH_EXHAUSTED);
    cr_assert_eq(asked_count, 2);
    cr_assert_eq(ask_hesitant(&w, 3, 0), SEARCH_PROVED);
    cr_assert(seeds[0] != seeds[1] && seeds[1] != seeds[2]);
    cr_assert_eq(ask_hesitant(&w, 8, 2), SEARCH_EXHAUSTED, "the search's word is the last");
}

Test(search_priority, what_is_new_comes_before_what_is_asked_again)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1.5, SUBS(1));
    w.c.goal_count = 2;
    list_expansions(&w, (search_options){.window = 1, .alpha = -1, .asks = 2});
    cr_assert_eq(asked_count, 4);
    cr_assert(asked[0] == 0 && asked[1] == 1 && asked[2] == 0 && asked[3] == 1);
}
