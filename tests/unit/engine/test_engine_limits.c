/* The engine where things go wrong or are scarce: callbacks that call back, refusals, failures, fairness, memory. */
#include "fixture_engine.h"

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

TEST_AHEAD(engine_limits, callbacks_may_submit_cancel_pin_and_forget_but_not_step, .timeout = 60)
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

TEST_AHEAD(engine_limits, refuses_what_cannot_be, .timeout = 60)
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

TEST_AHEAD(engine_limits, pins_that_leave_no_room_are_named, .timeout = 60)
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

TEST_AHEAD(engine_limits, a_dead_device_fails_its_requests_and_not_the_process, .timeout = 60)
{
    expect_death(0, -1);
    expect_death(6, -1);
    expect_death(-1, 0);
    expect_death(-1, 1);
}

TEST_AHEAD(engine_limits, damaged_logits_fail_one_request, .timeout = 60)
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

TEST_AHEAD(engine_limits, decoding_goes_on_while_a_long_prompt_comes_in, .timeout = 60)
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
    for (uint32_t i = 0; i < fixture_lag(); i++) { /* the rows of the last tokens are under way */
        cr_assert_eq(a.done, 0);
        cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    }
    cr_expect_eq(a.done, 4, "one token a step");
    cr_expect_eq(stats(e).tokens_computed, 10 + 4 * 39 + 39 * 28 + 32 * fixture_lag(),
                 "and the rest is the prompt's");
    run_all(e);
    cr_expect_eq(b.done, 1);
    engine_close(e);
    outcomes_free(&a);
    outcomes_free(&b);
}

TEST_AHEAD(engine_limits, samples_beyond_the_batch_take_turns, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    engine_options options = small_options(128, 16, 4);
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
    options.steps_ahead = fixture_ahead;
    engine *e = NULL;
    pv_status status = engine_open(&e, m, fixture_backend(), &options, err);
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

TEST_AHEAD(engine_limits, every_allocation_may_fail, .timeout = 120)
{
    fake_reset();
    engine_model m = fixture_model(true);
    fixture_chaos(attempt, &m);
    cr_expect_eq(fake.broken, 0, "%s", fake.rule);
    engine_tokenizer_free(m.tokenizer);
}
