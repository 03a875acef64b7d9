#include "engine_model.h"

#include "pv_mem.h"

#include <string.h>

static pv_status open_chat(engine_model *m, pv_error *err)
{
    pv_error why = {0};
    pv_status status =
        engine_template_init(&m->chat, ENGINE_TEMPLATE_DEEPSEEK, m->tokenizer, &m->config, &why);
    m->has_chat = status == PV_OK;
    if (status != PV_E_INVALID) {
        return status == PV_OK ? PV_OK : pv_fail(err, status, "%s", why.msg);
    }
    m->chat_missing = pv_strdup(why.msg); /* a model without this template is a good model */
    return m->chat_missing != NULL ? PV_OK : pv_fail(err, PV_E_NOMEM, "no memory for a message");
}

static pv_status open_tokenizer(engine_model *m, pv_error *err)
{
    pv_status status = engine_tokenizer_open(&m->tokenizer, m->dir, err);
    if (status != PV_OK) {
        return status;
    }
    uint32_t size = engine_tokenizer_size(m->tokenizer);
    if (size > m->config.vocab_size) {
        return pv_fail(
            err, PV_E_INVALID,
            "tokenizer.json defines ids up to %u, but the model has only %u rows of embeddings "
            "(vocab_size): the files do not belong together",
            size - 1, m->config.vocab_size);
    }
    status = engine_template_init(&m->raw, ENGINE_TEMPLATE_RAW, m->tokenizer, &m->config, err);
    if (status == PV_OK) {
        status = open_chat(m, err);
    }
    return status == PV_OK ? engine_template_compare(m->dir, &m->chat_file, err) : status;
}

static pv_status open_parts(engine_model *m, unsigned flags, pv_error *err)
{
    pv_status status = engine_config_open(&m->config, m->dir, err);
    if (status == PV_OK) {
        status = engine_safetensors_open(&m->tensors, m->dir, err);
    }
    if (status == PV_OK) {
        status = engine_weights_resolve(&m->weights, &m->config, m->tensors, err);
    }
    if (status == PV_OK && (flags & ENGINE_MODEL_NO_TOKENIZER) == 0) {
        status = open_tokenizer(m, err);
    }
    return status;
}

pv_status engine_model_open(engine_model **out, const char *dir, unsigned flags, pv_error *err)
{
    engine_model *m = pv_calloc(1, sizeof *m);
    if (m != NULL) {
        m->dir = pv_strdup(dir);
    }
    if (m == NULL || m->dir == NULL) {
        pv_free(m);
        return pv_fail(err, PV_E_NOMEM, "no memory for the model in %s", dir);
    }
    pv_status status = open_parts(m, flags, err);
    if (status != PV_OK) {
        if (err != NULL &&
            strstr(err->msg, dir) == NULL) { /* some messages name their file already */
            (void)pv_error_wrap(err, "model in %s", dir);
        }
        engine_model_close(m);
        return status;
    }
    *out = m;
    return PV_OK;
}

void engine_model_close(engine_model *m)
{
    if (m == NULL) {
        return;
    }
    engine_weights_release(&m->weights);
    engine_safetensors_close(m->tensors);
    engine_config_release(&m->config);
    engine_tokenizer_free(m->tokenizer);
    pv_free(m->chat_missing);
    pv_free(m->dir);
    pv_free(m);
}

bool engine_model_is_eos(const engine_model *model, uint32_t token)
{
    for (uint32_t i = 0; i < model->config.eos_count; i++) {
        if (model->config.eos_ids[i] == token) {
            return true;
        }
    }
    return false;
}
