/* browser: a headless Chromium that a test drives over its debugging pipe: JSON messages with a NUL behind each. It notes what the page
 * asks for and complains of. */
#ifndef TEST_BROWSER_H
#define TEST_BROWSER_H

#include "pv_buf.h"
#include "pv_clock.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct browser {
    pid_t child;
    int to, from;
    pv_buf in;
    int last;
    char session[64];
    size_t requests;   /* for anything but the page itself */
    pv_buf complaints; /* console, exceptions, refused content: a line each */
} browser;

/* NULL: there is none on this machine. */
static inline const char *browser_path(void)
{
    static const char *const paths[] = {"/usr/bin/chromium", "/usr/bin/chromium-browser",
                                        "/usr/bin/google-chrome"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (access(paths[i], X_OK) == 0) {
            return paths[i];
        }
    }
    return NULL;
}

static inline void browser_child(const char *profile, int in, int out)
{
    char data[300];
    snprintf(data, sizeof data, "--user-data-dir=%s", profile);
    int quiet = open("/dev/null", O_RDWR), a = fcntl(in, F_DUPFD, 10), b = fcntl(out, F_DUPFD, 10);
    dup2(quiet, 0);
    dup2(quiet, 1);
    dup2(quiet, 2);
    dup2(a, 3); /* Chromium reads from 3 and writes to 4 */
    dup2(b, 4);
    setpgid(0, 0);
    execl(browser_path(), browser_path(), "--headless=new", "--no-sandbox", "--disable-gpu",
          "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
          "--remote-debugging-pipe", data, "about:blank", (char *)NULL);
    _exit(127);
}

static inline void browser_note(browser *b, const json_t *event)
{
    const char *method = json_string_value(json_object_get(event, "method"));
    const json_t *params = json_object_get(event, "params");
    if (method == NULL) {
        return;
    }
    if (strcmp(method, "Network.requestWillBeSent") == 0) {
        const char *type = json_string_value(json_object_get(params, "type"));
        b->requests += type == NULL || strcmp(type, "Document") != 0;
    } else if (strcmp(method, "Runtime.consoleAPICalled") == 0 ||
               strcmp(method, "Runtime.exceptionThrown") == 0 ||
               strcmp(method, "Log.entryAdded") == 0) {
        char *text = json_dumps(params, JSON_COMPACT);
        pv_buf_printf(&b->complaints, "%s %s\n", method, text);
        free(text);
    }
}

/* The next message; NULL after `ms` without one. The caller decrefs. */
static inline json_t *browser_message(browser *b, uint64_t until)
{
    for (;;) {
        const char *end = b->in.len == 0 ? NULL : memchr(b->in.data, '\0', b->in.len);
        if (end != NULL) {
            size_t n = (size_t)(end - b->in.data);
            json_t *message = json_loadb(b->in.data, n, 0, NULL);
            pv_buf_consume(&b->in, n + 1);
            return message;
        }
        char chunk[65536];
        struct pollfd fd = {b->from, POLLIN, 0};
        uint64_t now = pv_clock_ms();
        if (now >= until || poll(&fd, 1, (int)(until - now)) <= 0) {
            return NULL;
        }
        ssize_t n = read(b->from, chunk, sizeof chunk);
        if (n <= 0) {
            return NULL;
        }
        pv_buf_append(&b->in, chunk, (size_t)n);
    }
}

/* Calls and waits for the result, which the caller decrefs. Takes `params` (NULL: none). */
static inline json_t *browser_call(browser *b, const char *method, json_t *params)
{
    uint64_t until = pv_clock_ms() + 60000;
    json_t *call = json_pack("{s:i,s:s,s:o}", "id", ++b->last, "method", method, "params",
                             params == NULL ? json_object() : params);
    if (b->session[0] != '\0') {
        json_object_set_new(call, "sessionId", json_string(b->session));
    }
    char *text = json_dumps(call, JSON_COMPACT);
    size_t n = strlen(text) + 1;
    cr_assert_eq(write(b->to, text, n), (ssize_t)n);
    free(text);
    json_decref(call);
    for (json_t *m; (m = browser_message(b, until)) != NULL; json_decref(m)) {
        if (json_integer_value(json_object_get(m, "id")) == b->last) {
            json_t *result = json_incref(json_object_get(m, "result"));
            cr_assert_not_null(result, "%s: %s", method, json_dumps(m, 0));
            json_decref(m);
            return result;
        }
        browser_note(b, m);
    }
    cr_assert_fail("the browser does not answer to %s", method);
    return NULL;
}

