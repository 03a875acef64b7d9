/* A search beside others over a pool of fakes, and what of it becomes a row. */
#include "data_row.h"
#include "fixed_policy.h"
#include "quest.h"
#include "unit/lean_bridge/bridge_fixture.h"

TestSuite(quest, .timeout = 60);

typedef struct rig {
    bridge b;
    session s;
    hole root;
    fixed_policy policy;
    quest q;
} rig;

static void rig_begin(rig *r, const char *const *tactics)
{
    static char *goals[] = {"⊢ P 3"};
    memset(r, 0, sizeof *r);
    bridge_begin(&r->b, NULL);
    r->root.state = bridge_goal(&r->b, 3);
    r->root.goals = goals;
    r->root.goal_count = 1;
    r->root.key = (pv_key){3, 3};
    r->s.pool = r->b.pool;
    for (size_t i = 0; tactics[i] != NULL; i++) {
        cr_assert(fixed_policy_add(&r->policy, tactics[i]));
    }
}

static search_state run(rig *r, const lean_known_failure *known, size_t count)
{
    search_options how = {.alpha = -1, .window = 1, .expansions_max = 20};
    cr_assert_eq(quest_start(&r->q, &r->s, fixed_policy_table(&r->policy), &how, &r->root, known,
                             count, NULL),
                 PV_OK);
    search_state state = quest_pump(&r->q);
    while (state == SEARCH_RUNNING) {
        uv_run(&r->b.loop, UV_RUN_ONCE);
        state = quest_pump(&r->q);
    }
    return state;
}

static void rig_end(rig *r)
{
    while (!quest_end(&r->q)) {
        uv_run(&r->b.loop, UV_RUN_ONCE);
    }
    cr_expect(quest_end(&r->q));
    fixed_policy_release(&r->policy);
    lean_state_unref(r->root.state);
    bridge_end(&r->b);
}

static void has_proof(const rig *r, const char *expected)
{
    pv_buf text = {0};
    cr_assert_eq(search_proof(r->q.run, &text, NULL), PV_OK);
    cr_expect_str_eq(pv_buf_text(&text), expected);
    pv_buf_release(&text);
}

Test(quest, sends_a_few_tactics_at_a_time)
{
    rig r;
    lean_pool_stats before, after;
    rig_begin(&r, TACTICS("fail 1", "close", "fail 2", "fail 3", "fail 4", "fail 5", "fail 6",
                          "fail 7", "fail 8", "fail 9"));
    lean_pool_stats_of(r.b.pool, &before);
    cr_expect_eq(run(&r, NULL, 0), SEARCH_PROVED);
    lean_pool_stats_of(r.b.pool, &after);
    cr_expect_eq(after.requests - before.requests, 1);
    has_proof(&r, "close");
    rig_end(&r);
}

Test(quest, answers_all_of_a_request_that_takes_several)
{
    rig r;
    rig_begin(&r, TACTICS("fail 1", "fail 2", "fail 3", "fail 4", "fail 5", "fail 6", "fail 7",
                          "fail 8", "fail 9"));
    cr_expect_eq(run(&r, NULL, 0), SEARCH_EXHAUSTED);
    search_stats stats;
    search_stats_of(r.q.run, &stats);
    cr_expect_eq(stats.failed, 9);
    cr_expect_eq(stats.lost, 0);
    rig_end(&r);
}

Test(quest, does_not_try_what_is_known_to_fail)
{
    rig r;
    lean_known_failure known = {.tactic = "close", .message = "it uses the theorem itself"};
    rig_begin(&r, TACTICS("close", "dec"));
    cr_expect_eq(run(&r, &known, 1), SEARCH_PROVED);
    has_proof(&r, "dec\nclose");
    rig_end(&r);
}

static size_t count_in(const json_t *list)
{
    return json_array_size(list);
}

Test(quest, its_graph_becomes_steps_failures_and_ways_aside)
{
    rig r;
    lean_known_failure known = {.tactic = "close", .message = "it uses the theorem itself"};
    rig_begin(&r, TACTICS("close", "fail", "dec", "split 1 2"));
    cr_expect_eq(run(&r, &known, 1), SEARCH_PROVED);
    has_proof(&r, "dec\nclose");
    json_t *steps = data_row_steps(r.q.run);
    cr_assert_eq(count_in(steps), 2);
    const json_t *first = json_array_get(steps, 0), *last = json_array_get(steps, 1);
    cr_expect(json_equal(json_array_get(json_object_get(first, "next"), 0),
                         json_object_get(last, "state")));
    cr_expect_eq(count_in(json_object_get(last, "next")), 0);
    data_row_sides_out sides = {json_array(), json_array(), json_array(), json_array()};
    data_row_sides(r.q.run, steps, 1, &sides);
    cr_expect_eq(count_in(sides.failed), 1, "one for a step: `close` for the first");
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(sides.failed, 0), "class")),
                     "self");
    json_decref(sides.failed);
    json_decref(sides.alternatives);
    json_decref(sides.solved);
    json_decref(sides.trail);
    json_decref(steps);
    rig_end(&r);
}

Test(quest, names_what_went_wrong)
{
    static const struct {
        search_outcome_kind kind;
        const char *message, *name;
    } cases[] = {
        {SEARCH_TIMED_OUT, "x", "timeout"},
        {SEARCH_LOST, NULL, "lost"},
        {SEARCH_FAILED, "unknown identifier 'h'", "unknown"},
        {SEARCH_FAILED, "Unknown constant `foo`", "unknown"},
        {SEARCH_FAILED, "simp made no progress", "no_op"},
        {SEARCH_FAILED, "the goal did not change", "no_op"},
        {SEARCH_FAILED, "Type mismatch", "type"},
        {SEARCH_FAILED, NULL, "failed"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_str_eq(data_row_error_class(cases[i].kind, cases[i].message), cases[i].name);
    }
}
