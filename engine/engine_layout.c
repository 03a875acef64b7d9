#include "engine_layout.h"

#include <stdio.h>
#include <string.h>

/* How a tensor's shape follows from the configuration, and where its name stands. */
typedef enum scope { SCOPE_MODEL, SCOPE_LAYER, SCOPE_EXPERT } scope;

typedef struct row {
    const char *suffix; /* after "model.layers.L." or "model.layers.L.mlp.experts.E." */
    scope where;
    engine_kind kind;
    bool vector;
    bool quantised;
} row;

#define MODEL(name, kind, vector)                                                                  \
    {                                                                                              \
        name, SCOPE_MODEL, ENGINE_KIND_##kind, vector, false                                       \
    }
#define MATRIX(name, kind)                                                                         \
    {                                                                                              \
        name, SCOPE_LAYER, ENGINE_KIND_##kind, false, true                                         \
    }
#define VECTOR(name, kind)                                                                         \
    {                                                                                              \
        name, SCOPE_LAYER, ENGINE_KIND_##kind, true, false                                         \
    }
#define EXPERT(name)                                                                               \
    {                                                                                              \
        name, SCOPE_EXPERT, ENGINE_KIND_EXPERT, false, true                                        \
    }

/* In the order of engine_slot. Embedding, head, norms and routers are never quantised (DeepSeek-V3 README_WEIGHTS). */
static const row rows[] = {
    MODEL("model.embed_tokens.weight", EMBED, false),
    MODEL("model.norm.weight", NORM, true),
    MODEL("lm_head.weight", HEAD, false),
    VECTOR("input_layernorm.weight", NORM),
    VECTOR("post_attention_layernorm.weight", NORM),
    MATRIX("self_attn.q_proj.weight", ATTENTION),
    MATRIX("self_attn.k_proj.weight", ATTENTION),
    MATRIX("self_attn.v_proj.weight", ATTENTION),
    VECTOR("self_attn.q_proj.bias", ATTENTION),
    VECTOR("self_attn.k_proj.bias", ATTENTION),
    VECTOR("self_attn.v_proj.bias", ATTENTION),
    VECTOR("self_attn.o_proj.bias", ATTENTION),
    MATRIX("self_attn.q_a_proj.weight", ATTENTION),
    VECTOR("self_attn.q_a_layernorm.weight", NORM),
    MATRIX("self_attn.q_b_proj.weight", ATTENTION),
    MATRIX("self_attn.kv_a_proj_with_mqa.weight", ATTENTION),
    VECTOR("self_attn.kv_a_layernorm.weight", NORM),
    MATRIX("self_attn.kv_b_proj.weight", ATTENTION),
    MATRIX("self_attn.o_proj.weight", ATTENTION),
    MATRIX("mlp.gate_proj.weight", DENSE),
    MATRIX("mlp.up_proj.weight", DENSE),
    MATRIX("mlp.down_proj.weight", DENSE),
    {"mlp.gate.weight", SCOPE_LAYER, ENGINE_KIND_ROUTER, false, false},
    VECTOR("mlp.gate.e_score_correction_bias", ROUTER),
    MATRIX("mlp.shared_experts.gate_proj.weight", SHARED),
    MATRIX("mlp.shared_experts.up_proj.weight", SHARED),
    MATRIX("mlp.shared_experts.down_proj.weight", SHARED),
    EXPERT("gate_proj.weight"),
    EXPERT("up_proj.weight"),
    EXPERT("down_proj.weight"),
};

typedef struct walk {
    const engine_config *config;
    engine_layout_fn *visit;
    void *user;
    pv_error *err;
    pv_status status;
    engine_spec spec; /* of the tensor being visited */
} walk;

const char *engine_kind_text(engine_kind kind)
{
    static const char *const text[] = {
#define X(name, text) text,
        ENGINE_KIND_TABLE(X)
#undef X
    };
    return (unsigned)kind < ENGINE_KIND_COUNT ? text[kind] : "?";
}

static void visit(walk *w, engine_slot slot, uint32_t tensor_rows, uint32_t cols)
{
    const row *r = &rows[slot];
    engine_spec *s = &w->spec;
    if (w->status != PV_OK) {
        return;
    }
    s->slot = slot;
    s->kind = r->kind;
    s->rows = tensor_rows;
    s->cols = cols;
    s->vector = r->vector;
    s->quantised = r->quantised && w->config->quant.fp8;
    if (r->where == SCOPE_MODEL) {
        snprintf(s->name, sizeof s->name, "%s", r->suffix);
    } else if (r->where == SCOPE_LAYER) {
        snprintf(s->name, sizeof s->name, "model.layers.%u.%s", s->layer, r->suffix);
    } else {
        snprintf(s->name, sizeof s->name, "model.layers.%u.mlp.experts.%u.%s", s->layer, s->expert,
                 r->suffix);
    }
    w->status = w->visit(w->user, s, w->err);
}

