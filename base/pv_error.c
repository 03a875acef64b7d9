#include "pv_error.h"

#include <stdio.h>
#include <string.h>

const char *pv_status_text(pv_status status)
{
    switch (status) {
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return text;
        PV_STATUS_TABLE(X)
#undef X
    }
    return "unknown status";
}

static void set_message(pv_error *err, pv_status status, int os_code, const char *fmt, va_list args)
{
    err->status = status;
    err->os_code = os_code;
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    if (os_code != 0 && n >= 0 && (size_t)n < sizeof err->msg) {
        snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", strerror(os_code));
    }
}

pv_status pv_fail(pv_error *err, pv_status status, const char *fmt, ...)
{
    if (err != NULL && err->status == PV_OK) {
        va_list args;
        va_start(args, fmt);
        set_message(err, status, 0, fmt, args);
        va_end(args);
    }
    return status;
}

pv_status pv_fail_os(pv_error *err, pv_status status, int os_code, const char *fmt, ...)
{
    if (err != NULL && err->status == PV_OK) {
        va_list args;
        va_start(args, fmt);
        set_message(err, status, os_code, fmt, args);
        va_end(args);
    }
    return status;
}

pv_status pv_error_wrap(pv_error *err, const char *fmt, ...)
{
    if (err == NULL || err->status == PV_OK) {
        return PV_E_MISUSE;
    }
    char inner[PV_ERROR_MSG_MAX];
    memcpy(inner, err->msg, sizeof inner);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof err->msg) {
        memcpy(err->msg, inner, sizeof inner);
        return err->status;
    }
    size_t room = sizeof err->msg - (size_t)n;
    snprintf(err->msg + n, room, ": %.*s", (int)room, inner);
    return err->status;
}

void pv_error_clear(pv_error *err)
{
    if (err != NULL) {
        memset(err, 0, sizeof *err);
    }
}
