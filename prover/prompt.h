/* prompt: from the command line's words to the token ids of a prompt. */
#ifndef PROMPT_H
#define PROMPT_H

#include "engine_model.h"

/* `template_name` is the value of --template: raw, chat, prover-v2-noncot, prover-v2-cot. Appends to *out.
 * Fails: PV_E_INVALID (no such template, or the tokenizer lacks its control tokens), and as engine_encode(). */
PV_NODISCARD pv_status prompt_render(const engine_model *model, engine_encoder *encoder,
                                     const char *template_name, const char *text, size_t n,
                                     engine_tokens *out, pv_error *err);

/* The same as a conversation that goes on: the model's answer to that prompt, and the user's next turn; the next answer is open. Not for
 * raw: PV_E_INVALID. */
PV_NODISCARD pv_status prompt_render_turn(const engine_model *model, engine_encoder *encoder,
                                          const char *template_name, const char *text,
                                          const char *answer, const char *turn, engine_tokens *out,
                                          pv_error *err);

#endif
