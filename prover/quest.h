/* quest: one search that runs beside others on the session's loop, pumped by its owner.
 *
 *     quest q;
 *     quest_start(&q, s, policy, &options, &hole, err);
 *     while (quest_pump(&q) == SEARCH_RUNNING) { session_round(s); other work }
 *     ... read q.run ...
 *     while (!quest_end(&q)) { session_round(s); }
 * Threads: the loop's. */
#ifndef QUEST_H
#define QUEST_H

#include "lean_verifier.h"
#include "search.h"
#include "session.h"
#include "theorem.h"

typedef struct quest {
    session *s;
    lean_verifier verifier; /* must stay where it is until quest_end() says true */
    search_run *run;        /* NULL: not started, or over                     */
} quest;

enum {
    QUEST_CHUNK = 4
}; /* tactics in one request: what is lost when one of them ends the search */

/* Starts a search of the hole's goals. `known` (count of them, borrowed until the end) need not be tried on it. Fails as
 * search_run_new(); there is nothing to end then. */
PV_NODISCARD pv_status quest_start(quest *q, session *s, search_policy policy,
                                   const search_options *how, const hole *target,
                                   const lean_known_failure *known, size_t count, pv_error *err);

/* Goes on with what has come. The state after it; cancelled when the user interrupts or Lean cannot be started (verifier.failure). */
search_state quest_pump(quest *q);

/* True when quest_pump() would find something to do. */
bool quest_ready(const quest *q);

/* Cancels what is in flight; true once all of it is home and the search is freed. Idempotent. */
bool quest_end(quest *q);

/* Why a search that is over has no proof: a sentence for people; the caller frees. NULL: memory is short. */
char *quest_why_not(const search_run *run);

void quest_add_stats(search_stats *sum, const search_stats *one);

#endif
