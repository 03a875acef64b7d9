/* fake_openai: a server that speaks OpenAI's protocol (completions and chat, streamed or not), with faults on demand.
 *
 *     fake_openai [--script FILE.jsonl] [--delay MS] [--tokens N]
 *
 * It listens on a free port of 127.0.0.1, prints the port's number in a line, and ends when its standard input ends. A script's lines
 * are {"when": TEXT, "say": [TEXT, ...]}: the first line whose `when` is in the prompt says what the choices say, in turn; without
 * one they say "skip". --tokens N: every choice is N tokens long instead. --delay: an answer takes so long; a stream is spread over it.
 *
 * The model's name is the fault: NAME, NAME:K (only the first K requests for this model), NAME@K (only those after the first K),
 * CODE+S (with Retry-After: S). Others are good.
 *   CODE (401, 429, 500, ...)   that status
 *   garbage, html               200 with a body that is no JSON; that is a page
 *   cut, cutchunk, cutstream    closed in the middle of the body; of a chunk; a stream that ends well, but early
 *   endless, silent, slow       a body without end; no answer at all; 40 bytes every 5 ms
 *   chunked, close, hangup      the body in chunks of 7 bytes; `Connection: close`; closed after the answer without a word
 *   redirect, echokey           302 to another port; 401 that repeats the Authorization header
 *   nologprobs, nulllogprobs, one, nousage, badindex, errorevent, finishnull    answers that differ in what their names say
 * GET /v1/models lists the model "good" (and with --models N more); GET /stats tells what came in. */
#include "pv_buf.h"
#include "pv_mem.h"

#include <ctype.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct server {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_pipe_t input;
    json_t *script, *counts, *last;
    uint64_t delay_ms;
    size_t tokens, models;
    int port;
    json_int_t connections, requests, open, open_max, aborted;
} server;

typedef struct client {
    uv_tcp_t tcp;
    uv_timer_t timer;
    server *s;
    pv_buf in, out; /* out: the rest of the answer, for what is sent in pieces */
    char fault[64];
    char authorization[256];
    json_t *ask;
    bool busy, close_after, endless;
    size_t sent;  /* of out                                                        */
    size_t piece; /* bytes of one sending from the timer; 0: one event of a stream */
    uint64_t begun_ms, gap_ms, events; /* of a stream: when, how far apart, how many were sent */
    int handles;
} client;

/* ---- sending ---- */

static void on_closed(uv_handle_t *handle)
{
    client *c = handle->data;
    if (--c->handles == 0) {
        json_decref(c->ask);
        pv_buf_release(&c->in);
        pv_buf_release(&c->out);
        pv_free(c);
    }
}

static void hang_up(client *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp)) {
        c->s->open -= c->busy;
        c->s->aborted += c->busy;
        uv_close((uv_handle_t *)&c->tcp, on_closed);
        uv_close((uv_handle_t *)&c->timer, on_closed);
    }
}

static void end_answer(client *c)
{
    c->s->open -= c->busy;
    c->busy = false;
    if (c->close_after) {
        hang_up(c);
    }
}

typedef struct writing {
    uv_write_t write;
    client *c;
    char *bytes;
    bool last;
} writing;

static void on_written(uv_write_t *write, int status)
{
    writing *w = write->data;
    if (status != 0 && status != UV_ECANCELED) {
        hang_up(w->c);
    } else if (status == 0 && w->last) {
        end_answer(w->c);
    }
    pv_free(w->bytes);
    pv_free(w);
}

