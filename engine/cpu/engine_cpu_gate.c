#include "engine_cpu_gate.h"

#include <math.h>
#include <stdlib.h>

static void score_sigmoid(float *score, const float *logits, uint32_t n)
{
    for (uint32_t e = 0; e < n; e++) {
        score[e] = (float)(1.0 / (1.0 + exp(-(double)logits[e])));
    }
}

static void score_softmax(float *score, const float *logits, uint32_t n)
{
    double max = -INFINITY;
    double sum = 0;
    for (uint32_t e = 0; e < n; e++) {
        max = fmax(max, (double)logits[e]);
    }
    for (uint32_t e = 0; e < n; e++) {
        sum += exp((double)logits[e] - max);
    }
    for (uint32_t e = 0; e < n; e++) {
        score[e] = (float)(exp((double)logits[e] - max) / sum);
    }
}

/* The sum of the two greatest choices of a group (noaux_tc), or the greatest (group-limited). */
static float group_score(const engine_moe *moe, const float *choice, uint32_t size)
{
    float first = -INFINITY;
    float second = -INFINITY;
    for (uint32_t i = 0; i < size; i++) {
        if (choice[i] > first) {
            second = first;
            first = choice[i];
        } else if (choice[i] > second) {
            second = choice[i];
        }
    }
    return moe->topk == ENGINE_TOPK_NOAUX && size > 1 ? first + second : first;
}

/* The index of the greatest value that is not marked; the lowest one on a tie. `marked` values are NaN. */
static uint32_t take_greatest(float *values, uint32_t n)
{
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++) {
        if (!isnan(values[i]) && (best == n || values[i] > values[best])) {
            best = i;
        }
    }
    if (best < n) {
        values[best] = NAN;
    }
    return best;
}

/* Experts of groups that are not among the groups_kept best ones get -infinity: 0 would beat a kept expert whose
 * biased score is negative. */
static void mask_groups(const engine_moe *moe, float *choice, float *groups)
{
    uint32_t size = moe->routed / moe->groups;
    for (uint32_t g = 0; g < moe->groups; g++) {
        groups[g] = group_score(moe, choice + (size_t)g * size, size);
    }
    for (uint32_t kept = 0; kept < moe->groups_kept; kept++) {
        (void)take_greatest(groups, moe->groups);
    }
    for (uint32_t e = 0; e < moe->routed; e++) {
        if (!isnan(groups[e / size])) {
            choice[e] = -INFINITY;
        }
    }
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void choose(const engine_moe *moe, float *choice, uint32_t *ids)
{
    for (uint32_t e = 0; e < moe->routed; e++) {
        if (isnan(choice[e])) { /* damaged activations: keep the ids valid */
            choice[e] = -INFINITY;
        }
    }
    for (uint32_t i = 0; i < moe->per_token; i++) {
        ids[i] = take_greatest(choice, moe->routed);
    }
    qsort(ids, moe->per_token, sizeof *ids, compare_ids);
}

void engine_cpu_gate(const engine_moe *moe, const float *logits, const float *bias, float *scratch,
                     uint32_t *ids, float *weights)
{
    float *score = scratch;
    float *choice = score + moe->routed;
    float *groups = choice + moe->routed;
    (moe->scoring == ENGINE_SCORING_SIGMOID ? score_sigmoid : score_softmax)(score, logits,
                                                                             moe->routed);
    for (uint32_t e = 0; e < moe->routed; e++) {
        choice[e] = bias == NULL ? score[e] : score[e] + bias[e];
    }
    if (moe->topk != ENGINE_TOPK_GREEDY && moe->groups > 1) {
        mask_groups(moe, choice, groups);
    }
    choose(moe, choice, ids);
    double sum = 0;
    for (uint32_t i = 0; i < moe->per_token; i++) {
        sum += (double)score[ids[i]];
    }
    double factor = moe->norm_topk ? moe->scale / (sum + 1e-20) : moe->scale;
    for (uint32_t i = 0; i < moe->per_token; i++) {
        weights[i] = (float)((double)score[ids[i]] * factor);
    }
}
