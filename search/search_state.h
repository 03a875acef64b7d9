/* search_state: what the search knows of Lean: proof states as opaque handles with texts and
 * keys.
 *
 * A part is a piece of an open problem that can be worked on alone: usually one goal; several
 * when they share a metavariable. `handle` belongs to the verifier (it knows how to reach the
 * state again after a worker died); the search keeps it until it calls the verifier's `release`. */
#ifndef SEARCH_STATE_H
#define SEARCH_STATE_H

#include "pv_hash.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct search_handle search_handle; /* the verifier's own type behind it */

typedef struct search_part {
    search_handle
        *handle; /* owned by whoever owns the part                                        */
    pv_key key;  /* equal for alpha-equivalent lists of goals                             */
    const char *const
        *goals; /* goal_count display texts, main goal first                           */
    size_t goal_count;
} search_part;

typedef enum search_outcome_kind {
    SEARCH_CLOSED,    /* the tactic left no goal of this state                     */
    SEARCH_OPEN,      /* it left the parts                                         */
    SEARCH_FAILED,    /* Lean refused it: message                                  */
    SEARCH_TIMED_OUT, /* heartbeats, or killed at the wall-clock deadline          */
    SEARCH_LOST,      /* the worker died and a second try died too                 */
} search_outcome_kind;

/* What became of one tactic on one state. At most one part has several goals. A run breaks
 * (SEARCH_BROKEN) on an outcome whose counts do not agree. `order` may be left out (goal_count
 * 0) when the goals of the parts follow each other. */
typedef struct search_outcome {
    search_outcome_kind kind;
    const search_part *parts; /* part_count parts, kind OPEN                                      */
    size_t part_count;
    const uint32_t *order; /* goal_count entries: goal i (Lean's order) lies in parts[order[i]] */
    size_t goal_count;
    const char *message; /* Lean's message for FAILED, TIMED_OUT, LOST; else NULL            */
    double lean_ms;      /* time that Lean spent on it                                        */
} search_outcome;

#ifdef __cplusplus
}
#endif
#endif
