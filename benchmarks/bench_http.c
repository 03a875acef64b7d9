/* bench_http: CPU that the http policy's client takes: 256 requests in flight at 50 answers a second, each of 200 tokens with their
 * log-probabilities, whole and streamed token by token.
 *
 * Figure: CPU time of this process (openai_server: bodies, libcurl on the loop, JSON) for the answers of a second, in per cent of a
 * core. Floor, in the same run: the same requests and answers, byte for byte, through bare libuv sockets that count bytes and parse
 * nothing. The server is another process (tests/fakes/fake_openai); when the machine leaves it too little, it sends several tokens at once.
 * Usage: bench_http [--seconds N] [--in-flight N] [--answers PER_SECOND] [--tokens N] */
#include "openai_server.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct settings {
    uint64_t seconds, in_flight, answers, tokens;
} settings;

typedef struct fake {
    pid_t pid;
    int input, port;
} fake;

static fake start_fake(const settings *s)
{
    fake f = {0};
    int in[2], out[2];
    char delay[32], tokens[32], line[32] = "";
    snprintf(delay, sizeof delay, "%llu", (unsigned long long)(s->in_flight * 1000 / s->answers));
    snprintf(tokens, sizeof tokens, "%llu", (unsigned long long)s->tokens);
    if (pipe(in) != 0 || pipe(out) != 0) {
        exit(3);
    }
    f.pid = fork();
    if (f.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        execl(BENCH_BIN_DIR "/fake_openai", "fake_openai", "--delay", delay, "--tokens", tokens,
              (char *)NULL);
        fprintf(stderr, "bench_http: %s/fake_openai is missing: build the tests\n", BENCH_BIN_DIR);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    f.input = in[1];
    if (read(out[0], line, sizeof line - 1) <= 0 || sscanf(line, "%d", &f.port) != 1) {
        exit(3);
    }
    close(out[0]);
    return f;
}

static void stop_fake(fake *f)
{
    close(f->input);
    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* ---- what is measured, between the first full turn and the end ---- */

typedef struct meter {
    const settings *s;
    uv_timer_t timer;
    double cpu, wall_s;
    uint64_t begun_ms, answers, bytes, failed;
    bool measuring, over;
} meter;

static void on_end_of_time(uv_timer_t *timer)
{
    meter *m = timer->data;
    if (!m->measuring) {
        m->measuring = true;
        m->answers = m->bytes = 0;
        m->cpu = cpu_seconds();
        m->begun_ms = pv_clock_ms();
        uv_timer_start(timer, on_end_of_time, m->s->seconds * 1000, 0);
        return;
    }
    m->cpu = cpu_seconds() - m->cpu;
    m->wall_s = (double)(pv_clock_ms() - m->begun_ms) / 1000;
    m->over = true;
}

/* The requests start spread over one delay, so that the answers come evenly; then one delay passes unmeasured. */
static void start_meter(meter *m, uv_loop_t *loop, const settings *s)
{
    *m = (meter){.s = s};
    uv_timer_init(loop, &m->timer);
    m->timer.data = m;
    uv_timer_start(&m->timer, on_end_of_time, s->in_flight * 2000 / s->answers, 0);
}

/* Of a core, at the rate asked for: a server that had too little of the machine answers more slowly. */
static double percent(const meter *m)
{
    double n = (double)(m->answers == 0 ? 1 : m->answers);
    return 100 * m->cpu / n * (double)m->s->answers;
}

static void print_meter(const char *name, const meter *m)
{
    double n = (double)(m->answers == 0 ? 1 : m->answers);
    printf("  %-20s %5.2f %% of a core (%4.0f us and %4.1f kB an answer, %4.1f came a second)%s\n",
           name, percent(m), m->cpu * 1e6 / n, (double)m->bytes / n / 1000, n / m->wall_s,
           m->failed > 0 ? ", SOME FAILED" : "");
    fflush(stdout);
}

/* ---- our client ---- */

typedef struct clients {
    meter m;
    openai_server *server;
} clients;

static const char prompt[] = "h : p ∧ q\n⊢ q ∧ p:::";

static void ask(clients *c);

static void on_answer(void *user, const openai_answer *answer)
{
    clients *c = user;
    bool good = answer->status == PV_OK && answer->reply->choices[0].scored == c->m.s->tokens;
    c->m.failed += !good && !c->m.over;
    c->m.answers++;
    c->m.bytes += answer->status == PV_OK ? answer->reply->choices[0].text.len : 0;
    if (!c->m.over) {
        ask(c);
    }
}

static void ask(clients *c)
{
    openai_ask wanted = {.prompt = prompt,
                         .choices = 1,
                         .max_tokens = 256,
                         .temperature = 1,
                         .top_p = 1,
                         .stop = "\n"};
    openai_question *q = NULL;
    if (openai_server_ask(c->server, &wanted, on_answer, c, &q, NULL) != PV_OK) {
        exit(3);
    }
}

typedef struct starter {
    uv_timer_t timer;
    void (*start)(void *user);
    void *user;
    uint64_t left;
} starter;

static void on_start(uv_timer_t *timer)
{
    starter *s = timer->data;
    s->start(s->user);
    if (--s->left == 0) {
        uv_timer_stop(timer);
    }
}

static void start_evenly(starter *s, uv_loop_t *loop, const settings *set,
                         void (*start)(void *user), void *user)
{
    *s = (starter){.start = start, .user = user, .left = set->in_flight};
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, on_start, 0, 1000 / set->answers);
}

static void ask_user(void *user)
{
    ask(user);
}

static void close_timers(meter *m, starter *s, uv_loop_t *loop)
{
    uv_close((uv_handle_t *)&m->timer, NULL);
    uv_close((uv_handle_t *)&s->timer, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
}

static meter run_client(const settings *s, bool stream, openai_api api)
{
    static clients c;
    uv_loop_t loop;
    starter starts;
    char url[64];
    fake f = start_fake(s);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", f.port);
    openai_server_options options = {.url = url,
                                     .model = "good",
                                     .api = api,
                                     .stream = stream,
                                     .logprobs = true,
                                     .http = {.in_flight = (uint32_t)s->in_flight}};
    uv_loop_init(&loop);
    if (openai_server_open(&c.server, &loop, &options, NULL) != PV_OK) {
        exit(3);
    }
    start_meter(&c.m, &loop, s);
    start_evenly(&starts, &loop, s, ask_user, &c);
    while (!c.m.over) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    meter out = c.m;
    stop_fake(&f); /* what is in flight fails now */
    http_client_stats stats;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        openai_server_stats(c.server, &stats);
    } while (stats.running + stats.waiting > 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    openai_server_close(c.server);
    close_timers(&c.m, &starts, &loop);
    return out;
}

/* ---- the floor ---- */

typedef struct socket_floor {
    meter m;
    uv_loop_t loop;
    struct sockaddr_in at;
    char request[1024];
    size_t request_len;
    bool stream;
} socket_floor;

typedef struct bare {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    socket_floor *floor;
    uint64_t got, whole; /* bytes of this answer; of a whole one, known from the first answer */
    char tail[8];
} bare;

static char read_space[65536];

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(read_space, sizeof read_space);
}

static void send_request(bare *b)
{
    uv_buf_t buf = uv_buf_init(b->floor->request, (unsigned)b->floor->request_len);
    b->got = 0;
    uv_write(&b->write, (uv_stream_t *)&b->tcp, &buf, 1, NULL);
}

/* All answers are of one length: the first tells it (a stream ends with its last chunk, a whole answer with a brace). */
static bool is_whole(bare *b, const uv_buf_t *buf, size_t n)
{
    if (b->whole > 0) {
        return b->got >= b->whole;
    }
    const char *end = b->floor->stream ? "0\r\n\r\n" : "}}";
    size_t k = strlen(end);
    bool whole = n >= k && memcmp(buf->base + n - k, end, k) == 0;
    b->whole = whole ? b->got : 0;
    return whole;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    bare *b = stream->data;
    meter *m = &b->floor->m;
    if (n < 0) {
        m->failed += !m->over;
        uv_read_stop(stream);
        return;
    }
    b->got += (uint64_t)n;
    m->bytes += (uint64_t)n;
    if (is_whole(b, buf, (size_t)n)) {
        m->answers++;
        send_request(b);
    }
}

static void on_connected(uv_connect_t *connect, int status)
{
    bare *b = connect->data;
    if (status != 0) {
        exit(3);
    }
    uv_read_start((uv_stream_t *)&b->tcp, on_alloc, on_read);
    send_request(b);
}

static void connect_one(void *user)
{
    socket_floor *floor = user;
    bare *b = pv_calloc(1, sizeof *b);
    b->floor = floor;
    uv_tcp_init(&floor->loop, &b->tcp);
    b->tcp.data = b->connect.data = b;
    uv_tcp_connect(&b->connect, &b->tcp, (const struct sockaddr *)&floor->at, on_connected);
}

static void on_bare_closed(uv_handle_t *handle)
{
    pv_free(handle->data);
}

static void close_bare(uv_handle_t *handle, void *user)
{
    (void)user;
    if (handle->type == UV_TCP && !uv_is_closing(handle)) {
        uv_close(handle, on_bare_closed);
    }
}

static void write_request(socket_floor *floor, openai_api api)
{
    pv_buf body = {0};
    openai_ask wanted = {.api = api,
                         .model = "good",
                         .prompt = prompt,
                         .choices = 1,
                         .max_tokens = 256,
                         .temperature = 1,
                         .top_p = 1,
                         .stop = "\n",
                         .logprobs = true,
                         .stream = floor->stream};
    if (openai_body(&wanted, &body, NULL) != PV_OK) {
        exit(3);
    }
    floor->request_len = (size_t)snprintf(
        floor->request, sizeof floor->request,
        "POST /v1/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s",
        api == OPENAI_CHAT ? "chat/completions" : "completions", body.len, pv_buf_text(&body));
    pv_buf_release(&body);
}

static meter run_floor(const settings *s, bool stream, openai_api api)
{
    static socket_floor floor;
    starter starts;
    fake f = start_fake(s);
    floor.stream = stream;
    write_request(&floor, api);
    uv_loop_init(&floor.loop);
    uv_ip4_addr("127.0.0.1", f.port, &floor.at);
    start_meter(&floor.m, &floor.loop, s);
    start_evenly(&starts, &floor.loop, s, connect_one, &floor);
    while (!floor.m.over) {
        uv_run(&floor.loop, UV_RUN_ONCE);
    }
    meter out = floor.m;
    uv_walk(&floor.loop, close_bare, NULL);
    close_timers(&floor.m, &starts, &floor.loop);
    stop_fake(&f);
    return out;
}

/* ---- the run ---- */

static bool take_arguments(settings *s, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        uint64_t *field = strcmp(argv[i], "--seconds") == 0     ? &s->seconds
                          : strcmp(argv[i], "--in-flight") == 0 ? &s->in_flight
                          : strcmp(argv[i], "--answers") == 0   ? &s->answers
                          : strcmp(argv[i], "--tokens") == 0    ? &s->tokens
                                                                : NULL;
        if (field == NULL || value == 0) {
            return false;
        }
        *field = value;
    }
    return argc % 2 == 1;
}

