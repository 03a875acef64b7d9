#include "engine_stop.h"

#include "pv_mem.h"

#include <string.h>

static uint16_t advance(const engine_stops *s, uint32_t i, uint16_t matched, char c)
{
    while (matched > 0 && s->bytes[i][matched] != c) {
        matched = s->fail[i][matched - 1];
    }
    return s->bytes[i][matched] == c ? (uint16_t)(matched + 1) : matched;
}

static void build_borders(engine_stops *s, uint32_t i)
{
    s->fail[i][0] = 0;
    for (uint32_t k = 1; k < s->len[i]; k++) {
        s->fail[i][k] = advance(s, i, s->fail[i][k - 1], s->bytes[i][k]);
    }
}

static pv_status add(engine_stops *s, const engine_text *text, pv_error *err)
{
    if (text->len == 0 || text->len > ENGINE_STOP_BYTES_MAX) {
        return pv_fail(err, PV_E_INVALID, "a stop string has %zu bytes; 1 to %d are allowed",
                       text->len, ENGINE_STOP_BYTES_MAX);
    }
    uint32_t i = s->count++;
    s->len[i] = (uint32_t)text->len;
    s->bytes[i] = pv_strndup(text->bytes, text->len);
    s->fail[i] = pv_calloc(text->len, sizeof *s->fail[i]);
    if (s->bytes[i] == NULL || s->fail[i] == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a stop string of %zu bytes", text->len);
    }
    build_borders(s, i);
    return PV_OK;
}

pv_status engine_stops_init(engine_stops *out, const engine_text *texts, size_t count,
                            pv_error *err)
{
    memset(out, 0, sizeof *out);
    if (count > ENGINE_STOPS_MAX) {
        return pv_fail(err, PV_E_INVALID, "%zu stop strings; at most %d are allowed", count,
                       ENGINE_STOPS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        pv_status status = add(out, &texts[i], err);
        if (status != PV_OK) {
            engine_stops_release(out);
            return status;
        }
    }
    return PV_OK;
}

void engine_stops_release(engine_stops *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        pv_free(s->bytes[i]);
        pv_free(s->fail[i]);
    }
    memset(s, 0, sizeof *s);
}

/* One byte through every automaton; the length of the longest string that it completes, or 0. */
static uint32_t feed_byte(const engine_stops *s, engine_stop_state *state, char c)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        state->matched[i] = advance(s, i, state->matched[i], c);
        if (state->matched[i] == s->len[i]) {
            longest = s->len[i] > longest ? s->len[i] : longest;
            state->matched[i] = s->fail[i][s->len[i] - 1];
        }
    }
    return longest;
}

bool engine_stop_feed(const engine_stops *s, engine_stop_state *state, const char *bytes, size_t n,
                      size_t *used, size_t *match_len)
{
    for (size_t at = 0; s->count > 0 && at < n; at++) {
        uint32_t len = feed_byte(s, state, bytes[at]);
        if (len > 0) {
            *used = at + 1;
            *match_len = len;
            return true;
        }
    }
    *used = n;
    *match_len = 0;
    return false;
}

size_t engine_stop_held(const engine_stops *s, const engine_stop_state *state)
{
    size_t held = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        held = state->matched[i] > held ? state->matched[i] : held;
    }
    return held;
}