static inline void browser_do(browser *b, const char *method, json_t *params)
{
    json_decref(browser_call(b, method, params));
}

static inline void browser_attach(browser *b)
{
    const char *id = NULL;
    size_t i;
    json_t *targets = browser_call(b, "Target.getTargets", NULL), *target;
    json_array_foreach(json_object_get(targets, "targetInfos"), i, target)
    {
        if (strcmp(json_string_value(json_object_get(target, "type")), "page") == 0) {
            id = json_string_value(json_object_get(target, "targetId"));
        }
    }
    cr_assert_not_null(id);
    json_t *attached = browser_call(b, "Target.attachToTarget",
                                    json_pack("{s:s,s:b}", "targetId", id, "flatten", 1));
    snprintf(b->session, sizeof b->session, "%s",
             json_string_value(json_object_get(attached, "sessionId")));
    json_decref(attached);
    json_decref(targets);
}

static inline void browser_open(browser *b, const char *profile)
{
    int in[2], out[2];
    memset(b, 0, sizeof *b);
    cr_assert(pipe(in) == 0 && pipe(out) == 0);
    b->child = fork();
    if (b->child == 0) {
        close(in[1]);
        close(out[0]);
        browser_child(profile, in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    b->to = in[1];
    b->from = out[0];
    browser_attach(b);
    browser_do(b, "Page.enable", NULL);
    browser_do(b, "Runtime.enable", NULL);
    browser_do(b, "Log.enable", NULL);
    browser_do(b, "Network.enable", NULL);
}

/* Asks it to go, so that its helpers go as well, and makes it when it does not. */
static inline void browser_close(browser *b)
{
    static const char bye[] = "{\"id\":0,\"method\":\"Browser.close\"}";
    uint64_t until = pv_clock_ms() + 5000;
    bool gone = false;
    cr_expect_eq(write(b->to, bye, sizeof bye), (ssize_t)sizeof bye);
    while (!gone && pv_clock_ms() < until) {
        gone = waitpid(b->child, NULL, WNOHANG) == b->child;
        usleep(10000);
    }
    kill(-b->child, SIGKILL);
    if (!gone) {
        waitpid(b->child, NULL, 0);
    }
    close(b->to);
    close(b->from);
    pv_buf_release(&b->in);
    pv_buf_release(&b->complaints);
}

/* The value of an expression, a promise's when it comes; the caller decrefs. */
static inline json_t *browser_value(browser *b, const char *expression)
{
    json_t *result = browser_call(b, "Runtime.evaluate",
                                  json_pack("{s:s,s:b,s:b}", "expression", expression,
                                            "awaitPromise", 1, "returnByValue", 1));
    cr_assert_null(json_object_get(result, "exceptionDetails"), "%s: %s", expression,
                   json_dumps(result, 0));
    json_t *value = json_incref(json_object_get(json_object_get(result, "result"), "value"));
    json_decref(result);
    return value;
}

static inline double browser_number(browser *b, const char *expression)
{
    json_t *value = browser_value(b, expression);
    cr_assert(json_is_number(value), "%s is no number", expression);
    double number = json_number_value(value);
    json_decref(value);
    return number;
}

/* 1 or 0. */
static inline bool browser_true(browser *b, const char *expression)
{
    json_t *value = browser_value(b, expression);
    bool is = json_is_true(value);
    json_decref(value);
    return is;
}

/* Waits until the expression is true; milliseconds that it took. */
static inline double browser_wait(browser *b, const char *expression)
{
    uint64_t start = pv_clock_ns();
    while (!browser_true(b, expression)) {
        cr_assert_lt(pv_clock_ns() - start, 60u * 1000000000u, "never: %s", expression);
        usleep(2000);
    }
    return (double)(pv_clock_ns() - start) / 1e6;
}

/* Opens the file and waits for its script; milliseconds from the start of the navigation to the first frame after it. */
static inline double browser_go(browser *b, const char *path)
{
    char url[400];
    snprintf(url, sizeof url, "file://%s", path);
    browser_do(b, "Page.navigate", json_pack("{s:s}", "url", url));
    browser_wait(b, "location.protocol === 'file:' && "
                    "document.documentElement?.dataset.ready !== undefined");
    return browser_number(b, "Number(document.documentElement.dataset.ready)");
}

#endif
