/* The engine on the fake backend: what comes out, and that nothing but the request decides it. */
#include "fixture_engine.h"

#include "pv_hash.h"

/* ---- What comes out ---- */

TEST_AHEAD(engine_scheduler, samples_have_their_length_and_differ, .timeout = 60)
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

TEST_AHEAD(engine_scheduler, a_thousand_branches_compute_the_prefix_once, .timeout = 60)
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
    cr_expect_eq(stats(e).rows, 1001, "max_rows draws from a row; for the rest it runs again");
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

TEST_AHEAD(engine_scheduler, a_cached_prefix_runs_one_row_again, .timeout = 60)
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

static void expect_same_all(const outcomes *a, const outcomes *b)
{
    for (uint32_t i = 0; i < a->capacity; i++) {
        expect_same(&a->items[i], &b->items[i]);
    }
}

TEST_AHEAD(engine_scheduler, alone_in_a_batch_cached_cut_and_preempted_give_the_same_bits,
           .timeout = 120)
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

TEST_AHEAD(engine_scheduler, younger_samples_make_room_and_lose_nothing, .timeout = 60)
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

TEST_AHEAD(engine_scheduler, more_samples_continue_the_series, .timeout = 60)
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
TEST_AHEAD(engine_scheduler, a_sample_resumed_at_any_token_goes_on_the_same_way, .timeout = 60)
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

TEST_AHEAD(engine_scheduler, scores_are_the_log_probabilities_of_sampling, .timeout = 60)
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

TEST_AHEAD(engine_scheduler, the_end_token_ends_a_sample, .timeout = 60)
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

TEST_AHEAD(engine_scheduler, stop_strings_end_the_text_wherever_tokens_do, .timeout = 60)
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

TEST_AHEAD(engine_scheduler, what_is_cancelled_is_in_no_further_batch, .timeout = 60)
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
    cr_expect_eq(o.items[1].count, 5 - fixture_lag(), "what was under way is dropped");
    cr_expect(engine_cancel(e, id, ENGINE_ALL_SAMPLES));
    rows = stats(e).rows;
    bool busy = true;
    cr_assert_eq(engine_step(e, &busy, NULL), PV_OK);
    cr_expect_eq(o.done, 3);
    run_all(e); /* steps under way come back, to nobody */
    cr_assert_eq(engine_step(e, &busy, NULL), PV_OK);
    cr_expect_eq(stats(e).rows, rows);
    cr_expect_not(busy);
    cr_expect_eq(stats(e).tokens_surplus, 3 * fixture_lag());
    cr_expect_eq(stats(e).rows, stats(e).tokens_computed + stats(e).tokens_surplus);
    cr_expect_eq(fake.under_way, 0);
    cr_expect_eq(stats(e).pages_locked, 0);
    cr_expect_not(engine_cancel(e, id, ENGINE_ALL_SAMPLES));
    engine_close(e);
    outcomes_free(&o);
}

TEST_AHEAD(engine_scheduler, a_prefix_whose_first_asker_left_is_computed_for_the_next,
           .timeout = 60)
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

TEST_AHEAD(engine_scheduler, close_reports_what_had_not_ended, .timeout = 60)
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
    cr_expect_eq(a.items[1].count, 3 - fixture_lag());
    cr_expect(a.done == 2 && b.done == 2);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&a);
    outcomes_free(&b);
}
