/* home: the folder that holds what the program needs beside itself: lean/ and models/. Threads: any. */
#ifndef HOME_H
#define HOME_H

#include <limits.h>

/* PROVER_HOME, else ../share/prover beside an installed program, else the source tree that it was built from. The answer
 * lies in `buffer`, in the environment, or is static. */
const char *home_find(char buffer[PATH_MAX]);

#endif
