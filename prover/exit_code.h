/* exit_code: what the process says when it ends. Part of the command line's interface (README). */
#ifndef EXIT_CODE_H
#define EXIT_CODE_H

#include "pv_error.h"

typedef enum exit_code {
    EXIT_PROVED = 0,      /* everything asked for was proved, verified or found healthy      */
    EXIT_NOT_PROVED = 1,  /* Lean and the program worked; no proof was found or it was refused */
    EXIT_USAGE = 2,       /* the command line or the input text is wrong                     */
    EXIT_ENVIRONMENT = 3, /* Lean, a file, or the machine is at fault                        */
    EXIT_INTERNAL = 4,    /* a bug                                                           */
} exit_code;

/* The exit code that a failure of the library stands for. */
static inline exit_code exit_code_of(pv_status status)
{
    switch (status) {
    case PV_OK:
        return EXIT_PROVED;
    case PV_E_INVALID:
        return EXIT_USAGE;
    case PV_E_MISUSE:
        return EXIT_INTERNAL;
    default:
        return EXIT_ENVIRONMENT;
    }
}

#endif
