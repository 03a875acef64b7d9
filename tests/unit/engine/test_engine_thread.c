/* The engine on its own thread: results, streams and cancellation through the queue; clean under a thread sanitizer. */
#include "fixture_engine.h"

#include "engine_thread.h"
#include "pv_clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

typedef struct waker { /* what uv_async_send() and the loop would be */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool ready;
} waker;

static waker new_waker(void)
{
    waker w = {.ready = false};
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.cond, NULL);
    return w;
}

static void wake(void *user)
{
    waker *w = user;
    pthread_mutex_lock(&w->mutex);
    w->ready = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void wait_and_deliver(waker *w, engine_thread *t)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->ready) {
        pthread_cond_wait(&w->cond, &w->mutex);
    }
    w->ready = false;
    pthread_mutex_unlock(&w->mutex);
    (void)engine_thread_deliver(t);
}

static engine_thread *open_thread(engine_model *m, waker *w)
{
    m->weights.config = &m->config;
    engine_thread *t = NULL;
    pv_error err = {0};
    engine_options options = {.steps_ahead = fixture_ahead};
    cr_assert_eq(engine_thread_open(&t, m, fixture_backend(), &options, wake, w, &err), PV_OK, "%s",
                 err.msg);
    return t;
}

static engine_request ask_for(const uint32_t *prefix, outcomes *o)
{
    engine_request r = {.prefix = prefix,
                        .prefix_len = 20,
                        .samples = o->capacity,
                        .max_tokens = 30,
                        .sampling = {.temperature = 1},
                        .ignore_eos = true,
                        .seed = 1,
                        .on_done = outcomes_on_done,
                        .on_token = outcomes_on_token,
                        .user = o};
    return r;
}

TEST_AHEAD(engine_thread, gives_what_the_engine_gives, .timeout = 60)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(true);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 1);
    outcomes want[8];
    outcomes got[8];
    for (uint32_t i = 0; i < 8; i++) {
        want[i] = outcomes_new(2);
        got[i] = outcomes_new(2);
        engine *e = fixture_open(&m, NULL);
        engine_request r = ask_for(prefix, &want[i]);
        r.key = i;
        submit(e, &r);
        run_all(e);
        engine_close(e);
    }
    waker w = new_waker();
    engine_thread *t = open_thread(&m, &w);
    for (uint32_t i = 0; i < 8; i++) {
        engine_request r = ask_for(prefix, &got[i]);
        r.key = i;
        uint64_t id = 0;
        cr_assert_eq(engine_thread_submit(t, &r, &id, NULL), PV_OK);
        cr_expect_eq(id, i + 1);
    }
    for (uint32_t i = 0; i < 8; i++) {
        while (got[i].done < 2) {
            wait_and_deliver(&w, t);
        }
        for (uint32_t k = 0; k < 2; k++) {
            expect_same(&want[i].items[k], &got[i].items[k]);
            cr_expect_eq(got[i].items[k].streamed, 30);
            cr_expect_eq(got[i].items[k].stream_len, got[i].items[k].text_len);
        }
        outcomes_free(&want[i]);
    }
    engine_stats s;
    engine_thread_stats(t, &s);
    cr_expect_eq(s.finished, 16);
    engine_thread_close(t);
    for (uint32_t i = 0; i < 8; i++) {
        outcomes_free(&got[i]);
    }
    engine_tokenizer_free(m.tokenizer);
    cr_expect_eq(pv_mem_live(), live);
}

TEST_AHEAD(engine_thread, cancels_while_it_runs, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    waker w = new_waker();
    engine_thread *t = open_thread(&m, &w);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 1);
    outcomes o = outcomes_new(2);
    engine_request r = ask_for(prefix, &o);
    r.max_tokens = 2000;
    uint64_t id = 0;
    cr_assert_eq(engine_thread_submit(t, &r, &id, NULL), PV_OK);
    while (o.items[0].streamed < 5) {
        wait_and_deliver(&w, t);
    }
    cr_assert_eq(engine_thread_cancel(t, id, ENGINE_ALL_SAMPLES, NULL), PV_OK);
    while (o.done < 2) {
        wait_and_deliver(&w, t);
    }
    cr_expect_eq(o.items[0].finish, ENGINE_FINISH_CANCELLED);
    cr_expect_lt(o.items[0].count, 2000);
    engine_thread_close(t);
    outcomes_free(&o);
}

static void note_cached(engine *e, void *user)
{
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 1);
    atomic_store((atomic_uint *)user, (unsigned)engine_cached(e, prefix, 20) + 1);
}

