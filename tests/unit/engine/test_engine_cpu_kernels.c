/* Every kernel on every instruction set of this machine: close to sums in double, and bit for bit the scalar oracle. */
#include "engine_cpu_random.h"

#include <criterion/criterion.h>
#include <math.h>

enum { ROWS = 9, TOKENS = 17, COLS = 200, PAD = 8, CASES = 60 };

static const engine_isa isas[] = {ENGINE_ISA_SCALAR, ENGINE_ISA_AVX2, ENGINE_ISA_AVX512};

enum { ISAS = sizeof isas / sizeof *isas };

static const float poison = -12345.5F;

typedef struct dot_case {
    engine_cpu_type type;
    uint32_t rows, tokens, cols;
    char *w; /* unaligned on purpose */
    float x[TOKENS][COLS + 1];
    uint16_t half[TOKENS][COLS + 1];
    const void *xs[TOKENS];
    float y[TOKENS][ROWS + 2 * PAD];
    float *ys[TOKENS];
    char store[ROWS * (COLS + 3) * 4 + 64];
} dot_case;

static dot_case c;

static void make_case(engine_cpu_type type, bool bf16)
{
    c.type = type;
    c.rows = 1 + random_below(ROWS);
    c.tokens = 1 + random_below(TOKENS);
    c.cols = 1 + random_below(COLS);
    c.w = c.store + engine_cpu_type_bytes(type) * random_below(5);
    random_fill(type, c.w, (size_t)c.rows * c.cols);
    for (uint32_t t = 0; t < c.tokens; t++) {
        for (uint32_t k = 0; k < c.cols; k++) {
            c.x[t][k + 1] = random_float();
            c.half[t][k + 1] = engine_cpu_to_bf16(c.x[t][k + 1]);
        }
        c.xs[t] = bf16 ? (const void *)&c.half[t][1] : (const void *)&c.x[t][1];
        c.ys[t] = c.y[t];
    }
}

static engine_cpu_dot args(void)
{
    for (uint32_t t = 0; t < TOKENS; t++) {
        for (uint32_t i = 0; i < ROWS + 2 * PAD; i++) {
            c.y[t][i] = poison;
        }
    }
    engine_cpu_dot d = {.w = c.w,
                        .w_stride = c.cols * engine_cpu_type_bytes(c.type),
                        .ahead = 4 * c.cols,
                        .x = c.xs,
                        .y = c.ys,
                        .y_first = PAD,
                        .rows = c.rows,
                        .tokens = c.tokens,
                        .cols = c.cols};
    return d;
}

/* With pairs, neighbouring tokens are halves of one input. */
static engine_cpu_dot args_in_pairs(bool pairs)
{
    engine_cpu_dot d = args();
    d.pairs = pairs;
    d.tokens = pairs ? c.tokens / 2 * 2 : c.tokens;
    return d;
}

static void expect_sums(void)
{
    for (uint32_t t = 0; t < c.tokens; t++) {
        for (uint32_t r = 0; r < c.rows; r++) {
            double sum = 0;
            double size = 1e-30;
            for (uint32_t k = 0; k < c.cols; k++) {
                double p = (double)c.x[t][k + 1] * element(c.type, c.w, (size_t)r * c.cols + k);
                sum += p;
                size += fabs(p);
            }
            cr_assert_float_eq((double)c.y[t][PAD + r], sum, 2e-6 * size);
        }
        for (uint32_t i = 0; i < ROWS + 2 * PAD; i++) {
            if (i < PAD || i >= PAD + c.rows) {
                cr_assert_eq(c.y[t][i], poison, "written outside: token %u, %u", t, i);
            }
        }
    }
}

Test(engine_cpu_kernels, dot_is_close_to_double_and_the_same_on_every_isa)
{
    static float first[TOKENS][ROWS + 2 * PAD];
    for (int type = 0; type < ENGINE_CPU_TYPE_COUNT; type++) {
        for (int n = 0; n < CASES; n++) {
            make_case((engine_cpu_type)type, false);
            for (int i = 0; i < ISAS; i++) {
                const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
                if (k == NULL) {
                    continue;
                }
                engine_cpu_dot d = args();
                k->dot[type](&d);
                expect_sums();
                if (i == 0) {
                    memcpy(first, c.y, sizeof first);
                }
                cr_assert_eq(memcmp(first, c.y, sizeof first), 0, "%s, type %d",
                             engine_isa_text(isas[i]), type);
            }
        }
    }
}

