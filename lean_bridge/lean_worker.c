#include "lean_worker.h"

#include "lean_proctree.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    READ_SIZE = 1 << 16,
    STDERR_TAIL = 2048,  /* bytes kept of what the child says on stderr            */
    STDERR_SHOWN = 600,  /* bytes of it in a message                               */
    POLL_MS = 250,       /* how often the memory is looked at                      */
    DRAIN_MS = 2000,     /* for a kind end                                         */
    OUTPUT_END_MS = 300, /* after the exit, for output that is still in the pipe   */
    LAST_LOOK_MS = 20,   /* a loop that was busy elsewhere must see waiting replies first */
    SWEEPS_MAX = 20,     /* rounds against a process that forks while being killed */
};

typedef struct worker_write {
    uv_write_t req;
    char *bytes;
} worker_write;

struct lean_worker {
    const lean_dialect_ops *dialect;
    const lean_worker_events *events;
    void *owner;
    lean_worker_state state;
    lean_death why; /* of the death to come */
    pv_error cause;
    char mark[LEAN_MARK_MAX];
    char version[64];

    uv_process_t process;
    uv_pipe_t in, out, err;
    uv_timer_t deadline, poll;
    unsigned open_handles;
    bool dying; /* a death was decided: kill sent, or the exit seen */
    bool exited, output_ended;
    bool reported; /* `dead` was called */
    bool last_look;

    lean_wire wire;
    lean_call call;
    bool call_active;
    uint64_t deadline_ms;
    uint64_t memory_max, resident, calls, spawned_ns;
    double start_seconds;
    pv_buf tail; /* the end of stderr */
    char bytes[READ_SIZE];
};

static const char *const state_names[] = {"spawning", "ready", "busy", "draining", "dead"};

static void set_state(lean_worker *w, lean_worker_state state)
{
    if (w->state != state) {
        pv_log(PV_LOG_DEBUG, "lean worker %d: %s -> %s", w->process.pid, state_names[w->state],
               state_names[state]);
        w->state = state;
    }
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    lean_worker *w = handle->data;
    if (--w->open_handles > 0) {
        return;
    }
    w->events->closed(w->owner);
    lean_wire_release(&w->wire);
    pv_buf_release(&w->tail);
    pv_free(w);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, on_closed);
    }
}

static void end_call(lean_worker *w)
{
    if (w->call_active && w->dialect->end != NULL) {
        w->dialect->end(&w->call);
    }
    w->call_active = false;
}

/* What happened, and for a child that ended by itself the end of what it said on stderr. */
static void write_detail(lean_worker *w, pv_error *out)
{
    const char *tail = pv_buf_text(&w->tail);
    size_t skip = w->tail.len > STDERR_SHOWN ? w->tail.len - STDERR_SHOWN : 0;
    bool tell = w->tail.len > 0 && (w->why == LEAN_DEATH_EXIT || w->why == LEAN_DEATH_START);
    pv_fail(out, PV_E_LOST, "%.300s%s%s", w->cause.msg, tell ? "; its stderr ends with: " : "",
            tell ? tail + skip : "");
}

/* Once the process is gone and its output was read to the end: tell the owner, then close. */
static void report_death(lean_worker *w)
{
    if (w->reported) {
        return;
    }
    w->reported = true;
    for (int i = 0; i < SWEEPS_MAX && lean_proctree_sweep(w->mark) > 0; i++) {
        pv_log(PV_LOG_WARN, "lean worker %d left processes behind: killed", w->process.pid);
    }
    pv_error detail = {0};
    write_detail(w, &detail);
    lean_death why =
        w->state == LEAN_WORKER_SPAWNING && w->why != LEAN_DEATH_WANTED ? LEAN_DEATH_START : w->why;
    set_state(w, LEAN_WORKER_DEAD);
    end_call(w);
    w->events->dead(w->owner, why, detail.msg);
    close_handle((uv_handle_t *)&w->process);
    close_handle((uv_handle_t *)&w->in);
    close_handle((uv_handle_t *)&w->out);
    close_handle((uv_handle_t *)&w->err);
    close_handle((uv_handle_t *)&w->deadline);
    close_handle((uv_handle_t *)&w->poll);
}

