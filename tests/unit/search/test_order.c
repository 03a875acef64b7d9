/* The order of answers does not matter, and a search can end at any of them. */
#include "toy_search.h"

static search_stats one_order(uint64_t problem, uint32_t window, uint64_t order, bool deferred)
{
    world w = {.deferred = deferred, .rng = order, .messy = problem % 3 == 0, .lose_every = 9};
    calculus_random(&w.c, problem, 30, true, problem % 2 == 0);
    search_run *run =
        start(&w, (search_options){.window = window, .nodes_max = 150, .seed = problem});
    world_finish(&w, run);
    search_stats stats = stats_of(run);
    stats.depth = (uint32_t)search_state_of(run) << 16 | stats.depth;
    stats.wall_seconds = 0;
    world_close(&w, run);
    cr_assert_eq(w.handles, 0);
    return stats;
}

Test(search_order, outcome_does_not_depend_on_the_order_of_answers)
{
    for (uint64_t problem = 0; problem < 60; problem++) {
        for (uint32_t window = 1; window <= 8; window++) {
            search_stats first = one_order(problem, window, 0, false);
            for (uint64_t order = 1; order <= 4; order++) {
                search_stats other = one_order(problem, window, order, true);
                cr_assert_eq(memcmp(&first, &other, sizeof first), 0,
                             "problem %llu, window %u, order %llu", (unsigned long long)problem,
                             window, (unsigned long long)order);
            }
        }
    }
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_order, the_seed_is_part_of_the_search)
{
    search_stats a = one_order(4, 4, 0, false);
    world w = {.messy = false, .lose_every = 9};
    calculus_random(&w.c, 4, 30, true, true);
    search_run *run = start(&w, (search_options){.window = 4, .nodes_max = 150, .seed = 4});
    search_pump(run);
    cr_assert_eq(stats_of(run).digest, a.digest);
    end(&w, run);
}

static bool cancel_after(uint64_t problem, size_t answers, bool silent)
{
    world w = {.deferred = true, .rng = problem, .silent = silent};
    calculus_random(&w.c, problem, 20, true, true);
    search_run *run = start(&w, (search_options){.window = 4, .nodes_max = 60});
    size_t given = 0;
    while (given < answers && search_pump(run) == SEARCH_RUNNING) {
        given += world_answer(&w);
    }
    bool running = search_state_of(run) == SEARCH_RUNNING;
    search_cancel(run);
    search_cancel(run);
    cr_assert(silent || search_in_flight(run) == 0);
    cr_assert_eq(search_state_of(run) == SEARCH_CANCELLED, running);
    world_close(&w, run);
    cr_assert_eq(w.handles, 0);
    return running;
}

Test(search_order, can_be_cancelled_at_every_step)
{
    for (uint64_t problem = 0; problem < 12; problem++) {
        for (int silent = 0; silent < 2; silent++) {
            size_t step = 0;
            while (cancel_after(problem, step, silent != 0)) {
                step++;
            }
        }
    }
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_order, requests_are_cancelled_when_it_is_proved)
{
    world w = {.deferred = true, .silent = true};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 0, -2, SUBS(2));
    calculus_rule(&w.c, 1, -1, CLOSES);
    calculus_rule(&w.c, 2, -1, SUBS(3));
    search_run *run = start(&w, (search_options){.window = 2});
    while (search_pump(run) == SEARCH_RUNNING) {
        /* the newest last: goal 2 waits for its candidates when goal 1 is closed */
        cr_assert(world_answer_at(&w, w.queue_count > 1 && w.queue[0].ticket == 3 ? 1 : 0));
    }
    cr_assert_eq(search_state_of(run), SEARCH_PROVED);
    cr_assert_eq(search_in_flight(run), 1);
    cr_assert_eq(w.cancels, 1);
    cr_assert(world_answer(&w));
    cr_assert_eq(search_in_flight(run), 0);
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    end(&w, run);
}
