/* engine_series: sequences drawn without replacement, in the order in which they arrive.
 *
 * Let every sequence arrive after an exponential time whose rate is its probability q: the first n to arrive are n draws without
 * replacement (docs/engine.md, "Draws without repetition"). Arrivals are drawn from the root down. A prefix arrives with the first
 * sequence that goes on from it; of two that follow it, the later one comes after it by an exponential time of its own rate. So a
 * prefix is opened when it comes next, and never one behind the sequences that are wanted.
 *
 *     open prefixes, the earliest first:  [simp, ]  [omega\n]  [rw [, ] ...      engine_series_at(s, 0, 1, ..)
 *     engine_series_open(s, i, sampler)                         the prefix gives way to those that follow it
 *     engine_series_take(s)                                     the first one is whole: it is the next sample
 *
 * Random numbers are keyed by the path, so what is drawn does not depend on the order of calls. `keep` bounds the memory: of the open
 * prefixes only as many are held as there are sequences still to come.
 * Threads: one at a time. */
#ifndef ENGINE_SERIES_H
#define ENGINE_SERIES_H

#include "engine_sampler.h"
#include "engine_stop.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ENGINE_SERIES_NONE UINT32_MAX

/* The caller's part of an open prefix; new ones are UNSEEN. */
typedef enum engine_series_state {
    ENGINE_SERIES_UNSEEN,
    ENGINE_SERIES_OPEN,  /* it goes on                               */
    ENGINE_SERIES_ASKED, /* its logits are being computed            */
    ENGINE_SERIES_WHOLE, /* a sequence: `finish` says how it ended   */
} engine_series_state;

typedef struct engine_series_node {
    uint32_t parent;   /* ENGINE_SERIES_NONE: the root, which is the empty prefix       */
    uint32_t children; /* that are held                                                 */
    uint32_t token;
    uint32_t depth;         /* tokens from the root                                          */
    float logprob;          /* of the token, before temperature and cuts                     */
    bool is_paid;           /* the token is part of a sequence that was taken                */
    uint8_t finish;         /* the caller's                                                  */
    uint8_t state;          /* engine_series_state                                           */
    double log_mass;        /* log q of the prefix: after temperature and cuts               */
    double log_time;        /* of its arrival, from that of the first sequence of all        */
    uint64_t key;           /* of its random numbers                                         */
    engine_stop_state stop; /* the caller's                                           */
    void *asked;            /* the caller's, while ASKED                              */
} engine_series_node;

typedef struct engine_series engine_series;

/* `key` as engine_sample_key() makes them; `keep`: sequences that will ever be taken, >= 1. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status engine_series_new(engine_series **out, uint64_t key, uint32_t keep,
                                         pv_error *err);
void engine_series_free(engine_series *s); /* NULL allowed */

uint32_t engine_series_keep(const engine_series *s);
uint32_t engine_series_taken(const engine_series *s);
uint32_t
engine_series_count(const engine_series *s); /* open prefixes; 0: there is no further sequence */
size_t engine_series_bytes(const engine_series *s);

/* The open prefix that arrives as number `i`, and the node of a number: until the next open() or take(). */
uint32_t engine_series_at(const engine_series *s, uint32_t i);
engine_series_node *engine_series_node_of(engine_series *s, uint32_t node);

/* The tokens of a node's path, `depth` of them, and their log-probabilities (may be NULL). */
void engine_series_path(const engine_series *s, uint32_t node, uint32_t *tokens, float *logprobs);

/* An open prefix gives way to the tokens that may follow it, as the sampler has them loaded.
 * Fails: PV_E_NOMEM, nothing changed. */
PV_NODISCARD pv_status engine_series_open(engine_series *s, uint32_t node,
                                          const engine_sampler *sampler, pv_error *err);

/* Takes the first open prefix out of the series. Returns how many of its tokens no sequence taken before it had. */
uint32_t engine_series_take(engine_series *s);

#ifdef __cplusplus
}
#endif
#endif
