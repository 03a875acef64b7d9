/* The engine on the cuda backend: what surrounds a request changes none of its bits, and it says what the cpu says. */
#include "../engine/fixture_invariance.h"
#include "cuda_fixture.h"

static void check_synthetic(const engine_backend *cuda, engine_config config, engine_dtype matrices,
                            const char *name)
{
    engine_synthetic *synthetic = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_open(&synthetic, &config, matrices, 11, &err), PV_OK, "%s",
                 err.msg);
    engine_model model = {.config = config, .weights = *engine_synthetic_weights(synthetic)};
    model.weights.config = &model.config;
    invariance_check_model(cuda, &model, name);
    engine_synthetic_close(synthetic);
}

Test(engine_cuda_engine, fast_kernels_too, .timeout = 300)
{
    const engine_backend *cuda = cuda_or_skip();
    check_synthetic(cuda, cuda_llama_config(), ENGINE_DTYPE_BF16, "llama");
    check_synthetic(cuda, cuda_deepseek_config(), ENGINE_DTYPE_F8_E4M3, "deepseek");
}

Test(engine_cuda_engine, a_result_does_not_depend_on_what_surrounds_it, .timeout = 300)
{
    static const char *const names[] = {"ds_plain", "ds_fp8_yarn", "llama_gqa", "llama_bf16"};
    const engine_backend *cuda = cuda_or_skip();
    uint64_t live = pv_mem_live();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        invariance_check(cuda, names[i]);
    }
    cr_expect_eq(pv_mem_live(), live);
}
