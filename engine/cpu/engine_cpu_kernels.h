/* engine_cpu_kernels: the inner loops, once for each instruction set, behind one table of functions.
 *
 * Two arithmetics exist. In the float32 one every kernel gives the same bits on every instruction set (16 lanes, one
 * rounding an operation, a fixed order of sums). In the bf16 one activations are rounded to bf16 and pairs
 * are multiplied and added as VDPBF16PS does; engine_cpu_dot_bf16_emulated() is its oracle, bit for bit.
 * In both, an output element is computed by a sequence of operations that depends on its own operands and on `cols`
 * only: tiles change which elements are computed together, never how one is computed.
 * Threads: the tables are immutable and the functions are pure but for their outputs. */
#ifndef ENGINE_CPU_KERNELS_H
#define ENGINE_CPU_KERNELS_H

#include "../engine_backend.h"

#include <stddef.h>
#include <stdint.h>

/* Element types that kernels read. FP8: e4m3 without its scale. */
typedef enum engine_cpu_type {
    ENGINE_CPU_BF16,
    ENGINE_CPU_F16,
    ENGINE_CPU_F32,
    ENGINE_CPU_FP8,
    ENGINE_CPU_TYPE_COUNT
} engine_cpu_type;

/* y[t][y_first + r] = sum over k of x[t][k] * w[r][k],   r < rows, t < tokens, k < cols.
 * `ahead`: so many bytes ahead of what is read are asked for. The hardware's prefetchers alone leave a third of the
 * memory's bandwidth unused, and stall where a second pass over a tile's rows reads from the cache. 0: w is cached. */
typedef struct engine_cpu_dot {
    const void *w; /* rows of `cols` elements, w_stride bytes apart */
    size_t w_stride;
    size_t ahead;
    const void *const *x; /* one pointer a token: float32, or bf16 in that arithmetic */
    float *const *y;      /* one pointer a token */
    bool
        pairs; /* bf16 arithmetic: x[2 t] and x[2 t + 1] are the halves of one input, and y[t] takes both products.
                 * `tokens` counts halves: it is even */
    size_t y_first;
    uint32_t rows;
    uint32_t tokens;
    uint32_t cols;
} engine_cpu_dot;

/* out[m][c] = out[m][c] * keep[m] + sum over i of a[m][i] * b[i][c],   m < rows, i < n, c < cols.
 * keep NULL: the old contents are not read and the sum starts from 0. */
typedef struct engine_cpu_mix {
    const void *b; /* n rows of `cols` elements, b_stride bytes apart */
    size_t b_stride;
    const float *const *a;
    float *const *out;
    const float *keep;
    uint32_t rows;
    uint32_t n;
    uint32_t cols;
} engine_cpu_mix;

typedef struct engine_cpu_kernels {
    engine_isa isa;
    void (*dot[ENGINE_CPU_TYPE_COUNT])(const engine_cpu_dot *d); /* x float32, w of the type */
    void (*mix[ENGINE_CPU_TYPE_COUNT])(const engine_cpu_mix *m); /* a float32, b of the type */

    void (*widen[ENGINE_CPU_TYPE_COUNT])(float *out, const void *in, size_t n);
    void (*narrow)(uint16_t *out, const float *x, size_t n);      /* to bf16 */
    void (*scale)(float *out, const float *x, float s, size_t n); /* out = x * s */
    void (*add)(float *out, const float *x, size_t n);            /* out += x */
    void (*axpy)(float *out, const float *x, float s, size_t n);  /* out = x * s + out */
    void (*silu_mul)(float *out, const float *gate, const float *up, size_t n);

    /* out = x / sqrt(mean(x^2) + eps) * w. May run in place. */
    void (*rms_norm)(float *out, const float *x, const float *w, double eps, size_t n);

    /* One block of a running softmax. s[0 .. n) are raw scores, n in 1 .. 64, room for 64; they become
     * exp(s * scale - max). *max and *sum (start: -INFINITY, 0) take the block in; returns the factor for what was
     * accumulated under the old maximum. */
    float (*softmax)(float *s, uint32_t n, float scale, float *max, float *sum);
} engine_cpu_kernels;

typedef struct engine_cpu_bf16_kernels {
    void (*dot)(const engine_cpu_dot *d); /* x bf16, w bf16 */
    void (*dot_fp8)(
        const engine_cpu_dot *d); /* x bf16, w e4m3: the bits of widening w to bf16 first */
    void (*fp8_to_bf16)(uint16_t *out, const uint8_t *in, size_t n); /* exact */
    void (*round)(uint16_t *out, const float *x, float s, size_t n); /* bf16(x * s) */

    /* x * s as the sum of two bf16 numbers, to 16 bits: high = bf16(x * s), low = bf16(x * s - high). */
    void (*split)(uint16_t *high, uint16_t *low, const float *x, float s, size_t n);
} engine_cpu_bf16_kernels;

/* NULL where it was not compiled; the caller knows that the processor has it (engine_isa_detect). */
const engine_cpu_kernels *engine_cpu_kernels_scalar(void);
const engine_cpu_kernels *engine_cpu_kernels_avx2(void);
const engine_cpu_kernels *engine_cpu_kernels_avx512(void);
const engine_cpu_bf16_kernels *engine_cpu_kernels_avx512_bf16(void);

/* The tables for `isa`; ENGINE_ISA_AUTO: the best there is. NULL when this processor or build does not have it, and
 * for bf16 when `isa` has no bf16 dot product. */
const engine_cpu_kernels *engine_cpu_kernels_for(engine_isa isa);
const engine_cpu_bf16_kernels *engine_cpu_bf16_kernels_for(engine_isa isa);

/* engine_cpu_bf16_kernels.dot in plain C, the oracle of tests. Subnormal results aside, the bits are the hardware's. */
void engine_cpu_dot_bf16_emulated(const engine_cpu_dot *d);

engine_cpu_type
engine_cpu_type_of(engine_dtype dtype); /* of a weight dtype: BF16, F16, F32, F8_E4M3 */
size_t engine_cpu_type_bytes(engine_cpu_type type);

#endif
