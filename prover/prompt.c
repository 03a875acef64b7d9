#include "prompt.h"

#include <string.h>

static pv_status render_chat(const engine_model *model, engine_encoder *encoder, const char *text,
                             size_t n, engine_tokens *out, pv_error *err)
{
    if (!model->has_chat) {
        return pv_fail(err, PV_E_INVALID, "%s has no chat template: %s. Use --template raw",
                       model->dir, model->chat_missing == NULL ? "" : model->chat_missing);
    }
    engine_message message = {ENGINE_ROLE_USER, text, n};
    engine_conversation talk = {.messages = &message, .count = 1, .generate = true};
    return engine_template_render(&model->chat, encoder, &talk, out, err);
}

static pv_status render_prover(const engine_model *model, engine_encoder *encoder,
                               engine_prompt prompt, const char *text, size_t n, engine_tokens *out,
                               pv_error *err)
{
    pv_buf message = {0};
    engine_prompt_prover(prompt, text, n, &message);
    pv_status status = pv_buf_ok(&message) ? render_chat(model, encoder, pv_buf_text(&message),
                                                         message.len, out, err)
                                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&message);
    return status;
}

pv_status prompt_render(const engine_model *model, engine_encoder *encoder,
                        const char *template_name, const char *text, size_t n, engine_tokens *out,
                        pv_error *err)
{
    if (strcmp(template_name, "raw") == 0) {
        engine_message message = {ENGINE_ROLE_USER, text, n};
        engine_conversation talk = {.messages = &message, .count = 1};
        return engine_template_render(&model->raw, encoder, &talk, out, err);
    }
    if (strcmp(template_name, "chat") == 0) {
        return render_chat(model, encoder, text, n, out, err);
    }
    if (strcmp(template_name, "prover-v2-noncot") == 0) {
        return render_prover(model, encoder, ENGINE_PROMPT_PROVER, text, n, out, err);
    }
    if (strcmp(template_name, "prover-v2-cot") == 0) {
        return render_prover(model, encoder, ENGINE_PROMPT_PROVER_COT, text, n, out, err);
    }
    return pv_fail(err, PV_E_INVALID,
                   "--template %s: the templates are raw, chat, prover-v2-noncot, prover-v2-cot",
                   template_name);
}
