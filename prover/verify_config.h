/* verify_config: a configuration file as comparator reads it: what is to be verified, and against what.
 *
 *     {"challenge_module": "Challenge", "solution_module": "Solution", "theorem_names": ["t"], "definition_names": [],
 *      "permitted_axioms": ["propext"], "enable_nanoda": false, "external_kernels": ["nanoda_bin"]}
 * Threads: one. */
#ifndef VERIFY_CONFIG_H
#define VERIFY_CONFIG_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

enum { VERIFY_CONFIG_MAX = 1 << 20, VERIFY_CONFIG_ITEMS_MAX = 1024 };

typedef struct verify_config {
    char *challenge,
        *solution; /* paths below `folder`: the file with the statements, and the one with proofs */
    char **names;  /* name_count theorems, then definitions, that the solution must have */
    size_t name_count, theorem_count;
    char **axioms; /* axiom_count that a proof may rest on: some of Lean's three */
    size_t axiom_count;
    char **kernels; /* kernel_count commands that get an export (lean_kernel.h) */
    size_t kernel_count;
} verify_config;

/* Reads n bytes. Modules are files below `folder`. Fails: PV_E_INVALID, naming the field: an unknown one, one of the wrong type, one that
 * is missing, a module whose name is none, an axiom that this judge never permits. */
PV_NODISCARD pv_status verify_config_parse(verify_config *out, const char *folder, const char *text,
                                           size_t n, pv_error *err);

/* The same for a file; modules lie below `folder`, or for "" in the file's own folder. */
PV_NODISCARD pv_status verify_config_read(verify_config *out, const char *path, const char *folder,
                                          pv_error *err);
void verify_config_release(verify_config *config);

#endif