static bool compare(const settings *s, const char *name, bool stream, openai_api api)
{
    printf("%s\n", name);
    meter ours = run_client(s, stream, api);
    meter floor = run_floor(s, stream, api);
    ours.bytes = (uint64_t)((double)floor.bytes / (double)(floor.answers + !floor.answers) *
                            (double)ours.answers);
    print_meter("our client", &ours);
    print_meter("floor: bare sockets", &floor);
    printf("  %-20s %5.2f\n", "ratio", percent(&ours) / percent(&floor));
    return percent(&ours) < 5 && ours.failed == 0 && floor.failed == 0;
}

int main(int argc, char **argv)
{
    settings s = {.seconds = 20, .in_flight = 256, .answers = 50, .tokens = 200};
    if (!take_arguments(&s, argc, argv)) {
        fprintf(stderr,
                "usage: bench_http [--seconds N] [--in-flight N] [--answers N] [--tokens N]\n");
        return 2;
    }
    printf("%llu requests in flight, %llu answers a second, %llu tokens each\n",
           (unsigned long long)s.in_flight, (unsigned long long)s.answers,
           (unsigned long long)s.tokens);
    bool ok = compare(&s, "completions, whole", false, OPENAI_COMPLETIONS);
    ok = compare(&s, "completions, streamed", true, OPENAI_COMPLETIONS) && ok;
    ok = compare(&s, "chat, streamed", true, OPENAI_CHAT) && ok;
    printf("under 5 %% of a core: %s\n", ok ? "yes" : "NO");
    return ok ? 0 : 1;
}
