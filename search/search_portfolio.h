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

/* The single tactics that close goals outright (n in *count), for "no single tactic proves it" tests. Static. */
const char *const *search_portfolio_closers(size_t *count);

#ifdef __cplusplus
}
#endif
#endif
