/* engine_cpu_rope: rotary position embedding, all scalings. Formulas: docs/engine-cpu.md, section 5.
 *
 * Frequencies are computed in double and rounded to float32, the angle is position * frequency in float32 (as models
 * were trained), its cosine and sine are computed in double and rounded.
 * Threads: immutable after init. */
#ifndef ENGINE_CPU_ROPE_H
#define ENGINE_CPU_ROPE_H

#include "../engine_config.h"

typedef struct engine_cpu_rope {
    const engine_config *config; /* borrowed */
    uint32_t dim;                /* rotated numbers a head; even */
    float *frequency;            /* owned; dim / 2 */
    double magnitude;            /* multiplies cosine and sine (yarn) */
} engine_cpu_rope;

PV_NODISCARD pv_status engine_cpu_rope_init(engine_cpu_rope *out, const engine_config *config,
                                            pv_error *err);
void engine_cpu_rope_release(engine_cpu_rope *rope);

/* cosine[dim/2] and sine[dim/2] at a position. With dynamic scaling the base grows with position + 1, so that a row
 * depends on its own position and on no other. */
void engine_cpu_rope_at(const engine_cpu_rope *rope, uint32_t position, float *cosine, float *sine);

/* Rotates one head in place: pairs (j, j + dim/2), as Llama checkpoints are stored ... */
void engine_cpu_rope_half(float *x, const float *cosine, const float *sine, uint32_t dim);
/* ... or pairs (2j, 2j + 1), as DeepSeek's are. */
void engine_cpu_rope_pairs(float *x, const float *cosine, const float *sine, uint32_t dim);

/* What attention scores are multiplied with: 1 / sqrt(head_dim), and for MLA with yarn's mscale_all_dim its square. */
double engine_cpu_softmax_scale(const engine_config *config);

#endif
