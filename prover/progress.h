/* progress: what a person sees on stderr while a command works: one live line on a terminal, a plain line every few
 * seconds elsewhere. Threads: one. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "search.h"

#include <stdbool.h>

/* quiet: show nothing (stderr still gets errors and logs). */
void progress_init(bool quiet);

/* The figures of a search that runs. Draws at most 10 times a second on a terminal, every 5 s elsewhere. */
void progress_update(const char *name, const search_stats *stats, double seconds);

/* The same for a line that is made already. */
void progress_line(const char *line);

/* Something worth a line of its own while work goes on ("starting Lean ..."). */
void progress_note(const char *name, const char *what);

/* Clears the live line, so that other output starts on a clean one. */
void progress_clear(void);

#endif
