/* Bytes as config.json, and what follows a NUL as generation_config.json: an accepted configuration keeps the
 * promises that its users rely on. */
#include "engine_config.h"
#include "engine_weights.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const engine_config *c)
{
    bool sound = c->layers > 0 && c->heads % c->kv_heads == 0 && c->rope.factor >= 1 &&
                 c->head_dim > 0 && engine_config_kv_values(c) > 0;
    if (c->moe.routed != 0) {
        sound = sound && c->moe.routed % c->moe.groups == 0 && c->moe.layer_freq > 0 &&
                c->moe.per_token > 0 && c->moe.per_token <= c->moe.routed;
    }
    if (!sound) {
        abort();
    }
    engine_plan plan;
    pv_buf text = {0};
    /* A walk over every expert of the largest configuration takes too long for a fuzzer. */
    if ((uint64_t)c->layers * (c->moe.routed + 1) < 4096 &&
        engine_plan_from_config(&plan, c, NULL) == PV_OK) {
        engine_plan_text(&plan, c, &text);
    }
    pv_buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *cut = size == 0 ? NULL : memchr(text, '\0', size);
    size_t first = cut == NULL ? size : (size_t)(cut - text);
    engine_config c = {0};
    pv_error err = {0};
    pv_status status = engine_config_parse(&c, text, first, cut == NULL ? NULL : cut + 1,
                                           cut == NULL ? 0 : size - first - 1, &err);
    if (status == PV_OK) {
        check(&c);
        engine_config_release(&c);
    }
    return 0;
}
