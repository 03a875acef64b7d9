/* The engine on the fake backend: what comes out, and that nothing but the request decides it. */
#include "fixture_engine.h"

#include "pv_hash.h"

static engine_options small_options(uint32_t pages, uint32_t rows, uint32_t logit_rows)
{
    engine_options o = {
        .backend = {.kv_pages = pages, .max_rows = rows, .max_logit_rows = logit_rows}};
    return o;
}

static engine_request request(const uint32_t *prefix, size_t n, outcomes *o)
{
    engine_request r = {.prefix = prefix,
                        .prefix_len = n,
                        .samples = o->capacity,
                        .max_tokens = 40,
                        .sampling = {.temperature = 1, .top_p = 0.9f},
                        .seed = 30,
                        .key = 7,
                        .ignore_eos = true,
                        .on_done = outcomes_on_done,
                        .user = o};
    return r;
}

static engine_stats stats(const engine *e)
{
    engine_stats s;
    engine_stats_get(e, &s);
    return s;
}

/* ---- What comes out ---- */

Test(engine_scheduler, samples_have_their_length_and_differ)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[100];
    fill_tokens(prefix, 100, 1);
    outcomes o = outcomes_new(4);
    engine_request r = request(prefix, 100, &o);
    submit(e, &r);
    run_all(e);
    cr_assert_eq(o.done, 4);
    for (uint32_t i = 0; i < 4; i++) {
        cr_expect_eq(o.items[i].done, 1);
        cr_expect_eq(o.items[i].finish, ENGINE_FINISH_LENGTH);
        cr_expect_eq(o.items[i].count, 40);
        cr_expect_eq(o.items[i].sample, i);
        cr_expect_str_eq(o.items[i].text, "");
        cr_expect(i == 0 || memcmp(o.items[i].tokens, o.items[0].tokens, 160) != 0);
    }
    engine_stats s = stats(e);
    cr_expect_eq(s.tokens_computed, 100 + 4 * 39, "the last token drawn is not computed");
    cr_expect_eq(s.tokens_again, 0);
    cr_expect_eq(s.tokens_sampled, 160);
    cr_expect_eq(s.copies, 3);
    cr_expect_eq(s.pages_locked, 0);
    engine_close(e);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&o);
}

Test(engine_scheduler, a_thousand_branches_compute_the_prefix_once)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    engine_options options = small_options(2048, 512, 64);
    engine *e = fixture_open(&m, &options);
    static uint32_t prefix[1001];
    fill_tokens(prefix, 1000, 1);
    outcomes o = outcomes_new(1000);
    engine_request r = request(prefix, 1000, &o);
    r.max_tokens = 1;
    submit(e, &r);
    run_all(e);
    cr_expect_eq(stats(e).tokens_computed, 1000, "a thousand first tokens from one row");
    cr_expect_eq(stats(e).rows, 1000);
    static uint32_t tails[1000];
    for (uint32_t i = 0; i < 1000; i++) {
        outcomes *one = calloc(1, sizeof *one);
        *one = outcomes_new(1);
        prefix[1000] = tails[i] = i % FIXTURE_VOCAB;
        engine_request branch = request(prefix, 1001, one);
        branch.max_tokens = 2;
        branch.key = i;
        branch.user = &o;
        branch.samples = 1;
        submit(e, &branch);
        outcomes_free(one);
        free(one);
    }
    engine_stats before = stats(e);
    run_all(e);
    engine_stats s = stats(e);
    cr_expect_eq(s.tokens_computed - before.tokens_computed, 860 + 1000,
                 "each branch's own token, and the one drawn: %lu",
                 (unsigned long)(s.tokens_computed - before.tokens_computed));
    cr_expect_leq(s.tokens_again, 140,
                  "branches that end alike share the row, or run it once more");
    cr_expect_eq(s.pages_locked, 0);
    engine_forget(e, NULL, 0);
    cr_expect_eq(stats(e).pages_used, 0);
    cr_expect_eq(stats(e).nodes, 0);
    engine_close(e);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&o);
}

