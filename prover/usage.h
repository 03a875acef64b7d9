/* usage: which theorems a proof names, asked of Lean; among them perhaps the one that it is to prove, which the environment
 * holds already.
 *
 *     status = usage_ask(&u, env, statement, proof, name, err);     then u.pending is true until the answer is there
 *     if (!u.pending) { u.failure, u.itself, u.used, u.unused }
 *     usage_release(&u);                                            not while it is pending: usage_cancel() and wait
 * Threads: the loop's. */
#ifndef USAGE_H
#define USAGE_H

#include "lean_pool.h"

#include <jansson.h>

typedef struct usage { /* {0}: nothing asked; must stay where it is while pending */
    bool pending;
    pv_error failure;
    bool itself;           /* the theorem `name`, or a lemma that Lean made of it, is used */
    json_t *unused, *used; /* names: hypotheses not needed, theorems used; NULL before an answer */
    const char *name;      /* borrowed */
    lean_ticket ticket;
} usage;

/* Asks about `proof` (a tactic block at column 0) of `statement` (as data_text_theorem() takes it), which states the theorem
 * `name`. What an earlier answer left is released. Fails: PV_E_NOMEM, and as lean_library_ask(). */
PV_NODISCARD pv_status usage_ask(usage *u, lean_env *env, const char *statement, const char *proof,
                                 const char *name, pv_error *err);
void usage_cancel(usage *u, lean_pool *pool);
void usage_release(usage *u);

#endif
