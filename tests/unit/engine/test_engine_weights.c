/* Views of whole small checkpoints, parameter counts of the large ones, and tensors that do not fit. */
#include "fixture_checkpoint.h"
#include "fixture_config.h"

#include "engine_weights.h"

#include <math.h>

static engine_safetensors *parse(const pv_buf *bytes)
{
    engine_safetensors *st = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_safetensors_parse(&st, bytes->data, bytes->len, "model.safetensors", &err),
                 PV_OK, "%s", err.msg);
    return st;
}

static void expect_view(const engine_view *v, uint32_t rows, uint32_t cols, bool fp8)
{
    cr_expect_not_null(v->data);
    cr_expect_eq(v->rows, rows);
    cr_expect_eq(v->cols, cols);
    cr_expect_eq(v->dtype, fp8 ? ENGINE_DTYPE_F8_E4M3 : ENGINE_DTYPE_BF16);
    cr_expect_eq(v->scale != NULL, fp8);
    if (fp8) {
        cr_expect_eq(v->scale_rows, (rows + 15) / 16);
        cr_expect_eq(v->scale_cols, (cols + 15) / 16);
        cr_expect_eq(v->block_rows, 16);
        cr_expect_float_eq(v->scale[v->scale_rows * v->scale_cols - 1], 0.5f, 0);
    }
}

static void expect_mla_views(const engine_weights *w)
{
    const engine_layer *dense = &w->layers[0];
    const engine_layer *moe = &w->layers[2];
    expect_view(&w->embed, 32, 24, false);
    expect_view(&w->lm_head, 32, 24, false);
    expect_view(&w->final_norm, 1, 24, false);
    expect_view(&dense->q_a, 8, 24, true);
    expect_view(&dense->q_a_norm, 1, 8, false);
    expect_view(&dense->q_b, 24, 8, true);
    expect_view(&dense->kv_a, 20, 24, true);
    expect_view(&dense->kv_b, 32, 16, true);
    expect_view(&dense->o, 24, 16, true);
    expect_view(&dense->mlp.down, 24, 40, true);
    cr_expect(!dense->is_moe && dense->experts == NULL && dense->router.data == NULL);
    cr_expect(moe->is_moe && moe->mlp.gate.data == NULL && moe->q.data == NULL);
    expect_view(&moe->router, 8, 24, false);
    expect_view(&moe->router_bias, 1, 8, false);
    expect_view(&moe->shared.up, 8, 24, true);
    expect_view(&moe->experts[7].gate, 8, 24, true);
    expect_view(&moe->experts[7].down, 24, 8, true);
    cr_expect_neq(moe->experts[6].gate.data, moe->experts[7].gate.data);
}

Test(engine_weights, resolves_mla_experts_and_scales)
{
    uint64_t live = pv_mem_live();
    engine_config config = config_read(config_tiny_mla, "{}");
    checkpoint c = checkpoint_of(&config);
    checkpoint_add(&c, "model.layers.3.eh_proj.weight", "BF16", "[2, 2]", "12345678", 8);
    checkpoint_add(&c, "model.layers.4.eh_proj.weight", "BF16", "[2, 2]", "12345678", 8);
    pv_buf bytes = checkpoint_bytes(&c);
    engine_safetensors *st = parse(&bytes);
    engine_weights w;
    pv_error err = {0};
    cr_assert_eq(engine_weights_resolve(&w, &config, st, &err), PV_OK, "%s", err.msg);
    expect_mla_views(&w);
    cr_expect(w.plan.mtp_tensors == 1 && w.plan.mtp_bytes == 8);
    cr_expect(w.plan.unused_tensors == 1 && w.plan.unused_bytes == 8);
    cr_expect_str_eq(w.unused[0], "model.layers.4.eh_proj.weight");
    pv_buf text = {0};
    engine_plan_text(&w.plan, &config, &text);
    cr_expect_not_null(strstr(pv_buf_text(&text), "MTP block      1 tensors, 8 B, recognised"));
    cr_expect_not_null(strstr(pv_buf_text(&text), "other tensors  1 tensors, 8 B, not used"));
    pv_buf_release(&text);
    engine_plan plan;
    cr_assert_eq(engine_plan_from_config(&plan, &config, &err), PV_OK);
    cr_expect_eq(plan.bytes_total, w.plan.bytes_total);
    cr_expect_eq(plan.params_active, w.plan.params_active);
    engine_weights_release(&w);
    engine_safetensors_close(st);
    pv_buf_release(&bytes);
    checkpoint_release(&c);
    engine_config_release(&config);
    cr_expect_eq(pv_mem_live(), live);
}