static void on_deadline(uv_timer_t *timer);

static void arm(lean_worker *w, uint64_t ms)
{
    w->last_look = false;
    uv_update_time(w->deadline.loop); /* the loop's clock may be old: its thread also computes */
    uv_timer_start(&w->deadline, on_deadline, ms, 0);
}

/* The first reason counts; later ones are its consequences. */
static void die(lean_worker *w, lean_death why)
{
    if (w->dying) {
        return;
    }
    w->dying = true;
    w->why = why;
    pv_log(why == LEAN_DEATH_WANTED ? PV_LOG_DEBUG : PV_LOG_INFO, "lean worker %d: killed: %s",
           w->process.pid, w->cause.msg);
    if (!w->exited && w->process.pid > 0) {
        lean_proctree_kill(w->process.pid);
    }
}

static void on_exit(uv_process_t *process, int64_t status, int signal)
{
    lean_worker *w = process->data;
    w->exited = true;
    if (!w->dying) {
        w->dying = true;
        w->why = w->state == LEAN_WORKER_DRAINING ? LEAN_DEATH_WANTED : LEAN_DEATH_EXIT;
    }
    if (signal != 0) {
        pv_fail(&w->cause, PV_E_LOST, "the Lean process was ended by signal %d", signal);
    } else {
        pv_fail(&w->cause, PV_E_LOST, "the Lean process ended with exit code %lld",
                (long long)status);
    }
    uv_timer_stop(&w->poll);
    if (w->output_ended) {
        report_death(w);
    } else {
        arm(w, OUTPUT_END_MS); /* a reply may still be in the pipe */
    }
}

/* ---- time and memory --------------------------------------------------------------------------------------------- */

static void fail_deadline(lean_worker *w)
{
    if (w->state == LEAN_WORKER_DRAINING) {
        die(w, LEAN_DEATH_WANTED);
    } else if (w->output_ended) {
        pv_fail(&w->cause, PV_E_PROTOCOL, "the Lean process closed its output and went on");
        die(w, LEAN_DEATH_PROTOCOL);
    } else if (w->state == LEAN_WORKER_SPAWNING) {
        pv_fail(&w->cause, PV_E_TIMEOUT, "the Lean process did not become ready in time");
        die(w, LEAN_DEATH_START);
    } else {
        pv_fail(&w->cause, PV_E_TIMEOUT, "no answer from Lean in %llu ms",
                (unsigned long long)w->deadline_ms);
        die(w, LEAN_DEATH_DEADLINE);
    }
}

static void on_deadline(uv_timer_t *timer)
{
    lean_worker *w = timer->data;
    if (w->exited || w->process.pid == 0) {
        report_death(w);
    } else if (!w->last_look && !w->dying) {
        arm(w, LAST_LOOK_MS);
        w->last_look = true;
    } else {
        fail_deadline(w);
    }
}

static void on_poll(uv_timer_t *timer)
{
    lean_worker *w = timer->data;
    w->resident = lean_proctree_resident(w->process.pid);
    if (w->memory_max > 0 && w->resident > w->memory_max) {
        pv_fail(&w->cause, PV_E_LIMIT, "the Lean process held %llu MiB and %llu MiB are allowed",
                (unsigned long long)(w->resident >> 20), (unsigned long long)(w->memory_max >> 20));
        die(w, LEAN_DEATH_MEMORY);
    }
}

/* ---- bytes out --------------------------------------------------------------------------------------------------- */

static void on_written(uv_write_t *req, int status)
{
    worker_write *write = (worker_write *)req->data;
    (void)status; /* a broken pipe shows as the end of the process */
    pv_free(write->bytes);
    pv_free(write);
}

