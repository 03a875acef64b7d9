/* http_client and openai_server against a server that has every fault a test asks for. */
#include "fakes/fake_server.h"

#include "openai_server.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    fake_server fake;
    uv_loop_t loop;
    openai_server *server;
    int answers, good;
    pv_status status; /* of the last answer */
    bool hopeless;
    char text[PV_ERROR_MSG_MAX]; /* of its first choice, or the error's */
    double logprob;
} fixture;

static char logged[65536];

static void log_line(void *user, pv_log_level level, const char *line)
{
    (void)user;
    (void)level;
    strncat(logged, line, sizeof logged - strlen(logged) - 2);
    strcat(logged, "\n");
}

static void on_answer(void *user, const openai_answer *answer)
{
    fixture *f = user;
    f->answers++;
    f->status = answer->status;
    f->hopeless = answer->hopeless;
    if (answer->status == PV_OK) {
        const openai_choice *c = &answer->reply->choices[0];
        f->good++;
        f->logprob = c->scored > 0 && !c->unscored ? c->logprob : (double)NAN;
        snprintf(f->text, sizeof f->text, "%s", pv_buf_text(&c->text));
    } else {
        snprintf(f->text, sizeof f->text, "%s", answer->err->msg);
    }
}

static openai_server_options options_for(const fixture *f, const char *model)
{
    return (openai_server_options){.url = f->fake.url,
                                   .model = model,
                                   .logprobs = true,
                                   .http = {.retries = 2, .timeout_s = 5}};
}

static void open_with(fixture *f, const openai_server_options *options)
{
    pv_error err = {0};
    f->answers = f->good = 0;
    f->status = PV_OK;
    f->text[0] = '\0';
    cr_assert_eq(openai_server_open(&f->server, &f->loop, options, &err), PV_OK, "%s", err.msg);
}

static openai_question *ask(fixture *f, uint32_t choices)
{
    openai_ask wanted = {.prompt = "theorem t",
                         .choices = choices,
                         .max_tokens = 16,
                         .temperature = 1,
                         .top_p = 1,
                         .stop = "\n"};
    openai_question *q = NULL;
    cr_assert_eq(openai_server_ask(f->server, &wanted, on_answer, f, &q, NULL), PV_OK);
    return q;
}

static void wait_for(fixture *f, int answers)
{
    uint64_t start = pv_clock_ms();
    while (f->answers < answers) {
        uv_run(&f->loop, UV_RUN_ONCE);
        cr_assert_lt(pv_clock_ms() - start, 60000, "no answer");
    }
}

