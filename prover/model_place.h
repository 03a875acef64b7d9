/* model_place: where the model is that a search asks: named on the command line, in the environment, or shipped with the
 * program. Threads: any. */
#ifndef MODEL_PLACE_H
#define MODEL_PLACE_H

#include "pv_error.h"

#include <stdbool.h>

typedef struct model_place { /* {0}: not looked for; released by model_place_release() */
    char *dir;               /* a checkpoint folder; NULL: no model is there                      */
    const char *from;        /* "--model", "PROVER_MODEL", or "shipped with prover"; static       */
    bool is_shipped;         /* it is the one that ships with the program                         */
    char *shipped;           /* where the shipped one would be                                    */
} model_place;

/* `given` is --model's folder, "" for none: then PROVER_MODEL (not empty) names the folder, else models/prover-small of
 * home_find() is taken where it has a config.json. A folder that was named is not looked into here. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status model_place_find(model_place *out, const char *given, pv_error *err);
void model_place_release(model_place *place);

#endif
