/* The engine on the cpu backend with small checkpoints: a result is the same to the bit alone, among fifteen others,
 * from the cache, with prompts cut into small chunks, and after making room for others. */
#include "fixture_invariance.h"

Test(engine_invariance, a_result_does_not_depend_on_what_surrounds_it, .timeout = 600)
{
    static const char *const names[] = {"ds_plain",  "ds_bf16",   "ds_fp8_ragged", "ds_fp8_yarn",
                                        "llama_gqa", "llama_mha", "llama_bf16",    "llama_yarn"};
    uint64_t live = pv_mem_live();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        invariance_check(engine_backend_cpu(), names[i]);
    }
    cr_expect_eq(pv_mem_live(), live);
}
