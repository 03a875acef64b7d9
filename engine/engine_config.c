#include "engine_config.h"

#include "engine_config_internal.h"
#include "engine_json.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    CONFIG_FILE_MAX = 1 << 20,
    WIDTH_MAX = 1 << 20,    /* hidden and intermediate sizes                 */
    HEADS_MAX = 1 << 12,    /* attention heads                               */
    HEAD_DIM_MAX = 1 << 12, /* per-head sizes                                */
    RANK_MAX = 1 << 16,     /* low-rank projections                          */
    VOCAB_MAX = 1 << 24,    /* more than 16 million tokens is a damaged file */
    EXPERTS_MAX = 1 << 14,
    POSITIONS_MAX = 1 << 28,
    NEW_TOKENS_MAX = 1 << 28,
};

static const char *const ignored_fields[] = {"_name_or_path",
                                             "attention_dropout",
                                             "auto_map",
                                             "aux_loss_alpha",
                                             "dtype",
                                             "ep_size",
                                             "gradient_checkpointing",
                                             "initializer_range",
                                             "is_decoder",
                                             "output_attentions",
                                             "output_hidden_states",
                                             "pad_token_id",
                                             "pretraining_tp",
                                             "return_dict",
                                             "rope_interleave",
                                             "seq_aux",
                                             "torch_dtype",
                                             "transformers_version",
                                             "use_cache",
                                             "use_return_dict",
                                             NULL};

const char *engine_arch_text(engine_arch arch)
{
    return arch == ENGINE_ARCH_DEEPSEEK ? "deepseek_v3" : "llama";
}

const char *engine_rope_text(engine_rope_kind kind)
{
    static const char *const text[] = {"plain", "linear", "dynamic", "llama3", "yarn"};
    return (unsigned)kind < sizeof text / sizeof *text ? text[kind] : "?";
}

bool engine_config_layer_is_moe(const engine_config *config, uint32_t layer)
{
    const engine_moe *moe = &config->moe;
    return moe->routed != 0 && layer >= moe->first_dense && layer % moe->layer_freq == 0;
}

uint32_t engine_config_kv_values(const engine_config *config)
{
    if (config->arch == ENGINE_ARCH_DEEPSEEK) {
        return config->mla.kv_lora_rank + config->mla.rope_dim;
    }
    return 2 * config->kv_heads * config->head_dim;
}

void engine_config_release(engine_config *config)
{
    for (size_t i = 0; i < config->unknown_count; i++) {
        pv_free(config->unknown[i]);
    }
    pv_free(config->unknown);
    memset(config, 0, sizeof *config);
}

static pv_status add_unknown(engine_config *c, const char *prefix, const char *name, pv_error *err)
{
    pv_buf text = {0};
    pv_buf_printf(&text, "%s%s", prefix, name);
    char *owned = pv_buf_detach(&text);
    size_t need = (c->unknown_count + 1) * sizeof *c->unknown;
    char **grown = owned == NULL ? NULL : pv_realloc(c->unknown, need);
    if (grown == NULL) {
        pv_free(owned);
        return pv_fail(err, PV_E_NOMEM, "out of memory while reading the configuration");
    }
    c->unknown = grown;
    c->unknown[c->unknown_count++] = owned;
    return PV_OK;
}

pv_status enginep_config_report_unknown(engine_config *c, enginep_reader *r, const char *prefix)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)r->object, key, value)
    {
        if (r->status == PV_OK && !enginep_reader_knows(r, key)) {
            r->status = add_unknown(c, prefix, key, r->err);
        }
    }
    return r->status;
}

static void read_arch(engine_config *c, enginep_reader *r)
{
    const char *type = enginep_read_text(r, "model_type", "");
    if (strcmp(type, "deepseek_v3") == 0 || strcmp(type, "deepseek_v2") == 0) {
        c->arch = ENGINE_ARCH_DEEPSEEK;
    } else if (strcmp(type, "llama") == 0) {
        c->arch = ENGINE_ARCH_LLAMA;
    } else {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"model_type\" is \"%.64s\"; this engine runs \"deepseek_v3\", "
                            "\"deepseek_v2\" and \"llama\"",
                            type);
    }
    const char *prefix = c->arch == ENGINE_ARCH_LLAMA ? "Llama" : "Deepseek";
    const json_t *names = enginep_read_array(r, "architectures");
    const char *name = json_string_value(json_array_get(names, 0));
    if (name != NULL && strncmp(name, prefix, strlen(prefix)) != 0) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "field \"architectures\" is \"%.64s\" and \"model_type\" is \"%.64s\"; "
                            "make them agree",
                            name, type);
    }
}

