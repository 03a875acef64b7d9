/* lean_program: where a program lies. Threads: any; nothing is kept. */
#ifndef LEAN_PROGRAM_H
#define LEAN_PROGRAM_H

#include <stdbool.h>

/* A regular file that this user may execute. */
bool lean_program_is(const char *path);

/* The absolute path of `name` (pv_free): links are followed for a name with a slash in it; any other is looked for in the absolute
 * folders of `path`, a value of PATH, or NULL. NULL: there is none, or memory is short. */
char *lean_program_find(const char *path, const char *name);

#endif