TEST_AHEAD(engine_thread, close_delivers_and_runs_what_was_left, .timeout = 60)
{
    fake_reset();
    uint64_t live = pv_mem_live();
    engine_model m = fixture_model(false);
    waker w = new_waker();
    engine_thread *t = open_thread(&m, &w);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 1);
    outcomes o = outcomes_new(8);
    engine_request r = ask_for(prefix, &o);
    r.max_tokens = 1500;
    atomic_uint noted = 0;
    cr_assert_eq(engine_thread_submit(t, &r, NULL, NULL), PV_OK);
    cr_assert_eq(engine_thread_post(t, note_cached, &noted, NULL), PV_OK);
    engine_thread_close(t);
    cr_expect_eq(o.done, 8);
    cr_expect_eq(o.items[7].finish, ENGINE_FINISH_CANCELLED);
    cr_expect_gt(atomic_load(&noted), 0);
    cr_expect_eq(pv_mem_live(), live);
    outcomes_free(&o);
}

TEST_AHEAD(engine_thread, a_dead_device_is_reported_to_all, .timeout = 60)
{
    fake_reset();
    fake.fail_at = 8;
    engine_model m = fixture_model(false);
    waker w = new_waker();
    engine_thread *t = open_thread(&m, &w);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 1);
    outcomes o = outcomes_new(4);
    engine_request r = ask_for(prefix, &o);
    cr_assert_eq(engine_thread_submit(t, &r, NULL, NULL), PV_OK);
    while (o.done < 4) {
        wait_and_deliver(&w, t);
    }
    cr_expect_eq(o.items[3].finish, ENGINE_FINISH_FAILED);
    pv_error err = {0};
    cr_expect_eq(engine_thread_submit(t, &r, NULL, &err), PV_E_DEVICE, "%s", err.msg);
    engine_thread_close(t);
    outcomes_free(&o);
}

typedef struct producer {
    engine_thread *t;
    outcomes *o;
    uint32_t prefix[20];
    pthread_t thread;
} producer;

static void *produce(void *user)
{
    producer *p = user;
    for (uint32_t i = 0; i < 10; i++) {
        engine_request r = ask_for(p->prefix, &p->o[i]);
        r.key = i;
        uint64_t id = 0;
        cr_assert_eq(engine_thread_submit(p->t, &r, &id, NULL), PV_OK);
        if (i % 3 == 0) {
            cr_assert_eq(engine_thread_cancel(p->t, id, ENGINE_ALL_SAMPLES, NULL), PV_OK);
        }
        engine_stats s;
        engine_thread_stats(p->t, &s);
    }
    return NULL;
}

TEST_AHEAD(engine_thread, many_threads_may_submit, .timeout = 60)
{
    fake_reset();
    engine_model m = fixture_model(false);
    waker w = new_waker();
    engine_thread *t = open_thread(&m, &w);
    static outcomes o[4][10];
    static producer p[4];
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < 10; k++) {
            o[i][k] = outcomes_new(2);
        }
        p[i] = (producer){.t = t, .o = o[i]};
        fill_tokens(p[i].prefix, 20, i);
        cr_assert_eq(pthread_create(&p[i].thread, NULL, produce, &p[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < 10; k++) {
            while (o[i][k].done < 2) {
                wait_and_deliver(&w, t);
            }
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(p[i].thread, NULL);
        for (uint32_t k = 0; k < 10; k++) {
            outcomes_free(&o[i][k]);
        }
    }
    engine_thread_close(t);
}

static pv_status attempt(void *user, pv_error *err)
{
    engine_model *m = user;
    m->weights.config = &m->config;
    engine_thread *t = NULL;
    engine_options options = {.backend = {.kv_pages = 4, .max_rows = 32, .max_logit_rows = 4},
                              .steps_ahead = fixture_ahead};
    pv_status status = engine_thread_open(&t, m, fixture_backend(), &options, NULL, NULL, err);
    if (status != PV_OK) {
        return status;
    }
    outcomes o = outcomes_new(2);
    uint32_t prefix[20];
    fill_tokens(prefix, 20, 1);
    engine_request r = ask_for(prefix, &o);
    uint64_t id = 0;
    status = engine_thread_submit(t, &r, &id, err);
    while (status == PV_OK && o.done < 2) {
        (void)engine_thread_deliver(t);
        sched_yield();
    }
    if (status == PV_OK) {
        status = engine_thread_cancel(t, id, 0, err);
    }
    for (uint32_t i = 0; i < 2 && status == PV_OK; i++) {
        status = o.items[i].finish == ENGINE_FINISH_FAILED ? o.items[i].error.status : PV_OK;
    }
    engine_thread_close(t);
    outcomes_free(&o);
    return status;
}

TEST_AHEAD(engine_thread, every_allocation_may_fail, .timeout = 120)
{
    fake_reset();
    engine_model m = fixture_model(true);
    fixture_chaos(attempt, &m);
    engine_tokenizer_free(m.tokenizer);
}
