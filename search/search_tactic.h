/* search_tactic: the text of a tactic: when two are the same, and how one is set into a script.
 * Internal to search/. */
#ifndef SEARCH_TACTIC_H
#define SEARCH_TACTIC_H

#include "pv_buf.h"
#include "pv_hash.h"

/* Writes the normal form of the text into *scratch (cleared first): comments gone, blank lines
 * gone, runs of blanks made one, the common indentation and a trailing `;` taken off. Line
 * breaks and relative indentation stay, because Lean's layout depends on them; strings stay as
 * they are. An empty result means that there is no tactic in it. */
void search_tactic_normalise(const char *tactic, pv_buf *scratch);

/* Appends the tactic as a block of lines indented by `indent` spaces, its own relative
 * indentation kept. With `bullet`, the first line begins with `· ` two columns further left. */
void search_tactic_lay(pv_buf *out, const char *tactic, size_t indent, bool bullet);

#endif
