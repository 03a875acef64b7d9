/* bench_gpu_model: what the benchmarks of whole models share: the 7B's shape, and a status that is not PV_OK ends the program
 * with its message. One thread. */
#ifndef BENCH_GPU_MODEL_CUH
#define BENCH_GPU_MODEL_CUH

#include "engine_config.h"
#include "pv_error.h"

#include <stdio.h>
#include <stdlib.h>

static inline void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static inline void check(pv_status status, const pv_error *err)
{
    if (status != PV_OK) {
        fail(pv_status_text(status), err->msg);
    }
}

static inline engine_config config_7b(uint32_t positions)
{
    engine_config c = {};
    c.arch = ENGINE_ARCH_LLAMA;
    c.vocab_size = 102400;
    c.hidden_size = 4096;
    c.layers = 30;
    c.heads = c.kv_heads = 32;
    c.head_dim = 128;
    c.intermediate_size = 11008;
    c.max_positions = positions;
    c.norm_eps = 1e-6;
    c.rope.kind = ENGINE_ROPE_PLAIN;
    c.rope.theta = 10000;
    c.rope.factor = 1;
    c.rope.original_positions = positions;
    return c;
}

#endif
