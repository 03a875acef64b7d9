/* Samples without repetition, through the engine: what comes out, and that nothing but the request decides it. Frequencies are
 * test_engine_series.c's matter, but for one check that the engine asks for what it should. */
#include "fixture_engine.h"

#include "engine_thread.h"

#include <math.h>
#include <sched.h>

static engine_request distinct(const uint32_t *prefix, size_t n, outcomes *o)
{
    engine_request r = request(prefix, n, o);
    r.distinct = true;
    r.max_tokens = 12;
    return r;
}

static bool same_tokens(const outcome *a, const outcome *b)
{
    return a->count == b->count && memcmp(a->tokens, b->tokens, a->count * sizeof *a->tokens) == 0;
}

static void expect_all_differ(const outcomes *o)
{
    for (uint32_t i = 0; i < o->capacity; i++) {
        for (uint32_t k = 0; k < i; k++) {
            cr_assert_not(o->items[i].count > 0 && same_tokens(&o->items[i], &o->items[k]),
                          "samples %u and %u are the same", k, i);
        }
    }
}

static void expect_all_same(const outcomes *a, const outcomes *b)
{
    for (uint32_t i = 0; i < a->capacity; i++) {
        expect_same(&a->items[i], &b->items[i]);
    }
}

/* What engine_score() says of a sample's tokens. */
static void expect_scored(engine *e, const uint32_t *prefix, size_t n, const outcome *x)
{
    outcomes o = outcomes_new(1);
    engine_span span = {x->tokens, x->count};
    engine_score_request r = {.prefix = prefix,
                              .prefix_len = n,
                              .continuations = &span,
                              .count = 1,
                              .on_done = outcomes_on_done,
                              .user = &o};
    cr_assert_eq(engine_score(e, &r, NULL, NULL), PV_OK);
    run_all(e);
    cr_assert_eq(o.items[0].finish, ENGINE_FINISH_SCORED);
    cr_assert_eq(memcmp(o.items[0].logprobs, x->logprobs, x->count * sizeof *x->logprobs), 0);
    outcomes_free(&o);
}

TEST_AHEAD(engine_distinct, no_two_are_the_same_and_their_log_probabilities_are_the_models,
           .timeout = 60)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[100];
    fill_tokens(prefix, 100, 1);
    outcomes o = outcomes_new(16);
    engine_request r = distinct(prefix, 100, &o);
    r.sampling = (engine_sampling){.temperature = 0.3F, .top_k = 4};
    submit(e, &r);
    run_all(e);
    engine_stats s = stats(e);
    cr_expect_eq(s.rows_distinct, s.rows - 99, "the prompt's last row, and one for each prefix");
    cr_expect_eq(s.tokens_computed, s.rows - s.tokens_again);
    cr_expect_leq(s.tokens_sampled, 16 * 12);
    cr_expect_eq(s.pages_locked, 0);
    cr_expect_eq(s.waiting + s.active + s.running, 0);
    expect_all_differ(&o);
    for (uint32_t i = 0; i < 16; i++) {
        cr_expect_eq(o.items[i].done, 1);
        cr_expect_eq(o.items[i].sample, i);
        cr_expect_eq(o.items[i].finish, ENGINE_FINISH_LENGTH);
        cr_expect_eq(o.items[i].count, 12);
        expect_scored(e, prefix, 100, &o.items[i]);
    }
    engine_close(e);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&o);
}

/* Of two tokens and two tokens there are four sequences. Their q follows from the log-probabilities, which top-k leaves as they
 * are. The ordered first two of 3,000 requests: 12 cells; the 0.999 quantile of chi-square with 11 degrees of freedom is 31.3. */
