/* config.json: every field that changes the computation, every way to contradict oneself. */
#include "fixture_config.h"

#include <math.h>

Test(engine_config, reads_the_671b)
{
    uint64_t live = pv_mem_live();
    engine_config c = config_read(config_671b, "{}");
    cr_expect_eq(c.arch, ENGINE_ARCH_DEEPSEEK);
    cr_expect_eq(c.vocab_size, 129280);
    cr_expect_eq(c.hidden_size, 7168);
    cr_expect_eq(c.layers, 61);
    cr_expect_eq(c.heads, 128);
    cr_expect_eq(c.head_dim, 192);
    cr_expect_eq(c.intermediate_size, 18432);
    cr_expect_eq(c.max_positions, 163840);
    cr_expect_eq(c.mla.q_lora_rank, 1536);
    cr_expect_eq(c.mla.kv_lora_rank, 512);
    cr_expect_eq(c.mla.nope_dim, 128);
    cr_expect_eq(c.mla.rope_dim, 64);
    cr_expect_eq(c.mla.v_dim, 128);
    cr_expect_eq(c.moe.routed, 256);
    cr_expect_eq(c.moe.shared, 1);
    cr_expect_eq(c.moe.per_token, 8);
    cr_expect_eq(c.moe.groups, 8);
    cr_expect_eq(c.moe.groups_kept, 4);
    cr_expect_eq(c.moe.intermediate_size, 2048);
    cr_expect_eq(c.moe.scoring, ENGINE_SCORING_SIGMOID);
    cr_expect_eq(c.moe.topk, ENGINE_TOPK_NOAUX);
    cr_expect(c.moe.norm_topk);
    cr_expect_float_eq(c.moe.scale, 2.5, 0);
    cr_expect_float_eq(c.norm_eps, 1e-6, 1e-12);
    cr_expect_eq(c.mtp_layers, 1);
    cr_expect(c.quant.fp8 && c.quant.block_rows == 128 && c.quant.block_cols == 128);
    cr_expect_not(c.quant.scale_pow2);
    cr_expect_eq(c.bos_id, 0);
    cr_expect(c.eos_count == 1 && c.eos_ids[0] == 1);
    cr_expect_eq(c.unknown_count, 0);
    cr_expect_eq(engine_config_kv_values(&c), 576);
    cr_expect_not(engine_config_layer_is_moe(&c, 2));
    cr_expect(engine_config_layer_is_moe(&c, 3));
    engine_config_release(&c);
    cr_expect_eq(pv_mem_live(), live);
}

Test(engine_config, reads_yarn_in_both_spellings)
{
    engine_config c = config_read(config_671b, "{}");
    cr_expect_eq(c.rope.kind, ENGINE_ROPE_YARN);
    cr_expect_eq(c.rope.original_positions, 4096);
    cr_expect(c.rope.factor == 40 && c.rope.theta == 10000 && c.rope.beta_fast == 32 &&
              c.rope.beta_slow == 1 && c.rope.mscale == 1 && c.rope.mscale_all_dim == 1);
    cr_expect(c.rope.attention_factor == 0 && c.rope.truncate);
    engine_config d = config_read(
        config_671b, "{\"rope_scaling\": null, \"rope_theta\": null, \"rope_parameters\": "
                     "{\"rope_type\": \"yarn\", \"rope_theta\": 50000, \"factor\": 8, "
                     "\"attention_factor\": 1.5, \"truncate\": false, \"mscale\": 0.707}}");
    cr_expect_eq(d.rope.kind, ENGINE_ROPE_YARN);
    cr_expect_eq(d.rope.original_positions, 163840);
    cr_expect(d.rope.theta == 50000 && d.rope.factor == 8 && d.rope.attention_factor == 1.5 &&
              !d.rope.truncate && d.rope.mscale == 0.707 && d.rope.mscale_all_dim == 0);
    engine_config_release(&c);
    engine_config_release(&d);
    engine_config both =
        config_read(config_7b, "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 16, "
                               "\"mscale\": 1, \"mscale_all_dim\": 1, "
                               "\"original_max_position_embeddings\": 4096}}");
    cr_expect_eq(both.rope.kind, ENGINE_ROPE_YARN);
    engine_config_release(&both);
}

