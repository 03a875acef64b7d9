/* prover_json: prover.json of a checkpoint folder: how this model wants to be asked. See model_policy.h for its fields. */
#ifndef PROVER_JSON_H
#define PROVER_JSON_H

#include "pv_error.h"

#include <stdbool.h>

typedef enum prover_json_kind { PROVER_JSON_STATE, PROVER_JSON_PROOF } prover_json_kind;

typedef enum prover_json_draw {
    PROVER_JSON_UNSAID,
    PROVER_JSON_DISTINCT, /* samples without replacement */
    PROVER_JSON_INDEPENDENT,
} prover_json_draw;

typedef struct prover_json {
    prover_json_kind kind;
    prover_json_draw draw;
    char *before, *after; /* around the goals' texts; STATE only */
    char *stop;           /* ends a tactic                       */

    /* What the model works best with in a search: -1 where it does not say. The command line has the last word. */
    double samples;    /* in each state */
    double max_tokens; /* of a tactic   */
    double temperature;
    double top_k;
    double top_p;
    double min_p;
} prover_json;

/* Reads DIR/prover.json; without it: PROOF when the model has a chat template, else PV_E_INVALID with what to write.
 * Fails: PV_E_INVALID (names the field), PV_E_IO, PV_E_NOMEM. */
PV_NODISCARD pv_status prover_json_read(prover_json *out, const char *dir, bool has_chat,
                                        pv_error *err);

/* The format that --prompt names: "prover-v2-noncot" (PROOF), "state" (STATE with ":::" behind the goals), or a file with the fields of
 * prover.json. Fails: PV_E_INVALID, PV_E_NOTFOUND, PV_E_IO, PV_E_NOMEM. */
PV_NODISCARD pv_status prover_json_named(prover_json *out, const char *name, pv_error *err);
void prover_json_release(prover_json *format);

#endif
