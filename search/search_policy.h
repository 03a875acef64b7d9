/* search_policy: where candidates come from. The search sees only this table.
 *
 * Contract: after `propose` returned PV_OK the policy answers exactly once with
 * search_deliver_candidates(), either from inside the call or later on the search's thread, also
 * when it was cancelled or failed. When `propose` returns an error it never answers. Candidates
 * need not be distinct; the search drops duplicates.
 * Threads: all calls on the thread that runs the search. */
#ifndef SEARCH_POLICY_H
#define SEARCH_POLICY_H

#include "pv_error.h"
#include "search_state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct search_run search_run;

typedef struct search_candidate {
    const char *tactic; /* tactic text, one or several lines, no trailing newline          */
    double logprob;     /* natural logarithm of its probability given the state, <= 0       */
    uint32_t tokens;    /* model tokens spent on it (0 for policies without a model)        */
} search_candidate;

typedef struct search_policy_request {
    search_run *run;          /* to be given to search_deliver_candidates()                 */
    uint64_t ticket;          /* names this request                                         */
    const char *statement;    /* the declaration being proved, for prompts                  */
    const char *const *goals; /* goal_count display texts, main goal first                  */
    size_t goal_count;
    const char *const *path; /* path_count tactics from the root to this state             */
    size_t path_count;
    uint32_t wanted;     /* how many candidates the search would like (a hint)         */
    uint64_t seed;       /* the same request with the same seed gives the same answer  */
    uint64_t state_seed; /* the seed when it was first asked about this state          */
    uint32_t
        asked; /* times it was asked about this state before: what draws at random may draw wider */
    uint32_t asks; /* times that it may be asked about one state in all                  */
} search_policy_request;

typedef struct search_policy_ops {
    const char *name; /* as written after --policy */
    /* Starts on a request. Everything in *request but `run` is borrowed for the call only. */
    pv_status (*propose)(void *self, const search_policy_request *request, pv_error *err);
    /* The answer is no longer wanted; the policy answers soon, with what it has or nothing. A ticket
     * names a request of its run only: runs that share a policy use the same ones. May be NULL. */
    void (*cancel)(void *self, search_run *run, uint64_t ticket);
    uint32_t asks; /* times that it has something new to say about one state; 0 = 1 */
} search_policy_ops;

typedef struct search_policy {
    const search_policy_ops *ops;
    void *self; /* borrowed: outlives the run */
} search_policy;

#ifdef __cplusplus
}
#endif
#endif
