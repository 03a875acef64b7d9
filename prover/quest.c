#include "quest.h"

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
