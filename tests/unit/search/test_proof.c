#include "script.h"

#include <criterion/criterion.h>

static void check_proof(world *w, search_run *run, const uint32_t *goals, uint32_t count,
                        uint64_t seed)
{
    pv_buf text = {0};
    pv_error err = {0};
    cr_assert_eq(search_proof(run, &text, &err), PV_OK, "%s", err.msg);
    char *copy = pv_strdup(pv_buf_text(&text));
    static script_reader s;
    cr_assert(script_proves(&s, &w->c, copy, goals, count), "seed %llu: %s\n%s",
              (unsigned long long)seed, s.error, pv_buf_text(&text));
    pv_free(copy);
    pv_buf_release(&text);
}

/* Random problems, with and without coupled goals: a problem is proved exactly when it has a
 * proof (as far as the budget goes), and the script does in a plain list of goals what the
 * search did in the graph. */
static void search_random(uint64_t seed, uint32_t goals, bool cycles, bool coupling, size_t *proved)
{
    world w = {.messy = seed % 2 == 0};
    calculus_random(&w.c, seed, goals, cycles, coupling);
    uint32_t roots[3] = {0, 1, (uint32_t)(seed % goals)};
    uint32_t count = 1 + (uint32_t)(seed % 3);
    search_options options = {.nodes_max = 3000, .seed = seed, .window = 1 + (uint32_t)(seed % 5)};
    search_run *run;
    cr_assert_eq(world_start(&w, &run, &options, roots, count, coupling, NULL), PV_OK);
    search_state state = world_finish(&w, run);
    bool provable[GOALS_MAX];
    calculus_provable(&w.c, provable);
    bool expected = provable[roots[0]] && (count < 2 || provable[roots[1]]) &&
                    (count < 3 || provable[roots[2]]);
    if (state == SEARCH_PROVED) {
        cr_assert(expected, "seed %llu: proved what has no proof", (unsigned long long)seed);
        check_proof(&w, run, roots, count, seed);
        ++*proved;
    } else {
        cr_assert(!expected || state == SEARCH_BUDGET, "seed %llu: a proof was missed (%s)",
                  (unsigned long long)seed, search_state_name(state));
    }
    world_close(&w, run);
    cr_assert_eq(w.handles, 0);
}

Test(search_proof, scripts_of_random_problems_run)
{
    uint64_t live = pv_mem_live();
    size_t proved[4] = {0};
    for (uint64_t seed = 0; seed < 1500; seed++) {
        uint32_t goals = 4 + (uint32_t)(seed % 37);
        for (unsigned mode = 0; mode < 4; mode++) {
            search_random(seed, goals, (mode & 1) != 0, (mode & 2) != 0, &proved[mode]);
        }
    }
    for (unsigned mode = 0; mode < 4; mode++) {
        cr_assert_gt(proved[mode], 300, "mode %u: only %zu proofs were looked at", mode,
                     proved[mode]);
    }
    cr_assert_eq(pv_mem_live(), live);
}
