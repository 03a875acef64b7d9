/* whole_proof: what a model that writes whole proofs has said, cut into its parts: which of the text is Lean, and in that the
 * header, the statement and the proof. The statement is then left behind: only the proof's text goes into the user's own bytes.
 * A parser of outside bytes: tests/fuzz/fuzz_whole_proof.c. Threads: pure functions. */
#ifndef WHOLE_PROOF_H
#define WHOLE_PROOF_H

#include "pv_buf.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct whole_proof_span { /* bytes of the model's text */
    size_t start, end;
} whole_proof_span;

/* header, helpers, comment, statement, the `:=` or `:= by` behind it, body and rest follow each other without a gap and are
 * `code` together. */
typedef struct whole_proof {
    whole_proof_span code; /* the inside of a fenced block, or all of the text                    */
    whole_proof_span
        header; /* imports, options, `open`                                            */
    whole_proof_span
        helpers; /* declarations before the theorem; empty for most                     */
    whole_proof_span
        comment; /* what stands right before the theorem: blanks, its documentation     */
    whole_proof_span
        statement; /* from its first token to the last one before the `:=`, or before a comment or blanks there */
    whole_proof_span body; /* behind `by` or `:=`, without blanks at its end                      */
    whole_proof_span rest; /* blanks and further commands                                         */
    size_t helper_count;
    bool tactics; /* `:= by`: the body is a tactic block; else a term                        */
    bool closed;  /* the block was ended, not cut off (true without a block)                 */
    bool more;    /* commands follow in `rest`                                               */
} whole_proof;

/* Finds the declaration `name` (NULL: the last theorem) in the model's text: what stands before the last `</think>` is left out; of
 * the blocks between ``` fences for Lean (or for nothing), the last one that declares it; without any fence all of the text. Fails:
 * PV_E_NOTFOUND (no such declaration: what there is instead), PV_E_INVALID (no proof behind it), PV_E_NOMEM. */
PV_NODISCARD pv_status whole_proof_find(whole_proof *out, const char *text, size_t n,
                                        const char *name, pv_error *err);

/* Appends the user's text with the proof in place of the `sorry` at bytes [hole, hole + 5): every other byte is as it was, and so is
 * the body's every byte. `*body_at` (may be NULL) is where the body begins in *out. Fails: PV_E_INVALID when that `sorry` is not all
 * of the proof, or the model needs helper declarations. */
PV_NODISCARD pv_status whole_proof_attach(const whole_proof *proof, const char *model_text,
                                          const char *user_text, size_t user_length, size_t hole,
                                          pv_buf *out, size_t *body_at, pv_error *err);

typedef enum whole_proof_match {
    WHOLE_PROOF_SAME,   /* byte for byte                                          */
    WHOLE_PROOF_LAYOUT, /* the same tokens; blanks and comments differ            */
    WHOLE_PROOF_OTHER,  /* not the same statement, as far as text can tell        */
} whole_proof_match;

/* Compares two statements. OTHER: *at_a and *at_b (may be NULL) are the bytes of the first tokens that differ. */
whole_proof_match whole_proof_compare(const char *a, size_t a_length, const char *b,
                                      size_t b_length, size_t *at_a, size_t *at_b);

#endif
