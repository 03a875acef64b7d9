/* The n-th allocation fails, for all n: nothing crashes, nothing leaks, and the search says so. */
#include "calculus.h"

#include <criterion/criterion.h>

static const uint32_t GOALS[2] = {0, 1};

/* One small search of which the n-th allocation fails; false when n was past the last one. */
static bool starve(uint64_t problem, int64_t n, bool deferred)
{
    uint64_t live = pv_mem_live();
    static world w;
    w = (world){.deferred = deferred, .rng = 5, .messy = true};
    calculus_random(&w.c, problem, 14, true, true);
    search_options options = {.nodes_max = 12, .window = 3, .statement = "theorem t"};
    search_run *run = NULL;
    pv_error err = {0};
    pv_buf text = {0};
    pv_mem_fail_after(n);
    pv_status status = world_start(&w, &run, &options, GOALS, 2, true, &err);
    if (status == PV_OK) {
        search_state state = world_finish(&w, run);
        if (state == SEARCH_PROVED) {
            status = search_proof(run, &text, &err);
            search_visit(run, NULL, NULL, NULL);
            search_reject_proof(run);
            world_finish(&w, run);
        } else if (state == SEARCH_BROKEN) {
            status = search_failure(run)->status;
        }
    }
    cr_assert(status == PV_OK || status == PV_E_NOMEM, "allocation %lld: %s", (long long)n,
              err.msg);
    pv_mem_fail_after(-1);
    if (run != NULL) {
        world_close(&w, run);
    }
    pv_buf_release(&text);
    cr_assert_eq(w.handles, 0, "allocation %lld: handles were lost", (long long)n);
    cr_assert_eq(pv_mem_live(), live, "allocation %lld: memory was lost", (long long)n);
    return status != PV_OK;
}

Test(search_memory, every_allocation_may_fail)
{
    for (uint64_t problem = 0; problem < 6; problem++) {
        for (int deferred = 0; deferred < 2; deferred++) {
            size_t failures = 0;
            for (int64_t n = 0; n < 400; n++) {
                failures += starve(problem, n, deferred != 0);
            }
            cr_assert_gt(failures, 10);
        }
    }
}

Test(search_memory, every_allocation_of_a_replay_may_fail)
{
    static const char text[] =
        "{\"trace\":\"prover-search\",\"version\":1,\"options\":{\"statement\":\"\",\"alpha\":0.5,"
        "\"width\":8,\"window\":1,\"nodes_max\":0,\"expansions_max\":0,\"tokens_max\":0,"
        "\"lean_seconds_max\":0.0,\"wall_seconds_max\":0.0,\"depth_max\":9,"
        "\"seed\":\"0000000000000001\"},\"root\":{\"kind\":\"open\",\"parts\":["
        "{\"key\":\"00000000000000000000000000000001\",\"goals\":[\"g\"]}],\"order\":[0],\"ms\":0}}"
        "\n"
        "{\"policy\":1,\"candidates\":[[\"simp\",-1.0,4],[\"ring\",-2.0,4]]}\n"
        "{\"verifier\":1,\"index\":0,\"kind\":\"failed\",\"message\":\"no\",\"ms\":1.0}\n"
        "{\"end\":\"cancelled\",\"digest\":\"0000000000000000\",\"stats\":{}}\n";
    for (int64_t n = 0; n < 120; n++) {
        search_replay *replay;
        search_stats stats;
        pv_mem_fail_after(n);
        pv_status status = search_replay_parse(&replay, text, sizeof text - 1, NULL);
        if (status == PV_OK) {
            status = search_replay_run(replay, &stats, NULL);
            search_replay_close(replay);
        }
        cr_assert(status == PV_OK || status == PV_E_NOMEM);
        pv_mem_fail_after(-1);
        cr_assert_eq(pv_mem_live(), 0);
    }
}
