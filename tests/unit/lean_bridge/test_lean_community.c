/* The community's REPL behind the same pool. */
#include "bridge_fixture.h"
#include "lean_community.h"

static void begin_repl(bridge *b, const char *const *args)
{
    bridge_begin_with(b, "fake_repl", LEAN_DIALECT_COMMUNITY, args);
    b->options.deadline_ms = 500;
}

static void expect_steps(const char *const *args)
{
    bridge b;
    record r;
    begin_repl(&b, args);
    lean_state *goal = bridge_goal(&b, 3);
    bridge_try(&b, goal, &r,
               TACTICS("dec", "both 1 2", "close", "no such tactic", "fake", "beats"));
    cr_expect(r.failure.status == PV_OK, "%s", r.failure.msg);
    cr_expect(r.kinds[0] == LEAN_TRY_OPEN && r.part_counts[0] == 1);
    cr_expect(r.kinds[1] == LEAN_TRY_OPEN && r.part_counts[1] == 1, "goals are not split");
    cr_expect(r.kinds[2] == LEAN_TRY_CLOSED);
    cr_expect(r.kinds[3] == LEAN_TRY_FAILED);
    cr_expect(r.kinds[4] == LEAN_TRY_FAILED, "no goals, but an error message");
    cr_expect(r.kinds[5] == LEAN_TRY_TIMED_OUT);
    cr_expect(strcmp(lean_pool_lean_version(b.pool), "4.9.0-fake") == 0);
    record_release(&r);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_community, opens_and_tries, .timeout = 60)
{
    expect_steps(NULL);
}

Test(lean_community, works_without_a_proof_status, .timeout = 60)
{
    expect_steps((const char *[]){"--old", NULL});
}

Test(lean_community, skips_lines_that_tactics_print, .timeout = 60)
{
    expect_steps((const char *[]){"--chatty", NULL});
}

Test(lean_community, takes_no_closed_goal_that_the_kernel_refused, .timeout = 60)
{
    bridge b;
    record r;
    begin_repl(&b, NULL);
    lean_state *goal = bridge_goal(&b, 3);
    bridge_try(&b, goal, &r, TACTICS("unsound"));
    cr_expect(r.kinds[0] == LEAN_TRY_FAILED && strstr(r.texts[0], "kernel") != NULL);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_community, opens_command_by_command_with_positions_of_the_whole_text, .timeout = 60)
{
    static const char text[] = "namespace A\n\n/-- doc -/\ntheorem α : P 4 := by\n  sorry\n\n"
                               "@[simp]\nlemma b : P 2 := sorry\nend A\n\ndef c := 1\n";
    bridge b;
    record r;
    begin_repl(&b, NULL);
    bridge_open_text(&b, text, &r);
    cr_expect(r.decl_count == 3 && r.hole_count == 2, "%zu %zu", r.decl_count, r.hole_count);
    cr_expect(strcmp(r.name, "c") == 0, "%s", r.name);
    size_t at = (size_t)(strstr(text, "sorry\nend") - text);
    cr_expect(r.hole_at.byte == at && r.hole_at.line == 8 && r.hole_at.column == 17);
    record_release(&r);
    bridge_end(&b);
}

Test(lean_community, opens_a_text_without_commands, .timeout = 60)
{
    bridge b;
    record r;
    begin_repl(&b, NULL);
    bridge_open_text(&b, "-- nothing here\n", &r);
    cr_expect(r.decl_count == 0 && r.hole_count == 0);
    bridge_end(&b);
}

