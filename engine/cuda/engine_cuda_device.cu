/* A device: plan, open, close, and what surrounds a step. */
#include "engine_cuda_device.cuh"
#include "engine_cuda_sampler.cuh"
#include "engine_cuda_upload.cuh"

#include "pv_log.h"
#include "pv_mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include "cpu/engine_cpu_rope.h"
}

enum {
    RESERVE_BYTES = 256 << 20, /* left to the runtime: graphs, staging, kernels' own memory */
    CAPABILITY_LEAST = 80
};

/* ---- Failures ---- */

static pv_status fail_driver(pv_error *err)
{
    int driver = 0;
    int runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0) {
        return pv_fail(err, PV_E_DEVICE,
                       "no NVIDIA driver answers; install one, or use the cpu backend");
    }
    return pv_fail(
        err, PV_E_DEVICE,
        "the NVIDIA driver is too old: it serves CUDA %d.%d, this program was built with "
        "%d.%d; update the driver, build with an older toolkit, or use the cpu backend",
        driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

pv_status cuda_failure(cudaError_t error, const char *what, pv_error *err)
{
    switch (error) {
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
        return fail_driver(err);
    case cudaErrorNoDevice:
        return pv_fail(err, PV_E_DEVICE,
                       "%s: no NVIDIA GPU answers (is it there, and not hidden by "
                       "CUDA_VISIBLE_DEVICES?); use the cpu backend",
                       what);
    case cudaErrorMemoryAllocation:
        return pv_fail(err, PV_E_NOMEM, "%s: the GPU's memory is full; lower kv_pages or max_rows",
                       what);
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "%s: this program has no code for this GPU; compute capability 8.0 or newer "
                       "is needed",
                       what);
    default:
        return pv_fail(err, PV_E_DEVICE, "%s: %s (%s); start the program again", what,
                       cudaGetErrorString(error), cudaGetErrorName(error));
    }
}

/* What failed: an exchange with the other parts of the model, or CUDA. */
static pv_status failure_of(const engine_device *d, cudaError_t error, const char *what,
                            pv_error *err)
{
    cuda_comm *comm = d->model.comm;
    const char *exchange = comm == NULL ? NULL : cuda_comms_failure(cuda_comm_all(comm));
    if (exchange == NULL) {
        return cuda_failure(error, what, err);
    }
    return pv_fail(err, PV_E_DEVICE, "%s on several GPUs: %s; start the program again", what,
                   exchange);
}

/* The device is dead from now on, whatever the error was. */
static pv_status die(engine_device *d, cudaError_t error, const char *what, pv_error *err)
{
    if (d->death.status == PV_OK) {
        pv_status status = failure_of(d, error, what, &d->death);
        if (status != PV_E_DEVICE) {
            d->death.status = PV_E_DEVICE; /* half a step was done: nothing is to be relied on */
        }
        pv_log(PV_LOG_ERROR, "cuda: %s", d->death.msg);
    }
    return pv_fail(err, d->death.status, "%s", d->death.msg);
}

void cuda_part_die(engine_device *d, const char *why)
{
    if (d->death.status == PV_OK) {
        (void)pv_fail(&d->death, PV_E_DEVICE, "%s", why);
    }
}

/* Every call begins with it: is the device alive, and this thread's current one? */
static pv_status enter(engine_device *d, pv_error *err)
{
    if (d->death.status != PV_OK) {
        return pv_fail(err, d->death.status, "%s", d->death.msg);
    }
    cudaError_t error = cudaSetDevice(d->ordinal);
    return error == cudaSuccess ? PV_OK : die(d, error, "choosing the GPU", err);
}

/* ---- Plan ---- */

static pv_status probe(engine_device *d, uint32_t ordinal, size_t *free_bytes, size_t *total,
                       pv_error *err)
{
    cuda_model *m = &d->model;
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        return cuda_failure(error, "looking for GPUs", err);
    }
    if (ordinal >= (uint32_t)count) {
        return pv_fail(err, PV_E_INVALID, "GPU %u was asked for; there are %d (numbered from 0)",
                       ordinal, count);
    }
    cudaDeviceProp prop;
    error = cudaGetDeviceProperties(&prop, (int)ordinal);
    if (error == cudaSuccess) {
        error = cudaSetDevice((int)ordinal);
    }
    if (error == cudaSuccess) {
        error = cudaMemGetInfo(free_bytes, total);
    }
    if (error != cudaSuccess) {
        return cuda_failure(error, "opening the GPU", err);
    }
    (void)snprintf(d->gpu, sizeof d->gpu, "%.95s", prop.name);
    m->processors = (uint32_t)prop.multiProcessorCount;
    m->capability = (uint32_t)(prop.major * 10 + prop.minor);
    if (m->capability < CAPABILITY_LEAST) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "GPU %u (%s) has compute capability %d.%d; 8.0 or newer is needed; use the "
                       "cpu backend",
                       ordinal, prop.name, prop.major, prop.minor);
    }
    return PV_OK;
}

