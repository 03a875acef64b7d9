#include "engine_cuda_team.cuh"

#include "pv_log.h"
#include "pv_mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct team_call;

/* What a rank does in a call. */
typedef pv_status team_fn(engine_device *d, const team_call *call, pv_error *err);

struct team_call {
    team_fn *fn;
    cuda_team *team;
    const engine_batch *batch;
    float *logits;
    const engine_draw *draws;
    uint32_t draw_count;
    engine_drawn *drawn;
    uint64_t ticket;
    uint64_t *tickets; /* [ranks] */
    uint32_t to, from, tokens;
};

struct member {
    cuda_team *team;
    uint32_t rank;
    engine_shard shard;
    engine_backend_options options; /* with its own GPU */
    cuda_part part;
    engine_memory memory;
    engine_device *device;
    pthread_t thread; /* of ranks from 1 on */
    bool started;
    pv_status status; /* of the last call */
    pv_error error;
};

struct cuda_team {
    uint32_t ranks;
    uint32_t sharers; /* ranks on one GPU */
    cuda_comms *comms;
    member member[ENGINE_RANKS_MAX];
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t called;
    pthread_cond_t done;
    const team_call *call;
    uint64_t calls;
    uint32_t busy; /* ranks from 1 on */
    bool stopping;
};

/* ---- Calls ---- */

/* A rank that fails ends the others' waiting. */
static void act(member *m, const team_call *call)
{
    cuda_comm *comm = m->part.comm;
    m->error = {};
    if (comm != NULL) {
        cuda_comm_enter(comm);
    }
    m->status = call->fn(m->device, call, &m->error);
    if (comm != NULL) {
        if (m->status == PV_E_DEVICE) {
            cuda_comms_fail(m->team->comms, m->error.msg);
        }
        cuda_comm_leave(comm);
    }
}

