/* fixed_policy: a search policy that proposes the same tactics in every state, in their order: the cheap closing tactics, or
 * the pieces of a proof that shall become shorter. Threads: the search's. */
#ifndef FIXED_POLICY_H
#define FIXED_POLICY_H

#include "search_policy.h"

#include <stdbool.h>

typedef struct fixed_policy {
    char **tactics; /* owned */
    size_t count, capacity;
} fixed_policy;

/* Adds a copy, unless it is there. False when memory is short. */
bool fixed_policy_add(fixed_policy *list, const char *tactic);
void fixed_policy_release(fixed_policy *list);

/* All tactics are equally likely, so that a search with alpha < 0 is breadth first. `list` outlives the searches. */
search_policy fixed_policy_table(fixed_policy *list);

/* True when the tactic is one of those by which a statement counts as cheap. */
bool fixed_policy_is_cheap(const char *tactic);

/* Adds the cheap ones; those that introduce first only where there is something to introduce. */
bool fixed_policy_add_cheap(fixed_policy *list, const char *goal);

#endif
