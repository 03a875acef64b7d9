/* Random sequences of calls on a small pool: every request ends exactly once, with the result that it has alone, also
 * when the device runs ahead. */
#include "fixture_engine.h"

#include "pv_hash.h"

enum { CALLS = 400, REQUESTS_MAX = 120, SAMPLES = 3, LENGTH_MAX = 150 };

/* Sanitizers look at each call, not at the odd meeting of many: fewer worlds do. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { WORLDS = 8 };
#else
enum { WORLDS = 30 };
#endif

typedef struct asked { /* a request, as it was made, and what came */
    uint32_t prefix[LENGTH_MAX];
    size_t prefix_len;
    uint32_t samples;
    uint32_t max_tokens;
    engine_sampling sampling;
    uint64_t key;
    uint64_t id;
    bool scored;
    bool distinct;
    uint32_t first;
    uint32_t cont[SAMPLES][20];
    size_t cont_len[SAMPLES];
    outcomes got;
} asked;

typedef struct world {
    engine *e;
    asked items[REQUESTS_MAX];
    uint32_t count;
    engine_pinned *pins[2];
    uint64_t random;
} world;

static uint32_t pick(world *w, uint32_t n)
{
    w->random = pv_mix64(w->random);
    return (uint32_t)(w->random % n);
}

/* Prefixes that begin alike, and at times go on with what a sample generated. */
static void make_prefix(world *w, asked *a)
{
    a->prefix_len = 1 + pick(w, 100);
    fill_tokens(a->prefix, a->prefix_len, pick(w, 3));
    if (w->count > 0 && pick(w, 2) == 0) {
        const asked *from = &w->items[pick(w, w->count)];
        const outcome *o = &from->got.items[0];
        a->prefix_len = from->prefix_len;
        memcpy(a->prefix, from->prefix, sizeof a->prefix);
        for (size_t i = 0; o->done > 0 && i < o->count && a->prefix_len < LENGTH_MAX - 1; i++) {
            a->prefix[a->prefix_len++] = o->tokens[i];
        }
    }
    if (pick(w, 3) == 0) {
        a->prefix[pick(w, (uint32_t)a->prefix_len)] ^= 1;
    }
}

static engine_request request_of(asked *a, outcomes *o)
{
    engine_request r = {.prefix = a->prefix,
                        .prefix_len = a->prefix_len,
                        .samples = a->samples,
                        .max_tokens = a->max_tokens,
                        .sampling = a->sampling,
                        .seed = 5,
                        .key = a->key,
                        .distinct = a->distinct,
                        .first_sample = a->first,
                        .series_samples = a->distinct ? 3 * SAMPLES : 0,
                        .on_done = outcomes_on_done,
                        .user = o};
    return r;
}

static engine_score_request score_of(const asked *a, engine_span *spans, outcomes *o)
{
    for (uint32_t i = 0; i < a->samples; i++) {
        spans[i] = (engine_span){a->cont[i], a->cont_len[i]};
    }
    engine_score_request r = {.prefix = a->prefix,
                              .prefix_len = a->prefix_len,
                              .continuations = spans,
                              .count = a->samples,
                              .on_done = outcomes_on_done,
                              .user = o};
    return r;
}

static void ask(engine *e, asked *a, outcomes *o)
{
    pv_error err = {0};
    engine_span spans[SAMPLES];
    engine_request r = request_of(a, o);
    engine_score_request s = score_of(a, spans, o);
    pv_status status =
        a->scored ? engine_score(e, &s, &a->id, &err) : engine_submit(e, &r, &a->id, &err);
    cr_assert_eq(status, PV_OK, "%s", err.msg);
}

static void make_request(world *w)
{
    if (w->count == REQUESTS_MAX) {
        return;
    }
    asked *a = &w->items[w->count];
    make_prefix(w, a);
    a->samples = 1 + pick(w, SAMPLES);
    a->max_tokens = 1 + pick(w, 60);
    a->key = pick(w, 1000);
    a->sampling = (engine_sampling){.temperature = (float)pick(w, 3) * 0.5f,
                                    .top_k = pick(w, 2) * 20,
                                    .top_p = pick(w, 2) ? 0.9f : 0,
                                    .min_p = pick(w, 4) ? 0 : 0.01f};
    a->scored = pick(w, 4) == 0;
    a->distinct = !a->scored && pick(w, 3) == 0;
    if (a->distinct && w->count > 0 &&
        w->items[w->count - 1].distinct) { /* goes on, or begins again */
        uint32_t first = w->items[w->count - 1].first + w->items[w->count - 1].samples;
        *a = w->items[w->count - 1];
        a->first = first < 2 * SAMPLES ? first : 0;
    }
    for (uint32_t i = 0; i < a->samples; i++) {
        a->cont_len[i] = 1 + pick(w, 20);
        fill_tokens(a->cont[i], a->cont_len[i], pick(w, 4));
    }
    a->got = outcomes_new(a->samples);
    a->got.first = a->first;
    ask(w->e, a, &a->got);
    w->count++;
}