Test(engine_config, reads_the_7b_and_the_other_scalings)
{
    static const struct {
        const char *json;
        engine_rope_kind kind;
        double factor;
    } cases[] = {
        {"{}", ENGINE_ROPE_YARN, 16},
        {"{\"rope_scaling\": null}", ENGINE_ROPE_PLAIN, 1},
        {"{\"rope_scaling\": {\"rope_type\": \"default\"}}", ENGINE_ROPE_PLAIN, 1},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}}", ENGINE_ROPE_LINEAR, 2},
        {"{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4}}", ENGINE_ROPE_DYNAMIC, 4},
        {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
         "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}}",
         ENGINE_ROPE_LLAMA3, 8},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        engine_config c = config_read(config_7b, cases[i].json);
        cr_expect_eq(c.arch, ENGINE_ARCH_LLAMA);
        cr_expect_eq(c.head_dim, 128);
        cr_expect_eq(c.rope.kind, cases[i].kind, "%s", engine_rope_text(c.rope.kind));
        cr_expect_float_eq(c.rope.factor, cases[i].factor, 0);
        cr_expect_eq(engine_config_kv_values(&c), 8192);
        cr_expect_eq(c.bos_id, 100000);
        engine_config_release(&c);
    }
}

Test(engine_config, reads_v2_style_options)
{
    engine_config c = config_read(
        config_671b, "{\"model_type\": \"deepseek_v2\", \"architectures\": null, \"q_lora_rank\": "
                     "null, \"scoring_func\": \"softmax\", \"topk_method\": \"greedy\", "
                     "\"quantization_config\": null, \"norm_topk_prob\": false, \"n_group\": null,"
                     "\"topk_group\": null, \"num_nextn_predict_layers\": null}");
    cr_expect_eq(c.mla.q_lora_rank, 0);
    cr_expect_eq(c.moe.scoring, ENGINE_SCORING_SOFTMAX);
    cr_expect_eq(c.moe.topk, ENGINE_TOPK_GREEDY);
    cr_expect(c.moe.groups == 1 && !c.moe.norm_topk && !c.quant.fp8 && c.mtp_layers == 0);
    engine_config d = config_read(config_671b, "{\"topk_method\": \"group_limited_greedy\", "
                                               "\"moe_layer_freq\": 2}");
    cr_expect_eq(d.moe.topk, ENGINE_TOPK_GROUP_LIMITED);
    cr_expect(engine_config_layer_is_moe(&d, 4) && !engine_config_layer_is_moe(&d, 5));
    engine_config e =
        config_read(config_671b, "{\"n_routed_experts\": null, \"quantization_config\": "
                                 "{\"quant_method\": \"fp8\", \"scale_fmt\": \"ue8m0\","
                                 "\"weight_block_size\": [64, 32]}}");
    cr_expect_not(engine_config_layer_is_moe(&e, 60));
    cr_expect(e.quant.scale_pow2 && e.quant.block_rows == 64 && e.quant.block_cols == 32);
    engine_config_release(&c);
    engine_config_release(&d);
    engine_config_release(&e);
}

Test(engine_config, reads_grouped_heads_ties_and_biases)
{
    engine_config c = config_read(config_7b, "{\"num_key_value_heads\": 8, \"head_dim\": 64, "
                                             "\"tie_word_embeddings\": true, \"attention_bias\": "
                                             "true, \"eos_token_id\": [5, 6, 7]}");
    cr_expect(c.kv_heads == 8 && c.head_dim == 64 && c.tie_embeddings && c.attention_bias);
    cr_expect(c.eos_count == 3 && c.eos_ids[2] == 7);
    cr_expect_eq(engine_config_kv_values(&c), 1024);
    engine_config_release(&c);
}

Test(engine_config, reports_fields_it_does_not_know)
{
    engine_config c = config_read(config_7b, "{\"new_thing\": 1, \"rope_scaling\": {\"type\": "
                                             "\"linear\", \"factor\": 2, \"odd\": true}}");
    cr_assert_eq(c.unknown_count, 2);
    cr_expect_str_eq(c.unknown[0], "rope_scaling.odd");
    cr_expect_str_eq(c.unknown[1], "new_thing");
    engine_config_release(&c);
}

Test(engine_config, generation_config_overrides_ids_and_gives_defaults)
{
    static const char generation[] =
        "{\"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.95, \"top_k\": 40, "
        "\"max_new_tokens\": 8192, \"eos_token_id\": [1, 128805], \"bos_token_id\": 0, \"beams\": "
        "1}";
    engine_config c = {0};
    pv_error err = {0};
    cr_assert_eq(engine_config_parse(&c, config_671b, strlen(config_671b), generation,
                                     strlen(generation), &err),
                 PV_OK, "%s", err.msg);
    cr_expect(c.generation.do_sample && c.generation.top_k == 40);
    cr_expect_float_eq(c.generation.temperature, 0.6, 1e-12);
    cr_expect_float_eq(c.generation.top_p, 0.95, 1e-12);
    cr_expect_eq(c.generation.max_new_tokens, 8192);
    cr_expect(c.eos_count == 2 && c.eos_ids[1] == 128805);
    cr_assert_eq(c.unknown_count, 1);
    cr_expect_str_eq(c.unknown[0], "generation_config.beams");
    engine_config_release(&c);
}

