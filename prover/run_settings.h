/* run_settings: what a run's results depend on but the problems, as JSON, and the fingerprint that shards of one run share. Threads: any. */
#ifndef RUN_SETTINGS_H
#define RUN_SETTINGS_H

#include "options.h"
#include "store.h"

/* Into run->settings (owned by the run) and run->fingerprint; run->problems_hash must be there. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status run_settings_write(const options *opt, const char *model_hash,
                                          store_run *run, pv_error *err);

#endif
