#include "engine_sampler.h"

#include "pv_mem.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { LANES = 8 };

#define TEMPERATURE_MIN 1e-30f /* its inverse is finite */

pv_status engine_sampling_check(const engine_sampling *p, pv_error *err)
{
    if (!(p->temperature >= 0 && p->temperature <= FLT_MAX)) {
        return pv_fail(err, PV_E_INVALID, "temperature is %g; it must be at least 0",
                       (double)p->temperature);
    }
    if (!(p->top_p >= 0 && p->top_p <= 1)) {
        return pv_fail(err, PV_E_INVALID, "top_p is %g; it must lie in 0 .. 1", (double)p->top_p);
    }
    if (!(p->min_p >= 0 && p->min_p <= 1)) {
        return pv_fail(err, PV_E_INVALID, "min_p is %g; it must lie in 0 .. 1", (double)p->min_p);
    }
    return PV_OK;
}

pv_status engine_sampler_init(engine_sampler *s, uint32_t vocab, pv_error *err)
{
    memset(s, 0, sizeof *s);
    s->vocab = vocab;
    s->weights = pv_malloc(vocab * sizeof *s->weights);
    s->order = pv_malloc(vocab * sizeof *s->order);
    s->ids = pv_malloc(vocab * sizeof *s->ids);
    s->cumulative = pv_malloc(vocab * sizeof *s->cumulative);
    if (s->weights == NULL || s->order == NULL || s->ids == NULL || s->cumulative == NULL) {
        engine_sampler_release(s);
        return pv_fail(err, PV_E_NOMEM, "no memory to sample from %u tokens", vocab);
    }
    return PV_OK;
}

void engine_sampler_release(engine_sampler *s)
{
    pv_free(s->weights);
    pv_free(s->order);
    pv_free(s->ids);
    pv_free(s->cumulative);
    memset(s, 0, sizeof *s);
}

typedef union float_bits {
    int32_t bits;
    float value;
} float_bits;

/* exp(x) for x <= 0, within 2 ulp, 0 below -87. Not libm's, so that the bits are the same with every libm and the loop
 * over a vocabulary is vectorised: x = n log 2 + r, |r| <= log(2) / 2, the Taylor series of exp(r) to degree 7. */
static inline float exp_nonpositive(float x)
{
    int32_t keep =
        -(int32_t)(x >= -87.0f); /* masks: a branch would keep the loop from being vectorised */
    float_bits in = {.value = x};
    in.bits &= keep;
    float n =
        in.value * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the addition rounds to an integer */
    n -= 12582912.0f;
    float r = in.value - n * 0.693359375f; /* log 2 in two parts, the first exact in nine bits */
    r += n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    float_bits power = {.bits = ((int32_t)n + 127) << 23};
    float_bits out = {.value = p * power.value};
    out.bits &= keep;
    return out.value;
}

static double sum_of(const float *w, uint32_t n)
{
    double lane[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t k = 0; k < LANES; k++) {
            lane[k] += (double)w[i + k];
        }
    }
    for (uint32_t k = 0; i < n; i++, k++) {
        lane[k] += (double)w[i];
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* In lanes, so that it is not one chain of comparisons. A lane that met NaN keeps it: comparisons with it are false. */
static float greatest(const float *l, uint32_t n, bool *has_nan)
{
    float lane[LANES];
    int nan_lane[LANES] = {0};
    for (uint32_t k = 0; k < LANES; k++) {
        lane[k] = -INFINITY;
    }
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t k = 0; k < LANES; k++) {
            nan_lane[k] |= l[i + k] != l[i + k];
            lane[k] = l[i + k] > lane[k] ? l[i + k] : lane[k];
        }
    }
    for (uint32_t k = 0; i < n; i++, k++) {
        nan_lane[k] |= l[i] != l[i];
        lane[k] = l[i] > lane[k] ? l[i] : lane[k];
    }
    for (uint32_t k = 1; k < LANES; k++) {
        nan_lane[0] |= nan_lane[k];
        lane[0] = lane[k] > lane[0] ? lane[k] : lane[0];
    }
    *has_nan = nan_lane[0] != 0;
    return lane[0];
}

static pv_status find_best(engine_sampler *s, pv_error *err)
{
    bool has_nan = false;
    s->max = greatest(s->logits, s->vocab, &has_nan);
    if (has_nan || !(s->max <= FLT_MAX && s->max >= -FLT_MAX)) {
        return pv_fail(
            err, PV_E_INVALID,
            "a row of logits holds NaN or infinity: the weights are damaged, or a sum overflowed");
    }
    s->best = 0;
    while (s->logits[s->best] != s->max) {
        s->best++;
    }
    return PV_OK;
}

