/* The router: formulas of docs/engine-cpu.md, section 6, and the cases where implementations differ: ties, negative biased scores,
 * groups of one, damaged logits. */
#include "cpu/engine_cpu_gate.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { EXPERTS_MAX = 64 };

static uint32_t ids[EXPERTS_MAX];
static float weights[EXPERTS_MAX];

static void gate(const engine_moe *moe, const float *logits, const float *bias)
{
    float scratch[3 * EXPERTS_MAX];
    memset(ids, 0xff, sizeof ids);
    engine_cpu_gate(moe, logits, bias, scratch, ids, weights);
}

static engine_moe noaux(uint32_t routed, uint32_t groups, uint32_t kept, uint32_t per_token)
{
    engine_moe moe = {.routed = routed,
                      .groups = groups,
                      .groups_kept = kept,
                      .per_token = per_token,
                      .norm_topk = true,
                      .scale = 2.5,
                      .scoring = ENGINE_SCORING_SIGMOID,
                      .topk = ENGINE_TOPK_NOAUX};
    return moe;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void expect_ids(const uint32_t *expected, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        cr_expect_eq(ids[i], expected[i], "place %u: %u, expected %u", i, ids[i], expected[i]);
    }
}

Test(engine_cpu_gate, group_score_is_the_sum_of_the_two_best)
{
    engine_moe moe = noaux(8, 2, 1, 2);
    /* group 0 has the best expert, group 1 the best pair */
    const float logits[8] = {3, -9, -9, -9, 1, 1.5F, -9, -9};
    gate(&moe, logits, NULL);
    expect_ids((uint32_t[]){4, 5}, 2);
    double sum = sigmoid(1) + sigmoid(1.5);
    cr_expect_float_eq((double)weights[0], 2.5 * sigmoid(1) / sum, 1e-6);
    cr_expect_float_eq((double)weights[1], 2.5 * sigmoid(1.5) / sum, 1e-6);
}

Test(engine_cpu_gate, group_limited_takes_the_greatest)
{
    engine_moe moe = noaux(8, 2, 1, 2);
    moe.topk = ENGINE_TOPK_GROUP_LIMITED;
    const float logits[8] = {3, -9, -8, -9, 1, 1.5F, -9, -9};
    gate(&moe, logits, NULL);
    expect_ids((uint32_t[]){0, 2}, 2);
}

Test(engine_cpu_gate, greedy_ignores_groups)
{
    engine_moe moe = noaux(8, 4, 1, 3);
    moe.topk = ENGINE_TOPK_GREEDY;
    moe.norm_topk = false;
    moe.scoring = ENGINE_SCORING_SOFTMAX;
    const float logits[8] = {0, 4, 0, 5, 0, 6, 0, 0};
    gate(&moe, logits, NULL);
    expect_ids((uint32_t[]){1, 3, 5}, 3);
    double total = 5 + exp(4) + exp(5) + exp(6);
    cr_expect_float_eq((double)weights[2], 2.5 * exp(6) / total, 1e-6);
}

Test(engine_cpu_gate, bias_chooses_but_does_not_weigh)
{
    engine_moe moe = noaux(4, 1, 1, 2);
    const float logits[4] = {2, 1, 0, -1};
    const float bias[4] = {-5, 0, 0, 5};
    gate(&moe, logits, bias);
    expect_ids((uint32_t[]){1, 3}, 2);
    double sum = sigmoid(1) + sigmoid(-1);
    cr_expect_float_eq((double)weights[1], 2.5 * sigmoid(-1) / sum, 1e-6);
}

/* Masked experts with 0 instead of -infinity would win here. */
Test(engine_cpu_gate, negative_biased_scores_of_a_kept_group_beat_the_masked)
{
    engine_moe moe = noaux(8, 2, 1, 3);
    const float logits[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    const float bias[8] = {-1, -1, -2, -3, -4, -4, -4, -4};
    gate(&moe, logits, bias);
    expect_ids((uint32_t[]){0, 1, 2}, 3);
}

Test(engine_cpu_gate, ties_go_to_the_lower_id)
{
    engine_moe moe = noaux(16, 4, 2, 4);
    const float logits[16] = {0};
    gate(&moe, logits, NULL);
    expect_ids((uint32_t[]){0, 1, 2, 3}, 4);
    float some[16] = {0};
    some[9] = 1; /* groups: 2 is best, then 0 by the tie */
    gate(&moe, some, NULL);
    expect_ids((uint32_t[]){0, 1, 2, 9}, 4);
}

Test(engine_cpu_gate, groups_of_one)
{
    engine_moe moe = noaux(4, 4, 2, 2);
    const float logits[4] = {0, 3, 1, 2};
    gate(&moe, logits, NULL);
    expect_ids((uint32_t[]){1, 3}, 2);
}

Test(engine_cpu_gate, ids_stay_valid_and_distinct_when_logits_are_not_numbers)
{
    engine_moe moe = noaux(8, 2, 1, 4);
    float logits[8];
    for (int mask = 0; mask < 256; mask++) {
        for (int e = 0; e < 8; e++) {
            logits[e] = mask >> e & 1 ? NAN : (e % 3 == 0 ? -INFINITY : INFINITY);
        }
        gate(&moe, logits, NULL);
        for (uint32_t i = 0; i < 4; i++) {
            cr_assert_lt(ids[i], 8);
            cr_assert(i == 0 || ids[i] > ids[i - 1]);
        }
    }
}

Test(engine_cpu_gate, extreme_logits_give_finite_weights)
{
    engine_moe moe = noaux(4, 1, 1, 2);
    const float logits[4] = {-200, -300, -400, -500};
    gate(&moe, logits, NULL);
    cr_expect(isfinite(weights[0]) && isfinite(weights[1]));
    moe.scoring = ENGINE_SCORING_SOFTMAX;
    const float large[4] = {3e38F, 1, 2, 3};
    gate(&moe, large, NULL);
    cr_expect_eq(ids[0], 0);
    cr_expect_float_eq((double)weights[0], 2.5, 1e-6);
}
