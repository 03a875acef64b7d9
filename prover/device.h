/* device: what a model runs on (--device), and how large its cache is (--kv-memory).
 *
 *     device_plan plan;
 *     status = device_choose(&plan, opt, model, &err);
 *     status = engine_open(&e, model, plan.backend, &plan.engine, &err);
 *
 * On a GPU the cache takes what weights and scratch leave, up to a whole context for each sequence that may decode. On
 * several, each holds a part of the model, and the figures are of the one that has least left. */
#ifndef DEVICE_H
#define DEVICE_H

#include "engine.h"
#include "options.h"

typedef struct device_plan {
    const engine_backend *backend;
    engine_options engine;
    engine_memory memory; /* with engine.backend.kv_pages pages */
} device_plan;

typedef struct device_table { /* cuda NULL: not built */
    const engine_backend *cpu, *cuda;
} device_table;

device_table device_built(void);

/* Fails: PV_E_INVALID (--device or --kv-memory makes no sense), PV_E_UNSUPPORTED (cuda was not built, or cannot run this
 * model), PV_E_DEVICE (no GPU answers), PV_E_LIMIT (it does not fit: figures in the message). With `auto` the CPU is the
 * answer to all of these but the first, and the log says why. *out is written on success only. */
PV_NODISCARD pv_status device_choose(device_plan *out, const options *opt,
                                     const engine_model *model, pv_error *err);

/* The plan on one backend of `table`, named as for --device (no "auto"). */
PV_NODISCARD pv_status device_plan_on(device_plan *out, const device_table *table, const char *name,
                                      const options *opt, const engine_model *model, pv_error *err);

/* As device_choose(), from the backends of `table`. */
PV_NODISCARD pv_status device_choose_from(device_plan *out, const device_table *table,
                                          const options *opt, const engine_model *model,
                                          pv_error *err);

/* One line: "GPU NAME (sm_90a kernels): 12.9 GiB of weights, ...". */
void device_plan_text(const device_plan *plan, pv_buf *out);

/* Is --device one of the words? PV_E_INVALID says which there are. */
PV_NODISCARD pv_status device_check(const options *opt, pv_error *err);

#endif
