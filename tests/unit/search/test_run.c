#include "toy_search.h"

#include <math.h>

/* ---- what it finds ---- */

Test(search_run, proves_a_chain)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 1, -1, SUBS(2));
    calculus_rule(&w.c, 2, -1, CLOSES);
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\ng1r0\ng2r0");
    search_stats stats = stats_of(run);
    cr_assert_eq(stats.nodes, 3);
    cr_assert_eq(stats.edges, 3);
    cr_assert_eq(stats.expansions, 3);
    cr_assert_eq(stats.depth, 2);
    cr_assert_eq(stats.tokens, 9);
    end(&w, run);
}

Test(search_run, proves_all_goals_of_a_split)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1, 2));
    calculus_rule(&w.c, 1, -1, SUBS(3));
    calculus_rule(&w.c, 2, -1, CLOSES);
    calculus_rule(&w.c, 3, -1, CLOSES);
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\n· g1r0\n  g3r0\n· g2r0");
    end(&w, run);
}

Test(search_run, works_on_coupled_goals_as_a_list)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1, 2, 3, 4));
    w.c.rules[0][0].coupled = 5; /* 1 and 3 */
    for (uint32_t g = 1; g <= 4; g++) {
        calculus_rule(&w.c, g, -1, CLOSES);
    }
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\nrotate_left 1\n· g2r0\nrotate_left 1\n· g4r0\ng1r0\ng3r0");
    end(&w, run);
}

Test(search_run, restores_the_order_when_a_coupled_goal_follows_the_last_bullet)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1, 2, 3));
    w.c.rules[0][0].coupled = 5;
    for (uint32_t g = 1; g <= 3; g++) {
        calculus_rule(&w.c, g, -1, CLOSES);
    }
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\nrotate_left 1\n· g2r0\nrotate_left 1\ng1r0\ng3r0");
    end(&w, run);
}

Test(search_run, chooses_the_smallest_of_several_proofs)
{
    world w = {0};
    calculus_rule(&w.c, 0, -0.1, SUBS(1, 2)); /* three steps more */
    calculus_rule(&w.c, 0, -9, SUBS(4));
    calculus_rule(&w.c, 1, -0.1, SUBS(3));
    calculus_rule(&w.c, 2, -8, CLOSES);
    calculus_rule(&w.c, 3, -0.1, SUBS(4, 2));
    calculus_rule(&w.c, 4, -0.2, CLOSES);
    search_run *run = start(&w, (search_options){.window = 1});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r1 at\n  here\ng4r0");
    end(&w, run);
}

Test(search_run, gets_out_of_a_cycle)
{
    world w = {0};
    calculus_rule(&w.c, 0, -0.1, SUBS(1));
    calculus_rule(&w.c, 1, -0.1, SUBS(0));
    calculus_rule(&w.c, 1, -5, SUBS(2));
    calculus_rule(&w.c, 2, -0.1, SUBS(1));
    calculus_rule(&w.c, 2, -5, CLOSES);
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\ng1r1 at\n  here\ng2r1 at\n  here");
    cr_assert_eq(stats_of(run).duplicates, 2);
    end(&w, run);
}

Test(search_run, a_cycle_alone_is_exhausted)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 1, -1, SUBS(0));
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_EXHAUSTED);
    cr_assert_eq(search_proof(run, NULL, NULL), PV_E_MISUSE);
    end(&w, run);
}

Test(search_run, no_candidates_is_exhausted)
{
    world w = {.c.goal_count = 1};
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_EXHAUSTED);
    cr_assert_eq(stats_of(run).expansions, 1);
    end(&w, run);
}

Test(search_run, a_tactic_that_changes_nothing_is_a_negative)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(0));
    calculus_rule(&w.c, 0, -2, SUBS(1, 0)); /* cannot help either */
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_EXHAUSTED);
    cr_assert_eq(stats_of(run).no_ops, 2);
    cr_assert_eq(stats_of(run).nodes, 1);
    end(&w, run);
}

