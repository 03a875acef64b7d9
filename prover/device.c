#include "device.h"

#include "pv_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double GIB = 1024.0 * 1024 * 1024;

/* A GPU is fast with many rows: as many sequences as four states of 64 candidates make, prompts in long chunks. */
enum { GPU_ROWS = 1024, GPU_SEQUENCES = 256, GPU_ORDINAL_MAX = 1023 };

static const char gpu_word[] = "cuda";

/* A cache below this is of no use in a search. */
enum { CONTEXT_AT_LEAST = 4096 };

/* What stays free on a GPU, for the driver and for others: a part of it, and at least so much. */
enum { RESERVE_PART = 32, RESERVE_MIB = 512 };

device_table device_built(void)
{
    return (device_table){engine_backend_cpu(), engine_backend_cuda()};
}

/* ---- the words of --device ---- */

/* A number of a GPU, and what follows it. */
static const char *read_gpu(const char *digits, uint32_t *out)
{
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 4) {
        return NULL;
    }
    *out = (uint32_t)strtoul(digits, NULL, 10);
    return *out <= GPU_ORDINAL_MAX ? digits + n : NULL;
}

/* "cuda:0,1,2". No numbers: none are read. */
static bool read_gpus(const char *name, engine_backend_options *out)
{
    const char *at = name + strlen(gpu_word);
    out->gpu_count = 0;
    if (*at == '\0') {
        return true;
    }
    for (char before = ':'; at != NULL && *at == before; before = ',') {
        if (out->gpu_count == ENGINE_GPUS_MAX) {
            return false;
        }
        at = read_gpu(at + 1, &out->gpus[out->gpu_count++]);
    }
    return at != NULL && *at == '\0' && out->gpu_count != 0;
}

static bool is_gpu(const char *name)
{
    return strncmp(name, gpu_word, strlen(gpu_word)) == 0;
}

pv_status device_check(const options *opt, pv_error *err)
{
    engine_backend_options ignored = {0};
    bool known = strcmp(opt->device, "auto") == 0 || strcmp(opt->device, "cpu") == 0 ||
                 (is_gpu(opt->device) && read_gpus(opt->device, &ignored));
    return known ? PV_OK
                 : pv_fail(err, PV_E_INVALID,
                           "--device %s: the devices are auto, cpu, cuda, cuda:N for GPU N, and "
                           "cuda:N,M,... for up to %d GPUs that hold a part of the model each",
                           opt->device, ENGINE_GPUS_MAX);
}

/* ---- the cache ---- */

