/* engine_layout: which tensors a model of a given configuration consists of, by name and shape.
 *
 * One walk serves the loader (which looks the tensors up), the memory plan (which only counts) and tests (which write
 * small checkpoints). Tensor names are those of Hugging Face checkpoints; docs/engine.md, "Weights", lists them.
 * Threads: pure functions. */
#ifndef ENGINE_LAYOUT_H
#define ENGINE_LAYOUT_H

#include "engine_config.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ENGINE_TENSOR_NAME_MAX = 160 };

/* What a tensor is for; the memory plan adds up by kind. */
#define ENGINE_KIND_TABLE(X)                                                                       \
    X(EMBED, "embedding")                                                                          \
    X(HEAD, "output head")                                                                         \
    X(ATTENTION, "attention")                                                                      \
    X(DENSE, "dense MLP")                                                                          \
    X(EXPERT, "routed experts")                                                                    \
    X(SHARED, "shared experts")                                                                    \
    X(ROUTER, "routers")                                                                           \
    X(NORM, "norms")

typedef enum engine_kind {

#define X(name, text) ENGINE_KIND_##name,
    ENGINE_KIND_TABLE(X)
#undef X
        ENGINE_KIND_COUNT
} engine_kind;

const char *engine_kind_text(engine_kind kind);

/* The place of a tensor in engine_weights. */
typedef enum engine_slot {
    ENGINE_SLOT_EMBED,
    ENGINE_SLOT_FINAL_NORM,
    ENGINE_SLOT_LM_HEAD,
    ENGINE_SLOT_INPUT_NORM,
    ENGINE_SLOT_POST_NORM,
    ENGINE_SLOT_Q,
    ENGINE_SLOT_K,
    ENGINE_SLOT_V,
    ENGINE_SLOT_Q_BIAS,
    ENGINE_SLOT_K_BIAS,
    ENGINE_SLOT_V_BIAS,
    ENGINE_SLOT_O_BIAS,
    ENGINE_SLOT_Q_A,
    ENGINE_SLOT_Q_A_NORM,
    ENGINE_SLOT_Q_B,
    ENGINE_SLOT_KV_A,
    ENGINE_SLOT_KV_A_NORM,
    ENGINE_SLOT_KV_B,
    ENGINE_SLOT_O,
    ENGINE_SLOT_GATE, /* dense MLP                   */
    ENGINE_SLOT_UP,
    ENGINE_SLOT_DOWN,
    ENGINE_SLOT_ROUTER,
    ENGINE_SLOT_ROUTER_BIAS,
    ENGINE_SLOT_SHARED_GATE,
    ENGINE_SLOT_SHARED_UP,
    ENGINE_SLOT_SHARED_DOWN,
    ENGINE_SLOT_EXPERT_GATE, /* `expert` says which  */
    ENGINE_SLOT_EXPERT_UP,
    ENGINE_SLOT_EXPERT_DOWN,
    ENGINE_SLOT_COUNT
} engine_slot;

typedef struct engine_spec {
    char name[ENGINE_TENSOR_NAME_MAX];
    engine_slot slot;
    engine_kind kind;
    uint32_t layer;  /* 0 for the tensors outside the layers                     */
    uint32_t expert; /* 0 unless the slot is an expert's                         */
    uint32_t rows;   /* 1 for vectors                                            */
    uint32_t cols;
    bool vector;    /* stored with rank 1                                       */
    bool quantised; /* stored as F8_E4M3 + NAME_scale_inv when quant.fp8 is set */
} engine_spec;

/* Called once a tensor, in file order of the layers; anything but PV_OK ends the walk and is returned. */
typedef pv_status engine_layout_fn(void *user, const engine_spec *spec, pv_error *err);

PV_NODISCARD pv_status engine_layout_walk(const engine_config *config, engine_layout_fn *visit,
                                          void *user, pv_error *err);

#ifdef __cplusplus
}
#endif
#endif
