#include "http_wire.h"

#include "pv_buf.h"
#include "pv_mem.h"

#include <curl/curl.h>
#include <poll.h>
#include <string.h>

typedef struct watch { /* one socket of libcurl */
    uv_poll_t poll;
    http_wire *wire;
    curl_socket_t socket;
    bool trickles; /* looked at together with others, not by `poll` */
} watch;

struct http_transfer {
    http_transfer *next; /* in the list of its state: running or spare */
    http_wire *wire;
    watch *watch; /* of its connection, while it has one to itself; NULL */
    CURL *easy;
    http_call call;
    bool stopped; /* on_bytes said no                                  */
    bool starved; /* its socket could not be watched: memory was short */
    char why[CURL_ERROR_SIZE];
};

struct http_wire {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer, look; /* libcurl's clock; when to look at what trickles */
    int open_handles;
    watch **trickling; /* owned: the list, not what is in it */
    struct pollfd *polled;
    size_t trickling_count, trickling_capacity, polled_capacity;
    struct curl_slist *headers;
    char *ca_file;
    bool direct, closing;
    double timeout_s;
    uint64_t connections;
    http_transfer *running, *spare;
};

static void unlink_transfer(http_transfer **list, const http_transfer *t)
{
    for (; *list != NULL; list = &(*list)->next) {
        if (*list == t) {
            *list = t->next;
            return;
        }
    }
}

/* Out of libcurl's hands; the handle keeps its settings for the next call. */
static void retire(http_transfer *t)
{
    http_wire *w = t->wire;
    curl_multi_remove_handle(w->multi, t->easy);
    t->watch = NULL;
    unlink_transfer(&w->running, t);
    t->next = w->spare;
    w->spare = t;
}

/* ---- what an end means ---- */

static pv_status status_of(CURLcode code, bool *hopeless)
{
    *hopeless = false;
    switch (code) {
    case CURLE_OK:
        return PV_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return PV_E_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        *hopeless = true;
        return PV_E_NOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        *hopeless = true;
        return PV_E_INVALID;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_USE_SSL_FAILED:
        *hopeless = true;
        return PV_E_IO;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return PV_E_LOST;
    default:
        return PV_E_IO;
    }
}

static const char *advice(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        return "does the server run, and is the port right?";
    case CURLE_COULDNT_RESOLVE_HOST:
        return "is the host's name right?";
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "is the proxy in the environment right?";
    case CURLE_OPERATION_TIMEDOUT:
        return "a busy server needs a larger --server-timeout or a smaller --in-flight";
    case CURLE_SSL_CONNECT_ERROR:
        return "does this port speak TLS (https)?";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return "--ca-file names the certificates that may sign the server's";
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
        return "the server broke the connection off";
    default:
        return "";
    }
}

static void describe(const http_transfer *t, CURLcode code, pv_status status, pv_error *err)
{
    if (t->stopped) {
        pv_fail(err, status, "%s: the answer was not wanted to its end", t->call.url);
        return;
    }
    const char *what = t->why[0] != '\0' ? t->why : curl_easy_strerror(code);
    const char *hint = advice(code);
    pv_fail(err, status, "%s: %s%s%s", t->call.url, what, hint[0] == '\0' ? "" : ": ", hint);
}

static void finish(http_transfer *t, CURLcode code)
{
    pv_error err = {0};
    http_end end = {.retry_after_s = -1, .err = &err};
    long response = 0, opened = 0;
    curl_off_t wait = 0;
    char *location = NULL;
    end.status = t->stopped ? PV_E_CANCELLED : status_of(code, &end.hopeless);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &response);
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &opened);
    if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0) {
        end.retry_after_s = (double)wait;
    }
    curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &location);
    if (end.status != PV_OK) {
        describe(t, code, end.status, &err);
    }
    t->wire->connections += opened > 0 ? (uint64_t)opened : 0;
    end.code = (int)response;
    end.location = location;
    http_call call = t->call;
    char *copy = location == NULL ? NULL : pv_strdup(location);
    end.location = copy;
    retire(t);
    call.on_end(call.user, &end);
    pv_free(copy);
}