static uint64_t pages_for(uint64_t tokens)
{
    return (tokens + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
}

/* One page more than the context: a branch may begin with a copy of its prefix's last page. */
static uint64_t context_pages(const engine_model *model, uint32_t at_most)
{
    uint32_t context = model->config.max_positions;
    return pages_for(context < at_most ? context : at_most) + 1;
}

/* `one` is the plan with a single page. */
static pv_status budget_pages(const options *opt, const engine_memory *one, uint64_t *out,
                              pv_error *err)
{
    double pages = opt->kv_memory * GIB / (double)one->kv_page;
    *out = pages < UINT32_MAX - 1 ? (uint64_t)pages : UINT32_MAX - 1;
    if (*out >= 2) {
        return PV_OK;
    }
    return pv_fail(err, PV_E_INVALID,
                   "--kv-memory %g: a page of %d tokens takes %.3f GiB, and 2 are the least",
                   opt->kv_memory, ENGINE_PAGE_TOKENS, (double)one->kv_page / GIB);
}

static uint64_t weights_of(const engine_memory *m)
{
    return m->weights_copied + m->scratch;
}

/* The bytes that the cache may have. */
static uint64_t left_for_cache(const engine_memory *one)
{
    uint64_t reserve = one->device_total / RESERVE_PART;
    reserve = reserve > (uint64_t)RESERVE_MIB << 20 ? reserve : (uint64_t)RESERVE_MIB << 20;
    uint64_t taken = weights_of(one) + reserve;
    return taken < one->device_free ? one->device_free - taken : 0;
}

static pv_status does_not_fit(const engine_memory *one, uint64_t pages, pv_error *err)
{
    char where[48] = "one GPU";
    if (one->gpus > 1) {
        (void)snprintf(where, sizeof where, "%u GPUs, a part on each", one->gpus);
    }
    return pv_fail(err, PV_E_LIMIT,
                   "the model does not fit on %s: %.2f GiB of weights, %.2f GiB of scratch, and "
                   "%.2f GiB for %llu pages of cache; the GPU has %.2f GiB, %.2f of them free",
                   where, (double)one->weights_copied / GIB, (double)one->scratch / GIB,
                   (double)(pages * one->kv_page) / GIB, (unsigned long long)pages,
                   (double)one->device_total / GIB, (double)one->device_free / GIB);
}

static pv_status gpu_pages(const options *opt, const engine_model *model, const engine_memory *one,
                           uint64_t *out, pv_error *err)
{
    uint64_t fit = left_for_cache(one) / one->kv_page;
    uint64_t least = context_pages(model, CONTEXT_AT_LEAST);
    if (opt->kv_memory > 0) {
        pv_status status = budget_pages(opt, one, &least, err);
        if (status != PV_OK) {
            return status;
        }
    }
    if (fit < least) {
        return does_not_fit(one, least, err);
    }
    uint64_t most = context_pages(model, UINT32_MAX) * GPU_SEQUENCES;
    *out = opt->kv_memory > 0 ? least : fit < most ? fit : most;
    return PV_OK;
}

/* A page for each of the samples that decode together, and prompts that stay cached, where that costs little. */
enum { CPU_SEQUENCES = 64, CPU_CACHE_MIB = 256 };

static pv_status cpu_pages(const options *opt, const engine_model *model, const engine_memory *one,
                           uint64_t *out, pv_error *err)
{
    uint64_t context = context_pages(model, UINT32_MAX), most = context * CPU_SEQUENCES;
    uint64_t fit = ((uint64_t)CPU_CACHE_MIB << 20) / one->kv_page;
    fit = fit < most ? fit : most;
    *out = fit > context ? fit : context;
    return opt->kv_memory > 0 ? budget_pages(opt, one, out, err) : PV_OK;
}

/* ---- plans ---- */

static pv_status plan_pages(device_plan *p, const options *opt, const engine_model *model,
                            pv_error *err)
{
    engine_backend_options *o = &p->engine.backend;
    engine_memory one = {0};
    o->kv_pages = 1;
    pv_status status = p->backend->plan(&one, &model->weights, o, err);
    uint64_t pages = 0;
    if (status == PV_OK) {
        status = one.device_total > 0 ? gpu_pages(opt, model, &one, &pages, err)
                                      : cpu_pages(opt, model, &one, &pages, err);
    }
    o->kv_pages = (uint32_t)pages;
    return status == PV_OK ? p->backend->plan(&p->memory, &model->weights, o, err) : status;
}

/* "cuda" without numbers: on as few GPUs as hold the model, 0, 0 and 1, 0 to 3, 0 to 7. Where there are no more of them,
 * what is said is that it did not fit on those before. */
static pv_status plan_on_gpus(device_plan *p, const options *opt, const engine_model *model,
                              pv_error *err)
{
    engine_backend_options *o = &p->engine.backend;
    pv_status status = plan_pages(p, opt, model, err);
    for (uint32_t n = 2; status == PV_E_LIMIT && n <= ENGINE_GPUS_MAX; n *= 2) {
        pv_error more = {0};
        for (o->gpu_count = 0; o->gpu_count < n; o->gpu_count++) {
            o->gpus[o->gpu_count] = o->gpu_count;
        }
        pv_status next = plan_pages(p, opt, model, &more);
        if (next != PV_OK && next != PV_E_LIMIT) {
            break;
        }
        status = next;
        if (err != NULL) {
            *err = more;
        }
    }
    return status;
}

pv_status device_plan_on(device_plan *out, const device_table *table, const char *name,
                         const options *opt, const engine_model *model, pv_error *err)
{
    device_plan p = {.backend = table->cpu};
    p.engine.backend.threads = (uint32_t)opt->threads;
    if (is_gpu(name)) {
        p.backend = table->cuda;
        p.engine.backend.max_rows = GPU_ROWS;
        p.engine.backend.max_logit_rows = GPU_SEQUENCES;
        (void)read_gpus(name, &p.engine.backend);
    }
    if (p.backend == NULL) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "--device %s: this program was built without CUDA; build it where the CUDA "
                       "Toolkit is, with -DPROVER_CUDA=ON",
                       name);
    }
    pv_status status = strcmp(name, gpu_word) == 0 ? plan_on_gpus(&p, opt, model, err)
                                                   : plan_pages(&p, opt, model, err);
    if (status == PV_OK) {
        *out = p;
    }
    return status;
}

