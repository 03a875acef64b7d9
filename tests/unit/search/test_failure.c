/* A policy and a verifier that fail, or answer what makes no sense. */
#include "toy_search.h"

#include <math.h>

static void break_it(world w, pv_status status, const char *message)
{
    for (int deferred = 0; deferred < 2; deferred++) {
        world copy = w;
        copy.deferred = deferred != 0;
        endless(&copy);
        search_run *run = start(&copy, (search_options){.window = 3});
        cr_assert_eq(world_finish(&copy, run), SEARCH_BROKEN);
        cr_assert_eq(search_failure(run)->status, status);
        cr_assert_str_eq(search_failure(run)->msg, message);
        end(&copy, run);
    }
}

Test(search_failure, breaks_when_the_policy_or_the_verifier_fails)
{
    for (uint64_t n = 1; n < 6; n++) {
        break_it((world){.fail_proposal = n}, PV_E_DEVICE, "the policy: the model is gone");
        break_it((world){.fail_proposal = n, .fail_later = true}, PV_E_DEVICE,
                 "the policy: the model is gone");
        break_it((world){.fail_try = n}, PV_E_SPAWN, "the verifier: Lean does not start");
    }
}

Test(search_failure, breaks_on_an_answer_that_makes_no_sense)
{
    world w = {.deferred = true};
    calculus_rule(&w.c, 0, -1, CLOSES);
    search_run *run = start(&w, (search_options){0});
    search_pump(run);
    cr_assert(world_answer(&w));
    search_pump(run);
    const char *goal = "goal 1";
    search_part part = {.handle = world_handle(&w), .goals = &goal, .goal_count = 1};
    search_outcome outcome = {.kind = SEARCH_CLOSED, .parts = &part, .part_count = 1};
    search_deliver_outcome(run, 1, 0, &outcome);
    cr_assert_eq(w.handles, 1, "handles of an answer that is not used go back");
    cr_assert_eq(search_pump(run), SEARCH_BROKEN);
    cr_assert_eq(search_failure(run)->status, PV_E_PROTOCOL);
    w.queue_count = 0;
    end(&w, run);
}

Test(search_failure, answers_nobody_asked_for_are_ignored)
{
    world w = {.deferred = true};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 1, -1, CLOSES);
    search_run *run = start(&w, (search_options){0});
    search_pump(run);
    search_candidate candidate = {"g0r0", -1, 0};
    search_deliver_candidates(run, 77, &candidate, 1, NULL);
    const char *goal = "goal 1";
    search_part part = {.goals = &goal, .goal_count = 1};
    search_outcome outcome = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    for (int i = 0; i < 3; i++) { /* before candidates came; an unknown index; a second answer */
        part.handle = world_handle(&w);
        search_deliver_outcome(run, i == 0 ? 99 : 1, i == 1 ? 5 : 0, &outcome);
        cr_assert_eq(w.handles, 1);
        if (i == 1) {
            world_answer(&w);
            search_deliver_candidates(run, 1, &candidate, 1, NULL);
            search_pump(run);
            world_answer(&w);
            w.handles--; /* goal 1's own, counted again below */
        }
    }
    w.handles++;
    cr_assert_eq(world_finish(&w, run), SEARCH_PROVED);
    end(&w, run);
}

static pv_status strange_propose(void *self, const search_policy_request *request, pv_error *err)
{
    (void)self;
    (void)err;
    search_candidate candidates[] = {{"g0r0", NAN, 1},
                                     {"g0r9", 7, 1},
                                     {NULL, -1, 1},
                                     {"bad \xff", -1, 1},
                                     {"g0r8", -INFINITY, 1}};
    search_deliver_candidates(request->run, request->ticket, candidates, 5, NULL);
    return PV_OK;
}

Test(search_failure, strange_candidates_do_no_harm)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, CLOSES);
    static const search_policy_ops ops = {.name = "strange", .propose = strange_propose};
    const char *goals[1] = {"goal 0"};
    search_part part = {.handle = world_handle(&w), .goals = goals, .goal_count = 1};
    part.handle->count = 1;
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_options options = {.alpha = NAN, .lean_seconds_max = INFINITY, .wall_seconds_max = NAN};
    search_run *run;
    cr_assert_eq(
        search_run_new(&run, &options, (search_policy){&ops, &w}, world_verifier(&w), &root, NULL),
        PV_OK);
    w.run = run;
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    cr_assert_eq(stats_of(run).tokens, 5);
    cr_assert_eq(stats_of(run).tactics, 2);
    end(&w, run);
}
