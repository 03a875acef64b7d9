/* report_data: a run of a benchmark as `prover report` shows it: put together from its parts, which may lie in several stores.
 *
 * Parts are runs with one fingerprint (equal settings and statements): the shards of a benchmark, or several processes' stores.
 * Where two parts have a result of the same pass at the same problem, that of the part that comes first counts, whatever it is, and the
 * other is counted in `doubled`: to choose the better one would make the figures better than the prover.
 *
 *   report_choice.c   which runs of which stores belong together
 *   report_data.c     their problems and results
 *   report_curve.c    solved over time, and over budget
 *   report_versus.c   two runs side by side
 * Threads: one at a time. */
#ifndef REPORT_DATA_H
#define REPORT_DATA_H

#include "pass_at_k.h"
#include "store.h"

#include <jansson.h>

/* A store and its runs, the latest first. */
typedef struct report_store {
    const char *path; /* borrowed */
    store *store;     /* owned; NULL in tests of the choice */
    store_run *runs;
    size_t run_count;
} report_store;

typedef struct report_stores {
    report_store *items;
    size_t count;
} report_stores;

/* Opens what is there; a path without a file is PV_E_NOTFOUND. The paths are borrowed for as long as the stores. */
PV_NODISCARD pv_status report_stores_open(report_stores *out, const char *const *paths,
                                          size_t count, pv_error *err);
void report_stores_close(report_stores *stores);

typedef struct report_part {
    const report_store *from; /* borrowed, as the run */
    const store_run *run;
    size_t results, doubled;
} report_part;

typedef struct report_parts {
    report_part *items;
    size_t count;
} report_parts;

/* The parts of the run `id` (or the only one that begins so; "": the latest of the first store): that run, then of each store, in their
 * order, the latest run of each shard with the same fingerprint. Fails: PV_E_NOTFOUND; PV_E_INVALID (more than one begins so); PV_E_NOMEM. */
PV_NODISCARD pv_status report_choose(const report_stores *stores, const char *id, report_parts *out,
                                     pv_error *err);
void report_parts_release(report_parts *parts);

/* Every store must have a run in one of the two (`b` may be NULL). PV_E_INVALID says what is different in the one that has none. */
PV_NODISCARD pv_status report_choice_check(const report_stores *stores, const report_parts *a,
                                           const report_parts *b, pv_error *err);

typedef struct report_row { /* one attempt; texts are owned */
    const report_part *part;
    store_claim claim; /* in the part's run */
    uint64_t pass;
    char *status, *why, *text, *level, *axioms, *way; /* why, text, level, axioms: NULL without */
    search_stats stats;
    double seconds, judge_seconds;
    uint64_t seed, samples, trees_left_out;
    int64_t finished;
} report_row;

typedef struct report_problem { /* texts are owned */
    char *name, *split, *header, *statement;
    char text_hash[PV_SHA256_TEXT], header_hash[PV_SHA256_TEXT];
    uint64_t number;
    report_row *rows; /* by pass */
    size_t row_count, row_capacity;
} report_problem;

typedef struct report_run {
    report_parts parts;
    report_problem *problems; /* by number */
    size_t problem_count, problem_capacity;
    json_t *environments; /* array of the different ones that results have */
    json_t *settings;
    const char *lean; /* borrowed from a part; "" before the first result */
    size_t results, doubled;
} report_run;

/* Takes the parts, also when it fails. Fails as the store, and PV_E_INVALID: parts with different Leans. */
PV_NODISCARD pv_status report_run_load(report_run *out, report_parts *parts, pv_error *err);
void report_run_release(report_run *run);

uint64_t report_run_passes(const report_run *run);
bool report_row_proved(const report_row *row);
/* Its first proof, by pass; NULL without. */
const report_row *report_problem_proof(const report_problem *p);
size_t report_run_solved(const report_run *run);

/* One count for each problem; the caller frees. NULL: memory is short. */
pass_count *report_run_counts(const report_run *run);

/* ---- over time and budget ---- */

typedef enum report_measure {
    REPORT_CLOCK,   /* seconds from the start of the part's run to the proof */
    REPORT_SECONDS, /* of the attempts at a problem, up to the proof         */
    REPORT_TACTICS, /* tried in them                                         */
    REPORT_TOKENS,  /* drawn in them                                         */
} report_measure;

/* What was spent on the problem up to its first proof; false without one. */
bool report_spent(const report_problem *p, report_measure measure, double *out);

/* The values of the solved problems, in ascending order; the caller frees. NULL: memory is short. */
double *report_curve(const report_run *run, report_measure measure, size_t *count);

/* ---- two runs ---- */

typedef struct report_pair {
    const report_problem *a,
        *b; /* NULL: the run has no such problem, or another statement of this name */
    bool a_solved, b_solved;
} report_pair;

typedef struct report_versus {
    report_pair *pairs; /* a's problems in their order, then those that only b has */
    size_t count;
    size_t both, only_a, only_b, neither; /* of the problems that both have       */
    size_t not_in_a, not_in_b;
    double seconds_ratio, tactics_ratio; /* b / a, geometric mean over `both`; NAN without */
    double
        sign_test; /* how likely so uneven a split of only_a + only_b is by chance; 1 without any */
} report_versus;

PV_NODISCARD pv_status report_versus_of(report_versus *out, const report_run *a,
                                        const report_run *b, pv_error *err);
void report_versus_release(report_versus *versus);

/* Two-sided exact sign test of x against y. */
double report_sign_test(size_t x, size_t y);

#endif