Test(engine_scheduler, a_cached_prefix_runs_one_row_again)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[100];
    fill_tokens(prefix, 100, 1);
    outcomes a = outcomes_new(1);
    outcomes b = outcomes_new(1);
    engine_request r = request(prefix, 100, &a);
    submit(e, &r);
    run_all(e);
    cr_expect_eq(engine_cached(e, prefix, 100), 100);
    engine_stats before = stats(e);
    r.user = &b;
    submit(e, &r);
    run_all(e);
    engine_stats s = stats(e);
    expect_same(&a.items[0], &b.items[0]);
    cr_expect_eq(s.tokens_again - before.tokens_again, 1);
    cr_expect_eq(s.tokens_reused - before.tokens_reused, 100);
    uint32_t longer[139];
    memcpy(longer, prefix, sizeof prefix);
    memcpy(longer + 100, a.items[0].tokens, 39 * sizeof *longer);
    cr_expect_eq(engine_cached(e, longer, 139), 139, "generated tokens are cached, too");
    engine_close(e);
    outcomes_free(&a);
    outcomes_free(&b);
}

/* ---- Invariance ---- */

static void solo(engine_model *m, const engine_options *options, const engine_request *r,
                 outcomes *o)
{
    engine *e = fixture_open(m, options);
    engine_request mine = *r;
    mine.user = o;
    submit(e, &mine);
    run_all(e);
    engine_close(e);
}

static void expect_same_all(const outcomes *a, const outcomes *b)
{
    for (uint32_t i = 0; i < a->capacity; i++) {
        expect_same(&a->items[i], &b->items[i]);
    }
}

Test(engine_scheduler, alone_in_a_batch_cached_cut_and_preempted_give_the_same_bits, .timeout = 120)
{
    fake_reset();
    engine_model m = fixture_model(true);
    uint32_t prefix[130];
    fill_tokens(prefix, 130, 5);
    outcomes alone = outcomes_new(3);
    engine_request r = request(prefix, 130, &alone);
    r.sampling =
        (engine_sampling){.temperature = 0.8f, .top_k = 50, .top_p = 0.95f, .min_p = 0.01f};
    solo(&m, NULL, &r, &alone);

    outcomes again = outcomes_new(3);
    engine *e = fixture_open(&m, NULL);
    outcomes others[16];
    for (uint32_t i = 0; i < 16; i++) { /* 15 others around it, the prefix shared in part */
        others[i] = outcomes_new(3);
        uint32_t p[130];
        memcpy(p, prefix, sizeof p);
        p[i * 8] ^= 1;
        engine_request q = i == 7 ? r : request(p, 130 - i, &others[i]);
        q.key = i == 7 ? r.key : i;
        q.user = i == 7 ? &again : &others[i];
        submit(e, &q);
    }
    run_all(e);
    cr_expect_gt(fake.largest_batch, 16);
    expect_same_all(&alone, &again);
    r.user = &again;
    submit(e, &r);
    run_all(e);
    expect_same_all(&alone, &again);
    engine_close(e);

    const engine_options cuts[] = {small_options(64, 7, 3),  small_options(64, 1, 1),
                                   small_options(64, 2, 1),  small_options(5, 64, 64),
                                   small_options(6, 200, 2), {.max_sequences = 1}};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        solo(&m, &cuts[i], &r, &again);
        expect_same_all(&alone, &again);
    }
    for (uint32_t i = 0; i < 16; i++) {
        outcomes_free(&others[i]);
    }
    engine_tokenizer_free(m.tokenizer);
    outcomes_free(&alone);
    outcomes_free(&again);
}

Test(engine_scheduler, younger_samples_make_room_and_lose_nothing)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options tight = small_options(12, 64, 16);
    uint32_t prefix[8][60];
    outcomes plain[8];
    outcomes pressed[8];
    engine *e = fixture_open(&m, &tight);
    for (uint32_t i = 0; i < 8; i++) {
        fill_tokens(prefix[i], 60, i);
        plain[i] = outcomes_new(2);
        pressed[i] = outcomes_new(2);
        engine_request r = request(prefix[i], 60, &plain[i]);
        r.max_tokens = 150;
        solo(&m, NULL, &r, &plain[i]);
        r.user = &pressed[i];
        submit(e, &r);
    }
    run_all(e);
    cr_expect_gt(stats(e).preemptions, 0);
    cr_expect_gt(stats(e).tokens_again, 0);
    cr_expect_leq(stats(e).pages_peak, 12);
    for (uint32_t i = 0; i < 8; i++) {
        expect_same_all(&plain[i], &pressed[i]);
        outcomes_free(&plain[i]);
        outcomes_free(&pressed[i]);
    }
    engine_close(e);
}

