/* search_trace: a search written down as JSON lines, and a policy and verifier that answer from
 * such a file.
 *
 * Line 1: {"trace":"prover-search","version":1,"options":{...},"root":{...}}; then, in the order
 * in which the search applied them, {"policy":ticket,...}, {"verifier":ticket,"index":i,...} and
 * {"reject":true}; last {"end":state,"digest":D,"stats":{...}}. docs/search.md has the fields.
 * Replaying a trace with the same options makes the same decisions and ends with the same
 * digest. A trace that cannot be written (a full disk) stops recording with an error kept for
 * search_trace_close(); the search goes on.
 * Threads: that of the run. */
#ifndef SEARCH_TRACE_H
#define SEARCH_TRACE_H

#include "search.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens PATH for writing (replaced). The caller closes it after search_run_free(). */
PV_NODISCARD pv_status search_trace_create(search_trace **out, const char *path, pv_error *err);
/* Flushes and closes; the first write error of its life, naming the path. */
PV_NODISCARD pv_status search_trace_close(search_trace *trace, pv_error *err);

typedef struct search_replay search_replay;

/* Reads a trace. Fails with the line number: PV_E_INVALID, PV_E_NOTFOUND, PV_E_IO. */
PV_NODISCARD pv_status search_replay_open(search_replay **out, const char *path, pv_error *err);
/* The same from n bytes in memory. */
PV_NODISCARD pv_status search_replay_parse(search_replay **out, const char *bytes, size_t n,
                                           pv_error *err);
void search_replay_close(search_replay *replay);

/* The recorded options (trace and wake are unset) and root; borrowed. */
const search_options *search_replay_options(const search_replay *replay);
const search_outcome *search_replay_root(const search_replay *replay);
uint64_t search_replay_digest(const search_replay *replay);

/* Answers from the trace, from inside the calls. A request that the trace has no answer to (the
 * recorded search had ended by then) stays open until it is cancelled. The states have no
 * handles. */
search_policy search_replay_policy(search_replay *replay);
search_verifier search_replay_verifier(search_replay *replay);

/* Makes the whole search again, recorded rejections included and without its wall-time budget,
 * up to where the trace ends, and says in *stats what came out: compare stats->digest with
 * search_replay_digest(). Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status search_replay_run(search_replay *replay, search_stats *stats, pv_error *err);

#ifdef __cplusplus
}
#endif
#endif
