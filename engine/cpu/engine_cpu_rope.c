#include "engine_cpu_rope.h"

#include "pv_mem.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* YaRN's magnitude for a factor s: 0.1 m ln s + 1. */
static double yarn_magnitude(double s, double m)
{
    return s <= 1 ? 1.0 : 0.1 * m * log(s) + 1.0;
}

/* The dimension (of `dim`) whose frequency turns n times within the original context. */
static double yarn_dimension(const engine_rope *r, double n, double dim)
{
    return dim * log(r->original_positions / (n * 2 * pi)) / (2 * log(r->theta));
}

static void fill_yarn(float *out, const engine_rope *r, uint32_t dim)
{
    double low = yarn_dimension(r, r->beta_fast, dim);
    double high = yarn_dimension(r, r->beta_slow, dim);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1.0);
    if (low == high) {
        high += 0.001;
    }
    for (uint32_t j = 0; j < dim / 2; j++) {
        double f = pow(r->theta, -2.0 * j / dim);
        double ramp = fmin(fmax((j - low) / (high - low), 0), 1);
        out[j] = (float)(f / r->factor * ramp + f * (1 - ramp));
    }
}

static double llama3_frequency(const engine_rope *r, double f)
{
    double wavelength = 2 * pi / f;
    double original = r->original_positions;
    if (wavelength > original / r->low_freq_factor) {
        return f / r->factor;
    }
    if (wavelength < original / r->high_freq_factor) {
        return f;
    }
    double smooth =
        (original / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1 - smooth) * f / r->factor + smooth * f;
}

static void fill_frequencies(engine_cpu_rope *rope)
{
    const engine_rope *r = &rope->config->rope;
    if (r->kind == ENGINE_ROPE_YARN) {
        fill_yarn(rope->frequency, r, rope->dim);
        return;
    }
    for (uint32_t j = 0; j < rope->dim / 2; j++) {
        double f = pow(r->theta, -2.0 * j / rope->dim);
        if (r->kind == ENGINE_ROPE_LINEAR) {
            f /= r->factor;
        } else if (r->kind == ENGINE_ROPE_LLAMA3) {
            f = llama3_frequency(r, f);
        }
        rope->frequency[j] = (float)f;
    }
}

static double magnitude_of(const engine_rope *r)
{
    if (r->kind != ENGINE_ROPE_YARN) {
        return 1;
    }
    if (r->attention_factor > 0) {
        return r->attention_factor;
    }
    if (r->mscale > 0 && r->mscale_all_dim > 0) {
        return yarn_magnitude(r->factor, r->mscale) / yarn_magnitude(r->factor, r->mscale_all_dim);
    }
    return yarn_magnitude(r->factor, 1);
}

pv_status engine_cpu_rope_init(engine_cpu_rope *out, const engine_config *config, pv_error *err)
{
    engine_cpu_rope rope = {.config = config, .magnitude = magnitude_of(&config->rope)};
    rope.dim = config->arch == ENGINE_ARCH_DEEPSEEK ? config->mla.rope_dim : config->head_dim;
    rope.frequency = pv_malloc(rope.dim / 2 * sizeof *rope.frequency);
    if (rope.frequency == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for rotary frequencies");
    }
    fill_frequencies(&rope);
    *out = rope;
    return PV_OK;
}

void engine_cpu_rope_release(engine_cpu_rope *rope)
{
    pv_free(rope->frequency);
    rope->frequency = NULL;
}

/* Dynamic scaling: theta * (factor * length / original - (factor - 1)) ^ (dim / (dim - 2)). */
static float dynamic_frequency(const engine_cpu_rope *rope, uint32_t length, uint32_t j)
{
    const engine_rope *r = &rope->config->rope;
    double dim = rope->dim;
    double grown = r->factor * length / r->original_positions - (r->factor - 1);
    double theta = r->theta * pow(grown, dim / (dim - 2));
    return (float)pow(theta, -2.0 * j / dim);
}

void engine_cpu_rope_at(const engine_cpu_rope *rope, uint32_t position, float *cosine, float *sine)
{
    const engine_rope *r = &rope->config->rope;
    bool grows =
        r->kind == ENGINE_ROPE_DYNAMIC && position + 1 > r->original_positions && rope->dim > 2;
    for (uint32_t j = 0; j < rope->dim / 2; j++) {
        float f = grows ? dynamic_frequency(rope, position + 1, j) : rope->frequency[j];
        float angle = (float)position * f;
        cosine[j] = (float)(cos((double)angle) * rope->magnitude);
        sine[j] = (float)(sin((double)angle) * rope->magnitude);
    }
}

void engine_cpu_rope_half(float *x, const float *cosine, const float *sine, uint32_t dim)
{
    uint32_t half = dim / 2;
    for (uint32_t j = 0; j < half; j++) {
        float a = x[j];
        float b = x[j + half];
        x[j] = a * cosine[j] - b * sine[j];
        x[j + half] = b * cosine[j] + a * sine[j];
    }
}

void engine_cpu_rope_pairs(float *x, const float *cosine, const float *sine, uint32_t dim)
{
    for (uint32_t j = 0; j < dim / 2; j++) {
        size_t at = 2 * (size_t)j;
        float a = x[at];
        float b = x[at + 1];
        x[at] = a * cosine[j] - b * sine[j];
        x[at + 1] = b * cosine[j] + a * sine[j];
    }
}

double engine_cpu_softmax_scale(const engine_config *config)
{
    double scale = 1 / sqrt((double)config->head_dim);
    const engine_rope *r = &config->rope;
    if (config->arch == ENGINE_ARCH_DEEPSEEK && r->kind == ENGINE_ROPE_YARN &&
        r->mscale_all_dim > 0) {
        double m = yarn_magnitude(r->factor, r->mscale_all_dim);
        scale *= m * m;
    }
    return scale;
}