/* Options of other members of the families that would change the result and that nothing here computes. */
static void refuse_variants(enginep_reader *r)
{
    const char *act = enginep_read_text(r, "hidden_act", "silu");
    if (strcmp(act, "silu") != 0) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"hidden_act\" is \"%.64s\"; only \"silu\" is computed", act);
    }
    if (enginep_read_bool(r, "mlp_bias", false)) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"mlp_bias\" is true; MLP biases are not supported");
    }
    if (enginep_read(r, "sliding_window") != NULL) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"sliding_window\" is set; only full attention is supported");
    }
    double partial = enginep_read_real(r, "partial_rotary_factor", 0, 1, 1);
    if (partial < 1) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"partial_rotary_factor\" is %g; only 1 is supported", partial);
    }
}

static void read_common(engine_config *c, enginep_reader *r)
{
    c->vocab_size = enginep_read_u32(r, "vocab_size", 1, VOCAB_MAX, ENGINEP_REQUIRED);
    c->hidden_size = enginep_read_u32(r, "hidden_size", 1, WIDTH_MAX, ENGINEP_REQUIRED);
    c->layers = enginep_read_u32(r, "num_hidden_layers", 1, ENGINE_LAYERS_MAX, ENGINEP_REQUIRED);
    c->heads = enginep_read_u32(r, "num_attention_heads", 1, HEADS_MAX, ENGINEP_REQUIRED);
    c->kv_heads = enginep_read_u32(r, "num_key_value_heads", 1, HEADS_MAX, c->heads);
    c->intermediate_size = enginep_read_u32(r, "intermediate_size", 1, WIDTH_MAX, ENGINEP_REQUIRED);
    c->max_positions =
        enginep_read_u32(r, "max_position_embeddings", 1, POSITIONS_MAX, ENGINEP_REQUIRED);
    c->norm_eps = enginep_read_real(r, "rms_norm_eps", 1e-12, 1e-1, 1e-6);
    c->tie_embeddings = enginep_read_bool(r, "tie_word_embeddings", false);
    c->attention_bias = enginep_read_bool(r, "attention_bias", false);
}

static void read_llama(engine_config *c, enginep_reader *r)
{
    uint32_t head_dim = enginep_read_u32(r, "head_dim", 2, HEAD_DIM_MAX, 0);
    if (r->status != PV_OK) {
        return;
    }
    if (c->heads % c->kv_heads != 0) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"num_attention_heads\" is %u and \"num_key_value_heads\" is %u; the "
                            "first must be a multiple of the second",
                            c->heads, c->kv_heads);
    }
    if (head_dim == 0 && c->hidden_size % c->heads != 0) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"hidden_size\" is %u and \"num_attention_heads\" is %u; give "
                            "\"head_dim\", it cannot be derived",
                            c->hidden_size, c->heads);
    }
    c->head_dim = head_dim == 0 ? c->hidden_size / c->heads : head_dim;
    if (c->head_dim % 2 != 0 || c->head_dim > HEAD_DIM_MAX) {
        enginep_reader_fail(r, PV_E_INVALID, "\"head_dim\" is %u; it must be even and at most %d",
                            c->head_dim, HEAD_DIM_MAX);
    }
}

static void read_mla(engine_config *c, enginep_reader *r)
{
    engine_mla *m = &c->mla;
    m->q_lora_rank = enginep_read_u32(r, "q_lora_rank", 0, RANK_MAX, 0);
    m->kv_lora_rank = enginep_read_u32(r, "kv_lora_rank", 1, RANK_MAX, ENGINEP_REQUIRED);
    m->nope_dim = enginep_read_u32(r, "qk_nope_head_dim", 1, HEAD_DIM_MAX, ENGINEP_REQUIRED);
    m->rope_dim = enginep_read_u32(r, "qk_rope_head_dim", 2, HEAD_DIM_MAX, ENGINEP_REQUIRED);
    m->v_dim = enginep_read_u32(r, "v_head_dim", 1, HEAD_DIM_MAX, ENGINEP_REQUIRED);
    c->head_dim = m->nope_dim + m->rope_dim;
    c->mtp_layers = enginep_read_u32(r, "num_nextn_predict_layers", 0, ENGINE_LAYERS_MAX, 0);
    /* Newer writers repeat the rotated part as head_dim, older ones the whole; neither is needed here. */
    static const char *const repeated[] = {"head_dim", "qk_head_dim", NULL};
    enginep_read_ignored(r, repeated);
    if (m->rope_dim % 2 != 0) {
        enginep_reader_fail(r, PV_E_INVALID, "\"qk_rope_head_dim\" is %u; it must be even",
                            m->rope_dim);
    }
    if (c->kv_heads != c->heads) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"num_key_value_heads\" is %u and \"num_attention_heads\" is %u; with "
                            "latent attention they must be equal",
                            c->kv_heads, c->heads);
    }
    if (c->attention_bias) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"attention_bias\" is true; latent attention with biases is not "
                            "supported");
    }
}