Test(engine_scheduler, more_samples_continue_the_series)
{
    fake_reset();
    engine_model m = fixture_model(false);
    uint32_t prefix[10];
    fill_tokens(prefix, 10, 1);
    outcomes eight = outcomes_new(8);
    outcomes rest = outcomes_new(5);
    engine_request r = request(prefix, 10, &eight);
    solo(&m, NULL, &r, &eight);
    r.first_sample = 3;
    r.samples = 5;
    rest.first = 3;
    solo(&m, NULL, &r, &rest);
    for (uint32_t i = 0; i < 5; i++) {
        expect_same(&eight.items[3 + i], &rest.items[i]);
    }
    outcomes_free(&eight);
    outcomes_free(&rest);
}

/* Random numbers belong to positions: a sample goes on from any of its tokens as it did the first time. */
Test(engine_scheduler, a_sample_resumed_at_any_token_goes_on_the_same_way)
{
    fake_reset();
    engine_model m = fixture_model(false);
    uint32_t prefix[90];
    fill_tokens(prefix, 50, 1);
    outcomes whole = outcomes_new(1);
    engine_request r = request(prefix, 50, &whole);
    solo(&m, NULL, &r, &whole);
    for (uint32_t k = 1; k < 40; k += 6) {
        outcomes rest = outcomes_new(1);
        memcpy(prefix + 50, whole.items[0].tokens, k * sizeof *prefix);
        engine_request q = request(prefix, 50 + k, &rest);
        q.max_tokens = 40 - k;
        solo(&m, NULL, &q, &rest);
        cr_assert_eq(rest.items[0].count, 40 - k);
        cr_assert_eq(memcmp(rest.items[0].tokens, whole.items[0].tokens + k, (40 - k) * 4), 0);
        cr_assert_eq(memcmp(rest.items[0].logprobs, whole.items[0].logprobs + k, (40 - k) * 4), 0);
        outcomes_free(&rest);
    }
    outcomes_free(&whole);
}

/* ---- Scoring ---- */

static void expect_scores(engine *e, const uint32_t *prefix, size_t n, const outcomes *sampled)
{
    outcomes scored = outcomes_new(sampled->capacity + 1);
    engine_span spans[8];
    for (uint32_t i = 0; i < sampled->capacity; i++) {
        spans[i] = (engine_span){sampled->items[i].tokens, sampled->items[i].count};
    }
    uint32_t one = 3;
    spans[sampled->capacity] = (engine_span){&one, 1};
    engine_score_request r = {.prefix = prefix,
                              .prefix_len = n,
                              .continuations = spans,
                              .count = sampled->capacity + 1,
                              .on_done = outcomes_on_done,
                              .user = &scored};
    pv_error err = {0};
    cr_assert_eq(engine_score(e, &r, NULL, &err), PV_OK, "%s", err.msg);
    run_all(e);
    for (uint32_t i = 0; i < sampled->capacity; i++) {
        const outcome *a = &sampled->items[i];
        const outcome *b = &scored.items[i];
        cr_assert_eq(b->finish, ENGINE_FINISH_SCORED);
        cr_assert_eq(a->count, b->count);
        cr_assert_eq(memcmp(a->tokens, b->tokens, a->count * 4), 0);
        cr_assert_eq(memcmp(a->logprobs, b->logprobs, a->count * 4), 0, "continuation %u", i);
    }
    cr_assert_eq(scored.items[sampled->capacity].count, 1);
    outcomes_free(&scored);
}

Test(engine_scheduler, scores_are_the_log_probabilities_of_sampling)
{
    fake_reset();
    engine_model m = fixture_model(false);
    uint32_t prefix[70];
    fill_tokens(prefix, 70, 3);
    outcomes o = outcomes_new(4);
    engine_request r = request(prefix, 70, &o);
    solo(&m, NULL, &r, &o);
    const engine_options options[] = {
        {.max_sequences = 0}, small_options(40, 9, 2), small_options(4, 64, 64)};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        engine *e = fixture_open(&m, &options[i]);
        expect_scores(e, prefix, 70, &o);
        expect_scores(e, prefix, 70, &o);
        engine_close(e);
    }
    outcomes_free(&o);
}

/* ---- Ends ---- */

