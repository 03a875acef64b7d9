/* fill_store: results of `prover fill` in the store of runs, as a run of its own whose problems are the holes of one file. */
#ifndef FILL_STORE_H
#define FILL_STORE_H

#include "fill.h"

typedef struct fill_store fill_store;

/* Fails: as store_open(). */
PV_NODISCARD pv_status fill_store_open(fill_store **out, const char *path, pv_error *err);
void fill_store_close(fill_store *keeper); /* NULL allowed */

/* Adds a run with a result for each hole that was searched. */
PV_NODISCARD pv_status fill_store_add(fill_store *keeper, const fill_file *file, pv_error *err);

#endif
