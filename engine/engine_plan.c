#include "engine_plan_internal.h"

#include <string.h>

void enginep_plan_add(engine_plan *plan, const engine_config *config, const engine_spec *spec,
                      uint64_t bytes)
{
    uint64_t params = (uint64_t)spec->rows * spec->cols;
    plan->params[spec->kind] += params;
    plan->bytes[spec->kind] += bytes;
    bool chosen = spec->kind != ENGINE_KIND_EXPERT || spec->expert < config->moe.per_token;
    /* A token reads one row of the embedding, and all of it again where it serves as the head. */
    if (chosen && (spec->kind != ENGINE_KIND_EMBED || config->tie_embeddings)) {
        plan->params_active += params;
    }
}

void enginep_plan_finish(engine_plan *plan, const engine_config *config)
{
    plan->params_total = 0;
    plan->bytes_total = plan->scale_bytes;
    for (int i = 0; i < ENGINE_KIND_COUNT; i++) {
        plan->params_total += plan->params[i];
        plan->bytes_total += plan->bytes[i];
    }
    plan->kv_values = engine_config_kv_values(config);
    plan->kv_bytes = (uint64_t)plan->kv_values * config->layers * 2;
}

typedef struct counter {
    engine_plan *plan;
    const engine_config *config;
} counter;

static uint64_t ceil_div(uint64_t n, uint64_t d)
{
    return n / d + (n % d != 0);
}

static pv_status count(void *user, const engine_spec *spec, pv_error *err)
{
    (void)err;
    const counter *c = user;
    const engine_quant *q = &c->config->quant;
    uint64_t values = (uint64_t)spec->rows * spec->cols;
    enginep_plan_add(c->plan, c->config, spec, spec->quantised ? values : 2 * values);
    if (spec->quantised) {
        c->plan->scale_bytes +=
            4 * ceil_div(spec->rows, q->block_rows) * ceil_div(spec->cols, q->block_cols);
    }
    return PV_OK;
}

pv_status engine_plan_from_config(engine_plan *out, const engine_config *config, pv_error *err)
{
    engine_plan plan;
    memset(&plan, 0, sizeof plan);
    counter c = {&plan, config};
    pv_status status = engine_layout_walk(config, count, &c, err);
    if (status == PV_OK) {
        enginep_plan_finish(&plan, config);
        *out = plan;
    }
    return status;
}

static void put_bytes(pv_buf *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    pv_buf_printf(out, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
}

static void put_params(pv_buf *out, uint64_t params)
{
    static const char *const units[] = {"", " K", " M", " B"};
    double value = (double)params;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    pv_buf_printf(out, unit == 0 ? "%.0f%s" : "%.3f%s", value, units[unit]);
}

static void put_shape(const engine_config *c, pv_buf *out)
{
    pv_buf_printf(out, "architecture   %s: %u layers, hidden %u, %u heads",
                  engine_arch_text(c->arch), c->layers, c->hidden_size, c->heads);
    if (c->arch == ENGINE_ARCH_DEEPSEEK) {
        pv_buf_printf(out, ", latent %u + %u\n", c->mla.kv_lora_rank, c->mla.rope_dim);
    } else {
        pv_buf_printf(out, " of %u (%u for keys and values)\n", c->head_dim, c->kv_heads);
    }
    if (c->moe.routed != 0) {
        pv_buf_printf(out, "experts        %u of %u a token, %u shared, first %u layers dense\n",
                      c->moe.per_token, c->moe.routed, c->moe.shared, c->moe.first_dense);
    }
    pv_buf_printf(out, "context        %u tokens, RoPE %s", c->max_positions,
                  engine_rope_text(c->rope.kind));
    if (c->rope.kind != ENGINE_ROPE_PLAIN) {
        pv_buf_printf(out, " x %g of %u", c->rope.factor, c->rope.original_positions);
    }
    pv_buf_printf(out, "\nvocabulary     %u rows%s\n", c->vocab_size,
                  c->tie_embeddings ? ", output head tied" : "");
}

static void put_kinds(const engine_plan *plan, pv_buf *out)
{
    for (int i = 0; i < ENGINE_KIND_COUNT; i++) {
        if (plan->params[i] == 0) {
            continue;
        }
        pv_buf_printf(out, "  %-15s", engine_kind_text((engine_kind)i));
        put_bytes(out, plan->bytes[i]);
        pv_buf_puts(out, ", ");
        put_params(out, plan->params[i]);
        pv_buf_puts(out, "\n");
    }
    if (plan->scale_bytes != 0) {
        pv_buf_printf(out, "  %-15s", "scales");
        put_bytes(out, plan->scale_bytes);
        pv_buf_puts(out, "\n");
    }
}

static void put_rest(pv_buf *out, const char *label, uint64_t tensors, uint64_t bytes,
                     const char *what)
{
    if (tensors != 0) {
        pv_buf_printf(out, "%-15s%llu tensors, ", label, (unsigned long long)tensors);
        put_bytes(out, bytes);
        pv_buf_printf(out, ", %s\n", what);
    }
}

void engine_plan_text(const engine_plan *plan, const engine_config *config, pv_buf *out)
{
    put_shape(config, out);
    pv_buf_puts(out, "parameters     ");
    put_params(out, plan->params_total);
    pv_buf_puts(out, ", ");
    put_params(out, plan->params_active);
    pv_buf_puts(out, " read for a token\nweights        ");
    put_bytes(out, plan->bytes_total);
    pv_buf_puts(out, "\n");
    put_kinds(plan, out);
    pv_buf_puts(out, "KV cache       ");
    put_bytes(out, plan->kv_bytes);
    pv_buf_printf(out, " a token in bf16 (%u values a layer)\n", plan->kv_values);
    put_rest(out, "MTP block", plan->mtp_tensors, plan->mtp_bytes, "recognised, not used");
    put_rest(out, "other tensors", plan->unused_tensors, plan->unused_bytes, "not used");
}
