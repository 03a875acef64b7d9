/* lean_replay: gives the declarations that a candidate made to the kernel, in a Lean process that never runs a candidate.
 *
 * The process gets the header and the user's text, which are trusted, and an export (docs/protocol.md), which is data: a
 * list of names, levels, terms and declarations that may come from a process in which a proof did what it liked. It is
 * therefore kept, and used again for each export. One that dies or hangs over an export is replaced.
 * Internal to lean_bridge. Threads: the loop's thread. */
#ifndef LEAN_REPLAY_H
#define LEAN_REPLAY_H

#include "lean_pool.h"

typedef struct lean_replay lean_replay;

/* Options are those of the pool (workers is ignored; borrowed for the call). Starts no process yet. */
PV_NODISCARD pv_status lean_replay_open(lean_replay **out, uv_loop_t *loop,
                                        const lean_pool_options *options, pv_error *err);

/* Kills the process and answers what is under way. `closed` comes from the loop, never from inside this call. */
void lean_replay_close(lean_replay *replay, void (*closed)(void *user), void *user);

/* Starts the process, and has it import `header`, so that it is there when an export comes. Failures are told then. */
PV_NODISCARD pv_status lean_replay_prepare(lean_replay *replay, const char *header, pv_error *err);

/* Judges the declarations of `request` (not NULL) on `header`. Everything is copied. One callback, from the loop.
 * Fails: PV_E_INVALID when they are no export (lean_export.h). */
PV_NODISCARD pv_status lean_replay_ask(lean_replay *replay, const char *header,
                                       const lean_check_request *request, lean_check_cb *cb,
                                       void *user, pv_error *err);

/* Lean's version in that process; NULL before it greeted. Borrowed. */
const char *lean_replay_lean_version(const lean_replay *replay);

#endif
