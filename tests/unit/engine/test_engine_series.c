/* Sequences without replacement against the closed form, on a vocabulary small enough to list them all. */
#include "engine_random.h"
#include "engine_series.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Token 0 ends a sequence; so does the third token. Three tokens: 1 + 2 + 4 + 8 = 15 sequences. */
enum { VOCAB = 3, DEPTH_MAX = 3, SEQUENCES = 15, TRIALS = 20000 };

typedef struct world {
    engine_sampler sampler;
    engine_sampling sampling;
    uint64_t seed;
    float logits[VOCAB];
} world;

static world new_world(uint64_t seed)
{
    world w = {.seed = seed, .sampling = {.temperature = 0.8F}};
    cr_assert_eq(engine_sampler_init(&w.sampler, VOCAB, NULL), PV_OK);
    return w;
}

/* Of the prefix alone. */
static const engine_sampler *load(world *w, const uint32_t *path, uint32_t depth)
{
    uint64_t h = w->seed;
    for (uint32_t i = 0; i < depth; i++) {
        h = pv_mix64(h * 31 + path[i] + 1);
    }
    for (uint32_t i = 0; i < VOCAB; i++) {
        w->logits[i] = (float)(pv_mix64(h + i) % 1000) * 0.003F;
    }
    cr_assert_eq(engine_sampler_load(&w->sampler, w->logits, &w->sampling, NULL), PV_OK);
    return &w->sampler;
}

static bool is_whole(const engine_series_node *n)
{
    return n->depth == DEPTH_MAX || (n->depth > 0 && n->token == 0);
}

/* A number below 3^3 for each sequence. */
static uint32_t name_of(const uint32_t *path, uint32_t depth)
{
    uint32_t name = 0;
    for (uint32_t i = 0; i < DEPTH_MAX; i++) {
        name = name * VOCAB + (i < depth ? path[i] : 0);
    }
    return name;
}

/* Takes up to n sequences; those behind the first `eager` prefixes are opened whether that is needed or not. */
static uint32_t take(world *w, engine_series *s, uint32_t n, uint32_t eager, uint32_t *names)
{
    uint32_t taken = 0;
    uint32_t path[DEPTH_MAX];
    while (taken < n && engine_series_count(s) > 0) {
        uint32_t i = eager > 0 ? (eager * 7 + taken) % engine_series_count(s) : 0;
        uint32_t at = engine_series_at(s, i);
        at = is_whole(engine_series_node_of(s, at)) ? engine_series_at(s, 0) : at;
        engine_series_node *node = engine_series_node_of(s, at);
        engine_series_path(s, at, path, NULL);
        if (!is_whole(node)) {
            cr_assert_eq(engine_series_open(s, at, load(w, path, node->depth), NULL), PV_OK);
        } else {
            names[taken++] = name_of(path, node->depth);
            (void)engine_series_take(s);
        }
        eager += eager > 0;
    }
    return taken;
}

static engine_series *series(uint64_t key, uint32_t keep)
{
    engine_series *s = NULL;
    cr_assert_eq(engine_series_new(&s, key, keep, NULL), PV_OK);
    return s;
}

/* q of every name; 0 for names that are no sequence's. */
static void closed_form(world *w, uint32_t *path, uint32_t depth, double q, double *out)
{
    if (depth == DEPTH_MAX || (depth > 0 && path[depth - 1] == 0)) {
        out[name_of(path, depth)] = q;
        return;
    }
    double p[VOCAB];
    const engine_sampler *l = load(w, path, depth);
    for (uint32_t i = 0; i < VOCAB; i++) {
        p[i] = (double)l->weights[i] / l->cumulative[VOCAB - 1];
    }
    for (path[depth] = 0; path[depth] < VOCAB; path[depth]++) {
        closed_form(w, path, depth + 1, q * p[path[depth]], out);
    }
}

enum { NAMES = 27 };

/* The 0.999 quantile of chi-square, by Wilson and Hilferty's approximation. */
static double quantile(double freedom)
{
    double v = 2 / (9 * freedom);
    return freedom * pow(1 - v + 3.09 * sqrt(v), 3);
}

/* The ordered first two are (i, j) with q[i] q[j] / (1 - q[i]): 15 * 14 cells, those of less than 5 expected put together. */
Test(engine_series, the_first_two_have_the_frequencies_of_draws_without_replacement, .timeout = 120)
{
    world w = new_world(1);
    double q[NAMES] = {0};
    uint32_t path[DEPTH_MAX];
    closed_form(&w, path, 0, 1, q);
    static uint32_t seen[NAMES][NAMES];
    memset(seen, 0, sizeof seen);
    for (uint32_t t = 0; t < TRIALS; t++) {
        engine_series *s = series(engine_sample_key(30, t, UINT32_MAX), 2);
        uint32_t names[2];
        cr_assert_eq(take(&w, s, 2, 0, names), 2);
        seen[names[0]][names[1]]++;
        engine_series_free(s);
    }
    double chi = 0, rest = 0, rest_seen = 0;
    uint32_t cells = 0;
    for (uint32_t i = 0; i < NAMES; i++) {
        for (uint32_t j = 0; j < NAMES; j++) {
            double expected = i == j ? 0 : TRIALS * q[i] * q[j] / (1 - q[i]);
            double got = seen[i][j];
            cr_assert(expected > 0 || seen[i][j] == 0, "%u then %u cannot be", i, j);
            if (expected >= 5) {
                chi += (got - expected) * (got - expected) / expected;
                cells++;
            } else {
                rest += expected;
                rest_seen += got;
            }
        }
    }
    chi += rest > 0 ? (rest_seen - rest) * (rest_seen - rest) / rest : 0;
    cr_assert_gt(cells, 70);
    cr_expect_lt(chi, quantile(cells), "chi-square of %u cells is %.1f", cells + 1, chi);
    engine_sampler_release(&w.sampler);
}

