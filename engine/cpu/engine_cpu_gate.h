/* engine_cpu_gate: which experts a token takes, and with what weights. Formulas: docs/engine-cpu.md, section 6.
 * Threads: pure. */
#ifndef ENGINE_CPU_GATE_H
#define ENGINE_CPU_GATE_H

#include "../engine_config.h"

/* logits[routed] and bias[routed] (NULL: none) to moe->per_token ids, ascending, and their weights. `scratch` holds
 * 2 * routed + groups numbers. Ties go to the lower id; experts of groups that were not kept are never chosen; ids are
 * in range and distinct even when logits are not numbers. */
void engine_cpu_gate(const engine_moe *moe, const float *logits, const float *bias, float *scratch,
                     uint32_t *ids, float *weights);

#endif