static void with_weights(const char *base, const char *change, void (*check)(engine_weights *w))
{
    engine_config config = config_read(base, change);
    checkpoint c = checkpoint_of(&config);
    pv_buf bytes = checkpoint_bytes(&c);
    engine_safetensors *st = parse(&bytes);
    engine_weights w;
    pv_error err = {0};
    cr_assert_eq(engine_weights_resolve(&w, &config, st, &err), PV_OK, "%s", err.msg);
    check(&w);
    engine_weights_release(&w);
    engine_safetensors_close(st);
    pv_buf_release(&bytes);
    checkpoint_release(&c);
    engine_config_release(&config);
}

static void check_grouped(engine_weights *w)
{
    expect_view(&w->layers[1].q, 16, 16, false);
    expect_view(&w->layers[1].k, 8, 16, false);
    expect_view(&w->layers[1].v, 8, 16, false);
    expect_view(&w->layers[1].o, 16, 16, false);
    expect_view(&w->layers[1].k_bias, 1, 8, false);
    expect_view(&w->layers[1].mlp.gate, 24, 16, false);
    cr_expect_eq(w->lm_head.data, w->embed.data);
    cr_expect_eq(w->plan.params[ENGINE_KIND_HEAD], 0);
    cr_expect_eq(w->plan.params_active, w->plan.params_total);
}

static void check_plain_q(engine_weights *w)
{
    expect_view(&w->layers[0].q, 24, 24, true);
    cr_expect_null(w->layers[0].q_a.data);
    cr_expect_null(w->layers[1].router_bias.data);
}

Test(engine_weights, resolves_grouped_heads_with_biases_and_a_tied_head)
{
    with_weights(config_tiny_llama, "{\"tie_word_embeddings\": true, \"attention_bias\": true}",
                 check_grouped);
}

Test(engine_weights, resolves_uncompressed_queries_without_router_bias)
{
    with_weights(config_tiny_mla, "{\"q_lora_rank\": 0, \"topk_method\": \"greedy\"}",
                 check_plain_q);
}

Test(engine_weights, counts_the_parameters_of_the_671b)
{
    engine_config c = config_read(config_671b, "{}");
    engine_plan p;
    pv_error err = {0};
    cr_assert_eq(engine_plan_from_config(&p, &c, &err), PV_OK);
    cr_expect_float_eq((double)p.params_total / 1e9, 671.03, 0.005);
    cr_expect_float_eq((double)p.params_active / 1e9, 36.62, 0.01);
    /* One scale for 128 x 128 weights of one byte: 0.024 % of their bytes. */
    cr_expect_float_eq((double)p.scale_bytes / (double)p.bytes[ENGINE_KIND_EXPERT], 0.00025, 1e-5);
    cr_expect_eq(p.kv_bytes, 70272);
    pv_buf text = {0};
    engine_plan_text(&p, &c, &text);
    cr_expect_not_null(strstr(pv_buf_text(&text), "671.026 B, 36.6"), "%s", pv_buf_text(&text));
    cr_expect_not_null(strstr(pv_buf_text(&text), "8 of 256 a token, 1 shared"));
    cr_expect_not_null(strstr(pv_buf_text(&text), "RoPE yarn x 40 of 4096"));
    pv_buf_release(&text);
    engine_config_release(&c);
}

