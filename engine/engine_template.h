/* engine_template: messages to the token ids of a prompt.
 *
 * Control tokens (begin, user, assistant, end) are put in by id; message text is encoded without recognising added
 * tokens, so that no statement can forge a turn. The two Prover-V2 prompts are in engine_prompt_prover().
 * Threads: an engine_template is immutable after init; rendering uses the caller's encoder. */
#ifndef ENGINE_TEMPLATE_H
#define ENGINE_TEMPLATE_H

#include "engine_config.h"
#include "engine_tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum engine_template_kind {
    ENGINE_TEMPLATE_RAW, /* begin token if the configuration names one, then the text alone    */
    ENGINE_TEMPLATE_DEEPSEEK, /* BOS, system, <User> user, <Assistant> assistant, end-of-sentence   */
} engine_template_kind;

typedef struct engine_marker { /* a control string of the template                      */
    bool is_token;             /* false: the tokenizer lacks it, it is encoded as text   */
    uint32_t id;
    const char *text;
} engine_marker;

typedef struct engine_template {
    engine_template_kind kind;
    bool has_bos;
    uint32_t bos_id;
    engine_marker user;
    engine_marker assistant;
    engine_marker end;
} engine_template;

typedef enum engine_role {
    ENGINE_ROLE_SYSTEM,
    ENGINE_ROLE_USER,
    ENGINE_ROLE_ASSISTANT
} engine_role;

typedef struct engine_message { /* borrowed */
    engine_role role;
    const char *text;
    size_t len;
} engine_message;

typedef struct engine_conversation { /* borrowed */
    const engine_message *messages;
    size_t count;
    bool generate; /* open the assistant's turn at the end */
} engine_conversation;

/* Looks the control tokens up. DEEPSEEK fails with PV_E_INVALID when the begin or end token is missing, or when plain
 * text could produce one. `config` may be NULL: RAW then begins with nothing. */
PV_NODISCARD pv_status engine_template_init(engine_template *out, engine_template_kind kind,
                                            const engine_tokenizer *tokenizer,
                                            const engine_config *config, pv_error *err);

/* Appends the prompt's ids to *out, unchanged on failure. System messages come right after the begin token, joined by
 * blank lines, wherever they stand in the list. */
PV_NODISCARD pv_status engine_template_render(const engine_template *t, engine_encoder *encoder,
                                              const engine_conversation *conversation,
                                              engine_tokens *out, pv_error *err);

typedef enum engine_chat { /* how a checkpoint's own chat template relates to ENGINE_TEMPLATE_DEEPSEEK */
                           ENGINE_CHAT_ABSENT, /* it has none                                                              */
                           ENGINE_CHAT_DEEPSEEK, /* the text that the built-in one was written from                          */
                           ENGINE_CHAT_OTHER, /* another text: compare by hand                                            */
} engine_chat;

/* Reads DIR/tokenizer_config.json. Templates are programs; this one is compared, never run.
 * Fails: PV_E_IO, PV_E_INVALID, PV_E_NOMEM; a missing file is ENGINE_CHAT_ABSENT. */
PV_NODISCARD pv_status engine_template_compare(const char *dir, engine_chat *out, pv_error *err);

typedef enum engine_prompt {
    ENGINE_PROMPT_PROVER,     /* DeepSeek-Prover-V2, code only      */
    ENGINE_PROMPT_PROVER_COT, /* DeepSeek-Prover-V2, plan first     */
} engine_prompt;

/* Appends the user message for `statement` (Lean source with `sorry`; outer white space is stripped). */
void engine_prompt_prover(engine_prompt prompt, const char *statement, size_t n, pv_buf *out);

/* Text that ends a Prover-V2 answer, next to the end token: six newlines. NUL-terminated, never freed. */
const char *engine_prompt_stop(void);

#ifdef __cplusplus
}
#endif
#endif
