/* leanchecker, lean4export and external kernels, all of them fakes (shell scripts): what counts as accepted, and what is said
 * otherwise. The real ones are not run by any test. */
#define _XOPEN_SOURCE 700 /* mkdtemp, realpath */
#include "kernel_check.h"
#include "pv_mem.h"

#include "folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_PATH "/usr/local/bin:/usr/bin:/bin"

/* `lean` copies the source; the .olean holds that text. */
#define LEAN                                                                                       \
    "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in -o) out=$2; shift;; -R) shift;; *) text=$1;; "   \
    "esac\nshift; done\ngrep -q BROKEN \"$text\" && { echo 'error: it is broken'; exit 1; }\n"     \
    "cp \"$text\" \"$out\"\n"
#define CHECKER                                                                                    \
    "#!/bin/sh\ngrep -q TAMPERED \"${LEAN_PATH##*:}/$1.olean\" && { echo 'kernel: tampered'; "     \
    "exit 1; "                                                                                     \
    "}\n"                                                                                          \
    "exit 0\n"
#define EXPORT                                                                                     \
    "#!/bin/sh\nm=$1; shift 2; grep -q UNSAID \"${LEAN_PATH##*:}/$m.olean\" && exit 0\n"           \
    "cat \"${LEAN_PATH##*:}/$m.olean\" && printf '\\nnames %s\\n' \"$*\"\n"

static void program(const char *name, const char *text)
{
    write_file(in_folder(name), text);
    cr_assert_eq(chmod(in_folder(name), 0755), 0);
}

static void make_programs(void)
{
    make_folder();
    cr_assert_eq(mkdir(in_folder("bin"), 0755), 0);
    cr_assert_eq(mkdir(in_folder("tools"), 0755), 0);
    program("bin/lean", LEAN);
    program("bin/leanchecker", CHECKER);
    program("tools/lean4export", EXPORT);
    program("tools/accepts", "#!/bin/sh\ngrep -q '^names t Nat'\n");
    program("tools/reads_file", "#!/bin/sh\ngrep -q '^names t Nat' \"${1#--in=}\"\n");
    program("tools/refuses",
            "#!/bin/sh\ncat > /dev/null; echo 'type mismatch'; echo 'in t'; exit 1\n");
    program("tools/sleeps", "#!/bin/sh\nsleep 60\n");
    program("tools/floods", "#!/bin/sh\nexec cat /dev/zero\n");
    program("tools/dies", "#!/bin/sh\nkill -11 $$\n");
    program("tools/scribbles", "#!/bin/sh\n(: > \"$1\") 2>/dev/null || exit 0\nexit 1\n");
    program("tools/stale", "#!/no/such/interpreter\n");
    program(
        "tools/nanoda_bin",
        "#!/bin/sh\ngrep -q '\"use_stdin\":true' \"$1\" && grep -q '\\[\"propext\"\\]' \"$1\" &&\n"
        "grep -q '^names t '\n");
    write_file(in_folder("tools/plain"), "no program");
    setenv("PATH", "", 1);
    char path[256];
    snprintf(path, sizeof path, "%s:" SYSTEM_PATH, in_folder("tools"));
    setenv("PATH", path, 1);
}

TestSuite(kernel_check, .init = make_programs, .fini = remove_folder, .timeout = 60);

/* The tests that are about confinement ask for it: it takes a second for each. */
static bool confine;

typedef struct outcome {
    pv_status status;
    pv_error err;
    lean_level level;
    char reason[64], message[1024], last[256];
    size_t checkers;
    bool confined;
} outcome;

/* An official toolchain, as lean_toolchain_find() describes one, in bin/. */
static void describe(lean_toolchain *t, lean_toolchain_kind kind)
{
    bool project = kind == LEAN_TOOLCHAIN_PROJECT;
    const char *const lean[] = {in_folder(project ? "bin/lake" : "bin/lean"), "env",
                                in_folder("bin/server"), NULL};
    cr_assert_eq(lean_toolchain_command(t, lean, LEAN_DIALECT_PROVER, NULL), PV_OK);
    char path[256];
    snprintf(path, sizeof path, "PATH=%s:" SYSTEM_PATH, in_folder("bin"));
    pv_free(t->env[0]);
    t->env[0] = pv_strdup(path);
    t->kind = kind;
    if (project) {
        pv_free(t->cwd);
        t->cwd = pv_strdup(folder);
    }
}

static void keep(outcome *o, const verdict *v)
{
    o->level = v->level;
    snprintf(o->reason, sizeof o->reason, "%s", v->reason == NULL ? "" : v->reason);
    snprintf(o->message, sizeof o->message, "%s", v->message == NULL ? "" : v->message);
    o->checkers = v->checker_count;
    if (v->checker_count > 0) {
        snprintf(o->last, sizeof o->last, "%s", v->checkers[v->checker_count - 1].name);
    }
}

