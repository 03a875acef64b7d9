/* lean_kernel: the programs beside Lean that look at a finished module, and how each is started: `lean -o`, leanchecker, lean4export,
 * and kernels of others that read its exports.
 *
 * A candidate is the module LEAN_KERNEL_MODULE in a folder of the caller's. Its source is compiled in one sandbox; the .olean comes
 * out as bytes on stdout and goes, as a file that cannot be written to, into the sandbox of the next program, in which
 * nothing of the candidate ran. This file makes the commands, lean_tool.h runs them. Threads: any; nothing is shared. */
#ifndef LEAN_KERNEL_H
#define LEAN_KERNEL_H

#include "lean_toolchain.h"

#define LEAN_KERNEL_MODULE "ProverCandidate"

enum { LEAN_KERNEL_WORDS_MAX = 32 };

typedef struct lean_kernel_tools { /* absolute paths, owned; NULL: not there */
    lean_toolchain base;           /* the official Lean that they belong to */
    char *lean, *lean4export, *leanchecker;
} lean_kernel_tools;

/* What is there beside `toolchain`: lean and leanchecker in its folder; lean4export on `path` (a value of PATH), or built in the
 * project's .lake/packages. What is not needed may be missing. Fails: PV_E_NOTFOUND with what is missing and the remedy (always for
 * npm's Lean, which writes no .olean files), PV_E_NOMEM. */
PV_NODISCARD pv_status lean_kernel_find(lean_kernel_tools *out, const lean_toolchain *toolchain,
                                        const char *path, bool need_export, bool need_checker,
                                        pv_error *err);
void lean_kernel_release(lean_kernel_tools *tools);

/* The commands; the caller releases *out. `folder` is absolute and holds LEAN_KERNEL_MODULE.lean, later .olean.
 * Fails: PV_E_NOMEM. */

/* Compiles the source; the .olean comes on stdout. */
PV_NODISCARD pv_status lean_kernel_compile(lean_toolchain *out, const lean_kernel_tools *tools,
                                           const char *folder, pv_error *err);

/* Replays the module's declarations in Lean's kernel: exit code 0 says that it accepts them. Requires leanchecker. */
PV_NODISCARD pv_status lean_kernel_check(lean_toolchain *out, const lean_kernel_tools *tools,
                                         const char *folder, pv_error *err);

/* Exports the named declarations and all that they rest on, on stdout. Requires lean4export. */
PV_NODISCARD pv_status lean_kernel_export(lean_toolchain *out, const lean_kernel_tools *tools,
                                          const char *folder, const char *const *names,
                                          size_t name_count, pv_error *err);

/* A kernel of somebody else. `command`: words with blanks between them, no quotes; the first is a program, by its path or on
 * `path`; `{}` in a word stands for the absolute path `export_file`. Without `{}` the kernel reads the export from its standard
 * input (*reads_input). `nanoda_bin` alone gets a configuration file, written to `folder`, that permits `axioms` and says
 * that the export is its input. Fails: PV_E_NOTFOUND (no such program), PV_E_INVALID (no word, too many), PV_E_IO, PV_E_NOMEM. */
PV_NODISCARD pv_status lean_kernel_external(lean_toolchain *out, bool *reads_input,
                                            const lean_kernel_tools *tools, const char *path,
                                            const char *command, const char *folder,
                                            const char *export_file, const char *const *axioms,
                                            size_t axiom_count, pv_error *err);

/* Whether `command` names a program that is there, before anything is started. Fails as lean_kernel_external(). */
PV_NODISCARD pv_status lean_kernel_look(const char *path, const char *command, pv_error *err);

#endif
