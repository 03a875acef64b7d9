/* fake_server: tests/fakes/fake_openai as a child of the test. */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fake_server {
    pid_t pid;
    int input; /* closed: it ends */
    int port;
    char url[64]; /* up to /v1 */
} fake_server;

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

#endif
