/* Rotary frequencies against published numbers and closed forms, and the two layouts of pairs. */
#include "cpu/engine_cpu_rope.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static engine_config llama(uint32_t dim, engine_rope_kind kind, double factor)
{
    engine_config c = {.arch = ENGINE_ARCH_LLAMA, .head_dim = dim, .heads = 1, .kv_heads = 1};
    c.rope = (engine_rope){.kind = kind,
                           .theta = 10000,
                           .factor = factor,
                           .original_positions = 4096,
                           .beta_fast = 32,
                           .beta_slow = 1,
                           .truncate = true,
                           .low_freq_factor = 1,
                           .high_freq_factor = 4};
    c.max_positions = 4096;
    return c;
}

static engine_config deepseek(double mscale, double mscale_all_dim)
{
    engine_config c = llama(192, ENGINE_ROPE_YARN, 40);
    c.arch = ENGINE_ARCH_DEEPSEEK;
    c.mla = (engine_mla){.kv_lora_rank = 512, .nope_dim = 128, .rope_dim = 64, .v_dim = 128};
    c.rope.mscale = mscale;
    c.rope.mscale_all_dim = mscale_all_dim;
    return c;
}

static engine_cpu_rope open_rope(const engine_config *c)
{
    engine_cpu_rope r;
    pv_error err = {0};
    cr_assert_eq(engine_cpu_rope_init(&r, c, &err), PV_OK, "%s", err.msg);
    return r;
}

/* docs/engine-cpu.md, section 5: DeepSeek-V3's frequencies, computed in float32 there, so compared to 2e-6. */
Test(engine_cpu_rope, yarn_of_deepseek_v3)
{
    static const double expected[32] = {1,
                                        0.749894209,
                                        0.562341325,
                                        0.421696503,
                                        0.316227766,
                                        0.237137371,
                                        0.177827941,
                                        0.133352143,
                                        0.1,
                                        0.0749894209,
                                        0.0562341325,
                                        0.0390069266,
                                        0.0268793601,
                                        0.0183781462,
                                        0.0124479559,
                                        0.00833450895,
                                        0.0055,
                                        0.00356199749,
                                        0.0022493653,
                                        0.00137051364,
                                        0.000790569415,
                                        0.000414990398,
                                        0.000177827941,
                                        3.33380358e-05,
                                        2.5e-05,
                                        1.87473552e-05,
                                        1.40585331e-05,
                                        1.05424126e-05,
                                        7.90569415e-06,
                                        5.92843426e-06,
                                        4.44569853e-06,
                                        3.33380358e-06};
    engine_config c = deepseek(1, 1);
    engine_cpu_rope r = open_rope(&c);
    cr_assert_eq(r.dim, 64);
    for (int j = 0; j < 32; j++) {
        cr_expect_float_eq((double)r.frequency[j], expected[j], 2e-6 * expected[j], "%d", j);
    }
    cr_expect_float_eq(r.magnitude, 1.0, 0);
    engine_cpu_rope_release(&r);
}

Test(engine_cpu_rope, softmax_scale_of_mla_is_squared_magnitude)
{
    engine_config c = deepseek(1, 1);
    cr_expect_float_eq(engine_cpu_softmax_scale(&c), 0.1352337788608801, 1e-15);
    /* V2-Lite's 0.707 tells the two readings of the formula apart: (0.1 * 0.707 ln 40 + 1)^2 */
    c = deepseek(0.707, 0.707);
    double m = 0.0707 * log(40) + 1;
    cr_expect_float_eq(engine_cpu_softmax_scale(&c), m * m / sqrt(192), 1e-15);
    c = deepseek(1, 0);
    cr_expect_float_eq(engine_cpu_softmax_scale(&c), 1 / sqrt(192), 1e-15);
    c = llama(128, ENGINE_ROPE_YARN, 16);
    c.rope.mscale_all_dim = 1;
    cr_expect_float_eq(engine_cpu_softmax_scale(&c), 1 / sqrt(128), 1e-15, "not for llama");
}

