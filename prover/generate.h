/* generate: what the files of `prover generate` share. Internal to generate_*.c and command_generate.c.
 *
 *   generate_source.c  which statements there are, in which order; fetched block by block
 *   generate_intake.c  what is known of a statement before Lean is asked: filters, split, shard
 *   generate_item.c    one statement's way: opened, cheap tactics, search, shortening, usage, reduction, contradiction
 *   generate_reduce.c  lists of lemmas in a proof, made shorter
 *   generate_judge.c   found proofs judged (judge_queue.h); then they are rows
 *   generate_list.c    statements only named, for --list
 *   generate_yield.c   rows written and counted; progress, report
 *
 * Everything runs on the session's loop. Callbacks only note an answer; the owner's turn (generate_*_turn) goes on with it. */
#ifndef GENERATE_H
#define GENERATE_H

#include "data_file.h"
#include "fixed_policy.h"
#include "judge_queue.h"
#include "key_set.h"
#include "policy_choice.h"
#include "quest.h"
#include "usage.h"

typedef struct generator generator;

/* Some statements that are fetched with one question and belong to one row of kind "block" once all are done. */
typedef struct generate_block {
    char *id;             /* names it across runs                              */
    char *module;         /* the library's module, or the file                 */
    uint64_t skip, limit; /* library                                   */
    char *text, *name;    /* file: the theorem's text and name; NULL   */
    /* file: a row of our own says where its statement came from; else NULL */
    char *origin, *mutation; /* the theorem's name, what made the statement of it */
    pv_key root;
    uint64_t order;
    bool fetched;
    size_t waiting; /* statements that have no row yet                 */
    uint64_t theorems, statements, duplicates, elsewhere;
} generate_block;

typedef struct generate_statement {
    struct generate_statement *next;
    char *text;     /* "statement (a : Nat) : ..." */
    char *mutation; /* "theorem", or what made it */
    char *name;     /* of the theorem it comes from */
    pv_key key, root;
    generate_block *block;
} generate_statement;

typedef enum generate_stage {
    GENERATE_IDLE,
    GENERATE_OPENING,
    GENERATE_CHEAP,
    GENERATE_CHEAP_END,
    GENERATE_SEARCH,
    GENERATE_SHORTEN,
    GENERATE_USAGE,
    GENERATE_REDUCE,
    GENERATE_EXTRA,
    GENERATE_ENDING,
} generate_stage;

enum { GENERATE_ROUNDS = 3 }; /* in which lists of lemmas are made shorter */

typedef struct generate_item {
    generator *g;
    generate_stage stage;
    generate_statement *statement;
    lean_ticket ticket;
    bool pending; /* a question to Lean is out */
    pv_error failure;
    theorem_list opened;
    quest cheap, main, shorten, reduce[GENERATE_ROUNDS];
    search_premises_policy premises; /* of the main search */
    fixed_policy cheap_tactics, pieces, reductions[GENERATE_ROUNDS];
    size_t rounds; /* of reduction, begun */
    lean_known_failure *known;
    size_t known_count, known_capacity;
    quest *proved;    /* whose proof is at hand; NULL */
    quest *unreduced; /* the same before lists of lemmas were made shorter */
    char *proof;      /* its text */
    size_t found;     /* steps of the proof that the search found */
    unsigned selfish; /* proofs refused because they use the theorem itself */
    usage usage;
    fixed_policy extra;    /* tactics tried last: first those that look for a contradiction */
    size_t hopeless_count; /* so many of them */
    bool contradictory;
    json_t *more_failed, *more_alternatives; /* what the others gave */
    uint64_t started_ms;
} generate_item;

/* A row that only the judge's word is missing to. */
typedef struct generate_finished {
    judge_ask ask; /* first: the queue gives it back */
    json_t *row;
    char *statement, *proof;
    generate_statement *origin;
} generate_finished;

struct generator {
    session s;
    const options *opt;
    lean_env *env;
    char *header;
    policy_choice choice;
    const char *mutations[16];
    char *mutation_names; /* what `mutations` points into */
    size_t mutation_count;
    uint64_t shard, shards;

    data_file file;
    key_set done;     /* statements with a row */
    key_set excluded; /* statements that must not come in */
    key_set blocks_done;
    key_set pairs; /* distinct (state, tactic) */

    generate_block *blocks;
    size_t block_count, block_capacity, next_block;
    generate_block *fetching;
    lean_ticket fetch_ticket;
    generate_statement *queue, **queue_end;
    size_t queued;

    generate_item *items;
    size_t item_count;

    judge_queue judge;

    json_t *by_source, *by_mutation, *by_filter;
    uint64_t started_ms, taken, rows, proved, cheap, open, dropped, pair_count, at_start;
    double lean_seconds, judge_seconds, fetch_seconds;
    uint64_t tactics;
    bool stopping; /* a limit is reached: no new statement */
    pv_error failure;
};

/* generate_source.c */
PV_NODISCARD pv_status generate_find_sources(generator *g, pv_error *err);
PV_NODISCARD pv_status generate_exclude_files(generator *g, pv_error *err);
/* Fetches ahead; true when something happened. */
bool generate_source_turn(generator *g);
bool generate_source_over(const generator *g);
void generate_source_release(generator *g);

/* generate_intake.c */
void generate_take_library(generator *g, generate_block *block, const lean_library *library);
generate_statement *generate_next(generator *g);
void generate_statement_free(generate_statement *st);
/* The statement has its row: frees it; its block may be done. */
void generate_settle(generator *g, generate_statement *st);
const char *generate_split(pv_key root);

/* generate_list.c: --list instead of trying. True when a statement was written. */
bool generate_list_turn(generator *g);

/* generate_item.c */
bool generate_item_turn(generate_item *item);
/* Cancels what it does; true once it holds nothing. */
bool generate_item_end(generate_item *item);

/* generate_reduce.c: what to try for shorter lists in the proof at hand, whose usage is known (*out starts out zero). False: its
 * lists hold no more than they need, or memory is short. */
bool generate_reduce_gather(const generate_item *item, fixed_policy *out);

/* generate_judge.c */
void generate_judge_start(generator *g); /* once the header is known */
void generate_judge_add(generator *g, generate_finished *f);
bool generate_judge_turn(generator *g);

/* generate_yield.c */
json_t *generate_row(const generator *g, const char *kind, const generate_statement *st);
/* Writes the row (taken) and counts it under the statement. */
void generate_write(generator *g, json_t *row, const generate_statement *st);
void generate_drop(generator *g, generate_statement *st, const char *filter, const char *reason);
pv_status generate_read_row(void *user, const json_t *row, pv_error *err);
void generate_progress(generator *g);
void generate_report(generator *g);
void generate_fail(generator *g, const pv_error *err);

#endif
