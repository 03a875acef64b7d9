/* lean_folder: the .lean files below a folder, as people mean them: not those of packages and builds, no hidden ones, and not the
 * lakefile. Threads: any. */
#ifndef LEAN_FOLDER_H
#define LEAN_FOLDER_H

#include "pv_error.h"

/* One file: "ROOT/Sub/File.lean" and "Sub/File.lean", borrowed for the call. A failure ends the walk. */
typedef pv_status lean_folder_take(void *user, const char *path, const char *below, pv_error *err);

/* Calls `take` for each, in the order of their names, folder by folder. Links are followed; those to nowhere, and what is more than 32
 * folders deep, are left out. Fails: PV_E_IO (a folder that cannot be read), PV_E_NOMEM, and as `take`. */
PV_NODISCARD pv_status lean_folder_each(const char *root, lean_folder_take *take, void *user,
                                        pv_error *err);

#endif
