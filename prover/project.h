/* project: the Lean files that a command works on, and the modules around them. Nothing here asks Lean.
 *
 * An argument is a folder (all .lean files in it) or a file. The folder with the lakefile at or above it is the project; without one, a
 * folder is a project of its own, and a file stands alone. Folders whose name begins with a dot, and `lake-packages` and `build`, are
 * left out, and so is lakefile.lean. Threads: any; one at a time per project. */
#ifndef PROJECT_H
#define PROJECT_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct project_file {
    char *path;     /* to be opened                                                */
    char *shown;    /* relative to the project's folder; as given for a lone file  */
    char *module;   /* Foo.Bar for Foo/Bar.lean; NULL: outside the source folder   */
    char **imports; /* NULL-terminated names of modules                            */
    bool chosen;    /* the command asked for it                                    */
    bool needed;    /* a chosen file rests on it: its module must be compiled      */
} project_file;

typedef struct project {
    char *root;          /* folder of the project; NULL: a file that stands alone */
    bool lake;           /* it has a lakefile                                      */
    project_file *files; /* each after those that it imports              */
    size_t count;
} project;

/* `argument` is a folder or a file; `only` (may be NULL) a file in that folder. Reads the imports of every file. Fails: PV_E_NOTFOUND, PV_E_IO,
 * PV_E_INVALID (no Lean file; imports in a circle), PV_E_NOMEM; nothing to release then. */
PV_NODISCARD pv_status project_open(project *out, const char *argument, const char *only,
                                    pv_error *err);
void project_release(project *p);

#endif