static void weigh(engine_sampler *s, float scale)
{
    const float *l = s->logits;
    float *w = s->weights;
    float max = s->max;
    for (uint32_t i = 0; i < s->vocab; i++) {
        w[i] = exp_nonpositive((l[i] - max) * scale);
    }
}

/* ---- Cuts: order[0 .. n) holds candidates; select() moves the best to the front ---- */

static bool better(const float *l, uint32_t a, uint32_t b)
{
    return l[a] > l[b] || (l[a] == l[b] && a < b);
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

/* Partitions o[low .. high) around the median of three and returns where the pivot ends up: better ones before it. */
static uint32_t partition(const float *l, uint32_t *o, uint32_t low, uint32_t high)
{
    uint32_t last = high - 1;
    uint32_t mid = low + (high - low) / 2;
    if (better(l, o[mid], o[low])) {
        swap(&o[mid], &o[low]);
    }
    if (better(l, o[last], o[low])) {
        swap(&o[last], &o[low]);
    }
    if (better(l, o[mid], o[last])) {
        swap(&o[mid], &o[last]);
    }
    uint32_t pivot = o[last];
    uint32_t at = low;
    for (uint32_t i = low; i < last; i++) {
        if (better(l, o[i], pivot)) {
            swap(&o[i], &o[at++]);
        }
    }
    swap(&o[at], &o[last]);
    return at;
}

/* The k best of o[0 .. n) come to the front, in any order. */
static void select_count(const float *l, uint32_t *o, uint32_t n, uint32_t k)
{
    uint32_t low = 0;
    uint32_t high = n;
    while (high - low > 1) {
        uint32_t at = partition(l, o, low, high);
        if (at + 1 == k || at == k) {
            return;
        }
        *(at < k ? &low : &high) = at < k ? at + 1 : at;
    }
}

/* The shortest run of the best whose weights reach `target` comes to the front; returns its length. */
static uint32_t select_weight(const float *l, const float *w, uint32_t *o, uint32_t n,
                              double target)
{
    uint32_t low = 0; /* o[0 .. low) is in, with weight `sum` */
    uint32_t high = n;
    double sum = 0;
    while (low < high) {
        uint32_t at = partition(l, o, low, high);
        double left = sum;
        for (uint32_t i = low; i < at; i++) {
            left += (double)w[o[i]];
        }
        if (left >= target && at > low) {
            high = at;
        } else if (left + (double)w[o[at]] >= target) {
            return at + 1;
        } else {
            sum = left + (double)w[o[at]];
            low = at + 1;
        }
    }
    return low > 0 ? low : 1;
}

/* ---- Which tokens can be in a cut at all: a histogram over the distance from the best ---- */

enum { BINS = 1024, BINS_A_UNIT = 32 };

#define NEAR 12.0f

typedef struct histogram {
    uint32_t count[BINS];
    double weight[BINS];
} histogram;

/* Never falls when a logit does. */
static uint32_t bin_of(float max, float logit, float scale)
{
    float distance = (max - logit) * scale * BINS_A_UNIT;
    return distance < BINS - 1 ? (uint32_t)distance : BINS - 1;
}

/* Of order[0 .. n). */
static void fill_histogram(const engine_sampler *s, float scale, uint32_t n, histogram *h)
{
    memset(h, 0, sizeof *h);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = s->order[i];
        uint32_t bin = bin_of(s->max, s->logits[id], scale);
        h->count[bin]++;
        h->weight[bin] += (double)s->weights[id];
    }
}

/* order[0 .. n) = the ids, ascending, whose logit is at least `least`; returns n. */
static uint32_t list_from(engine_sampler *s, float least)
{
    const float *l = s->logits;
    uint32_t *o = s->order;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        o[n] = i;
        n += l[i] >= least;
    }
    return n;
}

/* Has the tail behind these n candidates no say in what is cut? */
static bool suffices(const engine_sampler *s, uint32_t n, uint32_t k, double weight)
{
    double sum = 0;
    for (uint32_t i = 0; i < n && k == 0; i++) {
        sum += (double)s->weights[s->order[i]];
    }
    return k > 0 ? n >= k : sum >= weight * (1 + 1e-9);
}

