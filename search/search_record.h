/* search_record: what a run tells its trace. Internal to search/. Every function does nothing
 * without a trace, or after its first error. */
#ifndef SEARCH_RECORD_H
#define SEARCH_RECORD_H

#include "search_expansion.h"
#include "search_trace.h"

void search_record_start(search_trace *trace, const search_options *options,
                         const search_outcome *root);
void search_record_policy(search_trace *trace, const search_expansion *expansion);
void search_record_outcome(search_trace *trace, uint64_t ticket, size_t index,
                           const search_outcome *outcome);
void search_record_reject(search_trace *trace);
void search_record_end(search_trace *trace, search_state state, const search_stats *stats);

#endif
