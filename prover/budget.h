/* budget: what one attempt at a problem may cost, as --budget says it: "wall=SECONDS,nodes=N,lean=SECONDS,tokens=N", any of them.
 * Only nodes and tokens give the same search on every machine. Threads: pure. */
#ifndef BUDGET_H
#define BUDGET_H

#include "pv_error.h"
#include "search.h"

typedef struct budget { /* 0: no limit */
    double wall_seconds, lean_seconds;
    uint64_t nodes, tokens;
} budget;

/* Fails: PV_E_INVALID, with what is wrong (a word, a value, nothing limited at all). */
PV_NODISCARD pv_status budget_parse(budget *out, const char *text, pv_error *err);

void budget_apply(const budget *from, search_options *to);

#endif