Test(search_run, drops_the_sibling_of_a_dead_goal)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1, 2));
    calculus_rule(&w.c, 0, -9, SUBS(5));
    w.c.rule_count[1] = 0;
    calculus_rule(&w.c, 2, -1, SUBS(3));
    calculus_rule(&w.c, 3, -1, SUBS(4));
    calculus_rule(&w.c, 4, -1, CLOSES);
    calculus_rule(&w.c, 5, -1, CLOSES);
    for (uint64_t seed = 0; seed < 8; seed++) {
        search_run *run = start(&w, (search_options){.window = 1, .seed = seed});
        cr_assert_eq(search_pump(run), SEARCH_PROVED);
        check_text(run, "g0r1 at\n  here\ng5r0");
        cr_assert_leq(stats_of(run).expansions, 4, "goal 2 was worked on after goal 1 had died");
        end(&w, run);
    }
}

Test(search_run, candidates_are_compared_without_blanks_and_comments)
{
    world w = {.messy = true};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 1, -1, CLOSES);
    search_run *run = start(&w, (search_options){.window = 1});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    cr_assert_eq(stats_of(run).tactics, 3); /* two for goal 0, one for goal 1: then it was solved */
    cr_assert_eq(stats_of(run).failed, 1);
    cr_assert_eq(stats_of(run).tokens, 20);
    end(&w, run);
}

Test(search_run, lost_and_timed_out_tactics_count_as_failed)
{
    world w = {.lose_every = 1};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 0, -2, CLOSES);
    search_run *run = start(&w, (search_options){0});
    cr_assert_eq(search_pump(run), SEARCH_EXHAUSTED);
    search_stats stats = stats_of(run);
    cr_assert_eq(stats.lost + stats.timed_out, 2);
    end(&w, run);
}

/* ---- what it refuses at the start ---- */

static pv_status try_start(const search_outcome *root, pv_error *err)
{
    static world w;
    search_run *run = NULL;
    search_options options = {0};
    return search_run_new(&run, &options, world_policy(&w), world_verifier(&w), root, err);
}

Test(search_run, a_problem_without_goals_is_invalid)
{
    const char *goals[1] = {"goal 0"};
    search_part part = {.goals = goals, .goal_count = 0};
    search_outcome root = {.kind = SEARCH_CLOSED};
    pv_error err = {0};
    cr_assert_eq(try_start(&root, &err), PV_E_INVALID);
    cr_assert_str_eq(err.msg, "the problem to search: there is no open goal to prove");
    root.kind = SEARCH_OPEN;
    cr_assert_eq(try_start(&root, NULL), PV_E_INVALID);
    root.parts = &part;
    root.part_count = 1;
    cr_assert_eq(try_start(&root, NULL), PV_E_INVALID);
    part.goal_count = 1;
    uint32_t order[1] = {1};
    root.order = order;
    root.goal_count = 1;
    cr_assert_eq(try_start(&root, NULL), PV_E_INVALID);
}

Test(search_run, the_same_part_twice_is_proved_twice)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, CLOSES);
    search_options options = {0};
    uint32_t goals[2] = {0, 0};
    search_run *run;
    cr_assert_eq(world_start(&w, &run, &options, goals, 2, false, NULL), PV_OK);
    cr_assert_eq(w.handles, 1, "the second handle is given back");
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "· g0r0\n· g0r0");
    end(&w, run);
}

/* ---- budgets ---- */

static search_stats spend(search_options options, const char *budget)
{
    world w = {0};
    endless(&w);
    search_run *run = start(&w, options);
    cr_assert_eq(search_pump(run), SEARCH_BUDGET);
    cr_assert_str_eq(search_budget_spent(run), budget);
    cr_assert_eq(search_in_flight(run), 0);
    search_stats stats = stats_of(run);
    end(&w, run);
    return stats;
}

Test(search_run, budgets_end_it)
{
    cr_assert_leq(spend((search_options){.nodes_max = 10}, "nodes").nodes, 10);
    cr_assert_eq(spend((search_options){.expansions_max = 7}, "expansions").expansions, 7);
    search_stats tokens = spend((search_options){.tokens_max = 20, .window = 1}, "tokens");
    cr_assert_eq(tokens.tokens, 24);
    search_stats lean = spend((search_options){.lean_seconds_max = 0.01}, "Lean time");
    cr_assert_float_eq(lean.lean_seconds, 0.0105, 1e-9);
    spend((search_options){.wall_seconds_max = 1e-9}, "wall time");
}

