/* search_outcome: checks and copies of what a verifier answers. Internal to search/. */
#ifndef SEARCH_OUTCOME_H
#define SEARCH_OUTCOME_H

#include "search_arena.h"
#include "search_verifier.h"

#include <stdbool.h>

/* Why the outcome breaks the contract of search_state.h, as a static text; NULL when it keeps
 * it. `order` may be left out (goal_count 0): the parts then follow each other. */
const char *search_outcome_flaw(const search_outcome *outcome);

/* Copies everything but the handles' targets into the arena; false when memory is short. The
 * message is cut to a bounded length: a search keeps many of them. */
bool search_outcome_copy(search_arena *arena, search_outcome *out, const search_outcome *in);

/* Gives every handle back to the verifier. */
void search_outcome_drop(const search_verifier *verifier, const search_outcome *outcome);

/* Gives one handle back; NULL (a recorded state has none) is no handle. */
void search_handle_drop(const search_verifier *verifier, search_handle *handle);

#endif
