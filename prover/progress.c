#include "progress.h"

#include "pv_clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The terminal is one, and so is this. */
static struct {
    bool quiet, terminal, drawn;
    uint64_t last_ms;
} progress;

void progress_init(bool quiet)
{
    progress.quiet = quiet;
    progress.terminal = isatty(STDERR_FILENO) == 1;
    progress.last_ms = pv_clock_ms();
}

void progress_clear(void)
{
    if (progress.drawn) {
        fputs("\r\033[K", stderr);
        progress.drawn = false;
    }
}

static bool due(void)
{
    uint64_t now = pv_clock_ms(), pause = progress.terminal ? 100 : 5000;
    if (progress.quiet || now - progress.last_ms < pause) {
        return false;
    }
    progress.last_ms = now;
    return true;
}

static void draw(const char *line)
{
    if (progress.terminal) {
        fprintf(stderr, "\r%.*s\033[K", 150, line);
        progress.drawn = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
}

void progress_update(const char *name, const search_stats *stats, double seconds)
{
    if (!due()) {
        return;
    }
    char line[256];
    snprintf(line, sizeof line,
             "%s: %.1f s, %llu states, %llu tactics (%.0f/s), depth %u, %llu failed, %llu merged",
             name, seconds, (unsigned long long)stats->nodes, (unsigned long long)stats->tactics,
             seconds > 0 ? (double)stats->tactics / seconds : 0, stats->depth,
             (unsigned long long)stats->failed, (unsigned long long)stats->duplicates);
    draw(line);
}

void progress_line(const char *line)
{
    if (due()) {
        draw(line);
    }
}

void progress_note(const char *name, const char *what)
{
    if (!progress.quiet) {
        char line[256];
        snprintf(line, sizeof line, "%s: %s", name, what);
        draw(line);
    }
}