TEST_AHEAD(engine_distinct, two_of_four_come_as_often_as_they_should, .timeout = 120)
{
    enum { REQUESTS = 3000 };

    fake_reset();
    fake.sharpness = 400;
    engine_model m = fixture_model(false);
    engine_options options = small_options(64, 64, 32);
    engine *e = fixture_open(&m, &options);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 2);
    outcomes all = outcomes_new(4);
    engine_request r = distinct(prefix, 20, &all);
    r.sampling = (engine_sampling){.temperature = 1, .top_k = 2};
    r.max_tokens = 2;
    submit(e, &r);
    run_all(e);
    expect_all_differ(&all);
    double q[4], sum = 0;
    for (int i = 0; i < 4; i++) {
        const outcome *x = &all.items[i];
        double first = 0, second = 0;
        for (int k = 0; k < 4; k++) { /* each first token has two sequences */
            const outcome *y = &all.items[k];
            first += 0.5 * exp((double)y->logprobs[0]);
            second += y->tokens[0] == x->tokens[0] ? exp((double)y->logprobs[1]) : 0;
        }
        q[i] = exp((double)x->logprobs[0]) / first * exp((double)x->logprobs[1]) / second;
        sum += q[i];
    }
    cr_assert_float_eq(sum, 1, 1e-6);
    uint32_t seen[4][4] = {{0}};
    for (uint32_t t = 0; t < REQUESTS; t++) {
        outcomes o = outcomes_new(2);
        r.samples = 2;
        r.key = 1000 + t;
        r.user = &o;
        submit(e, &r);
        run_all(e);
        uint32_t name[2] = {4, 4};
        for (uint32_t k = 0; k < 8; k++) {
            name[k / 4] = same_tokens(&o.items[k / 4], &all.items[k % 4]) ? k % 4 : name[k / 4];
        }
        cr_assert(name[0] < 4 && name[1] < 4);
        seen[name[0]][name[1]]++;
        outcomes_free(&o);
    }
    double chi = 0;
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(seen[i][i], 0);
        for (int k = 0; k < 4; k++) {
            double expected = i == k ? 0 : REQUESTS * q[i] * q[k] / (1 - q[i]);
            double off = seen[i][k] - expected;
            chi += i == k ? 0 : off * off / expected;
        }
    }
    cr_expect_lt(chi, 31.3, "chi-square is %.1f", chi);
    engine_close(e);
    outcomes_free(&all);
}

TEST_AHEAD(engine_distinct, when_there_are_no_more_the_rest_is_exhausted, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 3);
    for (uint32_t greedy = 0; greedy < 2; greedy++) {
        engine *e = fixture_open(&m, NULL);
        outcomes o = outcomes_new(12);
        engine_request r = distinct(prefix, 20, &o);
        r.sampling = (engine_sampling){.temperature = greedy ? 0 : 1, .top_k = 2};
        r.max_tokens = 3;
        r.series_samples = 24;
        for (uint32_t ask = 0; ask < 2; ask++) { /* the second one finds the series */
            submit(e, &r);
            run_all(e);
            uint32_t there = ask > 0 ? 0 : greedy ? 1 : 8;
            for (uint32_t i = 0; i < 12; i++) {
                const outcome *x = &o.items[i];
                cr_expect_eq(x->done, ask + 1);
                cr_expect_eq(x->finish, i < there ? ENGINE_FINISH_LENGTH : ENGINE_FINISH_EXHAUSTED);
                cr_expect_eq(x->count, i < there ? 3 : 0);
                cr_expect_str_eq(x->text, "");
            }
            expect_all_differ(&o);
            r.first_sample = o.first = 12;
        }
        cr_expect_eq(stats(e).rows_distinct, greedy ? 3 : 7, "1 + 2 + 4 prefixes");
        engine_close(e);
        outcomes_free(&o);
    }
}

/* The second of two asks gives the samples that one ask for all would have given there, whether the engine still knows the series
 * or begins again. */
TEST_AHEAD(engine_distinct, a_series_goes_on_where_it_ended, .timeout = 60)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    uint32_t prefix[70];
    fill_tokens(prefix, 70, 4);
    outcomes whole = outcomes_new(30);
    engine_request r = distinct(prefix, 70, &whole);
    solo(&m, NULL, &r, &whole);
    uint64_t rows[2] = {0};
    for (uint32_t forgets = 0; forgets < 2; forgets++) {
        engine *e = fixture_open(&m, NULL);
        for (uint32_t ask = 0; ask < 5; ask++) {
            outcomes part = outcomes_new(6);
            part.first = ask * 6;
            engine_request q = r;
            q.samples = 6;
            q.first_sample = ask * 6;
            q.series_samples = forgets ? 0 : 30;
            q.user = &part;
            submit(e, &q);
            run_all(e);
            for (uint32_t i = 0; i < 6; i++) {
                expect_same(&part.items[i], &whole.items[ask * 6 + i]);
            }
            outcomes_free(&part);
        }
        rows[forgets] = stats(e).rows_distinct;
        engine_close(e);
    }
    cr_expect_lt(rows[0] * 2, rows[1], "%lu rows, and %lu when each ask begins again",
                 (unsigned long)rows[0], (unsigned long)rows[1]);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&whole);
}