Test(engine_weights, counts_the_parameters_of_the_7b)
{
    engine_config c = config_read(config_7b, "{}");
    engine_plan p;
    pv_error err = {0};
    cr_assert_eq(engine_plan_from_config(&p, &c, &err), PV_OK);
    cr_expect_float_eq((double)p.params_total / 1e9, 6.910, 0.0005);
    cr_expect_float_eq((double)p.bytes_total / 1e9, 13.82, 0.005);
    cr_expect_eq(p.kv_bytes, 491520);
    pv_buf text = {0};
    engine_plan_text(&p, &c, &text);
    cr_expect_not_null(strstr(pv_buf_text(&text), "32 heads of 128 (32 for keys and values)"));
    pv_buf_release(&text);
    engine_config_release(&c);
}

typedef void damage_fn(checkpoint *c);

static void expect_refused(const char *base, damage_fn *damage, pv_status want, const char *message)
{
    engine_config config = config_read(base, "{}");
    checkpoint c = checkpoint_of(&config);
    damage(&c);
    pv_buf bytes = checkpoint_bytes(&c);
    engine_safetensors *st = parse(&bytes);
    uint64_t live = pv_mem_live();
    engine_weights w;
    pv_error err = {0};
    pv_status status = engine_weights_resolve(&w, &config, st, &err);
    cr_expect_eq(status, want, "status %d, expected %d: %s", status, want, err.msg);
    cr_expect_not_null(strstr(err.msg, message), "\"%s\" lacks \"%s\"", err.msg, message);
    cr_expect_eq(pv_mem_live(), live);
    engine_safetensors_close(st);
    pv_buf_release(&bytes);
    checkpoint_release(&c);
    engine_config_release(&config);
}

static json_t *entry(checkpoint *c, const char *name)
{
    json_t *e = json_object_get(c->header, name);
    cr_assert_not_null(e, "%s", name);
    return e;
}

static void rename_tensor(checkpoint *c, const char *from, const char *to)
{
    json_object_set(c->header, to, entry(c, from));
    json_object_del(c->header, from);
}

static char *data_of(checkpoint *c, const char *name)
{
    const json_t *offsets = json_object_get(entry(c, name), "data_offsets");
    return c->data.data + json_integer_value(json_array_get(offsets, 0));
}

static void drop_one(checkpoint *c)
{
    rename_tensor(c, "model.layers.1.self_attn.kv_b_proj.weight", "other");
}

static void drop_scale(checkpoint *c)
{
    rename_tensor(c, "model.layers.1.mlp.experts.3.up_proj.weight_scale_inv", "other");
}

static void drop_many(checkpoint *c)
{
    for (int i = 0; i < 8; i++) {
        char from[96];
        char to[16];
        snprintf(from, sizeof from, "model.layers.2.mlp.experts.%d.up_proj.weight", i);
        snprintf(to, sizeof to, "o%d", i);
        rename_tensor(c, from, to);
    }
}

static void turn_matrix(checkpoint *c)
{
    json_object_set_new(entry(c, "model.layers.0.self_attn.q_a_proj.weight"), "shape",
                        json_pack("[i,i]", 24, 8));
}

static void flatten_norm(checkpoint *c)
{
    json_object_set_new(entry(c, "model.norm.weight"), "shape", json_pack("[i,i]", 1, 24));
}

static void set_scale(checkpoint *c, float value)
{
    memcpy(data_of(c, "model.layers.0.self_attn.o_proj.weight_scale_inv"), &value, sizeof value);
}

static void scale_nan(checkpoint *c)
{
    set_scale(c, NAN);
}

static void scale_infinite(checkpoint *c)
{
    set_scale(c, INFINITY);
}

static void scale_negative(checkpoint *c)
{
    set_scale(c, -1.0f);
}

static void norm_nan(checkpoint *c)
{
    memcpy(data_of(c, "model.layers.2.input_layernorm.weight") + 2, "\xc0\x7f", 2);
}

