/* fake_server: tests/fakes/fake_openai as a child of the test. */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fake_server {
    pid_t pid;
    int input; /* closed: it ends */
    int port;
    char url[64]; /* up to /v1 */
} fake_server;

/* A new file with the text, for --script; the caller unlinks it. */
static inline void fake_server_script(char path[64], const char *text)
{
    strcpy(path, "/tmp/fake_server_XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static inline fake_server fake_server_start(char *const arguments[])
{
    fake_server s = {0};
    int in[2], out[2];
    char *argv[16] = {TEST_BIN_DIR "/fake_openai"};
    for (size_t i = 0; arguments != NULL && arguments[i] != NULL && i < 14; i++) {
        argv[i + 1] = arguments[i];
    }
    cr_assert(pipe(in) == 0 && pipe(out) == 0);
    s.pid = fork();
    if (s.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    s.input = in[1];
    char line[32] = "";
    cr_assert_gt(read(out[0], line, sizeof line - 1), 0, "fake_openai does not start");
    close(out[0]);
    cr_assert_eq(sscanf(line, "%d", &s.port), 1);
    snprintf(s.url, sizeof s.url, "http://127.0.0.1:%d/v1", s.port);
    return s;
}

static inline void fake_server_stop(fake_server *s)
{
    close(s->input);
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

/* What came in so far (GET /stats), over a socket of its own; the caller decrefs. */
static inline json_t *fake_server_stats(const fake_server *s)
{
    static const char request[] = "GET /stats HTTP/1.1\r\n\r\n";
    char text[65536];
    size_t n = 0;
    json_t *stats = NULL;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(write(fd, request, sizeof request - 1), (ssize_t)sizeof request - 1);
    while (stats == NULL) {
        ssize_t k = read(fd, text + n, sizeof text - 1 - n);
        cr_assert_gt(k, 0, "fake_openai gives no counts");
        n += (size_t)k;
        text[n] = '\0';
        const char *body = strstr(text, "\r\n\r\n");
        stats = body == NULL ? NULL : json_loads(body + 4, 0, NULL);
    }
    close(fd);
    return stats;
}

static inline json_int_t fake_server_count(const fake_server *s, const char *name)
{
    json_t *stats = fake_server_stats(s);
    json_int_t value = json_integer_value(json_object_get(stats, name));
    json_decref(stats);
    return value;
}

#endif
