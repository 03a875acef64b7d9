#include "budget.h"

#include <stdlib.h>
#include <string.h>

static bool is_word(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(text, word, n) == 0;
}

static pv_status read_part(budget *out, const char *part, size_t n, pv_error *err)
{
    const char *sign = memchr(part, '=', n);
    size_t k = sign == NULL ? n : (size_t)(sign - part);
    char *end = NULL;
    double value = sign == NULL ? 0 : strtod(sign + 1, &end);
    if (sign == NULL || end != part + n || end == sign + 1 || !(value > 0 && value < 1e15)) {
        return pv_fail(err, PV_E_INVALID,
                       "--budget: \"%.*s\" is not NAME=NUMBER with a number above 0", (int)n, part);
    }
    if (is_word(part, k, "wall")) {
        out->wall_seconds = value;
    } else if (is_word(part, k, "lean")) {
        out->lean_seconds = value;
    } else if (is_word(part, k, "nodes") && value >= 1) {
        out->nodes = (uint64_t)value;
    } else if (is_word(part, k, "tokens") && value >= 1) {
        out->tokens = (uint64_t)value;
    } else {
        return pv_fail(err, PV_E_INVALID,
                       "--budget: \"%.*s\": the limits are wall and lean (seconds), nodes and "
                       "tokens (whole numbers)",
                       (int)n, part);
    }
    return PV_OK;
}

pv_status budget_parse(budget *out, const char *text, pv_error *err)
{
    budget b = {0};
    pv_status status = PV_OK;
    for (const char *at = text; status == PV_OK && *at != '\0';) {
        size_t n = strcspn(at, ",");
        status = read_part(&b, at, n, err);
        at += n + (at[n] == ',');
    }
    if (status == PV_OK && text[0] == '\0') {
        status = pv_fail(err, PV_E_INVALID,
                         "--budget is empty: without a limit a search may never "
                         "end");
    }
    if (status == PV_OK) {
        *out = b;
    }
    return status;
}

void budget_apply(const budget *from, search_options *to)
{
    to->wall_seconds_max = from->wall_seconds;
    to->lean_seconds_max = from->lean_seconds;
    to->nodes_max = from->nodes;
    to->tokens_max = from->tokens;
}