Test(engine_cpu_kernels, dot_of_a_token_does_not_depend_on_its_neighbours)
{
    for (int i = 0; i < ISAS; i++) {
        const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
        for (int n = 0; k != NULL && n < CASES; n++) {
            make_case(ENGINE_CPU_BF16, false);
            engine_cpu_dot d = args();
            k->dot[c.type](&d);
            for (uint32_t t = 0; t < c.tokens; t++) {
                float alone[ROWS];
                float *y = alone;
                engine_cpu_dot one = d;
                one.x = c.xs + t;
                one.y = &y;
                one.y_first = 0;
                one.tokens = 1;
                k->dot[c.type](&one);
                cr_assert(same_bits(alone, c.y[t] + PAD, c.rows));
            }
        }
    }
}

Test(engine_cpu_kernels, bf16_dot_is_its_emulation_bit_for_bit)
{
    const engine_cpu_bf16_kernels *k = engine_cpu_bf16_kernels_for(ENGINE_ISA_AUTO);
    static float first[TOKENS][ROWS + 2 * PAD];
    for (int n = 0; k != NULL && n < 4 * CASES; n++) {
        make_case(ENGINE_CPU_BF16, true);
        engine_cpu_dot d = args_in_pairs(n % 2 != 0);
        engine_cpu_dot_bf16_emulated(&d);
        memcpy(first, c.y, sizeof first);
        d = args_in_pairs(n % 2 != 0);
        k->dot(&d);
        cr_assert_eq(memcmp(first, c.y, sizeof first), 0, "rows %u tokens %u cols %u", c.rows,
                     c.tokens, c.cols);
    }
}

Test(engine_cpu_kernels, bf16_dot_of_e4m3_is_that_of_widened_weights)
{
    const engine_cpu_bf16_kernels *k = engine_cpu_bf16_kernels_for(ENGINE_ISA_AUTO);
    static uint16_t wide[ROWS * COLS + 64];
    static float first[TOKENS][ROWS + 2 * PAD];
    for (int n = 0; k != NULL && n < 4 * CASES; n++) {
        make_case(ENGINE_CPU_FP8, true);
        engine_cpu_dot d = args_in_pairs(n % 2 != 0);
        k->dot_fp8(&d);
        memcpy(first, c.y, sizeof first);
        k->fp8_to_bf16(wide, (const uint8_t *)c.w, (size_t)c.rows * c.cols);
        d = args_in_pairs(n % 2 != 0);
        d.w = wide;
        d.w_stride = 2 * c.cols;
        k->dot(&d);
        cr_assert_eq(memcmp(first, c.y, sizeof first), 0, "rows %u tokens %u cols %u", c.rows,
                     c.tokens, c.cols);
    }
}

Test(engine_cpu_kernels, all_256_e4m3_numbers_widen_exactly)
{
    uint8_t all[256];
    double expected[256];
    for (int i = 0; i < 256; i++) {
        int e = i >> 3 & 15;
        double f = i & 7;
        all[i] = (uint8_t)i;
        expected[i] = (e == 0 ? f * 0x1p-9 : ldexp(1 + f / 8, e - 7)) * (i & 128 ? -1 : 1);
    }
    for (int i = 0; i < ISAS; i++) {
        const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
        float wide[256];
        for (int n = 0; k != NULL && n < 256; n++) {
            k->widen[ENGINE_CPU_FP8](wide, all, 256);
            bool nan = (n & 127) == 127;
            cr_assert(nan ? isnan(wide[n]) : (double)wide[n] == expected[n], "%02x", (unsigned)n);
        }
    }
    const engine_cpu_bf16_kernels *b = engine_cpu_bf16_kernels_for(ENGINE_ISA_AUTO);
    uint16_t half[256];
    for (int n = 0; b != NULL && n < 256; n++) {
        b->fp8_to_bf16(half, all, 256);
        float f = engine_cpu_from_bf16(half[n]);
        cr_assert((n & 127) == 127 ? isnan(f) : (double)f == expected[n], "%02x", (unsigned)n);
    }
}

