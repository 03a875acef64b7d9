#include "pv_log.h"

#include <stdarg.h>
#include <stdio.h>

static pv_log_sink *the_sink;
static void *the_user;
static pv_log_level the_max;

void pv_log_set(pv_log_sink *sink, void *user, pv_log_level max)
{
    the_sink = sink;
    the_user = user;
    the_max = max;
}

void pv_log(pv_log_level level, const char *fmt, ...)
{
    if (the_sink == NULL || level > the_max) {
        return;
    }
    char line[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    the_sink(the_user, level, line);
}
