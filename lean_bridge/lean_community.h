/* lean_community: the REPL of the Lean community behind the interface of a dialect. Internal to lean_bridge.
 *
 * It knows commands and tactic steps, no more, so one call becomes a conversation of several requests:
 *   header   the text as a command without env, then a probe: an import that fails is silent
 *   open     command by command, because a tactic sees the environment from before the whole request
 *   try      one step for each tactic, under `set_option maxHeartbeats`
 *   check    the candidate as one command, then `#print axioms` for each name. The statement is compared as text only
 * Weaker than our own server: goals are not split (a single part), keys are hashes of displayed text, heartbeats bound
 * tactics but not commands, declarations and the kind of their holes are found by reading the text, and a step is taken at
 * its word unless it logs an error or a sorry. States are never freed: the pool recycles.
 * Threads: pure functions. */
#ifndef LEAN_COMMUNITY_H
#define LEAN_COMMUNITY_H

#include "lean_dialect.h"

/* Appends the goal without its `case` line, white space collapsed, metavariables numbered in order of appearance. */
void lean_community_canonical(const char *goal, pv_buf *out);

/* Reads what `#print axioms` says. False when it says nothing about axioms; else the names are appended to *out, in `arena`. */
bool lean_community_axioms(const char *text, lean_arena *arena, const char ***out, size_t *count);

#endif
