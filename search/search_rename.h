/* search_rename: two texts of goals that are equal up to the names of hypotheses, and what brings one to the names of the other.
 *
 * A node's tactics were tried with the names that its first arrival had. A later arrival of the same key may have others: its goal is
 * renamed first (search_proof.c writes it), or, where that cannot be said, it is a node of its own. Internal to search/.
 * Threads: pure. */
#ifndef SEARCH_RENAME_H
#define SEARCH_RENAME_H

#include "pv_buf.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum search_names {
    SEARCH_NAMES_SAME, /* every hypothesis has the same name, or none that can be written in both */
    SEARCH_NAMES_RENAMED, /* the script was appended                                                 */
    SEARCH_NAMES_OTHER, /* they differ, and no script is known that makes them equal               */
} search_names;

/* Compares Lean's displays of two goals with the same key. RENAMED: tactics, a line each, that give the hypotheses of `from` the names
 * that they have in `to`: those from the first difference on are taken back into the goal and introduced again. OTHER: one of those has a
 * value (`x : T := v`), the displays cannot be read, or memory is short. *out is only appended to when RENAMED. */
search_names search_rename(const char *from, const char *to, pv_buf *out);

#endif
