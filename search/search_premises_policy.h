/* search_premises_policy: the portfolio, and tactics that name the lemmas of a set which the goal makes one think of.
 *
 * No learning, no state: the candidates depend on the goal's text and the set alone. docs/premises.md lists the forms.
 * It answers from inside `propose`. Threads: any. */
#ifndef SEARCH_PREMISES_POLICY_H
#define SEARCH_PREMISES_POLICY_H

#include "search_policy.h"
#include "search_premises.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Embedded in whoever starts a search; outlives it. */
typedef struct search_premises_policy {
    const search_premises *set; /* borrowed, sealed                                       */
    const char *skip;           /* never proposed: what is to be proved; borrowed; NULL   */
    bool no_simp;  /* `simp` would prove it by itself, which does not count: only `simp only`    */
    bool no_grind; /* the same of `grind`                                                        */
} search_premises_policy;

search_policy search_premises_policy_table(search_premises_policy *policy);

#ifdef __cplusplus
}
#endif
#endif