static uint32_t whole_tiles(uint32_t n)
{
    return (n + 127) / 128 * 128;
}

static pv_status choose_runner(const cuda_runner **out, const cuda_model *m, bool quiet,
                               pv_error *err)
{
    char why[160] = "";
    char why_not[160] = "";
    if (m->config->vocab_size > CUDA_SAMPLER_VOCAB) {
        return pv_fail(err, PV_E_UNSUPPORTED, "a vocabulary of %u; at most %d on the GPU",
                       m->config->vocab_size, CUDA_SAMPLER_VOCAB);
    }
    if (cuda_runner_fast.supports(m, why)) {
        *out = &cuda_runner_fast;
        return PV_OK;
    }
    if (!cuda_runner_generic.supports(m, why_not)) {
        return pv_fail(err, PV_E_UNSUPPORTED, "this model does not run on the GPU: %s", why_not);
    }
    if (!quiet && m->options.precision != ENGINE_PRECISION_F32) {
        pv_log(PV_LOG_WARN, "cuda: the generic kernels are used, which are slow: %s", why);
    }
    *out = &cuda_runner_generic;
    return PV_OK;
}

/* Are logits whole here, and tokens drawn? */
static bool draws_here(const engine_device *d)
{
    return d->model.shard == NULL || d->model.shard->rank == 0;
}

static void lay_out(engine_device *d)
{
    const cuda_runner *r = d->runner;
    cuda_arena *scratch = &d->arenas.scratch;
    r->lay_out(d->state, &d->arenas);
    size_t extra = r->extra_bytes == NULL ? 0 : r->extra_bytes(d->state);
    cuda_batches_lay_out(&d->batches, &d->model, extra, scratch);
    if (!draws_here(d)) {
        return;
    }
    d->logits =
        cuda_take<float>(scratch, (size_t)d->model.logit_rows * d->model.config->vocab_size);
    size_t bytes = cuda_sampler_bytes(d->model.config->vocab_size, d->model.logit_rows,
                                      d->model.options.max_rows);
    d->sample_space = cuda_take<uint8_t>(scratch, bytes);
}

/* What the arenas hold. */
static void fill_memory(const engine_device *d, engine_memory *out)
{
    memset(out, 0, sizeof *out);
    out->weights_copied = d->arenas.weights.used;
    out->kv = d->arenas.kv.used;
    out->kv_pages = d->model.options.kv_pages;
    out->kv_page = d->arenas.kv.used / ((uint64_t)out->kv_pages + 1); /* with the spare one */
    out->kv_token = out->kv_page / ENGINE_PAGE_TOKENS;
    out->scratch = d->arenas.scratch.used;
    out->gpus = d->model.shard == NULL ? 1 : d->model.shard->ranks;
    (void)snprintf(out->served_by, sizeof out->served_by, "%s, %s kernels", d->gpu,
                   d->runner->name);
}

/* Fills in what a model is, and what the GPU is. */
static pv_status describe(engine_device *d, const cuda_part *part, size_t *free_bytes,
                          size_t *total, pv_error *err)
{
    cuda_model *m = &d->model;
    m->weights = part->weights;
    m->config = part->weights->config;
    m->shard = part->shard;
    m->comm = part->comm;
    m->sharers = part->sharers;
    m->score_scale = (float)engine_cpu_softmax_scale(m->config);
    pv_status status = engine_backend_options_resolve(&m->options, m->config, part->options, err);
    if (status != PV_OK) {
        return status;
    }
    m->rows = whole_tiles(m->options.max_rows);
    m->logit_rows = whole_tiles(m->options.max_logit_rows);
    m->spare_page = m->options.kv_pages;
    d->ordinal = (int)m->options.ordinal;
    status = probe(d, m->options.ordinal, free_bytes, total, err);
    *free_bytes /= m->sharers;
    *total /= m->sharers;
    return status;
}