/* Temperature and cuts change what is drawn from, not how. */
Test(engine_series, what_the_cuts_take_away_never_comes)
{
    world w = new_world(2);
    w.sampling = (engine_sampling){.temperature = 2, .top_k = 2};
    for (uint32_t t = 0; t < 200; t++) {
        engine_series *s = series(t, SEQUENCES);
        uint32_t names[SEQUENCES];
        uint32_t n = take(&w, s, SEQUENCES, 0, names);
        cr_assert_lt(n, SEQUENCES);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t path[DEPTH_MAX] = {names[i] / 9, names[i] / 3 % 3, names[i] % 3};
            for (uint32_t d = 0; d < DEPTH_MAX && (d == 0 || path[d - 1] != 0); d++) {
                const engine_sampler *l = load(&w, path, d);
                cr_assert(l->ids[0] == path[d] || l->ids[1] == path[d]);
            }
        }
        engine_series_free(s);
    }
    engine_sampler_release(&w.sampler);
}

Test(engine_series, all_come_once_and_then_none)
{
    world w = new_world(3);
    for (uint32_t t = 0; t < 100; t++) {
        uint64_t live = pv_mem_live();
        engine_series *s = series(t, 100);
        uint32_t names[100];
        bool seen[NAMES] = {false};
        cr_assert_eq(take(&w, s, 100, 0, names), SEQUENCES);
        for (uint32_t i = 0; i < SEQUENCES; i++) {
            cr_expect_not(seen[names[i]]);
            seen[names[i]] = true;
        }
        cr_expect_eq(engine_series_count(s), 0);
        engine_series_free(s);
        cr_assert_eq(pv_mem_live(), live);
    }
    engine_sampler_release(&w.sampler);
}

/* Which prefix is opened when is the scheduler's business, and so is how many are held. */
Test(engine_series, the_order_of_calls_and_the_memory_do_not_matter)
{
    world w = new_world(4);
    for (uint32_t t = 1; t < 300; t++) {
        uint32_t want[SEQUENCES], got[SEQUENCES];
        engine_series *a = series(t, SEQUENCES);
        engine_series *b = series(t, SEQUENCES);
        engine_series *c = series(t, 4);
        cr_assert_eq(take(&w, a, SEQUENCES, 0, want), SEQUENCES);
        cr_assert_eq(take(&w, b, SEQUENCES, t, got), SEQUENCES);
        cr_expect_eq(memcmp(want, got, sizeof want), 0);
        cr_assert_eq(take(&w, c, 4, t, got), 4);
        cr_expect_eq(memcmp(want, got, 4 * sizeof *want), 0);
        engine_series_free(a);
        engine_series_free(b);
        engine_series_free(c);
    }
    engine_sampler_release(&w.sampler);
}

Test(engine_series, a_failed_open_changes_nothing)
{
    world w = new_world(5);
    uint32_t want[SEQUENCES], got[SEQUENCES];
    engine_series *a = series(9, SEQUENCES);
    cr_assert_eq(take(&w, a, SEQUENCES, 0, want), SEQUENCES);
    engine_series_free(a);
    uint32_t path[DEPTH_MAX] = {0};
    for (int64_t n = 0; n < 4; n++) {
        engine_series *s = series(9, SEQUENCES);
        pv_error err = {0};
        (void)load(&w, path, 0);
        pv_mem_fail_after(n);
        pv_status status = engine_series_open(s, engine_series_at(s, 0), &w.sampler, &err);
        pv_mem_fail_after(-1);
        cr_expect(status == PV_OK || status == PV_E_NOMEM);
        cr_assert_eq(take(&w, s, SEQUENCES, 0, got), SEQUENCES);
        cr_expect_eq(memcmp(want, got, sizeof want), 0);
        engine_series_free(s);
    }
    engine_sampler_release(&w.sampler);
}

/* A sequence of probability e^-5000 among others: times are kept as logarithms. */
Test(engine_series, unlikely_sequences_keep_their_order)
{
    world w = new_world(6);
    engine_series *s = series(3, 40);
    uint32_t path[600];
    w.logits[0] = 0;
    w.logits[1] = 0.01F;
    w.logits[2] = -12;
    cr_assert_eq(engine_sampler_load(&w.sampler, w.logits, &w.sampling, NULL), PV_OK);
    for (uint32_t i = 0; i < 500; i++) { /* the last one each time: the least likely */
        uint32_t at = engine_series_at(s, engine_series_count(s) - 1);
        cr_assert_eq(engine_series_open(s, at, &w.sampler, NULL), PV_OK);
        for (uint32_t k = 1; k < engine_series_count(s); k++) {
            double before = engine_series_node_of(s, engine_series_at(s, k - 1))->log_time;
            double after = engine_series_node_of(s, engine_series_at(s, k))->log_time;
            cr_assert(before <= after && !isnan(after) && after < HUGE_VAL);
        }
    }
    uint32_t deepest = engine_series_at(s, engine_series_count(s) - 1);
    cr_assert_leq(engine_series_node_of(s, deepest)->depth, 600);
    engine_series_path(s, deepest, path, NULL);
    cr_expect_leq(engine_series_count(s), 40);
    engine_series_free(s);
    engine_sampler_release(&w.sampler);
}
