/* search: best-first proof search over a graph of proof states.
 *
 * One run proves one goal state. It asks a policy for candidates, a verifier to try them, and
 * keeps a graph: OR nodes are parts (merged by key), a tactic that leaves several independent
 * parts is an AND edge to all of them. The run is a passive state machine: nothing happens
 * outside search_pump(); answers that arrive in between are stored. Answers are applied in the
 * order in which the requests were made, never in the order of arrival, so that a search depends
 * on its options, seed and answers alone, and not on the timing or the number of workers.
 *
 * Priority of a node: S / L^alpha, S the sum of the log-probabilities of the tactics on the best
 * path from the root, L their number (BFS-Prover, arXiv 2502.03438, section 3; alpha in [0, 1]).
 * The best path is the one of the largest S. Expansions in flight lower the priority of their
 * siblings by a virtual loss, so that parallel expansions spread (docs/search.md).
 *
 * Threads: one thread per run. States: RUNNING -> PROVED | EXHAUSTED | BUDGET | CANCELLED |
 * BROKEN; search_reject_proof() leads from PROVED back to RUNNING.
 *
 *     search_run *run;
 *     search_options options = {.statement = text, .nodes_max = 10000, .seed = 1};
 *     if (search_run_new(&run, &options, policy, verifier, &root, err) != PV_OK) ...
 *     while (search_pump(run) == SEARCH_RUNNING) { run the event loop until search_wants_pump(run) }
 *     if (search_state_of(run) == SEARCH_PROVED) { search_proof(run, &text, err); ... }
 *     search_run_free(run);
 */
#ifndef SEARCH_H
#define SEARCH_H

#include "pv_buf.h"
#include "search_policy.h"
#include "search_verifier.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct search_trace search_trace; /* search_trace.h */

/* Zero means the default for every field. Spent expansions and tokens stop new requests, and what is
 * in flight still counts; the other budgets end the run at once. Tokens and Lean time count when
 * their answer is applied: those of cancelled requests do not. */
typedef struct search_options {
    const char *statement; /* the declaration, handed to the policy (copied); NULL = ""         */
    double alpha;          /* length normalisation; 0 = 0.5, negative = none (exponent 0)       */
    uint32_t width;        /* candidates asked for per expansion; 0 = 64                        */
    uint32_t
        asks; /* times the policy is asked about a state that stays open; 0 = what the policy says */
    uint32_t window;         /* expansions in flight; 0 = 4. Part of what determines a search     */
    uint64_t nodes_max;      /* budget: OR nodes; 0 = unlimited                                   */
    uint64_t expansions_max; /* budget: expansions; 0 = unlimited                                 */
    uint64_t tokens_max;     /* budget: model tokens; 0 = unlimited                               */
    double lean_seconds_max; /* budget: time inside Lean, all workers together; 0 = unlimited     */
    double wall_seconds_max; /* budget: wall time since search_run_new; 0 = unlimited             */
    uint32_t depth_max;      /* longest path that is expanded; 0 = 128                            */
    uint64_t seed;           /* breaks ties, and reaches the policy                               */
    search_trace *trace;     /* records the run (borrowed, outlives it); NULL = none              */
    /* An answer came outside search_pump(): pump soon. May be NULL. */
    void (*wake)(void *user);
    void *wake_user;
} search_options;

typedef enum search_state {
    SEARCH_RUNNING,
    SEARCH_PROVED,    /* the root is solved: search_proof()                                 */
    SEARCH_EXHAUSTED, /* nothing left to try                                                */
    SEARCH_BUDGET,    /* a budget is spent: search_budget_spent() says which                */
    SEARCH_CANCELLED, /* search_cancel()                                                    */
    SEARCH_BROKEN,    /* the policy or the verifier failed: search_failure()                */
} search_state;

typedef struct search_stats {
    uint64_t nodes;      /* OR nodes in the graph                                    */
    uint64_t edges;      /* successful tactic applications                           */
    uint64_t expansions; /* states sent to the policy                                */
    uint64_t tactics;    /* candidates tried by the verifier                         */
    uint64_t duplicates; /* results that led to a node already there                 */
    uint64_t no_ops;     /* tactics that changed nothing                             */
    uint64_t failed;     /* tactics that Lean refused                                */
    uint64_t timed_out;
    uint64_t lost;
    uint64_t tokens;
    double lean_seconds;
    double wall_seconds;
    uint32_t depth;  /* longest path so far                                      */
    uint64_t digest; /* a hash of every decision and answer, in order: equal for equal searches */
} search_stats;

