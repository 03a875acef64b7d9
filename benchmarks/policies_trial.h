/* policies_trial: one statement given to one arm of the comparison: opened, searched, asked for what its proof uses, judged.
 *
 * A proof that uses the theorem itself does not count, nor does one that the judge refuses: the search goes on without it. The clock
 * of a trial runs while it searches, not while it is opened or waits for the judge.
 * Threads: the loop's. */
#ifndef POLICIES_TRIAL_H
#define POLICIES_TRIAL_H

#include "fixed_policy.h"
#include "judge_queue.h"
#include "quest.h"
#include "usage.h"

typedef struct statement {
    char *id;   /* the row's key, or its name */
    char *name; /* of the library theorem that the environment holds */
    char *module, *text;
} statement;

typedef struct arm { /* what proposes tactics, and how a search asks it */
    const char *name;
    search_policy
        policy; /* ops NULL: the closing tactics that fit the goal, in the opened state only */
    uint32_t width;
} arm;

typedef struct trial_limits {
    double seconds; /* of search                       */
    uint64_t calls; /* of Lean: tactics tried; 0: none */
} trial_limits;

typedef enum trial_stage {
    TRIAL_WAITING, /* for its turn; again after the judge refused a proof */
    TRIAL_OPENING,
    TRIAL_SEARCH,
    TRIAL_USAGE,
    TRIAL_JUDGE,
    TRIAL_ENDING,
    TRIAL_DONE,
} trial_stage;

typedef struct trial {
    judge_ask ask; /* first: the queue gives it back */
    session *s;
    lean_env *env;
    judge_queue *judge;
    const statement *st;
    const arm *arm;
    trial_limits limits;
    trial_stage stage;
    bool pending; /* the question of OPENING is out */
    lean_ticket ticket;
    pv_error failure;
    pv_error fatal; /* Lean cannot be had: the comparison ends */
    theorem_list opened;
    fixed_policy closers;
    quest quest;
    usage usage;
    char *proof;
    json_t *axioms;
    bool solved;
    char why[400]; /* not solved */
    search_stats stats;
    uint64_t active_ms, resumed_ms; /* before now; 0: its clock stands */
    unsigned selfish, refused;      /* proofs that did not count */
    char refusal[400];              /* why the last one was refused */
} trial;

/* A turn from WAITING on; then trial_turn() while it is active. */
void trial_start(trial *t);

/* True when something happened. */
bool trial_turn(trial *t);

/* OPENING, SEARCH, USAGE, ENDING: it has a share of the machine. */
bool trial_is_active(const trial *t);

/* Its clock runs. */
bool trial_is_searching(const trial *t);

/* The judge's word on it. */
void trial_take_answer(trial *t, const judge_answer *answer);

/* Cancels; true once nothing of it is in flight. */
bool trial_end(trial *t);

/* Not while something is in flight, nor while the judge has it. */
void trial_release(trial *t);

/* Its row: what was reached, and what it took. */
json_t *trial_row(const trial *t);

#endif
