/* options: the command line, from one table. The table makes the struct, the parser, the help and the tests. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FOR_PROVE = 1,
    FOR_VERIFY = 2,
    FOR_DOCTOR = 4,
    FOR_COMPLETE = 8,
    FOR_MODEL = 16,
    FOR_GENERATE = 32,
    FOR_VERIFY_DATA = 64,
    FOR_BENCH = 128,
    FOR_REPORT = 256,
    FOR_FILL = 512,
    FOR_DATA = FOR_GENERATE | FOR_VERIFY_DATA,
    FOR_LEAN = FOR_PROVE | FOR_FILL | FOR_VERIFY | FOR_DOCTOR | FOR_DATA | FOR_BENCH,
    FOR_ENGINE = FOR_PROVE | FOR_FILL | FOR_COMPLETE | FOR_GENERATE | FOR_BENCH,
    FOR_SEARCH = FOR_PROVE | FOR_FILL | FOR_GENERATE | FOR_BENCH,
    FOR_PROVED = FOR_PROVE | FOR_BENCH,
    FOR_JUDGED = FOR_PROVE | FOR_FILL | FOR_VERIFY | FOR_VERIFY_DATA | FOR_BENCH,
    FOR_DEVICE = FOR_ENGINE | FOR_MODEL,
    FOR_ALL = FOR_LEAN | FOR_COMPLETE | FOR_MODEL,
    OF_PROCESS =
        1 << 20, /* says where and how fast, or names the run: results do not depend on it */
};

/* X(commands, kind, field, flag, argument, default, smallest, largest, help). Numbers have bounds; text has none; a list is a
 * text option that may be given several times; a pair takes two words. */
