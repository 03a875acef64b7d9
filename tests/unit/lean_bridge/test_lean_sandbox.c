/* The sandbox: what a program in it can reach, by trying it. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "lean_sandbox.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Written within the sandbox only; a name that nothing else writes outside of it. */
#define TMP_CANARY  "/tmp/.prover-sandbox-canary"
#define SYSTEM_PATH "/usr/local/bin:/usr/bin:/bin"

static lean_sandbox probed(bool disabled)
{
    lean_sandbox s;
    pv_error err = {0};
    cr_assert_eq(lean_sandbox_probe(&s, SYSTEM_PATH, disabled, &err), PV_OK, "%s", err.msg);
    cr_assert_not_null(s.describe);
    return s;
}

/* An active sandbox, or the test is skipped. */
static lean_sandbox active(void)
{
    lean_sandbox s = probed(false);
    if (!s.active) {
        cr_skip_test("%s", s.describe);
    }
    return s;
}

static lean_toolchain shell(const char *script)
{
    lean_toolchain t;
    cr_assert_eq(lean_toolchain_command(&t, (const char *const[]){"/bin/sh", "-c", script, NULL},
                                        LEAN_DIALECT_PROVER, NULL),
                 PV_OK);
    return t;
}

static pid_t start(const lean_sandbox *s, const lean_toolchain *t, int *from)
{
    char **argv = NULL;
    pid_t pid = 0;
    int ends[2];
    posix_spawn_file_actions_t actions;
    cr_assert_eq(lean_sandbox_argv(s, t, &argv, NULL), PV_OK);
    cr_assert_eq(pipe(ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    cr_assert_eq(posix_spawn(&pid, argv[0], &actions, NULL, argv, t->env), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    lean_sandbox_free_argv(argv);
    *from = ends[0];
    return pid;
}

static void read_all(int from, pv_buf *out)
{
    char bytes[512];
    ssize_t n = 0;
    while ((n = read(from, bytes, sizeof bytes)) > 0) {
        pv_buf_append(out, bytes, (size_t)n);
    }
    close(from);
}

/* What a script prints inside. */
static const char *output_of(const lean_sandbox *s, const lean_toolchain *t)
{
    static char text[4096];
    pv_buf out = {0};
    int from = -1;
    pid_t pid = start(s, t, &from);
    read_all(from, &out);
    waitpid(pid, NULL, 0);
    snprintf(text, sizeof text, "%s", pv_buf_text(&out));
    pv_buf_release(&out);
    return text;
}

static void expect_output(const lean_sandbox *s, const char *script, const char *expected)
{
    lean_toolchain t = shell(script);
    const char *text = output_of(s, &t);
    cr_expect_str_eq(text, expected, "%s: %s", script, text);
    lean_toolchain_release(&t);
}

Test(lean_sandbox, switched_off_says_so)
{
    lean_sandbox s = probed(true);
    cr_expect(!s.active);
    cr_expect_not_null(strstr(s.describe, "not confined"));
    expect_output(&s, "echo hello", "hello\n");
    lean_sandbox_release(&s);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(lean_sandbox, without_bubblewrap_says_what_to_install)
{
    lean_sandbox s;
    cr_assert_eq(lean_sandbox_probe(&s, "/nowhere:relative", false, NULL), PV_OK);
    cr_expect(!s.active);
    cr_expect_not_null(strstr(s.describe, "apt install bubblewrap"));
    lean_sandbox_release(&s);
    cr_assert_eq(lean_sandbox_probe(&s, NULL, false, NULL), PV_OK);
    cr_expect(!s.active);
    lean_sandbox_release(&s);
}

/* A bubblewrap that confines nothing must be found out. */
Test(lean_sandbox, probe_sees_through_a_false_bubblewrap)
{
    char folder[] = "/tmp/prover-test-XXXXXX";
    char path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/bwrap", folder);
    FILE *file = fopen(path, "w");
    fputs("#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\n", file);
    fclose(file);
    chmod(path, 0755);
    lean_sandbox s;
    cr_assert_eq(lean_sandbox_probe(&s, folder, false, NULL), PV_OK);
    cr_expect(!s.active);
    cr_expect_not_null(strstr(s.describe, "does not work here"), "%s", s.describe);
    cr_expect_null(s.bwrap);
    lean_sandbox_release(&s);
    remove(path);
    rmdir(folder);
}

/* Folders that the sandbox replaces by private ones are writable inside: no reason to call it broken. */
Test(lean_sandbox, probe_works_in_any_folder)
{
    lean_sandbox s = active();
    lean_sandbox_release(&s);
    const char *const folders[] = {"/", "/tmp", "/run", "/home", "/root", "/usr"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (chdir(folders[i]) == 0) {
            s = probed(false);
            cr_expect(s.active, "in %s: %s", folders[i], s.describe);
            lean_sandbox_release(&s);
        }
    }
}

Test(lean_sandbox, runs_a_program_with_only_its_environment)
{
    lean_sandbox s = active();
    setenv("PROVER_TEST_SECRET", "x", 1);
    expect_output(&s, "echo \"$0 ${PROVER_TEST_SECRET-none} ${LANG-none}\"",
                  "/bin/sh none C.UTF-8\n");
    lean_sandbox_release(&s);
}

Test(lean_sandbox, files_cannot_be_changed)
{
    lean_sandbox s = active();
    expect_output(
        &s,
        "for d in / /etc /usr /var/tmp /dev; do (: > $d/.prover-test) 2>/dev/null && echo $d;"
        " done; : > " TMP_CANARY " && echo tmp",
        "tmp\n");
    cr_expect_neq(access(TMP_CANARY, F_OK), 0);
    lean_sandbox_release(&s);
}

Test(lean_sandbox, secrets_are_hidden)
{
    lean_sandbox s = active();
    expect_output(
        &s,
        "for f in /etc/shadow /etc/gshadow; do (read -r x < $f) 2>/dev/null && echo $f; done;"
        "for d in /root /home /run /tmp; do for f in $d/*; do [ -e $f ] && echo $f; done; done;"
        "echo end",
        "end\n");
    lean_sandbox_release(&s);
}

Test(lean_sandbox, no_privileges_no_network_no_other_processes)
{
    lean_sandbox s = active();
    expect_output(
        &s,
        "while read -r k v _; do case $k in CapEff:|CapBnd:|NoNewPrivs:) echo $k $v;; esac;"
        " done < /proc/self/status",
        "CapEff: 0000000000000000\nCapBnd: 0000000000000000\nNoNewPrivs: 1\n");
    expect_output(&s, "n=0; while read -r _; do n=$((n+1)); done < /proc/net/route; echo $n",
                  "1\n");
    expect_output(&s, "set -- /proc/[0-9]*; [ $# -lt 8 ] && echo few", "few\n");
    lean_sandbox_release(&s);
}

/* A toolchain in a hidden folder is shown again, and nothing beside it. */
Test(lean_sandbox, toolchain_stays_readable)
{
    lean_sandbox s = active();
    char folder[] = "/tmp/prover-test-XXXXXX";
    char path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tool", folder);
    FILE *file = fopen(path, "w");
    fputs("#!/bin/sh\ncd \"$1\" && cd .. && set -- prover-test-* && echo $#\n", file);
    fclose(file);
    chmod(path, 0755);
    lean_toolchain t;
    cr_assert_eq(lean_toolchain_command(&t, (const char *const[]){path, folder, NULL},
                                        LEAN_DIALECT_PROVER, NULL),
                 PV_OK);
    cr_expect_str_eq(output_of(&s, &t), "1\n");
    lean_toolchain_release(&t);
    remove(path);
    rmdir(folder);
    lean_sandbox_release(&s);
}

/* A Lake project may need anything in the user's home, but not the keys in it. */
Test(lean_sandbox, project_sees_the_home_without_its_keys)
{
    lean_sandbox s = active();
    char home[] = "/var/tmp/prover-test-XXXXXX";
    char keys[64];
    char key[80];
    char script[256];
    cr_assert_not_null(mkdtemp(home));
    snprintf(keys, sizeof keys, "%s/.ssh", home);
    snprintf(key, sizeof key, "%s/id", keys);
    snprintf(script, sizeof script, "cd %s; ls -A; ls -A .ssh 2>/dev/null", home);
    mkdir(keys, 0755);
    fclose(fopen(key, "w"));
    lean_toolchain t = shell(script);
    t.kind = LEAN_TOOLCHAIN_PROJECT;
    t.private_home = pv_strdup(home);
    cr_expect_str_eq(output_of(&s, &t), ".ssh\n");
    t.kind = LEAN_TOOLCHAIN_NPM; /* everything that it needs is known: the home is empty */
    cr_expect_str_eq(output_of(&s, &t), "");
    lean_toolchain_release(&t);
    remove(key);
    rmdir(keys);
    rmdir(home);
    lean_sandbox_release(&s);
}

/* Killing the one process that was started ends all that it left running: the pipe's other ends are closed. */
Test(lean_sandbox, kill_reaches_everything, .timeout = 20)
{
    lean_sandbox s = active();
    lean_toolchain t =
        shell("(trap '' TERM HUP INT; sleep 1000) & (setsid sleep 1000 &) ; echo up; sleep 1000");
    int from = -1;
    char bytes[4];
    pid_t pid = start(&s, &t, &from);
    cr_assert_eq(read(from, bytes, 3), 3);
    uint64_t start_ms = pv_clock_ms();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_expect_eq(read(from, bytes, 1), 0);
    cr_expect_lt(pv_clock_ms() - start_ms, 2000);
    close(from);
    lean_toolchain_release(&t);
    lean_sandbox_release(&s);
}

Test(lean_sandbox, copy_lives_by_itself)
{
    lean_sandbox s = probed(false);
    lean_sandbox copy;
    cr_assert_eq(lean_sandbox_copy(&copy, &s, NULL), PV_OK);
    cr_expect_eq(copy.active, s.active);
    lean_sandbox_release(&s);
    expect_output(&copy, "echo hello", "hello\n");
    lean_sandbox_release(&copy);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(lean_sandbox, survives_want_of_memory)
{
    lean_sandbox s = active();
    lean_toolchain t = shell("true");
    uint64_t live = pv_mem_live();
    for (int64_t n = 0; n < 120; n++) {
        char **argv = NULL;
        pv_mem_fail_after(n);
        pv_status status = lean_sandbox_argv(&s, &t, &argv, NULL);
        pv_mem_fail_after(-1);
        if (status == PV_OK) {
            lean_sandbox_free_argv(argv);
        }
        cr_assert_eq(pv_mem_live(), live, "allocation %d", (int)n);
    }
    lean_toolchain_release(&t);
    lean_sandbox_release(&s);
    for (int64_t n = 0; n < 20; n++) {
        pv_mem_fail_after(n);
        pv_status status = lean_sandbox_probe(&s, SYSTEM_PATH, false, NULL);
        pv_mem_fail_after(-1);
        if (status == PV_OK) {
            lean_sandbox_release(&s);
        }
        cr_assert_eq(pv_mem_live(), 0, "allocation %d", (int)n);
    }
}
