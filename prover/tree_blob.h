/* tree_blob: a search tree as it is kept in a store: zlib-compressed JSON, bounded, with what was left out said in it.
 *
 *     {"v":1,"title":T,"end":"proved",
 *      "texts":[...]                                   every line of a goal, tactic and message, once
 *      "states":[[flags,depth,score,left,[goal...]]]   a goal is the numbers of its lines in `texts`
 *      "steps":[[from,kind,logprob,tactic,message,child...]]
 *      "cut":{"states":N,"steps":N,"failed":N,"texts":N}}
 * flags: 1 expanded, 2 solved, 4 dead, 8 on the proof. left: failed tactics of the state that are not among the steps. score, logprob: a
 * number or null. kind: as search_outcome_kind, 0 to 4. message: a text, or -1. child: a state, or -1 for one that was left out.
 * cut: states and steps that were left out, failed tactics too, texts that were shortened.
 *
 * Of a state's failed tactics the first few are kept, those that the policy had put first. Where a search does not fit, first fewer
 * failed tactics are kept, then shorter messages, then fewer states: the oldest ones and those of the proof. docs/report.md has the limits.
 * Threads: pure. */
#ifndef TREE_BLOB_H
#define TREE_BLOB_H

#include "pv_buf.h"
#include "search.h"

#include <stdbool.h>

enum {
    TREE_BLOB_MAX = 3 << 20,  /* compressed bytes of all searches of an attempt */
    TREE_STATES_MAX = 20000,  /* of one search                                  */
    TREE_FAILED_MAX = 16,     /* of one state                                   */
    TREE_GOAL_MAX = 16 << 10, /* bytes of a goal                                */
    TREE_TEXT_MAX = 24 << 20, /* bytes of JSON                                  */
};

/* Appends the blob, of at most `max` bytes, to *out. Fails: PV_E_NOMEM; PV_E_LIMIT: not even a few states fit. */
PV_NODISCARD pv_status tree_blob_write(const search_run *run, const char *title, size_t max,
                                       pv_buf *out, pv_error *err);

enum { TREE_TITLE_MAX = 128 };

typedef struct tree_info {
    uint64_t states, steps;                                /* that are in it   */
    uint64_t cut_states, cut_steps, cut_failed, cut_texts; /* that are not     */
    char title[TREE_TITLE_MAX];                            /* cut to this size */
} tree_info;

/* Is it such a blob, with every number of a text or a state within its bounds? What a store holds may come from anywhere. Appends its JSON
 * to *json (may be NULL). Fails: PV_E_INVALID, PV_E_LIMIT (more than TREE_TEXT_MAX bytes), PV_E_NOMEM. */
PV_NODISCARD pv_status tree_blob_read(const void *blob, size_t n, tree_info *out, pv_buf *json,
                                      pv_error *err);

/* The same for the JSON in it. */
PV_NODISCARD pv_status tree_blob_check(const char *json, size_t n, tree_info *out, pv_error *err);

#endif