Test(engine_scheduler, the_end_token_ends_a_sample)
{
    fake_reset();
    fake.eos_every = 50;
    fake.eos_id = FIXTURE_EOS;
    engine_model m = fixture_model(true);
    uint32_t prefix[30];
    fill_tokens(prefix, 30, 3);
    outcomes o = outcomes_new(1);
    engine_request r = request(prefix, 30, &o);
    r.ignore_eos = false;
    solo(&m, NULL, &r, &o);
    cr_expect_eq(o.items[0].finish, ENGINE_FINISH_EOS);
    cr_expect_eq(o.items[0].count, 21);
    cr_expect_eq(o.items[0].tokens[20], FIXTURE_EOS);
    r.ignore_eos = true;
    solo(&m, NULL, &r, &o);
    cr_expect_eq(o.items[0].finish, ENGINE_FINISH_LENGTH);
    cr_expect_eq(o.items[0].count, 40);
    r.max_tokens = 0;
    r.prefix_len = 1;
    fake.eos_every = 0;
    m.config.max_positions = 200;
    solo(&m, NULL, &r, &o);
    cr_expect_eq(o.items[0].count, 199, "up to the context");
    engine_tokenizer_free(m.tokenizer);
    outcomes_free(&o);
}

static long find(const char *text, size_t n, const char *what, size_t len)
{
    for (size_t i = 0; i + len <= n; i++) {
        if (memcmp(text + i, what, len) == 0) {
            return (long)i;
        }
    }
    return -1;
}

Test(engine_scheduler, stop_strings_end_the_text_wherever_tokens_do)
{
    fake_reset();
    engine_model m = fixture_model(true);
    uint32_t prefix[30];
    fill_tokens(prefix, 30, 3);
    outcomes whole = outcomes_new(1);
    engine_request r = request(prefix, 30, &whole);
    solo(&m, NULL, &r, &whole);
    const outcome *w = &whole.items[0];
    cr_assert_gt(w->text_len, 60);
    for (size_t at = 3; at + 6 < w->text_len; at += 5) {
        outcomes o = outcomes_new(1);
        engine_text stops[2] = {{w->text + at, 4}, {"no such text", 12}};
        engine_request q = r;
        q.stops = stops;
        q.stop_count = 2;
        q.on_token = outcomes_on_token;
        solo(&m, NULL, &q, &o);
        const outcome *x = &o.items[0];
        cr_assert_eq(x->finish, ENGINE_FINISH_STOP);
        cr_assert_eq(x->text_len, find(w->text, w->text_len, stops[0].bytes, 4));
        cr_assert_eq(memcmp(x->text, w->text, x->text_len), 0);
        cr_assert_eq(memcmp(x->tokens, w->tokens, x->count * 4), 0, "tokens are kept");
        cr_assert_eq(x->streamed, x->count);
        cr_assert(x->stream_len == x->text_len && memcmp(x->stream, x->text, x->text_len) == 0);
        outcomes_free(&o);
    }
    engine_tokenizer_free(m.tokenizer);
    outcomes_free(&whole);
}

/* ---- Cancellation ---- */

Test(engine_scheduler, what_is_cancelled_is_in_no_further_batch)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 3);
    outcomes o = outcomes_new(3);
    engine_request r = request(prefix, 20, &o);
    uint64_t id = submit(e, &r);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    }
    cr_expect(engine_cancel(e, id, 1));
    cr_expect_not(engine_cancel(e, id, 1));
    cr_expect_not(engine_cancel(e, id + 1, ENGINE_ALL_SAMPLES));
    uint64_t rows = stats(e).rows;
    cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    cr_expect_eq(stats(e).rows - rows, 2);
    cr_expect_eq(o.items[1].finish, ENGINE_FINISH_CANCELLED);
    cr_expect_eq(o.items[1].done, 1);
    cr_expect_eq(o.items[1].count, 5);
    cr_expect(engine_cancel(e, id, ENGINE_ALL_SAMPLES));
    rows = stats(e).rows;
    bool busy = true;
    cr_assert_eq(engine_step(e, &busy, NULL), PV_OK);
    cr_expect_eq(stats(e).rows, rows);
    cr_expect_not(busy);
    cr_expect_eq(o.done, 3);
    cr_expect_eq(stats(e).pages_locked, 0);
    cr_expect_not(engine_cancel(e, id, ENGINE_ALL_SAMPLES));
    engine_close(e);
    outcomes_free(&o);
}

