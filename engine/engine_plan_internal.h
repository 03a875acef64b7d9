/* engine_plan_internal: adding tensors up into an engine_plan. */
#ifndef ENGINE_PLAN_INTERNAL_H
#define ENGINE_PLAN_INTERNAL_H

#include "engine_weights.h"

/* Adds one tensor of `bytes` bytes (without its scales). */
void enginep_plan_add(engine_plan *plan, const engine_config *config, const engine_spec *spec,
                      uint64_t bytes);

/* Sums the totals once every tensor has been added. */
void enginep_plan_finish(engine_plan *plan, const engine_config *config);

#endif
