/* engine_sampler: from a row of logits to a token and its log-probability.
 *
 * The order of operations, the same on every backend (docs/engine.md, "Sampling"):
 *   1. log-probabilities: l[i] - max - log(sum of exp(l - max)), of the logits as they came
 *   2. temperature 0: the greatest logit wins, ties go to the lower id; nothing below applies
 *   3. weights w[i] = exp((l[i] - max) / temperature)
 *   4. top-k:  the k best in the order (logit descending, id ascending)
 *   5. top-p:  of these, the shortest run from the best whose weight reaches top_p of their sum
 *   6. min-p:  of these, those with w >= min_p (the best has w = 1)
 *   7. draw:   over what is left in the order of ids, the first id whose cumulative weight exceeds u * sum
 * Logits, weights and differences are float32; sums, logarithms and the draw are double, in a fixed order, so that
 * equal logits give equal bits. A row is loaded once and any number of samples drawn from it.
 *
 *     engine_sampler s = {0};
 *     status = engine_sampler_init(&s, vocab_size, &err);
 *     status = engine_sampler_load(&s, logits, &params, &err);
 *     engine_pick pick = engine_sampler_draw(&s, engine_uniform(key, position));
 *     engine_sampler_release(&s);
 * Threads: one at a time per sampler. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "pv_error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_sampling { /* {0}: greedy */
    float temperature;           /* >= 0                         */
    uint32_t top_k;              /* 0: off                       */
    float top_p;                 /* 0 .. 1; 0 and 1: off         */
    float min_p;                 /* 0 .. 1; 0: off               */
} engine_sampling;

/* PV_E_INVALID names the field that is out of range. */
PV_NODISCARD pv_status engine_sampling_check(const engine_sampling *params, pv_error *err);

typedef struct engine_pick {
    uint32_t token;
    float logprob;
} engine_pick;

typedef struct engine_sampler {
    uint32_t vocab;
    const float *logits; /* borrowed since load          */
    float max;
    double log_sum; /* log of the sum of exp(l - max) */
    uint32_t best;
    uint32_t kept;      /* tokens left; 1 when greedy     */
    float *weights;     /* vocab                          */
    uint32_t *order;    /* scratch of the cuts            */
    uint32_t *ids;      /* kept ids, ascending            */
    double *cumulative; /* of their weights               */
} engine_sampler;

/* Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status engine_sampler_init(engine_sampler *s, uint32_t vocab, pv_error *err);
void engine_sampler_release(engine_sampler *s);

/* `logits` (vocab of them) are borrowed until the next load. `params` as checked; NULL: only engine_sampler_logprob()
 * will be asked. Fails: PV_E_INVALID when a logit is NaN or +infinity, or all are -infinity. */
PV_NODISCARD pv_status engine_sampler_load(engine_sampler *s, const float *logits,
                                           const engine_sampling *params, pv_error *err);

engine_pick engine_sampler_draw(const engine_sampler *s, double u); /* u in [0, 1) */
float engine_sampler_logprob(const engine_sampler *s, uint32_t token);

#ifdef __cplusplus
}
#endif
#endif
