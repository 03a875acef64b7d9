/* json_out: results as JSON, a line each on stdout. Threads: one at a time. */
#ifndef JSON_OUT_H
#define JSON_OUT_H

#include "pv_error.h"

#include <jansson.h>
#include <stdint.h>

/* NULL becomes null. */
void json_out_text(json_t *object, const char *key, const char *text);
void json_out_count(json_t *object, const char *key, uint64_t value);

/* Prints the object (taken) and a newline, ASCII only; flushed at the end of the program, or by the caller. Fails: PV_E_IO. */
PV_NODISCARD pv_status json_out_print(json_t *object, pv_error *err);

/* What stdio holds back reaches stdout. Fails: PV_E_IO. */
PV_NODISCARD pv_status json_out_flush(pv_error *err);

#endif