static outcome check_with(lean_toolchain_kind kind, const char *body, char **words, int count)
{
    outcome o = {0};
    options opt;
    session s = {.level = LEAN_LEVEL_AUDITED};
    kernel_check k;
    verdict v = {.level = LEAN_LEVEL_REPLAYED};
    const char *const names[] = {"t"};
    const char *const axioms[] = {"propext"};
    uint64_t live = pv_mem_live();
    cr_assert_eq(options_parse(&opt, FOR_VERIFY, count, words, 0, &o.err), PV_OK, "%s", o.err.msg);
    s.opt = &opt;
    describe(&s.toolchain, kind);
    cr_assert_eq(lean_sandbox_probe(&s.sandbox, SYSTEM_PATH, !confine, NULL), PV_OK);
    o.confined = s.sandbox.active;
    cr_assert_eq(uv_loop_init(&s.loop), 0);
    o.status = kernel_check_open(&k, &s, NULL, 0, axioms, 1, &o.err);
    if (o.status == PV_OK) {
        o.status = kernel_check_run(&k, "import Lib", body, names, 1, &v, &o.err);
        char made[64];
        snprintf(made, sizeof made, "%s", k.folder);
        kernel_check_close(&k);
        cr_expect(made[0] == '\0' || access(made, F_OK) != 0, "%s is still there", made);
    }
    keep(&o, &v);
    verdict_release(&v);
    cr_expect_eq(uv_loop_close(&s.loop), 0);
    lean_sandbox_release(&s.sandbox);
    lean_toolchain_release(&s.toolchain);
    options_release(&opt);
    cr_expect_eq(pv_mem_live(), live);
    return o;
}

#define CHECK(body, ...)                                                                           \
    check_with(LEAN_TOOLCHAIN_PATH, body, (char *[]){__VA_ARGS__, NULL},                           \
               (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)))

static void expect_refused(outcome o, const char *reason, const char *part)
{
    cr_expect_eq(o.status, PV_OK, "%s", o.err.msg);
    cr_expect_eq(o.level, LEAN_LEVEL_NONE);
    cr_expect_str_eq(o.reason, reason, "%s: %s", o.reason, o.message);
    cr_expect_not_null(strstr(o.message, part), "%s", o.message);
}

static void expect_accepted(outcome o, size_t checkers, const char *last)
{
    cr_expect_eq(o.status, PV_OK, "%s", o.err.msg);
    cr_expect_eq(o.level, LEAN_LEVEL_REPLAYED, "%s: %s", o.reason, o.message);
    cr_expect_eq(o.checkers, checkers);
    cr_expect_str_eq(o.last, last);
}

static void expect_failed(outcome o, pv_status status, const char *part)
{
    cr_expect_eq(o.status, status, "%d %s", (int)o.status, o.err.msg);
    cr_expect_not_null(strstr(o.err.msg, part), "%s", o.err.msg);
    cr_expect_eq(o.checkers, 0);
}

Test(kernel_check, all_of_them_accept)
{
    confine = true;
    expect_accepted(CHECK("theorem t", "--leanchecker"), 1, "leanchecker");
    expect_accepted(CHECK("theorem t", "--external-kernel", "accepts", "--external-kernel",
                          "reads_file --in={}"),
                    3, "reads_file --in={}");
    expect_accepted(CHECK("theorem t", "--external-kernel", "nanoda_bin"), 2, "nanoda_bin");
}

Test(kernel_check, a_project_is_asked_through_lake)
{
    program("bin/lake", "#!/bin/sh\n[ \"$1\" = env ] || exit 9\nshift\n"
                        "LEAN_PATH=/project/lib; export LEAN_PATH; exec \"$@\"\n");
    program("bin/leanchecker", "#!/bin/sh\n[ \"${LEAN_PATH%%:*}\" = /project/lib ]\n");
    cr_assert_eq(mkdir(in_folder(".lake"), 0755), 0);
    cr_assert_eq(mkdir(in_folder(".lake/packages"), 0755), 0);
    cr_assert_eq(mkdir(in_folder(".lake/packages/lean4export"), 0755), 0);
    cr_assert_eq(mkdir(in_folder(".lake/packages/lean4export/.lake"), 0755), 0);
    cr_assert_eq(mkdir(in_folder(".lake/packages/lean4export/.lake/build"), 0755), 0);
    cr_assert_eq(mkdir(in_folder(".lake/packages/lean4export/.lake/build/bin"), 0755), 0);
    cr_assert_eq(rename(in_folder("tools/lean4export"),
                        in_folder(".lake/packages/lean4export/.lake/build/bin/lean4export")),
                 0);
    expect_accepted(check_with(LEAN_TOOLCHAIN_PROJECT, "theorem t",
                               (char *[]){"--external-kernel", "accepts"}, 2),
                    2, "accepts");
}