/* Those that can be in the cut at all: nearly always few, at least e^-NEAR times as likely as the best one. */
static uint32_t list_candidates(engine_sampler *s, float scale, uint32_t k, double weight)
{
    uint32_t n = list_from(s, s->max - NEAR / scale);
    return suffices(s, n, k, weight) ? n : list_from(s, -INFINITY);
}

/* Candidates: all tokens of the leading bins that hold the k best, or the weight asked for and one bin more (sums in
 * another order may round differently). */
static uint32_t gather(engine_sampler *s, float scale, uint32_t k, double weight)
{
    histogram h;
    uint32_t all = list_candidates(s, scale, k, weight);
    fill_histogram(s, scale, all, &h);
    uint32_t last = 0;
    uint32_t count = h.count[0];
    double sum = h.weight[0];
    while (last < BINS - 1 && (k > 0 ? count < k : sum < weight)) {
        count += h.count[++last];
        sum += h.weight[last];
    }
    last += k > 0 ? 0 : 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < all; i++) {
        uint32_t id = s->order[i];
        s->order[n] = id;
        n += bin_of(s->max, s->logits[id], scale) <= last;
    }
    return n;
}

static double sum_of_order(const engine_sampler *s, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)s->weights[s->order[i]];
    }
    return sum;
}

/* After top-k and top-p order[0 .. n) holds what is kept; returns n, or 0 when nothing was cut. */
static uint32_t cut(engine_sampler *s, const engine_sampling *p, float scale)
{
    bool top_k = p->top_k > 0 && p->top_k < s->vocab;
    bool top_p = p->top_p > 0 && p->top_p < 1;
    if (!top_k && !top_p) {
        return 0;
    }
    double sum = top_k ? 0 : sum_of(s->weights, s->vocab);
    uint32_t n = gather(s, scale, top_k ? p->top_k : 0, (double)p->top_p * sum);
    if (top_k) {
        select_count(s->logits, s->order, n, p->top_k);
        n = p->top_k;
        sum = sum_of_order(s, n);
    }
    if (top_p) {
        n = select_weight(s->logits, s->weights, s->order, n, (double)p->top_p * sum);
    }
    return n;
}

#define NO_WORST UINT32_MAX

/* ids and cumulative weights of those among order[0 .. n), ascending, that are not worse than `worst`. */
static void keep_listed(engine_sampler *s, float min_p, uint32_t n, uint32_t worst)
{
    double sum = 0;
    s->kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = s->order[i];
        bool in = worst == NO_WORST || id == worst || better(s->logits, id, worst);
        if (in && s->weights[id] > 0 && s->weights[id] >= min_p) {
            sum += (double)s->weights[id];
            s->ids[s->kept] = id;
            s->cumulative[s->kept++] = sum;
        }
    }
}

static void keep(engine_sampler *s, float min_p, uint32_t cut_count)
{
    if (cut_count == 0) {
        keep_listed(s, min_p, list_from(s, -INFINITY), NO_WORST);
        return;
    }
    uint32_t worst = s->order[0];
    for (uint32_t i = 1; i < cut_count; i++) {
        worst = better(s->logits, worst, s->order[i]) ? s->order[i] : worst;
    }
    keep_listed(s, min_p, list_from(s, s->logits[worst]), worst);
}

pv_status engine_sampler_load(engine_sampler *s, const float *logits, const engine_sampling *params,
                              pv_error *err)
{
    s->logits = logits;
    pv_status status = find_best(s, err);
    if (status != PV_OK) {
        return status;
    }
    weigh(s, 1.0f);
    s->log_sum = log(sum_of(s->weights, s->vocab));
    if (params == NULL || params->temperature == 0) {
        s->kept = 1;
        s->ids[0] = s->best;
        s->cumulative[0] = 1;
        return PV_OK;
    }
    float scale = 1.0f / fmaxf(params->temperature, TEMPERATURE_MIN);
    if (params->temperature != 1) {
        weigh(s, scale);
    }
    keep(s, params->min_p, cut(s, params, scale));
    return PV_OK;
}

float engine_sampler_logprob(const engine_sampler *s, uint32_t token)
{
    return (float)((double)s->logits[token] - (double)s->max - s->log_sum);
}

engine_pick engine_sampler_draw(const engine_sampler *s, double u)
{
    double target = u * s->cumulative[s->kept - 1];
    uint32_t low = 0; /* the first entry above the target lies in low .. high */
    uint32_t high = s->kept - 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->cumulative[mid] > target) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    engine_pick pick = {s->ids[low], engine_sampler_logprob(s, s->ids[low])};
    return pick;
}
