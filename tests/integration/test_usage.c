/* What the command line says to input that is wrong before any Lean is needed. */
#include "command.h"

static void says(command_result r, int code, const char *part)
{
    cr_assert_eq(r.code, code, "exit code %d, stderr: %s", r.code, pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), part), "stderr: %s", pv_buf_text(&r.err));
    cr_assert_eq(r.out.len, 0, "stdout: %s", pv_buf_text(&r.out));
    command_release(&r);
}

Test(usage, wrong_command_lines)
{
    says(RUN(NULL, PROVER), 2, "usage:");
    says(RUN(NULL, PROVER, "proof"), 2, "unknown command proof");
    says(RUN(NULL, PROVER, "prove"), 2, "prove takes one argument");
    says(RUN(NULL, PROVER, "prove", "--worker", "2", "x"), 2, "did you mean --workers");
    says(RUN(NULL, PROVER, "prove", "--timeout", "-1", "x"), 2, "--timeout -1: expected a number");
    says(RUN(NULL, PROVER, "prove", "--policy", "oracle", "theorem t : True"), 2,
         "--policy oracle");
    says(RUN(NULL, PROVER, "verify", "a.lean", "b.lean"), 2, "verify takes one argument");
}

Test(usage, wrong_texts)
{
    says(RUN(NULL, PROVER, "prove", "/nowhere/x.lean"), 3, "/nowhere/x.lean: cannot open");
    says(RUN(NULL, PROVER, "prove", ""), 2, "empty");
    says(RUN(&(command_options){.input = "\xff\xfe"}, PROVER, "prove", "-"), 2,
         "standard input:1:0: byte 0 (0xff) is not UTF-8");
    says(RUN(&(command_options){.input = "-- nothing\n"}, PROVER, "prove", "-"), 2,
         "standard input is empty");
    says(RUN(NULL, PROVER, "prove", "theorem t : True := trivial"), 2, "nothing is left to prove");
    says(RUN(NULL, PROVER, "prove", "--header", "@/nowhere/h.lean", "theorem t : True"), 3,
         "--header: /nowhere/h.lean");
}

Test(usage, no_lean_names_what_was_looked_for_and_the_remedy)
{
    const char *nothing[] = {"PATH=/nowhere", "HOME=/nowhere", "PROVER_HOME=/nowhere", NULL};
    command_options o = {.environment = nothing};
    command_result r = RUN(&o, PROVER, "prove", "theorem t : True");
    cr_assert_eq(r.code, 3, "exit code %d", r.code);
    const char *text = pv_buf_text(&r.err);
    cr_assert_not_null(strstr(text, "quickstart.sh"), "%s", text);
    cr_assert_not_null(strstr(text, "/nowhere"), "%s", text);
    command_release(&r);
}

Test(usage, help_and_version_go_to_stdout)
{
    command_result r = RUN(NULL, PROVER, "--help");
    cr_assert_eq(r.code, 0);
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "exit codes"));
    command_release(&r);
    r = RUN(NULL, PROVER, "prove", "--help");
    cr_assert_eq(r.code, 0);
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "--timeout SECONDS"));
    command_release(&r);
    r = RUN(NULL, PROVER, "--version");
    cr_assert_eq(strncmp(pv_buf_text(&r.out), "prover 0.", 9), 0);
    command_release(&r);
}