Test(engine_scheduler, a_prefix_whose_first_asker_left_is_computed_for_the_next)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options options = small_options(64, 16, 4);
    uint32_t prefix[100];
    fill_tokens(prefix, 100, 3);
    outcomes a = outcomes_new(1);
    outcomes b = outcomes_new(1);
    outcomes want = outcomes_new(1);
    engine_request r = request(prefix, 100, &want);
    solo(&m, NULL, &r, &want);
    engine *e = fixture_open(&m, &options);
    r.user = &a;
    uint64_t id = submit(e, &r);
    r.user = &b;
    submit(e, &r);
    cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    cr_expect(engine_cancel(e, id, ENGINE_ALL_SAMPLES));
    run_all(e);
    cr_expect_eq(a.items[0].finish, ENGINE_FINISH_CANCELLED);
    expect_same(&b.items[0], &want.items[0]);
    cr_expect_eq(stats(e).tokens_computed, 100 + 39);
    engine_close(e);
    outcomes_free(&a);
    outcomes_free(&b);
    outcomes_free(&want);
}

Test(engine_scheduler, close_reports_what_had_not_ended)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 3);
    outcomes a = outcomes_new(2);
    outcomes b = outcomes_new(2);
    engine_request r = request(prefix, 20, &a);
    submit(e, &r);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    }
    r.user = &b;
    submit(e, &r);
    engine_close(e);
    cr_expect_eq(a.items[1].finish, ENGINE_FINISH_CANCELLED);
    cr_expect_eq(a.items[1].count, 3);
    cr_expect(a.done == 2 && b.done == 2);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&a);
    outcomes_free(&b);
}

/* ---- Callbacks that call back ---- */

typedef struct chain {
    engine *e;
    uint32_t left;
    uint32_t done;
    pv_status nested;
    engine_pinned *pin;
    uint64_t id;
} chain;

static void chain_submit(chain *c, const uint32_t *prefix, size_t n);

static void chain_done(void *user, const engine_result *r)
{
    chain *c = user;
    c->done++;
    c->nested = engine_step(c->e, NULL, NULL);
    engine_unpin(c->e, c->pin);
    c->pin = NULL;
    cr_assert_eq(engine_pin(c->e, r->tokens, r->token_count, &c->pin, NULL), PV_OK);
    if (c->left > 0) {
        c->left--;
        chain_submit(c, r->tokens, r->token_count);
    }
}

static void chain_token(void *user, const engine_token *t)
{
    chain *c = user;
    if (t->index == 7 && c->left % 2 == 0) {
        cr_assert(engine_cancel(c->e, t->id, t->sample));
    }
    engine_forget(c->e, &t->token, 1);
}

static void chain_submit(chain *c, const uint32_t *prefix, size_t n)
{
    engine_request r = {.prefix = prefix,
                        .prefix_len = n,
                        .max_tokens = 20,
                        .key = c->left,
                        .sampling = {.temperature = 1},
                        .ignore_eos = true,
                        .on_done = chain_done,
                        .on_token = chain_token,
                        .user = c};
    c->id = submit(c->e, &r);
}

Test(engine_scheduler, callbacks_may_submit_cancel_pin_and_forget_but_not_step)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    chain c = {.e = fixture_open(&m, NULL), .left = 12};
    uint32_t first[3] = {1, 2, 3};
    chain_submit(&c, first, 3);
    run_all(c.e);
    cr_expect_eq(c.done, 13);
    cr_expect_eq(c.nested, PV_E_MISUSE);
    cr_expect_eq(stats(c.e).pinned, 1);
    engine_unpin(c.e, c.pin);
    engine_close(c.e);
    cr_expect_eq(pv_mem_live(), live);
}

/* ---- Refusals and failures ---- */

static void expect_refused(engine *e, const engine_request *r, pv_status want, const char *part)
{
    pv_error err = {0};
    cr_expect_eq(engine_submit(e, r, NULL, &err), want, "%s", err.msg);
    cr_expect_not_null(strstr(err.msg, part), "'%s' is not in '%s'", part, err.msg);
}

