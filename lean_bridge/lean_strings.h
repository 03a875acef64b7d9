/* lean_strings: lists of strings under construction: argument vectors, environments, folders. Internal to lean_bridge.
 *
 * `lean_strings list = {0};` is an empty list. A failed allocation is remembered and told once, at the end, by
 * lean_strings_detach(). Threads: one at a time per list. */
#ifndef LEAN_STRINGS_H
#define LEAN_STRINGS_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct lean_strings {
    char **items; /* owned, and so is each string */
    size_t count, capacity;
    bool failed; /* an addition ran out of memory */
} lean_strings;

void lean_strings_add(lean_strings *list, const char *text);
void lean_strings_addf(lean_strings *list, const char *fmt, ...) PV_PRINTF(2, 3);
/* Adds each of a NULL-terminated vector; NULL adds nothing. */
void lean_strings_add_all(lean_strings *list, char *const *texts);

/* Hands out the NULL-terminated vector (free with lean_strings_free) and empties the list. NULL when memory was short. */
char **lean_strings_detach(lean_strings *list);
void lean_strings_release(lean_strings *list);
void lean_strings_free(char **texts);

/* A formatted string of the caller's (pv_free), NULL when memory is short. */
char *lean_strings_format(const char *fmt, ...) PV_PRINTF(1, 2);

#endif
