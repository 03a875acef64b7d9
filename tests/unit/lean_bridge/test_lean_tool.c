/* Tools: how one ends, and that nothing of it stays. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "lean_tool.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include "folder.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

TestSuite(lean_tool, .init = make_folder, .fini = remove_folder, .timeout = 60);

typedef struct seen {
    unsigned calls;
    lean_tool_end end;
    int code;
    char what[256], said[LEAN_TOOL_SAID_MAX + 1];
    uint64_t bytes;
} seen;

static void on_end(void *user, const lean_tool_result *result)
{
    seen *s = user;
    s->calls++;
    s->end = result->end;
    s->code = result->code;
    s->bytes = result->output_bytes;
    snprintf(s->what, sizeof s->what, "%s", result->what);
    snprintf(s->said, sizeof s->said, "%s", result->said);
}

typedef struct limits {
    uint64_t deadline_ms, output_max;
    const char *from, *to;
    bool stop;
} limits;

/* Runs a program, not confined, to its end. */
static seen run_program(const char *const *argv, limits l)
{
    seen s = {0};
    uv_loop_t loop;
    lean_tool *tool = NULL;
    lean_sandbox sandbox;
    lean_toolchain program;
    pv_error err = {0};
    uint64_t live = pv_mem_live();
    cr_assert_eq(lean_sandbox_probe(&sandbox, NULL, true, NULL), PV_OK);
    cr_assert_eq(lean_toolchain_command(&program, argv, LEAN_DIALECT_PROVER, NULL), PV_OK);
    cr_assert_eq(uv_loop_init(&loop), 0);
    lean_tool_options options = {
        .sandbox = &sandbox,
        .program = &program,
        .input = l.from == NULL ? -1 : open(l.from, O_RDONLY),
        .output = l.to == NULL ? -1 : open(l.to, O_WRONLY | O_CREAT | O_TRUNC, 0600),
        .deadline_ms = l.deadline_ms == 0 ? 20000 : l.deadline_ms,
        .output_max_bytes = l.output_max == 0 ? 1 << 20 : l.output_max,
    };
    cr_assert_eq(lean_tool_run(&tool, &loop, &options, on_end, &s, &err), PV_OK, "%s", err.msg);
    if (l.stop) {
        lean_tool_stop(tool);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect_eq(s.calls, 1);
    cr_expect_eq(uv_loop_close(&loop), 0);
    if (options.input >= 0) {
        close(options.input);
    }
    if (options.output >= 0) {
        close(options.output);
    }
    lean_toolchain_release(&program);
    lean_sandbox_release(&sandbox);
    cr_expect_eq(pv_mem_live(), live);
    return s;
}

static seen run_script(const char *script, limits l)
{
    return run_program((const char *const[]){"/bin/sh", "-c", script, NULL}, l);
}

Test(lean_tool, its_exit_code_and_its_words_come_back)
{
    seen s = run_script("echo one; echo two >&2", (limits){0});
    cr_expect_eq(s.end, LEAN_TOOL_EXITED);
    cr_expect_eq(s.code, 0);
    cr_expect_not_null(strstr(s.said, "one\n"));
    cr_expect_not_null(strstr(s.said, "two\n"));
    s = run_script("echo no >&2; exit 7", (limits){0});
    cr_expect_eq(s.end, LEAN_TOOL_EXITED);
    cr_expect_eq(s.code, 7);
    cr_expect_str_eq(s.what, "exit code 7");
    cr_expect_str_eq(s.said, "no\n");
}

Test(lean_tool, a_file_goes_in_and_a_file_comes_out)
{
    pv_buf text = {0};
    write_file(in_folder("in"), "hello\n");
    seen s = run_script("echo aside >&2; tr a-z A-Z",
                        (limits){.from = in_folder("in"), .to = in_folder("out")});
    cr_assert_eq(s.end, LEAN_TOOL_EXITED, "%s", s.what);
    cr_expect_eq(s.bytes, 6);
    cr_expect_str_eq(s.said, "aside\n");
    cr_assert_eq(pv_file_read(in_folder("out"), 100, &text, NULL), PV_OK);
    cr_expect_str_eq(pv_buf_text(&text), "HELLO\n");
    pv_buf_release(&text);
}

Test(lean_tool, one_that_never_ends_is_killed)
{
    uint64_t start = pv_clock_ms();
    seen s = run_script("echo before; sleep 60", (limits){.deadline_ms = 200});
    cr_expect_eq(s.end, LEAN_TOOL_TIMEOUT);
    cr_expect_str_eq(s.what, "no end after 0.2 s");
    cr_expect_str_eq(s.said, "before\n");
    cr_expect_lt(pv_clock_ms() - start, 10000);
}

Test(lean_tool, one_that_floods_is_killed)
{
    seen s = run_script("while :; do echo yyyyyyyyyyyyyyyy; done", (limits){.output_max = 100000});
    cr_expect_eq(s.end, LEAN_TOOL_FLOOD);
    cr_expect_not_null(strstr(s.what, "100000"));
    cr_expect_leq(strlen(s.said), LEAN_TOOL_SAID_MAX);
    s = run_script("while :; do echo yyyyyyyyyyyyyyyy; done",
                   (limits){.output_max = 100000, .to = in_folder("out")});
    cr_expect_eq(s.end, LEAN_TOOL_FLOOD);
}

/* Too much is too much, also from one that ended well at once. */
Test(lean_tool, a_flood_counts_after_the_end)
{
    seen s = run_script("head -c 60000 /dev/zero", (limits){.output_max = 50000});
    cr_expect_eq(s.end, LEAN_TOOL_FLOOD);
}

Test(lean_tool, a_signal_is_no_exit_code)
{
    seen s = run_script("kill -9 $$", (limits){0});
    cr_expect_eq(s.end, LEAN_TOOL_SIGNALED);
    cr_expect_eq(s.code, SIGKILL);
    cr_expect_str_eq(s.what, "signal 9");
}

Test(lean_tool, what_cannot_be_executed_is_told_by_126_and_127)
{
    write_file(in_folder("plain"), "text");
    cr_expect_eq(run_program((const char *const[]){in_folder("plain"), NULL}, (limits){0}).code,
                 126);
    cr_expect_eq(run_program((const char *const[]){"/nowhere/at/all", NULL}, (limits){0}).code,
                 127);
}

Test(lean_tool, what_it_leaves_behind_is_killed)
{
    uint64_t start = pv_clock_ms();
    seen s = run_script("sleep 61 & echo $!", (limits){0});
    cr_expect_eq(s.end, LEAN_TOOL_EXITED);
    cr_expect_lt(pv_clock_ms() - start, 10000);
    pid_t left = (pid_t)atoi(s.said);
    cr_assert_gt(left, 1);
    for (int i = 0; i < 100 && kill(left, 0) == 0; i++) {
        char path[64];
        pv_buf state = {0};
        snprintf(path, sizeof path, "/proc/%d/stat", (int)left);
        if (pv_file_read(path, 4096, &state, NULL) != PV_OK ||
            strstr(pv_buf_text(&state), ") Z ") != NULL) {
            pv_buf_release(&state);
            return; /* dead, and nobody's child here */
        }
        pv_buf_release(&state);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    cr_expect_neq(kill(left, 0), 0, "process %d is alive", (int)left);
}

Test(lean_tool, it_can_be_stopped)
{
    seen s = run_script("sleep 60", (limits){.stop = true});
    cr_expect_eq(s.end, LEAN_TOOL_STOPPED);
}

Test(lean_tool, output_that_cannot_be_kept_is_told)
{
    seen s = run_script("echo x", (limits){.to = "/dev/full"});
    cr_expect_eq(s.end, LEAN_TOOL_BROKEN);
    cr_expect_not_null(strstr(s.what, "cannot be kept"));
}