Test(engine_scheduler, refuses_what_cannot_be)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options options = small_options(4, 64, 64);
    engine *e = fixture_open(&m, &options);
    static uint32_t prefix[5000];
    outcomes o = outcomes_new(1);
    engine_request good = request(prefix, 10, &o);
    engine_request r = good;
    r.prefix_len = 0;
    expect_refused(e, &r, PV_E_INVALID, "no tokens");
    r = good;
    r.prefix_len = 5000;
    expect_refused(e, &r, PV_E_LIMIT, "4096");
    r = good;
    r.max_tokens = 4090;
    expect_refused(e, &r, PV_E_LIMIT, "context");
    r = good;
    r.max_tokens = 300;
    expect_refused(e, &r, PV_E_LIMIT, "there are 4");
    r = good;
    r.sampling.top_p = 2;
    expect_refused(e, &r, PV_E_INVALID, "top_p");
    r = good;
    engine_text stop = {"x", 1};
    r.stops = &stop;
    r.stop_count = 1;
    expect_refused(e, &r, PV_E_INVALID, "tokenizer");
    r = good;
    r.on_done = NULL;
    expect_refused(e, &r, PV_E_INVALID, "on_done");
    prefix[4] = FIXTURE_VOCAB;
    expect_refused(e, &good, PV_E_INVALID, "token 4");
    prefix[4] = 0;
    r = good;
    r.max_tokens = 0;
    submit(e, &r);
    run_all(e);
    cr_expect_eq(o.items[0].count, 3 * 64 - 10 + 1, "as many as the pages allow");
    engine_close(e);
    outcomes_free(&o);
}

Test(engine_scheduler, pins_that_leave_no_room_are_named)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options options = small_options(4, 64, 64);
    engine *e = fixture_open(&m, &options);
    uint32_t a[150];
    uint32_t b[100];
    fill_tokens(a, 150, 1);
    fill_tokens(b, 100, 2);
    engine_pinned *pin = NULL;
    cr_assert_eq(engine_pin(e, a, 150, &pin, NULL), PV_OK);
    outcomes o = outcomes_new(1);
    outcomes p = outcomes_new(1);
    engine_request r = request(a, 150, &o);
    submit(e, &r);
    run_all(e);
    cr_expect_eq(o.items[0].finish, ENGINE_FINISH_LENGTH);
    r = request(b, 100, &p);
    submit(e, &r);
    run_all(e);
    cr_expect_eq(p.items[0].finish, ENGINE_FINISH_FAILED);
    cr_expect_not_null(strstr(p.items[0].error.msg, "4 of 4 pages"), "%s", p.items[0].error.msg);
    cr_expect_eq(engine_cached(e, a, 150), 150);
    engine_unpin(e, pin);
    submit(e, &r);
    run_all(e);
    cr_expect_eq(p.items[0].finish, ENGINE_FINISH_LENGTH);
    engine_close(e);
    outcomes_free(&o);
    outcomes_free(&p);
}

static void expect_death(int64_t forward_at, int64_t copy_at)
{
    fake_reset();
    fake.fail_at = forward_at;
    fake.fail_copy_at = copy_at;
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 3);
    outcomes o = outcomes_new(3);
    engine_request r = request(prefix, 20, &o);
    submit(e, &r);
    pv_status status = PV_OK;
    bool busy = true;
    for (int i = 0; i < 100 && status == PV_OK; i++) {
        status = engine_step(e, &busy, NULL);
    }
    cr_expect_eq(status, PV_E_DEVICE);
    cr_expect_not(busy);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(o.items[i].finish, ENGINE_FINISH_FAILED);
        cr_expect_eq(o.items[i].error.status, PV_E_DEVICE);
        cr_expect_not_null(strstr(o.items[i].error.msg, "fake device"));
    }
    expect_refused(e, &r, PV_E_DEVICE, "died");
    cr_expect_eq(engine_step(e, &busy, NULL), PV_OK);
    cr_expect_eq(stats(e).pages_locked, 0);
    engine_close(e);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&o);
}

Test(engine_scheduler, a_dead_device_fails_its_requests_and_not_the_process)
{
    expect_death(0, -1);
    expect_death(6, -1);
    expect_death(-1, 0);
    expect_death(-1, 1);
}

