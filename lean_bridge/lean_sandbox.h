/* lean_sandbox: how Lean children are confined. Tactics are untrusted code.
 *
 * With bubblewrap: own user, pid, network, ipc and uts namespaces, the file system read-only, home folders and keys hidden,
 * a private /tmp of 64 MiB, no new privileges, everything killed with its parent. Without: the child runs in its own process
 * group with resource limits, and `describe` says that it is not confined.
 * To kill a child and all that it started: SIGKILL to the process that was spawned. With bubblewrap that ends its pid
 * namespace, and so does the end of the thread that spawned it; without, only the process group is reached.
 * Threads: any; immutable once probed. */
#ifndef LEAN_SANDBOX_H
#define LEAN_SANDBOX_H

#include "lean_toolchain.h"

/* What became of the last probe: a file that it tried to write in several folders, a connection that it tried to open. Both
 * are looked at from outside as well, since what the probe says of itself is worth nothing where it is not confined. */
typedef struct lean_canary {
    bool ran;       /* false: there was nothing to run it in */
    bool wrote;     /* to a place outside of the sandbox     */
    bool connected; /* or saw a network, or its sockets      */
} lean_canary;

typedef struct lean_sandbox {
    lean_canary canary;
    bool active;    /* bubblewrap works here: a probe wrote nothing and saw no network */
    bool modern;    /* bubblewrap 0.8 or later: bounds its tmpfs, forbids further user namespaces */
    char *bwrap;    /* absolute path; NULL when not active                             */
    char *describe; /* one sentence: what confines the children, or why nothing does   */
} lean_sandbox;

/* Looks for bubblewrap on `path` and proves that it works by running a probe in it that tries to write to the file
 * system and to open a network connection. Takes some 50 ms. Not finding it is no failure (active = false).
 * `disabled`: the user asked for none. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status lean_sandbox_probe(lean_sandbox *out, const char *path, bool disabled,
                                          pv_error *err);

/* The argument vector that runs `toolchain` in the sandbox (NULL-terminated; free with lean_sandbox_free_argv). */
PV_NODISCARD pv_status lean_sandbox_argv(const lean_sandbox *sandbox,
                                         const lean_toolchain *toolchain, char ***out,
                                         pv_error *err);
void lean_sandbox_free_argv(char **argv);

/* A copy that lives by itself. */
PV_NODISCARD pv_status lean_sandbox_copy(lean_sandbox *out, const lean_sandbox *from,
                                         pv_error *err);

void lean_sandbox_release(lean_sandbox *sandbox);

#endif
