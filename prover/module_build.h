/* module_build: modules of a project compiled by the npm Lean, where there is no lake to do it.
 *
 * lean/wasm/compile.lean makes one .olean of each file, in a temporary folder that is put on Lean's search path. Only files as they lie on
 * the disk are compiled, outside the sandbox, as `lake build` would: they are the user's own. Threads: one. */
#ifndef MODULE_BUILD_H
#define MODULE_BUILD_H

#include "project.h"
#include "session.h"

typedef struct module_build {
    char *folder; /* NULL: nothing was compiled */
} module_build;

/* Compiles the needed modules of `p` when s's Lean is the npm one, and tells s->toolchain of the folder. Before the pool is started. Fails:
 * PV_E_INVALID (a module with errors: what Lean said), PV_E_IO, PV_E_NOMEM, PV_E_CANCELLED. *out must be closed all the same. */
PV_NODISCARD pv_status module_build_all(module_build *out, session *s, const project *p,
                                        pv_error *err);

/* Removes the folder. */
void module_build_close(module_build *build);

#endif