pv_status cuda_part_prepare(engine_device **out, const cuda_part *part, engine_memory *memory,
                            bool quiet, pv_error *err)
{
    engine_device *d = (engine_device *)pv_calloc(1, sizeof *d);
    if (d == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a device");
    }
    size_t free_bytes = 0;
    size_t total = 0;
    pv_status status = describe(d, part, &free_bytes, &total, err);
    if (status == PV_OK) {
        status = choose_runner(&d->runner, &d->model, quiet, err);
    }
    if (status == PV_OK) {
        status = d->runner->create(&d->state, &d->model, err);
    }
    if (status != PV_OK) {
        pv_free(d);
        return status;
    }
    lay_out(d);
    fill_memory(d, memory);
    memory->device_total = total;
    memory->device_free = free_bytes;
    *out = d;
    return PV_OK;
}

static void discard(engine_device *d)
{
    d->runner->destroy(d->state);
    pv_free(d);
}

/* ---- Open and close ---- */

static double gigabytes(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

static pv_status check_room(const engine_device *d, const engine_memory *m, pv_error *err)
{
    uint64_t fixed = m->weights_copied + m->scratch + RESERVE_BYTES;
    uint64_t needed = fixed + m->kv;
    if (needed <= m->device_free) {
        return PV_OK;
    }
    char remedy[160];
    uint64_t left = m->device_free > fixed ? m->device_free - fixed : 0;
    uint64_t pages = left / m->kv_page;
    if (pages > 1) {
        (void)snprintf(remedy, sizeof remedy, "at most %llu kv_pages fit",
                       (unsigned long long)(pages - 1));
    } else {
        (void)snprintf(remedy, sizeof remedy,
                       "the model does not fit this GPU; use a larger one, more of them, or the "
                       "cpu backend");
    }
    return pv_fail(
        err, PV_E_NOMEM,
        "the memory of GPU %d is too small: %.2f GB needed (weights %.2f, cache %.2f for "
        "%u pages of %.2f MB, buffers %.2f, reserve %.2f), %.2f GB free of %.2f; %s",
        d->ordinal, gigabytes(needed), gigabytes(m->weights_copied), gigabytes(m->kv), m->kv_pages,
        (double)m->kv_page / 1e6, gigabytes(m->scratch), gigabytes(RESERVE_BYTES),
        gigabytes(m->device_free), gigabytes(m->device_total), remedy);
}

static pv_status take_memory(engine_device *d, pv_error *err)
{
    cuda_arena *arenas[] = {&d->arenas.weights, &d->arenas.kv, &d->arenas.scratch};
    for (cuda_arena *a : arenas) {
        cudaError_t error = cudaMalloc((void **)&a->base, a->used + CUDA_ARENA_ALIGN);
        if (error == cudaSuccess) {
            error = cudaMemsetAsync(a->base, 0, a->used + CUDA_ARENA_ALIGN, d->stream);
        }
        if (error != cudaSuccess) {
            return cuda_failure(error, "taking the GPU's memory", err);
        }
        a->used = 0;
    }
    cudaError_t error = cudaStreamSynchronize(d->stream);
    if (error != cudaSuccess) {
        return cuda_failure(error, "clearing the GPU's memory", err);
    }
    lay_out(d);
    return PV_OK;
}

/* Limits of kernels are kept once for the program, whichever GPU they are for. */
static pthread_mutex_t limits_lock = PTHREAD_MUTEX_INITIALIZER;

static pv_status list_uploads(engine_device *d, cuda_upload *upload, pv_error *err)
{
    pthread_mutex_lock(&limits_lock);
    pv_status status = d->runner->upload(d->state, upload, err);
    pthread_mutex_unlock(&limits_lock);
    return status;
}

static pv_status load(engine_device *d, const uint64_t *random_seed, pv_error *err)
{
    cuda_upload *upload = NULL;
    float2 *table = NULL;
    uint32_t parts = d->model.shard == NULL ? 1 : d->model.shard->ranks;
    pv_status status = cuda_upload_open(&upload, random_seed, parts, err);
    if (status == PV_OK) {
        status = list_uploads(d, upload, err);
    }
    if (status == PV_OK) {
        status = cuda_batches_open(&d->batches, upload, &table, err);
    }
    if (status == PV_OK) {
        status = cuda_upload_run(upload, err);
    }
    cuda_upload_close(upload);
    pv_free(table);
    return status;
}

static bool owns_stream(const engine_device *d)
{
    return d->model.comm == NULL || cuda_comms_stream(cuda_comm_all(d->model.comm)) == NULL;
}

static cudaError_t take_stream(engine_device *d)
{
    cudaError_t error = cudaSetDevice(d->ordinal);
    if (error == cudaSuccess && owns_stream(d)) {
        return cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    }
    d->stream = error == cudaSuccess ? cuda_comms_stream(cuda_comm_all(d->model.comm)) : NULL;
    return error;
}

void cuda_part_close(engine_device *d)
{
    (void)cudaSetDevice(d->ordinal);
    if (d->stream != NULL) {
        (void)cudaStreamSynchronize(d->stream);
    }
    cuda_graphs_release(&d->graphs);
    cuda_batches_close(&d->batches);
    (void)cudaFree(d->arenas.weights.base);
    (void)cudaFree(d->arenas.kv.base);
    (void)cudaFree(d->arenas.scratch.base);
    if (d->stream != NULL && owns_stream(d)) {
        (void)cudaStreamDestroy(d->stream);
    }
    (void)cudaGetLastError(); /* what failed here is nobody's business any more */
    discard(d);
}

static void log_plan(const engine_device *d, const engine_memory *m)
{
    char part[48] = "";
    const engine_shard *shard = d->model.shard;
    if (shard != NULL) {
        (void)snprintf(part, sizeof part, " (part %u of %u)", shard->rank + 1, shard->ranks);
    }
    pv_log(
        PV_LOG_INFO,
        "cuda: GPU %d%s, %s kernels: weights %.2f GB, cache %.2f GB (%u pages of %.2f MB), buffers "
        "%.2f GB; %.2f GB free of %.2f",
        d->ordinal, part, d->runner->name, gigabytes(m->weights_copied), gigabytes(m->kv),
        m->kv_pages, (double)m->kv_page / 1e6, gigabytes(m->scratch), gigabytes(m->device_free),
        gigabytes(m->device_total));
}

pv_status cuda_part_open(engine_device *d, const cuda_part *part, const engine_memory *memory,
                         pv_error *err)
{
    log_plan(d, memory);
    pv_status status = check_room(d, memory, err);
    if (status == PV_OK) {
        cudaError_t error = take_stream(d);
        status = error == cudaSuccess ? PV_OK : cuda_failure(error, "opening the GPU", err);
    }
    if (status == PV_OK) {
        status = take_memory(d, err);
    }
    if (status == PV_OK) {
        status = load(d, part->random_seed, err);
    }
    return status;
}

/* ---- Steps ---- */

static cudaError_t enqueue_kernels(void *user, cuda_step_shape shape, cudaStream_t stream)
{
    engine_device *d = (engine_device *)user;
    cuda_batch view = cuda_batches_view(&d->batches, shape);
    cudaError_t error = cuda_batches_begin(&d->batches, shape, stream);
    return error == cudaSuccess ? d->runner->step(d->state, &view, d->logits, stream) : error;
}

static bool is_decode(const engine_batch *batch)
{
    return batch->seq_count == batch->rows;
}

/* What the slot holds goes to the device, and the step's kernels behind it. */
static cudaError_t send_slot(engine_device *d, const cuda_slot *slot, size_t used, size_t extra)
{
    cudaError_t error =
        cudaMemcpyAsync(d->batches.block, slot->block, used, cudaMemcpyHostToDevice, d->stream);
    if (error == cudaSuccess && extra != 0) {
        error = cudaMemcpyAsync(d->batches.extra, slot->extra, extra, cudaMemcpyHostToDevice,
                                d->stream);
    }
    return error;
}

/* Where ranks share a stream, all metadata goes in front of the graph, which holds the kernels of all. */
static cudaError_t replay(engine_device *d, cuda_step_shape shape)
{
    cuda_comm *comm = d->model.comm;
    cudaError_t error = comm == NULL ? cudaSuccess : cuda_comm_pass(comm);
    return error == cudaSuccess
               ? cuda_graphs_run(&d->graphs, comm, shape, enqueue_kernels, d, d->stream)
               : error;
}

/* Enqueues a checked batch by way of a slot that nobody uses. */
static pv_status enqueue(engine_device *d, cuda_slot *slot, const engine_batch *batch,
                         const engine_draw *draws, uint32_t draw_count, cuda_step_shape *shape,
                         pv_error *err)
{
    bool captured = d->runner->captures && !d->direct && is_decode(batch);
    *shape = cuda_step_shape_of(&d->batches, batch, captured);
    cuda_host_batch host;
    size_t used = 0;
    size_t extra = 0;
    cuda_batches_fill(&d->batches, slot, batch, draws, draw_count, *shape, &host, &used);
    if (d->runner->prepare != NULL) {
        pv_status status = d->runner->prepare(d->state, &host, slot->extra, &extra, err);
        if (status != PV_OK) {
            return status;
        }
    }
    cudaError_t error = send_slot(d, slot, used, extra);
    if (error == cudaSuccess) {
        error = captured ? replay(d, *shape) : enqueue_kernels(d, *shape, d->stream);
    }
    return error == cudaSuccess ? PV_OK : die(d, error, "a step on the GPU", err);
}

static cudaError_t wait_for(engine_device *d, cudaEvent_t event)
{
    return d->model.comm == NULL ? cudaEventSynchronize(event)
                                 : cuda_comm_wait(d->model.comm, event);
}

static pv_status finish(engine_device *d, cuda_slot *slot, cudaError_t error, pv_error *err)
{
    if (error == cudaSuccess) {
        error = cudaEventRecord(slot->done, d->stream);
    }
    return error == cudaSuccess ? PV_OK : die(d, error, "a step on the GPU", err);
}

/* With other parts, the step has ended before logits are fetched: copying waits for ever for what never comes. */
static cudaError_t fetch_logits(engine_device *d, const cuda_slot *slot, float *logits,
                                uint32_t rows)
{
    size_t bytes = (size_t)rows * d->model.config->vocab_size * sizeof *logits;
    cudaError_t error = d->model.comm == NULL ? cudaSuccess : wait_for(d, slot->done);
    if (error == cudaSuccess) {
        error = cudaMemcpyAsync(logits, d->logits, bytes, cudaMemcpyDeviceToHost, d->stream);
    }
    return error == cudaSuccess ? cudaStreamSynchronize(d->stream) : error;
}

pv_status cuda_part_forward(engine_device *d, const engine_batch *batch, float *logits,
                            pv_error *err)
{
    pv_status status = engine_batch_check(batch, d->model.config, &d->model.options, false, err);
    if (status == PV_OK && batch->logit_count != 0 && logits == NULL && draws_here(d)) {
        status = pv_fail(err, PV_E_MISUSE, "no room for %u rows of logits", batch->logit_count);
    }
    if (status == PV_OK) {
        status = enter(d, err);
    }
    if (status != PV_OK) {
        return status;
    }
    cuda_slot *slot = &d->batches.slots[CUDA_SLOTS - 1];
    cudaError_t error = wait_for(d, slot->done);
    if (error != cudaSuccess) {
        return die(d, error, "a step on the GPU", err);
    }
    cuda_step_shape shape;
    status = enqueue(d, slot, batch, NULL, 0, &shape, err);
    if (status != PV_OK) {
        return status;
    }
    status = finish(d, slot, cudaSuccess, err);
    if (status != PV_OK || batch->logit_count == 0 || !draws_here(d)) {
        return status;
    }
    error = fetch_logits(d, slot, logits, batch->logit_count);
    return error == cudaSuccess ? PV_OK : die(d, error, "a step on the GPU", err);
}

pv_status cuda_part_copy_page(engine_device *d, uint32_t to, uint32_t from, uint32_t tokens,
                              pv_error *err)
{
    uint32_t pages = d->model.options.kv_pages;
    if (to >= pages || from >= pages || tokens > ENGINE_PAGE_TOKENS) {
        return pv_fail(err, PV_E_MISUSE, "copy of %u tokens from page %u to %u of %u", tokens, from,
                       to, pages);
    }
    pv_status status = enter(d, err);
    if (status != PV_OK || to == from || tokens == 0) {
        return status;
    }
    cudaError_t error = d->runner->copy_page(d->state, to, from, tokens, d->stream);
    return error == cudaSuccess ? PV_OK : die(d, error, "copying a page on the GPU", err);
}

void cuda_part_memory(const engine_device *d, engine_memory *out)
{
    fill_memory(d, out);
    size_t free_bytes = 0;
    size_t total = 0;
    if (d->death.status == PV_OK && cudaSetDevice(d->ordinal) == cudaSuccess &&
        cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) {
        out->device_free = free_bytes / d->model.sharers;
        out->device_total = total / d->model.sharers;
    }
}

/* ---- Sampling ---- */

static pv_status check_drawn(const engine_device *d, const engine_batch *batch, pv_error *err)
{
    for (uint32_t i = 0; i < batch->rows; i++) {
        uint32_t token = batch->tokens[i];
        uint32_t draw = token & ~(uint32_t)ENGINE_TOKEN_DRAWN;
        if ((token & ENGINE_TOKEN_DRAWN) != 0 && draw >= d->drawn) {
            return pv_fail(err, PV_E_MISUSE, "row %u: the token of draw %u; the last step drew %u",
                           i, draw, d->drawn);
        }
    }
    return PV_OK;
}

/* Draws, and sends the results to the host. */
static cudaError_t draw(engine_device *d, cuda_slot *slot, cuda_step_shape shape,
                        const engine_batch *batch, const engine_draw *draws)
{
    cuda_sampler op = {};
    op.logits = d->logits;
    op.vocab = d->model.config->vocab_size;
    op.rows = batch->logit_count;
    op.draws = cuda_batches_draws(&d->batches, shape, batch->seq_count);
    op.draw_count = slot->draw_count;
    op.cuts = cuda_sampler_cuts(draws, slot->draw_count);
    op.drawn = d->batches.drawn;
    op.scratch = d->sample_space;
    cudaError_t error = cuda_sampler_run(&op, d->stream);
    if (error != cudaSuccess) {
        return error;
    }
    return cudaMemcpyAsync(slot->results, d->batches.drawn, slot->draw_count * sizeof(engine_drawn),
                           cudaMemcpyDeviceToHost, d->stream);
}

/* Rank 0 draws; what it drew goes to all. */
static cudaError_t sample(engine_device *d, cuda_slot *slot, cuda_step_shape shape,
                          const engine_batch *batch, const engine_draw *draws)
{
    cudaError_t error = cudaSuccess;
    if (draws_here(d)) {
        error = draw(d, slot, shape, batch, draws);
    }
    if (error == cudaSuccess && d->model.comm != NULL) {
        error = cuda_comm_broadcast(d->model.comm, d->batches.drawn,
                                    slot->draw_count * sizeof(engine_drawn), d->stream);
    }
    return error;
}

pv_status cuda_part_submit(engine_device *d, const engine_batch *batch, const engine_draw *draws,
                           uint32_t draw_count, uint64_t *ticket, pv_error *err)
{
    const engine_backend_options *o = &d->model.options;
    pv_status status = engine_batch_check(batch, d->model.config, o, true, err);
    if (status == PV_OK) {
        status = engine_draws_check(draws, draw_count, batch, d->model.config, o, err);
    }
    if (status == PV_OK) {
        status = check_drawn(d, batch, err);
    }
    if (status == PV_OK && d->submitted - d->collected >= ENGINE_STEPS_AHEAD) {
        status = pv_fail(err, PV_E_LIMIT, "%d steps are on their way; collect one first",
                         ENGINE_STEPS_AHEAD);
    }
    if (status == PV_OK) {
        status = enter(d, err);
    }
    if (status != PV_OK) {
        return status;
    }
    cuda_slot *slot = &d->batches.slots[d->submitted % ENGINE_STEPS_AHEAD];
    cuda_step_shape shape;
    status = enqueue(d, slot, batch, draws, draw_count, &shape, err);
    if (status != PV_OK) {
        return status;
    }
    slot->draw_count = draw_count;
    cudaError_t error = draw_count == 0 ? cudaSuccess : sample(d, slot, shape, batch, draws);
    status = finish(d, slot, error, err);
    if (status == PV_OK) {
        d->drawn = draw_count;
        *ticket = ++d->submitted;
    }
    return status;
}

pv_status cuda_part_collect(engine_device *d, uint64_t ticket, engine_drawn *out, pv_error *err)
{
    if (ticket != d->collected + 1 || ticket > d->submitted) {
        return pv_fail(err, PV_E_MISUSE, "step %llu was asked for; the next one is %llu of %llu",
                       (unsigned long long)ticket, (unsigned long long)d->collected + 1,
                       (unsigned long long)d->submitted);
    }
    pv_status status = enter(d, err);
    if (status != PV_OK) {
        return status;
    }
    cuda_slot *slot = &d->batches.slots[(ticket - 1) % ENGINE_STEPS_AHEAD];
    cudaError_t error = wait_for(d, slot->done);
    if (error != cudaSuccess) {
        return die(d, error, "a step on the GPU", err);
    }
    if (slot->draw_count != 0 && draws_here(d)) {
        memcpy(out, slot->results, slot->draw_count * sizeof *out);
    }
    d->collected++;
    return PV_OK;
}
