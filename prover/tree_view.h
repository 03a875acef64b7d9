/* tree_view: a search tree as indented text, for --tree. */
#ifndef TREE_VIEW_H
#define TREE_VIEW_H

#include "search.h"

/* The states and the tactics that led to them, best first, the proof's marked with `*`. Long trees are cut, and say so.
 * The caller frees with pv_free(); NULL when memory is short. */
char *tree_view(const search_run *run);

#endif