/* Takes the bytes of `out`. */
static pv_status send_bytes(lean_worker *w, pv_buf *out, pv_error *err)
{
    size_t n = out->len;
    if (n == 0) {
        pv_buf_release(out);
        return PV_OK;
    }
    worker_write *write = pv_calloc(1, sizeof *write);
    char *bytes = pv_buf_detach(out);
    if (write == NULL || bytes == NULL) {
        pv_free(write);
        pv_free(bytes);
        return pv_fail(err, PV_E_NOMEM, "no memory to send %zu bytes to Lean", n);
    }
    write->bytes = bytes;
    write->req.data = write;
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)n);
    int code = uv_write(&write->req, (uv_stream_t *)&w->in, &buffer, 1, on_written);
    if (code != 0) {
        pv_free(bytes);
        pv_free(write);
        /* Not the caller's failure: the process is ending, and its exit will be reported. */
        pv_log(PV_LOG_DEBUG, "lean worker %d: write: %s", w->process.pid, uv_strerror(code));
    }
    return code == UV_ENOMEM ? pv_fail(err, PV_E_NOMEM, "no memory to write to Lean") : PV_OK;
}

pv_status lean_worker_call(lean_worker *w, const lean_call *call, uint64_t deadline_ms,
                           pv_error *err)
{
    assert(w->state == LEAN_WORKER_READY && !w->call_active);
    pv_buf out = {0};
    w->call = *call;
    pv_status status = w->dialect->begin(&w->call, &out, err);
    if (status != PV_OK) {
        pv_buf_release(&out);
        return status;
    }
    w->call_active = true;
    status = send_bytes(w, &out, err);
    if (status != PV_OK) {
        end_call(w);
        return status;
    }
    w->deadline_ms = deadline_ms;
    lean_wire_forget_junk(&w->wire);
    set_state(w, LEAN_WORKER_BUSY);
    if (!w->exited) {
        arm(w, deadline_ms);
    }
    return PV_OK;
}

void lean_worker_abandon(lean_worker *w)
{
    if (w->state == LEAN_WORKER_BUSY && !w->call.abandoned) {
        w->call.abandoned = true;
        if (!w->dying) {
            arm(w, w->deadline_ms);
        }
    }
}

void lean_worker_drain(lean_worker *w)
{
    assert(w->state == LEAN_WORKER_READY);
    set_state(w, LEAN_WORKER_DRAINING);
    close_handle((uv_handle_t *)&w->in);
    if (!w->exited) {
        arm(w, DRAIN_MS);
    }
}

void lean_worker_kill(lean_worker *w)
{
    pv_fail(&w->cause, PV_E_CANCELLED, "the worker was stopped");
    die(w, LEAN_DEATH_WANTED);
}

/* ---- bytes in ---------------------------------------------------------------------------------------------------- */

static void take_greeting(lean_worker *w, const char *frame, size_t n)
{
    lean_greeting greeting = {0};
    if (w->dialect->greeted(frame, n, &greeting, &w->cause) != PV_OK) {
        die(w, LEAN_DEATH_START);
    } else if (greeting.complete) {
        snprintf(w->version, sizeof w->version, "%s", greeting.version);
        w->start_seconds = (double)(pv_clock_ns() - w->spawned_ns) / 1e9;
        uv_timer_stop(&w->deadline);
        lean_wire_forget_junk(&w->wire);
        set_state(w, LEAN_WORKER_READY);
        w->events->ready(w->owner);
    } else {
        lean_wire_count_junk(&w->wire, n);
    }
}

static void hand_over_item(lean_worker *w, lean_reply *reply)
{
    if (!w->call.abandoned && !w->exited) {
        arm(w, w->deadline_ms);
    }
    w->events->reply(w->owner, reply);
}

/* The state changes before the owner hears of it, so that it may call again. */
static void hand_over_end(lean_worker *w, lean_reply *reply)
{
    w->calls++;
    if (!w->exited) {
        uv_timer_stop(&w->deadline);
    }
    end_call(w);
    set_state(w, LEAN_WORKER_READY);
    w->events->reply(w->owner, reply);
}

