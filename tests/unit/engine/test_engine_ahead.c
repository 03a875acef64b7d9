/* The engine on a device that runs ahead of its answers: what ends, dies or makes room while steps are under way. The
 * tests named ..._running_ahead hold the whole engine against the backend without submit(); these are about the seam. */
#include "fixture_engine.h"

enum { DEPTHS = ENGINE_STEPS_AHEAD };

static uint32_t prompt[40];

static engine *open_ahead(engine_model *m, uint32_t depth, uint32_t pages)
{
    fake_reset();
    fill_tokens(prompt, 40, 3);
    fixture_ahead = depth;
    engine_options options = small_options(pages, 64, 16);
    return fixture_open(m, &options);
}

/* What the request gives without submit(). */
static void by_the_host(engine_model *m, const engine_request *r, outcomes *o)
{
    uint32_t ahead = fixture_ahead;
    fixture_ahead = 0;
    solo(m, NULL, r, o);
    fixture_ahead = ahead;
}

Test(engine_ahead, as_many_steps_as_asked_for_are_under_way, .timeout = 60)
{
    engine_model m = fixture_model(false);
    for (uint32_t depth = 1; depth <= DEPTHS; depth++) {
        engine *e = open_ahead(&m, depth, 64);
        outcomes o = outcomes_new(4);
        engine_request r = request(prompt, 40, &o);
        submit(e, &r);
        run_all(e);
        cr_expect_eq(fake.most_under_way, depth);
        cr_expect_eq(fake.under_way, 0);
        cr_expect_eq(fake.drawn_inputs > 0, depth > 1, "tokens go from step to step on the device");
        engine_stats s = stats(e);
        cr_expect_eq(s.steps, 40, "the first samples follow their prompt at once");
        cr_expect_eq(s.tokens_surplus, 0, "the last step of a sample is known");
        cr_expect_eq(s.tokens_computed, 40 + 4 * 39);
        engine_close(e);
        outcomes_free(&o);
    }
    engine_options options = {.steps_ahead = ENGINE_STEPS_AHEAD + 1};
    engine *e = NULL;
    pv_error err = {0};
    cr_expect_eq(engine_open(&e, &m, &fake_backend_ahead, &options, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "steps_ahead"), "%s", err.msg);
}

/* The end token shows when the next steps are on their way: their rows are lost, nothing else. */
Test(engine_ahead, an_end_within_the_run_ahead_costs_its_surplus_rows, .timeout = 60)
{
    engine_model m = fixture_model(true);
    for (uint32_t depth = 1; depth <= DEPTHS; depth++) {
        engine *e = open_ahead(&m, depth, 64);
        fake.eos_every = 50;
        fake.eos_id = FIXTURE_EOS;
        outcomes got = outcomes_new(3);
        outcomes want = outcomes_new(3);
        engine_request r = request(prompt, 40, &got);
        r.ignore_eos = false;
        submit(e, &r);
        run_all(e);
        by_the_host(&m, &r, &want);
        for (uint32_t i = 0; i < 3; i++) {
            cr_expect_eq(got.items[i].finish, ENGINE_FINISH_EOS);
            cr_expect_eq(got.items[i].count, 11);
            expect_same(&got.items[i], &want.items[i]);
        }
        engine_stats s = stats(e);
        cr_expect_eq(s.tokens_surplus, 3 * (depth - 1));
        cr_expect_eq(s.tokens_computed, 40 + 3 * 10, "surplus rows do not count");
        cr_expect_eq(s.rows, s.tokens_computed + s.tokens_surplus);
        uint32_t path[51];
        memcpy(path, prompt, sizeof prompt);
        memcpy(path + 40, got.items[0].tokens, 11 * sizeof *path);
        cr_expect_eq(engine_cached(e, path, 51), 50, "and do not stay");
        engine_close(e);
        outcomes_free(&got);
        outcomes_free(&want);
    }
    engine_tokenizer_free(m.tokenizer);
}

