/* fixture_config: configurations that the tests start from, and how they change a field. */
#ifndef ENGINE_FIXTURE_CONFIG_H
#define ENGINE_FIXTURE_CONFIG_H

#include "fixture.h"

#include "engine_config.h"

/* DeepSeek-Prover-V2-671B's shape (DeepSeek-R1's config.json, the same architecture). */
static const char config_671b[] FIXTURE_UNUSED =
    "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"attention_bias\": false,"
    "\"attention_dropout\": 0.0, \"auto_map\": {\"AutoConfig\": \"configuration_deepseek\"},"
    "\"bos_token_id\": 0, \"eos_token_id\": 1, \"ep_size\": 1, \"first_k_dense_replace\": 3,"
    "\"hidden_act\": \"silu\", \"hidden_size\": 7168, \"initializer_range\": 0.02,"
    "\"intermediate_size\": 18432, \"kv_lora_rank\": 512, \"max_position_embeddings\": 163840,"
    "\"model_type\": \"deepseek_v3\", \"moe_intermediate_size\": 2048, \"moe_layer_freq\": 1,"
    "\"n_group\": 8, \"n_routed_experts\": 256, \"n_shared_experts\": 1, \"norm_topk_prob\": true,"
    "\"num_attention_heads\": 128, \"num_experts_per_tok\": 8, \"num_hidden_layers\": 61,"
    "\"num_key_value_heads\": 128, \"num_nextn_predict_layers\": 1, \"q_lora_rank\": 1536,"
    "\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"quantization_config\":"
    "{\"activation_scheme\": \"dynamic\", \"fmt\": \"e4m3\", \"quant_method\": \"fp8\","
    "\"weight_block_size\": [128, 128]}, \"rms_norm_eps\": 1e-06, \"rope_scaling\":"
    "{\"beta_fast\": 32, \"beta_slow\": 1, \"factor\": 40, \"mscale\": 1.0, \"mscale_all_dim\": "
    "1.0,"
    "\"original_max_position_embeddings\": 4096, \"type\": \"yarn\"}, \"rope_theta\": 10000,"
    "\"routed_scaling_factor\": 2.5, \"scoring_func\": \"sigmoid\", \"tie_word_embeddings\": false,"
    "\"topk_group\": 4, \"topk_method\": \"noaux_tc\", \"torch_dtype\": \"bfloat16\","
    "\"transformers_version\": \"4.46.3\", \"use_cache\": true, \"v_head_dim\": 128,"
    "\"vocab_size\": 129280}";

/* DeepSeek-Prover-V2-7B's shape, the scaling as it is remembered. */
static const char config_7b[] FIXTURE_UNUSED =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"bos_token_id\": 100000, \"eos_token_id\": "
    "100001,"
    "\"hidden_act\": \"silu\", \"hidden_size\": 4096, \"intermediate_size\": 11008,"
    "\"max_position_embeddings\": 65536, \"model_type\": \"llama\", \"num_attention_heads\": 32,"
    "\"num_hidden_layers\": 30, \"num_key_value_heads\": 32, \"rms_norm_eps\": 1e-06,"
    "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 16, \"mscale\": 1.0, \"mscale_all_dim\": "
    "1.0,"
    "\"original_max_position_embeddings\": 4096}, \"rope_theta\": 10000.0,"
    "\"tie_word_embeddings\": false, \"vocab_size\": 102400}";

/* Small ones, for checkpoints that tests write. Sizes are multiples of 8, and not of the FP8 block. */
static const char config_tiny_mla[] FIXTURE_UNUSED =
    "{\"model_type\": \"deepseek_v3\", \"hidden_size\": 24, \"intermediate_size\": 40,"
    "\"kv_lora_rank\": 16, \"q_lora_rank\": 8, \"max_position_embeddings\": 64, "
    "\"moe_intermediate_size\":"
    "8, \"n_group\": 2, \"n_routed_experts\": 8, \"n_shared_experts\": 1, \"num_attention_heads\": "
    "2,"
    "\"num_experts_per_tok\": 2, \"num_hidden_layers\": 3, \"num_nextn_predict_layers\": 1,"
    "\"first_k_dense_replace\": 1, \"qk_nope_head_dim\": 8, \"qk_rope_head_dim\": 4, "
    "\"v_head_dim\": 8,"
    "\"topk_group\": 1, \"vocab_size\": 32, \"quantization_config\": {\"quant_method\": \"fp8\","
    "\"weight_block_size\": [16, 16]}}";

static const char config_tiny_llama[] FIXTURE_UNUSED =
    "{\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_attention_heads\":"
    "4, \"num_key_value_heads\": 2, \"num_hidden_layers\": 2, \"max_position_embeddings\": 64,"
    "\"vocab_size\": 32}";

/* `base` with the members of the JSON object `change` put in; null removes a member's meaning. malloc'ed. */
FIXTURE_UNUSED static char *config_with(const char *base, const char *change)
{
    json_t *root = json_loads(base, 0, NULL);
    json_t *patch = json_loads(change, 0, NULL);
    cr_assert_not_null(root);
    cr_assert_not_null(patch, "%s", change);
    json_object_update(root, patch);
    char *text = json_dumps(root, 0);
    json_decref(patch);
    json_decref(root);
    return text;
}

FIXTURE_UNUSED static engine_config config_read(const char *base, const char *change)
{
    engine_config c = {0};
    pv_error err = {0};
    char *text = config_with(base, change);
    cr_assert_eq(engine_config_parse(&c, text, strlen(text), NULL, 0, &err), PV_OK, "%s", err.msg);
    free(text);
    return c;
}

#endif
