/* lean_session: the questions that commands put to Lean, as calls that wait for the answer.
 * Every call runs the session's loop until its answer is there or the user interrupts (PV_E_CANCELLED). */
#ifndef LEAN_SESSION_H
#define LEAN_SESSION_H

#include "session.h"
#include "source.h"
#include "theorem.h"

/* Elaborates the text's header; *env is the caller's. Fails: PV_E_INVALID with Lean's message. */
PV_NODISCARD pv_status ask_header(session *s, const source *src, lean_env **env, pv_error *err);

/* Elaborates the text on `env` and lists its declarations. Errors that Lean reports are PV_E_INVALID: the first message, at
 * its place in the user's text. */
PV_NODISCARD pv_status ask_theorems(session *s, lean_env *env, const source *src, theorem_list *out,
                                    pv_error *err);

/* Another program than the judge that accepted the proof. */
typedef struct verdict_checker {
    char *name, *version; /* version: NULL when it is not known */
    double seconds;
} verdict_checker;

/* The judge's answer, copied, and who else accepted. */
typedef struct verdict {
    lean_level level;
    char *reason, *message; /* NULL when accepted                     */
    char *shortfall;        /* accepted, but not as far as asked: why; else NULL */
    char **axioms;          /* axiom_count texts                      */
    size_t axiom_count;
    char *lean_version;
    size_t error_at; /* as in lean_judgement */
    bool sandboxed;
    size_t export_bytes; /* what the second process got */
    double replay_seconds, seconds;
    verdict_checker *checkers; /* checker_count */
    size_t checker_count;
} verdict;

/* Has `candidate` judged against src's text. `proofs` are what the gate reads. */
PV_NODISCARD pv_status ask_judge(session *s, const source *src, const char *candidate,
                                 const char *const *names, size_t name_count,
                                 const char *const *proofs, size_t proof_count, verdict *out,
                                 pv_error *err);
/* The same for a request of the caller's (lean_judge.h). */
PV_NODISCARD pv_status ask_judgement(session *s, const lean_judge_request *request, verdict *out,
                                     pv_error *err);
void verdict_copy(verdict *out, const lean_judgement *from);

/* Its axioms as a JSON array of names; the caller frees with free(). NULL when memory is short. */
char *verdict_axioms_json(const verdict *v);

/* Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status verdict_add_checker(verdict *v, const char *name, const char *version,
                                           double seconds, pv_error *err);
void verdict_release(verdict *v);

#endif
