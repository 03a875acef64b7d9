/* engine_regex_unicode: characters that PCRE2's own tables may be too old for. Internal to engine/. */
#ifndef ENGINE_REGEX_UNICODE_H
#define ENGINE_REGEX_UNICODE_H

#include "pv_buf.h"

#include <stdbool.h>

/* Appends members of a character class: the newer characters of a general category ('L', 'M', 'N', 'P', 'S').
 * false, nothing appended: another category. */
bool enginep_regex_put_newer(char category, pv_buf *out);

#endif
