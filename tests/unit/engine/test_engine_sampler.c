/* Random numbers against the published vectors, cuts against a plain sort, draws against their distribution. */
#include "fixture.h"

#include "engine_random.h"
#include "engine_sampler.h"
#include "pv_hash.h"

#include <math.h>

static void expect_philox(engine_philox counter, uint64_t key, engine_philox want)
{
    engine_philox got = engine_philox4x32(counter, key);
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(got.word[i], want.word[i], "word %d: %08x, not %08x", i, got.word[i],
                     want.word[i]);
    }
}

/* The known answers for philox4x32 10 in kat_vectors of Random123 1.14, the paper's own library. */
Test(engine_random, philox_gives_the_published_vectors)
{
    expect_philox((engine_philox){{0, 0, 0, 0}}, 0,
                  (engine_philox){{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
    expect_philox((engine_philox){{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, UINT64_MAX,
                  (engine_philox){{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
    expect_philox((engine_philox){{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
                  0x299f31d0a4093822u,
                  (engine_philox){{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

Test(engine_random, numbers_are_uniform_and_differ_in_every_part_of_the_key)
{
    uint64_t key = engine_sample_key(30, 7, 0);
    double sum = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        double u = engine_uniform(key, i);
        cr_assert(u >= 0 && u < 1);
        sum += u;
    }
    cr_expect_float_eq(sum / 100000, 0.5, 0.005);
    cr_expect_neq(key, engine_sample_key(31, 7, 0));
    cr_expect_neq(key, engine_sample_key(30, 8, 0));
    cr_expect_neq(key, engine_sample_key(30, 7, 1));
    cr_expect_neq(key, engine_sample_key(30, 7ull << 32, 0));
}

static engine_sampler sampler(uint32_t vocab)
{
    engine_sampler s;
    cr_assert_eq(engine_sampler_init(&s, vocab, NULL), PV_OK);
    return s;
}

static void load(engine_sampler *s, const float *logits, engine_sampling p)
{
    pv_error err = {0};
    cr_assert_eq(engine_sampling_check(&p, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(engine_sampler_load(s, logits, &p, &err), PV_OK, "%s", err.msg);
}

Test(engine_sampler, greedy_takes_the_lowest_of_equals)
{
    float logits[6] = {1, 3, 2, 3, -INFINITY, 3};
    engine_sampler s = sampler(6);
    load(&s, logits, (engine_sampling){0});
    engine_pick p = engine_sampler_draw(&s, 0.999);
    cr_expect_eq(p.token, 1);
    double sum = exp(-2) + 3 + exp(-1);
    cr_expect_float_eq(p.logprob, -log(sum), 1e-6);
    cr_expect_eq(engine_sampler_logprob(&s, 4), -INFINITY);
    engine_sampler_release(&s);
}

Test(engine_sampler, log_probabilities_match_libm)
{
    enum { N = 5000 };

    static float logits[N];
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(pv_mix64((uint64_t)i) % 100000) / 2000.0f - 30;
    }
    long double sum = 0;
    for (int i = 0; i < N; i++) {
        sum += expl((long double)logits[i] - 20);
    }
    engine_sampler s = sampler(N);
    load(&s, logits, (engine_sampling){.temperature = 1});
    double worst = 0;
    for (uint32_t i = 0; i < N; i++) {
        double want = (double)((long double)logits[i] - 20 - logl(sum));
        worst = fmax(worst, fabs(engine_sampler_logprob(&s, i) - want) / fmax(1, fabs(want)));
    }
    cr_expect_lt(worst, 2e-7, "%g", worst);
    engine_sampler_release(&s);
}

/* ---- The cuts, done plainly ---- */

static const float *sort_logits;

static int by_rank(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    if (sort_logits[x] != sort_logits[y]) {
        return sort_logits[x] > sort_logits[y] ? -1 : 1;
    }
    return x < y ? -1 : 1;
}

static uint32_t plain_cut(const float *l, uint32_t n, engine_sampling p, bool *in)
{
    uint32_t *order = malloc(n * sizeof *order);
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
        in[i] = false;
    }
    sort_logits = l;
    qsort(order, n, sizeof *order, by_rank);
    uint32_t kept = p.top_k > 0 && p.top_k < n ? p.top_k : n;
    double sum = 0;
    for (uint32_t i = 0; i < kept; i++) {
        sum += exp(((double)l[order[i]] - (double)l[order[0]]) / (double)p.temperature);
    }
    double run = 0;
    uint32_t k = 0;
    while (k < kept) {
        run += exp(((double)l[order[k]] - (double)l[order[0]]) / (double)p.temperature);
        k++;
        if (p.top_p > 0 && p.top_p < 1 && run >= (double)p.top_p * sum) {
            break;
        }
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < k; i++) {
        double w = exp(((double)l[order[i]] - (double)l[order[0]]) / (double)p.temperature);
        if (w >= (double)p.min_p) {
            in[order[i]] = true;
            count++;
        }
    }
    free(order);
    return count;
}

static void expect_cut(engine_sampler *s, const float *l, engine_sampling p)
{
    static bool in[3000];
    load(s, l, p);
    uint32_t want = plain_cut(l, s->vocab, p, in);
    cr_assert_eq(s->kept, want, "top_k %u top_p %g min_p %g: kept %u, not %u", p.top_k,
                 (double)p.top_p, (double)p.min_p, s->kept, want);
    for (uint32_t i = 0; i < s->kept; i++) {
        cr_assert(in[s->ids[i]]);
        cr_assert(i == 0 || s->ids[i - 1] < s->ids[i]);
    }
}

Test(engine_sampler, cuts_match_a_plain_sort)
{
    static float logits[3000];
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t n = 1 + (uint32_t)(pv_mix64(round) % 3000);
        /* every other round with few distinct values: ties everywhere */
        uint32_t steps = round % 2 == 0 ? 1u << 20 : 7;
        for (uint32_t i = 0; i < n; i++) {
            logits[i] = (float)(pv_mix64(round * 4000ull + i) % steps) / (float)steps * 12;
        }
        engine_sampler s = sampler(n);
        engine_sampling p = {.temperature = 0.5f + (float)(round % 5) * 0.4f};
        p.top_k = round % 3 == 0 ? 0 : 1 + (uint32_t)(pv_mix64(round + 7) % (n + 5));
        p.top_p = round % 4 == 0 ? 1.0f : (float)(pv_mix64(round + 9) % 997) / 1000.0f;
        p.min_p = round % 5 == 0 ? 0.037f : 0;
        expect_cut(&s, logits, p);
        engine_sampler_release(&s);
    }
}

Test(engine_sampler, draws_follow_the_weights)
{
    float logits[5] = {0, 1, 2, -1, 0.5f};
    engine_sampler s = sampler(5);
    load(&s, logits, (engine_sampling){.temperature = 0.7f, .top_k = 4});
    double weight[5];
    double sum = 0;
    for (int i = 0; i < 5; i++) {
        weight[i] = i == 3 ? 0 : exp((double)logits[i] / 0.7);
        sum += weight[i];
    }
    int seen[5] = {0};
    uint64_t key = engine_sample_key(1, 2, 3);
    for (uint32_t i = 0; i < 200000; i++) {
        seen[engine_sampler_draw(&s, engine_uniform(key, i)).token]++;
    }
    for (int i = 0; i < 5; i++) {
        cr_expect_float_eq(seen[i] / 200000.0, weight[i] / sum, 0.005, "token %d", i);
    }
    cr_expect_eq(seen[3], 0);
    cr_expect_eq(engine_sampler_draw(&s, 0).token, 0);
    cr_expect_eq(engine_sampler_draw(&s, 1 - 0x1p-53).token, 4);
    engine_sampler_release(&s);
}

Test(engine_sampler, extremes_are_harmless)
{
    float logits[4] = {3e38f, -3e38f, -INFINITY, 3e38f};
    engine_sampler s = sampler(4);
    load(&s, logits, (engine_sampling){.temperature = 1e-40f, .top_p = 0.5f});
    cr_expect_eq(s.kept, 1);
    cr_expect_eq(engine_sampler_draw(&s, 0.7).token, 0);
    load(&s, logits, (engine_sampling){.temperature = 1e30f});
    cr_expect_geq(s.kept, 2);
    load(&s, logits, (engine_sampling){.temperature = 1, .top_p = 1e-30f, .min_p = 1, .top_k = 1});
    cr_expect_eq(s.kept, 1);
    engine_sampler_release(&s);
}

/* The constant is that of gcc and clang for x86-64 with and without fused multiply-adds: -ffp-contract=off. */
Test(engine_sampler, weights_and_draws_have_the_same_bits_with_every_compiler)
{
    enum { VOCAB = 5000 };

    static float logits[VOCAB];
    engine_sampler s = sampler(VOCAB);
    uint64_t digest = 0;
    for (uint32_t r = 0; r < 20; r++) {
        for (uint32_t i = 0; i < VOCAB; i++) {
            logits[i] = (float)(pv_mix64(r * VOCAB + i) >> 40) * 0x1p-24f * (float)(5 + r);
        }
        load(&s, logits,
             (engine_sampling){.temperature = 0.25f + 0.0625f * (float)r,
                               .top_k = r % 3 ? 40 : 0,
                               .top_p = r % 2 ? 0.9f : 0,
                               .min_p = r % 5 ? 0 : 0.02f});
        digest ^= pv_hash_bytes(s.weights, sizeof logits, digest);
        for (uint32_t k = 0; k < 20; k++) {
            digest = pv_mix64(digest ^ engine_sampler_draw(&s, engine_uniform(r, k)).token);
        }
    }
    cr_expect_eq(digest, 0x43a6caf8db15b4a1u, "%016llx", (unsigned long long)digest);
    engine_sampler_release(&s);
}

Test(engine_sampler, refuses_what_is_out_of_range)
{
    engine_sampling bad[] = {{.temperature = -1}, {.temperature = NAN}, {.temperature = INFINITY},
                             {.top_p = 1.5f},     {.top_p = -0.1f},     {.top_p = NAN},
                             {.min_p = 1.0001f},  {.min_p = NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pv_error err = {0};
        cr_expect_eq(engine_sampling_check(&bad[i], &err), PV_E_INVALID, "case %zu", i);
    }
    engine_sampler s = sampler(2);
    float nan_row[2] = {0, NAN};
    float inf_row[2] = {0, INFINITY};
    float none_row[2] = {-INFINITY, -INFINITY};
    cr_expect_eq(engine_sampler_load(&s, nan_row, NULL, NULL), PV_E_INVALID);
    cr_expect_eq(engine_sampler_load(&s, inf_row, NULL, NULL), PV_E_INVALID);
    cr_expect_eq(engine_sampler_load(&s, none_row, NULL, NULL), PV_E_INVALID);
    engine_sampler_release(&s);
}

static pv_status attempt(void *user, pv_error *err)
{
    (void)user;
    engine_sampler s;
    pv_status status = engine_sampler_init(&s, 100, err);
    if (status == PV_OK) {
        engine_sampler_release(&s);
    }
    return status;
}

Test(engine_sampler, every_allocation_may_fail)
{
    fixture_chaos(attempt, NULL);
}
