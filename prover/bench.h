/* bench: what the files of `prover bench` share. Internal to bench_*.c and command_bench.c.
 *
 *   command_bench.c    options; a run is made or found; Lean and the policy are opened
 *   bench_settings.c   what a run's results depend on, as JSON, and back into options; what is written with every result
 *   bench_run.c        claims, turns, heartbeats, progress, until the run is over
 *   bench_item.c       one attempt's way: header, statement, search, judge, result
 *   bench_whole.c      before the search: whole proofs, judged when they compile, cut when they do not
 *   bench_result.c     the result of an attempt goes into the store
 *   bench_table.c      the results at the end
 *
 * Everything runs on the session's loop. Callbacks only note an answer; the owner's turn goes on with it. */
#ifndef BENCH_H
#define BENCH_H

#include "budget.h"
#include "lean_session.h"
#include "model_place.h"
#include "model_writer.h"
#include "policy_choice.h"
#include "problem.h"
#include "proof_file.h"
#include "quest.h"
#include "resume.h"
#include "store.h"
#include "tree_list.h"
#include "whole_tree.h"

#include <jansson.h>

typedef struct bench bench;

typedef enum bench_stage {
    BENCH_IDLE,
    BENCH_HEADER,  /* Lean elaborates the header                             */
    BENCH_OPENING, /* and the statement                                      */
    BENCH_WRITING, /* whole proofs come                                      */
    BENCH_TRYING,  /* one of them is compiled, and cut                       */
    BENCH_SEARCH,  /* one hole of a text                                     */
    BENCH_NEXT,    /* a hole has its proof; the search of it ends            */
    BENCH_TEXT,    /* a text is given up for the next; the search of it ends */
    BENCH_JUDGING, /* all holes have their proofs; a fresh Lean looks        */
    BENCH_ENDING,  /* the result is written; the search ends                 */
} bench_stage;

/* A text whose holes are searched: the user's, or one with the beginning of a whole proof in it. */
typedef struct bench_text {
    source src;
    theorem_list opened;
    const theorem *target; /* in `opened` */
    size_t keep;           /* bytes of the whole proof */
    bool tried;
} bench_text;

typedef struct bench_whole {
    whole_tree tree;
    uint64_t round; /* from 0 */
    size_t node;    /* of the tree: what this round goes on from */
    bool novel;     /* this round has led to a new node */
    char **answers; /* this round's: count of them, NULL for none; of `wanted` */
    size_t wanted, count, next;
    uint64_t ticket;
    pv_error failure;
    resume trial;
    bool trying, compiled; /* compiled: the judge has the trial's whole text */
    bench_text *cuts;
    size_t cut_count, cut_capacity;
    uint64_t kept, read;
} bench_whole;

typedef struct bench_item {
    bench *b;
    bench_stage stage;
    store_claim claim;
    const problem *problem;
    uint64_t seed, started_ms;
    lean_env *env;
    lean_ticket ticket;
    bool pending; /* a question to Lean is out */
    pv_error failure;
    bench_text own;  /* the user's */
    bench_text *now; /* what is searched: own, or one of whole.cuts */
    bench_whole whole;
    uint64_t searching_ms;
    size_t hole;
    quest search;
    char *statement; /* as policies see it */
    char **proofs;   /* of now's holes; NULL where there is none yet */
    size_t proof_count;
    unsigned refusals;
    verdict verdict;
    search_stats stats;
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
    writer writer; /* of whole proofs; ops NULL: steps only */
    proof_file *proof_file;
    model_writer *model_writer;
    model_place place;               /* of a new run's model; opt's text points into it */
    char model_hash[PV_SHA256_TEXT]; /* "" without a model */
    char *environment; /* JSON, written with every result; NULL before Lean is known */
    lean_env *kept;    /* the latest header's, so that it outlives the items on it */
    bench_item *items;
    size_t item_count;
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

/* For bench_whole.c: the result is written; or what is wrong with problem or machine is dealt with. */
void bench_item_finish(bench_item *item, const char *status, const char *why);
void bench_item_fail(bench_item *item, const pv_error *why);
/* Searches the best text that has not had its turn. */
void bench_item_next_text(bench_item *item);
/* Has a text that compiles judged; `inserted` is what stands in it for the user's `sorry`. */
void bench_item_judge(bench_item *item, const char *candidate, const char *const *inserted,
                      size_t count);

/* bench_whole.c */
/* Asks for whole proofs. False when this attempt has none to expect: steps only. */
bool bench_whole_start(bench_item *item);
bool bench_whole_turn(bench_item *item);
/* The judge has spoken on a text that compiled. */
void bench_whole_judged(bench_item *item);
/* The declaration with the whole proof; the caller frees. NULL: memory is short. */
char *bench_whole_declaration(const bench_item *item);
/* Cancels; true once nothing is out. */
bool bench_whole_end(bench_item *item);
void bench_whole_release(bench_item *item);

/* bench_result.c */
/* Writes the result and ends the claim; a failure is the run's (bench_fail). */
void bench_result_write(bench_item *item, const char *status, const char *why);

/* bench_run.c */
PV_NODISCARD pv_status bench_run_all(bench *b, pv_error *err);
void bench_fail(bench *b, const pv_error *err);

/* bench_table.c */
PV_NODISCARD pv_status bench_table(store *s, const store_run *run, bool json, pv_error *err);

#endif