Test(search_run, what_is_in_flight_when_expansions_are_spent_still_counts)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, CLOSES);
    search_run *run = start(&w, (search_options){.expansions_max = 1, .tokens_max = 1});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    end(&w, run);
}

Test(search_run, paths_have_a_longest_length)
{
    world w = {0};
    endless(&w);
    search_run *run = start(&w, (search_options){.depth_max = 3});
    cr_assert_eq(search_pump(run), SEARCH_EXHAUSTED);
    cr_assert_eq(stats_of(run).depth, 3);
    end(&w, run);
}

Test(search_run, wakes_whoever_waits)
{
    world w = {.deferred = true};
    calculus_rule(&w.c, 0, -1, CLOSES);
    search_run *run = start(&w, (search_options){.wake = world_wake, .wake_user = &w});
    cr_assert(search_wants_pump(run));
    search_pump(run);
    cr_assert(!search_wants_pump(run));
    cr_assert_eq(search_in_flight(run), 1);
    world_answer(&w);
    cr_assert_eq(w.wakes, 1);
    cr_assert(search_wants_pump(run));
    search_pump(run);
    world_answer(&w);
    cr_assert_eq(w.wakes, 2);
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    end(&w, run);
}

/* ---- what the policy sees, and what a report sees ---- */

typedef struct seen {
    size_t path_count;
    char last_step[64];
    uint64_t seed;
} seen;

static seen last_seen;

static pv_status looking_propose(void *self, const search_policy_request *request, pv_error *err)
{
    last_seen = (seen){.path_count = request->path_count, .seed = request->seed};
    cr_assert_str_eq(request->statement, "theorem t : True");
    cr_assert_eq(request->wanted, 5);
    if (request->path_count > 0) {
        snprintf(last_seen.last_step, sizeof last_seen.last_step, "%s",
                 request->path[request->path_count - 1]);
    }
    return world_propose(self, request, err);
}

Test(search_run, the_policy_sees_the_path_and_the_statement)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 1, -1, SUBS(2));
    calculus_rule(&w.c, 2, -1, CLOSES);
    static const search_policy_ops ops = {.name = "looking", .propose = looking_propose};
    const char *goals[1] = {"goal 0"};
    search_part part = {.handle = world_handle(&w), .goals = goals, .goal_count = 1};
    part.handle->count = 1;
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_options options = {.statement = "theorem t : True", .width = 5};
    search_run *run;
    cr_assert_eq(
        search_run_new(&run, &options, (search_policy){&ops, &w}, world_verifier(&w), &root, NULL),
        PV_OK);
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    cr_assert_eq(last_seen.path_count, 2);
    cr_assert_str_eq(last_seen.last_step, "g1r0");
    end(&w, run);
}

typedef struct census {
    size_t nodes, edges, negatives, solved, on_proof;
    uint64_t last_node;
} census;

static void count_node(void *user, const search_node_view *node)
{
    census *c = user;
    cr_assert_eq(node->id, c->nodes);
    cr_assert_eq(node->goal_count, 1);
    cr_assert(isfinite(node->score));
    c->last_node = node->id;
    c->nodes++;
    c->solved += node->solved;
    c->on_proof += node->on_proof;
}

static void count_edge(void *user, const search_edge_view *edge)
{
    census *c = user;
    cr_assert_eq(edge->from, c->last_node);
    bool negative = edge->kind != SEARCH_CLOSED && edge->kind != SEARCH_OPEN;
    cr_assert_eq(edge->message != NULL, negative);
    c->edges += !negative;
    c->negatives += negative;
}

Test(search_run, a_visit_shows_every_node_and_edge)
{
    world w = {.messy = true};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 0, -2, SUBS(2));
    calculus_rule(&w.c, 1, -1, CLOSES);
    search_run *run = start(&w, (search_options){.window = 1});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    census c = {0};
    search_visit(run, count_node, count_edge, &c);
    search_stats stats = stats_of(run);
    cr_assert_eq(c.nodes, stats.nodes);
    cr_assert_eq(c.edges, stats.edges);
    cr_assert_eq(c.negatives, stats.failed);
    cr_assert_eq(c.solved, 2);
    cr_assert_eq(c.on_proof, 2);
    end(&w, run);
}
