/* engine_stop: stop strings, matched on bytes while tokens come in.
 *
 * A stop string may begin in one token and end in another, or lie inside one. The match that ends first counts; of
 * several that end at the same byte, the longest. Every pattern is a Knuth-Morris-Pratt automaton (Knuth, Morris,
 * Pratt, "Fast pattern matching in strings", SIAM J. Comput. 6, 1977): a sample carries one number for each.
 * Embedded: `engine_stops s = {0}; ... engine_stops_release(&s);`, and a zeroed engine_stop_state for each stream.
 * Threads: engine_stops is immutable after init; a state belongs to one stream. */
#ifndef ENGINE_STOP_H
#define ENGINE_STOP_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ENGINE_STOPS_MAX = 16,       /* strings for one request   */
    ENGINE_STOP_BYTES_MAX = 1024 /* bytes in one of them      */
};

typedef struct engine_text { /* borrowed; any bytes */
    const char *bytes;
    size_t len;
} engine_text;

typedef struct engine_stops {
    uint32_t count;
    uint32_t len[ENGINE_STOPS_MAX];
    char *bytes[ENGINE_STOPS_MAX]; /* owned */
    uint16_t
        *fail[ENGINE_STOPS_MAX]; /* owned; fail[k]: the longest border of the first k + 1 bytes */
} engine_stops;

typedef struct engine_stop_state { /* {0} at the start of a stream */
    uint16_t matched[ENGINE_STOPS_MAX];
} engine_stop_state;

/* Fails: PV_E_INVALID (empty, too long, too many), PV_E_NOMEM; *out is then empty. */
PV_NODISCARD pv_status engine_stops_init(engine_stops *out, const engine_text *texts, size_t count,
                                         pv_error *err);
void engine_stops_release(engine_stops *stops);

/* Feeds bytes until a stop string is complete. True: it ended at byte *used - 1, and the last *match_len bytes of the
 * stream up to there are it. False: all were fed. */
bool engine_stop_feed(const engine_stops *stops, engine_stop_state *state, const char *bytes,
                      size_t n, size_t *used, size_t *match_len);

/* Bytes at the end of the stream that may yet turn out to begin a stop string. */
size_t engine_stop_held(const engine_stops *stops, const engine_stop_state *state);

#ifdef __cplusplus
}
#endif
#endif
