/* prover: a Lean 4 theorem-proving agent. The command line. */
#include "commands.h"
#include "progress.h"
#include "pv_log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name;
    int bit; /* FOR_* */
    exit_code (*run)(const options *opt);
    const char *usage, *about;
} command;

static const command commands[] = {
    {"prove", FOR_PROVE, command_prove, "prover prove 'STATEMENT' | FILE.lean | - [OPTIONS]",
     "prove a theorem, or every theorem with `sorry` of a file"},
    {"verify", FOR_VERIFY, command_verify,
     "prover verify FILE.lean [--against STATEMENT.lean] [OPTIONS]\n  prover verify --config "
     "FILE.json [OPTIONS]",
     "check proofs in a fresh Lean process, audit their axioms, and replay them in another one"},
    {"fill", FOR_FILL, command_fill,
     "prover fill PROJECT [FILE[:LINE]] | FOLDER | FILE.lean[:LINE] [OPTIONS]",
     "find the `sorry`s of a project and fill them: a diff, and with --apply the files"},
    {"bench", FOR_BENCH, command_bench,
     "prover bench FILE.jsonl | DIR [OPTIONS]\n  prover bench --resume [RUN]",
     "prove every problem of a benchmark, in a run that can be ended and resumed at any moment"},
    {"report", FOR_REPORT, command_report,
     "prover report STORE... -o PAGE.html [--run ID | --compare RUN_A RUN_B] [OPTIONS]",
     "make one HTML page of a run, put together from its stores, or of two runs side by side"},
    {"generate", FOR_GENERATE, command_generate,
     "prover generate [--library MODULE]... [--statements FILE]... -o OUT.jsonl [OPTIONS]",
     "make proof data: prove statements of the library, of files, and mutations of both"},
    {"verify-data", FOR_VERIFY_DATA, command_verify_data, "prover verify-data FILE.jsonl [OPTIONS]",
     "check a sample of such data again, step by step, in fresh Lean processes"},
    {"doctor", FOR_DOCTOR, command_doctor, "prover doctor [OPTIONS]",
     "say which Lean is used and why, and whether all works"},
    {"model", FOR_MODEL, command_model, "prover model DIR [OPTIONS]",
     "say what a checkpoint is, what it takes, and what of it will not work"},
    {"complete", FOR_COMPLETE, command_complete, "prover complete DIR ['PROMPT' | -] [OPTIONS]",
     "continue a prompt with a model"},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *to)
{
    fputs("prover " PROVER_VERSION ": proves theorems in Lean 4\n\nusage:\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(to, "  %s\n      %s\n", commands[i].usage, commands[i].about);
    }
    fputs("\n`prover COMMAND --help` lists the options of a command.\n"
          "exit codes: 0 proved, 1 not proved, 2 usage, 3 environment, 4 internal error\n",
          to);
}

static void print_help(const command *c)
{
    pv_buf text = {0};
    pv_buf_printf(&text, "usage: %s\n  %s\n\noptions:\n", c->usage, c->about);
    options_help(c->bit, &text);
    fputs(pv_buf_text(&text), stdout);
    pv_buf_release(&text);
}

static void log_to_stderr(void *user, pv_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug", "trace"};
    (void)user;
    progress_clear();
    fprintf(stderr, "prover: %s: %s\n", names[level], line);
}

static exit_code run_command(const command *c, int argc, char **argv)
{
    options opt;
    pv_error err = {0};
    if (options_parse(&opt, c->bit, argc, argv, 2, &err) != PV_OK) {
        return complain(&err);
    }
    exit_code code = EXIT_PROVED;
    if (opt.help) {
        print_help(c);
    } else {
        pv_log_set(log_to_stderr, NULL, (pv_log_level)(PV_LOG_WARN + opt.verbose));
        progress_init(false);
        code = c->run(&opt);
    }
    options_release(&opt);
    return code;
}

/* A standard stream that came closed must not become some other file of ours: it is made one that refuses. */
static void hold_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            exit(EXIT_ENVIRONMENT);
        }
    }
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* a closed stdout is an error with a message, not a silent death */
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return EXIT_PROVED;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("prover " PROVER_VERSION);
        return EXIT_PROVED;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return (int)run_command(&commands[i], argc, argv);
        }
    }
    fprintf(stderr, "prover: unknown command %s: `prover --help` lists the commands\n", argv[1]);
    return EXIT_USAGE;
}