Test(engine_cpu_kernels, all_f16_and_bf16_numbers_widen_and_bf16_narrows_back)
{
    static uint16_t all[65536];
    static float first[65536], wide[65536];
    static uint16_t back[65536];
    for (uint32_t i = 0; i < 65536; i++) {
        all[i] = (uint16_t)i;
    }
    for (int type = ENGINE_CPU_BF16; type <= ENGINE_CPU_F16; type++) {
        engine_cpu_kernels_scalar()->widen[type](first, all, 65536);
        for (int i = 0; i < ISAS; i++) {
            const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
            if (k == NULL) {
                continue;
            }
            k->widen[type](wide, all, 65536);
            k->narrow(back, wide, 65536);
            for (uint32_t n = 0; n < 65536; n++) {
                cr_assert(isnan(first[n]) ? isnan(wide[n]) : same_bits(first + n, wide + n, 1));
                cr_assert(type == ENGINE_CPU_F16 || isnan(wide[n]) || back[n] == all[n]);
            }
        }
    }
    cr_assert_eq(first[0x3c00], 1.0F);
    cr_assert_eq(first[0x0001], 0x1p-24F);
}

Test(engine_cpu_kernels, split_activations_keep_16_bits)
{
    const engine_cpu_bf16_kernels *k = engine_cpu_bf16_kernels_for(ENGINE_ISA_AUTO);
    float x[COLS];
    uint16_t high[COLS + 1], low[COLS + 1], one[COLS + 1];
    for (size_t n = 1; k != NULL && n < COLS; n++) {
        random_fill(ENGINE_CPU_F32, x, n);
        high[n] = low[n] = one[n] = 0x1234;
        k->split(high, low, x, 0.37F, n);
        k->round(one, x, 0.37F, n);
        cr_assert(high[n] == 0x1234 && low[n] == 0x1234 && one[n] == 0x1234);
        for (size_t i = 0; i < n; i++) {
            float product = x[i] * 0.37F;
            cr_assert_eq(high[i], engine_cpu_to_bf16(product));
            cr_assert_eq(one[i], high[i]);
            double sum =
                (double)engine_cpu_from_bf16(high[i]) + (double)engine_cpu_from_bf16(low[i]);
            cr_assert_float_eq(sum, (double)product, fabs((double)product) * 0x1p-16);
        }
    }
}

enum { MIX_N = 67, MIX_COLS = 150 };

Test(engine_cpu_kernels, mix_is_close_to_double_and_the_same_on_every_isa)
{
    static char b[MIX_N * MIX_COLS * 4 + 8];
    static float a[ROWS][MIX_N], old[ROWS][MIX_COLS], first[ROWS][MIX_COLS], out[ROWS][MIX_COLS];
    float keep[ROWS];
    for (int n = 0; n < 4 * CASES; n++) {
        engine_cpu_type type = (engine_cpu_type)(n % ENGINE_CPU_TYPE_COUNT);
        const float *as[ROWS];
        float *outs[ROWS];
        for (int r = 0; r < ROWS; r++) {
            random_fill(ENGINE_CPU_F32, a[r], MIX_N);
            random_fill(ENGINE_CPU_F32, old[r], MIX_COLS);
            keep[r] = random_float();
            as[r] = a[r];
            outs[r] = out[r];
        }
        engine_cpu_mix m = {.b = b, .a = as, .out = outs, .keep = n % 3 == 0 ? NULL : keep};
        m.rows = 1 + random_below(ROWS);
        m.n = 1 + random_below(MIX_N);
        m.cols = 1 + random_below(MIX_COLS);
        m.b_stride = m.cols * engine_cpu_type_bytes(type);
        random_fill(type, b, (size_t)m.n * m.cols);
        for (int i = 0; i < ISAS; i++) {
            const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
            if (k == NULL) {
                continue;
            }
            memcpy(out, old, sizeof out);
            if (m.keep == NULL) {
                memset(out, 0xff, sizeof out); /* NaN: must not be read */
            }
            k->mix[type](&m);
            for (uint32_t r = 0; r < m.rows; r++) {
                for (uint32_t col = 0; col < m.cols; col++) {
                    double sum = m.keep == NULL ? 0 : (double)old[r][col] * (double)keep[r];
                    for (uint32_t j = 0; j < m.n; j++) {
                        sum += (double)a[r][j] * element(type, b, (size_t)j * m.cols + col);
                    }
                    cr_assert_float_eq((double)out[r][col], sum, 1e-4 * (1 + fabs(sum)));
                }
            }
            if (i == 0) {
                memcpy(first, out, sizeof first);
            }
            cr_assert_eq(memcmp(first, out, sizeof first), 0, "%s", engine_isa_text(isas[i]));
        }
    }
}

enum { N_MAX = 131 };

static float x[N_MAX + 1], w[N_MAX + 1], u[N_MAX + 1];

