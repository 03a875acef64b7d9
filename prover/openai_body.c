/* The requests of openai.h. */
#include "openai.h"

#include "pv_utf8.h"

#include <string.h>

enum { SEED_MASK = 0x7fffffff };

typedef struct builder {
    json_t *body;
    bool starved;
} builder;

/* `value` is taken; NULL: memory is short. */
static void set(builder *b, const char *key, json_t *value)
{
    b->starved = json_object_set_new(b->body, key, value) != 0 || b->starved;
}

static json_t *message(const char *role, const char *text)
{
    return json_pack("{s:s, s:s}", "role", role, "content", text);
}

/* vLLM and SGLang go on with an assistant's message that is begun when told so. */
static void set_messages(builder *b, const openai_ask *ask)
{
    json_t *messages = json_array();
    bool ok = json_array_append_new(messages, message("user", ask->prompt)) == 0;
    if (ask->turn != NULL) {
        ok = json_array_append_new(messages, message("assistant", ask->earlier)) == 0 && ok;
        ok = json_array_append_new(messages, message("user", ask->turn)) == 0 && ok;
    }
    if (ask->answer != NULL) {
        ok = json_array_append_new(messages, message("assistant", ask->answer)) == 0 && ok;
        set(b, "add_generation_prompt", json_false());
        set(b, "continue_final_message", json_true());
    }
    set(b, "messages", messages);
    b->starved = b->starved || !ok;
}

/* Completions: 1 and not 0, which some servers take for "none". */
static void set_logprobs(builder *b, const openai_ask *ask)
{
    if (ask->logprobs) {
        set(b, "logprobs", ask->api == OPENAI_CHAT ? json_true() : json_integer(1));
    }
}

static void set_sampling(builder *b, const openai_ask *ask)
{
    set(b, "n", json_integer((json_int_t)ask->choices));
    set(b, "max_tokens", json_integer((json_int_t)ask->max_tokens));
    set(b, "temperature", json_real(ask->temperature));
    if (ask->top_p < 1) {
        set(b, "top_p", json_real(ask->top_p));
    }
    if (ask->top_k > 0) {
        set(b, "top_k", json_integer((json_int_t)ask->top_k));
    }
    if (ask->min_p > 0) {
        set(b, "min_p", json_real(ask->min_p));
    }
    set(b, "seed", json_integer((json_int_t)(ask->seed & SEED_MASK)));
    if (ask->stop != NULL) {
        set(b, "stop", json_pack("[s]", ask->stop));
    }
}

static void put_extra(builder *b, const json_t *extra)
{
    json_t *fields = (json_t *)(uintptr_t)extra; /* jansson's iterators want it so */
    for (void *at = json_object_iter(fields); at != NULL; at = json_object_iter_next(fields, at)) {
        const char *key = json_object_iter_key(at);
        json_t *value = json_object_iter_value(at);
        if (json_is_null(value)) {
            json_object_del(b->body, key);
        } else {
            set(b, key, json_incref(value));
        }
    }
}

static int append_bytes(const char *bytes, size_t n, void *user)
{
    pv_buf_append(user, bytes, n);
    return pv_buf_ok(user) ? 0 : -1;
}

static bool is_utf8(const char *text)
{
    return text == NULL || pv_utf8_valid(text, strlen(text)) == strlen(text);
}

pv_status openai_body(const openai_ask *ask, pv_buf *out, pv_error *err)
{
    if (!is_utf8(ask->model) || !is_utf8(ask->prompt) || !is_utf8(ask->answer) ||
        !is_utf8(ask->stop) || !is_utf8(ask->earlier) || !is_utf8(ask->turn)) {
        return pv_fail(err, PV_E_INVALID, "a text for the server is not UTF-8");
    }
    builder b = {json_object(), false};
    set(&b, "model", json_string(ask->model));
    if (ask->api == OPENAI_CHAT) {
        set_messages(&b, ask);
    } else {
        set(&b, "prompt", json_string(ask->prompt));
    }
    set_sampling(&b, ask);
    set_logprobs(&b, ask);
    if (ask->stream) {
        set(&b, "stream", json_true());
        set(&b, "stream_options", json_pack("{s:b}", "include_usage", 1));
    }
    put_extra(&b, ask->extra);
    bool written = !b.starved && json_dump_callback(b.body, append_bytes, out, JSON_COMPACT) == 0;
    json_decref(b.body);
    return written ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}
