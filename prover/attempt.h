/* attempt: one theorem of a text, from its holes to a judged proof, in one go: an effort (effort.h) that the session's loop is run for. */
#ifndef ATTEMPT_H
#define ATTEMPT_H

#include "effort.h"
#include "lean_session.h"
#include "tree_list.h"

typedef enum attempt_end {
    ATTEMPT_PROVED,      /* audited                                                     */
    ATTEMPT_NOT_PROVED,  /* the search ended without a proof: `why`                     */
    ATTEMPT_REFUSED,     /* proofs were found, the judge accepted none: `why`           */
    ATTEMPT_SKIPPED,     /* not a thing to prove (no hole, data, no name): `why`        */
    ATTEMPT_INTERRUPTED, /* the user stopped it                                         */
} attempt_end;

typedef struct attempt {
    attempt_end end;
    char *why;     /* one sentence for people; NULL when proved                  */
    char **proofs; /* what goes into the proof_count holes; NULL where there is none */
    size_t proof_count;
    bool as_is;      /* they are bytes that stand for the holes; else tactic blocks */
    char *text;      /* the declaration with its proofs; NULL without              */
    tree_list trees; /* the searches' trees; empty unless --store keeps them */
    char *tree;      /* the search tree for people; NULL unless asked for          */
    verdict verdict; /* the judge's, when it was asked                             */
    effort_way way;  /* of the proof                                               */
    uint64_t samples, repairs,
        kept;             /* whole proofs read; of them answers to errors; bytes kept of one */
    pv_error trace_error; /* the trace could not be written; the search went on */
    search_stats stats;   /* all searches together, and the tokens of whole proofs      */
    double seconds;
} attempt;

typedef struct attempt_task { /* borrowed */
    session *s;
    lean_env *env;
    const source *src;
    const theorem *theorem; /* of src                                        */
    size_t target;          /* its place among the declarations with holes   */
    writer writer;          /* ops NULL: steps only                          */
    bool steps;             /* what is not proved whole is searched          */
    fill_list *done;        /* proofs of the text's other theorems; grows    */
} attempt_task;

/* Tries the theorem. Adds its fills to `done` when it is proved. Fails (environment, internal) only when going on makes no sense; *out must
 * be released all the same. */
PV_NODISCARD pv_status attempt_theorem(const attempt_task *task, attempt *out, pv_error *err);
void attempt_release(attempt *a);

/* Why a theorem is not tried: a sentence for people, the caller frees; NULL: it is. */
char *attempt_why_skip(const theorem *t);

/* Header and declaration: what a prompt for a whole proof shows. The caller frees; NULL: memory is short. */
char *attempt_statement(const source *src, const theorem *t);

#endif