static void read_choice(engine_moe *m, enginep_reader *r, bool is_v3)
{
    const char *scoring = enginep_read_text(r, "scoring_func", is_v3 ? "sigmoid" : "softmax");
    if (strcmp(scoring, "sigmoid") != 0 && strcmp(scoring, "softmax") != 0) {
        enginep_reader_fail(
            r, PV_E_UNSUPPORTED,
            "field \"scoring_func\" is \"%.64s\"; known are \"sigmoid\" and \"softmax\"", scoring);
    }
    m->scoring = scoring[1] == 'i' ? ENGINE_SCORING_SIGMOID : ENGINE_SCORING_SOFTMAX;
    const char *topk = enginep_read_text(r, "topk_method", is_v3 ? "noaux_tc" : "greedy");
    if (strcmp(topk, "noaux_tc") == 0) {
        m->topk = ENGINE_TOPK_NOAUX;
    } else if (strcmp(topk, "greedy") == 0) {
        m->topk = ENGINE_TOPK_GREEDY;
    } else if (strcmp(topk, "group_limited_greedy") == 0) {
        m->topk = ENGINE_TOPK_GROUP_LIMITED;
    } else {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"topk_method\" is \"%.64s\"; known are \"noaux_tc\", "
                            "\"greedy\" and \"group_limited_greedy\"",
                            topk);
    }
}

static void check_moe(const engine_config *c, enginep_reader *r)
{
    const engine_moe *m = &c->moe;
    if (r->status != PV_OK) {
        return;
    }
    if (m->first_dense > c->layers) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"first_k_dense_replace\" is %u and \"num_hidden_layers\" is %u; the "
                            "first cannot be larger",
                            m->first_dense, c->layers);
    }
    if (m->routed % m->groups != 0) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"n_routed_experts\" is %u and \"n_group\" is %u; groups must be of "
                            "equal size",
                            m->routed, m->groups);
    }
    uint32_t group_size = m->routed / m->groups;
    if (m->groups_kept > m->groups || m->per_token > m->groups_kept * group_size) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"num_experts_per_tok\" is %u, but %u (\"topk_group\") of %u groups "
                            "of %u experts cannot supply them",
                            m->per_token, m->groups_kept, m->groups, group_size);
    }
    if (m->topk == ENGINE_TOPK_NOAUX && m->groups > 1 && group_size < 2) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"n_group\" is %u: \"noaux_tc\" scores a group by its two best "
                            "experts, and groups would have one",
                            m->groups);
    }
}

static void read_moe(engine_config *c, enginep_reader *r)
{
    engine_moe *m = &c->moe;
    const char *type = enginep_read_text(r, "model_type", "");
    bool is_v3 = strcmp(type, "deepseek_v3") == 0;
    m->routed = enginep_read_u32(r, "n_routed_experts", 0, EXPERTS_MAX, 0);
    m->shared = enginep_read_u32(r, "n_shared_experts", 0, EXPERTS_MAX, 0);
    m->per_token = enginep_read_u32(r, "num_experts_per_tok", 0, EXPERTS_MAX, 0);
    m->intermediate_size = enginep_read_u32(r, "moe_intermediate_size", 1, WIDTH_MAX, 0);
    m->groups = enginep_read_u32(r, "n_group", 1, EXPERTS_MAX, 1);
    m->groups_kept = enginep_read_u32(r, "topk_group", 1, EXPERTS_MAX, 1);
    m->first_dense = enginep_read_u32(r, "first_k_dense_replace", 0, ENGINE_LAYERS_MAX, 0);
    m->layer_freq = enginep_read_u32(r, "moe_layer_freq", 1, ENGINE_LAYERS_MAX, 1);
    m->norm_topk = enginep_read_bool(r, "norm_topk_prob", is_v3);
    m->scale = enginep_read_real(r, "routed_scaling_factor", 0, 1e6, 1);
    read_choice(m, r, is_v3);
    if (m->routed == 0) {
        memset(m, 0, sizeof *m);
        return;
    }
    if (m->topk == ENGINE_TOPK_GREEDY) {
        m->groups = m->groups_kept = 1;
    }
    if (m->per_token == 0 || m->intermediate_size == 0) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"n_routed_experts\" is %u, so \"num_experts_per_tok\" and "
                            "\"moe_intermediate_size\" must be given and above 0",
                            m->routed);
    }
    if ((uint64_t)m->shared * m->intermediate_size > WIDTH_MAX) {
        enginep_reader_fail(r, PV_E_INVALID, "\"n_shared_experts\" is %u; that is too wide",
                            m->shared);
    }
    check_moe(c, r);
}