static void send_bytes(client *c, const char *bytes, size_t n, bool last)
{
    writing *w = pv_calloc(1, sizeof *w);
    w->c = c;
    w->last = last;
    w->bytes = pv_strndup(bytes, n);
    w->write.data = w;
    uv_buf_t buf = uv_buf_init(w->bytes, (unsigned)n);
    if (uv_write(&w->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0) {
        pv_free(w->bytes);
        pv_free(w);
        hang_up(c);
    }
}

/* The next event of a stream lies up to its blank line; the head lies before the first one. */
static size_t next_piece(const client *c)
{
    size_t left = c->out.len - c->sent;
    if (c->piece > 0) {
        return left < c->piece ? left : c->piece;
    }
    const char *at = pv_buf_text(&c->out) + c->sent, *end = strstr(at, "\n\n\r\n");
    return end == NULL ? left : (size_t)(end - at) + 4;
}

static void send_piece(client *c)
{
    size_t n = next_piece(c);
    bool last = c->sent + n == c->out.len && !c->endless;
    send_bytes(c, c->out.data + c->sent, n, last);
    c->sent += c->endless ? 0 : n;
    if (last) {
        uv_timer_stop(&c->timer);
    }
}

/* A tick that comes late sends all events that are due by then, each on its own. */
static void on_tick(uv_timer_t *timer)
{
    client *c = timer->data;
    if (c->piece > 0) {
        send_piece(c);
        return;
    }
    uint64_t due = (uv_now(&c->s->loop) - c->begun_ms) / c->gap_ms;
    for (; c->events < due && uv_is_active((uv_handle_t *)timer); c->events++) {
        send_piece(c);
    }
}

static void on_late(uv_timer_t *timer)
{
    client *c = timer->data;
    send_bytes(c, pv_buf_text(&c->out), c->out.len, true);
}

static bool fault_is(const client *c, const char *name)
{
    return strcmp(c->fault, name) == 0;
}

/* Sends c->out: at once, late, or piece by piece. */
static void send_out(client *c, bool stream, size_t events)
{
    uint64_t delay = c->busy ? c->s->delay_ms : 0;
    if (fault_is(c, "slow")) {
        c->piece = 40;
        uv_timer_start(&c->timer, on_tick, 5, 5);
    } else if (fault_is(c, "endless")) {
        c->endless = true;
        c->piece = c->out.len;
        uv_timer_start(&c->timer, on_tick, 0, 1);
    } else if (stream && delay > 0) {
        uint64_t gap = delay / (events > 0 ? events : 1);
        c->piece = 0;
        c->events = 0;
        c->gap_ms = gap > 0 ? gap : 1;
        c->begun_ms = uv_now(&c->s->loop);
        uv_timer_start(&c->timer, on_tick, c->gap_ms, c->gap_ms);
    } else {
        uv_timer_start(&c->timer, on_late, delay, 0);
    }
}

static void put_head(client *c, int code, const char *extra, const char *type)
{
    bool close = fault_is(c, "close");
    c->close_after = close || fault_is(c, "hangup");
    pv_buf_clear(&c->out);
    c->sent = 0;
    pv_buf_printf(&c->out, "HTTP/1.1 %d Said\r\nContent-Type: %s\r\n%s%s", code, type, extra,
                  close ? "Connection: close\r\n" : "");
}

static void put_chunks(pv_buf *out, const char *body, size_t n, size_t size)
{
    for (size_t at = 0; at < n; at += size) {
        size_t k = n - at < size ? n - at : size;
        pv_buf_printf(out, "%zx\r\n", k);
        pv_buf_append(out, body + at, k);
        pv_buf_puts(out, "\r\n");
    }
}

static void answer(client *c, int code, const char *extra, const char *body, size_t n)
{
    put_head(c, code, extra, "application/json");
    if (fault_is(c, "chunked")) {
        pv_buf_puts(&c->out, "Transfer-Encoding: chunked\r\n\r\n");
        put_chunks(&c->out, body, n, 7);
        pv_buf_puts(&c->out, "0\r\n\r\n");
    } else if (fault_is(c, "endless")) {
        pv_buf_puts(&c->out, "Content-Length: 99999999999\r\n\r\n");
        for (int i = 0; i < 4096; i++) {
            pv_buf_puts(&c->out, "                ");
        }
    } else {
        pv_buf_printf(&c->out, "Content-Length: %zu\r\n\r\n", n);
        pv_buf_append(&c->out, body, fault_is(c, "cut") ? n / 2 : n);
        c->close_after = c->close_after || fault_is(c, "cut");
    }
    send_out(c, false, 0);
}

static void answer_text(client *c, int code, const char *extra, const char *text)
{
    answer(c, code, extra, text, strlen(text));
}

/* `object` is taken. */
static void answer_json(client *c, int code, const char *extra, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    answer_text(c, code, extra, text);
    free(text);
}

/* ---- what the model says ---- */

static bool is_chat(const client *c)
{
    return json_object_get(c->ask, "messages") != NULL;
}

static bool prompt_has(const client *c, const char *text)
{
    const char *prompt = json_string_value(json_object_get(c->ask, "prompt"));
    const json_t *messages = json_object_get(c->ask, "messages");
    if (prompt != NULL && strstr(prompt, text) != NULL) {
        return true;
    }
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *content =
            json_string_value(json_object_get(json_array_get(messages, i), "content"));
        if (content != NULL && strstr(content, text) != NULL) {
            return true;
        }
    }
    return false;
}

