/* engine_regex: the patterns of a tokenizer.json, run by PCRE2. Internal to engine/.
 *
 * Hugging Face runs them with Oniguruma. A pattern is translated first: constructs that mean the same are kept, those
 * that differ (\s, \d, \w, \h, \uXXXX, {,n}) are rewritten, and those that have no equal here are refused by name.
 * Threads: an enginep_regex is immutable; an enginep_matcher belongs to one thread. */
#ifndef ENGINE_REGEX_H
#define ENGINE_REGEX_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct enginep_regex enginep_regex;
typedef struct enginep_matcher enginep_matcher;

/* The PCRE2 form of an Oniguruma pattern, appended to *out. Fails: PV_E_UNSUPPORTED. */
PV_NODISCARD pv_status enginep_regex_translate(const char *pattern, size_t n, pv_buf *out,
                                               pv_error *err);

/* Compiles a pattern of valid UTF-8; `literal` takes it as plain text. */
PV_NODISCARD pv_status enginep_regex_new(enginep_regex **out, const char *pattern, size_t n,
                                         bool literal, pv_error *err);
void enginep_regex_free(enginep_regex *regex);

PV_NODISCARD pv_status enginep_matcher_new(enginep_matcher **out, pv_error *err);
void enginep_matcher_free(enginep_matcher *matcher);

typedef struct enginep_match {
    bool found;
    size_t begin;
    size_t end;
} enginep_match;

/* The first match in text[0..n), which is valid UTF-8, that begins at or after `from`. Nothing outside text[0..n) is
 * seen. Fails: PV_E_LIMIT when the pattern backtracks too much, PV_E_NOMEM. */
PV_NODISCARD pv_status enginep_regex_find(const enginep_regex *regex, enginep_matcher *matcher,
                                          const char *text, size_t n, size_t from,
                                          enginep_match *out, pv_error *err);

#endif
