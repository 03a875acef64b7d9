/* search_portfolio: a fixed list of core Lean tactics chosen by the shape of the goal: a baseline and a bootstrap.
 *
 * No learning, no state: the candidates depend on the goals' texts alone. docs/portfolio.md lists them with
 * their weights. It answers from inside `propose`. Threads: any; it is immutable. */
#ifndef SEARCH_PORTFOLIO_H
#define SEARCH_PORTFOLIO_H

#include "search_policy.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The policy; its self is static. */
search_policy search_portfolio(void);

/* Hears one candidate; its text lives for the call. */
typedef void search_portfolio_take(void *user, const search_candidate *candidate);

/* What it proposes for a goal's text, at most `wanted` (0: its default), for a policy that has it beside another. The likeliest first,
 * from inside the call. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status search_portfolio_each(const char *goal, size_t wanted,
                                             search_portfolio_take *take, void *user,
                                             pv_error *err);

/* The single tactics that close goals outright (n in *count), for "no single tactic proves it" tests. Static. */
const char *const *search_portfolio_closers(size_t *count);

#ifdef __cplusplus
}
#endif
#endif