Test(kernel_check, nothing_is_run_that_nobody_asked_for)
{
    outcome o = CHECK("theorem t BROKEN", "--json");
    cr_expect_eq(o.status, PV_OK);
    cr_expect_eq(o.level, LEAN_LEVEL_REPLAYED);
    cr_expect_eq(o.checkers, 0);
}

Test(kernel_check, each_may_refuse)
{
    expect_refused(CHECK("theorem t", "--external-kernel", "refuses"), "kernel",
                   "refuses did not accept the proof (exit code 1): type mismatch\nin t");
    expect_refused(
        CHECK("theorem t", "--external-kernel", "accepts", "--external-kernel", "refuses"),
        "kernel", "refuses");
    expect_refused(CHECK("theorem t BROKEN", "--leanchecker"), "compile", "it is broken");
    expect_refused(CHECK("theorem t UNSAID", "--external-kernel", "accepts"), "export",
                   "wrote nothing");
    expect_refused(CHECK("theorem t TAMPERED", "--leanchecker"), "kernel", "tampered");
    /* also when only a kernel was asked for that would have accepted */
    expect_refused(CHECK("theorem t TAMPERED", "--external-kernel", "accepts"), "kernel",
                   "leanchecker");
}

Test(kernel_check, what_does_not_end_well_is_no_acceptance)
{
    expect_refused(CHECK("theorem t", "--external-kernel", "sleeps", "--kernel-timeout", "0.4"),
                   "kernel", "no end after 0.4 s");
    expect_refused(CHECK("theorem t", "--external-kernel", "floods"), "kernel", "it said more");
    expect_refused(CHECK("theorem t", "--external-kernel", "dies"), "kernel", "did not accept");
}

Test(kernel_check, an_export_cannot_be_changed_by_a_kernel)
{
    confine = true;
    outcome o = CHECK("theorem t", "--external-kernel", "scribbles {}");
    if (!o.confined) {
        cr_skip_test("no sandbox here");
    }
    expect_accepted(o, 2, "scribbles {}");
}

Test(kernel_check, the_export_is_kept)
{
    pv_buf text = {0};
    expect_accepted(CHECK("theorem t", "--export", in_folder("kept")), 1, "leanchecker");
    cr_assert_eq(pv_file_read(in_folder("kept"), 1000, &text, NULL), PV_OK);
    cr_expect_str_eq(pv_buf_text(&text),
                     "import Lib\ntheorem t\nnames t Nat String Char Char.ofNat List\n");
    pv_buf_release(&text);
    expect_failed(CHECK("theorem t UNSAID", "--external-kernel", "absent"), PV_E_NOTFOUND,
                  "absent");
    cr_expect(!pv_file_exists(in_folder("kept.part")));
}

Test(kernel_check, what_is_missing_is_named_before_anything_runs)
{
    expect_failed(CHECK("theorem t", "--external-kernel", "absent"), PV_E_NOTFOUND,
                  "there is no program absent on PATH");
    expect_failed(CHECK("theorem t", "--external-kernel", in_folder("tools/plain")), PV_E_NOTFOUND,
                  "that may be executed");
    expect_failed(CHECK("theorem t", "--external-kernel", " "), PV_E_INVALID, "give a program");
    expect_failed(
        check_with(LEAN_TOOLCHAIN_NPM, "theorem t", (char *[]){"--external-kernel", "accepts"}, 2),
        PV_E_NOTFOUND, "external kernel accepts: lean4export: this needs an official");
    unlink(in_folder("bin/leanchecker"));
    expect_failed(CHECK("theorem t", "--leanchecker"), PV_E_NOTFOUND, "has no leanchecker");
    expect_accepted(CHECK("theorem t", "--external-kernel", "accepts"), 1, "accepts");
    unlink(in_folder("tools/lean4export"));
    expect_failed(CHECK("theorem t", "--external-kernel", "accepts"), PV_E_NOTFOUND,
                  "no lean4export on PATH");
    unlink(in_folder("bin/lean"));
    expect_failed(CHECK("theorem t", "--leanchecker"), PV_E_NOTFOUND, "no `lean`");
}

Test(kernel_check, one_that_cannot_be_started_says_nothing_about_the_proof)
{
    outcome o = CHECK("theorem t", "--external-kernel", "stale");
    cr_expect_eq(o.status, PV_E_SPAWN, "%s", o.err.msg);
    cr_expect_not_null(strstr(o.err.msg, "stale could not be run"), "%s", o.err.msg);
}
