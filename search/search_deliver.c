/* Answers come in: they are stored, nothing else. */
#include "search_run.h"

#include <string.h>

static void wake(const search_run *run)
{
    if (!run->inside && run->options.wake != NULL) {
        run->options.wake(run->options.wake_user);
    }
}

static void store_candidates(search_run *run, search_expansion *expansion,
                             const search_candidate *candidates, size_t n, const pv_error *failure)
{
    if (failure != NULL) {
        expansion->stage = SEARCH_BROKE;
        expansion->failure = failure->status;
        expansion->failure_text =
            search_arena_text(&expansion->arena, failure->msg, strlen(failure->msg));
        return;
    }
    run->starved = !search_expansion_store(expansion, candidates, n) || run->starved;
    expansion->stage = SEARCH_PROPOSED;
    run->to_send++;
}

void search_deliver_candidates(search_run *run, uint64_t ticket, const search_candidate *candidates,
                               size_t n, const pv_error *failure)
{
    search_expansion *expansion = search_window_find(&run->window, ticket);
    if (expansion == NULL || expansion->stage != SEARCH_ASKED) {
        return;
    }
    run->in_flight--;
    if (expansion->dropped) {
        expansion->stage = SEARCH_PROPOSED;
        run->to_reap++;
    } else {
        store_candidates(run, expansion, candidates, n, failure);
    }
    wake(run);
}

/* An answer that cannot be used gives its handles back and leaves a note for when it is applied. */
static void store_outcome(search_run *run, search_expansion *expansion, search_answer *answer,
                          const search_outcome *outcome)
{
    answer->flaw = search_outcome_flaw(outcome);
    bool stored =
        answer->flaw == NULL && search_outcome_copy(&expansion->arena, &answer->outcome, outcome);
    if (!stored) {
        search_outcome_drop(&run->verifier, outcome);
        answer->outcome.kind = SEARCH_LOST;
        run->starved = run->starved || answer->flaw == NULL;
    }
}

void search_deliver_outcome(search_run *run, uint64_t ticket, size_t index,
                            const search_outcome *outcome)
{
    search_expansion *expansion = search_window_find(&run->window, ticket);
    if (expansion == NULL || expansion->stage != SEARCH_TRYING || index >= expansion->try_count ||
        expansion->answers[index].given) {
        search_outcome_drop(&run->verifier, outcome);
        return;
    }
    search_answer *answer = &expansion->answers[index];
    answer->given = true;
    expansion->missing--;
    if (expansion->missing == 0) {
        run->in_flight--;
    }
    if (expansion->dropped) {
        search_outcome_drop(&run->verifier, outcome);
        run->to_reap += expansion->missing == 0;
    } else {
        store_outcome(run, expansion, answer, outcome);
    }
    wake(run);
}
