#include "quest.h"

#include "pv_buf.h"

#include <string.h>

pv_status quest_start(quest *q, session *s, search_policy policy, const search_options *how,
                      const hole *target, const lean_known_failure *known, size_t count,
                      pv_error *err)
{
    lean_part lean = {target->state, target->key, (const char *const *)target->goals,
                      target->goal_count};
    search_part part = lean_verifier_part(&lean);
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    memset(q, 0, sizeof *q);
    q->s = s;
    lean_verifier_init(&q->verifier, s->pool);
    q->verifier.chunk = QUEST_CHUNK;
    q->verifier.killed_ms = (double)s->pool_options.deadline_ms;
    q->verifier.known_state = target->state;
    q->verifier.known = known;
    q->verifier.known_count = count;
    pv_status status =
        search_run_new(&q->run, how, policy, lean_verifier_table(&q->verifier), &root, err);
    if (status != PV_OK) {
        q->run = NULL;
        lean_state_unref((lean_state *)part.handle);
    }
    return status;
}

search_state quest_pump(quest *q)
{
    if (q->s->interrupted || q->verifier.failure.status != PV_OK) {
        search_cancel(q->run);
    }
    return search_pump(q->run);
}

bool quest_ready(const quest *q)
{
    return search_state_of(q->run) != SEARCH_RUNNING || search_wants_pump(q->run);
}

bool quest_end(quest *q)
{
    if (q->run == NULL) {
        return true;
    }
    search_cancel(q->run);
    search_pump(q->run);
    if (search_in_flight(q->run) > 0 || !lean_verifier_idle(&q->verifier)) {
        return false;
    }
    search_run_free(q->run);
    q->run = NULL;
    return true;
}

char *quest_why_not(const search_run *run)
{
    pv_buf why = {0};
    switch (search_state_of(run)) {
    case SEARCH_EXHAUSTED:
        pv_buf_puts(&why, "the search is exhausted: no tactic of the policy leads further");
        break;
    case SEARCH_BUDGET:
        pv_buf_printf(&why, "the budget of %s is spent", search_budget_spent(run));
        break;
    case SEARCH_BROKEN:
        pv_buf_printf(&why, "the search broke off: %s", search_failure(run)->msg);
        break;
    default:
        pv_buf_puts(&why, "the search was stopped");
    }
    return pv_buf_detach(&why);
}

void quest_add_stats(search_stats *sum, const search_stats *one)
{
    sum->nodes += one->nodes;
    sum->edges += one->edges;
    sum->expansions += one->expansions;
    sum->tactics += one->tactics;
    sum->duplicates += one->duplicates;
    sum->no_ops += one->no_ops;
    sum->failed += one->failed;
    sum->timed_out += one->timed_out;
    sum->lost += one->lost;
    sum->tokens += one->tokens;
    sum->lean_seconds += one->lean_seconds;
    sum->wall_seconds += one->wall_seconds;
    sum->depth = one->depth > sum->depth ? one->depth : sum->depth;
    sum->digest ^= one->digest;
}
