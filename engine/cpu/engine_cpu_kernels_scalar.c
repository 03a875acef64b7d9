#include "engine_cpu_simd_scalar.h"

#define KERNELS_ISA ENGINE_ISA_SCALAR
#define DOT_ROWS    1
#define DOT_TOKENS  1
#define MIX_ROWS    1
#define MIX_VECTORS 1
#include "engine_cpu_kernels_impl.h"

/* ---- the bf16 arithmetic, emulated ---- */

/* VDPBF16PS reads subnormal bf16 numbers as 0. */
static float flushed(uint16_t h)
{
    return (h & 0x7f80U) == 0 ? 0.0F : engine_cpu_from_bf16(h);
}

/* The sum of one output of dot_bf16: 16 lanes of pairs; in a pair the odd product is added first. Intel 64 and IA-32
 * Architectures Software Developer's Manual, volume 2, VDPBF16PS. */
static v16 pair_dot(const uint16_t *w, const uint16_t *x, size_t cols)
{
    v16 acc = v16_zero();
    for (size_t k = 0; k < cols; k += 32) {
        for (size_t lane = 0; lane < 16; lane++) {
            size_t even = k + 2 * lane;
            float sum = acc.v[lane];
            if (even + 1 < cols) {
                sum = fmaf(flushed(w[even + 1]), flushed(x[even + 1]), sum);
            }
            if (even < cols) {
                sum = fmaf(flushed(w[even]), flushed(x[even]), sum);
            }
            acc.v[lane] = sum;
        }
    }
    return acc;
}

void engine_cpu_dot_bf16_emulated(const engine_cpu_dot *d)
{
    uint32_t halves = d->pairs ? 2 : 1;
    for (uint32_t t = 0; t < d->tokens; t += halves) {
        for (uint32_t r = 0; r < d->rows; r++) {
            const void *w = (const char *)d->w + r * d->w_stride;
            v16 sum = pair_dot(w, d->x[t], d->cols);
            if (d->pairs) {
                sum = v16_add(sum, pair_dot(w, d->x[t + 1], d->cols));
            }
            d->y[t / halves][d->y_first + r] = v16_sum(sum);
        }
    }
}

const engine_cpu_kernels *engine_cpu_kernels_scalar(void)
{
    static const engine_cpu_kernels table = {KERNELS_FLOAT32};
    return &table;
}