/* Ends may start and stop other transfers, so each message is taken on its own. */
static void take_ends(http_wire *w)
{
    int left;
    for (CURLMsg *m; !w->closing && (m = curl_multi_info_read(w->multi, &left)) != NULL;) {
        if (m->msg == CURLMSG_DONE) {
            http_transfer *t = NULL;
            CURLcode code = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
            finish(t, code);
        }
    }
}

/* ---- what trickles ---- */

static const double LOOK_EACH_MS = 0.4, LOOK_MAX_MS = 100;

static void on_look(uv_timer_t *timer);

static void act(http_wire *w, curl_socket_t socket, int flags)
{
    int running;
    curl_multi_socket_action(w->multi, socket, flags, &running);
}

static void start_looking(http_wire *w)
{
    double each = LOOK_EACH_MS * (double)w->trickling_count;
    uint64_t after = (uint64_t)(each < LOOK_MAX_MS ? each : LOOK_MAX_MS);
    if (w->trickling_count > 0 && !w->closing) {
        uv_timer_start(&w->look, on_look, after, 0);
    }
}

static void leave_trickling(watch *v)
{
    http_wire *w = v->wire;
    v->trickles = false;
    for (size_t i = 0; i < w->trickling_count; i++) {
        if (w->trickling[i] == v) {
            w->trickling[i] = w->trickling[--w->trickling_count];
            return;
        }
    }
}

/* Memory that is short leaves the socket with its own poll. */
static void join_trickling(watch *v)
{
    http_wire *w = v->wire;
    size_t need = w->trickling_count + 1;
    if (pv_grow((void **)&w->trickling, &w->trickling_capacity, need, sizeof(watch *)) != 0 ||
        pv_grow((void **)&w->polled, &w->polled_capacity, need, sizeof *w->polled) != 0) {
        return;
    }
    uv_poll_stop(&v->poll);
    v->trickles = true;
    w->trickling[w->trickling_count++] = v;
    if (!uv_is_active((uv_handle_t *)&w->look)) {
        start_looking(w);
    }
}

/* libcurl would be dead for good if it were told that a socket cannot be watched; so its transfer ends here. */
static void end_starved(http_wire *w)
{
    http_transfer *t = w->running;
    while (t != NULL && !w->closing) {
        if (t->starved) {
            finish(t, CURLE_OUT_OF_MEMORY);
            t = w->running; /* its end may have changed the list */
        } else {
            t = t->next;
        }
    }
}

static void starve(http_wire *w, http_transfer *t)
{
    t->starved = true;
    uv_timer_start(&w->look, on_look, 0, 0);
}

