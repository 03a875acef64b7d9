/* engine_model: a checkpoint folder, opened: everything about a model that never changes, in one object.
 *
 *     engine_model *model = NULL;
 *     if (engine_model_open(&model, "models/prover", 0, &err) == PV_OK) {
 *         ... any number of engines, on any threads ...
 *         engine_model_close(model);
 *     }
 * Threads: immutable after open; close it when nobody uses it any more. */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "engine_config.h"
#include "engine_safetensors.h"
#include "engine_template.h"
#include "engine_tokenizer.h"
#include "engine_weights.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ENGINE_MODEL_NO_TOKENIZER = 1 }; /* tokens in, tokens out: tokenizer.json is not read      */

typedef struct engine_model { /* read it; engine_model functions write it                        */
    char *dir;
    engine_config config;
    engine_safetensors *tensors;
    engine_weights weights;
    engine_tokenizer *tokenizer; /* NULL with ENGINE_MODEL_NO_TOKENIZER                           */
    engine_template raw;         /* with a tokenizer                                              */
    engine_template chat;        /* when has_chat                                                 */
    bool has_chat;               /* the tokenizer has the chat template's control tokens          */
    char *chat_missing;          /* why not; NULL when has_chat or without a tokenizer            */
    engine_chat chat_file; /* how the checkpoint's own Jinja template compares with `chat`        */
} engine_model;

/* Reads config.json, the safetensors (mapped, not copied) and tokenizer.json of `dir`. Messages begin with the folder.
 * Fails: PV_E_NOTFOUND, PV_E_IO, PV_E_INVALID (damaged, or parts that do not fit each other), PV_E_UNSUPPORTED,
 * PV_E_NOMEM. *out is owned by the caller, written on success only. */
PV_NODISCARD pv_status engine_model_open(engine_model **out, const char *dir, unsigned flags,
                                         pv_error *err);
void engine_model_close(engine_model *model); /* NULL allowed */

/* Does generation end with `token`? */
bool engine_model_is_eos(const engine_model *model, uint32_t token);

#ifdef __cplusplus
}
#endif
#endif