static void expect_refused(const char *base, const char *change, pv_status want,
                           const char *message)
{
    uint64_t live = pv_mem_live();
    engine_config c = {0};
    pv_error err = {0};
    char *text = config_with(base, change);
    pv_status status = engine_config_parse(&c, text, strlen(text), NULL, 0, &err);
    cr_expect_eq(status, want, "%s: status %d, %s", change, status, err.msg);
    cr_expect_not_null(strstr(err.msg, message), "\"%s\" lacks \"%s\"", err.msg, message);
    cr_expect_eq(c.layers, 0);
    cr_expect_eq(pv_mem_live(), live);
    free(text);
}

Test(engine_config, impossible_llama_values_are_refused)
{
    static const char *const cases[][2] = {
        {"{\"hidden_size\": null}", "\"hidden_size\" is missing"},
        {"{\"hidden_size\": 0}", "\"hidden_size\" is 0"},
        {"{\"hidden_size\": -1}", "\"hidden_size\" is -1"},
        {"{\"hidden_size\": 9223372036854775807}", "\"hidden_size\" is 9223372036854775807"},
        {"{\"hidden_size\": 4096.5}", "must be an integer"},
        {"{\"hidden_size\": \"big\"}", "must be an integer"},
        {"{\"hidden_size\": 4100, \"num_attention_heads\": 33, \"num_key_value_heads\": 33}",
         "\"head_dim\""},
        {"{\"num_key_value_heads\": 5}", "\"num_key_value_heads\" is 5"},
        {"{\"head_dim\": 65}", "even"},
        {"{\"num_hidden_layers\": 100000}", "\"num_hidden_layers\" is 100000"},
        {"{\"vocab_size\": 4294967296}", "\"vocab_size\" is 4294967296"},
        {"{\"rms_norm_eps\": 0}", "\"rms_norm_eps\" is 0"},
        {"{\"rms_norm_eps\": true}", "must be a number"},
        {"{\"tie_word_embeddings\": 1}", "true or false"},
        {"{\"hidden_act\": 3}", "must be a string"},
        {"{\"bos_token_id\": 102400}", "\"bos_token_id\""},
        {"{\"eos_token_id\": [1, -2]}", "\"eos_token_id\""},
        {"{\"eos_token_id\": [1,2,3,4,5,6,7,8,9]}", "at most 8"},
        {"{\"architectures\": [\"DeepseekV3ForCausalLM\"]}", "make them agree"},
        {"{\"architectures\": \"Llama\"}", "must be an array"},
        {"{\"num_attention_heads\": 4096, \"num_key_value_heads\": 4096, \"head_dim\": 4098}",
         "\"head_dim\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(config_7b, cases[i][0], PV_E_INVALID, cases[i][1]);
    }
}

Test(engine_config, variants_that_nothing_computes_are_refused)
{
    static const char *const cases[][2] = {
        {"{\"model_type\": \"qwen3\"}", "\"qwen3\""},
        {"{\"model_type\": null}", "model_type"},
        {"{\"hidden_act\": \"gelu\"}", "\"gelu\""},
        {"{\"mlp_bias\": true}", "mlp_bias"},
        {"{\"sliding_window\": 4096}", "sliding_window"},
        {"{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor"},
        {"{\"rope_scaling\": {\"type\": \"longrope\", \"factor\": 2}}", "\"longrope\""},
        {"{\"rope_scaling\": null, \"rope_parameters\": {\"partial_rotary_factor\": 0.5}}",
         "below 1"},
        {"{\"quantization_config\": {\"quant_method\": \"awq\"}}", "\"awq\""},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e5m2\"}}", "\"e5m2\""},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"activation_scheme\": "
         "\"static\"}}",
         "\"static\""},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128], "
         "\"scale_fmt\": \"e3m4\"}}",
         "\"e3m4\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(config_7b, cases[i][0], PV_E_UNSUPPORTED, cases[i][1]);
    }
    expect_refused(config_671b, "{\"attention_bias\": true}", PV_E_UNSUPPORTED, "attention_bias");
    expect_refused(config_671b, "{\"scoring_func\": \"tanh\"}", PV_E_UNSUPPORTED, "\"tanh\"");
    expect_refused(config_671b, "{\"topk_method\": \"random\"}", PV_E_UNSUPPORTED, "\"random\"");
}

