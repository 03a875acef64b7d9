/* The cuda backend's table: one device, or a team of them. */
#include "engine_cuda_team.cuh"

#include "pv_log.h"

static bool is_spread(const engine_backend_options *options)
{
    return options != NULL && options->gpu_count > 1;
}

/* gpu_count 1 names its GPU as several do. */
static engine_backend_options for_one(const engine_backend_options *options)
{
    engine_backend_options o = {};
    if (options != NULL) {
        o = *options;
        o.ordinal = o.gpu_count == 1 ? o.gpus[0] : o.ordinal;
        o.gpu_count = 0;
    }
    return o;
}

static pv_status cuda_plan(engine_memory *out, const engine_weights *weights,
                           const engine_backend_options *options, pv_error *err)
{
    if (is_spread(options)) {
        return cuda_team_plan(out, weights, options, err);
    }
    engine_backend_options one = for_one(options);
    cuda_part part = {weights, &one, NULL, NULL, NULL, 1};
    engine_memory memory;
    engine_device *d = NULL;
    pv_status status = cuda_part_prepare(&d, &part, &memory, true, err);
    if (status == PV_OK) {
        *out = memory;
        cuda_part_close(d);
    }
    return status;
}

static pv_status open_one(engine_device **out, const engine_weights *weights,
                          const engine_backend_options *options, const uint64_t *random_seed,
                          pv_error *err)
{
    engine_backend_options one = for_one(options);
    cuda_part part = {weights, &one, random_seed, NULL, NULL, 1};
    engine_memory memory;
    engine_device *d = NULL;
    pv_status status = cuda_part_prepare(&d, &part, &memory, false, err);
    if (status != PV_OK) {
        return status;
    }
    status = cuda_part_open(d, &part, &memory, err);
    if (status != PV_OK) {
        cuda_part_close(d);
        return status;
    }
    *out = d;
    return PV_OK;
}

pv_status cuda_device_open(engine_device **out, const engine_weights *weights,
                           const engine_backend_options *options, const uint64_t *random_seed,
                           pv_error *err)
{
    pv_status status = is_spread(options) ? cuda_team_open(out, weights, options, random_seed, err)
                                          : open_one(out, weights, options, random_seed, err);
    if (status == PV_OK && weights->tensors != NULL && /* they are on the GPU now */
        engine_safetensors_advise(weights->tensors, ENGINE_ADVICE_DONTNEED, NULL) != PV_OK) {
        pv_log(PV_LOG_DEBUG, "cuda: the checkpoint's pages stay in memory");
    }
    return status;
}

static pv_status cuda_open(engine_device **out, const engine_weights *weights,
                           const engine_backend_options *options, pv_error *err)
{
    return cuda_device_open(out, weights, options, NULL, err);
}

static void cuda_close(engine_device *d)
{
    if (d != NULL && d->team != NULL) {
        cuda_team_close(d->team);
    } else if (d != NULL) {
        cuda_part_close(d);
    }
}

static pv_status cuda_forward(engine_device *d, const engine_batch *batch, float *logits,
                              pv_error *err)
{
    return d->team != NULL ? cuda_team_forward(d->team, batch, logits, err)
                           : cuda_part_forward(d, batch, logits, err);
}

static pv_status cuda_copy_page(engine_device *d, uint32_t to, uint32_t from, uint32_t tokens,
                                pv_error *err)
{
    return d->team != NULL ? cuda_team_copy_page(d->team, to, from, tokens, err)
                           : cuda_part_copy_page(d, to, from, tokens, err);
}

static void cuda_memory(const engine_device *d, engine_memory *out)
{
    if (d->team != NULL) {
        cuda_team_memory(d->team, out);
    } else {
        cuda_part_memory(d, out);
    }
}

static pv_status cuda_submit(engine_device *d, const engine_batch *batch, const engine_draw *draws,
                             uint32_t draw_count, uint64_t *ticket, pv_error *err)
{
    return d->team != NULL ? cuda_team_submit(d->team, batch, draws, draw_count, ticket, err)
                           : cuda_part_submit(d, batch, draws, draw_count, ticket, err);
}

static pv_status cuda_collect(engine_device *d, uint64_t ticket, engine_drawn *out, pv_error *err)
{
    return d->team != NULL ? cuda_team_collect(d->team, ticket, out, err)
                           : cuda_part_collect(d, ticket, out, err);
}

extern "C" const engine_backend *engine_backend_cuda(void)
{
    static const engine_backend table = {"cuda",      cuda_plan,    cuda_open,
                                         cuda_close,  cuda_forward, cuda_copy_page,
                                         cuda_memory, cuda_submit,  cuda_collect};
    return &table;
}
