/* settings: the numbers of a benchmark by name, with what they are unless `--NAME VALUE` says otherwise. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct setting {
    const char *name;
    uint32_t value;
} setting;

/* Reads the pairs in argv[first] and behind it; false: one is unknown, or without a value. */
static inline bool settings_read(setting *settings, size_t count, int first, int argc, char **argv)
{
    for (int i = first; i < argc; i += 2) {
        size_t s = 0;
        while (s < count &&
               (strncmp(argv[i], "--", 2) != 0 || strcmp(argv[i] + 2, settings[s].name) != 0)) {
            s++;
        }
        if (s == count || i + 1 == argc) {
            return false;
        }
        settings[s].value = (uint32_t)strtoul(argv[i + 1], NULL, 10);
    }
    return true;
}

#endif
