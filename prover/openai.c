#include "openai.h"

#include "pv_mem.h"
#include "pv_utf8.h"

#include <math.h>
#include <string.h>

enum { SEED_MASK = 0x7fffffff, MESSAGE_MAX = 300, MODELS_MAX = 10000 };

/* ---- bodies ---- */

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
        !is_utf8(ask->stop)) {
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
    if (ask->extra != NULL) {
        b.starved = json_object_update(b.body, (json_t *)(uintptr_t)ask->extra) != 0 || b.starved;
    }
    bool written = !b.starved && json_dump_callback(b.body, append_bytes, out, JSON_COMPACT) == 0;
    json_decref(b.body);
    return written ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* ---- replies ---- */

pv_status openai_reply_init(openai_reply *reply, uint32_t asked, pv_error *err)
{
    memset(reply, 0, sizeof *reply);
    reply->choices = pv_calloc(asked, sizeof *reply->choices);
    if (reply->choices == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    reply->asked = asked;
    return PV_OK;
}

void openai_reply_clear(openai_reply *reply)
{
    for (uint32_t i = 0; i < reply->asked; i++) {
        pv_buf text = reply->choices[i].text;
        pv_buf_clear(&text);
        reply->choices[i] = (openai_choice){.text = text};
    }
    reply->has_usage = reply->done = false;
    reply->tokens = 0;
}

void openai_reply_release(openai_reply *reply)
{
    for (uint32_t i = 0; i < reply->asked; i++) {
        pv_buf_release(&reply->choices[i].text);
    }
    pv_free(reply->choices);
    memset(reply, 0, sizeof *reply);
}

static void add_score(openai_choice *choice, const json_t *value)
{
    if (json_is_number(value)) {
        choice->logprob += fmin(json_number_value(value), 0);
        choice->scored++;
    } else {
        choice->unscored = true;
    }
}

/* Completions: logprobs.token_logprobs is an array of numbers. Chat: logprobs.content is an array of {token, logprob}. */
static void add_scores(openai_choice *choice, const json_t *logprobs)
{
    const json_t *numbers = json_object_get(logprobs, "token_logprobs");
    const json_t *content = json_object_get(logprobs, "content");
    for (size_t i = 0; i < json_array_size(numbers); i++) {
        add_score(choice, json_array_get(numbers, i));
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        add_score(choice, json_object_get(json_array_get(content, i), "logprob"));
    }
}

static openai_finish finish_of(const char *reason)
{
    if (strcmp(reason, "stop") == 0) {
        return OPENAI_STOP;
    }
    return strcmp(reason, "length") == 0 ? OPENAI_LENGTH : OPENAI_OTHER;
}

/* The text of a choice: NULL when the field is absent or null (a chunk that only says who speaks, or that it ended). */
static pv_status text_of(const json_t *choice, openai_api api, bool chunk, const json_t **text,
                         pv_error *err)
{
    const json_t *holder = choice;
    if (api == OPENAI_CHAT) {
        holder = json_object_get(choice, chunk ? "delta" : "message");
        if (holder != NULL && !json_is_object(holder)) {
            return pv_fail(err, PV_E_PROTOCOL, "a choice's %s is no object",
                           chunk ? "delta" : "message");
        }
    }
    *text = json_object_get(holder, api == OPENAI_CHAT ? "content" : "text");
    if (*text != NULL && !json_is_string(*text) && !json_is_null(*text)) {
        return pv_fail(err, PV_E_PROTOCOL, "a choice's text is no string");
    }
    *text = json_is_string(*text) ? *text : NULL;
    return PV_OK;
}

static pv_status take_choice(openai_reply *reply, openai_api api, const json_t *from, bool chunk,
                             pv_error *err)
{
    const json_t *index = json_object_get(from, "index");
    json_int_t at = json_is_integer(index) ? json_integer_value(index) : 0;
    if (!json_is_object(from) || at < 0 || at >= (json_int_t)reply->asked ||
        (index != NULL && !json_is_integer(index))) {
        return pv_fail(err, PV_E_PROTOCOL, "a choice has no index below the %u asked for",
                       reply->asked);
    }
    openai_choice *choice = &reply->choices[at];
    const json_t *text = NULL;
    pv_status status = text_of(from, api, chunk, &text, err);
    if (status != PV_OK) {
        return status;
    }
    if (!chunk && choice->present) {
        return pv_fail(err, PV_E_PROTOCOL, "two choices have the index %d", (int)at);
    }
    choice->present = true;
    if (text != NULL) {
        pv_buf_append(&choice->text, json_string_value(text), json_string_length(text));
    }
    add_scores(choice, json_object_get(from, "logprobs"));
    const char *reason = json_string_value(json_object_get(from, "finish_reason"));
    choice->finish = reason == NULL ? choice->finish : finish_of(reason);
    return pv_buf_ok(&choice->text) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static void take_usage(openai_reply *reply, const json_t *root)
{
    const json_t *tokens = json_object_get(json_object_get(root, "usage"), "completion_tokens");
    if (json_is_integer(tokens) && json_integer_value(tokens) >= 0) {
        reply->has_usage = true;
        reply->tokens = (uint64_t)json_integer_value(tokens);
    }
}

static const char *message_of(const json_t *root)
{
    const json_t *error = json_object_get(root, "error");
    const json_t *places[] = {json_object_get(error, "message"), error,
                              json_object_get(root, "message"), json_object_get(root, "detail")};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (json_is_string(places[i])) {
            return json_string_value(places[i]);
        }
    }
    return NULL;
}

/* An error inside a 200: that of a server that broke down may be gone next time. */
static pv_status fail_as_told(const json_t *root, pv_error *err)
{
    const json_t *code = json_object_get(json_object_get(root, "error"), "code");
    bool broke = !json_is_integer(code) || json_integer_value(code) >= 500;
    const char *text = message_of(root);
    pv_buf line = {0};
    openai_error_text(text == NULL ? "" : text, text == NULL ? 0 : strlen(text), &line);
    pv_status status = pv_fail(err, broke ? PV_E_LOST : PV_E_PROTOCOL, "the server reports: %s",
                               line.len == 0 ? "an error" : pv_buf_text(&line));
    pv_buf_release(&line);
    return status;
}

static pv_status take_root(openai_reply *reply, openai_api api, const json_t *root, bool chunk,
                           pv_error *err)
{
    const json_t *error = json_object_get(root, "error");
    if (error != NULL && !json_is_null(error)) {
        return fail_as_told(root, err);
    }
    const json_t *choices = json_object_get(root, "choices");
    if (!json_is_array(choices)) {
        return pv_fail(err, PV_E_PROTOCOL,
                       "the answer has no array `choices`: is this a server "
                       "that speaks OpenAI's protocol?");
    }
    pv_status status = PV_OK;
    for (size_t i = 0; i < json_array_size(choices) && status == PV_OK; i++) {
        status = take_choice(reply, api, json_array_get(choices, i), chunk, err);
    }
    take_usage(reply, root);
    return status;
}

static pv_status parse(openai_reply *reply, openai_api api, const char *bytes, size_t n, bool chunk,
                       pv_error *err)
{
    json_error_t wrong;
    json_t *root = json_loadb(bytes, n, JSON_ALLOW_NUL, &wrong);
    if (root == NULL) {
        return pv_fail(err, PV_E_PROTOCOL, "the answer is not JSON: line %d: %s", wrong.line,
                       wrong.text);
    }
    pv_status status = take_root(reply, api, root, chunk, err);
    json_decref(root);
    return status;
}

pv_status openai_reply_parse(openai_reply *reply, openai_api api, const char *bytes, size_t n,
                             pv_error *err)
{
    return parse(reply, api, bytes, n, false, err);
}

pv_status openai_reply_event(openai_reply *reply, openai_api api, const char *data, size_t n,
                             pv_error *err)
{
    static const char end[] = "[DONE]";
    if (n == sizeof end - 1 && memcmp(data, end, n) == 0) {
        reply->done = true;
        return PV_OK;
    }
    return reply->done ? PV_OK : parse(reply, api, data, n, true, err);
}

pv_status openai_reply_check(const openai_reply *reply, bool streamed, pv_error *err)
{
    uint32_t present = 0, unfinished = 0;
    for (uint32_t i = 0; i < reply->asked; i++) {
        present += reply->choices[i].present;
        unfinished += reply->choices[i].present && reply->choices[i].finish == OPENAI_UNFINISHED;
    }
    if (streamed && !reply->done && (present == 0 || unfinished > 0)) {
        return pv_fail(err, PV_E_LOST, "the stream was cut: %u of %u answers are unfinished",
                       present == 0 ? reply->asked : unfinished,
                       present == 0 ? reply->asked : present);
    }
    return present > 0 ? PV_OK : pv_fail(err, PV_E_PROTOCOL, "the answer has no choice in it");
}

/* ---- errors and models ---- */

static void append_line(pv_buf *out, const char *text, size_t n)
{
    size_t from = out->len;
    for (size_t i = 0; i < n && out->len - from < MESSAGE_MAX; i++) {
        unsigned char c = (unsigned char)text[i];
        bool blank = c <= ' ' || c == 0x7f;
        if (!blank) {
            pv_buf_putc(out, (char)c);
        } else if (out->len > from && out->data[out->len - 1] != ' ') {
            pv_buf_putc(out, ' ');
        }
    }
    if (out->len > from) {
        size_t valid = pv_utf8_valid(out->data + from, out->len - from);
        out->len = from + valid;
        out->data[out->len] = '\0';
    }
}

void openai_error_text(const char *body, size_t n, pv_buf *out)
{
    json_t *root = json_loadb(body, n, 0, NULL);
    const char *text = message_of(root);
    if (text != NULL) {
        append_line(out, text, strlen(text));
    } else {
        append_line(out, body, n);
    }
    json_decref(root);
}

pv_status openai_models(const char *bytes, size_t n, json_t **out, pv_error *err)
{
    json_t *root = json_loadb(bytes, n, 0, NULL);
    const json_t *data = json_object_get(root, "data");
    if (!json_is_array(data) || json_array_size(data) > MODELS_MAX) {
        json_decref(root);
        return pv_fail(err, PV_E_PROTOCOL, "the answer is no list of models");
    }
    json_t *ids = json_array();
    for (size_t i = 0; i < json_array_size(data); i++) {
        json_t *id = json_object_get(json_array_get(data, i), "id");
        if (json_is_string(id)) {
            json_array_append(ids, id);
        }
    }
    json_decref(root);
    if (ids == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *out = ids;
    return PV_OK;
}
