/* resume: what can be kept of a whole proof that Lean refuses. The proof is compiled in the user's text; at its first error it is cut
 * (cut.h), holes take the place of the rest, and Lean is asked again until it takes what is left. The search then goes on from there.
 *
 *     resume_start(&r, s, env, src, target, body, n, tactics, err);
 *     while (resume_state(&r) == RESUME_RUNNING) { if (!resume_turn(&r)) { session_round(s); } }
 *     ... r.text, r.opened ...
 *     resume_release(&r);             not while r.pending: resume_end() first
 * The text is elaborated by the pool's workers, in their sandbox, after the lexical gate (lean_gate.h) has looked at it: what the gate
 * refuses counts as an error where it stands. Nothing is a proof before the judge has said so. Threads: the loop's. */
#ifndef RESUME_H
#define RESUME_H

#include "cut.h"
#include "repair_prompt.h"
#include "session.h"
#include "source.h"
#include "theorem.h"
#include "whole_proof.h"

typedef enum resume_result {
    RESUME_RUNNING,
    RESUME_COMPILES, /* no error: `text` goes to the judge                              */
    RESUME_CUT,      /* a beginning is kept: the target of `opened` has the holes in it */
    RESUME_NOTHING,  /* nothing of it can be kept                                       */
    RESUME_FAILED,   /* Lean could not be asked: `failure`                              */
} resume_result;

typedef struct resume {
    session *s;
    lean_env *env;     /* borrowed */
    const source *src; /* borrowed: the user's text */
    size_t target;     /* which declaration with a hole is meant */
    resume_result state;
    pv_buf whole; /* the user's text with all of the proof */
    size_t body_at, body_length;
    pv_buf text; /* as Lean saw it last: the positions in `opened` are its bytes */
    theorem_list opened;
    const theorem *theorem; /* CUT: the target, in `opened`             */
    size_t keep;            /* bytes of the body that are in `text`     */
    unsigned compiles;      /* questions to Lean                        */
    repair_error
        errors[REPAIR_ERRORS_MAX];   /* Lean's or the gate's on all of it: bytes of `whole` */
    size_t error_count, error_total; /* kept; there were                                    */
    proof_cut cuts[CUTS_MAX];
    size_t cut_count, next_cut, sorry_at[CUT_LEVELS_MAX];
    bool cutting, pending, wrong;
    size_t wrong_start, wrong_end; /* the first error's place, in `text` */
    lean_ticket ticket;
    pv_error failure;
} resume;

/* `proof` are the parts of `model_text` (whole_proof.h); `sorry_byte` is the place of the user's `sorry` in src->body. Everything but s, env and
 * src is copied. The struct must stay where it is. Fails: as whole_proof_attach(), PV_E_NOMEM; there is nothing to release then. */
PV_NODISCARD pv_status resume_start(resume *r, session *s, lean_env *env, const source *src,
                                    size_t target, size_t sorry_byte, const whole_proof *proof,
                                    const char *model_text, pv_error *err);

/* Goes on with what has come; true when something happened. */
bool resume_turn(resume *r);
resume_result resume_state(const resume *r);

/* Cancels; true once nothing is out. */
bool resume_end(resume *r);
void resume_release(resume *r);

#endif