/* Pages go to others while steps that write them are under way; samples make room with answers on their way. */
Test(engine_ahead, pages_change_hands_while_steps_are_under_way, .timeout = 120)
{
    engine_model m = fixture_model(true);
    for (uint32_t depth = 1; depth <= DEPTHS; depth++) {
        engine *e = open_ahead(&m, depth, 9);
        fake.eos_every = 37;
        fake.eos_id = FIXTURE_EOS;
        uint32_t prefix[12][60];
        outcomes got[12];
        for (uint32_t i = 0; i < 12; i++) {
            fill_tokens(prefix[i], 60, i / 3);
            got[i] = outcomes_new(2);
            engine_request r = request(prefix[i], 20 + 3 * i, &got[i]);
            r.max_tokens = 120;
            r.ignore_eos = i % 2 == 0;
            r.key = i;
            submit(e, &r);
        }
        run_all(e);
        engine_stats s = stats(e);
        cr_expect_gt(s.preemptions, 0);
        cr_expect_gt(s.tokens_evicted, 0);
        cr_expect_eq(s.pages_locked, 0);
        cr_expect_eq(fake.most_under_way, depth);
        for (uint32_t i = 0; i < 12; i++) {
            outcomes want = outcomes_new(2);
            engine_request r = request(prefix[i], 20 + 3 * i, &want);
            r.max_tokens = 120;
            r.ignore_eos = i % 2 == 0;
            r.key = i;
            by_the_host(&m, &r, &want);
            expect_same(&got[i].items[0], &want.items[0]);
            expect_same(&got[i].items[1], &want.items[1]);
            outcomes_free(&want);
            outcomes_free(&got[i]);
        }
        engine_close(e);
    }
    engine_tokenizer_free(m.tokenizer);
}

Test(engine_ahead, a_device_that_dies_under_way_fails_all_and_can_be_closed, .timeout = 60)
{
    for (int64_t at = 0; at < 12; at++) {
        uint64_t live = pv_mem_live();
        engine_model m = fixture_model(false);
        engine *e = open_ahead(&m, DEPTHS, 64);
        fake.fail_at = at;
        outcomes a = outcomes_new(3);
        outcomes b = outcomes_new(1);
        engine_request r = request(prompt, 40, &a);
        submit(e, &r);
        r.user = &b;
        r.samples = 1;
        r.prefix_len = 30;
        submit(e, &r);
        pv_status status = PV_OK;
        pv_error err = {0};
        bool busy = true;
        for (int i = 0; i < 100 && status == PV_OK; i++) {
            status = engine_step(e, &busy, &err);
        }
        cr_expect_eq(status, PV_E_DEVICE);
        cr_expect_not_null(strstr(err.msg, "as it was told to"), "%s", err.msg);
        cr_expect_not(busy);
        cr_expect(a.done == 3 && b.done == 1);
        cr_expect_eq(a.items[2].finish, ENGINE_FINISH_FAILED);
        cr_expect_eq(b.items[0].error.status, PV_E_DEVICE);
        cr_expect_eq(engine_submit(e, &r, NULL, &err), PV_E_DEVICE);
        cr_expect_eq(engine_step(e, &busy, NULL), PV_OK);
        cr_expect_eq(stats(e).pages_locked, 0);
        engine_close(e);
        cr_expect_eq(pv_mem_live(), live);
        outcomes_free(&a);
        outcomes_free(&b);
    }
}

Test(engine_ahead, close_may_come_before_the_answers, .timeout = 60)
{
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    engine *e = open_ahead(&m, DEPTHS, 64);
    outcomes o = outcomes_new(2);
    engine_request r = request(prompt, 40, &o);
    submit(e, &r);
    for (int i = 0; i < 7; i++) {
        cr_assert_eq(engine_step(e, NULL, NULL), PV_OK);
    }
    cr_expect_gt(fake.under_way, 0);
    engine_close(e);
    cr_expect_eq(o.done, 2);
    cr_expect_eq(o.items[0].finish, ENGINE_FINISH_CANCELLED);
    cr_expect_eq(o.items[0].count, 7 - (DEPTHS - 1));
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&o);
}

Test(engine_ahead, draws_that_break_the_rules_are_named)
{
    engine_model m = fixture_model(false);
    engine_backend_options options = {.kv_pages = 1, .max_rows = 2, .max_logit_rows = 1};
    engine_batch batch = {.rows = 1, .logit_count = 1};
    engine_draw good = {.token = ENGINE_NO_TOKEN};
    engine_draw late = {.logit = 1, .token = ENGINE_NO_TOKEN};
    engine_draw unknown = {.token = FIXTURE_VOCAB};
    engine_draw three[3] = {good, good, good};
    pv_error err = {0};
    cr_expect_eq(engine_draws_check(three, 2, &batch, &m.config, &options, &err), PV_OK);
    cr_expect_eq(engine_draws_check(NULL, 0, &batch, &m.config, &options, &err), PV_OK);
    cr_expect_eq(engine_draws_check(three, 3, &batch, &m.config, &options, &err), PV_E_LIMIT);
    err = (pv_error){0};
    cr_expect_eq(engine_draws_check(&late, 1, &batch, &m.config, &options, &err), PV_E_MISUSE);
    cr_expect_not_null(strstr(err.msg, "logits 1"), "%s", err.msg);
    err = (pv_error){0};
    cr_expect_eq(engine_draws_check(&unknown, 1, &batch, &m.config, &options, &err), PV_E_MISUSE);
    cr_expect_not_null(strstr(err.msg, "860"), "%s", err.msg);
}