Test(engine_cpu_rope, yarn_magnitude)
{
    engine_config c = llama(128, ENGINE_ROPE_YARN, 16);
    engine_cpu_rope r = open_rope(&c);
    cr_expect_float_eq(r.magnitude, 1.2772588722239782, 1e-15);
    /* corrections at dimensions 20 and 46: below unscaled, above divided */
    cr_expect_float_eq((double)r.frequency[20], pow(1e4, -40.0 / 128), 1e-8);
    cr_expect_float_eq((double)r.frequency[46], pow(1e4, -92.0 / 128) / 16, 1e-10);
    engine_cpu_rope_release(&r);
    c.rope.mscale = c.rope.mscale_all_dim = 1;
    r = open_rope(&c);
    cr_expect_float_eq(r.magnitude, 1, 0);
    engine_cpu_rope_release(&r);
    c.rope.attention_factor = 1.5;
    r = open_rope(&c);
    cr_expect_float_eq(r.magnitude, 1.5, 0);
    engine_cpu_rope_release(&r);
}

Test(engine_cpu_rope, plain_linear_and_llama3)
{
    engine_config c = llama(128, ENGINE_ROPE_PLAIN, 1);
    engine_cpu_rope r = open_rope(&c);
    cr_expect_float_eq((double)r.frequency[32], 0.01, 1e-9);
    engine_cpu_rope_release(&r);
    c.rope.kind = ENGINE_ROPE_LINEAR;
    c.rope.factor = 4;
    r = open_rope(&c);
    cr_expect_float_eq((double)r.frequency[32], 0.0025, 1e-9);
    engine_cpu_rope_release(&r);
    c.rope.kind = ENGINE_ROPE_LLAMA3; /* wavelengths below 1024 stay, above 4096 are divided */
    r = open_rope(&c);
    cr_expect_float_eq((double)r.frequency[0], 1, 0);
    cr_expect_float_eq((double)r.frequency[63], pow(1e4, -126.0 / 128) / 4, 1e-10);
    double f = pow(1e4, -84.0 / 128); /* wavelength 2649: in between */
    double smooth = (4096 * f / (2 * 3.14159265358979323846) - 1) / 3;
    cr_expect_float_eq((double)r.frequency[42], (1 - smooth) * f / 4 + smooth * f, 1e-9);
    engine_cpu_rope_release(&r);
}

Test(engine_cpu_rope, dynamic_grows_with_the_position_only)
{
    engine_config c = llama(64, ENGINE_ROPE_DYNAMIC, 2);
    engine_cpu_rope r = open_rope(&c);
    float cosine[32], sine[32];
    engine_cpu_rope_at(&r, 4095, cosine, sine);
    cr_expect_float_eq((double)sine[31], sin(4095 * pow(1e4, -62.0 / 64)), 1e-5);
    engine_cpu_rope_at(&r, 8191, cosine, sine);
    double theta = 1e4 * pow(2.0 * 8192 / 4096 - 1, 64.0 / 62);
    cr_expect_float_eq((double)sine[31], sin(8191 * pow(theta, -62.0 / 64)), 1e-5);
    engine_cpu_rope_release(&r);
}

Test(engine_cpu_rope, layouts_are_permutations_of_each_other)
{
    engine_config c = deepseek(1, 1);
    engine_cpu_rope r = open_rope(&c);
    float cosine[32], sine[32], half[64], pairs[64];
    engine_cpu_rope_at(&r, 1234, cosine, sine);
    for (int j = 0; j < 32; j++) {
        half[j] = pairs[2 * j] = sinf((float)j);
        half[j + 32] = pairs[2 * j + 1] = cosf(3.0F * (float)j);
    }
    float before = half[5] * half[5] + half[37] * half[37];
    engine_cpu_rope_half(half, cosine, sine, 64);
    engine_cpu_rope_pairs(pairs, cosine, sine, 64);
    for (int j = 0; j < 32; j++) {
        cr_expect_eq(half[j], pairs[2 * j]);
        cr_expect_eq(half[j + 32], pairs[2 * j + 1]);
    }
    cr_expect_float_eq((double)(half[5] * half[5] + half[37] * half[37]), (double)before, 1e-5);
    engine_cpu_rope_release(&r);
}
