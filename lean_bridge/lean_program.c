#define _XOPEN_SOURCE 700 /* realpath */
#include "lean_program.h"

#include "lean_strings.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool lean_program_is(const char *path)
{
    struct stat info;
    return path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode) &&
           access(path, X_OK) == 0;
}

static char *resolve(const char *name)
{
    char *real = realpath(name, NULL);
    char *copy = lean_program_is(real) ? pv_strdup(real) : NULL;
    free(real);
    return copy;
}

char *lean_program_find(const char *path, const char *name)
{
    if (strchr(name, '/') != NULL) {
        return resolve(name);
    }
    while (path != NULL && *path != '\0') {
        size_t n = strcspn(path, ":");
        char *file = *path == '/' ? lean_strings_format("%.*s/%s", (int)n, path, name) : NULL;
        if (lean_program_is(file)) {
            return file;
        }
        pv_free(file);
        path += n + (path[n] == ':');
    }
    return NULL;
}