static const char *says(const client *c, size_t choice)
{
    for (size_t i = 0; i < json_array_size(c->s->script); i++) {
        const json_t *row = json_array_get(c->s->script, i);
        const json_t *say = json_object_get(row, "say");
        if (prompt_has(c, json_string_value(json_object_get(row, "when"))) &&
            json_array_size(say) > 0) {
            return json_string_value(json_array_get(say, choice % json_array_size(say)));
        }
    }
    return "skip";
}

/* The tokens of a choice: pieces of about three bytes that cut no code point. */
static json_t *tokens_of(const client *c, size_t choice)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < c->s->tokens; i++) {
        json_array_append_new(tokens, json_string(i % 7 == 6 ? " simp_all" : " add"));
    }
    const char *text = c->s->tokens > 0 ? "" : says(c, choice);
    while (*text != '\0') {
        size_t n = strlen(text) < 3 ? strlen(text) : 3;
        while (((unsigned char)text[n] & 0xC0) == 0x80) {
            n++;
        }
        json_array_append_new(tokens, json_stringn(text, n));
        text += n;
    }
    return tokens;
}

/* Each token of choice i is given the log-probability -(i + 1) / 8. */
static double logprob_of(size_t choice)
{
    return -(double)(choice + 1) / 8;
}

static json_t *chat_scores(const client *c, const json_t *tokens, size_t choice)
{
    json_t *content = json_array();
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const char *token = json_string_value(json_array_get(tokens, i));
        json_t *bytes = json_array();
        for (const char *at = token; *at != '\0'; at++) {
            json_array_append_new(bytes, json_integer((unsigned char)*at));
        }
        json_array_append_new(
            content,
            json_pack("{s:s, s:o, s:o, s:[]}", "token", token, "logprob",
                      fault_is(c, "nulllogprobs") ? json_null() : json_real(logprob_of(choice)),
                      "bytes", bytes, "top_logprobs"));
    }
    return json_pack("{s:o}", "content", content);
}

static json_t *text_scores(const client *c, const json_t *tokens, size_t choice)
{
    json_t *numbers = json_array(), *offsets = json_array(), *top = json_array();
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const char *token = json_string_value(json_array_get(tokens, i));
        json_array_append_new(numbers, fault_is(c, "nulllogprobs") && i == 1
                                           ? json_null()
                                           : json_real(logprob_of(choice)));
        json_array_append_new(offsets, json_integer((json_int_t)(100 + i)));
        json_array_append_new(top, json_pack("{s:f}", token, logprob_of(choice)));
    }
    return json_pack("{s:o, s:O, s:o, s:o}", "text_offset", offsets, "tokens", tokens,
                     "token_logprobs", numbers, "top_logprobs", top);
}

static json_t *scores(const client *c, const json_t *tokens, size_t choice)
{
    const json_t *wanted = json_object_get(c->ask, "logprobs");
    if (wanted == NULL || json_is_false(wanted) || fault_is(c, "nologprobs")) {
        return json_null();
    }
    return is_chat(c) ? chat_scores(c, tokens, choice) : text_scores(c, tokens, choice);
}

static char *join(const json_t *tokens)
{
    pv_buf text = {0};
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        pv_buf_puts(&text, json_string_value(json_array_get(tokens, i)));
    }
    if (text.len == 0) {
        return pv_strdup("");
    }
    return pv_buf_detach(&text);
}