#define OPTION_TABLE(X)                                                                            \
    X(FOR_LEAN | OF_PROCESS, TEXT, lean_project, "--lean-project", "DIR", "", 0, 0,                \
      "run Lean inside this Lake project (its toolchain and libraries)")                           \
    X(FOR_LEAN | OF_PROCESS, TEXT, community_repl, "--community-repl", "PATH", "", 0, 0,           \
      "speak to this leanprover-community/repl binary instead of our server")                      \
    X(FOR_LEAN | OF_PROCESS, FLAG, npm_lean, "--npm-lean", NULL, "", 0, 0,                         \
      "use the npm Lean even when an official toolchain is there")                                 \
    X(FOR_LEAN | OF_PROCESS, FLAG, no_sandbox, "--no-sandbox", NULL, "", 0, 0,                     \
      "run Lean without bubblewrap (tactics are untrusted code)")                                  \
    X(FOR_PROVE | FOR_VERIFY | FOR_DATA | FOR_BENCH | OF_PROCESS, TEXT, header, "--header",        \
      "TEXT|@FILE", "", 0, 0, "imports and commands that the text stands on")                      \
    X(FOR_FILL | OF_PROCESS, FLAG, fill_list, "--list", NULL, "", 0, 0,                            \
      "only list the holes: place, kind, goal (with --json as SorryDB's readers know them)")       \
    X(FOR_FILL | OF_PROCESS, FLAG, apply, "--apply", NULL, "", 0, 0,                               \
      "write the files (without it only a diff is shown)")                                         \
    X(FOR_FILL | OF_PROCESS, FLAG, backup, "--backup", NULL, "", 0, 0,                             \
      "with --apply: keep the old text in FILE.lean.bak")                                          \
    X(FOR_FILL | OF_PROCESS, FLAG, fill_check, "--check", NULL, "", 0, 0,                          \
      "write nothing, and end with 1 when the files have a hole, fillable or not")                 \
    X(FOR_FILL, FLAG, fill_data, "--data", NULL, "", 0, 0,                                         \
      "also fill holes that are no propositions: any value of the type will do")                   \
    X(FOR_FILL | OF_PROCESS, COUNT, jobs, "--jobs", "N", "0", 0, 256,                              \
      "holes that are searched at a time (0: one for each Lean process)")                          \
    X(FOR_FILL, NUMBER, total_timeout, "--total-timeout", "SECONDS", "0", 0, 1e7,                  \
      "wall time of all searches together (0: no limit)")                                          \
    X(FOR_GENERATE, TEXT, output, "-o", "OUT.jsonl", "", 0, 0,                                     \
      "the file that rows are appended to; what is there already is not done again")               \
    X(FOR_GENERATE, FLAG, list, "--list", NULL, "", 0, 0,                                          \
      "only name the statements that would be tried, a row each (without -o on stdout)")           \
    X(FOR_GENERATE, LIST, library, "--library", "MODULE", "", 0, 0,                                \
      "the theorems of this module and those below it (may be given several times)")               \
    X(FOR_GENERATE, TEXT, pattern, "--pattern", "GLOB", "*", 0, 0,                                 \
      "only library theorems whose name matches (* and ?)")                                        \
    X(FOR_GENERATE, LIST, statements, "--statements", "FILE", "", 0, 0,                            \
      "the statements of a file: FILE.lean, or JSON lines with `statement` or `formal_statement`") \
    X(FOR_GENERATE, TEXT, mutations, "--mutations", "LIST", "all", 0, 0,                           \
      "mutations of each statement, with commas between them; all; none (docs/protocol.md)")       \
    X(FOR_GENERATE, COUNT, variants, "--variants", "N", "0", 0, 1e6,                               \
      "mutants of one theorem, chosen by --seed (0: all)")                                         \
    X(FOR_GENERATE, LIST, exclude, "--exclude", "FILE.jsonl", "", 0, 0,                            \
      "statements that must not come in, up to renaming: rows with `key` or `formal_statement`")   \
    X(FOR_FILL | OF_PROCESS, TEXT, fill_store, "--store", "PATH", "", 0, 0,                        \
      "also keep the results in this SQLite file, as a run of its own")                            \
    X(FOR_BENCH | OF_PROCESS, TEXT, store, "--store", "PATH", "", 0, 0,                            \
      "the SQLite file that runs are kept in (default: $XDG_DATA_HOME/prover/runs.sqlite)")        \
    X(FOR_PROVE | OF_PROCESS, TEXT, prove_store, "--store", "FILE", "", 0, 0,                      \
      "keep results and search trees in this SQLite file, for `prover report`")                    \
    X(FOR_PROVE | FOR_BENCH | OF_PROCESS, FLAG, no_trees, "--no-trees", NULL, "", 0, 0,            \
      "keep no search trees in the store (`prover report` shows them)")                            \
    X(FOR_REPORT, TEXT, page, "-o", "PAGE.html", "", 0, 0, "the page to write")                    \
    X(FOR_REPORT, TEXT, run, "--run", "ID", "", 0, 0,                                              \
      "the run to show, by the beginning of its name (default: the latest of the first store)")    \
    X(FOR_REPORT, PAIR, compare, "--compare", "RUN_A RUN_B", "", 0, 0,                             \
      "show these two runs side by side")                                                          \
    X(FOR_REPORT, TEXT, title, "--title", "TEXT", "", 0, 0, "the page's title")                    \
    X(FOR_REPORT, NUMBER, trees, "--trees", "MIB", "16", 0, 2000,                                  \
      "room for search trees in the page; the smallest ones come first (0: none)")                 \
    X(FOR_BENCH | OF_PROCESS, FLAG, resume, "--resume", NULL, "", 0, 0,                            \
      "go on with a run, or join it: the one that is named, else the latest")                      \
    X(FOR_BENCH, COUNT, passes, "--pass", "N", "1", 1, 1e6,                                        \
      "attempts at each problem, each with a seed of its own; pass@k for k up to N")               \
    X(FOR_BENCH | OF_PROCESS, TEXT, split, "--split", "NAME", "", 0, 0,                            \
      "only problems of this split")                                                               \
    X(FOR_BENCH | OF_PROCESS, TEXT, filter, "--filter", "GLOB", "", 0, 0,                          \
      "only problems whose name matches (*, ?, [...])")                                            \
    X(FOR_BENCH, TEXT, budget, "--budget", "LIST", "wall=60,nodes=100000", 0, 0,                   \
      "of one attempt: wall=SECONDS,nodes=N,lean=SECONDS,tokens=N; what is left out has no limit") \
    X(FOR_PROVED, TEXT, mode, "--mode", "step|whole|both", "step", 0, 0,                           \
      "step: search; whole: proofs written at once; both: those first, and the search goes on "    \
      "from what is good in them; whole-cot, both-cot: a plan before each proof")                  \
    X(FOR_PROVED, TEXT, proofs, "--proofs", "FILE.jsonl", "", 0, 0,                                \
      "whole proofs that were written before, with `name` and `code` (instead of a model)")        \
    X(FOR_PROVED, COUNT, whole_samples, "--whole-samples", "N", "4", 1, 10000,                     \
      "whole proofs in each round of an attempt")                                                  \
    X(FOR_PROVED, COUNT, whole_rounds, "--whole-rounds", "N", "1", 1, 1e6,                         \
      "rounds: each after the first goes on from the beginning that promises most (RMaxTS)")       \
    X(FOR_PROVED, COUNT, whole_tokens, "--whole-tokens", "N", "8192", 1, 1e7,                      \
      "tokens of one whole proof")                                                                 \
    X(FOR_PROVED, COUNT, repair, "--repair", "N", "0", 0, 100,                                     \
      "times that a whole proof is shown Lean's errors and asked for again, before the next "      \
      "round")                                                                                     \
    X(FOR_PROVED, COUNT, repair_samples, "--repair-samples", "N", "2", 1, 1000,                    \
      "answers to each refused proof")                                                             \
    X(FOR_BENCH | OF_PROCESS, COUNT, parallel, "--parallel", "N", "0", 0, 4096,                    \
      "problems that are worked on at a time (0: one for each Lean process)")                      \
    X(FOR_GENERATE | FOR_BENCH | OF_PROCESS, TEXT, shard, "--shard", "I/N", "0/1", 0, 0,           \
      "only the I-th (from 0) of N parts of the statements")                                       \
    X(FOR_GENERATE, COUNT, limit, "--limit", "N", "0", 0, 1e12,                                    \
      "end after so many statements (0: no limit)")                                                \
    X(FOR_GENERATE | FOR_BENCH | OF_PROCESS, NUMBER, minutes, "--minutes", "M", "0", 0, 1e6,       \
      "end after so much time (0: no limit)")                                                      \
    X(FOR_GENERATE, COUNT, longest, "--longest", "BYTES", "500", 20, 1e6,                          \
      "statements above this are dropped")                                                         \
    X(FOR_GENERATE, COUNT, negatives, "--negatives", "N", "4", 0, 1000,                            \
      "failed tactics kept for each state of a proof")                                             \
    X(FOR_GENERATE | OF_PROCESS, COUNT, judges, "--judges", "N", "1", 1, 16,                       \
      "Lean processes that judge batches of found proofs side by side")                            \
    X(FOR_GENERATE, FLAG, no_shorten, "--no-shorten", NULL, "", 0, 0,                              \
      "keep proofs as they were found")                                                            \
    X(FOR_GENERATE, NUMBER, generate_timeout, "--timeout", "SECONDS", "20", 0.1, 1e7,              \
      "wall time of the search for each statement")                                                \
    X(FOR_GENERATE, COUNT, generate_nodes, "--nodes", "N", "400", 1, 1e9,                          \
      "proof states kept for each statement")                                                      \
    X(FOR_GENERATE, COUNT, expansions, "--expansions", "N", "12", 1, 1e9,                          \
      "states expanded for each statement")                                                        \
    X(FOR_GENERATE, NUMBER, generate_lean_seconds, "--lean-seconds", "SECONDS", "1", 0, 1e7,       \
      "time inside Lean for each statement (0: no limit)")                                         \
    X(FOR_GENERATE, COUNT, generate_width, "--width", "N", "48", 1, 10000,                         \
      "candidates asked for in each state (a model may say another default)")                      \
    X(FOR_GENERATE, NUMBER, generate_tactic_timeout, "--tactic-timeout", "SECONDS", "4", 0.1, 1e6, \
      "wall time of one tactic; Lean is killed past it")                                           \
    X(FOR_GENERATE, COUNT, generate_heartbeats, "--heartbeats", "N", "5000", 0, 1e9,               \
      "Lean's maxHeartbeats for one tactic (0: no limit)")                                         \
    X(FOR_VERIFY_DATA, COUNT, sample, "--sample", "N", "500", 1, 1e12,                             \
      "rows to check, chosen by --seed")                                                           \
    X(FOR_PROVE | FOR_FILL, NUMBER, timeout, "--timeout", "SECONDS", "60", 0.1, 1e7,               \
      "wall time of the search for each theorem, or hole")                                         \
    X(FOR_PROVE | FOR_FILL, COUNT, nodes, "--nodes", "N", "100000", 1, 1e9,                        \
      "proof states kept for each theorem")                                                        \
    X(FOR_PROVE | FOR_FILL, NUMBER, lean_seconds, "--lean-seconds", "SECONDS", "0", 0, 1e7,        \
      "time inside Lean for each theorem, all workers together (0: no limit)")                     \
    X(FOR_PROVE | FOR_FILL | FOR_GENERATE, COUNT, tokens, "--tokens", "N", "0", 0, 1e15,           \
      "model tokens for each theorem (0: no limit)")                                               \
    X(FOR_PROVE | FOR_FILL | FOR_DATA | FOR_BENCH | OF_PROCESS, COUNT, workers, "--workers", "N",  \
      "0", 0, 256, "Lean processes (0: by cores and memory)")                                      \
    X(FOR_ENGINE | FOR_VERIFY_DATA, COUNT, seed, "--seed", "N", "1", 0, 9e15,                      \
      "seed of every choice")                                                                      \
    X(FOR_SEARCH, TEXT, policy, "--policy", "NAME", "", 0, 0,                                      \
      "where tactics come from: mixed (default: the shipped model and the portfolio), model "      \
      "(default with --model), http (with --url), premises, portfolio")                            \
    X(FOR_SEARCH, TEXT, premises, "--premises", "FILE.jsonl", "", 0, 0,                            \
      "the lemmas that --policy premises proposes: rows with `name` and `statement`")              \
    X(FOR_SEARCH | FOR_DOCTOR, TEXT, model, "--model", "DIR", "", 0, 0,                            \
      "a checkpoint folder in Hugging Face layout (default: PROVER_MODEL, else the shipped one)")  \
    X(FOR_SEARCH | OF_PROCESS, TEXT, url, "--url", "URL", "", 0, 0,                                \
      "a server that speaks OpenAI's protocol, such as http://localhost:8000/v1")                  \
    X(FOR_SEARCH, TEXT, server_model, "--server-model", "NAME", "", 0, 0,                          \
      "the server's model (default: the only one that it has)")                                    \
    X(FOR_SEARCH, TEXT, api, "--api", "completions|chat", "completions", 0, 0,                     \
      "which of the server's interfaces is asked")                                                 \
    X(FOR_SEARCH, TEXT, prompt, "--prompt", "NAME|FILE.json", "prover-v2-noncot", 0, 0,            \
      "how the server's model is asked: prover-v2-noncot, state, or a prover.json")                \
    X(FOR_SEARCH | OF_PROCESS, TEXT, key_env, "--key-env", "NAME", "", 0, 0,                       \
      "the environment variable that holds the server's key (default: none is sent)")              \
    X(FOR_SEARCH | OF_PROCESS, COUNT, in_flight, "--in-flight", "N", "64", 1, 4096,                \
      "requests to the server at the same time")                                                   \
    X(FOR_SEARCH | OF_PROCESS, NUMBER, rate, "--rate", "R", "0", 0, 1e6,                           \
      "requests to the server a second (0: no limit)")                                             \
    X(FOR_SEARCH | OF_PROCESS, COUNT, retries, "--retries", "N", "5", 0, 100,                      \
      "second tries of a request that failed")                                                     \
    X(FOR_SEARCH | OF_PROCESS, NUMBER, server_timeout, "--server-timeout", "SECONDS", "300", 0.1,  \
      1e6, "wall time of one request to the server")                                               \
    X(FOR_SEARCH, COUNT, choices, "--choices", "N", "0", 0, 10000,                                 \
      "samples asked for in one request to the server (0: all of a state's)")                      \
    X(FOR_SEARCH, FLAG, server_stream, "--stream", NULL, "", 0, 0,                                 \
      "let the server send tokens as they come")                                                   \
    X(FOR_SEARCH, FLAG, no_logprobs, "--no-logprobs", NULL, "", 0, 0,                              \
      "do not ask the server for log-probabilities: candidates count by their share")              \
    X(FOR_SEARCH, TEXT, body, "--body", "JSON", "", 0, 0,                                          \
      "an object whose fields are put over those of every request (null: left out)")               \
    X(FOR_SEARCH | OF_PROCESS, TEXT, ca_file, "--ca-file", "FILE.pem", "", 0, 0,                   \
      "certificates that may sign the server's (default: the system's)")                           \
    X(FOR_COMPLETE, TEXT, template_name, "--template", "NAME", "raw", 0, 0,                        \
      "how the prompt is dressed: raw, chat, prover-v2-noncot, prover-v2-cot")                     \
    X(FOR_COMPLETE, COUNT, samples, "--samples", "N", "1", 1, 100000, "completions of the prompt") \
    X(FOR_ENGINE, COUNT, max_tokens, "--max-tokens", "N", "256", 1, 1e7,                           \
      "tokens of one completion, or of one tactic")                                                \
    X(FOR_ENGINE, NUMBER, temperature, "--temperature", "T", "1", 0, 100,                          \
      "0: always the likeliest token")                                                             \
    X(FOR_ENGINE, COUNT, top_k, "--top-k", "N", "0", 0, 1e9,                                       \
      "draw from the N likeliest tokens (0: all)")                                                 \
    X(FOR_ENGINE, NUMBER, top_p, "--top-p", "P", "1", 0, 1,                                        \
      "draw from the likeliest tokens of this mass")                                               \
    X(FOR_ENGINE, NUMBER, min_p, "--min-p", "P", "0", 0, 1,                                        \
      "draw from tokens at least P times as likely as the likeliest")                              \
    X(FOR_COMPLETE, TEXT, stop, "--stop", "TEXT", "", 0, 0, "end a completion before this text")   \
    X(FOR_COMPLETE, FLAG, stream, "--stream", NULL, "", 0, 0,                                      \
      "print tokens as they come (one sample)")                                                    \
    X(FOR_DEVICE | OF_PROCESS, TEXT, device, "--device", "auto|cpu|cuda[:N,...]", "auto", 0, 0,    \
      "what computes; auto: a GPU where one answers and the model fits, else the CPU; several "    \
      "numbers: a part of the model on each")                                                      \
    X(FOR_DEVICE | OF_PROCESS, NUMBER, kv_memory, "--kv-memory", "GIB", "0", 0, 1e6,               \
      "cache of keys and values, on each GPU (0: what it has left; CPU: a context, or 256 MiB)")   \
    X(FOR_DEVICE | OF_PROCESS, COUNT, threads, "--threads", "N", "0", 0, 1024,                     \
      "threads of the CPU backend (0: one for each core)")                                         \
    X(FOR_SEARCH, TEXT, draw, "--draw", "distinct|independent", "", 0, 0,                          \
      "may a model's samples of one state be the same? (default: distinct, they may not, unless "  \
      "the "                                                                                       \
      "model's prover.json says independent)")                                                     \
    X(FOR_SEARCH, NUMBER, alpha, "--alpha", "A", "0.5", 0, 1, "length normalisation of the score") \
    X(FOR_PROVE | FOR_FILL | FOR_BENCH, COUNT, width, "--width", "N", "64", 1, 10000,              \
      "candidates asked for in each state (a model may say another default)")                      \
    X(FOR_PROVE | FOR_FILL | FOR_BENCH, COUNT, window, "--window", "N", "4", 1, 1024,              \
      "states expanded at the same time (part of what determines a search)")                       \
    X(FOR_SEARCH, COUNT, depth, "--depth", "N", "128", 1, 100000, "longest path of tactics")       \
    X(FOR_JUDGED, NUMBER, tactic_timeout, "--tactic-timeout", "SECONDS", "10", 0.1, 1e6,           \
      "wall time of one tactic; Lean is killed past it")                                           \
    X(FOR_JUDGED, COUNT, heartbeats, "--heartbeats", "N", "200000", 0, 1e9,                        \
      "Lean's maxHeartbeats for one tactic (0: no limit)")                                         \
    X(FOR_LEAN | OF_PROCESS, NUMBER, memory, "--memory", "GIB", "4", 0.25, 4096,                   \
      "resident memory of one Lean process")                                                       \
    X(FOR_PROVE | OF_PROCESS, TEXT, trace, "--trace", "FILE", "", 0, 0,                            \
      "write the search down as JSON lines (replayable)")                                          \
    X(FOR_PROVE | OF_PROCESS, FLAG, tree, "--tree", NULL, "", 0, 0, "show the search tree")        \
    X(FOR_JUDGED, TEXT, level, "--level", "LEVEL", "", 0, 0,                                       \
      "least level that counts: compiled, audited or replayed (docs/verification.md)")             \
    X(FOR_VERIFY, TEXT, against, "--against", "STATEMENT.lean", "", 0, 0,                          \
      "the statements, with sorry, that FILE.lean must prove")                                     \
    X(FOR_VERIFY, TEXT, config, "--config", "FILE.json", "", 0, 0,                                 \
      "what to verify, as comparator's configuration says it, in place of FILE.lean")              \
    X(FOR_VERIFY, FLAG, leanchecker, "--leanchecker", NULL, "", 0, 0,                              \
      "the toolchain's leanchecker must accept the compiled file, too")                            \
    X(FOR_VERIFY, LIST, external_kernels, "--external-kernel", "CMD", "", 0, 0,                    \
      "this kernel must accept what lean4export writes, from stdin or the file that {} stands "    \
      "for (may be given several times)")                                                          \
    X(FOR_VERIFY, TEXT, export_file, "--export", "FILE", "", 0, 0,                                 \
      "keep what lean4export writes of the accepted proof")                                        \
    X(FOR_VERIFY, NUMBER, kernel_timeout, "--kernel-timeout", "SECONDS", "600", 0.1, 1e6,          \
      "wall time of each such program")                                                            \
    X(FOR_ALL | OF_PROCESS, FLAG, json, "--json", NULL, "", 0, 0,                                  \
      "results as JSON lines on stdout")                                                           \
    X(FOR_ALL | FOR_REPORT | OF_PROCESS, COUNT, verbose, "--verbose", "N", "0", 0, 3,              \
      "log on stderr: 1 what happens, 2 more, 3 everything")

