#include "engine_thread.h"

#include "engine_scheduler.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <pthread.h>
#include <string.h>

typedef struct command { /* a cancellation (fn NULL), or a posted function */
    enginep_link link;
    engine_posted *fn;
    void *user;
    uint64_t id;
    uint32_t sample;
} command;

typedef struct token_event {
    enginep_link link;
    enginep_sample *sample;
    engine_token token;
    char text[];
} token_event;

struct engine_thread {
    engine *e;
    engine_wake *wake;
    void *wake_user;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all that follows; the engine itself is its thread's alone */
    pthread_cond_t work;
    enginep_link jobs;     /* in                                                               */
    enginep_link commands; /* in                                                               */
    enginep_link tokens;   /* out: delivered before `done`, so that a sample's tokens come first */
    enginep_link done;     /* out                                                              */
    uint64_t next_id;
    bool closing;
    bool woken; /* wake() was called, deliver() has not followed                               */
    pv_error death;
    engine_stats stats;
};

#define COMMAND_OF(l) ((command *)(void *)((char *)(l)-offsetof(command, link)))
#define EVENT_OF(l)   ((token_event *)(void *)((char *)(l)-offsetof(token_event, link)))

/* Moves all of `from` to the empty list `to`. */
static void take_all(enginep_link *from, enginep_link *to)
{
    enginep_list_init(to);
    if (!enginep_list_empty(from)) {
        *to = *from;
        to->next->prev = to->prev->next = to;
        enginep_list_init(from);
    }
}

/* ---- The engine's thread ---- */

static pv_status queue_token(void *user, enginep_sample *s, const engine_token *token,
                             pv_error *err)
{
    engine_thread *t = user;
    token_event *event = pv_malloc(sizeof *event + token->text_len + 1);
    if (event == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory to stream a token");
    }
    event->sample = s;
    event->token = *token;
    memcpy(event->text, token->text, token->text_len);
    event->text[token->text_len] = '\0';
    event->token.text = event->text;
    pthread_mutex_lock(&t->mutex);
    enginep_list_insert(&t->tokens, &event->link);
    pthread_mutex_unlock(&t->mutex);
    return PV_OK;
}

static void queue_done(void *user, enginep_sample *s)
{
    engine_thread *t = user;
    pthread_mutex_lock(&t->mutex);
    enginep_list_insert(&t->done, &s->link);
    pthread_mutex_unlock(&t->mutex);
}

static void run_command(engine_thread *t, command *c)
{
    if (c->fn != NULL) {
        c->fn(t->e, c->user);
    } else {
        (void)engine_cancel(t->e, c->id, c->sample);
    }
    pv_free(c);
}

/* Jobs first: a cancellation that follows its request finds it. */
static void take_work(engine_thread *t, enginep_link *jobs, enginep_link *commands)
{
    while (!enginep_list_empty(jobs)) {
        enginep_link *l = jobs->next;
        enginep_list_remove(l);
        enginep_enqueue(t->e, ENGINEP_JOB(l));
    }
    while (!enginep_list_empty(commands)) {
        enginep_link *l = commands->next;
        enginep_list_remove(l);
        run_command(t, COMMAND_OF(l));
    }
}

static bool work_once(engine_thread *t, enginep_link *jobs, enginep_link *commands,
                      engine_stats *stats, pv_error *death)
{
    bool busy = false;
    take_work(t, jobs, commands);
    pv_error err = {0};
    if (engine_step(t->e, &busy, &err) != PV_OK) {
        pv_log(PV_LOG_WARN, "engine: %s", err.msg); /* every request that failed says so, too */
    }
    engine_stats_get(t->e, stats);
    *death = t->e->death;
    return busy;
}

/* Called with the mutex held, which it gives up meanwhile. */
static void wake_user(engine_thread *t)
{
    bool any = !enginep_list_empty(&t->done) || !enginep_list_empty(&t->tokens);
    if (any && !t->woken && t->wake != NULL) {
        t->woken = true;
        pthread_mutex_unlock(&t->mutex);
        t->wake(t->wake_user);
        pthread_mutex_lock(&t->mutex);
    }
}

