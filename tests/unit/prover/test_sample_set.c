/* Samples of a language model on their way to candidates. */
#include "pv_mem.h"
#include "sample_set.h"
#include "search.h"
#include "tried.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool add(sample_set *set, const char *text, double logprob)
{
    return sample_set_add(set, text, strlen(text), logprob, 3);
}

Test(sample_set, samples_that_say_the_same_are_one_and_cost_what_all_cost)
{
    sample_set set = {0};
    cr_assert(add(&set, "  intro h", -2.0));
    cr_assert(add(&set, "intro h \n", -1.5));
    cr_assert(add(&set, "simp", -3));
    cr_assert_eq(set.count, 2);
    cr_assert_str_eq(set.items[0].tactic, "intro h");
    cr_assert_float_eq(set.items[0].logprob, -1.5, 0);
    cr_assert_eq(set.items[0].tokens, 6);
    cr_assert_eq(set.items[0].seen, 2);
    cr_assert_not(set.unscored);
    sample_set_release(&set);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(sample_set, a_code_fence_is_not_a_tactic)
{
    const char *texts[][2] = {
        {"```lean\nsimp\n```", "simp"},
        {"```lean4\nconstructor\n  · simp\n```\nThis works.", "constructor\n  · simp"},
        {"```tactics\n  omega", "omega"},
        {"exact `x", "exact `x"}};
    for (size_t i = 0; i < 4; i++) {
        sample_set set = {0};
        cr_assert(add(&set, texts[i][0], 0));
        cr_assert_eq(set.count, 1, "%s", texts[i][0]);
        cr_assert_str_eq(set.items[0].tactic, texts[i][1]);
        sample_set_release(&set);
    }
}

Test(sample_set, what_gives_no_tactic_is_paid_for)
{
    sample_set set = {0};
    const char *texts[] = {"", " \n", "```", "```lean\n```", "```lean\n\n"};
    for (size_t i = 0; i < 5; i++) {
        cr_assert(add(&set, texts[i], -1));
    }
    cr_assert(sample_set_add(&set, "a\0b", 3, -1, 3), "a tactic has no NUL");
    sample_set_waste(&set, 10, false);
    cr_assert_eq(set.count, 0);
    cr_assert_eq(set.wasted, 28);
    cr_assert_eq(set.answered, 6);
    sample_set_release(&set);
}

Test(sample_set, the_nth_allocation_fails_and_the_set_stays_whole)
{
    for (int64_t n = 0; n < 2; n++) {
        sample_set set = {0};
        pv_mem_fail_after(n);
        cr_assert_not(add(&set, "simp", -1));
        pv_mem_fail_after(-1);
        cr_assert_eq(set.count, 0);
        cr_assert(add(&set, "simp", -1));
        cr_assert_eq(set.count, 1);
        sample_set_release(&set);
    }
    cr_assert_eq(pv_mem_live(), 0);
}

/* A search of one state that keeps what it was given: its verifier refuses every tactic. */
typedef struct world {
    const sample_set *set;
    tried_list tried;
} world;

static pv_status propose(void *self, const search_policy_request *request, pv_error *err)
{
    (void)err;
    sample_set_deliver(((world *)self)->set, request->run, request->ticket, NULL);
    return PV_OK;
}

static pv_status try_tactics(void *self, const search_try_request *request, pv_error *err)
{
    world *w = self;
    (void)err;
    for (size_t i = 0; i < request->n; i++) {
        tried_add(&w->tried, request->tactics[i]);
        search_outcome refused = {.kind = SEARCH_FAILED, .message = "no"};
        search_deliver_outcome(request->run, request->ticket, i, &refused);
    }
    return PV_OK;
}

static uint64_t run(world *w)
{
    static const search_policy_ops policy_ops = {.name = "set", .propose = propose};
    static const search_verifier_ops verifier_ops = {.try_tactics = try_tactics,
                                                     .release = tried_release};
    const char *goal = "⊢ True";
    search_part part = {(search_handle *)w, {1, 2}, &goal, 1};
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_run *search = NULL;
    cr_assert_eq(search_run_new(&search, &(search_options){0}, (search_policy){&policy_ops, w},
                                (search_verifier){&verifier_ops, w}, &root, NULL),
                 PV_OK);
    while (search_pump(search) == SEARCH_RUNNING) {
    }
    search_stats stats;
    search_stats_of(search, &stats);
    tried_visit(&w->tried, search);
    search_run_free(search);
    return stats.tokens;
}

Test(sample_set, candidates_carry_the_sums_of_their_samples)
{
    sample_set set = {0};
    cr_assert(add(&set, "simp", -2));
    cr_assert(add(&set, "omega", -0.5));
    cr_assert(add(&set, "", -7));
    world w = {.set = &set};
    cr_assert_eq(run(&w), 9);
    cr_assert_eq(w.tried.count, 2);
    cr_assert_str_eq(w.tried.tactics[0], "omega");
    cr_assert_float_eq(w.tried.logprobs[0], -0.5, 1e-12);
    cr_assert_float_eq(w.tried.logprobs[1], -2, 1e-12);
    sample_set_release(&set);
}

Test(sample_set, without_logprobs_a_candidate_has_the_share_of_its_samples)
{
    sample_set set = {0};
    cr_assert(add(&set, "simp", (double)NAN));
    cr_assert(add(&set, "omega", -0.5));
    cr_assert(add(&set, "simp", -0.1));
    sample_set_waste(&set, 4, true);
    world w = {.set = &set};
    cr_assert_eq(run(&w), 13);
    cr_assert_str_eq(w.tried.tactics[0], "simp");
    cr_assert_float_eq(w.tried.logprobs[0], log(0.5), 1e-12);
    cr_assert_float_eq(w.tried.logprobs[1], log(0.25), 1e-12);
    sample_set_release(&set);
}
