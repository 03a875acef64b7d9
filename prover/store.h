/* store: runs of a benchmark in an SQLite file: what was to be proved, who is at it, what came out.
 *
 * A run is a list of problems and a number of passes; an attempt is one pass at one problem. A process joins a run as a member, claims
 * attempts, and writes each result in one transaction with the end of its claim. A member that is gone gives its claims back without
 * being asked: on this machine as soon as its process is no more, else when its heartbeat is older than the lease. So a process may end
 * at any moment: results are there whole or not at all, and an attempt has one result, however many were at it.
 *
 * Several processes of one machine may have a store open. A file on a network must not be shared by machines (SQLite's locks and shared
 * memory do not reach that far): give each machine a shard and a store of its own.
 *
 *     store_open(&s, path, err);
 *     store_run_create(s, &run, &problems, err);
 *     store_join(s, run.id, NULL, &me, err);
 *     while (store_claim_next(s, me, &claim, &next, err) == PV_OK && next == STORE_CLAIMED) { ...; store_finish(...); }
 *     store_leave(s, me, err);
 *     store_close(s);
 * Fails, all of them: PV_E_IO (disk), PV_E_TIMEOUT (locked for more than 60 s), PV_E_INVALID (no store, or of a newer program),
 * PV_E_NOMEM. Threads: one at a time per store. */
#ifndef STORE_H
#define STORE_H

#include "problem.h"
#include "pv_buf.h"
#include "search.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct store store;

/* Opens or creates the file, and brings an older one up to date. */
PV_NODISCARD pv_status store_open(store **out, const char *path, pv_error *err);
void store_close(store *s); /* NULL allowed */

/* ---- runs ---- */

enum { STORE_ID_MAX = 24 };

typedef struct store_run {
    char id[STORE_ID_MAX]; /* date and eight random hex digits                                  */
    char *file;            /* where the problems came from, as given                            */
    char *settings;        /* JSON object: everything that results depend on but the problems   */
    char *shard;           /* "I/N"; "0/1" for all                                              */
    char *lean;            /* version of the Lean that made the results; "" before the first    */
    char problems_hash[PV_SHA256_TEXT]; /* of all shards' statements                            */
    char fingerprint[PV_SHA256_TEXT];   /* of settings and problems: equal for shards of one run */
    uint64_t passes, seed, problem_count;
    int64_t created; /* seconds since 1970 */
} store_run;

/* All runs, the latest first; the caller frees with store_runs_free(). */
PV_NODISCARD pv_status store_runs(store *s, store_run **out, size_t *count, pv_error *err);
void store_runs_free(store_run *runs, size_t count); /* NULL allowed */

/* Writes a new run with its problems. The caller has filled all but id, lean, problem_count and created; id, problem_count and created
 * are filled. */
PV_NODISCARD pv_status store_run_create(store *s, store_run *run, const problem_list *problems,
                                        pv_error *err);

/* The run of this id (or the only one that begins so); "" is the latest. PV_E_NOTFOUND says which there are. */
PV_NODISCARD pv_status store_run_find(store *s, const char *id, store_run *out, pv_error *err);
void store_run_release(store_run *run);

/* The run's problems, in their order: the claims' numbers are places in this list. */
PV_NODISCARD pv_status store_run_problems(store *s, const char *id, problem_list *out,
                                          pv_error *err);

/* Notes which Lean works on the run. PV_E_INVALID when the run has results of another one. */
PV_NODISCARD pv_status store_run_lean(store *s, const char *id, const char *version, pv_error *err);

/* ---- members and claims ---- */

typedef struct store_member {
    int64_t id;
    char run[STORE_ID_MAX];
} store_member;

/* Joins. `place` says on which machine a process is and which (for tests); NULL: this process, here. */
PV_NODISCARD pv_status store_join(store *s, const char *run, const char *place, store_member *out,
                                  pv_error *err);
PV_NODISCARD pv_status store_beat(store *s, store_member me, pv_error *err); /* every few seconds */
PV_NODISCARD pv_status store_leave(store *s, store_member me, pv_error *err); /* claims go back */

/* How old the heartbeat of a member on another machine may be; 60,000 ms at first. */
void store_lease(store *s, uint64_t ms);

typedef struct store_claim {
    size_t problem; /* place in the run's list */
    uint64_t pass;  /* from 0                  */
} store_claim;

typedef enum store_next {
    STORE_CLAIMED, /* *claim is ours                                       */
    STORE_WAIT,    /* nothing is free, but others have not finished theirs */
    STORE_OVER,    /* every attempt has its result                         */
} store_next;

/* Claims the next attempt: those that were given back first, then pass by pass through the problems. */
PV_NODISCARD pv_status store_claim_next(store *s, store_member me, store_claim *claim,
                                        store_next *next, pv_error *err);
PV_NODISCARD pv_status store_give_back(store *s, store_member me, store_claim claim, pv_error *err);

/* ---- results ---- */

typedef struct store_blob {
    char *bytes; /* owned by whoever owns the blob */
    size_t len;
} store_blob;

typedef struct store_result {
    store_claim claim;
    const char *name, *split;            /* of the problem; filled when read                   */
    const char *text_hash, *header_hash; /* of the statement                                   */
    const char *header, *statement;      /* filled when read                                   */
    const char *status;      /* "proved", "not proved", "refused", "skipped", "error"            */
    const char *why;         /* a sentence; NULL when proved                                     */
    const char *text;        /* the declaration with its proof; NULL without                     */
    const char *level;       /* the judge's; NULL                                                */
    const char *axioms;      /* JSON array; NULL                                                 */
    const char *environment; /* JSON object: program, Lean, sandbox, policy, model, prompt, ...  */
    uint64_t seed;
    search_stats stats;
    double seconds, judge_seconds;
    const char *way;  /* "step", "whole" (a whole proof as it was), "cut" (from a part of one)   */
    uint64_t samples; /* whole proofs that were read                                             */
    uint64_t kept;    /* bytes of a model's proof, the most that one of them could be kept of    */
    const store_blob *
        trees; /* search trees (tree_blob.h), tree_count of them; not filled when read: store_trees() */
    size_t tree_count;
    uint64_t
        trees_left_out; /* searches whose tree was not kept                                     */
    int64_t finished;   /* seconds since 1970; filled when read */
} store_result;

/* Writes the result and ends the claim. *kept is false, and nothing is written, when the claim is no longer ours. */
PV_NODISCARD pv_status store_finish(store *s, store_member me, const store_result *result,
                                    bool *kept, pv_error *err);

/* Every result of the run, by problem and pass; texts are borrowed for the call. Stops at the first that is not PV_OK. */
typedef pv_status store_on_result(void *user, const store_result *result, pv_error *err);
PV_NODISCARD pv_status store_results(store *s, const char *run, store_on_result *on_result,
                                     void *user, pv_error *err);

/* The search trees of one attempt, in the order of its searches; stops at the first call that is not PV_OK. */
typedef pv_status store_on_tree(void *user, const void *blob, size_t n, pv_error *err);
PV_NODISCARD pv_status store_trees(store *s, const char *run, store_claim claim,
                                   store_on_tree *on_tree, void *user, pv_error *err);

typedef struct store_counts {
    uint64_t attempts, done, claimed, proved; /* attempts                             */
    uint64_t problems_proved;                 /* problems with at least one proof     */
    uint64_t members;                         /* that are here now                    */
    double lean_seconds;                      /* of what is done                      */
    uint64_t tokens, nodes;
} store_counts;

PV_NODISCARD pv_status store_count(store *s, const char *run, store_counts *out, pv_error *err);

#endif
