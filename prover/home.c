#include "home.h"

#include "pv_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *home_find(char buffer[PATH_MAX])
{
    const char *given = getenv("PROVER_HOME");
    if (given != NULL) {
        return given;
    }
    ssize_t n = readlink("/proc/self/exe", buffer, PATH_MAX - 64);
    if (n > 0) {
        buffer[n] = '\0';
        char *slash = strrchr(buffer, '/');
        if (slash != NULL) {
            strcpy(slash, "/../share/prover/lean/Main.lean");
            bool installed = pv_file_exists(buffer);
            strcpy(slash, "/../share/prover");
            if (installed) {
                return buffer;
            }
        }
    }
    return PROVER_SOURCE_DIR;
}
