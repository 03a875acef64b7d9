#include "openai.h"

#include "json_scan.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <math.h>
#include <string.h>

enum { MESSAGE_MAX = 300, MODELS_MAX = 10000 };

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
    pv_buf_release(&reply->text);
    pv_buf_release(&reply->word);
    pv_free(reply->choices);
    memset(reply, 0, sizeof *reply);
}

/* What is read of one choice before its index is known; its text is in reply->text. */
typedef struct draft {
    double index, logprob;
    uint32_t scored;
    bool unscored;
    openai_finish finish;
} draft;

static void take_score(json_scan *s, draft *d)
{
    double value;
    if (json_scan_peek(s) != JSON_SCAN_NUMBER) {
        json_scan_skip(s);
        d->unscored = true;
    } else if (json_scan_number(s, &value)) {
        d->logprob += fmin(value, 0);
        d->scored++;
    }
}

/* {token, logprob, bytes, top_logprobs} */
static void take_scored_token(json_scan *s, draft *d)
{
    json_scan_name key;
    for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
        if (json_scan_key_is(&key, "logprob")) {
            take_score(s, d);
        } else {
            json_scan_skip(s);
        }
    }
}

static void take_scores(json_scan *s, draft *d, void (*take)(json_scan *s, draft *d))
{
    if (json_scan_peek(s) != JSON_SCAN_ARRAY) {
        json_scan_skip(s);
        return;
    }
    for (bool more = json_scan_array(s); json_scan_item(s, &more);) {
        take(s, d);
    }
}

/* Completions: token_logprobs is an array of numbers. Chat: content is an array of objects. */
static void take_logprobs(json_scan *s, draft *d)
{
    json_scan_name key;
    if (json_scan_peek(s) != JSON_SCAN_OBJECT) {
        json_scan_skip(s);
        return;
    }
    for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
        if (json_scan_key_is(&key, "token_logprobs")) {
            take_scores(s, d, take_score);
        } else if (json_scan_key_is(&key, "content")) {
            take_scores(s, d, take_scored_token);
        } else {
            json_scan_skip(s);
        }
    }
}

/* A string or null (a chunk that only says who speaks, or that it ended). */
static void take_text(json_scan *s, pv_buf *out)
{
    pv_buf_clear(out);
    if (json_scan_peek(s) == JSON_SCAN_NULL) {
        json_scan_skip(s);
    } else {
        (void)json_scan_string(s, out);
    }
}

static void take_message(json_scan *s, pv_buf *out)
{
    json_scan_name key;
    for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
        if (json_scan_key_is(&key, "content")) {
            take_text(s, out);
        } else {
            json_scan_skip(s);
        }
    }
}

static void take_finish(json_scan *s, pv_buf *word, draft *d)
{
    take_text(s, word);
    if (word->len > 0) {
        d->finish = strcmp(word->data, "stop") == 0     ? OPENAI_STOP
                    : strcmp(word->data, "length") == 0 ? OPENAI_LENGTH
                                                        : OPENAI_OTHER;
    }
}

static void take_field(openai_reply *reply, openai_api api, bool chunk, json_scan *s,
                       const json_scan_name *key, draft *d)
{
    const char *message = chunk ? "delta" : "message";
    if (json_scan_key_is(key, "index")) {
        (void)json_scan_number(s, &d->index);
    } else if (api == OPENAI_COMPLETIONS && json_scan_key_is(key, "text")) {
        take_text(s, &reply->text);
    } else if (api == OPENAI_CHAT && json_scan_key_is(key, message)) {
        take_message(s, &reply->text);
    } else if (json_scan_key_is(key, "logprobs")) {
        take_logprobs(s, d);
    } else if (json_scan_key_is(key, "finish_reason")) {
        take_finish(s, &reply->word, d);
    } else {
        json_scan_skip(s);
    }
}