/* Another seed, key, prefix, temperature, length or stop is another series. */
TEST_AHEAD(engine_distinct, a_kept_series_serves_its_own_requests_only, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(true);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20], other[20];
    fill_tokens(prefix, 20, 5);
    fill_tokens(other, 20, 6);
    engine_text stops[2] = {{"ab", 2}, {"ac", 2}};
    outcomes o = outcomes_new(3);
    engine_request r = distinct(prefix, 20, &o);
    r.series_samples = 6;
    r.stops = stops;
    r.stop_count = 1;
    for (uint32_t i = 0; i < 8; i++) {
        submit(e, &r);
        run_all(e);
        engine_request q = r;
        outcomes got = outcomes_new(3), want = outcomes_new(3);
        got.first = want.first = 3;
        q.first_sample = 3;
        q.seed += i == 1;
        q.key += i == 2;
        q.prefix = i == 3 ? other : prefix;
        q.sampling.temperature *= i == 4 ? 2 : 1;
        q.max_tokens += i == 5;
        q.stops = i == 6 ? stops + 1 : stops;
        q.ignore_eos ^= i == 7;
        q.user = &got;
        submit(e, &q);
        run_all(e);
        solo(&m, NULL, &q, &want);
        expect_all_same(&got, &want);
        outcomes_free(&got);
        outcomes_free(&want);
    }
    engine_close(e);
    engine_tokenizer_free(m.tokenizer);
    outcomes_free(&o);
}

/* Beside others, with few rows, few logits and few pages. */
TEST_AHEAD(engine_distinct, the_batch_does_not_matter, .timeout = 120)
{
    fake_reset();
    engine_model m = fixture_model(false);
    static const uint32_t shapes[][3] = {{64, 64, 16}, {64, 3, 2}, {6, 64, 16}, {7, 5, 1}};
    uint32_t prefix[90];
    fill_tokens(prefix, 90, 7);
    outcomes want = outcomes_new(8), alone = outcomes_new(4);
    engine_request r = distinct(prefix, 90, &want);
    solo(&m, NULL, &r, &want);
    engine_request plain = request(prefix, 60, &alone);
    solo(&m, NULL, &plain, &alone);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        engine_options options = small_options(shapes[i][0], shapes[i][1], shapes[i][2]);
        engine *e = fixture_open(&m, &options);
        outcomes got = outcomes_new(8), again = outcomes_new(8), beside = outcomes_new(4);
        r.user = &got;
        submit(e, &r);
        plain.user = &beside;
        submit(e, &plain);
        for (int k = 0; k < 3; k++) {
            cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
        }
        r.user = &again;
        submit(e, &r);
        run_all(e);
        expect_all_same(&got, &want);
        expect_all_same(&again, &want);
        expect_all_same(&beside, &alone);
        cr_expect_eq(stats(e).pages_locked, 0);
        engine_close(e);
        outcomes_free(&got);
        outcomes_free(&again);
        outcomes_free(&beside);
    }
    outcomes_free(&want);
    outcomes_free(&alone);
}

TEST_AHEAD(engine_distinct, stop_strings_and_end_tokens_end_them, .timeout = 60)
{
    fake_reset();
    fake.eos_every = 27; /* positions 26, 53, ..: after at most six tokens */
    fake.eos_id = FIXTURE_EOS;
    engine_model m = fixture_model(true);
    uint32_t prefix[21];
    fill_tokens(prefix, 21, 8);
    engine_text stop = {"e", 1};
    outcomes o = outcomes_new(40);
    engine_request r = distinct(prefix, 21, &o);
    r.ignore_eos = false;
    r.stops = &stop;
    r.stop_count = 1;
    r.sampling = (engine_sampling){.temperature = 1};
    solo(&m, NULL, &r, &o);
    expect_all_differ(&o);
    uint32_t ends[ENGINE_FINISH_EXHAUSTED + 1] = {0};
    for (uint32_t i = 0; i < 40; i++) {
        const outcome *x = &o.items[i];
        ends[x->finish]++;
        cr_assert_null(memchr(x->text, 'e', x->text_len));
        cr_assert_leq(x->count, 7);
        cr_assert(x->finish != ENGINE_FINISH_EOS || x->tokens[x->count - 1] == FIXTURE_EOS);
    }
    cr_expect_gt(ends[ENGINE_FINISH_STOP], 0);
    cr_expect_gt(ends[ENGINE_FINISH_EOS], 0);
    cr_expect_eq(ends[ENGINE_FINISH_STOP] + ends[ENGINE_FINISH_EOS], 40);
    outcomes_free(&o);
    engine_tokenizer_free(m.tokenizer);
}

