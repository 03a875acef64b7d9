#include "http_client.h"

#include "http_wire.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <curl/curl.h>
#include <math.h>
#include <string.h>

enum { BODY_MAX = 4096, RETRY_AFTER_MAX_S = 300, BACKOFF_FIRST_MS = 500, BACKOFF_MAX_MS = 30000 };

/* The timer is this much late at times; what is more than that behind is not made up for. */
static const double LATE_MS = 2;

struct http_exchange {
    http_exchange *next; /* in one of the client's lists */
    http_client *client;
    char *url, *body;
    size_t body_len, received;
    const http_sink *sink;
    void (*on_done)(void *user, const http_result *result);
    void *user;
    uint64_t id;
    uint32_t tries, tries_max;
    double not_before_ms; /* in `waiting` */
    double timeout_s;     /* 0: that of the options */
    http_transfer *transfer;
    pv_buf said;      /* the body of an answer that is not 2xx */
    pv_error refused; /* by the sink, or by a limit            */
    pv_status status;
    int code;
    bool hopeless, trickles;
    pv_error err;
};

typedef struct queue {
    http_exchange *first, **last; /* last: where the next one is hung; NULL while never used */
} queue;

struct http_client {
    uv_loop_t *loop;
    http_wire *wire;
    uv_timer_t timer;
    char *key;
    uint32_t in_flight, retries, running_count;
    double gap_ms;        /* between two starts          */
    double next_start_ms; /* pv_clock; the rate's limit  */
    double paused_ms;     /* pv_clock; the server's wish */
    size_t reply_max;
    uint64_t last_id;
    http_client_stats stats;
    queue fresh, waiting, running, ended;
};

static double now_ms(void)
{
    return (double)pv_clock_ns() / 1e6;
}

/* ---- lists ---- */

static void push(queue *q, http_exchange *x)
{
    if (q->last == NULL) {
        q->last = &q->first;
    }
    x->next = NULL;
    *q->last = x;
    q->last = &x->next;
}

static bool take(queue *q, http_exchange *x)
{
    for (http_exchange **link = &q->first; *link != NULL; link = &(*link)->next) {
        if (*link == x) {
            *link = x->next;
            q->last = x->next == NULL ? link : q->last;
            return true;
        }
    }
    return false;
}

static void exchange_free(http_exchange *x)
{
    pv_free(x->url);
    pv_free(x->body);
    pv_buf_release(&x->said);
    pv_free(x);
}

static void free_all(queue *q)
{
    while (q->first != NULL) {
        http_exchange *x = q->first;
        take(q, x);
        exchange_free(x);
    }
}

/* ---- the timer: when is there something to do? ---- */

static void on_timer(uv_timer_t *timer);

static double earliest_wait(const http_client *c)
{
    double earliest = HUGE_VAL;
    for (const http_exchange *x = c->waiting.first; x != NULL; x = x->next) {
        earliest = fmin(earliest, x->not_before_ms);
    }
    return c->fresh.first != NULL ? 0 : earliest;
}

static void arm(http_client *c)
{
    double at = c->ended.first != NULL ? 0 : HUGE_VAL;
    if (at > 0 && c->running_count < c->in_flight) {
        at = fmax(earliest_wait(c), fmax(c->next_start_ms, c->paused_ms));
    }
    if (isinf(at)) {
        uv_timer_stop(&c->timer);
        return;
    }
    double after = ceil(at - now_ms());
    uv_update_time(c->loop);
    uv_timer_start(&c->timer, on_timer, after > 0 ? (uint64_t)after : 0, 0);
}

/* ---- ends ---- */

static void end(http_exchange *x, pv_status status)
{
    x->status = status;
    push(&x->client->ended, x);
}

