/* command: runs a program to its end and keeps what it said. For integration tests. */
#ifndef TEST_COMMAND_H
#define TEST_COMMAND_H

#include "pv_buf.h"
#include "pv_clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct command_result {
    int code; /* exit code, or 128 + signal */
    pv_buf out, err;
    double seconds;
} command_result;

typedef struct command_options {
    const char *input;      /* standard input; NULL = none                       */
    double interrupt_after; /* SIGINT after so many seconds; 0 = never          */
    bool closed_stdout;
    const char *stdout_path;        /* standard output goes there instead              */
    const char *const *environment; /* the whole environment, NULL-terminated; NULL = ours     */
} command_options;

static inline void command_child(char *const argv[], const command_options *o, int in, int out,
                                 int err)
{
    if (o->stdout_path != NULL) {
        out = open(o->stdout_path, O_WRONLY);
    }
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    if (o->closed_stdout) {
        close(1);
    }
    if (o->environment != NULL) {
        execve(argv[0], argv, (char *const *)o->environment);
    } else {
        execv(argv[0], argv);
    }
    _exit(127);
}

/* Reads both pipes to their ends. */
static inline void command_read(command_result *r, int out, int err, pid_t child,
                                double interrupt_after)
{
    uint64_t start = pv_clock_ms();
    bool interrupted = interrupt_after <= 0;
    struct pollfd fds[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
    pv_buf *bufs[2] = {&r->out, &r->err};
    for (int open_ends = 2; open_ends > 0;) {
        poll(fds, 2, 50);
        if (!interrupted && (double)(pv_clock_ms() - start) / 1000 > interrupt_after) {
            kill(child, SIGINT);
            interrupted = true;
        }
        for (int i = 0; i < 2; i++) {
            char chunk[4096];
            if (fds[i].fd >= 0 && (fds[i].revents & (POLLIN | POLLHUP)) != 0) {
                ssize_t n = read(fds[i].fd, chunk, sizeof chunk);
                if (n > 0) {
                    pv_buf_append(bufs[i], chunk, (size_t)n);
                } else {
                    fds[i].fd = -1;
                    open_ends--;
                }
            }
        }
    }
}

static inline command_result command_run(char *const argv[], const command_options *options)
{
    command_options none = {0};
    const command_options *o = options == NULL ? &none : options;
    command_result r = {0};
    int in[2], out[2], err[2], status = 0;
    uint64_t start = pv_clock_ms();
    cr_assert(pipe(in) == 0 && pipe(out) == 0 && pipe(err) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(in[1]);
        close(out[0]);
        close(err[0]);
        command_child(argv, o, in[0], out[1], err[1]);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (o->input != NULL) {
        ssize_t n = write(in[1], o->input, strlen(o->input));
        cr_assert_eq(n, (ssize_t)strlen(o->input));
    }
    close(in[1]);
    command_read(&r, out[0], err[0], child, o->interrupt_after);
    close(out[0]);
    close(err[0]);
    waitpid(child, &status, 0);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    r.seconds = (double)(pv_clock_ms() - start) / 1000;
    return r;
}

#define PROVER            TEST_BIN_DIR "/prover"
#define RUN(options, ...) command_run((char *[]){__VA_ARGS__, NULL}, options)

static inline void command_release(command_result *r)
{
    pv_buf_release(&r->out);
    pv_buf_release(&r->err);
}

/* The JSON object on line `n` (from 0) of stdout; the caller decrefs. */
static inline json_t *command_json(const command_result *r, size_t n)
{
    const char *line = pv_buf_text(&r->out);
    while (n-- > 0 && (line = strchr(line, '\n')) != NULL) {
        line++;
    }
    json_t *row = line == NULL ? NULL : json_loadb(line, strcspn(line, "\n"), 0, NULL);
    cr_assert_not_null(row, "stdout has no such line: %s / stderr: %s", pv_buf_text(&r->out),
                       pv_buf_text(&r->err));
    return row;
}

static inline const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

#endif
