/* engine_synthetic: a model of given dimensions with seeded random weights, in memory. For tests, benchmarks and the
 * self-check of a machine: no file is read. Values are scaled so that activations keep their size through the layers.
 * Threads: immutable after open. */
#ifndef ENGINE_SYNTHETIC_H
#define ENGINE_SYNTHETIC_H

#include "engine_weights.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_synthetic engine_synthetic;

/* matrices: dtype of the projections (F8_E4M3 takes config->quant's blocks); embedding, head and router are then BF16.
 * config is borrowed and must be consistent. Fails: PV_E_NOMEM, PV_E_UNSUPPORTED (dtype). */
PV_NODISCARD pv_status engine_synthetic_open(engine_synthetic **out, const engine_config *config,
                                             engine_dtype matrices, uint64_t seed, pv_error *err);

/* The same without the numbers, for devices that make them up themselves: views have their shapes, and pointers that are
 * not NULL and must not be read. */
PV_NODISCARD pv_status engine_synthetic_shapes(engine_synthetic **out, const engine_config *config,
                                               engine_dtype matrices, pv_error *err);

/* NULL is allowed. */
void engine_synthetic_close(engine_synthetic *model);

const engine_weights *engine_synthetic_weights(const engine_synthetic *model);

#ifdef __cplusplus
}
#endif
#endif