static void *serve(void *user)
{
    member *m = (member *)user;
    cuda_team *t = m->team;
    uint64_t seen = 0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->stopping && t->calls == seen) {
            pthread_cond_wait(&t->called, &t->lock);
        }
        if (t->stopping) {
            break;
        }
        seen = t->calls;
        const team_call *call = t->call;
        pthread_mutex_unlock(&t->lock);
        act(m, call);
        pthread_mutex_lock(&t->lock);
        if (--t->busy == 0) {
            pthread_cond_signal(&t->done);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Every rank does it; returns when all have. */
static void together(cuda_team *t, const team_call *call)
{
    pthread_mutex_lock(&t->lock);
    t->call = call;
    t->calls++;
    t->busy = t->ranks - 1;
    pthread_cond_broadcast(&t->called);
    pthread_mutex_unlock(&t->lock);
    act(&t->member[0], call);
    pthread_mutex_lock(&t->lock);
    while (t->busy != 0) {
        pthread_cond_wait(&t->done, &t->lock);
    }
    pthread_mutex_unlock(&t->lock);
}

static pv_status end_exchanges(engine_device *d, const team_call *call, pv_error *err)
{
    (void)call;
    (void)err;
    if (d != NULL && cudaSetDevice(d->ordinal) == cudaSuccess) {
        cuda_graphs_release(&d->graphs); /* NCCL waits for those that hold calls of it */
        cuda_comm_abort(d->model.comm);
    }
    return PV_OK;
}

/* No part is of use without the others. */
static void end_all(cuda_team *t, const char *why)
{
    team_call call = {};
    call.fn = end_exchanges;
    call.team = t;
    together(t, &call);
    for (uint32_t i = 0; i < t->ranks; i++) {
        if (t->member[i].device != NULL) {
            cuda_part_die(t->member[i].device, why);
        }
    }
}

void cuda_team_fail(cuda_team *t, const char *why)
{
    cuda_comms_fail(t->comms, why);
}

/* A call and what came of it: the first failure of all ranks, those that are about the device before others. */
static pv_status call_all(cuda_team *t, team_call *call, pv_error *err)
{
    call->team = t;
    together(t, call);
    const member *worst = &t->member[0];
    for (uint32_t i = 1; i < t->ranks; i++) {
        const member *m = &t->member[i];
        bool worse =
            worst->status == PV_OK || (m->status == PV_E_DEVICE && worst->status != m->status);
        worst = m->status != PV_OK && worse ? m : worst;
    }
    if (worst->status == PV_OK) {
        return PV_OK;
    }
    pv_error first = worst->error; /* end_all() is a call too */
    pv_status status = worst->status;
    if (status == PV_E_DEVICE && t->member[0].device->team != NULL) {
        end_all(t, first.msg);
    }
    return pv_fail(err, status, "%s", first.msg);
}

/* ---- What the ranks do ---- */

static bool is_first(const engine_device *d)
{
    return d->model.shard->rank == 0;
}

static pv_status do_open(engine_device *d, const team_call *call, pv_error *err)
{
    const member *m = &call->team->member[d->model.shard->rank];
    return cuda_part_open(d, &m->part, &m->memory, err);
}

static pv_status do_forward(engine_device *d, const team_call *call, pv_error *err)
{
    return cuda_part_forward(d, call->batch, is_first(d) ? call->logits : NULL, err);
}

static pv_status do_copy_page(engine_device *d, const team_call *call, pv_error *err)
{
    return cuda_part_copy_page(d, call->to, call->from, call->tokens, err);
}

static pv_status do_submit(engine_device *d, const team_call *call, pv_error *err)
{
    return cuda_part_submit(d, call->batch, call->draws, call->draw_count,
                            &call->tickets[d->model.shard->rank], err);
}

static pv_status do_collect(engine_device *d, const team_call *call, pv_error *err)
{
    return cuda_part_collect(d, call->ticket, is_first(d) ? call->drawn : NULL, err);
}

pv_status cuda_team_forward(cuda_team *t, const engine_batch *batch, float *logits, pv_error *err)
{
    if (batch->logit_count != 0 && logits == NULL) {
        return pv_fail(err, PV_E_MISUSE, "no room for %u rows of logits", batch->logit_count);
    }
    team_call call = {};
    call.fn = do_forward;
    call.batch = batch;
    call.logits = logits;
    return call_all(t, &call, err);
}

pv_status cuda_team_copy_page(cuda_team *t, uint32_t to, uint32_t from, uint32_t tokens,
                              pv_error *err)
{
    team_call call = {};
    call.fn = do_copy_page;
    call.to = to;
    call.from = from;
    call.tokens = tokens;
    return call_all(t, &call, err);
}

pv_status cuda_team_submit(cuda_team *t, const engine_batch *batch, const engine_draw *draws,
                           uint32_t draw_count, uint64_t *ticket, pv_error *err)
{
    uint64_t tickets[ENGINE_RANKS_MAX] = {};
    team_call call = {};
    call.fn = do_submit;
    call.batch = batch;
    call.draws = draws;
    call.draw_count = draw_count;
    call.tickets = tickets;
    pv_status status = call_all(t, &call, err);
    if (status == PV_OK) {
        *ticket = tickets[0];
    }
    return status;
}

pv_status cuda_team_collect(cuda_team *t, uint64_t ticket, engine_drawn *out, pv_error *err)
{
    team_call call = {};
    call.fn = do_collect;
    call.ticket = ticket;
    call.drawn = out;
    return call_all(t, &call, err);
}

/* ---- Plan ---- */

/* Of a plan: what would be left. */
static uint64_t left(const engine_memory *m)
{
    uint64_t taken = m->weights_copied + m->scratch + m->kv;
    return m->device_free > taken ? m->device_free - taken : 0;
}

/* The GPU that has least left speaks for all. */
static void sum_up(const cuda_team *t, engine_memory *out)
{
    const member *least = &t->member[0];
    for (uint32_t i = 1; i < t->ranks; i++) {
        least = left(&t->member[i].memory) < left(&least->memory) ? &t->member[i] : least;
    }
    *out = least->memory;
    char one[sizeof out->served_by];
    (void)snprintf(one, sizeof one, "%s", out->served_by);
    (void)snprintf(out->served_by, sizeof out->served_by, "%u parts on %.130s%s", t->ranks, one,
                   t->sharers > 1 ? ", one GPU in turn" : "");
}

void cuda_team_memory(const cuda_team *t, engine_memory *out)
{
    cuda_part_memory(t->member[0].device, out);
    for (uint32_t i = 1; i < t->ranks; i++) {
        engine_memory other;
        cuda_part_memory(t->member[i].device, &other);
        *out = other.device_free < out->device_free ? other : *out;
    }
}

static pv_status check_alike(const cuda_team *t, pv_error *err)
{
    const engine_device *first = t->member[0].device;
    for (uint32_t i = 1; i < t->ranks; i++) {
        const engine_device *d = t->member[i].device;
        if (strcmp(d->gpu, first->gpu) != 0 || d->model.processors != first->model.processors ||
            d->runner != first->runner) {
            return pv_fail(err, PV_E_UNSUPPORTED,
                           "GPU %d is a %s with %u processors (%s kernels), GPU %d a %s with %u "
                           "(%s kernels); a model is spread over GPUs that are alike",
                           first->ordinal, first->gpu, first->model.processors, first->runner->name,
                           d->ordinal, d->gpu, d->model.processors, d->runner->name);
        }
    }
    return PV_OK;
}

static pv_status prepare_member(cuda_team *t, uint32_t rank, const engine_weights *weights,
                                const engine_backend_options *options, const uint64_t *random_seed,
                                bool quiet, pv_error *err)
{
    member *m = &t->member[rank];
    m->team = t;
    m->rank = rank;
    pv_status status = engine_shard_make(&m->shard, weights, rank, t->ranks, err);
    if (status != PV_OK) {
        return status;
    }
    m->options = *options;
    m->options.ordinal = options->gpus[rank];
    m->options.gpu_count = 0;
    m->part = {&m->shard.weights,
               &m->options,
               random_seed,
               &m->shard,
               t->comms == NULL ? NULL : cuda_comms_rank(t->comms, rank),
               t->sharers};
    return cuda_part_prepare(&m->device, &m->part, &m->memory, quiet || rank != 0, err);
}

static uint32_t count_sharers(const engine_backend_options *o)
{
    uint32_t same = 0;
    for (uint32_t i = 0; i < o->gpu_count; i++) {
        same += o->gpus[i] == o->gpus[0];
    }
    return same;
}

/* Parts, counted and not allocated. comms NULL: a plan. */
static pv_status prepare(cuda_team *t, const engine_weights *weights,
                         const engine_backend_options *options, const uint64_t *random_seed,
                         pv_error *err)
{
    pv_status status = PV_OK;
    for (uint32_t i = 0; status == PV_OK && i < t->ranks; i++) {
        status = prepare_member(t, i, weights, options, random_seed, t->comms == NULL, err);
    }
    return status == PV_OK ? check_alike(t, err) : status;
}

static void discard(cuda_team *t)
{
    for (uint32_t i = 0; i < t->ranks; i++) {
        if (t->member[i].device != NULL) {
            cuda_part_close(t->member[i].device);
        }
        engine_shard_release(&t->member[i].shard);
    }
    cuda_comms_close(t->comms);
    pv_free(t);
}

static pv_status make(cuda_team **out, const engine_backend_options *options, pv_error *err)
{
    if (options->gpu_count > ENGINE_RANKS_MAX) {
        return pv_fail(err, PV_E_INVALID, "%u GPUs were asked for; %d at most", options->gpu_count,
                       ENGINE_RANKS_MAX);
    }
    cuda_team *t = (cuda_team *)pv_calloc(1, sizeof *t);
    if (t == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a team of GPUs");
    }
    t->ranks = options->gpu_count;
    t->sharers = count_sharers(options);
    *out = t;
    return PV_OK;
}

pv_status cuda_team_plan(engine_memory *out, const engine_weights *weights,
                         const engine_backend_options *options, pv_error *err)
{
    cuda_team *t = NULL;
    pv_status status = make(&t, options, err);
    if (status != PV_OK) {
        return status;
    }
    status = prepare(t, weights, options, NULL, err);
    if (status == PV_OK) {
        sum_up(t, out);
    }
    discard(t);
    return status;
}

/* ---- Open and close ---- */

static pv_status start_threads(cuda_team *t, pv_error *err)
{
    if (pthread_mutex_init(&t->lock, NULL) != 0 || pthread_cond_init(&t->called, NULL) != 0 ||
        pthread_cond_init(&t->done, NULL) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no locks for a team of GPUs");
    }
    for (uint32_t i = 1; i < t->ranks; i++) {
        member *m = &t->member[i];
        m->started = pthread_create(&m->thread, NULL, serve, m) == 0;
        if (!m->started) {
            return pv_fail(err, PV_E_NOMEM, "no thread for GPU %u", m->options.ordinal);
        }
    }
    return PV_OK;
}

static void stop_threads(cuda_team *t)
{
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->called);
    pthread_mutex_unlock(&t->lock);
    for (uint32_t i = 1; i < t->ranks; i++) {
        if (t->member[i].started) {
            (void)pthread_join(t->member[i].thread, NULL);
        }
    }
    pthread_cond_destroy(&t->called);
    pthread_cond_destroy(&t->done);
    pthread_mutex_destroy(&t->lock);
}

