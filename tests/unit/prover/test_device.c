/* Which backend --device means, and how large the cache becomes: on backends that only plan. */
#include "device.h"
#include "pv_log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const uint64_t MIB = 1 << 20;

static engine_memory gpu; /* what the fake GPU has; kv_page 0: none answers */
static uint32_t gpus_there = 1;
static char logged[2048];

static void on_log(void *user, pv_log_level level, const char *line)
{
    (void)user;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%d %s\n", (int)level, line);
}

static pv_status plan_gpu(engine_memory *out, const engine_weights *weights,
                          const engine_backend_options *wanted, pv_error *err)
{
    (void)weights;
    if (gpu.kv_page == 0) {
        return pv_fail(err, PV_E_DEVICE, "no GPU answers");
    }
    uint32_t parts = wanted->gpu_count > 1 ? wanted->gpu_count : 1;
    for (uint32_t i = 0; i < wanted->gpu_count; i++) {
        if (wanted->gpus[i] >= gpus_there) {
            return pv_fail(err, PV_E_INVALID, "GPU %u was asked for; there are %u", wanted->gpus[i],
                           gpus_there);
        }
    }
    *out = gpu;
    out->weights_copied /= parts;
    out->gpus = parts;
    out->kv_pages = wanted->kv_pages;
    out->kv = out->kv_page * wanted->kv_pages;
    return PV_OK;
}

static pv_status plan_cpu(engine_memory *out, const engine_weights *weights,
                          const engine_backend_options *wanted, pv_error *err)
{
    (void)weights;
    (void)err;
    *out = (engine_memory){.weights_mapped = 100 * MIB,
                           .kv_page = 2 * MIB,
                           .kv_pages = wanted->kv_pages,
                           .kv = 2 * MIB * wanted->kv_pages};
    return PV_OK;
}

static const engine_backend cpu = {.name = "cpu", .plan = plan_cpu};
static const engine_backend cuda = {.name = "cuda", .plan = plan_gpu};
static const device_table both = {&cpu, &cuda};
static const device_table cpu_only = {&cpu, NULL};

static pv_status choose(device_plan *plan, const device_table *table, const char *device,
                        double kv_memory, pv_error *err)
{
    static engine_model model;
    model.config.max_positions = 32768;
    options opt = {.device = device, .kv_memory = kv_memory, .threads = 3};
    memset(err, 0, sizeof *err);
    logged[0] = '\0';
    pv_log_set(on_log, NULL, PV_LOG_INFO);
    return device_choose_from(plan, table, &opt, &model, err);
}

static void give_gpu(uint64_t weights_mib)
{
    gpu = (engine_memory){.weights_copied = weights_mib * MIB,
                          .scratch = 1024 * MIB,
                          .kv_page = 30 * MIB,
                          .device_total = 81920 * MIB,
                          .device_free = 80000 * MIB,
                          .served_by = "H100 (sm_90a)"};
}