static void hand_over(lean_worker *w, lean_reply *reply)
{
    if (reply->kind != LEAN_REPLY_ITEM) {
        hand_over_end(w, reply);
        return;
    }
    hand_over_item(w, reply);
    if (reply->last) {
        lean_reply done = {.kind = LEAN_REPLY_DONE};
        hand_over_end(w, &done);
    }
}

static void take_reply(lean_worker *w, const char *frame, size_t n)
{
    lean_reply reply = {0};
    pv_buf more = {0};
    pv_status status = w->dialect->feed(&w->call, frame, n, &more, &reply, &w->cause);
    if (status == PV_OK) {
        status = send_bytes(w, &more, &w->cause);
    }
    if (status != PV_OK) {
        die(w, status == PV_E_NOMEM ? LEAN_DEATH_NOMEM : LEAN_DEATH_PROTOCOL);
    } else if (reply.kind != LEAN_REPLY_NONE) {
        hand_over(w, &reply);
    } else if (reply.stale) {
        lean_wire_count_junk(&w->wire, n);
    }
    pv_buf_release(&more);
    lean_reply_release(&reply);
}

static void take_frame(lean_worker *w, const char *frame, size_t n)
{
    switch (w->state) {
    case LEAN_WORKER_SPAWNING:
        take_greeting(w, frame, n);
        break;
    case LEAN_WORKER_BUSY:
        take_reply(w, frame, n);
        break;
    case LEAN_WORKER_READY:
    case LEAN_WORKER_DRAINING:
    case LEAN_WORKER_DEAD:
        lean_wire_count_junk(&w->wire, n);
        break;
    }
}

/* What a killed process said no longer counts; what one said that ended by itself does. */
static bool is_heard(const lean_worker *w)
{
    return !w->reported && (!w->dying || w->why == LEAN_DEATH_EXIT);
}

static void take_bytes(lean_worker *w, const char *bytes, size_t n)
{
    pv_status status = lean_wire_feed(&w->wire, bytes, n, &w->cause);
    const char *frame = NULL;
    size_t length = 0;
    while (status == PV_OK && is_heard(w)) {
        status = lean_wire_next(&w->wire, &frame, &length, &w->cause);
        if (status != PV_OK || frame == NULL) {
            break;
        }
        take_frame(w, frame, length);
    }
    if (status != PV_OK) {
        die(w, status == PV_E_NOMEM ? LEAN_DEATH_NOMEM : LEAN_DEATH_PROTOCOL);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    lean_worker *w = handle->data;
    (void)suggested;
    *out = uv_buf_init(w->bytes, sizeof w->bytes);
}

static void on_output_end(lean_worker *w)
{
    w->output_ended = true;
    uv_read_stop((uv_stream_t *)&w->out);
    if (w->exited) {
        report_death(w);
        return;
    }
    /* Without output it is of no use; give an exit that is on its way the time to tell its own cause. */
    if (!w->dying) {
        arm(w, OUTPUT_END_MS);
        w->last_look = true;
    }
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    lean_worker *w = stream->data;
    if (n < 0) {
        on_output_end(w);
    } else if (n > 0 && is_heard(w)) {
        take_bytes(w, buf->base, (size_t)n);
    }
}

static void on_stderr(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    lean_worker *w = stream->data;
    if (n < 0) {
        uv_read_stop(stream);
    } else if (n > 0) {
        pv_buf_append(&w->tail, buf->base, (size_t)n);
        if (w->tail.len > STDERR_TAIL) {
            pv_buf_consume(&w->tail, w->tail.len - STDERR_TAIL);
        }
    }
}

/* ---- the start --------------------------------------------------------------------------------------------------- */

static void open_handle(lean_worker *w, uv_handle_t *handle)
{
    handle->data = w;
    w->open_handles++;
}

static void init_handles(lean_worker *w, uv_loop_t *loop)
{
    uv_pipe_init(loop, &w->in, 0);
    uv_pipe_init(loop, &w->out, 0);
    uv_pipe_init(loop, &w->err, 0);
    uv_timer_init(loop, &w->deadline);
    uv_timer_init(loop, &w->poll);
    open_handle(w, (uv_handle_t *)&w->in);
    open_handle(w, (uv_handle_t *)&w->out);
    open_handle(w, (uv_handle_t *)&w->err);
    open_handle(w, (uv_handle_t *)&w->deadline);
    open_handle(w, (uv_handle_t *)&w->poll);
}

static int spawn(lean_worker *w, uv_loop_t *loop, const lean_worker_options *options, char **env)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&w->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&w->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&w->err},
    };
    uv_process_options_t how = {
        .exit_cb = on_exit,
        .file = options->argv[0],
        .args = (char **)options->argv,
        .env = env,
        .cwd = options->cwd == NULL ? "/" : options->cwd,
        .flags =
            UV_PROCESS_DETACHED, /* a session and group of its own, so that one kill reaches all */
        .stdio_count = 3,
        .stdio = stdio,
    };
    int code = uv_spawn(loop, &w->process, &how);
    open_handle(w, (uv_handle_t *)&w->process);
    if (code == 0) {
        lean_proctree_limit(w->process.pid, options->address_max_bytes);
    } else {
        w->process.pid = 0;
    }
    return code;
}