Test(lean_community, notices_an_import_that_fails_silently, .timeout = 60)
{
    bridge b;
    record r = {0};
    begin_repl(&b, NULL);
    bridge_open_pool(&b);
    cr_assert(lean_env_new(b.pool, &b.env, "import Nope\n", on_env, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == PV_E_INVALID && strstr(r.failure.msg, "import") != NULL);
    bridge_end(&b);
}

Test(lean_community, makes_states_again_and_survives_a_hung_tactic, .timeout = 60)
{
    bridge b;
    record r;
    begin_repl(&b, NULL);
    lean_state *goal = bridge_goal(&b, 5);
    bridge_try(&b, goal, &r, TACTICS("dec"));
    lean_state *next = lean_state_ref(r.states[0]);
    record_release(&r);
    bridge_try(&b, next, &r, TACTICS("hang", "die", "dec"));
    cr_expect(r.failure.status == PV_OK, "%s", r.failure.msg);
    cr_expect(r.kinds[0] == LEAN_TRY_TIMED_OUT && r.kinds[1] == LEAN_TRY_LOST);
    cr_expect(r.kinds[2] == LEAN_TRY_OPEN, "%s", r.texts[2]);
    record_release(&r);
    lean_state_unref(goal);
    lean_state_unref(next);
    bridge_end(&b);
}

Test(lean_community, forgets_states_where_it_cannot_free_them, .timeout = 60)
{
    bridge b;
    record r;
    begin_repl(&b, NULL);
    b.options.states_max = 2;
    b.options.recycle_requests = 20;
    lean_state *goal = bridge_goal(&b, 50);
    for (int i = 0; i < 40; i++) {
        bridge_try(&b, goal, &r, TACTICS("dec"));
        cr_assert(r.kinds[0] == LEAN_TRY_OPEN);
        lean_state_unref(goal);
        goal = lean_state_ref(r.states[0]);
        record_release(&r);
    }
    lean_state_unref(goal);
    bridge_end(&b);
}

static void expect_verdict(const char *candidate, const char *name, lean_verdict verdict,
                           const char *reason)
{
    bridge b;
    record r = {0};
    begin_repl(&b, NULL);
    lean_state *goal = bridge_goal(&b, 5);
    lean_check_request request = {.original = "theorem t : P 3 := by sorry -- end",
                                  .candidate = candidate,
                                  .names = TACTICS(name),
                                  .name_count = 1};
    cr_assert(lean_check(b.env, &request, NULL, on_check, &r, NULL) == PV_OK);
    bridge_wait(&b, &r.ended);
    cr_expect(r.failure.status == PV_OK, "%s", r.failure.msg);
    cr_expect(r.verdict == verdict && strcmp(r.reason, reason) == 0, "%s: %s", candidate, r.reason);
    lean_state_unref(goal);
    bridge_end(&b);
}

Test(lean_community, accepts_a_proof_and_reads_its_axioms, .timeout = 60)
{
    expect_verdict("theorem t : P 3 := by close -- end", "t", LEAN_ACCEPTED, "");
    expect_verdict("theorem t : P 3 := by close -- end", "choice", LEAN_ACCEPTED, "");
}

Test(lean_community, rejects_errors_sorries_axioms_and_other_statements, .timeout = 60)
{
    expect_verdict("theorem t : P 3 := by bad -- end", "t", LEAN_REJECTED, "error");
    expect_verdict("theorem t : P 3 := by sorry -- end", "t", LEAN_REJECTED, "sorry");
    expect_verdict("theorem t : P 3 := by close -- end", "cheat", LEAN_REJECTED, "axiom");
    expect_verdict("theorem t : P 2 := by close -- end", "t", LEAN_REJECTED, "statement");
    expect_verdict("theorem t : P 3 := by close -- end\naxiom x : False", "t", LEAN_REJECTED,
                   "statement");
    expect_verdict("theorem t : P 3 := by close -- end", "t\n#eval 1", LEAN_REJECTED, "missing");
}

static bool same_key(const char *a, const char *b)
{
    pv_buf x = {0};
    pv_buf y = {0};
    lean_community_canonical(a, &x);
    lean_community_canonical(b, &y);
    bool same = strcmp(pv_buf_text(&x), pv_buf_text(&y)) == 0;
    pv_buf_release(&x);
    pv_buf_release(&y);
    return same;
}

Test(lean_community, goals_that_differ_in_case_space_or_variable_numbers_are_equal)
{
    cr_expect(same_key("case a\nh : p\n⊢ q", "case b\nh : p\n  ⊢ q"));
    cr_expect(same_key("⊢ f ?m.12 ?m.7 ?m.12", "⊢ f ?m.3 ?m.1 ?m.3"));
    cr_expect(!same_key("⊢ f ?m.12 ?m.7 ?m.12", "⊢ f ?m.3 ?m.1 ?m.1"));
    cr_expect(!same_key("⊢ p", "⊢ q"));
}
