/* One allocation fails, each in turn: whatever was accepted ends exactly once, and nothing is left. */
#include "bridge_fixture.h"

static void settle(bridge *b, record *r, pv_status accepted)
{
    if (accepted == PV_OK) {
        bridge_wait(b, &r->ended);
    } else {
        cr_expect(accepted == PV_E_NOMEM && r->calls == 0, "%s", pv_status_text(accepted));
    }
}

static void use_states(bridge *b, const record *opened)
{
    const char *tactics[] = {"dec", "split 4 5", "fail", "close"};
    lean_check_request request = {.original = "a", .candidate = "b", .deadline_ms = 150};
    record r = {.count = 4};
    record c = {0};
    if (opened->hole_count > 0) {
        settle(b, &r, lean_try(opened->states[0], tactics, 4, NULL, on_try, &r, NULL));
        for (size_t i = 0; r.ended && i < 4; i++) {
            cr_assert(r.answers[i] == 1, "tactic %zu was answered %u times", i, r.answers[i]);
        }
    }
    settle(b, &c, lean_check(b->env, &request, NULL, on_check, &c, NULL));
    record_release(&r);
}

static void run_scenario(bridge *b)
{
    record header = {0};
    record opened = {0};
    if (lean_pool_open(&b->pool, &b->loop, &b->options, NULL) != PV_OK) {
        return;
    }
    settle(b, &header, lean_env_new(b->pool, &b->env, "import Init\n", on_env, &header, NULL));
    if (b->env != NULL) {
        settle(b, &opened,
               lean_open(b->env, "theorem t : P 9 := by sorry", NULL, on_open, &opened, NULL));
        use_states(b, &opened);
    }
    record_release(&opened);
}

/* True when the allocation that was to fail has not come yet: the scenario needs fewer. */
static bool is_still_armed(void)
{
    bool failed = false;
    for (int i = 0; i < 2000 && !failed; i++) {
        void *block = pv_malloc(1);
        failed = block == NULL;
        pv_free(block);
    }
    return failed;
}

static void fail_each_allocation(const char *program, lean_dialect dialect)
{
    bridge b;
    bool done = false;
    for (int64_t n = 0; !done && n < 2000; n++) {
        bridge_begin_bare(&b, program, dialect, NULL);
        b.options.deadline_ms = 150;
        b.options.start_deadline_ms = 150;
        pv_mem_fail_after(n);
        run_scenario(&b);
        done = is_still_armed();
        pv_mem_fail_after(-1);
        bridge_end(&b);
    }
    cr_expect(done, "2000 allocations were not enough");
}

Test(lean_chaos, survives_any_one_failed_allocation, .timeout = 300)
{
    fail_each_allocation("fake_lean", LEAN_DIALECT_PROVER);
}

Test(lean_chaos, survives_any_one_failed_allocation_with_the_community_repl, .timeout = 300)
{
    fail_each_allocation("fake_repl", LEAN_DIALECT_COMMUNITY);
}
