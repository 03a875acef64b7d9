#include "lean_tool.h"

#include "lean_proctree.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_SIZE = 1 << 16,
    POLL_MS = 250,       /* how often the memory is looked at                    */
    OUTPUT_END_MS = 300, /* after the exit, for output that is still in the pipe */
    SWEEPS_MAX = 20,     /* rounds against a process that forks while being killed */
    WHAT_MAX = 160,
};

struct lean_tool {
    lean_tool_cb *cb;
    void *user;
    lean_tool_options limits; /* sandbox and program are not kept */
    lean_tool_result result;
    char what[WHAT_MAX];
    char mark[LEAN_MARK_MAX];
    uv_process_t process;
    uv_pipe_t out, err;
    uv_timer_t deadline, poll;
    unsigned open_handles, open_pipes;
    bool decided; /* how it ends is known */
    bool exited, closing;
    uint64_t talk_bytes, started_ns;
    pv_buf said;
    char bytes[READ_SIZE];
};

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    lean_tool *t = handle->data;
    if (--t->open_handles > 0) {
        return;
    }
    t->result.what = t->what;
    t->result.said = pv_buf_text(&t->said);
    t->cb(t->user, &t->result);
    pv_buf_release(&t->said);
    pv_free(t);
}

static void close_all(lean_tool *t)
{
    if (t->closing) {
        return;
    }
    t->closing = true;
    for (int i = 0; i < SWEEPS_MAX && lean_proctree_sweep(t->mark) > 0; i++) {
        pv_log(PV_LOG_WARN, "a tool left processes behind: killed");
    }
    t->result.seconds = (double)(pv_clock_ns() - t->started_ns) / 1e9;
    uv_close((uv_handle_t *)&t->process, on_closed);
    uv_close((uv_handle_t *)&t->out, on_closed);
    uv_close((uv_handle_t *)&t->err, on_closed);
    uv_close((uv_handle_t *)&t->deadline, on_closed);
    uv_close((uv_handle_t *)&t->poll, on_closed);
}

/* The first reason counts. True: it is this one. */
static bool decide(lean_tool *t, lean_tool_end end, int code)
{
    if (t->decided) {
        return false;
    }
    t->decided = true;
    t->result.end = end;
    t->result.code = code;
    return true;
}

static void kill_for(lean_tool *t, lean_tool_end end, const char *what)
{
    if (!decide(t, end, 0)) {
        return;
    }
    snprintf(t->what, sizeof t->what, "%s", what);
    if (!t->exited) {
        lean_proctree_kill(t->process.pid);
    }
}

static void on_deadline(uv_timer_t *timer);

/* What it said before it ended is still read, all of it: the exit counts only after that. */
static void on_exit(uv_process_t *process, int64_t status, int signal)
{
    lean_tool *t = process->data;
    t->exited = true;
    uv_timer_stop(&t->poll);
    if (signal != 0 && decide(t, LEAN_TOOL_SIGNALED, signal)) {
        snprintf(t->what, sizeof t->what, "signal %d", signal);
    } else if (signal == 0 && !t->decided) {
        t->result.code = (int)status;
        snprintf(t->what, sizeof t->what, "exit code %d", (int)status);
    }
    if (t->open_pipes == 0) {
        close_all(t);
    } else {
        uv_update_time(t->deadline.loop);
        uv_timer_start(&t->deadline, on_deadline, OUTPUT_END_MS, 0);
    }
}

static void on_deadline(uv_timer_t *timer)
{
    lean_tool *t = timer->data;
    char text[WHAT_MAX];
    if (t->exited) {
        close_all(t); /* somebody holds its pipes open: what it left behind is killed */
        return;
    }
    snprintf(text, sizeof text, "no end after %.6g s", (double)t->limits.deadline_ms / 1000);
    kill_for(t, LEAN_TOOL_TIMEOUT, text);
}

static void on_poll(uv_timer_t *timer)
{
    lean_tool *t = timer->data;
    char text[WHAT_MAX];
    uint64_t resident = lean_proctree_resident(t->process.pid);
    if (t->limits.memory_max_bytes > 0 && resident > t->limits.memory_max_bytes) {
        snprintf(text, sizeof text, "it held %llu MiB and %llu MiB are allowed",
                 (unsigned long long)(resident >> 20),
                 (unsigned long long)(t->limits.memory_max_bytes >> 20));
        kill_for(t, LEAN_TOOL_MEMORY, text);
    }
}