/* Projections are sized by products of the fields; kernels index them with 32 bits. */
static void check_products(const engine_config *c, enginep_reader *r)
{
    uint64_t widest = (uint64_t)c->heads * c->head_dim;
    uint64_t kv_b = (uint64_t)c->heads * (c->mla.nope_dim + c->mla.v_dim);
    if (r->status == PV_OK && (widest > 1u << 24 || kv_b > 1u << 24)) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"num_attention_heads\" is %u with heads of %u: the projection would "
                            "have more than 2^24 rows",
                            c->heads, c->head_dim);
    }
}

static pv_status read_config(engine_config *c, const json_t *root, pv_error *err)
{
    enginep_reader r;
    enginep_reader_init(&r, root, "config.json", err);
    read_arch(c, &r);
    read_common(c, &r);
    refuse_variants(&r);
    enginep_read_ignored(&r, ignored_fields);
    if (r.status == PV_OK && c->arch == ENGINE_ARCH_LLAMA) {
        read_llama(c, &r);
    } else if (r.status == PV_OK) {
        read_mla(c, &r);
        read_moe(c, &r);
    }
    check_products(c, &r);
    enginep_config_read_rope(c, &r);
    enginep_config_read_quant(c, &r);
    enginep_config_read_ids(c, &r);
    if (r.status != PV_OK) {
        return r.status;
    }
    return enginep_config_report_unknown(c, &r, "");
}

static void read_generation(engine_config *c, enginep_reader *r)
{
    engine_generation *g = &c->generation;
    g->do_sample = enginep_read_bool(r, "do_sample", false);
    g->temperature = enginep_read_real(r, "temperature", 0, 100, 0);
    g->top_p = enginep_read_real(r, "top_p", 0, 1, 0);
    g->top_k = enginep_read_u32(r, "top_k", 0, VOCAB_MAX, 0);
    g->max_new_tokens = enginep_read_u32(r, "max_new_tokens", 0, NEW_TOKENS_MAX, 0);
    static const char *const ignored[] = {"_from_model_config",   "max_length", "pad_token_id",
                                          "transformers_version", "use_cache",  NULL};
    enginep_read_ignored(r, ignored);
    enginep_config_read_ids(c, r);
}

static pv_status parse_generation(engine_config *c, const char *text, size_t n, pv_error *err)
{
    json_t *root = NULL;
    pv_status status = enginep_json_parse(text, n, "generation_config.json", &root, err);
    if (status == PV_OK) {
        enginep_reader r;
        enginep_reader_init(&r, root, "generation_config.json", err);
        read_generation(c, &r);
        status = r.status;
        if (status == PV_OK) {
            status = enginep_config_report_unknown(c, &r, "generation_config.");
        }
    }
    json_decref(root);
    return status;
}

pv_status engine_config_parse(engine_config *out, const char *config, size_t config_len,
                              const char *generation, size_t generation_len, pv_error *err)
{
    engine_config c = {.bos_id = -1};
    json_t *root = NULL;
    pv_status status = enginep_json_parse(config, config_len, "config.json", &root, err);
    if (status == PV_OK) {
        status = read_config(&c, root, err);
    }
    if (status == PV_OK && generation != NULL) {
        status = parse_generation(&c, generation, generation_len, err);
    }
    json_decref(root);
    if (status != PV_OK) {
        engine_config_release(&c);
        return status;
    }
    *out = c;
    return PV_OK;
}

static pv_status read_file(const char *dir, const char *name, pv_buf *out, pv_error *err)
{
    pv_buf path = {0};
    pv_buf_printf(&path, "%s/%s", dir, name);
    pv_status status = pv_buf_ok(&path)
                           ? pv_file_read(pv_buf_text(&path), CONFIG_FILE_MAX, out, err)
                           : pv_fail(err, PV_E_NOMEM, "%s: out of memory", name);
    pv_buf_release(&path);
    return status;
}

pv_status engine_config_open(engine_config *out, const char *dir, pv_error *err)
{
    pv_buf config = {0};
    pv_buf generation = {0};
    pv_error optional = {0};
    pv_status status = read_file(dir, "config.json", &config, err);
    pv_status found = PV_OK;
    if (status == PV_OK) {
        found = read_file(dir, "generation_config.json", &generation, &optional);
        if (found != PV_OK && found != PV_E_NOTFOUND) {
            status = pv_fail(err, found, "%s", optional.msg);
        }
    }
    if (status == PV_OK) {
        status = engine_config_parse(out, pv_buf_text(&config), config.len,
                                     found == PV_OK ? pv_buf_text(&generation) : NULL,
                                     generation.len, err);
        if (status != PV_OK) {
            pv_error_wrap(err, "while reading the checkpoint %s", dir);
        }
    }
    pv_buf_release(&config);
    pv_buf_release(&generation);
    return status;
}
