/* lean_tool: one program, run to its end: confined, with a deadline, and with limits on what it says and holds.
 *
 * Unlike a worker (lean_worker.h) it answers nothing: it reads a file, writes a text, and its exit code counts. What it leaves
 * behind is killed. Threads: the loop's thread. */
#ifndef LEAN_TOOL_H
#define LEAN_TOOL_H

#include "lean_sandbox.h"

#include <stdint.h>
#include <uv.h>

enum { LEAN_TOOL_SAID_MAX = 2048, LEAN_TOOL_TALK_MAX = 1 << 24 };

typedef struct lean_tool lean_tool;

typedef enum lean_tool_end {
    LEAN_TOOL_EXITED,   /* by itself: `code` is its exit code                     */
    LEAN_TOOL_SIGNALED, /* by a signal that did not come from here: `code`        */
    LEAN_TOOL_TIMEOUT,  /* killed: it did not end in time                         */
    LEAN_TOOL_FLOOD,    /* killed: it said more than is allowed                   */
    LEAN_TOOL_MEMORY,   /* killed: it held more than is allowed                   */
    LEAN_TOOL_BROKEN,   /* it could not be started, or its output not be kept     */
    LEAN_TOOL_STOPPED,  /* killed by lean_tool_stop()                             */
} lean_tool_end;

typedef struct lean_tool_result { /* lives for the callback only */
    lean_tool_end end;
    int code;
    const char
        *what; /* the end in words: "exit code 1", "no end after 600 s"                      */
    const char *
        said; /* the first LEAN_TOOL_SAID_MAX bytes of stderr, and of stdout where it is not kept */
    uint64_t output_bytes; /* of stdout                                                           */
    double seconds;
} lean_tool_result;

typedef void lean_tool_cb(void *user, const lean_tool_result *result);

typedef struct lean_tool_options {
    const lean_sandbox *sandbox;
    const lean_toolchain
        *program;         /* what is run: its argv, env, cwd, and what it may read          */
    int input;            /* a descriptor that it reads from; -1: it has no input           */
    int output;           /* a file that its stdout goes to; -1: heard with stderr. Both stay the
                                caller's, open until the callback                               */
    uint64_t deadline_ms; /* wall time; required                                             */
    uint64_t output_max_bytes; /* of stdout; required. Of stderr: LEAN_TOOL_TALK_MAX              */
    uint64_t memory_max_bytes; /* resident, with all that it starts; 0 = any                      */
} lean_tool_options;

/* Starts it. Exactly one callback, from the loop, also when it cannot be started (BROKEN); *out is gone after it.
 * Options are borrowed for the call, the descriptors excepted. Fails: PV_E_NOMEM, PV_E_IO; there is no callback then. */
PV_NODISCARD pv_status lean_tool_run(lean_tool **out, uv_loop_t *loop,
                                     const lean_tool_options *options, lean_tool_cb *cb, void *user,
                                     pv_error *err);

/* SIGKILL; the callback follows. */
void lean_tool_stop(lean_tool *tool);

#endif