static void add_draft(openai_reply *reply, bool chunk, json_scan *s, const draft *d)
{
    if (!(d->index >= 0 && d->index < reply->asked) || d->index > floor(d->index)) {
        json_scan_fail(s, "a choice has no index below the number asked for");
        return;
    }
    openai_choice *choice = &reply->choices[(uint32_t)d->index];
    if (!chunk && choice->present) {
        json_scan_fail(s, "two choices have the same index");
        return;
    }
    choice->present = true;
    choice->logprob += d->logprob;
    choice->scored += d->scored;
    choice->unscored = choice->unscored || d->unscored;
    choice->finish = d->finish == OPENAI_UNFINISHED ? choice->finish : d->finish;
    pv_buf_append(&choice->text, pv_buf_text(&reply->text), reply->text.len);
    s->starved = s->starved || !pv_buf_ok(&choice->text);
}

static void take_choice(openai_reply *reply, openai_api api, bool chunk, json_scan *s)
{
    json_scan_name key;
    draft d = {0};
    pv_buf_clear(&reply->text);
    for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
        take_field(reply, api, chunk, s, &key, &d);
    }
    if (s->wrong == NULL) {
        add_draft(reply, chunk, s, &d);
    }
}

static void take_usage(openai_reply *reply, json_scan *s)
{
    json_scan_name key;
    double tokens;
    if (json_scan_peek(s) != JSON_SCAN_OBJECT) {
        json_scan_skip(s);
        return;
    }
    for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
        bool wanted =
            json_scan_key_is(&key, "completion_tokens") && json_scan_peek(s) == JSON_SCAN_NUMBER;
        if (!wanted) {
            json_scan_skip(s);
        } else if (json_scan_number(s, &tokens) && tokens >= 0 && tokens <= 1e12) {
            reply->has_usage = true;
            reply->tokens = (uint64_t)tokens;
        }
    }
}

static const char *message_of(const json_t *object)
{
    const json_t *error = json_object_get(object, "error");
    const json_t *places[] = {json_object_get(error, "message"), error,
                              json_object_get(object, "message"),
                              json_object_get(object, "detail")};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (json_is_string(places[i])) {
            return json_string_value(places[i]);
        }
    }
    return NULL;
}

/* An error inside a 200: that of a server that broke down may be gone next time. */
static pv_status fail_as_told(const char *bytes, size_t n, pv_error *err)
{
    json_t *object = json_loadb(bytes, n, JSON_ALLOW_NUL, NULL);
    const json_t *code = json_object_get(json_object_get(object, "error"), "code");
    bool broke = !json_is_integer(code) || json_integer_value(code) >= 500;
    const char *text = message_of(object);
    pv_buf line = {0};
    openai_error_text(text == NULL ? "" : text, text == NULL ? 0 : strlen(text), &line);
    pv_status status = pv_fail(err, broke ? PV_E_LOST : PV_E_PROTOCOL, "the server reports: %s",
                               line.len == 0 ? "an error" : pv_buf_text(&line));
    pv_buf_release(&line);
    json_decref(object);
    return status;
}

typedef struct envelope { /* what an answer has */
    bool choices, error;
} envelope;

static envelope take_root(openai_reply *reply, openai_api api, bool chunk, json_scan *s)
{
    json_scan_name key;
    envelope r = {0};
    for (bool more = json_scan_object(s); json_scan_key(s, &more, &key);) {
        if (json_scan_key_is(&key, "choices")) {
            r.choices = true;
            for (bool others = json_scan_array(s); json_scan_item(s, &others);) {
                take_choice(reply, api, chunk, s);
            }
        } else if (json_scan_key_is(&key, "usage")) {
            take_usage(reply, s);
        } else {
            r.error =
                r.error || (json_scan_key_is(&key, "error") && json_scan_peek(s) != JSON_SCAN_NULL);
            json_scan_skip(s);
        }
    }
    return r;
}

static pv_status parse(openai_reply *reply, openai_api api, const char *bytes, size_t n, bool chunk,
                       pv_error *err)
{
    json_scan s = json_scan_of(bytes, n);
    envelope r = take_root(reply, api, chunk, &s);
    bool right = json_scan_end(&s);
    if (s.starved) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    if (!right) {
        return pv_fail(err, PV_E_PROTOCOL,
                       "the answer is not the JSON that was expected: byte %zu: %s",
                       (size_t)(s.at - bytes), s.wrong);
    }
    if (r.error) {
        return fail_as_told(bytes, n, err);
    }
    return r.choices ? PV_OK
                     : pv_fail(err, PV_E_PROTOCOL,
                               "the answer has no array `choices`: is this a server that speaks "
                               "OpenAI's protocol?");
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
