/* kernel_check: what looks at a proof after the judge accepted it: leanchecker, and kernels of others by way of lean4export.
 *
 * Each step is a process of its own in the sandbox (lean_kernel.h), with a deadline and limits. The judge has compared the
 * statement; these only say whether declarations are well typed. They can refuse a proof and never rescue one. Threads: one. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H

#include "lean_kernel.h"
#include "lean_session.h"

typedef struct kernel_check {
    session *s;
    lean_kernel_tools tools;
    const char **commands; /* command_count of external kernels; the texts are borrowed */
    size_t command_count;
    const char *export_file; /* "": no copy of the export is wanted */
    const char *const *axioms;
    size_t axiom_count; /* what nanoda is told to permit; borrowed */
    bool wanted;
    char folder[64]; /* a private one below /tmp, "" before it is made */
} kernel_check;

/* Reads --external-kernel, --export and --leanchecker of the session's options, and takes `more` commands of a configuration (borrowed until
 * close). Finds all programs, starts none. Fails: PV_E_NOTFOUND and PV_E_INVALID, each with what to do. After a failure there is
 * nothing to close. */
PV_NODISCARD pv_status kernel_check_open(kernel_check *out, session *s, char *const *more,
                                         size_t more_count, const char *const *axioms,
                                         size_t axiom_count, pv_error *err);
void kernel_check_close(kernel_check *k);

/* Has the module `header` + `body` checked. A refusal takes *v's level away and gives it a reason: "compile", "export" or "kernel". Acceptances
 * are added to its checkers. Does nothing when nothing is wanted. Fails when a program could not be run (PV_E_SPAWN, PV_E_IO),
 * was interrupted, or memory is short: neither accepted nor refused. */
PV_NODISCARD pv_status kernel_check_run(kernel_check *k, const char *header, const char *body,
                                        const char *const *names, size_t name_count, verdict *v,
                                        pv_error *err);

#endif