/* Starts a run on the parts that together are the problem: `root` is an outcome of kind OPEN
 * with at least one part. Takes ownership of the parts' handles on success; texts are copied.
 * Fails: PV_E_NOMEM, PV_E_INVALID. */
PV_NODISCARD pv_status search_run_new(search_run **out, const search_options *options,
                                      search_policy policy, search_verifier verifier,
                                      const search_outcome *root, pv_error *err);

/* Releases every handle through the verifier. Requests in flight must have been answered: call
 * search_cancel() and go on pumping until search_in_flight() is 0 first. */
void search_run_free(search_run *run);

/* Applies stored answers in order and issues new requests. Returns the state after it. Not
 * reentrant. */
search_state search_pump(search_run *run);

/* True when search_pump() would find something to do: a stored answer, or a spent wall-time budget. */
bool search_wants_pump(const search_run *run);
search_state search_state_of(const search_run *run);
const char *search_state_name(search_state state); /* "running", "proved", ...; static   */
size_t search_in_flight(const search_run *run);    /* requests not fully answered yet         */
void search_stats_of(const search_run *run, search_stats *out);
const char *search_budget_spent(const search_run *run); /* "nodes", "wall time", ...; static */
const pv_error *search_failure(const search_run *run);  /* borrowed; state BROKEN            */

/* Stops: no new requests, those in flight are cancelled. Idempotent. */
void search_cancel(search_run *run);

/* Appends the proof found, as a tactic block whose lines begin at column 0 and without a line break
 * at its end, to *out. State PROVED. The text follows the graph: one tactic a line, goals that are
 * single parts in bullets, so that each tactic sees what it saw in the search. Of several proofs it
 * is the one of the fewest tactics. Fails, with *out unchanged: PV_E_MISUSE (not PROVED), PV_E_NOMEM,
 * PV_E_LIMIT (the text would be above 64 MiB, or bullets nested above 2000). */
PV_NODISCARD pv_status search_proof(const search_run *run, pv_buf *out, pv_error *err);

/* The judge refused the proof that search_proof() gave. Where it renames hypotheses (docs/search.md),
 * the steps before that count as failed; there may be another proof at once (PROVED). Else the step that
 * completed it (the last one applied, which every proof found so far contains) counts as failed. The
 * search goes on (RUNNING) or ends (EXHAUSTED, BUDGET). Nodes that had been left because they were solved are
 * taken up again. In another state than PROVED it does nothing. */
search_state search_reject_proof(search_run *run);

/* The answers of policy and verifier. Everything is copied. A part's handle passes to the run,
 * also for an answer that it no longer needs (it is released at once). An unknown ticket or a
 * second answer is ignored (its handles are released). */
void search_deliver_candidates(search_run *run, uint64_t ticket, const search_candidate *candidates,
                               size_t n, const pv_error *failure /* NULL: none */);
void search_deliver_outcome(search_run *run, uint64_t ticket, size_t index,
                            const search_outcome *outcome);

/* Visits the graph for reports, nodes in order of creation, each followed by its edges. Borrowed
 * for the call. */
typedef struct search_node_view {
    uint64_t id; /* 0 ... nodes-1                                            */
    pv_key key;
    const char *const *goals;
    size_t goal_count;
    double logprob;  /* S of the best path                                       */
    uint32_t depth;  /* L of the best path                                       */
    uint64_t parent; /* the node before it on the best path; UINT64_MAX: the problem's own part */
    const char *arrived_by; /* the tactic that leads here from there; NULL             */
    double score;
    double cost; /* tactics in its smallest proof; infinite without one       */
    bool expanded, solved, dead, on_proof;
} search_node_view;

typedef struct search_edge_view {
    uint64_t from;
    const char *tactic;
    double logprob;
    search_outcome_kind kind;
    const uint64_t *children; /* child_count node ids                                     */
    size_t child_count;
    const char *message; /* negatives only                                           */
    bool smallest;       /* the first step of the smallest proof of `from`           */
    bool on_proof;       /* part of the proof that search_proof() writes             */
} search_edge_view;

void search_visit(const search_run *run, void (*on_node)(void *, const search_node_view *),
                  void (*on_edge)(void *, const search_edge_view *), void *user);

#ifdef __cplusplus
}
#endif
#endif
