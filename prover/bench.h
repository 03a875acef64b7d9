/* bench: what the files of `prover bench` share. Internal to bench_*.c and command_bench.c.
 *
 *   command_bench.c    options; a run is made or found; Lean and the policy are opened
 *   bench_settings.c   what a run's results depend on, as JSON, and back into options; what is written with every result
 *   bench_run.c        claims, turns, heartbeats, progress, until the run is over
 *   bench_item.c       one attempt's way: header, statement, effort (effort.h), judge, result
 *   bench_result.c     the result of an attempt goes into the store
 *   bench_table.c      the results at the end
 *
 * Everything runs on the session's loop. Callbacks only note an answer; the owner's turn goes on with it. */
#ifndef BENCH_H
#define BENCH_H

#include "effort.h"
#include "judge_queue.h"
#include "lean_session.h"
#include "model_place.h"
#include "policy_choice.h"
#include "problem.h"
#include "store.h"
#include "tree_list.h"
#include "writer_choice.h"

#include <jansson.h>

typedef struct bench bench;

enum { BENCH_JUDGED_MAX = 16 }; /* proofs that may wait for the judge beside those worked on */

typedef enum bench_stage {
    BENCH_IDLE,
    BENCH_HEADER,  /* Lean elaborates the header                             */
    BENCH_OPENING, /* and the statement                                      */
    BENCH_EFFORT,  /* whole proofs, and the search                           */
    BENCH_JUDGING, /* all holes have their proofs, which wait for the judge  */
    BENCH_ENDING,  /* the result is written; the search ends                 */
} bench_stage;

typedef struct bench_item {
    judge_ask ask; /* first: the queue gives it back */
    bench *b;
    bench_stage stage;
    store_claim claim;
    const problem *problem;
    uint64_t seed, started_ms;
    lean_env *env;
    lean_ticket ticket;
    bool pending; /* a question to Lean is out */
    pv_error failure;
    source src; /* the problem's text */
    theorem_list opened;
    const theorem *target; /* in `opened` */
    effort effort;
    char *statement; /* as policies see it */
    judge_text asked;
    verdict verdict;
    uint64_t found_ms; /* when the proof that is judged was found */
    tree_list trees;
} bench_item;

struct bench {
    session s;
    options opt; /* the run's, where they decide results; this process's otherwise */
    budget limit;
    store *store;
    store_run run;
    json_t *settings; /* of the run; opt's texts point into it */
    store_member me;
    problem_list problems;
    policy_choice choice;
    writer_choice writers;
    model_place place;               /* of a new run's model; opt's text points into it */
    char model_hash[PV_SHA256_TEXT]; /* "" without a model */
    char *environment; /* JSON, written with every result; NULL before Lean is known */
    lean_env *kept;    /* the latest header's, so that it outlives the items on it */
    judge_queue judge;
    bench_item *items; /* more than are worked on: proofs wait for the judge together */
    size_t item_count, parallel;
    store_next next; /* what the store said last */
    store_counts counts;
    uint64_t started_ms, beat_ms, counted_ms, asked_ms, done_here;
    bool joined, stopping; /* stopping: --minutes are over, no new claims */
    pv_error failure;
};

/* bench_settings.c */
/* Puts run->settings into *opt, whose texts are then borrowed from `b->run`. An option of the command line that says something else
 * is PV_E_INVALID. */
PV_NODISCARD pv_status bench_settings_read(bench *b, pv_error *err);
/* The hash of the weights that the run began with; "" without a model. */
const char *bench_settings_model(const bench *b);
PV_NODISCARD pv_status bench_environment(bench *b, pv_error *err);

/* bench_item.c */
/* True when something happened. */
bool bench_item_turn(bench_item *item);
/* Cancels its search; true once the search is over. What else it waits for ends with the session. */
bool bench_item_end(bench_item *item);
void bench_item_release(bench_item *item); /* after the session is closed */
void bench_item_start(bench_item *item, store_claim claim);
/* A judge_queue_take: the judge's word on an item. */
void bench_item_judged(void *user, judge_ask *ask, const judge_answer *answer);

/* bench_result.c */
/* Writes the result and ends the claim; a failure is the run's (bench_fail). */
void bench_result_write(bench_item *item, const char *status, const char *why);

/* bench_run.c */
PV_NODISCARD pv_status bench_run_all(bench *b, pv_error *err);
void bench_fail(bench *b, const pv_error *err);

/* bench_table.c */
PV_NODISCARD pv_status bench_table(store *s, const store_run *run, bool json, pv_error *err);

#endif