enum { OPTION_LIST_MAX = 64 };

typedef struct option_list { /* in the order given; borrowed from argv */
    const char *items[OPTION_LIST_MAX];
    size_t count;
} option_list;

typedef struct options {
    int command;            /* one of FOR_*                                          */
    const char **arguments; /* what is not an option; argument_count, borrowed from argv */
    size_t argument_count;
    bool help;
#define FIELD_FLAG(name)   bool name;
#define FIELD_COUNT(name)  uint64_t name;
#define FIELD_NUMBER(name) double name;
#define FIELD_TEXT(name)   const char *name; /* borrowed from argv; "" when not given */
#define FIELD_LIST(name)   option_list name;
#define FIELD_PAIR(name)   const char *name[2]; /* borrowed from argv; NULL when not given */
#define X(commands, kind, field, ...)                                                              \
    FIELD_##kind(field) bool field##_given; /* on the command line, not by the table */
    OPTION_TABLE(X)
#undef X
} options;

/* Reads argv[first...] for `command`. `--` ends the options. Fails: PV_E_INVALID with what is wrong and what is
 * meant (the nearest option for an unknown one). The caller frees with options_release(). */
PV_NODISCARD pv_status options_parse(options *out, int command, int argc, char **argv, int first,
                                     pv_error *err);
void options_release(options *opt);

/* Calls back for each option of opt->command but lists, in the table's order: its value as text ("true" or "false" for a flag), borrowed
 * for the call, whether it was given, and whether it is OF_PROCESS. */
typedef void options_on_value(void *user, const char *flag, const char *value, bool given,
                              bool of_process);
void options_visit(const options *opt, options_on_value *on_value, void *user);

/* Sets one option of opt->command to such a text, which is borrowed for as long as *opt lives. Fails: PV_E_INVALID. */
PV_NODISCARD pv_status options_set(options *opt, const char *flag, const char *value, bool given,
                                   pv_error *err);

/* Appends the option list of `command`, one a line. */
void options_help(int command, pv_buf *out);

#endif