static bool code_may_change(int code)
{
    static const int codes[] = {408, 425, 429, 500, 502, 503, 504, 529};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

/* Codes that say that the address, the key or the model is wrong: 400, 413 and 422 speak of one request alone. */
static bool code_is_hopeless(int code)
{
    return code < 500 && code != 400 && code != 413 && code != 422 && !code_may_change(code);
}

static double backoff_ms(const http_exchange *x)
{
    double base = fmin(ldexp(BACKOFF_FIRST_MS, (int)x->tries - 1), BACKOFF_MAX_MS);
    double share = (double)(pv_mix64(pv_mix64(x->id) ^ x->tries) >> 11) / 9007199254740992.0;
    return base * (0.5 + share);
}

static void wait_and_try_again(http_exchange *x, double retry_after_s)
{
    http_client *c = x->client;
    double wait = retry_after_s >= 0 ? retry_after_s * 1000 : backoff_ms(x);
    x->not_before_ms = now_ms() + wait;
    if (x->code == 429 || (x->code == 503 && retry_after_s >= 0)) {
        c->paused_ms = fmax(c->paused_ms, x->not_before_ms);
    }
    pv_log(PV_LOG_INFO, "%s (try %u); again in %.1f s", x->err.msg, x->tries, wait / 1000);
    c->stats.retries++;
    pv_error_clear(&x->err);
    push(&c->waiting, x);
}

static pv_status fail_code(http_exchange *x, const http_end *e)
{
    if (e->code >= 300 && e->code < 400) {
        return pv_fail(&x->err, PV_E_INVALID,
                       "%s: the server redirects (%d) to %.300s; redirects are not followed: give "
                       "that address with --url if it is to be trusted",
                       x->url, e->code, e->location == NULL ? "nowhere" : e->location);
    }
    if (e->retry_after_s > RETRY_AFTER_MAX_S) {
        return pv_fail(&x->err, PV_E_LIMIT, "%s: the server answers %d and asks to wait %.0f s",
                       x->url, e->code, e->retry_after_s);
    }
    return pv_fail(&x->err, code_may_change(e->code) ? PV_E_LOST : PV_E_INVALID,
                   "%s: the server answers %d", x->url, e->code);
}

/* What one try came to. */
static pv_status judge(http_exchange *x, const http_end *e)
{
    bool good = e->code >= 200 && e->code < 300;
    x->code = e->code;
    x->hopeless = e->hopeless;
    if (x->refused.status != PV_OK) {
        return pv_fail(&x->err, x->refused.status, "%s: %s", x->url, x->refused.msg);
    }
    if (e->status != PV_OK) {
        return pv_fail(&x->err, e->status, "%s", e->err->msg);
    }
    if (!good) {
        x->hopeless = code_is_hopeless(e->code);
        return fail_code(x, e);
    }
    pv_error err = {0};
    pv_status status = x->sink->end(x->user, &err);
    return status == PV_OK ? PV_OK : pv_fail(&x->err, status, "%s: %s", x->url, err.msg);
}

static bool may_go_better(pv_status status)
{
    return status == PV_E_LOST || status == PV_E_IO || status == PV_E_TIMEOUT;
}

static void on_end(void *user, const http_end *e)
{
    http_exchange *x = user;
    http_client *c = x->client;
    x->transfer = NULL;
    take(&c->running, x);
    c->running_count--;
    pv_status status = judge(x, e);
    if (!x->hopeless && may_go_better(status) && x->tries < x->tries_max) {
        wait_and_try_again(x, e->retry_after_s);
    } else {
        end(x, status);
    }
    arm(c);
}

static bool on_bytes(void *user, int code, const char *bytes, size_t n)
{
    http_exchange *x = user;
    size_t max = x->client->reply_max;
    if (n > max - x->received) {
        pv_fail(&x->refused, PV_E_LIMIT, "the answer is above %zu bytes", max);
        return false;
    }
    x->received += n;
    if (code >= 200 && code < 300) {
        return x->sink->bytes(x->user, bytes, n, &x->refused) == PV_OK;
    }
    pv_buf_append(&x->said, bytes, n < BODY_MAX - x->said.len ? n : BODY_MAX - x->said.len);
    return true;
}

/* ---- starts ---- */

static void start(http_exchange *x)
{
    http_client *c = x->client;
    http_call call = {.url = x->url,
                      .body = x->body,
                      .body_len = x->body_len,
                      .timeout_s = x->timeout_s,
                      .trickles = x->trickles,
                      .on_bytes = on_bytes,
                      .on_end = on_end,
                      .user = x};
    x->tries++;
    x->received = 0;
    pv_buf_clear(&x->said);
    pv_error_clear(&x->refused);
    x->sink->begin(x->user);
    pv_status status = http_wire_start(c->wire, &call, &x->transfer, &x->err);
    if (status != PV_OK) {
        end(x, status);
        return;
    }
    push(&c->running, x);
    c->running_count++;
    c->stats.tries++;
    c->next_start_ms = fmax(c->next_start_ms, now_ms() - LATE_MS) + c->gap_ms;
}

/* Second tries go before fresh requests. */
static http_exchange *next_due(http_client *c, double now)
{
    for (http_exchange *x = c->waiting.first; x != NULL; x = x->next) {
        if (x->not_before_ms <= now) {
            take(&c->waiting, x);
            return x;
        }
    }
    http_exchange *x = c->fresh.first;
    if (x != NULL) {
        take(&c->fresh, x);
    }
    return x;
}

static void start_due(http_client *c)
{
    double now = now_ms();
    while (c->running_count < c->in_flight && now >= c->next_start_ms && now >= c->paused_ms) {
        http_exchange *x = next_due(c, now);
        if (x == NULL) {
            return;
        }
        start(x);
    }
}

static void tell_ended(http_client *c)
{
    for (http_exchange *x; (x = c->ended.first) != NULL;) {
        take(&c->ended, x);
        http_result result = {.status = x->status,
                              .code = x->code,
                              .tries = x->tries,
                              .hopeless = x->hopeless,
                              .body = pv_buf_text(&x->said),
                              .err = &x->err};
        x->on_done(x->user, &result);
        exchange_free(x);
    }
}

static void on_timer(uv_timer_t *timer)
{
    http_client *c = timer->data;
    start_due(c);
    tell_ended(c);
    arm(c);
}

/* ---- requests ---- */

pv_status http_client_submit(http_client *c, const http_request *request, http_exchange **out,
                             pv_error *err)
{
    http_exchange *x = pv_calloc(1, sizeof *x);
    if (x == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    x->client = c;
    x->url = pv_strdup(request->url);
    x->body = request->body == NULL ? NULL : pv_strndup(request->body, request->body_len);
    x->body_len = request->body_len;
    x->trickles = request->trickles;
    x->timeout_s = request->timeout_s;
    x->sink = request->sink;
    x->on_done = request->on_done;
    x->user = request->user;
    x->id = ++c->last_id;
    x->tries_max = request->once ? 1 : c->retries + 1;
    if (x->url == NULL || (x->body == NULL && request->body != NULL)) {
        exchange_free(x);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    push(&c->fresh, x);
    arm(c);
    *out = x;
    return PV_OK;
}

void http_client_cancel(http_client *c, http_exchange *x)
{
    if (take(&c->running, x)) {
        http_wire_stop(c->wire, x->transfer);
        x->transfer = NULL;
        c->running_count--;
    } else if (!take(&c->fresh, x) && !take(&c->waiting, x)) {
        take(&c->ended, x);
    }
    pv_error_clear(&x->err);
    end(x, pv_fail(&x->err, PV_E_CANCELLED, "cancelled"));
    arm(c);
}

void http_client_hide(const http_client *c, char *text)
{
    if (c->key == NULL || c->key[0] == '\0') {
        return;
    }
    for (char *at = text; (at = strstr(at, c->key)) != NULL;) {
        memset(at, '*', strlen(c->key));
    }
}

static uint32_t length(const queue *q)
{
    uint32_t n = 0;
    for (const http_exchange *x = q->first; x != NULL; x = x->next) {
        n++;
    }
    return n;
}

void http_client_stats_of(const http_client *c, http_client_stats *out)
{
    *out = c->stats;
    out->connections = http_wire_connections(c->wire);
    out->running = c->running_count;
    out->waiting = length(&c->fresh) + length(&c->waiting);
}

/* ---- addresses ---- */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

static bool has_part(CURLU *parts, CURLUPart part)
{
    char *text = NULL;
    bool there = curl_url_get(parts, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return there;
}

static pv_status check_parts(CURLU *parts, const char *url, bool *loopback, bool *secure,
                             pv_error *err)
{
    char *scheme = NULL, *host = NULL;
    pv_status status = PV_OK;
    if (curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
        status = pv_fail(err, PV_E_INVALID,
                         "not an address of a server: expected something like "
                         "http://localhost:8000/v1");
    } else if (has_part(parts, CURLUPART_USER) || has_part(parts, CURLUPART_PASSWORD)) {
        status = pv_fail(err, PV_E_INVALID,
                         "an address with a user or a password would be seen by others: put the "
                         "key into an environment variable and name it with --key-env");
    } else if (has_part(parts, CURLUPART_QUERY) || has_part(parts, CURLUPART_FRAGMENT)) {
        status = pv_fail(err, PV_E_INVALID, "%s: an address without `?` and `#` is needed", url);
    } else {
        *loopback = is_loopback(host);
        *secure = strcmp(scheme, "https") == 0;
    }
    curl_free(scheme);
    curl_free(host);
    return status;
}

pv_status http_client_check(const char *url, bool *loopback, bool *secure, pv_error *err)
{
    CURLU *parts = curl_url();
    if (parts == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_status status = check_parts(parts, url, loopback, secure, err);
    curl_url_cleanup(parts);
    return status;
}

/* ---- life ---- */

static bool is_header_text(const char *key)
{
    for (; *key != '\0'; key++) {
        if ((unsigned char)*key <= ' ' || (unsigned char)*key >= 0x7f) {
            return false;
        }
    }
    return true;
}

static pv_status open_wire(http_client *c, bool loopback, const http_client_options *o,
                           pv_error *err)
{
    http_wire_options options = {.key = o->key,
                                 .ca_file = o->ca_file,
                                 .direct = loopback,
                                 .timeout_s = o->timeout_s > 0 ? o->timeout_s : 300,
                                 .connections = c->in_flight};
    return http_wire_open(&c->wire, c->loop, &options, err);
}

pv_status http_client_open(http_client **out, uv_loop_t *loop, const char *url,
                           const http_client_options *o, pv_error *err)
{
    bool loopback = false, secure = false;
    pv_status status = http_client_check(url, &loopback, &secure, err);
    if (status != PV_OK) {
        return status;
    }
    if (o->key != NULL && (!is_header_text(o->key) || o->key[0] == '\0')) {
        return pv_fail(err, PV_E_INVALID,
                       "the key is empty, or has a blank or a control character in it");
    }
    http_client *c = pv_calloc(1, sizeof *c);
    if (c == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    c->loop = loop;
    c->in_flight = o->in_flight > 0 ? o->in_flight : 64;
    c->retries = o->retries;
    c->gap_ms = o->rate > 0 ? 1000 / o->rate : 0;
    c->reply_max = o->reply_max > 0 ? o->reply_max : (size_t)64 << 20;
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->key = o->key == NULL ? NULL : pv_strdup(o->key);
    status = c->key == NULL && o->key != NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                              : open_wire(c, loopback, o, err);
    if (status != PV_OK) {
        http_client_close(c);
        return status;
    }
    *out = c;
    return PV_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
    http_client *c = handle->data;
    pv_free(c->key);
    pv_free(c);
}

void http_client_close(http_client *c)
{
    if (c == NULL) {
        return;
    }
    http_wire_close(c->wire);
    free_all(&c->fresh);
    free_all(&c->waiting);
    free_all(&c->running);
    free_all(&c->ended);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