static void visit_mlp(walk *w, engine_slot gate, uint32_t intermediate)
{
    uint32_t hidden = w->config->hidden_size;
    visit(w, gate, intermediate, hidden);
    visit(w, (engine_slot)(gate + 1), intermediate, hidden);
    visit(w, (engine_slot)(gate + 2), hidden, intermediate);
}

static void visit_mla(walk *w)
{
    const engine_config *c = w->config;
    const engine_mla *m = &c->mla;
    uint32_t hidden = c->hidden_size;
    uint32_t q_rows = c->heads * (m->nope_dim + m->rope_dim);
    if (m->q_lora_rank == 0) {
        visit(w, ENGINE_SLOT_Q, q_rows, hidden);
    } else {
        visit(w, ENGINE_SLOT_Q_A, m->q_lora_rank, hidden);
        visit(w, ENGINE_SLOT_Q_A_NORM, 1, m->q_lora_rank);
        visit(w, ENGINE_SLOT_Q_B, q_rows, m->q_lora_rank);
    }
    visit(w, ENGINE_SLOT_KV_A, m->kv_lora_rank + m->rope_dim, hidden);
    visit(w, ENGINE_SLOT_KV_A_NORM, 1, m->kv_lora_rank);
    visit(w, ENGINE_SLOT_KV_B, c->heads * (m->nope_dim + m->v_dim), m->kv_lora_rank);
    visit(w, ENGINE_SLOT_O, hidden, c->heads * m->v_dim);
}

static void visit_heads(walk *w)
{
    const engine_config *c = w->config;
    uint32_t hidden = c->hidden_size;
    uint32_t q_rows = c->heads * c->head_dim;
    uint32_t kv_rows = c->kv_heads * c->head_dim;
    visit(w, ENGINE_SLOT_Q, q_rows, hidden);
    visit(w, ENGINE_SLOT_K, kv_rows, hidden);
    visit(w, ENGINE_SLOT_V, kv_rows, hidden);
    visit(w, ENGINE_SLOT_O, hidden, q_rows);
    if (c->attention_bias) {
        visit(w, ENGINE_SLOT_Q_BIAS, 1, q_rows);
        visit(w, ENGINE_SLOT_K_BIAS, 1, kv_rows);
        visit(w, ENGINE_SLOT_V_BIAS, 1, kv_rows);
        visit(w, ENGINE_SLOT_O_BIAS, 1, hidden);
    }
}

static void visit_moe(walk *w)
{
    const engine_moe *m = &w->config->moe;
    visit(w, ENGINE_SLOT_ROUTER, m->routed, w->config->hidden_size);
    if (m->topk == ENGINE_TOPK_NOAUX) {
        visit(w, ENGINE_SLOT_ROUTER_BIAS, 1, m->routed);
    }
    if (m->shared != 0) {
        visit_mlp(w, ENGINE_SLOT_SHARED_GATE, m->shared * m->intermediate_size);
    }
    for (uint32_t e = 0; e < m->routed; e++) {
        w->spec.expert = e;
        visit_mlp(w, ENGINE_SLOT_EXPERT_GATE, m->intermediate_size);
    }
    w->spec.expert = 0;
}

static void visit_layer(walk *w)
{
    const engine_config *c = w->config;
    visit(w, ENGINE_SLOT_INPUT_NORM, 1, c->hidden_size);
    if (c->arch == ENGINE_ARCH_DEEPSEEK) {
        visit_mla(w);
    } else {
        visit_heads(w);
    }
    visit(w, ENGINE_SLOT_POST_NORM, 1, c->hidden_size);
    if (engine_config_layer_is_moe(c, w->spec.layer)) {
        visit_moe(w);
    } else {
        visit_mlp(w, ENGINE_SLOT_GATE, c->intermediate_size);
    }
}

pv_status engine_layout_walk(const engine_config *config, engine_layout_fn *fn, void *user,
                             pv_error *err)
{
    walk w;
    memset(&w, 0, sizeof w);
    w.config = config;
    w.visit = fn;
    w.user = user;
    w.err = err;
    visit(&w, ENGINE_SLOT_EMBED, config->vocab_size, config->hidden_size);
    for (uint32_t i = 0; i < config->layers && w.status == PV_OK; i++) {
        w.spec.layer = i;
        visit_layer(&w);
    }
    w.spec.layer = 0;
    visit(&w, ENGINE_SLOT_FINAL_NORM, 1, config->hidden_size);
    if (!config->tie_embeddings) {
        visit(&w, ENGINE_SLOT_LM_HEAD, config->vocab_size, config->hidden_size);
    }
    return w.status;
}