static void change_pins(world *w)
{
    uint32_t i = pick(w, 2);
    engine_unpin(w->e, w->pins[i]);
    w->pins[i] = NULL;
    if (w->count > 0 && pick(w, 2) == 0) {
        const asked *a = &w->items[pick(w, w->count)];
        size_t n = 1 + pick(w, (uint32_t)(a->prefix_len < 60 ? a->prefix_len : 60));
        cr_assert_eq(engine_pin(w->e, a->prefix, n, &w->pins[i], NULL), PV_OK);
    }
}

static void step(world *w)
{
    pv_error err = {0};
    cr_assert_eq(engine_step(w->e, NULL, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(fake.broken, 0, "%s", fake.rule);
}

static void call_once(world *w)
{
    uint32_t what = pick(w, 20);
    if (what < 4) {
        make_request(w);
    } else if (what == 4 && w->count > 0) {
        const asked *a = &w->items[pick(w, w->count)];
        (void)engine_cancel(w->e, a->id, pick(w, 2) ? ENGINE_ALL_SAMPLES : pick(w, a->samples));
    } else if (what == 5) {
        change_pins(w);
    } else if (what == 6 && w->count > 0) {
        const asked *a = &w->items[pick(w, w->count)];
        engine_forget(w->e, a->prefix, pick(w, (uint32_t)a->prefix_len + 1));
    } else {
        step(w);
    }
}

/* A whole result is that of the request alone; a cancelled one is its beginning. */
static void expect_as_alone(const outcome *got, const outcome *want)
{
    cr_assert_eq(got->done, 1);
    cr_assert_neq(got->finish, ENGINE_FINISH_FAILED, "%s", got->error.msg);
    if (got->finish != ENGINE_FINISH_CANCELLED) {
        expect_same(got, want);
        return;
    }
    cr_assert_leq(got->count, want->count);
    cr_assert_eq(memcmp(got->tokens, want->tokens, got->count * 4), 0);
    cr_assert_eq(memcmp(got->logprobs, want->logprobs, got->count * 4), 0);
}

/* On a backend without submit(), whatever the calls ran on. */
static void check_against_alone(world *w, engine_model *m)
{
    uint32_t ahead = fixture_ahead;
    fixture_ahead = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        asked *a = &w->items[i];
        outcomes alone = outcomes_new(a->samples);
        alone.first = a->first;
        engine *e = fixture_open(m, NULL);
        ask(e, a, &alone);
        run_all(e);
        engine_close(e);
        for (uint32_t k = 0; k < a->samples; k++) {
            expect_as_alone(&a->got.items[k], &alone.items[k]);
        }
        outcomes_free(&alone);
        outcomes_free(&a->got);
    }
    fixture_ahead = ahead;
}

static void run_world(uint64_t seed, engine_model *m)
{
    static world w;
    memset(&w, 0, sizeof w);
    w.random = seed;
    engine_options options = {.backend = {.kv_pages = 8 + (uint32_t)(seed % 4) * 8,
                                          .max_rows = 5 + (uint32_t)(seed % 5) * 20,
                                          .max_logit_rows = 1 + (uint32_t)(seed % 7)}};
    w.e = fixture_open(m, &options);
    for (int i = 0; i < CALLS; i++) {
        call_once(&w);
    }
    engine_unpin(w.e, w.pins[0]);
    engine_unpin(w.e, w.pins[1]);
    run_all(w.e);
    engine_stats s;
    engine_stats_get(w.e, &s);
    cr_assert_eq(s.pages_locked, 0);
    cr_assert_eq(s.waiting + s.active + s.running, 0);
    engine_forget(w.e, NULL, 0);
    engine_stats_get(w.e, &s);
    cr_assert_eq(s.pages_used + s.nodes, 0);
    engine_close(w.e);
    check_against_alone(&w, m);
}

TEST_AHEAD(engine_calls, random_calls_end_every_request_once_and_as_if_alone, .timeout = 600)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(true);
    for (uint64_t seed = 1; seed <= WORLDS; seed++) {
        run_world(seed, &m);
    }
    engine_tokenizer_free(m.tokenizer);
    cr_assert_eq(pv_mem_live(), live);
}
