/* search_replay: a trace in memory. Internal to search/: search_parse.c fills it,
 * search_replay.c answers from it. */
#ifndef SEARCH_REPLAY_H
#define SEARCH_REPLAY_H

#include "search_arena.h"
#include "search_trace.h"

typedef struct search_take { /* what was answered to one expansion */
    uint64_t ticket;
    search_candidate *candidates;
    size_t candidate_count;
    search_outcome *outcomes; /* of the first outcome_count candidates that were tried */
    size_t outcome_count, outcome_capacity;
} search_take;

typedef struct search_debt { /* a request that the trace has no (full) answer to */
    search_run *run;
    uint64_t ticket;
    size_t first, end; /* verifier: the outcomes owed */
    bool policy;
} search_debt;

struct search_replay {
    search_arena arena; /* every text */
    search_options options;
    search_outcome root;
    search_take *takes; /* by rising ticket */
    size_t take_count, take_capacity;
    uint64_t rejections;
    uint64_t digest;
    bool started, ended; /* while reading */
    search_debt *debts;
    size_t debt_count, debt_capacity;
};

#endif