Test(device, auto_takes_a_gpu_that_the_model_fits)
{
    device_plan plan;
    pv_error err;
    give_gpu(14000);
    cr_assert_eq(choose(&plan, &both, "auto", 0, &err), PV_OK, "%s", err.msg);
    cr_expect_str_eq(plan.backend->name, "cuda");
    cr_expect_eq(plan.engine.backend.kv_pages, (80000 - 14000 - 1024 - 81920 / 32) / 30);
    cr_expect_eq(plan.memory.kv_pages, plan.engine.backend.kv_pages);
    cr_expect_gt(plan.engine.backend.max_logit_rows, 64);
    cr_expect_not_null(strstr(logged, "auto: cuda; H100 (sm_90a): 13.67 GiB"), "%s", logged);
    gpu.kv_page = MIB / 1024;
    cr_assert_eq(choose(&plan, &both, "auto", 0, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.engine.backend.kv_pages, 513 * 256, "no more than sequences can fill");
}

Test(device, auto_falls_back_and_says_why)
{
    device_plan plan;
    pv_error err;
    give_gpu(670000);
    cr_assert_eq(choose(&plan, &both, "auto", 0, &err), PV_OK, "%s", err.msg);
    cr_expect_str_eq(plan.backend->name, "cpu");
    cr_expect_eq(plan.engine.backend.kv_pages, 513);
    cr_expect_eq(plan.engine.backend.threads, 3);
    char warning[64];
    snprintf(warning, sizeof warning, "%d the GPU is not used", (int)PV_LOG_WARN);
    cr_expect_not_null(strstr(logged, warning), "%s", logged);
    cr_expect_not_null(strstr(logged, "654.30 GiB of weights"), "%s", logged);
    cr_expect_not_null(strstr(logged, "auto: cpu, since"), "%s", logged);
    gpu.kv_page = 0;
    cr_assert_eq(choose(&plan, &both, "auto", 0, &err), PV_OK);
    cr_expect_str_eq(plan.backend->name, "cpu");
    cr_expect_not_null(strstr(logged, "cpu, since no GPU answers"), "%s", logged);
    cr_expect_null(strstr(logged, warning), "a machine without a GPU is nothing to warn about");
    cr_assert_eq(choose(&plan, &cpu_only, "auto", 0, &err), PV_OK);
    cr_expect_not_null(strstr(logged, "built without CUDA"), "%s", logged);
}

Test(device, what_is_asked_for_is_taken_or_refused)
{
    device_plan plan;
    pv_error err;
    give_gpu(14000);
    cr_assert_eq(choose(&plan, &both, "cpu", 0, &err), PV_OK);
    cr_expect_str_eq(plan.backend->name, "cpu");
    cr_assert_eq(choose(&plan, &both, "cuda", 0, &err), PV_OK);
    cr_expect_str_eq(plan.backend->name, "cuda");
    cr_assert_eq(choose(&plan, &both, "cuda:0", 0, &err), PV_OK);
    cr_expect_eq(choose(&plan, &both, "cuda:3", 0, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "GPU 3"), "%s", err.msg);
    cr_expect_eq(choose(&plan, &cpu_only, "cuda", 0, &err), PV_E_UNSUPPORTED);
    cr_expect_not_null(strstr(err.msg, "PROVER_CUDA"), "%s", err.msg);
    give_gpu(670000);
    cr_expect_eq(choose(&plan, &both, "cuda", 0, &err), PV_E_LIMIT);
    cr_expect_not_null(strstr(err.msg, "654.30 GiB of weights"), "%s", err.msg);
    gpu.kv_page = 0;
    cr_expect_eq(choose(&plan, &both, "cuda", 0, &err), PV_E_DEVICE);
    const char *wrong[] = {"", "gpu", "cuda:", "cuda:x", "cuda1", "cuda:1024", "cuda:-1", "CPU"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(choose(&plan, &both, wrong[i], 0, &err), PV_E_INVALID, "%s", wrong[i]);
        cr_expect_not_null(strstr(err.msg, "cuda:N"), "%s", err.msg);
    }
}

Test(device, a_model_is_spread_over_the_gpus_it_needs)
{
    device_plan plan;
    pv_error err;
    give_gpu(250000);
    gpus_there = 8;
    cr_assert_eq(choose(&plan, &both, "cuda", 0, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.engine.backend.gpu_count, 4, "%u", plan.engine.backend.gpu_count);
    cr_expect_eq(plan.engine.backend.gpus[3], 3);
    cr_expect_not_null(strstr(logged, "on each 61.04 GiB of weights"), "%s", logged);
    cr_assert_eq(choose(&plan, &both, "auto", 0, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.memory.gpus, 4);
    cr_assert_eq(choose(&plan, &both, "cuda:7,2,5,3,0", 0, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.engine.backend.gpu_count, 5);
    cr_expect_eq(plan.engine.backend.gpus[2], 5);
    gpus_there = 2;
    cr_expect_eq(choose(&plan, &both, "cuda", 0, &err), PV_E_LIMIT);
    cr_expect_not_null(strstr(err.msg, "does not fit on 2 GPUs"), "%s", err.msg);
    gpus_there = 1;
    cr_expect_eq(choose(&plan, &both, "cuda", 0, &err), PV_E_LIMIT);
    cr_expect_not_null(strstr(err.msg, "does not fit on one GPU: 244.14 GiB"), "%s", err.msg);
    cr_expect_eq(choose(&plan, &both, "cuda:0,1", 0, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "GPU 1"), "%s", err.msg);
    give_gpu(14000);
    cr_assert_eq(choose(&plan, &both, "cuda", 0, &err), PV_OK);
    cr_expect_eq(plan.engine.backend.gpu_count, 0, "one is enough");
    const char *wrong[] = {"cuda:0,",  "cuda:,0",  "cuda:0,,1",
                           "cuda:0;1", "cuda:0,x", "cuda:0,1,2,3,4,5,6,7,8"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(choose(&plan, &both, wrong[i], 0, &err), PV_E_INVALID, "%s", wrong[i]);
        cr_expect_not_null(strstr(err.msg, "cuda:N,M"), "%s", err.msg);
    }
}

Test(device, the_cache_keeps_to_its_budget)
{
    device_plan plan;
    pv_error err;
    give_gpu(14000);
    cr_assert_eq(choose(&plan, &both, "cuda", 3, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.engine.backend.kv_pages, 3 * 1024 / 30);
    cr_assert_eq(choose(&plan, &both, "cpu", 0.5, &err), PV_OK);
    cr_expect_eq(plan.engine.backend.kv_pages, 256);
    cr_expect_eq(choose(&plan, &both, "cuda", 70, &err), PV_E_LIMIT);
    cr_expect_eq(choose(&plan, &both, "cpu", 0.001, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "--kv-memory 0.001"), "%s", err.msg);
}

Test(device, a_cpu_has_room_for_many_samples_where_that_is_cheap)
{
    device_plan plan;
    static engine_model model;
    pv_error err = {0};
    options opt = {.device = "cpu"};
    model.config.max_positions = 1024; /* 17 pages of 2 MiB: 128 fit into what is cheap */
    cr_assert_eq(device_choose_from(&plan, &cpu_only, &opt, &model, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.engine.backend.kv_pages, 128);
    model.config.max_positions = 64; /* 64 sequences fill no more */
    cr_assert_eq(device_choose_from(&plan, &cpu_only, &opt, &model, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(plan.engine.backend.kv_pages, 64 * 2);
}
