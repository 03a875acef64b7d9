/* policies_report: the tables of a comparison, from the rows of one or several result files. Threads: one. */
#ifndef POLICIES_REPORT_H
#define POLICIES_REPORT_H

#include "pv_error.h"

#include <jansson.h>
#include <stdbool.h>

/* Were two "run" rows made under one rule? The same settings, and the same for every arm that both have. */
bool policies_agree(const json_t *run, const json_t *other);

/* `rows` are objects of the kinds "run" and "trial" (docs/benchmarks.md); of a statement's rows for one arm the first counts.
 * Only statements that every arm has tried are compared. Prints for people, or one JSON object. Fails: PV_E_INVALID (rows of runs
 * with different settings, none at all), PV_E_NOMEM. */
PV_NODISCARD pv_status policies_report(const json_t *rows, bool json, pv_error *err);

#endif