/* A choice, whole or as a part of a stream, that says the tokens. */
static json_t *choice_of(const client *c, size_t choice, const json_t *tokens, bool chunk,
                         const char *finish)
{
    char *text = join(tokens);
    json_t *out = json_object();
    json_object_set_new(out, "index",
                        json_integer((json_int_t)choice + (fault_is(c, "badindex") ? 9999 : 0)));
    if (is_chat(c)) {
        json_object_set_new(out, chunk ? "delta" : "message",
                            json_pack("{s:s, s:s}", "role", "assistant", "content", text));
    } else {
        json_object_set_new(out, "text", json_string(text));
    }
    json_object_set_new(out, "logprobs", scores(c, tokens, choice));
    json_object_set_new(out, "finish_reason",
                        finish == NULL || fault_is(c, "finishnull") ? json_null()
                                                                    : json_string(finish));
    pv_free(text);
    return out;
}

static json_t *envelope(const client *c, json_t *choices, size_t tokens, bool usage)
{
    json_t *out =
        json_pack("{s:s, s:s, s:i, s:O, s:o}", "id", "cmpl-1f0e5d8c2b", "object",
                  is_chat(c) ? "chat.completion" : "text_completion", "created", 1700000000,
                  "model", json_object_get(c->ask, "model"), "choices", choices);
    if (usage && !fault_is(c, "nousage")) {
        json_object_set_new(out, "usage",
                            json_pack("{s:i, s:i, s:i}", "prompt_tokens", 100, "completion_tokens",
                                      (int)tokens, "total_tokens", (int)tokens + 100));
    }
    return out;
}

static size_t choices_of(const client *c)
{
    json_int_t n = json_integer_value(json_object_get(c->ask, "n"));
    return n < 1 || fault_is(c, "one") ? 1 : (size_t)n;
}

static const char *finish_of(const client *c)
{
    return fault_is(c, "length") ? "length" : "stop";
}

static void answer_whole(client *c)
{
    json_t *choices = json_array();
    size_t total = 0;
    for (size_t i = 0; i < choices_of(c); i++) {
        json_t *tokens = tokens_of(c, i);
        total += json_array_size(tokens);
        json_array_append_new(choices, choice_of(c, i, tokens, false, finish_of(c)));
        json_decref(tokens);
    }
    answer_json(c, 200, "", envelope(c, choices, total, true));
}

/* ---- streams ---- */

typedef struct events {
    char **items;
    size_t count, capacity;
} events;

static void add_event(events *list, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (pv_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof(char *)) != 0) {
        abort();
    }
    list->items[list->count++] = text;
}

static void add_token_events(client *c, events *list)
{
    size_t longest = 0, total = 0, n = choices_of(c);
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *tokens = tokens_of(c, i);
        size_t size = json_array_size(tokens);
        longest = size > longest ? size : longest;
        total += size;
        json_array_append_new(all, tokens);
    }
    for (size_t k = 0; k < longest; k++) {
        for (size_t i = 0; i < n; i++) {
            const json_t *tokens = json_array_get(all, i);
            if (k < json_array_size(tokens)) {
                json_t *one = json_array();
                json_array_append(one, json_array_get(tokens, k));
                bool last = k + 1 == json_array_size(tokens);
                json_t *choices = json_array();
                json_array_append_new(choices,
                                      choice_of(c, i, one, true, last ? finish_of(c) : NULL));
                add_event(list, envelope(c, choices, 0, false));
                json_decref(one);
            }
        }
    }
    json_decref(all);
    add_event(list, envelope(c, json_array(), total, true));
}