static void *thread_main(void *user)
{
    engine_thread *t = user;
    bool busy = false;
    pthread_mutex_lock(&t->mutex);
    while (!t->closing) {
        enginep_link jobs;
        enginep_link commands;
        take_all(&t->jobs, &jobs);
        take_all(&t->commands, &commands);
        if (!busy && enginep_list_empty(&jobs) && enginep_list_empty(&commands)) {
            pthread_cond_wait(&t->work, &t->mutex);
            continue;
        }
        pthread_mutex_unlock(&t->mutex);
        engine_stats stats;
        pv_error death;
        busy = work_once(t, &jobs, &commands, &stats, &death);
        pthread_mutex_lock(&t->mutex);
        t->stats = stats;
        t->death = death;
        wake_user(t);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

/* ---- Open and close ---- */

static pv_status start(engine_thread *t, pv_error *err)
{
    int code = pthread_mutex_init(&t->mutex, NULL);
    if (code != 0) {
        return pv_fail_os(err, PV_E_SPAWN, code, "no lock for the engine's thread");
    }
    code = pthread_cond_init(&t->work, NULL);
    if (code == 0) {
        code = pthread_create(&t->thread, NULL, thread_main, t);
        if (code == 0) {
            return PV_OK;
        }
        pthread_cond_destroy(&t->work);
    }
    pthread_mutex_destroy(&t->mutex);
    return pv_fail_os(err, PV_E_SPAWN, code, "the engine's thread did not start");
}

pv_status engine_thread_open(engine_thread **out, const engine_model *model,
                             const engine_backend *backend, const engine_options *options,
                             engine_wake *wake, void *user, pv_error *err)
{
    engine_thread *t = pv_calloc(1, sizeof *t);
    if (t == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for the engine's thread");
    }
    t->wake = wake;
    t->wake_user = user;
    t->next_id = 1;
    enginep_list_init(&t->jobs);
    enginep_list_init(&t->commands);
    enginep_list_init(&t->tokens);
    enginep_list_init(&t->done);
    pv_status status = engine_open(&t->e, model, backend, options, err);
    if (status == PV_OK) {
        t->e->sink = (enginep_sink){queue_token, queue_done, t};
        engine_stats_get(t->e, &t->stats);
        status = start(t, err);
    }
    if (status != PV_OK) {
        engine_close(t->e);
        pv_free(t);
        return status;
    }
    *out = t;
    return PV_OK;
}

void engine_thread_close(engine_thread *t)
{
    if (t == NULL) {
        return;
    }
    pthread_mutex_lock(&t->mutex);
    t->closing = true;
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    take_work(t, &t->jobs, &t->commands);
    engine_close(t->e);
    while (engine_thread_deliver(t) > 0) {
    }
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->mutex);
    pv_free(t);
}

/* ---- The user's side ---- */

static pv_status check_open(engine_thread *t, pv_error *err) /* with the mutex held */
{
    if (t->closing) {
        return pv_fail(err, PV_E_CANCELLED, "the engine is being closed");
    }
    return PV_OK;
}

static pv_status push_job(engine_thread *t, enginep_job *job, uint64_t *id, pv_error *err)
{
    pthread_mutex_lock(&t->mutex);
    pv_status status = check_open(t, err);
    if (status == PV_OK && t->death.status != PV_OK) {
        status = pv_fail(err, t->death.status, "%s", t->death.msg);
    }
    if (status == PV_OK) {
        job->id = t->next_id++;
        if (id != NULL) {
            *id = job->id;
        }
        enginep_list_insert(&t->jobs, &job->link);
        pthread_cond_signal(&t->work);
    }
    pthread_mutex_unlock(&t->mutex);
    if (status != PV_OK) {
        enginep_job_free(job);
    }
    return status;
}

static bool is_closing(engine_thread *t)
{
    pthread_mutex_lock(&t->mutex);
    bool closing = t->closing;
    pthread_mutex_unlock(&t->mutex);
    return closing;
}

pv_status engine_thread_submit(engine_thread *t, const engine_request *request, uint64_t *id,
                               pv_error *err)
{
    if (is_closing(t)) { /* the engine may be gone; only close()'s own callbacks get here */
        return pv_fail(err, PV_E_CANCELLED, "the engine is being closed");
    }
    enginep_job *job = NULL;
    pv_status status = enginep_job_submit(t->e, request, &job, err);
    return status == PV_OK ? push_job(t, job, id, err) : status;
}

pv_status engine_thread_score(engine_thread *t, const engine_score_request *request, uint64_t *id,
                              pv_error *err)
{
    if (is_closing(t)) {
        return pv_fail(err, PV_E_CANCELLED, "the engine is being closed");
    }
    enginep_job *job = NULL;
    pv_status status = enginep_job_score(t->e, request, &job, err);
    return status == PV_OK ? push_job(t, job, id, err) : status;
}

static pv_status push_command(engine_thread *t, const command *c, pv_error *err)
{
    command *copy = pv_malloc(sizeof *copy);
    if (copy == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a command to the engine");
    }
    *copy = *c;
    pthread_mutex_lock(&t->mutex);
    pv_status status = check_open(t, err);
    if (status == PV_OK) {
        enginep_list_insert(&t->commands, &copy->link);
        pthread_cond_signal(&t->work);
    }
    pthread_mutex_unlock(&t->mutex);
    if (status != PV_OK) {
        pv_free(copy);
    }
    return status;
}

pv_status engine_thread_cancel(engine_thread *t, uint64_t id, uint32_t sample, pv_error *err)
{
    command c = {.id = id, .sample = sample};
    return push_command(t, &c, err);
}

pv_status engine_thread_post(engine_thread *t, engine_posted *fn, void *user, pv_error *err)
{
    command c = {.fn = fn, .user = user};
    return push_command(t, &c, err);
}

static void deliver_token(token_event *event)
{
    const enginep_job *job = event->sample->job;
    job->on_token(job->user, &event->token);
    pv_free(event);
}

size_t engine_thread_deliver(engine_thread *t)
{
    enginep_link tokens;
    enginep_link done;
    pthread_mutex_lock(&t->mutex);
    t->woken = false;
    take_all(&t->tokens, &tokens);
    take_all(&t->done, &done);
    pthread_mutex_unlock(&t->mutex);
    size_t n = 0;
    for (; !enginep_list_empty(&tokens); n++) {
        enginep_link *l = tokens.next;
        enginep_list_remove(l);
        deliver_token(EVENT_OF(l));
    }
    for (; !enginep_list_empty(&done); n++) {
        enginep_link *l = done.next;
        enginep_list_remove(l);
        enginep_sample_deliver(ENGINEP_SAMPLE(l));
    }
    return n;
}

void engine_thread_stats(engine_thread *t, engine_stats *out)
{
    pthread_mutex_lock(&t->mutex);
    *out = t->stats;
    pthread_mutex_unlock(&t->mutex);
}
