#include "openai_server.h"

#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

enum { HELLO_TIMEOUT_S = 30 }; /* the user waits, and cannot interrupt it */

struct openai_server {
    uv_loop_t *loop;
    http_client *client;
    char *url, *model; /* url without a slash at its end */
    openai_api api;
    bool stream, logprobs;
    json_t *extra;
};

struct openai_question {
    openai_server *server;
    http_exchange *exchange;
    openai_reply reply;
    pv_buf body; /* of an answer that does not stream */
    sse events;
    openai_on_answer *on_answer;
    void *user;
};

/* ---- an answer's bytes ---- */

static void begin(void *user)
{
    openai_question *q = user;
    openai_reply_clear(&q->reply);
    pv_buf_clear(&q->body);
    sse_release(&q->events);
    q->events = (sse){0};
}

static pv_status on_event(void *user, const char *data, size_t n, pv_error *err)
{
    openai_question *q = user;
    return openai_reply_event(&q->reply, q->server->api, data, n, err);
}

static pv_status bytes(void *user, const char *text, size_t n, pv_error *err)
{
    openai_question *q = user;
    if (q->server->stream) {
        return sse_feed(&q->events, text, n, on_event, q, err);
    }
    pv_buf_append(&q->body, text, n);
    return pv_buf_ok(&q->body) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static pv_status end(void *user, pv_error *err)
{
    openai_question *q = user;
    pv_status status = PV_OK;
    if (!q->server->stream) {
        status =
            openai_reply_parse(&q->reply, q->server->api, pv_buf_text(&q->body), q->body.len, err);
    }
    return status == PV_OK ? openai_reply_check(&q->reply, q->server->stream, err) : status;
}

static const http_sink question_sink = {begin, bytes, end};

/* ---- failures in words ---- */

static const char *remedy(int code)
{
    switch (code) {
    case 401:
    case 403:
        return "; is the key right (--key-env)?";
    case 404:
        return "; are the address (it ends in /v1 with most servers) and --server-model right?";
    case 429:
        return "; --rate and --in-flight ask less of the server";
    default:
        return "";
    }
}

static void explain(const openai_server *s, const http_result *result, pv_error *err)
{
    pv_buf said = {0};
    openai_error_text(result->body, strlen(result->body), &said);
    pv_fail(err, result->status, "%s%s%s%s%s", result->err->msg, said.len > 0 ? ": " : "",
            pv_buf_text(&said), remedy(result->code),
            result->tries > 1 ? " (after several tries)" : "");
    pv_buf_release(&said);
    http_client_hide(s->client, err->msg);
}

/* ---- questions ---- */

static void question_free(openai_question *q)
{
    openai_reply_release(&q->reply);
    pv_buf_release(&q->body);
    sse_release(&q->events);
    pv_free(q);
}

static void on_done(void *user, const http_result *result)
{
    openai_question *q = user;
    pv_error err = {0};
    openai_answer answer = {.status = result->status, .hopeless = result->hopeless, .err = &err};
    if (result->status == PV_OK) {
        answer.reply = &q->reply;
    } else {
        explain(q->server, result, &err);
    }
    q->on_answer(q->user, &answer);
    question_free(q);
}

static pv_status submit(openai_question *q, const openai_ask *wanted, pv_error *err)
{
    openai_server *s = q->server;
    openai_ask ask = *wanted;
    ask.api = s->api;
    ask.model = s->model;
    ask.logprobs = s->logprobs;
    ask.stream = s->stream;
    ask.extra = s->extra;
    pv_buf url = {0}, body = {0};
    pv_buf_printf(&url, "%s%s", s->url,
                  s->api == OPENAI_CHAT ? "/chat/completions" : "/completions");
    pv_status status = openai_body(&ask, &body, err);
    if (status == PV_OK && !pv_buf_ok(&url)) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    if (status == PV_OK) {
        http_request request = {.url = pv_buf_text(&url),
                                .body = pv_buf_text(&body),
                                .body_len = body.len,
                                .trickles = s->stream,
                                .sink = &question_sink,
                                .on_done = on_done,
                                .user = q};
        status = http_client_submit(s->client, &request, &q->exchange, err);
    }
    pv_buf_release(&url);
    pv_buf_release(&body);
    return status;
}

pv_status openai_server_ask(openai_server *s, const openai_ask *ask, openai_on_answer *on_answer,
                            void *user, openai_question **out, pv_error *err)
{
    openai_question *q = pv_calloc(1, sizeof *q);
    if (q == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    q->server = s;
    q->on_answer = on_answer;
    q->user = user;
    pv_status status = openai_reply_init(&q->reply, ask->choices, err);
    if (status == PV_OK) {
        status = submit(q, ask, err);
    }
    if (status != PV_OK) {
        question_free(q);
        return status;
    }
    *out = q;
    return PV_OK;
}

void openai_server_cancel(openai_server *s, openai_question *q)
{
    http_client_cancel(s->client, q->exchange);
}

/* ---- which models are there? ---- */

typedef struct hello {
    openai_server *server;
    pv_buf body;
    json_t *models; /* NULL: the server has no such page */
    bool over;
    pv_status status;
    pv_error *err;
} hello;

static void hello_begin(void *user)
{
    pv_buf_clear(&((hello *)user)->body);
}

static pv_status hello_bytes(void *user, const char *text, size_t n, pv_error *err)
{
    hello *h = user;
    pv_buf_append(&h->body, text, n);
    return pv_buf_ok(&h->body) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static pv_status hello_end(void *user, pv_error *err)
{
    hello *h = user;
    pv_error wrong = {0};
    pv_status status = openai_models(pv_buf_text(&h->body), h->body.len, &h->models, &wrong);
    return status == PV_OK
               ? status
               : pv_fail(err, status, "%s; is --url right? With most servers it ends in /v1",
                         wrong.msg);
}

static void hello_done(void *user, const http_result *result)
{
    hello *h = user;
    bool no_page = result->code == 404 || result->code == 405 || result->code == 501;
    h->over = true;
    h->status = result->status;
    if (result->status != PV_OK && no_page && h->server->model[0] != '\0') {
        h->status = PV_OK;
    } else if (result->status != PV_OK) {
        explain(h->server, result, h->err);
    }
}

static void list_models(const json_t *models, pv_buf *out)
{
    enum { SHOWN = 10 };

    size_t n = json_array_size(models);
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        pv_buf_printf(out, "%s%.100s", i > 0 ? ", " : "",
                      json_string_value(json_array_get(models, i)));
    }
    pv_buf_puts(out, n > SHOWN ? ", ..." : n == 0 ? "none" : "");
}

static bool has_model(const json_t *models, const char *name)
{
    for (size_t i = 0; i < json_array_size(models); i++) {
        if (strcmp(json_string_value(json_array_get(models, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

static pv_status choose_model(openai_server *s, const json_t *models, pv_error *err)
{
    pv_buf list = {0};
    pv_status status = PV_OK;
    list_models(models, &list);
    if (s->model[0] != '\0') {
        if (!has_model(models, s->model)) {
            pv_log(PV_LOG_WARN, "%s does not list the model %s; it lists: %s", s->url, s->model,
                   pv_buf_text(&list));
        }
    } else if (json_array_size(models) == 1) {
        pv_free(s->model);
        s->model = pv_strdup(json_string_value(json_array_get(models, 0)));
        status = s->model == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
    } else {
        status = pv_fail(err, PV_E_INVALID, "%s: name the model with --server-model; there are: %s",
                         s->url, pv_buf_text(&list));
    }
    pv_buf_release(&list);
    return status;
}

pv_status openai_server_hello(openai_server *s, pv_error *err)
{
    static const http_sink sink = {hello_begin, hello_bytes, hello_end};
    hello h = {.server = s, .err = err};
    pv_buf url = {0};
    pv_buf_printf(&url, "%s/models", s->url);
    http_request request = {.url = pv_buf_text(&url),
                            .once = true,
                            .timeout_s = HELLO_TIMEOUT_S,
                            .sink = &sink,
                            .on_done = hello_done,
                            .user = &h};
    http_exchange *exchange = NULL;
    pv_status status = pv_buf_ok(&url) ? http_client_submit(s->client, &request, &exchange, err)
                                       : pv_fail(err, PV_E_NOMEM, "out of memory");
    while (status == PV_OK && !h.over) {
        uv_run(s->loop, UV_RUN_ONCE);
    }
    status = status == PV_OK ? h.status : status;
    if (status == PV_OK && h.models != NULL) {
        status = choose_model(s, h.models, err);
    }
    json_decref(h.models);
    pv_buf_release(&h.body);
    pv_buf_release(&url);
    return status;
}

/* ---- life ---- */

static pv_status take_extra(openai_server *s, const char *text, pv_error *err)
{
    if (text == NULL || text[0] == '\0') {
        return PV_OK;
    }
    json_error_t wrong;
    s->extra = json_loads(text, JSON_REJECT_DUPLICATES, &wrong);
    if (!json_is_object(s->extra)) {
        return pv_fail(err, PV_E_INVALID, "--body: not a JSON object: %s",
                       s->extra == NULL ? wrong.text : "another kind of value");
    }
    static const char *const ours[] = {"n", "stream", "model", "prompt", "messages"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (json_object_get(s->extra, ours[i]) != NULL) {
            return pv_fail(err, PV_E_INVALID, "--body: \"%s\" is set by other options", ours[i]);
        }
    }
    return PV_OK;
}

static pv_status take_options(openai_server *s, const openai_server_options *o, pv_error *err)
{
    size_t n = strlen(o->url);
    while (n > 0 && o->url[n - 1] == '/') {
        n--;
    }
    s->url = pv_strndup(o->url, n);
    s->model = pv_strdup(o->model == NULL ? "" : o->model);
    s->api = o->api;
    s->stream = o->stream;
    s->logprobs = o->logprobs;
    return s->url == NULL || s->model == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                              : take_extra(s, o->extra, err);
}

pv_status openai_server_open(openai_server **out, uv_loop_t *loop, const openai_server_options *o,
                             pv_error *err)
{
    openai_server *s = pv_calloc(1, sizeof *s);
    if (s == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    s->loop = loop;
    pv_status status = take_options(s, o, err);
    if (status == PV_OK) {
        status = http_client_open(&s->client, loop, s->url, &o->http, err);
    }
    if (status != PV_OK) {
        openai_server_close(s);
        return status;
    }
    *out = s;
    return PV_OK;
}

const char *openai_server_model(const openai_server *s)
{
    return s->model;
}

void openai_server_stats(const openai_server *s, http_client_stats *out)
{
    http_client_stats_of(s->client, out);
}

void openai_server_close(openai_server *s)
{
    if (s == NULL) {
        return;
    }
    http_client_close(s->client);
    json_decref(s->extra);
    pv_free(s->url);
    pv_free(s->model);
    pv_free(s);
}
