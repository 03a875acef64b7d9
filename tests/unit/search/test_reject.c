/* Proofs that the judge refuses. */
#include "toy_search.h"

Test(search_reject, a_refused_proof_sends_it_on)
{
    world w = {0};
    calculus_rule(&w.c, 0, -1, SUBS(1));
    calculus_rule(&w.c, 0, -9, CLOSES);
    calculus_rule(&w.c, 1, -1, CLOSES);
    calculus_rule(&w.c, 1, -2, CLOSES); /* not tried any more when the first had closed goal 1 */
    search_run *run = start(&w, (search_options){.window = 1});
    cr_assert_eq(search_reject_proof(run), SEARCH_RUNNING, "nothing to refuse");
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r1 at\n  here");
    cr_assert_eq(search_reject_proof(run), SEARCH_RUNNING);
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\ng1r0");
    cr_assert_eq(search_reject_proof(run), SEARCH_RUNNING);
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    check_text(run, "g0r0\ng1r1 at\n  here");
    cr_assert_eq(search_reject_proof(run), SEARCH_RUNNING);
    cr_assert_eq(search_pump(run), SEARCH_EXHAUSTED);
    end(&w, run);
}

static size_t reject_all(uint64_t problem, bool deferred, uint64_t *digest)
{
    world w = {.deferred = deferred, .rng = problem, .silent = true};
    calculus_random(&w.c, problem, 16, false, true);
    search_run *run = start(&w, (search_options){.window = 3, .nodes_max = 4000});
    size_t proofs = 0;
    while (world_finish(&w, run) == SEARCH_PROVED) {
        pv_buf text = {0};
        cr_assert_eq(search_proof(run, &text, NULL), PV_OK);
        static script_reader s;
        cr_assert(script_proves(&s, &w.c, text.data, ROOT, 1), "%s", s.error);
        pv_buf_release(&text);
        proofs++;
        search_reject_proof(run);
    }
    *digest = stats_of(run).digest;
    world_close(&w, run);
    cr_assert_eq(w.handles, 0);
    return proofs;
}

Test(search_reject, every_refusal_leads_to_another_proof_or_to_the_end)
{
    size_t most = 0;
    for (uint64_t problem = 0; problem < 80; problem++) {
        uint64_t digests[2];
        size_t proofs = reject_all(problem, false, &digests[0]);
        cr_assert_eq(reject_all(problem, true, &digests[1]), proofs);
        cr_assert_eq(digests[0], digests[1]);
        most = proofs > most ? proofs : most;
    }
    cr_assert_gt(most, 3);
    cr_assert_eq(pv_mem_live(), 0);
}