Test(engine_config, contradictory_scalings_are_refused)
{
    static const char *const cases[][2] = {
        {"{\"rope_scaling\": 5}", "must be an object"},
        {"{\"rope_scaling\": {\"type\": \"yarn\"}}", "\"factor\" is missing"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0.5}}", "\"factor\" is 0.5"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"rope_type\": \"linear\", \"factor\": 2}}",
         "make them agree"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"beta_fast\": 1, \"beta_slow\": "
         "2}}",
         "beta_fast"},
        {"{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 4, "
         "\"high_freq_factor\": 1, \"original_max_position_embeddings\": 4096}}",
         "low_freq_factor"},
        {"{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 1, "
         "\"high_freq_factor\": 4}}",
         "original_max_position_embeddings"},
        {"{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2}}", "keep one"},
        {"{\"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 5000}}", "rope_theta"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(config_7b, cases[i][0], PV_E_INVALID, cases[i][1]);
    }
}

Test(engine_config, contradictory_experts_are_refused)
{
    static const char *const cases[][2] = {
        {"{\"n_group\": 7}", "\"n_group\" is 7"},
        {"{\"topk_group\": 9}", "\"topk_group\""},
        {"{\"num_experts_per_tok\": 129}", "\"num_experts_per_tok\" is 129"},
        {"{\"num_experts_per_tok\": null}", "\"num_experts_per_tok\""},
        {"{\"moe_intermediate_size\": null}", "moe_intermediate_size"},
        {"{\"first_k_dense_replace\": 62}", "\"first_k_dense_replace\" is 62"},
        {"{\"n_group\": 256, \"topk_group\": 256}", "two best"},
        {"{\"n_shared_experts\": 16384}", "too wide"},
        {"{\"moe_layer_freq\": 0}", "\"moe_layer_freq\" is 0"},
        {"{\"kv_lora_rank\": null}", "\"kv_lora_rank\" is missing"},
        {"{\"qk_rope_head_dim\": 63}", "even"},
        {"{\"num_key_value_heads\": 8}", "must be equal"},
        {"{\"num_attention_heads\": 4096, \"num_key_value_heads\": 4096, \"v_head_dim\": 4096, "
         "\"qk_nope_head_dim\": 4096}",
         "2^24"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\"}}", "weight_block_size"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [0, 128]}}",
         "weight_block_size"},
        {"{\"quantization_config\": {}}", "\"quant_method\" is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(config_671b, cases[i][0], PV_E_INVALID, cases[i][1]);
    }
}

Test(engine_config, damaged_files_say_where)
{
    engine_config c = {0};
    pv_error err = {0};
    cr_expect_eq(engine_config_parse(&c, "{\n\"a\": }", 8, NULL, 0, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "config.json: invalid JSON at line 2"), "%s", err.msg);
    pv_error_clear(&err);
    cr_expect_eq(engine_config_parse(&c, "[]", 2, NULL, 0, &err), PV_E_INVALID);
    pv_error_clear(&err);
    cr_expect_eq(engine_config_parse(&c, config_7b, strlen(config_7b), "{\"top_p\": 2}", 12, &err),
                 PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, "generation_config.json: field \"top_p\" is 2"));
}

Test(engine_config, opens_a_folder)
{
    fixture_dir d = fixture_dir_new();
    engine_config c = {0};
    pv_error err = {0};
    cr_expect_eq(engine_config_open(&c, d.path, &err), PV_E_NOTFOUND);
    pv_error_clear(&err);
    fixture_write(&d, "config.json", config_7b, strlen(config_7b));
    cr_assert_eq(engine_config_open(&c, d.path, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(c.generation.max_new_tokens, 0);
    engine_config_release(&c);
    fixture_write(&d, "generation_config.json", "{\"max_new_tokens\": 9}", 21);
    cr_assert_eq(engine_config_open(&c, d.path, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(c.generation.max_new_tokens, 9);
    engine_config_release(&c);
    fixture_dir_remove(&d);
}

static pv_status parse_all(void *user, pv_error *err)
{
    const char *text = user;
    engine_config c = {0};
    pv_status status = engine_config_parse(&c, text, strlen(text), "{\"odd\": 1}", 10, err);
    if (status == PV_OK) {
        engine_config_release(&c);
    }
    return status;
}

Test(engine_config, every_failed_allocation_is_reported_and_leaks_nothing)
{
    char *text = config_with(config_671b, "{\"one\": 1, \"two\": 2}");
    fixture_chaos(parse_all, text);
    free(text);
}