static void answer_stream(client *c)
{
    events list = {0};
    pv_buf event = {0};
    add_token_events(c, &list);
    bool early = fault_is(c, "cutstream") || fault_is(c, "cutchunk");
    size_t sent = early ? list.count / 2 : list.count;
    put_head(c, 200, "", "text/event-stream");
    pv_buf_puts(&c->out, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < list.count; i++) {
        if (i < sent) {
            pv_buf_clear(&event);
            pv_buf_printf(&event, "data: %s\n\n",
                          fault_is(c, "errorevent")
                              ? "{\"error\": {\"message\": \"the engine died\", \"code\": 500}}"
                              : list.items[i]);
            put_chunks(&c->out, event.data, event.len, event.len);
        }
        free(list.items[i]);
    }
    pv_free(list.items);
    pv_buf_release(&event);
    if (fault_is(c, "cutchunk")) {
        pv_buf_puts(&c->out, "ff\r\ndata: {");
        c->close_after = true;
    } else {
        pv_buf_puts(&c->out, early ? "0\r\n\r\n" : "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    }
    send_out(c, true, sent + 1);
}

/* ---- requests ---- */

static void take_fault(client *c, const char *model)
{
    snprintf(c->fault, sizeof c->fault, "%s", model);
    json_int_t count = json_integer_value(json_object_get(c->s->counts, model)) + 1;
    json_object_set_new(c->s->counts, model, json_integer(count));
    char *limit = strpbrk(c->fault, ":@");
    if (limit != NULL) {
        bool first = *limit == ':';
        *limit = '\0';
        if ((count <= strtoll(limit + 1, NULL, 10)) != first) {
            c->fault[0] = '\0';
        }
    }
}

static void answer_code(client *c)
{
    char extra[64] = "";
    const char *wait = strchr(c->fault, '+');
    int code = atoi(c->fault);
    if (wait != NULL) {
        snprintf(extra, sizeof extra, "Retry-After: %s\r\n", wait + 1);
    }
    answer_json(c, code, extra,
                json_pack("{s:{s:s, s:i}}", "error", "message", "told to fail", "code", code));
}

static void answer_ask(client *c)
{
    char text[512];
    if (isdigit((unsigned char)c->fault[0])) {
        answer_code(c);
    } else if (fault_is(c, "garbage")) {
        answer_text(c, 200, "", "{\"choices\": [{\"index\": 0, \"text\": \"si");
    } else if (fault_is(c, "html")) {
        answer_text(c, 200, "", "<html><body>Welcome to the gateway</body></html>");
    } else if (fault_is(c, "redirect")) {
        snprintf(text, sizeof text, "Location: http://127.0.0.1:%d/elsewhere\r\n", c->s->port);
        answer_text(c, 302, text, "");
    } else if (fault_is(c, "echokey")) {
        snprintf(text, sizeof text, "{\"error\": \"no such key: %s\"}", c->authorization);
        answer_text(c, 401, "", text);
    } else if (!fault_is(c, "silent")) {
        bool stream = json_is_true(json_object_get(c->ask, "stream"));
        (stream ? answer_stream : answer_whole)(c);
    }
}

static json_t *models_of(const server *s)
{
    json_t *data = json_array();
    json_array_append_new(data, json_pack("{s:s, s:s}", "id", "good", "object", "model"));
    for (size_t i = 0; i < s->models; i++) {
        char id[32];
        snprintf(id, sizeof id, "more-%zu", i);
        json_array_append_new(data, json_pack("{s:s}", "id", id));
    }
    return json_pack("{s:s, s:o}", "object", "list", "data", data);
}

static json_t *stats_of(const server *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:O}", "connections", s->connections, "requests",
                     s->requests, "open", s->open, "open_max", s->open_max, "aborted", s->aborted,
                     "last", s->last);
}

static void note_last(client *c, const char *path)
{
    json_t *row = json_pack("{s:s, s:s}", "path", path, "authorization", c->authorization);
    json_object_set(row, "body", c->ask);
    json_decref(c->s->last);
    c->s->last = row;
}

static void handle(client *c, const char *path, const char *body, size_t n)
{
    server *s = c->s;
    json_decref(c->ask);
    c->ask = json_loadb(body, n, 0, NULL);
    c->fault[0] = '\0';
    if (strcmp(path, "/stats") == 0) {
        answer_json(c, 200, "", stats_of(s));
        return;
    }
    s->requests++;
    note_last(c, path);
    c->busy = true;
    s->open++;
    s->open_max = s->open > s->open_max ? s->open : s->open_max;
    if (strcmp(path, "/v1/models") == 0) {
        answer_json(c, 200, "", models_of(s));
    } else if (strcmp(path, "/v1/completions") == 0 || strcmp(path, "/v1/chat/completions") == 0) {
        const char *model = json_string_value(json_object_get(c->ask, "model"));
        take_fault(c, model == NULL ? "400" : model);
        answer_ask(c);
    } else {
        answer_text(c, 404, "", "{\"detail\": \"Not Found\"}");
    }
}