/* ---- what it says ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    lean_tool *t = handle->data;
    (void)suggested;
    *out = uv_buf_init(t->bytes, sizeof t->bytes);
}

static void on_pipe_end(lean_tool *t, uv_stream_t *stream)
{
    uv_read_stop(stream);
    t->open_pipes--;
    if (t->exited && t->open_pipes == 0) {
        close_all(t);
    }
}

static void hear(lean_tool *t, const char *bytes, size_t n)
{
    size_t room = LEAN_TOOL_SAID_MAX - t->said.len;
    pv_buf_append(&t->said, bytes, n < room ? n : room);
}

/* Into the caller's file. */
static void keep(lean_tool *t, const char *bytes, size_t n)
{
    char text[WHAT_MAX];
    while (n > 0) {
        ssize_t written = write(t->limits.output, bytes, n);
        if (written < 0 && errno != EINTR) {
            snprintf(text, sizeof text, "its output cannot be kept: %s", strerror(errno));
            kill_for(t, LEAN_TOOL_BROKEN, text);
            return;
        }
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
}

static void count(lean_tool *t, uint64_t *bytes, size_t n, uint64_t most)
{
    char text[WHAT_MAX];
    *bytes += n;
    if (*bytes > most) {
        snprintf(text, sizeof text, "it said more than %llu bytes", (unsigned long long)most);
        kill_for(t, LEAN_TOOL_FLOOD, text);
    }
}

static void on_stdout(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    lean_tool *t = stream->data;
    if (n < 0) {
        on_pipe_end(t, stream);
    } else if (n > 0) {
        count(t, &t->result.output_bytes, (size_t)n, t->limits.output_max_bytes);
        if (t->decided) {
            return;
        }
        if (t->limits.output < 0) {
            hear(t, buf->base, (size_t)n);
        } else {
            keep(t, buf->base, (size_t)n);
        }
    }
}

static void on_stderr(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    lean_tool *t = stream->data;
    if (n < 0) {
        on_pipe_end(t, stream);
    } else if (n > 0) {
        hear(t, buf->base, (size_t)n);
        count(t, &t->talk_bytes, (size_t)n, LEAN_TOOL_TALK_MAX);
    }
}

/* ---- the start ---- */

static void open_handle(lean_tool *t, uv_handle_t *handle)
{
    handle->data = t;
    t->open_handles++;
}

static void init_handles(lean_tool *t, uv_loop_t *loop)
{
    uv_pipe_init(loop, &t->out, 0);
    uv_pipe_init(loop, &t->err, 0);
    uv_timer_init(loop, &t->deadline);
    uv_timer_init(loop, &t->poll);
    open_handle(t, (uv_handle_t *)&t->out);
    open_handle(t, (uv_handle_t *)&t->err);
    open_handle(t, (uv_handle_t *)&t->deadline);
    open_handle(t, (uv_handle_t *)&t->poll);
}

static void spawn(lean_tool *t, uv_loop_t *loop, char **argv, char **env, const char *cwd)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = t->limits.input < 0 ? UV_IGNORE : UV_INHERIT_FD, .data.fd = t->limits.input},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&t->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&t->err},
    };
    uv_process_options_t how = {
        .exit_cb = on_exit,
        .file = argv[0],
        .args = argv,
        .env = env,
        .cwd = cwd == NULL ? "/" : cwd,
        .flags = UV_PROCESS_DETACHED, /* a group of its own, so that one kill reaches all */
        .stdio_count = 3,
        .stdio = stdio,
    };
    t->started_ns = pv_clock_ns();
    int code = uv_spawn(loop, &t->process, &how);
    open_handle(t, (uv_handle_t *)&t->process);
    if (code != 0) {
        t->exited = true;
        decide(t, LEAN_TOOL_BROKEN, 0);
        snprintf(t->what, sizeof t->what, "it cannot be started: %s", uv_strerror(code));
        uv_timer_start(&t->deadline, on_deadline, 0, 0); /* told as an event, as every end */
        return;
    }
    t->open_pipes = 2;
    uv_read_start((uv_stream_t *)&t->out, on_alloc, on_stdout);
    uv_read_start((uv_stream_t *)&t->err, on_alloc, on_stderr);
    uv_update_time(loop);
    uv_timer_start(&t->deadline, on_deadline, t->limits.deadline_ms, 0);
    uv_timer_start(&t->poll, on_poll, POLL_MS, POLL_MS);
}

pv_status lean_tool_run(lean_tool **out, uv_loop_t *loop, const lean_tool_options *options,
                        lean_tool_cb *cb, void *user, pv_error *err)
{
    char **argv = NULL, **env = NULL;
    uint64_t number = 0;
    lean_tool *t = pv_calloc(1, sizeof *t);
    pv_status status = t == NULL ? pv_fail(err, PV_E_NOMEM, "no memory to run a tool") : PV_OK;
    if (status == PV_OK && uv_random(NULL, NULL, &number, sizeof number, 0, NULL) != 0) {
        status = pv_fail(err, PV_E_IO, "no random numbers to mark a tool's processes with");
    }
    if (status == PV_OK) {
        status = lean_sandbox_argv(options->sandbox, options->program, &argv, err);
    }
    if (status == PV_OK) {
        lean_proctree_mark(number, t->mark);
        env = lean_proctree_environment(options->program->env, t->mark);
        status = env == NULL ? pv_fail(err, PV_E_NOMEM, "no memory to run a tool") : PV_OK;
    }
    if (status == PV_OK) {
        t->cb = cb;
        t->user = user;
        t->limits = *options;
        t->limits.sandbox = NULL;
        t->limits.program = NULL;
        init_handles(t, loop);
        spawn(t, loop, argv, env, options->program->cwd);
        *out = t;
    } else {
        pv_free(t);
    }
    pv_free(env);
    lean_sandbox_free_argv(argv);
    return status;
}

void lean_tool_stop(lean_tool *t)
{
    kill_for(t, LEAN_TOOL_STOPPED, "stopped");
}