/* Acting on one socket can end transfers, and with them others' watches: only the sockets' numbers are kept. */
static void on_look(uv_timer_t *timer)
{
    http_wire *w = timer->data;
    size_t n = w->trickling_count;
    for (size_t i = 0; i < n; i++) {
        w->polled[i] = (struct pollfd){.fd = w->trickling[i]->socket, .events = POLLIN};
    }
    int ready = poll(w->polled, (nfds_t)n, 0);
    for (size_t i = 0; i < n && ready > 0; i++) {
        int flags = (w->polled[i].revents & POLLIN) != 0 ? CURL_CSELECT_IN : 0;
        flags |= (w->polled[i].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? CURL_CSELECT_IN : 0;
        if (flags != 0) {
            ready--;
            act(w, w->polled[i].fd, flags);
        }
    }
    take_ends(w);
    end_starved(w);
    start_looking(w);
}

/* ---- libcurl's sockets and clock ---- */

static void on_watch_closed(uv_handle_t *handle)
{
    pv_free(handle->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    watch *v = poll->data;
    http_wire *w = v->wire;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    act(w, v->socket, flags);
    take_ends(w);
}

static watch *watch_new(http_wire *w, curl_socket_t socket)
{
    watch *v = pv_calloc(1, sizeof *v);
    if (v == NULL) {
        return NULL;
    }
    v->wire = w;
    v->socket = socket;
    v->poll.data = v;
    if (uv_poll_init_socket(w->loop, &v->poll, socket) != 0) {
        pv_free(v);
        return NULL;
    }
    curl_multi_assign(w->multi, socket, v);
    return v;
}

static void watch_close(watch *v)
{
    http_wire *w = v->wire;
    curl_multi_assign(w->multi, v->socket, NULL);
    if (v->trickles) {
        leave_trickling(v);
    }
    for (http_transfer *t = w->running; t != NULL; t = t->next) {
        t->watch = t->watch == v ? NULL : t->watch;
    }
    uv_close((uv_handle_t *)&v->poll, on_watch_closed);
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *of_socket)
{
    http_wire *w = user;
    watch *v = of_socket;
    http_transfer *t = NULL;
    if (what == CURL_POLL_REMOVE) {
        if (v != NULL) {
            watch_close(v);
        }
        return 0;
    }
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    v = v == NULL ? watch_new(w, socket) : v;
    t->watch = v;
    if (v == NULL) {
        starve(w, t);
        return 0;
    }
    if (v->trickles) {
        leave_trickling(v);
    }
    int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    if (uv_poll_start(&v->poll, events, on_ready) != 0) {
        starve(w, t);
    }
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    http_wire *w = timer->data;
    act(w, CURL_SOCKET_TIMEOUT, 0);
    take_ends(w);
}

static int on_timeout(CURLM *multi, long after_ms, void *user)
{
    http_wire *w = user;
    (void)multi;
    if (after_ms < 0) {
        uv_timer_stop(&w->timer);
        return 0;
    }
    uv_update_time(w->loop);
    return uv_timer_start(&w->timer, on_timer, (uint64_t)after_ms, 0) == 0 ? 0 : -1;
}

/* ---- transfers ---- */

static size_t on_write(char *bytes, size_t size, size_t count, void *user)
{
    http_transfer *t = user;
    long code = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    if (!t->call.on_bytes(t->call.user, (int)code, bytes, size * count)) {
        t->stopped = true;
        return 0;
    }
    if (t->call.trickles && t->watch != NULL && !t->watch->trickles) {
        join_trickling(t->watch);
    }
    return size * count;
}

/* What all calls share, set once a handle. */
static bool set_up(http_transfer *t)
{
    http_wire *w = t->wire;
    CURL *e = t->easy;
    bool ok = curl_easy_setopt(e, CURLOPT_PRIVATE, t) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEDATA, t) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->why) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_USERAGENT, "prover/" PROVER_VERSION) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HTTPHEADER, w->headers) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, 10000L) == CURLE_OK;
    if (ok && w->ca_file != NULL) {
        ok = curl_easy_setopt(e, CURLOPT_CAINFO, w->ca_file) == CURLE_OK;
    }
    if (ok && w->direct) {
        ok = curl_easy_setopt(e, CURLOPT_NOPROXY, "*") == CURLE_OK;
    }
    return ok;
}

static void transfer_free(http_transfer *t)
{
    curl_easy_cleanup(t->easy);
    pv_free(t);
}

static http_transfer *transfer_new(http_wire *w)
{
    http_transfer *t = w->spare;
    if (t != NULL) {
        w->spare = t->next;
        return t;
    }
    t = pv_calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->wire = w;
    t->easy = curl_easy_init();
    if (t->easy == NULL || !set_up(t)) {
        transfer_free(t);
        return NULL;
    }
    return t;
}

