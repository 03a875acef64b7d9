/* whole_run: whole proofs of one theorem, in rounds: the first from nothing, the others from a beginning that RMaxTS chooses
 * (whole_tree.h). Each answer is compiled where the user's `sorry` stands. One that compiles is the judge's; of one that does not, the
 * beginning before its first error is kept with holes behind it (resume.h), for a search to go on from; and, with `repairs`, it is shown
 * to the writer with Lean's errors (repair_prompt.h) for another answer, before the next round begins.
 *
 *     if (whole_run_start(&w, &plan, err) == PV_OK) {
 *         while (w.state == WHOLE_WORKING || w.state == WHOLE_FOUND) {
 *             if (w.state == WHOLE_FOUND) { the judge looks at w.found; whole_run_refused(&w) when it says no }
 *             else if (!whole_run_turn(&w)) { session_round(s); }
 *         }
 *     }
 *     while (!whole_run_end(&w)) { session_round(s); }
 *     whole_run_release(&w);
 * Passive: callbacks only note an answer, the owner's turn goes on with it. The struct stays where it is. Threads: the loop's. */
#ifndef WHOLE_RUN_H
#define WHOLE_RUN_H

#include "resume.h"
#include "whole_tree.h"
#include "writer.h"

typedef enum whole_state {
    WHOLE_WORKING,
    WHOLE_FOUND,  /* `found` compiles: the judge's word is wanted                      */
    WHOLE_OVER,   /* no more answers: `texts` are what is left                         */
    WHOLE_FAILED, /* `failure`                                                         */
} whole_state;

typedef struct whole_plan { /* borrowed until whole_run_release() */
    session *s;
    lean_env *env;
    const source *src;      /* the user's                                              */
    const theorem *theorem; /* of src; with one hole                                   */
    size_t target;          /* its place among the declarations with holes             */
    const char *name;       /* of the problem, for writers that know names, and for the log */
    const char *statement;  /* header and declaration: what the prompt shows           */
    writer writer;
    uint64_t samples, rounds; /* answers in a round; rounds                            */
    uint64_t repairs,
        repair_samples; /* times that a refused proof is asked for again; answers each time */
    uint64_t first;     /* attempts at the problem before this one: they had other answers */
    uint64_t seed;
    uint64_t tokens_max;     /* no further answers are asked for past it; 0: no limit       */
    double wall_seconds_max; /* nor past this time since the start; 0: no limit            */
} whole_plan;

/* A text whose holes are searched: the user's with the beginning of a whole proof in it. */
typedef struct whole_text {
    source src;
    theorem_list opened;
    const theorem *target; /* in `opened` */
    size_t keep;           /* bytes of the whole proof */
    bool tried;            /* the owner's */
} whole_text;

typedef struct whole_refused { /* an answer that does not compile, to be shown with its errors */
    char *answer, *turn;
    unsigned depth; /* repairs that led to it */
} whole_refused;

typedef struct whole_run {
    whole_plan plan;
    whole_state state;
    char *found;       /* what stands for the user's hole in the text that compiles; owned */
    bool repaired;     /* and it is an answer to errors                                    */
    whole_text *texts; /* the longest beginnings; text_count of them                   */
    size_t text_count;
    uint64_t read, repairs, tokens,
        kept; /* answers; of them answers to errors; the longest beginning in bytes */
    pv_error failure;
    /* internal */
    whole_tree tree;
    uint64_t round, started_ms; /* round: from 0 */
    size_t node;                /* of the tree: what this round goes on from */
    bool novel;                 /* this round has led to a new node */
    char **answers;             /* this question's: count of them, NULL for none; of `wanted` */
    size_t wanted, count, next;
    uint64_t ticket;
    resume trial;
    bool trying;
    char *trial_text; /* the answer on trial */
    whole_refused *refused;
    size_t refused_count, refused_next, refused_capacity;
    whole_refused *current; /* what the answers are replies to; NULL: a round's */
    uint64_t *shown;        /* hashes of the turns that were asked */
    size_t shown_count, shown_capacity;
} whole_run;

/* Asks for the first answers. Fails as the writer, with nothing to end or release: PV_E_INVALID or PV_E_LIMIT when a model cannot hold
 * the prompt. Requires a theorem with exactly one hole. */
PV_NODISCARD pv_status whole_run_start(whole_run *w, const whole_plan *plan, pv_error *err);

/* Goes on with what has come; true when something happened. */
bool whole_run_turn(whole_run *w);

/* The judge has refused `found`, for `why`: WORKING again. */
void whole_run_refused(whole_run *w, const char *why);

/* Cancels; true once nothing is out. Idempotent; {0} is over. */
bool whole_run_end(whole_run *w);
void whole_run_release(whole_run *w);

#endif
