#include "commands.h"
#include "progress.h"

#include <stdio.h>

exit_code complain(const pv_error *err)
{
    progress_clear();
    fprintf(stderr, "prover: %s\n", err->msg);
    return exit_code_of(err->status);
}