static void close_server(fixture *f)
{
    openai_server_close(f->server);
    f->server = NULL;
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

/* One question to a model whose name is a fault. */
static void ask_model(fixture *f, const char *model, bool stream)
{
    openai_server_options options = options_for(f, model);
    options.stream = stream;
    open_with(f, &options);
    ask(f, 2);
    wait_for(f, 1);
    close_server(f);
}

static void start(fixture *f, char *const arguments[])
{
    memset(f, 0, sizeof *f);
    f->fake = fake_server_start(arguments);
    logged[0] = '\0';
    pv_log_set(log_line, NULL, PV_LOG_DEBUG);
    cr_assert_eq(uv_loop_init(&f->loop), 0);
}

/* Every handle is closed and every byte is given back. */
static void stop(fixture *f)
{
    cr_assert_eq(uv_loop_close(&f->loop), 0);
    cr_assert_eq(pv_mem_live(), 0);
    fake_server_stop(&f->fake);
}

TestSuite(http_client, .timeout = 120);

Test(http_client, good_answers_come_however_they_are_sent)
{
    const char *models[] = {"good", "chunked", "slow", "close", "hangup"};
    fixture f;
    start(&f, NULL);
    for (int stream = 0; stream < 2; stream++) {
        for (size_t i = 0; i < 5; i++) {
            ask_model(&f, models[i], stream == 1);
            cr_assert_eq(f.status, PV_OK, "%s: %s", models[i], f.text);
            cr_assert_str_eq(f.text, "skip");
            cr_assert_float_eq(f.logprob, -0.25, 1e-9, "two tokens");
        }
    }
    stop(&f);
}

Test(http_client, chat_says_the_same)
{
    fixture f;
    start(&f, NULL);
    for (int stream = 0; stream < 2; stream++) {
        openai_server_options options = options_for(&f, "good");
        options.api = OPENAI_CHAT;
        options.stream = stream == 1;
        open_with(&f, &options);
        ask(&f, 3);
        wait_for(&f, 1);
        cr_assert_str_eq(f.text, "skip");
        cr_assert_float_eq(f.logprob, -0.25, 1e-9);
        close_server(&f);
    }
    stop(&f);
}

Test(http_client, what_may_go_better_is_tried_again)
{
    const char *models[] = {"500:2", "502:1", "503:2", "cut:2", "silent:0"};
    fixture f;
    start(&f, NULL);
    for (size_t i = 0; i < 5; i++) {
        ask_model(&f, models[i], false);
        cr_assert_eq(f.status, PV_OK, "%s: %s", models[i], f.text);
    }
    const char *streams[] = {"cutstream:1", "cutchunk:2", "errorevent:1"};
    for (size_t i = 0; i < 3; i++) {
        ask_model(&f, streams[i], true);
        cr_assert_eq(f.status, PV_OK, "%s: %s", streams[i], f.text);
        cr_assert_str_eq(f.text, "skip", "what an earlier try brought is forgotten");
        cr_assert_float_eq(f.logprob, -0.25, 1e-9);
    }
    stop(&f);
}

Test(http_client, a_server_that_says_how_long_to_wait_is_heard)
{
    fixture f;
    start(&f, NULL);
    openai_server_options options = options_for(&f, "429+2:1");
    open_with(&f, &options);
    uint64_t begun = pv_clock_ms();
    ask(&f, 1);
    uv_run(&f.loop, UV_RUN_ONCE);
    while (pv_clock_ms() - begun < 500) { /* the 429 is there; what comes now waits as well */
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    ask(&f, 1);
    wait_for(&f, 1);
    cr_assert_geq(pv_clock_ms() - begun, 1990);
    wait_for(&f, 2);
    cr_assert_eq(f.good, 2);
    cr_assert_lt(pv_clock_ms() - begun, 4000);
    close_server(&f);
    ask_model(&f, "429+4000", false);
    cr_assert_eq(f.status, PV_E_LIMIT);
    cr_assert_not_null(strstr(f.text, "4000 s"), "%s", f.text);
    stop(&f);
}

typedef struct failing {
    const char *model;
    bool stream;
    pv_status status;
    bool hopeless;
    const char *says;
} failing;

Test(http_client, failures_say_what_happened)
{
    static const failing cases[] = {
        {"401", false, PV_E_INVALID, true, "told to fail; is the key right"},
        {"403", true, PV_E_INVALID, true, "is the key right"},
        {"404", false, PV_E_INVALID, true, "--server-model"},
        {"400", false, PV_E_INVALID, false, "told to fail"},
        {"422", false, PV_E_INVALID, false, "answers 422"},
        {"500", false, PV_E_LOST, false, "answers 500: told to fail (after several tries)"},
        {"429", false, PV_E_LOST, false, "--rate"},
        {"garbage", false, PV_E_PROTOCOL, false, "not the JSON"},
        {"garbage", true, PV_E_LOST, false, "cut"},
        {"html", false, PV_E_PROTOCOL, false, "not the JSON"},
        {"badindex", false, PV_E_PROTOCOL, false, "index"},
        {"cut", false, PV_E_LOST, false, "broke the connection off"},
        {"cutstream", true, PV_E_LOST, false, "2 of 2 answers are unfinished"},
        {"cutchunk", true, PV_E_LOST, false, "broke the connection off"},
        {"errorevent", true, PV_E_LOST, false, "the engine died"},
        {"redirect", false, PV_E_INVALID, true, "/elsewhere"},
    };
    fixture f;
    start(&f, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask_model(&f, cases[i].model, cases[i].stream);
        cr_assert_eq(f.status, cases[i].status, "%s: %s", cases[i].model, f.text);
        cr_assert_eq(f.hopeless, cases[i].hopeless, "%s: %s", cases[i].model, f.text);
        cr_assert_not_null(strstr(f.text, cases[i].says), "%s: %s", cases[i].model, f.text);
        cr_assert_not_null(strstr(f.text, f.fake.url), "%s: %s", cases[i].model, f.text);
    }
    stop(&f);
}

Test(http_client, an_answer_that_never_ends_is_stopped_by_bytes_and_by_time)
{
    fixture f;
    start(&f, NULL);
    openai_server_options options = options_for(&f, "endless");
    options.http.reply_max = 3 << 20;
    open_with(&f, &options);
    ask(&f, 1);
    wait_for(&f, 1);
    cr_assert_eq(f.status, PV_E_LIMIT);
    cr_assert_not_null(strstr(f.text, "above 3145728 bytes"), "%s", f.text);
    cr_assert_lt(pv_mem_peak(), 32 << 20);
    close_server(&f);
    const char *models[] = {"silent", "slow"};
    for (size_t i = 0; i < 2; i++) {
        options = options_for(&f, models[i]);
        options.http.timeout_s = 0.02;
        options.http.retries = 1;
        open_with(&f, &options);
        ask(&f, 50);
        wait_for(&f, 1);
        cr_assert_eq(f.status, PV_E_TIMEOUT, "%s", f.text);
        cr_assert_not_null(strstr(f.text, "--server-timeout"), "%s", f.text);
        close_server(&f);
    }
    stop(&f);
}

Test(http_client, a_dead_server_is_reported)
{
    fixture f;
    start(&f, NULL);
    fake_server_stop(&f.fake);
    openai_server_options options = options_for(&f, "good");
    options.http.retries = 1;
    open_with(&f, &options);
    pv_error err = {0};
    uint64_t begun = pv_clock_ms();
    cr_assert_eq(openai_server_hello(f.server, &err), PV_E_IO);
    cr_assert_not_null(strstr(err.msg, "does the server run"), "%s", err.msg);
    cr_assert_lt(pv_clock_ms() - begun, 3000, "the greeting is not tried again");
    ask(&f, 1);
    wait_for(&f, 1);
    cr_assert_eq(f.status, PV_E_IO);
    cr_assert_not_null(strstr(f.text, "after several tries"), "%s", f.text);
    close_server(&f);
    cr_assert_eq(uv_loop_close(&f.loop), 0);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(http_client, the_key_goes_to_the_server_and_nowhere_else)
{
    static const char key[] = "sk-very-secret-0123456789";
    fixture f;
    start(&f, NULL);
    const char *models[] = {"good", "echokey", "redirect", "500"};
    for (size_t i = 0; i < 4; i++) {
        openai_server_options options = options_for(&f, models[i]);
        options.http.key = key;
        options.http.retries = 1;
        open_with(&f, &options);
        ask(&f, 1);
        wait_for(&f, 1);
        close_server(&f);
        cr_assert_null(strstr(f.text, key), "%s", f.text);
        if (i == 0) {
            json_t *stats = fake_server_stats(&f.fake);
            const json_t *last = json_object_get(stats, "last");
            const char *sent = json_string_value(json_object_get(last, "authorization"));
            cr_assert_str_eq(sent, "Bearer sk-very-secret-0123456789");
            json_decref(stats);
        } else if (i == 1) {
            cr_assert_not_null(strstr(f.text, "no such key: Bearer ***"), "%s", f.text);
        } else if (i == 2) {
            json_t *stats = fake_server_stats(&f.fake);
            const json_t *last = json_object_get(stats, "last");
            const char *path = json_string_value(json_object_get(last, "path"));
            cr_assert_str_eq(path, "/v1/completions", "the redirect was not followed");
            json_decref(stats);
        }
    }
    cr_assert_neq(logged[0], '\0', "a second try is logged");
    cr_assert_null(strstr(logged, key), "%s", logged);
    stop(&f);
}

Test(http_client, addresses_and_keys_that_cannot_be_are_refused)
{
    static const char *const urls[] = {
        "",
        "localhost",
        "ftp://localhost/v1",
        "file:///etc/passwd",
        "http://",
        "http://user:pass@localhost/v1",
        "http://sk-key@localhost/v1",
        "http://localhost/v1?key=1",
        "http://localhost/v1#x",
        "http://localhost:99999/v1",
    };
    uv_loop_t loop;
    openai_server *server = NULL;
    cr_assert_eq(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        pv_error err = {0};
        openai_server_options options = {.url = urls[i], .model = "m"};
        cr_assert_eq(openai_server_open(&server, &loop, &options, &err), PV_E_INVALID, "%s",
                     urls[i]);
        cr_assert_null(strstr(err.msg, "pass@"), "%s", err.msg);
    }
    const char *keys[] = {"", "two words", "line\r\nX-Evil: 1", "t\x7f"};
    for (size_t i = 0; i < 4; i++) {
        openai_server_options options = {
            .url = "http://localhost/v1", .model = "m", .http = {.key = keys[i]}};
        cr_assert_eq(openai_server_open(&server, &loop, &options, NULL), PV_E_INVALID, "%s",
                     keys[i]);
    }
    const char *extras[] = {"[]", "{", "{\"n\": 3}", "{\"stream\": true}"};
    for (size_t i = 0; i < 4; i++) {
        openai_server_options options = {
            .url = "http://localhost/v1", .model = "m", .extra = extras[i]};
        cr_assert_eq(openai_server_open(&server, &loop, &options, NULL), PV_E_INVALID, "%s",
                     extras[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(http_client, limits_hold_and_connections_are_used_again)
{
    fixture f;
    start(&f, (char *[]){"--delay", "20", NULL});
    openai_server_options options = options_for(&f, "good");
    options.http.in_flight = 8;
    open_with(&f, &options);
    for (int i = 0; i < 80; i++) {
        ask(&f, 1);
    }
    wait_for(&f, 80);
    cr_assert_eq(f.good, 80);
    cr_assert_eq(fake_server_count(&f.fake, "open_max"), 8);
    cr_assert_leq(fake_server_count(&f.fake, "connections"), 10,
                  "8, and the two that ask for the counts");
    close_server(&f);
    options.http.in_flight = 100;
    options.http.rate = 50;
    open_with(&f, &options);
    uint64_t begun = pv_clock_ms();
    for (int i = 0; i < 26; i++) {
        ask(&f, 1);
    }
    wait_for(&f, 26);
    double seconds = (double)(pv_clock_ms() - begun) / 1000;
    cr_assert_geq(seconds, 25 * 0.018, "26 starts at 50 a second take half a second: %f", seconds);
    cr_assert_lt(seconds, 1.5);
    close_server(&f);
    stop(&f);
}

Test(http_client, many_streams_are_read_together_and_some_are_cancelled)
{
    enum { STREAMS = 96 };

    fixture f;
    start(&f, (char *[]){"--delay", "600", "--tokens", "40", NULL});
    openai_server_options options = options_for(&f, "good");
    options.stream = true;
    options.http.in_flight = STREAMS;
    openai_question *q[STREAMS];
    open_with(&f, &options);
    for (int i = 0; i < STREAMS; i++) {
        q[i] = ask(&f, 1);
    }
    for (uint64_t begun = pv_clock_ms(); pv_clock_ms() - begun < 200;) {
        uv_run(&f.loop, UV_RUN_ONCE);
    }
    for (int i = 0; i < STREAMS; i += 3) {
        openai_server_cancel(f.server, q[i]);
    }
    wait_for(&f, STREAMS / 3);
    cr_assert_eq(f.status, PV_E_CANCELLED);
    wait_for(&f, STREAMS);
    cr_assert_eq(f.good, STREAMS - STREAMS / 3, "%d: %s", f.good, f.text);
    cr_assert_float_eq(f.logprob, -5, 1e-9, "40 tokens of 1/8");
    close_server(&f);
    stop(&f);
}

Test(http_client, what_is_cancelled_ends_at_once_and_the_server_notices)
{
    fixture f;
    start(&f, (char *[]){"--delay", "30000", NULL});
    openai_server_options options = options_for(&f, "good");
    options.http.in_flight = 4;
    openai_question *q[6];
    open_with(&f, &options);
    for (int i = 0; i < 6; i++) {
        q[i] = ask(&f, 1);
    }
    for (int i = 0; i < 5000 && fake_server_count(&f.fake, "open") < 4; i++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    cr_assert_eq(fake_server_count(&f.fake, "open"), 4);
    uint64_t begun = pv_clock_ms();
    for (int i = 0; i < 6; i++) { /* four that run, two that wait */
        openai_server_cancel(f.server, q[i]);
    }
    cr_assert_eq(f.answers, 0, "not from inside the call");
    wait_for(&f, 6);
    cr_assert_eq(f.status, PV_E_CANCELLED);
    cr_assert_lt(pv_clock_ms() - begun, 1000);
    close_server(&f);
    for (int i = 0; i < 5000 && fake_server_count(&f.fake, "aborted") < 4; i++) {
    }
    cr_assert_eq(fake_server_count(&f.fake, "aborted"), 4);
    cr_assert_eq(fake_server_count(&f.fake, "requests"), 4, "what waited was never sent");
    stop(&f);
}

Test(http_client, a_close_with_requests_on_their_way_leaks_nothing)
{
    fixture f;
    start(&f, (char *[]){"--delay", "30000", NULL});
    openai_server_options options = options_for(&f, "good");
    options.http.in_flight = 4;
    open_with(&f, &options);
    openai_question *q[6];
    for (int i = 0; i < 6; i++) {
        q[i] = ask(&f, 1);
    }
    for (int i = 0; i < 20; i++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    for (int i = 0; i < 6; i++) {
        openai_server_cancel(f.server, q[i]);
    }
    wait_for(&f, 6);
    close_server(&f);
    stop(&f);
}

Test(http_client, the_greeting_finds_the_model)
{
    fixture f;
    start(&f, NULL);
    openai_server_options options = options_for(&f, "");
    open_with(&f, &options);
    cr_assert_eq(openai_server_hello(f.server, NULL), PV_OK);
    cr_assert_str_eq(openai_server_model(f.server), "good");
    close_server(&f);
    options.model = "other";
    open_with(&f, &options);
    cr_assert_eq(openai_server_hello(f.server, NULL), PV_OK);
    cr_assert_not_null(strstr(logged, "does not list the model other; it lists: good"), "%s",
                       logged);
    close_server(&f);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v2/", f.fake.port);
    options.url = url;
    open_with(&f, &options);
    cr_assert_eq(openai_server_hello(f.server, NULL), PV_OK, "without a list of models");
    close_server(&f);
    options.model = "";
    pv_error err = {0};
    open_with(&f, &options);
    cr_assert_eq(openai_server_hello(f.server, &err), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, "/v1"), "%s", err.msg);
    close_server(&f);
    stop(&f);
    start(&f, (char *[]){"--models", "2", NULL});
    options = options_for(&f, "");
    pv_error_clear(&err);
    open_with(&f, &options);
    cr_assert_eq(openai_server_hello(f.server, &err), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, "good, more-0, more-1"), "%s", err.msg);
    close_server(&f);
    stop(&f);
}

Test(http_client, tls_is_checked)
{
    fixture f;
    start(&f, NULL);
    openai_server_options options = options_for(&f, "good");
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/v1", f.fake.port);
    options.url = url; /* a port that speaks no TLS */
    open_with(&f, &options);
    ask(&f, 1);
    wait_for(&f, 1);
    cr_assert_eq(f.status, PV_E_IO);
    cr_assert(f.hopeless);
    cr_assert_not_null(strstr(f.text, "does this port speak TLS"), "%s", f.text);
    close_server(&f);
    stop(&f);
}

/* A certificate that nobody signed, served by the openssl program. */
typedef struct tls_server {
    pid_t pid;
    char folder[32], certificate[64];
    int port;
} tls_server;

static bool tls_start(tls_server *t)
{
    char command[512];
    strcpy(t->folder, "/tmp/test_tls_XXXXXX");
    cr_assert_not_null(mkdtemp(t->folder));
    snprintf(t->certificate, sizeof t->certificate, "%s/cert.pem", t->folder);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key.pem -out %s -days 2 "
             "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 >/dev/null 2>&1",
             t->folder, t->certificate);
    if (system(command) != 0) {
        return false;
    }
    t->port = 20000 + (int)(getpid() % 20000);
    t->pid = fork();
    if (t->pid == 0) {
        snprintf(command, sizeof command,
                 "exec openssl s_server -quiet -accept 127.0.0.1:%d -key %s/key.pem -cert %s -www "
                 ">/dev/null 2>&1",
                 t->port, t->folder, t->certificate);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return true;
}

static void tls_stop(tls_server *t)
{
    char command[64];
    if (t->pid > 0) {
        kill(t->pid, SIGKILL);
        waitpid(t->pid, NULL, 0);
    }
    snprintf(command, sizeof command, "rm -rf %s", t->folder);
    cr_assert_eq(system(command), 0);
}

Test(http_client, a_certificate_that_nobody_signed_is_refused_and_one_that_is_named_passes)
{
    tls_server t = {0};
    if (!tls_start(&t)) {
        fprintf(stderr, "SKIPPED: no openssl program\n");
        tls_stop(&t);
        return;
    }
    fixture f;
    start(&f, NULL);
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/v1", t.port);
    for (int named = 0; named < 2; named++) {
        openai_server_options options = options_for(&f, "good");
        options.url = url;
        options.http.ca_file = named == 1 ? t.certificate : NULL;
        open_with(&f, &options);
        pv_error err = {0};
        pv_status status = openai_server_hello(f.server, &err);
        for (int i = 0; i < 100 && strstr(err.msg, "does the server run") != NULL; i++) {
            uv_sleep(50); /* until it listens */
            pv_error_clear(&err);
            status = openai_server_hello(f.server, &err);
        }
        close_server(&f);
        if (named == 0) {
            cr_assert_eq(status, PV_E_IO, "%s", err.msg);
            cr_assert_not_null(strstr(err.msg, "--ca-file"), "%s", err.msg);
        } else {
            cr_assert_eq(status, PV_E_PROTOCOL, "its page was read: %s", err.msg);
            cr_assert_not_null(strstr(err.msg, "no list of models"), "%s", err.msg);
        }
    }
    stop(&f);
    tls_stop(&t);
}