static void find_header(const char *head, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    out[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)line[2 + i]) == name[i]) {
            i++;
        }
        if (i == n) {
            size_t k = strcspn(line + 2 + n, "\r");
            k = k < size - 1 ? k : size - 1;
            memcpy(out, line + 2 + n, k);
            out[k] = '\0';
        }
    }
}

/* One request, when it is there whole. */
static void take_request(client *c)
{
    char length[32], path[128] = "";
    const char *end = c->in.len == 0 ? NULL : strstr(c->in.data, "\r\n\r\n");
    if (c->in.len > 0 && !isupper((unsigned char)c->in.data[0])) { /* TLS, for one */
        answer_text(c, 400, "", "");
        c->close_after = true;
        pv_buf_clear(&c->in);
        return;
    }
    if (end == NULL || c->busy) {
        return;
    }
    size_t head = (size_t)(end - c->in.data) + 4;
    find_header(c->in.data, "content-length: ", length, sizeof length);
    find_header(c->in.data, "authorization: ", c->authorization, sizeof c->authorization);
    size_t body = (size_t)strtoull(length, NULL, 10);
    if (c->in.len < head + body || sscanf(c->in.data, "%*s %127s", path) != 1) {
        return;
    }
    handle(c, path, c->in.data + head, body);
    pv_buf_consume(&c->in, head + body);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(pv_malloc(65536), 65536);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    client *c = stream->data;
    if (n > 0) {
        pv_buf_append(&c->in, buf->base, (size_t)n);
        take_request(c);
    } else if (n < 0) {
        hang_up(c);
    }
    pv_free(buf->base);
}

static void on_connection(uv_stream_t *listener, int status)
{
    server *s = listener->data;
    client *c = pv_calloc(1, sizeof *c);
    if (status != 0 || c == NULL) {
        abort();
    }
    c->s = s;
    c->handles = 2;
    uv_tcp_init(&s->loop, &c->tcp);
    uv_timer_init(&s->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    uv_accept(listener, (uv_stream_t *)&c->tcp);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    s->connections++;
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)stream;
    pv_free(buf->base);
    if (n < 0) {
        exit(0);
    }
}

static void load_script(server *s, const char *path)
{
    char line[8192];
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        json_t *row = json_loads(line, 0, NULL);
        if (row == NULL) {
            fprintf(stderr, "fake_openai: %s: not JSON: %s", path, line);
            exit(2);
        }
        json_array_append_new(s->script, row);
    }
    if (file == NULL) {
        exit(2);
    }
    fclose(file);
}

static void take_arguments(server *s, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--script") == 0) {
            load_script(s, argv[i + 1]);
        } else if (strcmp(argv[i], "--delay") == 0) {
            s->delay_ms = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--tokens") == 0) {
            s->tokens = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--models") == 0) {
            s->models = strtoull(argv[i + 1], NULL, 10);
        } else {
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    static server s;
    struct sockaddr_in at;
    int size = sizeof at;
    signal(SIGPIPE, SIG_IGN); /* clients hang up */
    s.script = json_array();
    s.counts = json_object();
    s.last = json_null();
    take_arguments(&s, argc, argv);
    uv_loop_init(&s.loop);
    uv_tcp_init(&s.loop, &s.listener);
    s.listener.data = &s;
    uv_ip4_addr("127.0.0.1", 0, &at);
    if (uv_tcp_bind(&s.listener, (const struct sockaddr *)&at, 0) != 0 ||
        uv_listen((uv_stream_t *)&s.listener, 1024, on_connection) != 0 ||
        uv_tcp_getsockname(&s.listener, (struct sockaddr *)&at, &size) != 0) {
        return 3;
    }
    s.port = (at.sin_port & 0xff) << 8 | at.sin_port >> 8;
    uv_pipe_init(&s.loop, &s.input, 0);
    uv_pipe_open(&s.input, 0);
    uv_read_start((uv_stream_t *)&s.input, on_alloc, on_input);
    printf("%d\n", s.port);
    fflush(stdout);
    return uv_run(&s.loop, UV_RUN_DEFAULT);
}