/* One of the element-wise kernels on n numbers; out has room for n + 1. */
static void run_simple(const engine_cpu_kernels *k, int which, float *out, size_t n)
{
    switch (which) {
    case 0:
        k->scale(out, x, 1.7F, n);
        return;
    case 1:
        memcpy(out, u, n * sizeof *out);
        k->add(out, x, n);
        return;
    case 2:
        memcpy(out, u, n * sizeof *out);
        k->axpy(out, x, -0.3F, n);
        return;
    case 3:
        k->silu_mul(out, x, w, n);
        return;
    default:
        k->rms_norm(out, x, w, 1e-6, n);
        return;
    }
}

static double simple_reference(int which, size_t i, size_t n)
{
    double xi = (double)x[i];
    double squares = 0;
    for (size_t j = 0; j < n; j++) {
        squares += (double)x[j] * (double)x[j];
    }
    switch (which) {
    case 0:
        return xi * (double)1.7F;
    case 1:
        return (double)u[i] + xi;
    case 2:
        return (double)u[i] + xi * (double)-0.3F;
    case 3:
        return xi / (1 + exp(-xi)) * (double)w[i];
    default:
        return xi / sqrt(squares / (double)n + 1e-6) * (double)w[i];
    }
}

Test(engine_cpu_kernels, elementwise_kernels_are_exact_to_rounding_at_every_length)
{
    float out[N_MAX + 1];
    float first[N_MAX + 1];
    for (size_t n = 1; n <= N_MAX; n++) {
        for (size_t i = 0; i < n; i++) {
            x[i] = random_float() * (n % 3 == 0 ? 40.0F : 3.0F);
            w[i] = random_float();
            u[i] = random_float();
        }
        for (int which = 0; which < 5; which++) {
            for (int i = 0; i < ISAS; i++) {
                const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
                if (k == NULL) {
                    continue;
                }
                out[n] = poison;
                run_simple(k, which, out, n);
                cr_assert_eq(out[n], poison);
                for (size_t j = 0; j < n; j++) {
                    double e = simple_reference(which, j, n);
                    cr_assert_float_eq((double)out[j], e, 2e-6 * (fabs(e) + 1e-3), "%d: %g %g",
                                       which, (double)out[j], e);
                }
                if (i == 0) {
                    memcpy(first, out, sizeof first);
                }
                cr_assert(same_bits(first, out, n));
            }
        }
    }
}

Test(engine_cpu_kernels, silu_survives_the_extremes)
{
    float gate[] = {-INFINITY, -1000, -88.5F, -0.0F, 0, 88.5F, 1000, INFINITY};
    float up[] = {1, 1, 1, 1, 1, 1, 1, 1};
    float out[8];
    for (int i = 0; i < ISAS; i++) {
        const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
        if (k == NULL) {
            continue;
        }
        k->silu_mul(out, gate + 1, up, 6);
        for (int j = 0; j < 6; j++) {
            double g = (double)gate[j + 1];
            cr_assert_float_eq((double)out[j], g / (1 + exp(-g)), 1e-4);
        }
    }
}

/* Blocks of a running softmax against the whole in double. */
Test(engine_cpu_kernels, softmax_runs_over_blocks)
{
    for (int n = 0; n < CASES; n++) {
        uint32_t lengths[3] = {64, 64, 1 + random_below(64)};
        float scores[3][64];
        double top = -INFINITY;
        double total = 0;
        float spread = n % 2 == 0 ? 4.0F : 400.0F;
        for (int b = 0; b < 3; b++) {
            for (uint32_t i = 0; i < lengths[b]; i++) {
                scores[b][i] = random_float() * spread;
                top = fmax(top, (double)(scores[b][i] * 0.5F));
            }
        }
        for (int b = 0; b < 3; b++) {
            for (uint32_t i = 0; i < lengths[b]; i++) {
                total += exp((double)(scores[b][i] * 0.5F) - top);
            }
        }
        float first = 0;
        for (int i = 0; i < ISAS; i++) {
            const engine_cpu_kernels *k = engine_cpu_kernels_for(isas[i]);
            if (k == NULL) {
                continue;
            }
            float max = -INFINITY;
            float sum = 0;
            for (int b = 0; b < 3; b++) {
                float s[64];
                memcpy(s, scores[b], sizeof s);
                float keep = k->softmax(s, lengths[b], 0.5F, &max, &sum);
                cr_assert(keep >= 0 && keep <= 1);
                cr_assert(b != 0 || keep == 0);
            }
            cr_assert_float_eq((double)max, top, 0);
            cr_assert_float_eq((double)sum, total, 1e-5 * total);
            first = i == 0 ? sum : first;
            cr_assert(same_bits(&first, &sum, 1));
        }
    }
}