static void matrix_integer(checkpoint *c)
{
    json_object_set_new(entry(c, "lm_head.weight"), "dtype", json_string("I16"));
}

static void embed_fp8(checkpoint *c)
{
    json_t *e = entry(c, "model.embed_tokens.weight");
    json_object_set_new(e, "dtype", json_string("F8_E4M3"));
    json_object_set_new(e, "shape", json_pack("[i,i]", 32, 48));
}

static void embed_fp8_fitting(checkpoint *c)
{
    rename_tensor(c, "model.embed_tokens.weight", "other");
    char bytes[32 * 24] = {0};
    checkpoint_add(c, "model.embed_tokens.weight", "F8_E4M3", "[32, 24]", bytes, sizeof bytes);
}

static void scale_half(checkpoint *c)
{
    rename_tensor(c, "model.layers.0.self_attn.o_proj.weight_scale_inv", "other");
    checkpoint_add(c, "model.layers.0.self_attn.o_proj.weight_scale_inv", "BF16", "[2, 1]", "1234",
                   4);
}

static void misalign(checkpoint *c)
{
    rename_tensor(c, "model.norm.weight", "other");
    char bytes[48] = {0};
    checkpoint_add(c, "odd", "U8", "[1]", "x", 1);
    checkpoint_add(c, "model.norm.weight", "BF16", "[24]", bytes, sizeof bytes);
}

Test(engine_weights, tensors_that_do_not_fit_are_refused)
{
    static const struct {
        damage_fn *damage;
        pv_status status;
        const char *message;
    } cases[] = {
        {drop_one, PV_E_INVALID,
         "1 tensors that the configuration asks for are missing: "
         "model.layers.1.self_attn.kv_b_proj.weight"},
        {drop_scale, PV_E_INVALID, "experts.3.up_proj.weight_scale_inv"},
        {drop_many, PV_E_INVALID, "8 tensors"},
        {turn_matrix, PV_E_INVALID,
         "sizes 24, 8; the configuration asks for rank 2 and sizes 8, 24"},
        {flatten_norm, PV_E_INVALID, "rank 2"},
        {scale_nan, PV_E_INVALID, "scale 0 is nan"},
        {scale_infinite, PV_E_INVALID, "scale 0 is inf"},
        {scale_negative, PV_E_INVALID, "scale 0 is -1"},
        {norm_nan, PV_E_INVALID, "element 1 is not a finite number"},
        {matrix_integer, PV_E_UNSUPPORTED, "is I16"},
        {embed_fp8, PV_E_INVALID, "sizes 32, 48"},
        {embed_fp8_fitting, PV_E_UNSUPPORTED, "is F8_E4M3"},
        {scale_half, PV_E_UNSUPPORTED, "scales are F32"},
        {misalign, PV_E_UNSUPPORTED, "not aligned"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(config_tiny_mla, cases[i].damage, cases[i].status, cases[i].message);
    }
}

typedef struct attempt {
    const engine_config *config;
    const engine_safetensors *tensors;
} attempt;

static pv_status resolve_once(void *user, pv_error *err)
{
    const attempt *a = user;
    engine_weights w;
    pv_status status = engine_weights_resolve(&w, a->config, a->tensors, err);
    if (status == PV_OK) {
        engine_weights_release(&w);
    }
    return status;
}

Test(engine_weights, every_failed_allocation_is_reported_and_leaks_nothing)
{
    engine_config config = config_read(config_tiny_mla, "{}");
    checkpoint c = checkpoint_of(&config);
    checkpoint_add(&c, "other", "BF16", "[2, 2]", "12345678", 8);
    pv_buf bytes = checkpoint_bytes(&c);
    attempt a = {&config, parse(&bytes)};
    fixture_chaos(resolve_once, &a);
    engine_safetensors_close((engine_safetensors *)a.tensors);
    pv_buf_release(&bytes);
    checkpoint_release(&c);
    engine_config_release(&config);
}
