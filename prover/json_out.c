#include "json_out.h"

#include <errno.h>
#include <stdio.h>

void json_out_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text == NULL ? json_null() : json_string(text));
}

void json_out_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static pv_status lost(pv_error *err)
{
    return pv_fail_os(err, PV_E_IO, errno, "the result could not be written to standard output");
}

pv_status json_out_print(json_t *object, pv_error *err)
{
    int code = json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(object);
    return code != 0 || fputc('\n', stdout) == EOF ? lost(err) : PV_OK;
}

pv_status json_out_flush(pv_error *err)
{
    return fflush(stdout) != 0 || ferror(stdout) ? lost(err) : PV_OK;
}
