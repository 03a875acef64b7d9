/* search_run: the state of one search and the steps it is made of. Internal to search/.
 *
 * search_pump() repeats: issue expansions while the window has room (search_issue.c), hand
 * candidates on to the verifier, apply the answers of the oldest expansion (search_apply.c). New
 * expansions are chosen only at the start and when the oldest expansion is over, never in
 * between: what the graph looks like at that moment does not depend on when answers came. */
#ifndef SEARCH_RUN_H
#define SEARCH_RUN_H

#include "search.h"
#include "search_expansion.h"

struct search_run {
    search_options options; /* defaults filled in */
    char *statement;        /* options.statement, owned */
    search_policy policy;
    search_verifier verifier;
    search_graph graph;
    search_window window;
    search_state state;
    uint64_t head;    /* every expansion with a smaller ticket is over */
    uint32_t active;  /* expansions issued and neither over nor dropped */
    size_t in_flight; /* requests not fully answered */
    size_t to_send;   /* expansions PROPOSED and not dropped */
    size_t zombies;   /* dropped expansions that still have their ticket */
    size_t to_reap;   /* dropped expansions with nothing owed any more */
    bool fill_due;    /* the moment to choose new expansions */
    bool inside;      /* in search_pump(): answers that come now need no wake */
    bool starved;     /* an answer could not be stored: out of memory */
    bool trace_ended;
    uint32_t last_edge; /* the edge added last */
    const char *budget;
    pv_error failure;
    search_stats stats; /* counters only */
    uint64_t start_ns, stop_ns;
    pv_buf scratch;     /* normal forms */
    uint32_t *children; /* of the edge being made, and what renames each of them, or NULL */
    char **renames;
    size_t children_capacity, renames_capacity;
    const char **texts; /* goals, then path, or tactics of the request being made */
    size_t texts_capacity;
};

/* Leaves RUNNING: drops everything in flight. */
void search_run_stop(search_run *run, search_state state);
void search_run_stop_budget(search_run *run, const char *budget);
void search_run_break(search_run *run, pv_status status, const char *what, const char *why);
void search_run_starve(search_run *run); /* BROKEN: out of memory */

/* Takes the expansion out of the search: its node is free again, its answers are unwanted, its
 * requests cancelled. */
void search_run_drop(search_run *run, search_expansion *expansion);

/* The oldest expansion that is not over; NULL when none is. Moves run->head. */
search_expansion *search_run_head(search_run *run);
bool search_head_ready(const search_expansion *head); /* something of it can be applied */

void search_run_fill(search_run *run); /* search_issue.c */
void search_run_send(search_run *run);
bool search_run_any_needed(search_run *run); /* a node waits that the root needs */
const char *search_run_issue_limit(const search_run *run);

/* The parts of an edge being made (search_parts.c). Room for so many; part number `at` becomes
 * run->children[at], with what renames it in run->renames[at]. False: memory is short. */
bool search_run_reserve_children(search_run *run, size_t count);
bool search_run_intern(search_run *run, const search_part *part, size_t at, bool *is_new);
const char *const *search_run_renames(const search_run *run, size_t count); /* NULL: none */
void search_run_forget_renames(search_run *run, size_t count);

/* Applies what is there of the oldest expansion; true when that one is over (search_apply.c). */
bool search_run_apply(search_run *run);

double search_run_wall(const search_run *run);
bool search_run_wall_spent(const search_run *run);

/* Mixes a decision or an answer into the digest. */
static inline void search_run_note(search_run *run, uint64_t value)
{
    run->stats.digest = pv_mix64(run->stats.digest ^ value);
}

#endif