void cuda_team_close(cuda_team *t)
{
    stop_threads(t);
    discard(t);
}

engine_device *cuda_team_device(const cuda_team *t, uint32_t rank)
{
    return t->member[rank].device;
}

static pv_status load(cuda_team *t, pv_error *err)
{
    pv_status status = start_threads(t, err);
    if (status == PV_OK) {
        team_call call = {};
        call.fn = do_open;
        status = call_all(t, &call, err);
    }
    return status;
}

pv_status cuda_team_open(engine_device **out, const engine_weights *weights,
                         const engine_backend_options *options, const uint64_t *random_seed,
                         pv_error *err)
{
    cuda_team *t = NULL;
    engine_memory ignored; /* what cannot be, is said before GPUs are connected */
    pv_status status = cuda_team_plan(&ignored, weights, options, err);
    if (status == PV_OK) {
        status = make(&t, options, err);
    }
    if (status != PV_OK) {
        return status;
    }
    status = cuda_comms_open(&t->comms, options->gpus, t->ranks, err);
    if (status == PV_OK) {
        status = prepare(t, weights, options, random_seed, err);
    }
    if (status != PV_OK) {
        discard(t);
        return status;
    }
    pv_log(PV_LOG_INFO, "cuda: %u parts of the model, %s", t->ranks, cuda_comms_name(t->comms));
    status = load(t, err);
    if (status != PV_OK) {
        cuda_team_close(t);
        return status;
    }
    *out = t->member[0].device;
    (*out)->team = t;
    return PV_OK;
}
