/* lean_verifier: the search's verifier over the pool of Lean processes. Every tactic passes the lexical gate first.
 * Threads: the loop's. */
#ifndef LEAN_VERIFIER_H
#define LEAN_VERIFIER_H

#include "lean_pool.h"
#include "search_verifier.h"

/* What is known of a tactic on a state before it is tried. */
typedef struct lean_known_failure {
    char *tactic, *message; /* owned by whoever owns the list */
} lean_known_failure;

typedef struct lean_verifier {
    lean_pool *pool;
    size_t
        chunk; /* tactics sent to Lean at once, so that a search that is over wastes few; 0: all */
    double
        killed_ms; /* what a tactic counts for that was killed: Lean cannot say how long it took */
    const lean_state *known_state; /* tactics that are known to fail on this state (borrowed) */
    const lean_known_failure *known;
    size_t known_count;
    pv_error failure;     /* set when the pool cannot work any more (no worker starts) */
    uint64_t gated;       /* tactics refused by the gate                               */
    struct trial *trials; /* requests in flight                                      */
} lean_verifier;

void lean_verifier_init(lean_verifier *verifier, lean_pool *pool);
search_verifier lean_verifier_table(lean_verifier *verifier);

/* True when no request is out. A request lives a little longer than its last answer: the pool still tells its end. The verifier must
 * stay where it is until then. */
bool lean_verifier_idle(const lean_verifier *verifier);

/* The part as the search wants it: a handle of its own (a new reference to the state), texts borrowed. */
search_part lean_verifier_part(const lean_part *part);

#endif