Test(engine_scheduler, damaged_logits_fail_one_request)
{
    fake_reset();
    fake.nan_token = 300;
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 3);
    outcomes a = outcomes_new(1);
    outcomes b = outcomes_new(2);
    engine_request r = request(prefix, 20, &a);
    submit(e, &r);
    prefix[19] = 300;
    r = request(prefix, 20, &b);
    submit(e, &r);
    run_all(e);
    cr_expect_eq(a.items[0].finish, ENGINE_FINISH_LENGTH);
    cr_expect_eq(b.items[1].finish, ENGINE_FINISH_FAILED);
    cr_expect_not_null(strstr(b.items[1].error.msg, "position 19"), "%s", b.items[1].error.msg);
    engine_close(e);
    outcomes_free(&a);
    outcomes_free(&b);
}

/* ---- Fairness ---- */

Test(engine_scheduler, decoding_goes_on_while_a_long_prompt_comes_in)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options options = small_options(128, 32, 8);
    engine *e = fixture_open(&m, &options);
    static uint32_t prefix[3000];
    fill_tokens(prefix, 3000, 3);
    outcomes a = outcomes_new(4);
    outcomes b = outcomes_new(1);
    engine_request r = request(prefix, 10, &a);
    submit(e, &r);
    cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    r = request(prefix, 1500, &b);
    r.max_tokens = 1;
    submit(e, &r);
    for (uint32_t i = 2; i <= 40; i++) {
        cr_assert_eq(a.done, 0);
        cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    }
    cr_expect_eq(a.done, 4, "one token a step");
    cr_expect_eq(stats(e).tokens_computed, 10 + 4 * 39 + 39 * 28, "and the rest is the prompt's");
    run_all(e);
    cr_expect_eq(b.done, 1);
    engine_close(e);
    outcomes_free(&a);
    outcomes_free(&b);
}

Test(engine_scheduler, samples_beyond_the_batch_take_turns)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options options = small_options(128, 8, 4);
    options.max_sequences = 12;
    engine *e = fixture_open(&m, &options);
    uint32_t prefix[8];
    fill_tokens(prefix, 8, 3);
    outcomes o = outcomes_new(12);
    engine_request r = request(prefix, 8, &o);
    submit(e, &r);
    for (int i = 0; i < 1 + 3 * 38; i++) {
        cr_assert_eq(o.done, 0);
        cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    }
    run_all(e);
    cr_expect_eq(stats(e).steps, 1 + 3 * 39, "%lu steps", (unsigned long)stats(e).steps);
    cr_expect_eq(o.done, 12);
    engine_close(e);
    outcomes_free(&o);
}

/* ---- Memory ---- */

static pv_status first_failure(const outcomes *o)
{
    for (uint32_t i = 0; i < o->capacity; i++) {
        if (o->items[i].finish == ENGINE_FINISH_FAILED) {
            return o->items[i].error.status;
        }
    }
    return PV_OK;
}

static pv_status attempt(void *user, pv_error *err)
{
    engine_model *m = user;
    m->weights.config = &m->config;
    engine_options options = small_options(6, 64, 16);
    engine *e = NULL;
    pv_status status = engine_open(&e, m, &fake_backend, &options, err);
    if (status != PV_OK) {
        return status;
    }
    outcomes o = outcomes_new(3);
    uint32_t prefix[70];
    fill_tokens(prefix, 70, 3);
    engine_text stop = {"qqqqqq", 6};
    engine_request r = request(prefix, 70, &o);
    r.stops = &stop;
    r.stop_count = 1;
    status = engine_submit(e, &r, NULL, err);
    if (status == PV_OK) {
        prefix[66] ^= 1;
        engine_span span = {prefix, 20};
        engine_score_request s = {.prefix = prefix,
                                  .prefix_len = 70,
                                  .continuations = &span,
                                  .count = 1,
                                  .on_done = outcomes_on_done,
                                  .user = &o};
        status = engine_score(e, &s, NULL, err);
    }
    engine_pinned *pin = NULL;
    if (status == PV_OK) {
        status = engine_pin(e, prefix, 5, &pin, err);
    }
    for (bool busy = status == PV_OK; busy && status == PV_OK;) {
        status = engine_step(e, &busy, err);
    }
    status = status == PV_OK ? first_failure(&o) : status;
    engine_unpin(e, pin);
    engine_close(e);
    outcomes_free(&o);
    return status;
}

Test(engine_scheduler, every_allocation_may_fail, .timeout = 120)
{
    fake_reset();
    engine_model m = fixture_model(true);
    fixture_chaos(attempt, &m);
    cr_expect_eq(fake.broken, 0, "%s", fake.rule);
    engine_tokenizer_free(m.tokenizer);
}