static void start_talking(lean_worker *w, uint64_t start_deadline_ms)
{
    pv_buf out = {0};
    uv_read_start((uv_stream_t *)&w->out, on_alloc, on_output);
    uv_read_start((uv_stream_t *)&w->err, on_alloc, on_stderr);
    uv_timer_start(&w->poll, on_poll, POLL_MS, POLL_MS);
    arm(w, start_deadline_ms);
    if (w->dialect->greet(&out, &w->cause) != PV_OK || send_bytes(w, &out, &w->cause) != PV_OK) {
        die(w, LEAN_DEATH_START);
    }
    pv_buf_release(&out);
}

pv_status lean_worker_spawn(lean_worker **out, uv_loop_t *loop, const lean_worker_options *options,
                            const lean_worker_events *events, void *owner, pv_error *err)
{
    lean_worker *w = pv_calloc(1, sizeof *w);
    if (w == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a Lean worker");
    }
    lean_proctree_mark(options->mark, w->mark);
    char **env = lean_proctree_environment(options->env, w->mark);
    if (env == NULL) {
        pv_free(w);
        return pv_fail(err, PV_E_NOMEM, "no memory for a Lean worker");
    }
    w->dialect = options->dialect;
    w->events = events;
    w->owner = owner;
    w->memory_max = options->memory_max_bytes;
    w->spawned_ns = pv_clock_ns();
    w->wire.framing = options->dialect->framing;
    init_handles(w, loop);
    int code = spawn(w, loop, options, env);
    pv_free(env);
    if (code == 0) {
        start_talking(w, options->start_deadline_ms);
    } else {
        pv_fail(&w->cause, PV_E_SPAWN, "%s could not be started: %s", options->argv[0],
                uv_strerror(code));
        w->dying = true;
        w->why = LEAN_DEATH_START;
        arm(w, 0); /* the death is an event, as every other */
    }
    *out = w;
    return PV_OK;
}

/* ---- what is known ----------------------------------------------------------------------------------------------- */

lean_worker_state lean_worker_state_of(const lean_worker *w)
{
    bool ending = (w->dying || w->output_ended) && w->state != LEAN_WORKER_DEAD;
    return ending ? LEAN_WORKER_DRAINING : w->state;
}

int lean_worker_pid(const lean_worker *w)
{
    return w->exited ? 0 : w->process.pid;
}

const char *lean_worker_version(const lean_worker *w)
{
    return w->version;
}

uint64_t lean_worker_resident(const lean_worker *w)
{
    return w->exited ? 0 : w->resident;
}

uint64_t lean_worker_stale_lines(const lean_worker *w)
{
    return w->wire.junk_lines;
}

uint64_t lean_worker_calls(const lean_worker *w)
{
    return w->calls;
}

double lean_worker_start_seconds(const lean_worker *w)
{
    return w->start_seconds;
}
