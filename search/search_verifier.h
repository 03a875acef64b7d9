/* search_verifier: what tries tactics. The search sees only this table.
 *
 * Contract: after `try_tactics` returned PV_OK, every index 0 ... n-1 is answered exactly once
 * with search_deliver_outcome(), in any order, from inside the call or later on the search's
 * thread, also when cancelled (then as SEARCH_LOST with the message "cancelled"). When it
 * returns an error it never answers.
 * Threads: all calls on the thread that runs the search. */
#ifndef SEARCH_VERIFIER_H
#define SEARCH_VERIFIER_H

#include "pv_error.h"
#include "search_state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct search_run search_run;

typedef struct search_try_request {
    search_run *run;            /* to be given to search_deliver_outcome()          */
    uint64_t ticket;            /* names this request                               */
    search_handle *state;       /* borrowed until the last answer                   */
    const char *const *tactics; /* n texts, borrowed for the call                   */
    size_t n;
} search_try_request;

typedef struct search_verifier_ops {
    pv_status (*try_tactics)(void *self, const search_try_request *request, pv_error *err);
    /* The answers still missing are no longer wanted; each is given soon all the same. May be
     * NULL. */
    void (*cancel)(void *self, uint64_t ticket);
    /* The search will not use this handle again (ownership goes back). */
    void (*release)(void *self, search_handle *handle);
} search_verifier_ops;

typedef struct search_verifier {
    const search_verifier_ops *ops;
    void *self; /* borrowed: outlives the run */
} search_verifier;

#ifdef __cplusplus
}
#endif
#endif