TEST_AHEAD(engine_distinct, seeds_and_keys_give_other_samples, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 9);
    outcomes o[3];
    for (uint32_t i = 0; i < 3; i++) {
        o[i] = outcomes_new(4);
        engine_request r = distinct(prefix, 20, &o[i]);
        r.seed += i == 1;
        r.key += i == 2;
        solo(&m, NULL, &r, &o[i]);
    }
    cr_expect_not(same_tokens(&o[0].items[0], &o[1].items[0]));
    cr_expect_not(same_tokens(&o[0].items[0], &o[2].items[0]));
    for (uint32_t i = 0; i < 3; i++) {
        outcomes_free(&o[i]);
    }
}

TEST_AHEAD(engine_distinct, cancelled_ones_end_and_the_others_stay_what_they_are, .timeout = 60)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 10);
    outcomes want = outcomes_new(6);
    engine_request r = distinct(prefix, 20, &want);
    solo(&m, NULL, &r, &want);
    for (uint32_t steps = 0; steps < 14; steps++) {
        engine *e = fixture_open(&m, NULL);
        outcomes some = outcomes_new(6), all = outcomes_new(6);
        r.user = &some;
        uint64_t id = submit(e, &r);
        r.user = &all;
        r.key = 8;
        uint64_t other = submit(e, &r);
        r.key = 7;
        for (uint32_t k = 0; k < steps; k++) {
            cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
        }
        bool second = engine_cancel(e, id, 1);
        bool last = engine_cancel(e, id, 5);
        cr_expect_eq(engine_cancel(e, other, ENGINE_ALL_SAMPLES), all.done < 6);
        cr_expect_not(engine_cancel(e, other, ENGINE_ALL_SAMPLES));
        run_all(e);
        for (uint32_t i = 0; i < 6; i++) {
            bool cancelled = (i == 1 && second) || (i == 5 && last);
            cr_expect_eq(all.items[i].done, 1);
            cr_expect_eq(some.items[i].done, 1);
            cr_expect_eq(some.items[i].finish == ENGINE_FINISH_CANCELLED, cancelled);
            if (!cancelled) {
                expect_same(&some.items[i], &want.items[i]);
            }
        }
        cr_expect_eq(stats(e).pages_locked, 0);
        cr_expect_eq(stats(e).waiting + stats(e).active, 0);
        engine_close(e);
        outcomes_free(&some);
        outcomes_free(&all);
    }
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&want);
}

TEST_AHEAD(engine_distinct, an_engine_that_closes_cancels_them, .timeout = 60)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 11);
    for (uint32_t steps = 0; steps < 6; steps++) {
        engine *e = fixture_open(&m, NULL);
        outcomes o = outcomes_new(4);
        engine_request r = distinct(prefix, 20, &o);
        submit(e, &r);
        for (uint32_t k = 0; k < steps; k++) {
            cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
        }
        engine_close(e);
        for (uint32_t i = 0; i < 4; i++) {
            cr_expect_eq(o.items[i].done, 1);
            cr_expect_eq(o.items[i].finish, ENGINE_FINISH_CANCELLED);
        }
        outcomes_free(&o);
        cr_assert_eq(pv_mem_live(), live);
    }
}

TEST_AHEAD(engine_distinct, a_row_that_holds_nan_fails_its_request_only, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 3);
    outcomes a = outcomes_new(3), b = outcomes_new(3);
    engine_request r = distinct(prefix, 20, &a);
    submit(e, &r);
    fake.nan_token = 300;
    prefix[19] = 300;
    r = distinct(prefix, 20, &b);
    submit(e, &r);
    run_all(e);
    for (uint32_t i = 0; i < 3; i++) {
        cr_expect_eq(a.items[i].finish, ENGINE_FINISH_LENGTH);
        cr_expect_eq(b.items[i].finish, ENGINE_FINISH_FAILED);
        cr_expect_not_null(strstr(b.items[i].error.msg, "position 19"), "%s", b.items[i].error.msg);
    }
    cr_expect_eq(stats(e).pages_locked, 0);
    engine_close(e);
    outcomes_free(&a);
    outcomes_free(&b);
}

