/* lean_json: the little of jansson that both dialects share. Shows json_t, and is included by
 * lean_protocol.c and lean_community*.c alone. Threads: pure functions. */
#ifndef LEAN_JSON_H
#define LEAN_JSON_H

#include "lean_arena.h"
#include "pv_error.h"

#include <jansson.h>
#include <stdint.h>

/* Parses n bytes. *out is NULL with PV_OK when they are no JSON object. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status lean_json_parse(const char *text, size_t n, json_t **out, pv_error *err);

/* The string field in the arena; "" when it is missing or no string. A NUL in it ends it. */
const char *lean_json_text(lean_arena *arena, const json_t *object, const char *field);

/* The whole number of the field; 0 when it is missing, negative or no whole number. */
uint64_t lean_json_number(const json_t *object, const char *field);

#endif
