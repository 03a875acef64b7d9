/* What cannot be done is refused, with figures and a remedy, and the device goes on. */
#include "cuda_fixture.h"

static pv_status try_open(const engine_weights *w, engine_backend_options options, pv_error *err)
{
    engine_device *device = NULL;
    *err = (pv_error){0};
    pv_status status = engine_backend_cuda()->open(&device, w, &options, err);
    printf("  %s: %s\n", pv_status_text(status), err->msg);
    engine_backend_cuda()->close(device);
    return status;
}

Test(engine_cuda_errors, are_reported)
{
    const engine_backend *cuda = cuda_or_skip();
    engine_config config = cuda_llama_config();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_open(&model, &config, ENGINE_DTYPE_BF16, 3, &err), PV_OK);
    const engine_weights *w = engine_synthetic_weights(model);

    cr_expect_eq(try_open(w, (engine_backend_options){.kv_pages = 1u << 28}, &err), PV_E_NOMEM);
    cr_expect_not_null(strstr(err.msg, "GB needed"));
    cr_expect_not_null(strstr(err.msg, "kv_pages fit"));
    cr_expect_eq(try_open(w, (engine_backend_options){.ordinal = 99}, &err), PV_E_INVALID);
    cr_expect_eq(try_open(w, (engine_backend_options){.max_rows = 1u << 20}, &err), PV_E_INVALID);

    engine_memory plan;
    engine_memory now;
    engine_backend_options options = {.kv_pages = 20};
    cr_assert_eq(cuda->plan(&plan, w, &options, &err), PV_OK);
    cuda_run r = cuda_open_run(cuda, w, &options);
    cuda->memory(r.device, &now);
    cr_expect_eq(plan.weights_copied, now.weights_copied);
    cr_expect_eq(plan.kv, now.kv);
    cr_expect_eq(plan.scratch, now.scratch);
    cr_expect_gt(now.device_total, now.device_free);

    uint32_t pages[CUDA_PAGES_MAX];
    uint32_t tokens[4] = {1, 2, 3, 4000};
    float logits[1000];
    cuda_page_range(pages, 0);
    uint32_t last = 3;
    engine_batch_seq seq = {.pages = pages, .page_count = 1, .start = 0, .rows = 4};
    engine_batch batch = {tokens, 4, &seq, 1, &last, 1};
    cr_expect_eq(cuda->forward(r.device, &batch, logits, NULL), PV_E_MISUSE);
    tokens[3] = 4;
    pages[0] = 20;
    cr_expect_eq(cuda->forward(r.device, &batch, logits, NULL), PV_E_MISUSE);
    pages[0] = 19;
    cr_expect_eq(cuda->forward(r.device, &batch, NULL, NULL), PV_E_MISUSE);
    cr_expect_eq(cuda->copy_page(r.device, 20, 0, 3, NULL), PV_E_MISUSE);
    cr_expect_eq(cuda->copy_page(r.device, 2, 0, 65, NULL), PV_E_MISUSE);
    cr_expect_eq(cuda->forward(r.device, &batch, logits, &err), PV_OK, "%s", err.msg);
    cr_expect(isfinite(logits[0]));
    cuda->close(r.device);
    cuda->close(NULL);
    engine_synthetic_close(model);
    cr_assert_eq(pv_mem_live(), 0);
}

/* Memory of the host runs short at each allocation in turn: a clear error, nothing leaks. */
Test(engine_cuda_errors, short_memory_leaves_nothing_behind)
{
    (void)cuda_or_skip();
    engine_config config = cuda_llama_config();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    config.layers = 1;
    cr_assert_eq(engine_synthetic_open(&model, &config, ENGINE_DTYPE_BF16, 3, &err), PV_OK);
    const engine_weights *w = engine_synthetic_weights(model);
    uint64_t live = pv_mem_live();
    engine_backend_options options = {.kv_pages = 4, .max_rows = 16};
    bool opened = false;
    for (int64_t n = 0; !opened && n < 200; n++) {
        engine_device *device = NULL;
        err = (pv_error){0};
        pv_mem_fail_after(n);
        pv_status status = engine_backend_cuda()->open(&device, w, &options, &err);
        pv_mem_fail_after(-1);
        opened = status == PV_OK;
        cr_expect(opened || status == PV_E_NOMEM, "allocation %d: %s", (int)n, err.msg);
        engine_backend_cuda()->close(device);
        cr_assert_eq(pv_mem_live(), live, "allocation %d leaked", (int)n);
    }
    cr_expect(opened);
    engine_synthetic_close(model);
}