TEST_AHEAD(engine_distinct, a_device_that_dies_fails_them_all, .timeout = 60)
{
    for (int64_t at = 0; at < 12; at++) {
        fake_reset();
        fake.fail_at = at;
        uint64_t live = pv_mem_live();
        engine_model m = fixture_model(false);
        engine *e = fixture_open(&m, NULL);
        uint32_t prefix[20];
        fill_tokens(prefix, 20, 12);
        outcomes o = outcomes_new(3);
        engine_request r = distinct(prefix, 20, &o);
        submit(e, &r);
        pv_status status = PV_OK;
        bool busy = true;
        for (int i = 0; i < 100 && status == PV_OK; i++) {
            status = engine_step(e, &busy, NULL);
        }
        cr_expect_eq(status, PV_E_DEVICE);
        cr_expect_not(busy);
        for (uint32_t i = 0; i < 3; i++) {
            cr_expect_eq(o.items[i].done, 1);
        }
        cr_expect_eq(o.items[2].finish, ENGINE_FINISH_FAILED);
        engine_close(e);
        cr_assert_eq(pv_mem_live(), live);
        outcomes_free(&o);
    }
}

/* Every allocation fails once: a request ends as failed, or is refused, or is as it always is; nothing leaks. */
TEST_AHEAD(engine_distinct, short_memory_is_an_error_and_no_more, .timeout = 120)
{
    fake_reset();
    engine_model m = fixture_model(true);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 13);
    engine_text stop = {"e", 1};
    outcomes want = outcomes_new(3);
    engine_request r = distinct(prefix, 20, &want);
    r.max_tokens = 4;
    r.stops = &stop;
    r.stop_count = 1;
    r.series_samples = 9;
    solo(&m, NULL, &r, &want);
    uint64_t live = pv_mem_live();
    uint32_t failed = 0;
    for (int64_t n = 0; n < 200; n++) {
        fake_reset();
        engine *e = fixture_open(&m, NULL);
        outcomes o = outcomes_new(3);
        r.user = &o;
        pv_mem_fail_after(n);
        pv_status status = engine_submit(e, &r, NULL, NULL);
        for (bool busy = status == PV_OK; busy;) {
            status = engine_step(e, &busy, NULL);
        }
        pv_mem_fail_after(-1);
        engine_close(e);
        for (uint32_t i = 0; i < 3 && o.done > 0; i++) {
            cr_assert_eq(o.items[i].done, 1);
            failed += o.items[i].finish == ENGINE_FINISH_FAILED;
            if (o.items[i].finish != ENGINE_FINISH_FAILED) {
                expect_same(&o.items[i], &want.items[i]);
            }
        }
        cr_assert(o.done == 3 || status == PV_E_NOMEM);
        cr_assert_eq(pv_mem_live(), live, "allocation %d", (int)n);
        outcomes_free(&o);
    }
    cr_expect_gt(failed, 10);
    outcomes_free(&want);
    engine_tokenizer_free(m.tokenizer);
}

Test(engine_distinct, tokens_are_not_streamed)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine *e = fixture_open(&m, NULL);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 14);
    outcomes o = outcomes_new(3);
    engine_request r = distinct(prefix, 20, &o);
    r.on_token = outcomes_on_token;
    pv_error err = {0};
    cr_expect_eq(engine_submit(e, &r, NULL, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "on_token"), "%s", err.msg);
    engine_close(e);
    outcomes_free(&o);
}

TEST_AHEAD(engine_distinct, on_a_thread_of_its_own_they_are_the_same, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 15);
    outcomes want = outcomes_new(12);
    engine_request r = distinct(prefix, 20, &want);
    solo(&m, NULL, &r, &want);
    fake_reset();
    engine_thread *t = NULL;
    engine_options options = {.steps_ahead = fixture_ahead};
    cr_assert_eq(engine_thread_open(&t, &m, fixture_backend(), &options, NULL, NULL, NULL), PV_OK);
    for (uint32_t ask = 0; ask < 3; ask++) {
        outcomes got = outcomes_new(4);
        got.first = r.first_sample = ask * 4;
        r.samples = 4;
        r.series_samples = 12;
        r.user = &got;
        cr_assert_eq(engine_thread_submit(t, &r, NULL, NULL), PV_OK);
        while (got.done < 4) {
            (void)engine_thread_deliver(t);
            sched_yield();
        }
        for (uint32_t i = 0; i < 4; i++) {
            expect_same(&got.items[i], &want.items[ask * 4 + i]);
        }
        outcomes_free(&got);
    }
    engine_thread_close(t);
    outcomes_free(&want);
}
