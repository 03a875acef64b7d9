/* engine_cpu_lanes: a batch of a small model, cut into parts of whole sequences that one thread each takes through all layers.
 *
 * The usual way shares every product out to all threads and waits for all of them some ninety times a step. For a model whose
 * weights the caches hold that is most of the time, and a thread that the system puts aside (Lean runs on the same
 * processors) holds up the others each time. A lane waits for nobody until its rows are through. A row's bits do not depend on
 * who else is in its batch, so that both ways give the same.
 * Threads: as the device. */
#ifndef ENGINE_CPU_LANES_H
#define ENGINE_CPU_LANES_H

#include "engine_cpu_device.h"

/* Bytes of scratch for all lanes; 0 when the device will have none (one thread, or a model that is not small). */
uint64_t engine_cpu_lanes_bytes(const engine_weights *weights,
                                const engine_backend_options *options);

/* Opens the device's lanes, when it is to have any; the rest of the device is open already. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status engine_cpu_lanes_open(engine_device *device, pv_error *err);
void engine_cpu_lanes_close(engine_device *device);

/* Runs a checked batch. False, and nothing done, when the batch is better served the usual way: few rows, or one sequence with
 * most of them. */
bool engine_cpu_lanes_forward(engine_device *device, const engine_batch *batch, float *logits);

#endif
