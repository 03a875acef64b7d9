/* theorem: what Lean found in the user's text: declarations and their holes, copied out of the bridge's answer. */
#ifndef THEOREM_H
#define THEOREM_H

#include "lean_pool.h"
#include "pv_error.h"
#include "source.h"

#include <stdbool.h>

typedef struct hole {
    size_t start, end; /* bytes of the `sorry` in source.text            */
    size_t line, column;
    bool term, prop;
    char *form;   /* a word of docs/protocol.md; "" when the server does not say */
    size_t outer; /* column that a filling must stay right of                    */
    char **goals; /* goal_count display texts                            */
    size_t goal_count;
    pv_key key;
    lean_state *state; /* a reference                                     */
} hole;

typedef struct theorem {
    char *name, *kind, *type;
    size_t start, end; /* bytes of the declaration in source.text        */
    size_t line;
    bool prop;
    hole *holes;
    size_t hole_count;
} theorem;

typedef struct theorem_list {
    theorem *items;
    size_t count;
} theorem_list;

/* The first error among its messages; NULL: none. Lives as long as the answer. */
const lean_message *theorem_first_error(const lean_opened *opened);

/* Copies what `open` answered. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status theorem_list_copy(theorem_list *out, const lean_opened *opened,
                                         pv_error *err);
void theorem_list_release(theorem_list *list);

#endif
