#include "engine_json.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

pv_status enginep_json_parse(const char *bytes, size_t n, const char *what, json_t **out,
                             pv_error *err)
{
    json_error_t why;
    json_t *value = json_loadb(bytes == NULL ? "" : bytes, n, JSON_REJECT_DUPLICATES, &why);
    /* jansson leaves the text empty when an allocation failed. */
    if (value == NULL &&
        (why.text[0] == '\0' || json_error_code(&why) == json_error_out_of_memory)) {
        return pv_fail(err, PV_E_NOMEM, "%s: out of memory while parsing", what);
    }
    if (value == NULL) {
        return pv_fail(err, PV_E_INVALID, "%s: invalid JSON at line %d, column %d: %s", what,
                       why.line, why.column, why.text);
    }
    *out = value;
    return PV_OK;
}

void enginep_reader_init(enginep_reader *r, const json_t *object, const char *where, pv_error *err)
{
    memset(r, 0, sizeof *r);
    r->object = object;
    r->where = where;
    r->err = err;
    if (!json_is_object(object)) {
        r->status = pv_fail(err, PV_E_INVALID, "%s: expected a JSON object", where);
    }
}

void enginep_reader_fail(enginep_reader *r, pv_status status, const char *fmt, ...)
{
    if (r->status != PV_OK) {
        return;
    }
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->status = pv_fail(r->err, status, "%s: %s", r->where, text);
}

static void remember(enginep_reader *r, const char *name)
{
    assert(r->known_count < ENGINEP_FIELDS_MAX);
    if (r->known_count < ENGINEP_FIELDS_MAX) {
        r->known[r->known_count++] = name;
    }
}

const json_t *enginep_read(enginep_reader *r, const char *name)
{
    remember(r, name);
    const json_t *value = json_object_get(r->object, name);
    return json_is_null(value) ? NULL : value;
}

void enginep_read_ignored(enginep_reader *r, const char *const *names)
{
    for (; *names != NULL; names++) {
        remember(r, *names);
    }
}

bool enginep_reader_knows(const enginep_reader *r, const char *name)
{
    for (size_t i = 0; i < r->known_count; i++) {
        if (strcmp(r->known[i], name) == 0) {
            return true;
        }
    }
    return false;
}

uint32_t enginep_read_u32(enginep_reader *r, const char *name, uint32_t min, uint32_t max,
                          uint64_t fallback)
{
    const json_t *value = enginep_read(r, name);
    if (value == NULL) {
        if (fallback == ENGINEP_REQUIRED) {
            enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" is missing; add it", name);
            return min;
        }
        return (uint32_t)fallback;
    }
    if (!json_is_integer(value)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" must be an integer", name);
        return min;
    }
    json_int_t number = json_integer_value(value);
    if (number < (json_int_t)min || number > (json_int_t)max) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "field \"%s\" is %" JSON_INTEGER_FORMAT
                            "; expected an integer from %u to %u",
                            name, number, min, max);
        return min;
    }
    return (uint32_t)number;
}

double enginep_read_real(enginep_reader *r, const char *name, double min, double max,
                         double fallback)
{
    const json_t *value = enginep_read(r, name);
    if (value == NULL) {
        return fallback;
    }
    if (!json_is_number(value)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" must be a number", name);
        return fallback;
    }
    double number = json_number_value(value);
    if (!(number >= min && number <= max)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" is %g; expected a number from %g to %g",
                            name, number, min, max);
        return fallback;
    }
    return number;
}

bool enginep_read_bool(enginep_reader *r, const char *name, bool fallback)
{
    const json_t *value = enginep_read(r, name);
    if (value != NULL && !json_is_boolean(value)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" must be true or false", name);
    }
    return value == NULL ? fallback : json_is_true(value);
}

const char *enginep_read_text(enginep_reader *r, const char *name, const char *fallback)
{
    const json_t *value = enginep_read(r, name);
    if (value != NULL && !json_is_string(value)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" must be a string", name);
        return fallback;
    }
    return value == NULL ? fallback : json_string_value(value);
}

const json_t *enginep_read_object(enginep_reader *r, const char *name)
{
    const json_t *value = enginep_read(r, name);
    if (value != NULL && !json_is_object(value)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" must be an object", name);
        return NULL;
    }
    return value;
}

const json_t *enginep_read_array(enginep_reader *r, const char *name)
{
    const json_t *value = enginep_read(r, name);
    if (value != NULL && !json_is_array(value)) {
        enginep_reader_fail(r, PV_E_INVALID, "field \"%s\" must be an array", name);
        return NULL;
    }
    return value;
}
