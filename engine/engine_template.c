#include "engine_template.h"

#include <string.h>

/* The control strings of DeepSeek-V3's chat template; bars are U+FF5C, low lines U+2581. */
#define BAR "\xef\xbd\x9c"
#define LOW "\xe2\x96\x81"
static const char bos_text[] = "<" BAR "begin" LOW "of" LOW "sentence" BAR ">";
static const char end_text[] = "<" BAR "end" LOW "of" LOW "sentence" BAR ">";
static const char user_text[] = "<" BAR "User" BAR ">";
static const char assistant_text[] = "<" BAR "Assistant" BAR ">";

typedef struct renderer {
    const engine_template *t;
    engine_encoder *encoder;
    engine_tokens *out;
    pv_buf text; /* plain text since the last control token */
    pv_error *err;
} renderer;

static void find_marker(engine_marker *m, const engine_tokenizer *tokenizer, const char *text)
{
    m->text = text;
    m->is_token = engine_tokenizer_find_added(tokenizer, text, &m->id);
}

static pv_status check_marker(const engine_marker *m, const engine_tokenizer *tokenizer,
                              bool required, pv_error *err)
{
    if (required && !m->is_token) {
        return pv_fail(err, PV_E_INVALID,
                       "the tokenizer has no token %s, so this is not a DeepSeek chat model; use "
                       "the raw template",
                       m->text);
    }
    if (m->is_token && engine_tokenizer_is_plain(tokenizer, m->id)) {
        return pv_fail(err, PV_E_INVALID, "plain text could forge the control token %s", m->text);
    }
    return PV_OK;
}

static pv_status init_deepseek(engine_template *t, const engine_tokenizer *tokenizer, pv_error *err)
{
    engine_marker bos;
    memset(&bos, 0, sizeof bos);
    find_marker(&bos, tokenizer, bos_text);
    find_marker(&t->end, tokenizer, end_text);
    find_marker(&t->user, tokenizer, user_text);
    find_marker(&t->assistant, tokenizer, assistant_text);
    t->has_bos = true;
    t->bos_id = bos.id;
    const engine_marker *all[] = {&bos, &t->end, &t->user, &t->assistant};
    for (int i = 0; i < 4; i++) {
        pv_status status = check_marker(all[i], tokenizer, i < 2, err);
        if (status != PV_OK) {
            return status;
        }
    }
    return PV_OK;
}

pv_status engine_template_init(engine_template *out, engine_template_kind kind,
                               const engine_tokenizer *tokenizer, const engine_config *config,
                               pv_error *err)
{
    engine_template t;
    memset(&t, 0, sizeof t);
    t.kind = kind;
    if (kind == ENGINE_TEMPLATE_DEEPSEEK) {
        pv_status status = init_deepseek(&t, tokenizer, err);
        if (status != PV_OK) {
            return status;
        }
    } else if (config != NULL && config->bos_id >= 0) {
        t.has_bos = true;
        t.bos_id = (uint32_t)config->bos_id;
    }
    *out = t;
    return PV_OK;
}

/* Text between control tokens is encoded as one run: pieces may reach over what was appended apart. */
static pv_status flush(renderer *r)
{
    if (!pv_buf_ok(&r->text)) {
        return pv_fail(r->err, PV_E_NOMEM, "out of memory for a prompt");
    }
    pv_status status =
        engine_encode(r->encoder, pv_buf_text(&r->text), r->text.len, 0, r->out, r->err);
    pv_buf_clear(&r->text);
    return status;
}

static pv_status put_marker(renderer *r, const engine_marker *m)
{
    if (!m->is_token) {
        pv_buf_puts(&r->text, m->text);
        return PV_OK;
    }
    pv_status status = flush(r);
    return status == PV_OK ? engine_tokens_push(r->out, m->id, r->err) : status;
}

static void put_text(renderer *r, const engine_message *m)
{
    pv_buf_append(&r->text, m->text, m->len);
}

static void put_system(renderer *r, const engine_conversation *c)
{
    bool first = true;
    for (size_t i = 0; i < c->count; i++) {
        if (c->messages[i].role == ENGINE_ROLE_SYSTEM) {
            pv_buf_puts(&r->text, first ? "" : "\n\n");
            put_text(r, &c->messages[i]);
            first = false;
        }
    }
}

static pv_status put_turn(renderer *r, const engine_message *m)
{
    const engine_template *t = r->t;
    if (m->role == ENGINE_ROLE_SYSTEM) {
        return PV_OK;
    }
    bool user = m->role == ENGINE_ROLE_USER;
    pv_status status = put_marker(r, user ? &t->user : &t->assistant);
    if (status == PV_OK) {
        put_text(r, m);
        status = user ? PV_OK : put_marker(r, &t->end);
    }
    return status;
}

static pv_status render_deepseek(renderer *r, const engine_conversation *c)
{
    pv_status status = PV_OK;
    put_system(r, c);
    for (size_t i = 0; i < c->count && status == PV_OK; i++) {
        status = put_turn(r, &c->messages[i]);
    }
    if (status == PV_OK && c->generate) {
        status = put_marker(r, &r->t->assistant);
    }
    return status;
}

static void put_raw(renderer *r, const engine_conversation *c)
{
    for (size_t i = 0; i < c->count; i++) {
        put_text(r, &c->messages[i]);
    }
}

static pv_status render(renderer *r, const engine_conversation *c)
{
    pv_status status = r->t->has_bos ? engine_tokens_push(r->out, r->t->bos_id, r->err) : PV_OK;
    if (status == PV_OK && r->t->kind == ENGINE_TEMPLATE_DEEPSEEK) {
        status = render_deepseek(r, c);
    } else if (status == PV_OK) {
        put_raw(r, c);
    }
    return status == PV_OK ? flush(r) : status;
}

pv_status engine_template_render(const engine_template *t, engine_encoder *encoder,
                                 const engine_conversation *conversation, engine_tokens *out,
                                 pv_error *err)
{
    size_t before = out->len;
    renderer r = {.t = t, .encoder = encoder, .out = out, .err = err};
    pv_status status = render(&r, conversation);
    pv_buf_release(&r.text);
    if (status != PV_OK) {
        out->len = before;
    }
    return status;
}

/* The prompts are input data of the model and must not change by a byte
 * (deepseek-ai/DeepSeek-Prover-V2, README.md, "Quick Start"). */
static const char prompt_head[] = "Complete the following Lean 4 code:\n\n```lean4\n";
static const char prompt_tail[] = "\n```";
static const char prompt_plan[] =
    "\n\nBefore producing the Lean 4 code to formally prove the given theorem, provide a detailed "
    "proof plan outlining the main proof steps and strategies.\nThe plan should highlight key "
    "ideas, intermediate lemmas, and proof structures that will guide the construction of the "
    "final formal proof.";

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void engine_prompt_prover(engine_prompt prompt, const char *statement, size_t n, pv_buf *out)
{
    while (n > 0 && is_blank(statement[n - 1])) {
        n--;
    }
    while (n > 0 && is_blank(statement[0])) {
        statement++;
        n--;
    }
    pv_buf_puts(out, prompt_head);
    pv_buf_append(out, statement, n);
    pv_buf_puts(out, prompt_tail);
    if (prompt == ENGINE_PROMPT_PROVER_COT) {
        pv_buf_puts(out, prompt_plan);
    }
}

const char *engine_prompt_stop(void)
{
    return "\n\n\n\n\n\n";
}
