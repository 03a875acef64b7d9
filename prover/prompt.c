#include "prompt.h"

#include <string.h>

/* What follows the user's first message: the model's answer and the user's next message. {0}: nothing. */
typedef struct turn_pair {
    const char *answer, *turn;
} turn_pair;

static pv_status render_chat(const engine_model *model, engine_encoder *encoder, const char *text,
                             size_t n, turn_pair more, engine_tokens *out, pv_error *err)
{
    if (!model->has_chat) {
        return pv_fail(err, PV_E_INVALID, "%s has no chat template: %s. Use --template raw",
                       model->dir, model->chat_missing == NULL ? "" : model->chat_missing);
    }
    engine_message messages[3] = {{ENGINE_ROLE_USER, text, n}};
    size_t count = 1;
    if (more.turn != NULL) {
        messages[count++] =
            (engine_message){ENGINE_ROLE_ASSISTANT, more.answer, strlen(more.answer)};
        messages[count++] = (engine_message){ENGINE_ROLE_USER, more.turn, strlen(more.turn)};
    }
    engine_conversation talk = {.messages = messages, .count = count, .generate = true};
    return engine_template_render(&model->chat, encoder, &talk, out, err);
}

static pv_status render_prover(const engine_model *model, engine_encoder *encoder,
                               engine_prompt prompt, const char *text, size_t n, turn_pair more,
                               engine_tokens *out, pv_error *err)
{
    pv_buf message = {0};
    engine_prompt_prover(prompt, text, n, &message);
    pv_status status = pv_buf_ok(&message) ? render_chat(model, encoder, pv_buf_text(&message),
                                                         message.len, more, out, err)
                                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&message);
    return status;
}

static pv_status render(const engine_model *model, engine_encoder *encoder,
                        const char *template_name, const char *text, size_t n, turn_pair more,
                        engine_tokens *out, pv_error *err)
{
    if (strcmp(template_name, "chat") == 0) {
        return render_chat(model, encoder, text, n, more, out, err);
    }
    if (strcmp(template_name, "prover-v2-noncot") == 0) {
        return render_prover(model, encoder, ENGINE_PROMPT_PROVER, text, n, more, out, err);
    }
    if (strcmp(template_name, "prover-v2-cot") == 0) {
        return render_prover(model, encoder, ENGINE_PROMPT_PROVER_COT, text, n, more, out, err);
    }
    return pv_fail(err, PV_E_INVALID,
                   "--template %s: the templates are raw, chat, prover-v2-noncot, prover-v2-cot",
                   template_name);
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
    return render(model, encoder, template_name, text, n, (turn_pair){NULL, NULL}, out, err);
}

pv_status prompt_render_turn(const engine_model *model, engine_encoder *encoder,
                             const char *template_name, const char *text, const char *answer,
                             const char *turn, engine_tokens *out, pv_error *err)
{
    if (strcmp(template_name, "raw") == 0) {
        return pv_fail(err, PV_E_INVALID, "the template raw has no turns");
    }
    return render(model, encoder, template_name, text, strlen(text), (turn_pair){answer, turn}, out,
                  err);
}