void device_plan_text(const device_plan *plan, pv_buf *out)
{
    const engine_memory *m = &plan->memory;
    if (m->served_by[0] != '\0') {
        pv_buf_printf(out, "%s: ", m->served_by);
    }
    if (m->gpus > 1) {
        pv_buf_printf(out, "on each ");
    }
    bool copied = m->weights_copied > 0;
    pv_buf_printf(out, "%.2f GiB of weights%s, %.2f GiB for %u pages of cache (%llu tokens), ",
                  (double)(copied ? m->weights_copied : m->weights_mapped) / GIB,
                  copied ? "" : " in place", (double)m->kv / GIB, m->kv_pages,
                  (unsigned long long)m->kv_pages * ENGINE_PAGE_TOKENS);
    pv_buf_printf(out, "%.2f GiB of scratch", (double)m->scratch / GIB);
    if (m->device_total > 0) {
        pv_buf_printf(out, "; %.2f of %.2f GiB free", (double)m->device_free / GIB,
                      (double)m->device_total / GIB);
    }
}

/* ---- the choice ---- */

static void log_choice(const char *asked, const device_plan *plan, const char *why)
{
    pv_buf text = {0};
    device_plan_text(plan, &text);
    pv_log(PV_LOG_INFO, "--device %s: %s%s%s; %s", asked, plan->backend->name,
           why[0] != '\0' ? ", since " : "", why, pv_buf_text(&text));
    pv_buf_release(&text);
}

/* A GPU that is there and cannot be used is worth a warning; a missing one is not. */
static pv_status choose_auto(device_plan *out, const device_table *table, const options *opt,
                             const engine_model *model, pv_error *err)
{
    pv_error why = {0};
    if (table->cuda == NULL) {
        (void)pv_fail(&why, PV_E_UNSUPPORTED, "this program was built without CUDA");
    } else if (device_plan_on(out, table, "cuda", opt, model, &why) == PV_OK) {
        log_choice("auto", out, "");
        return PV_OK;
    } else if (why.status != PV_E_DEVICE) {
        pv_log(PV_LOG_WARN, "the GPU is not used: %s", why.msg);
    }
    pv_status status = device_plan_on(out, table, "cpu", opt, model, err);
    if (status == PV_OK) {
        log_choice("auto", out, why.msg);
    }
    return status;
}

pv_status device_choose_from(device_plan *out, const device_table *table, const options *opt,
                             const engine_model *model, pv_error *err)
{
    pv_status status = device_check(opt, err);
    if (status == PV_OK && strcmp(opt->device, "auto") == 0) {
        return choose_auto(out, table, opt, model, err);
    }
    if (status == PV_OK) {
        status = device_plan_on(out, table, opt->device, opt, model, err);
    }
    if (status == PV_OK) {
        log_choice(opt->device, out, "");
    }
    return status;
}

pv_status device_choose(device_plan *out, const options *opt, const engine_model *model,
                        pv_error *err)
{
    device_table table = device_built();
    return device_choose_from(out, &table, opt, model, err);
}
