/* cut: a proof with an error in it, cut off before the error so that its good beginning can be gone on from.
 *
 * A cut keeps the body's lines up to some line and says in which columns a `sorry` must follow: one for the block that the line stood
 * in, one for each block around it (`have h : t := by` leaves its own goal and the one after it). Where no goal is left Lean refuses such
 * a `sorry`; which ones are needed is found out by asking it. Lines are cut as text, by their indentation, as Lean reads a tactic block.
 * After the truncation of DeepSeek-Prover-V1.5's RMaxTS (arXiv 2408.08152, section 3). Threads: pure functions. */
#ifndef CUT_H
#define CUT_H

#include "pv_buf.h"

#include <stdbool.h>
#include <stddef.h>

enum { CUT_LEVELS_MAX = 12, CUTS_MAX = 16 };

typedef struct proof_cut {
    size_t keep;                    /* bytes of the body that stay: whole lines               */
    size_t columns[CUT_LEVELS_MAX]; /* of the sorrys, the innermost first                     */
    bool left_out[CUT_LEVELS_MAX];  /* Lean has no goal for this one                          */
    size_t level_count;
} proof_cut;

/* The places where a tactic block (the text behind its `by`) may be cut for an error at byte `error_at`, the longest first; returns how
 * many there are. None: the error is in the block's first tactic, or the block is on the line of its `by`. */
size_t cut_places(const char *body, size_t n, size_t error_at, proof_cut out[CUTS_MAX]);

/* Appends what is kept, and the sorrys. `at` (may be NULL) gets the byte of each sorry in *out, SIZE_MAX for one that is left out. */
void cut_write(const char *body, const proof_cut *c, pv_buf *out, size_t at[CUT_LEVELS_MAX]);

#endif
