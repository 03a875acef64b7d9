/* engine_json: reading JSON objects field by field, with the field's name in every message. Internal to engine/.
 *
 * A reader remembers which fields were asked for, so that the rest can be reported, and keeps the first failure: a
 * caller reads all fields in a row and looks at `status` once. A JSON null counts as an absent field. */
#ifndef ENGINE_JSON_H
#define ENGINE_JSON_H

#include "pv_error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parses one JSON value; duplicate keys and invalid UTF-8 are refused. *out is owned by the caller (json_decref).
 * Fails: PV_E_INVALID with `what`, line and column; PV_E_NOMEM. */
PV_NODISCARD pv_status enginep_json_parse(const char *bytes, size_t n, const char *what,
                                          json_t **out, pv_error *err);

enum { ENGINEP_FIELDS_MAX = 96 };

typedef struct enginep_reader {
    const json_t *object; /* borrowed                                             */
    const char *where;    /* begins messages: "config.json", "config.json: rope"  */
    pv_status status;     /* first failure                                        */
    pv_error *err;
    const char *known[ENGINEP_FIELDS_MAX];
    size_t known_count;
} enginep_reader;

void enginep_reader_init(enginep_reader *r, const json_t *object, const char *where, pv_error *err);

/* The field's value, or NULL when it is absent or null. Counts as known. */
const json_t *enginep_read(enginep_reader *r, const char *name);

/* Fields that are known and change nothing here; `names` ends with NULL. */
void enginep_read_ignored(enginep_reader *r, const char *const *names);

/* A value in [min, max]. Absent: `fallback`, or a failure when that is ENGINEP_REQUIRED (integers). */
#define ENGINEP_REQUIRED UINT64_MAX
uint32_t enginep_read_u32(enginep_reader *r, const char *name, uint32_t min, uint32_t max,
                          uint64_t fallback);
double enginep_read_real(enginep_reader *r, const char *name, double min, double max,
                         double fallback);
bool enginep_read_bool(enginep_reader *r, const char *name, bool fallback);
const char *enginep_read_text(enginep_reader *r, const char *name, const char *fallback);
const json_t *enginep_read_object(enginep_reader *r, const char *name); /* NULL: absent */
const json_t *enginep_read_array(enginep_reader *r, const char *name);

/* Records a failure about a field; the first one wins. */
void enginep_reader_fail(enginep_reader *r, pv_status status, const char *fmt, ...) PV_PRINTF(3, 4);

bool enginep_reader_knows(const enginep_reader *r, const char *name);

#endif
