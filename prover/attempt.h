/* attempt: one theorem, from its holes to a judged proof: search each hole, put the proofs into the user's bytes, ask the judge,
 * and search on when the judge refuses. */
#ifndef ATTEMPT_H
#define ATTEMPT_H

#include "fills.h"
#include "lean_session.h"
#include "search.h"
#include "session.h"
#include "source.h"
#include "theorem.h"
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
    char **proofs; /* hole_count tactic blocks, NULL where none was found        */
    size_t proof_count;
    char *text;           /* the declaration with its proofs; NULL without              */
    tree_list trees;      /* the searches' trees; empty unless --store keeps them       */
    char *tree;           /* the search tree for people; NULL unless asked for          */
    verdict verdict;      /* the judge's, when it was asked                             */
    pv_error trace_error; /* the trace could not be written; the search went on */
    search_stats stats;   /* all holes together                                         */
    double seconds;
} attempt;

/* Tries theorem `t` of `src`. Adds its fills to `done` when it is proved. Fails (environment, internal) only when going on
 * makes no sense; *out must be released all the same. */
PV_NODISCARD pv_status attempt_theorem(session *s, const source *src, const theorem *t,
                                       fill_list *done, attempt *out, pv_error *err);
void attempt_release(attempt *a);

/* Parts of it for those who run attempts side by side (bench_item.c). Sentences for people: why a theorem is not tried (NULL: it is), and
 * why a search that is over has no proof; the caller frees. */
char *attempt_why_skip(const theorem *t);
char *attempt_why_not(const search_run *run);
void attempt_add_stats(search_stats *sum, const search_stats *one);

enum {
    ATTEMPT_REFUSALS_MAX = 3
}; /* proofs that the judge may refuse before the theorem is given up */

#endif
