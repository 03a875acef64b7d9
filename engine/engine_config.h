/* engine_config: what a checkpoint says about itself (config.json and generation_config.json), checked.
 *
 * Two families are read: `deepseek_v3` (also V2-style options: no query compression, softmax scores, greedy or
 * group-limited choice) and `llama` (MHA or GQA). Every number is range-checked; a value that is impossible, or that
 * contradicts another one, is refused with the field's name, its value and what to do. Fields that are not known are
 * collected by name, so that the command line can report them.
 * Embedded: `engine_config c = {0}; ... engine_config_release(&c);`. Threads: immutable after it has been read.
 * Source of the field meanings: docs/engine.md, "Configuration". */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ENGINE_EOS_MAX = 8,      /* end-of-sequence ids a checkpoint may list */
    ENGINE_LAYERS_MAX = 1024 /* more is taken for a damaged file          */
};

typedef enum engine_arch {
    ENGINE_ARCH_DEEPSEEK, /* MLA attention, mixture of experts  */
    ENGINE_ARCH_LLAMA,    /* MHA or GQA, dense                  */
} engine_arch;

typedef enum engine_rope_kind {
    ENGINE_ROPE_PLAIN,
    ENGINE_ROPE_LINEAR,  /* positions divided by factor         */
    ENGINE_ROPE_DYNAMIC, /* theta grows past max_positions      */
    ENGINE_ROPE_LLAMA3,  /* frequency bands                     */
    ENGINE_ROPE_YARN,
} engine_rope_kind;

typedef struct engine_rope {
    engine_rope_kind kind;
    double theta;                /* base, > 0                                                    */
    double factor;               /* >= 1; 1 when plain                                           */
    uint32_t original_positions; /* context before scaling; = max_positions when not given       */
    double beta_fast;            /* yarn: default 32                                             */
    double beta_slow;            /* yarn: default 1                                              */
    double mscale;               /* yarn: 0 = absent                                             */
    double mscale_all_dim;       /* yarn: 0 = absent                                             */
    double attention_factor;     /* yarn: 0 = absent, to be derived                              */
    bool truncate;               /* yarn: round the correction range to whole dimensions         */
    double low_freq_factor;      /* llama3                                                       */
    double high_freq_factor;     /* llama3: > low_freq_factor                                    */
} engine_rope;

typedef struct engine_mla { /* all 0 for llama */
    uint32_t q_lora_rank;   /* 0: a single q_proj                                           */
    uint32_t kv_lora_rank;
    uint32_t nope_dim; /* per head, without rotation                                        */
    uint32_t rope_dim; /* per head, rotated; even                                           */
    uint32_t v_dim;
} engine_mla;

typedef enum engine_scoring { ENGINE_SCORING_SIGMOID, ENGINE_SCORING_SOFTMAX } engine_scoring;

typedef enum engine_topk {
    ENGINE_TOPK_NOAUX,         /* bias added for the choice; group score = sum of its two best */
    ENGINE_TOPK_GREEDY,        /* no groups                                                    */
    ENGINE_TOPK_GROUP_LIMITED, /* group score = its best                                       */
} engine_topk;

typedef struct engine_moe {     /* all 0 when every layer is dense */
    uint32_t routed;            /* experts a layer; 0: dense model                             */
    uint32_t shared;            /* shared experts, stored as one MLP of shared * intermediate  */
    uint32_t per_token;         /* experts chosen for a token                                  */
    uint32_t intermediate_size; /* of one expert                                               */
    uint32_t groups;            /* divides routed; 1 = no grouping                             */
    uint32_t groups_kept;       /* <= groups                                                   */
    uint32_t first_dense;       /* leading dense layers                                        */
    uint32_t layer_freq;        /* a later layer L has experts when L % layer_freq == 0        */
    bool norm_topk;             /* weights divided by their sum                                */
    double scale;               /* routed_scaling_factor                                       */
    engine_scoring scoring;
    engine_topk topk;
} engine_moe;

typedef struct engine_quant { /* fp8 == false: weights are bf16, f16 or f32               */
    bool fp8;                 /* e4m3 weights with one float scale a block                    */
    uint32_t block_rows;
    uint32_t block_cols;
    bool scale_pow2; /* scale_fmt "ue8m0": activations too take power-of-two scales           */
} engine_quant;

typedef struct engine_generation { /* the checkpoint's own defaults; 0 or false = not given */
    bool do_sample;
    double temperature;
    double top_p;
    uint32_t top_k;
    uint32_t max_new_tokens;
} engine_generation;

typedef struct engine_config {
    engine_arch arch;
    uint32_t vocab_size; /* rows of the embedding; the tokenizer may define fewer ids             */
    uint32_t hidden_size;
    uint32_t layers;
    uint32_t heads;
    uint32_t kv_heads;          /* = heads for MLA                                                */
    uint32_t head_dim;          /* llama; for MLA nope_dim + rope_dim                             */
    uint32_t intermediate_size; /* of a dense MLP                                                 */
    uint32_t max_positions;
    double norm_eps;
    bool tie_embeddings; /* lm_head is the embedding table                                        */
    bool attention_bias; /* llama: q, k, v and o projections carry biases                         */
    engine_rope rope;
    engine_mla mla;
    engine_moe moe;
    uint32_t mtp_layers; /* multi-token-prediction blocks stored after the last layer             */
    engine_quant quant;
    int64_t bos_id; /* -1: none                                                                   */
    uint32_t eos_ids[ENGINE_EOS_MAX]; /* generation_config.json wins over config.json             */
    uint32_t eos_count;
    engine_generation generation;
    char **unknown; /* owned; names of fields nobody here knows, as "field" or "object.field"     */
    size_t unknown_count;
} engine_config;

/* Reads DIR/config.json, and DIR/generation_config.json when it is there. *out is written on success only.
 * Fails: PV_E_NOTFOUND, PV_E_IO, PV_E_INVALID (what, where, remedy), PV_E_UNSUPPORTED, PV_E_NOMEM. */
PV_NODISCARD pv_status engine_config_open(engine_config *out, const char *dir, pv_error *err);

/* The same from memory; `generation` may be NULL. The bytes are borrowed for the call. */
PV_NODISCARD pv_status engine_config_parse(engine_config *out, const char *config,
                                           size_t config_len, const char *generation,
                                           size_t generation_len, pv_error *err);

void engine_config_release(engine_config *config);

/* Does layer `layer` (< layers) have routed experts? */
bool engine_config_layer_is_moe(const engine_config *config, uint32_t layer);

/* Numbers cached for one token in one layer: kv_lora_rank + rope_dim (MLA), or 2 * kv_heads * head_dim. */
uint32_t engine_config_kv_values(const engine_config *config);

/* "deepseek_v3" or "llama"; "plain", "linear", "dynamic", "llama3" or "yarn". Never NULL. */
const char *engine_arch_text(engine_arch arch);
const char *engine_rope_text(engine_rope_kind kind);

#ifdef __cplusplus
}
#endif
#endif