static bool set_call(http_transfer *t, const http_call *call)
{
    CURL *e = t->easy;
    t->call = *call;
    t->stopped = t->starved = false;
    t->why[0] = '\0';
    double timeout_s = call->timeout_s > 0 ? call->timeout_s : t->wire->timeout_s;
    bool ok = curl_easy_setopt(e, CURLOPT_URL, call->url) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(timeout_s * 1000)) == CURLE_OK;
    if (call->body == NULL) {
        return ok && curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    }
    return ok && curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->body) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len) == CURLE_OK;
}

pv_status http_wire_start(http_wire *w, const http_call *call, http_transfer **out, pv_error *err)
{
    http_transfer *t = transfer_new(w);
    if (t == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    t->next = w->running;
    w->running = t;
    if (!set_call(t, call) || curl_multi_add_handle(w->multi, t->easy) != CURLM_OK) {
        unlink_transfer(&w->running, t);
        transfer_free(t);
        return pv_fail(err, PV_E_NOMEM, "%s: the transfer could not be started: out of memory?",
                       call->url);
    }
    *out = t;
    return PV_OK;
}

void http_wire_stop(http_wire *w, http_transfer *t)
{
    (void)w;
    retire(t);
}

uint64_t http_wire_connections(const http_wire *w)
{
    return w->connections;
}

/* ---- life ---- */

static bool add_header(http_wire *w, const char *line)
{
    struct curl_slist *longer = curl_slist_append(w->headers, line);
    w->headers = longer == NULL ? w->headers : longer;
    return longer != NULL;
}

static bool make_headers(http_wire *w, const char *key)
{
    bool ok = add_header(w, "Content-Type: application/json") && add_header(w, "Expect:");
    if (ok && key != NULL) {
        pv_buf bearer = {0};
        pv_buf_printf(&bearer, "Authorization: Bearer %s", key);
        ok = pv_buf_ok(&bearer) && add_header(w, pv_buf_text(&bearer));
        pv_buf_release(&bearer);
    }
    return ok;
}

static bool set_multi(http_wire *w, uint32_t connections)
{
    w->multi = curl_multi_init();
    return w->multi != NULL &&
           curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w) == CURLM_OK &&
           curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, on_timeout) == CURLM_OK &&
           curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w) == CURLM_OK &&
           curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, (long)connections) == CURLM_OK;
}

pv_status http_wire_open(http_wire **out, uv_loop_t *loop, const http_wire_options *options,
                         pv_error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return pv_fail(err, PV_E_UNSUPPORTED, "libcurl could not be started");
    }
    http_wire *w = pv_calloc(1, sizeof *w);
    if (w == NULL) {
        curl_global_cleanup();
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    w->loop = loop;
    w->direct = options->direct;
    w->timeout_s = options->timeout_s;
    uv_timer_init(loop, &w->timer);
    uv_timer_init(loop, &w->look);
    w->timer.data = w->look.data = w;
    w->open_handles = 2;
    w->ca_file = options->ca_file == NULL ? NULL : pv_strdup(options->ca_file);
    if ((w->ca_file == NULL && options->ca_file != NULL) || !make_headers(w, options->key) ||
        !set_multi(w, options->connections)) {
        http_wire_close(w);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *out = w;
    return PV_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
    http_wire *w = handle->data;
    if (--w->open_handles == 0) {
        pv_free(w->ca_file);
        pv_free(w->trickling);
        pv_free(w->polled);
        pv_free(w);
    }
}

void http_wire_close(http_wire *w)
{
    if (w == NULL) {
        return;
    }
    w->closing = true;
    while (w->running != NULL) {
        retire(w->running);
    }
    while (w->spare != NULL) {
        http_transfer *next = w->spare->next;
        transfer_free(w->spare);
        w->spare = next;
    }
    if (w->multi != NULL) {
        curl_multi_cleanup(w->multi); /* closes the connections: on_socket is called for them */
    }
    curl_slist_free_all(w->headers);
    curl_global_cleanup();
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
    uv_close((uv_handle_t *)&w->look, on_timer_closed);
}
