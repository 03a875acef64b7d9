/* search_expansion: one node on its way through policy and verifier, with the answers that have
 * come so far, and the window of all that are on their way. Internal to search/.
 *
 * ASKED -> PROPOSED -> TRYING, or FAILED from any of them. Answers are stored here when they
 * come and applied when it is their turn. `dropped`: its answers are no longer wanted; it stays
 * until the last has come, because the other side still uses its ticket. */
#ifndef SEARCH_EXPANSION_H
#define SEARCH_EXPANSION_H

#include "pv_buf.h"
#include "search_graph.h"
#include "search_policy.h"

typedef enum search_stage {
    SEARCH_ASKED,    /* the policy owes candidates             */
    SEARCH_PROPOSED, /* candidates are here, not yet sent on   */
    SEARCH_TRYING,   /* the verifier owes `missing` outcomes   */
    SEARCH_BROKE,    /* a request failed: failure              */
} search_stage;

typedef struct search_answer {
    search_outcome outcome;
    const char *flaw; /* static: why the answer breaks the contract; NULL */
    bool given;
} search_answer;

typedef struct search_expansion {
    uint64_t ticket;
    uint32_t node;
    uint32_t parent; /* where its best path came from when it was issued; SEARCH_NONE: the root */
    search_stage stage;
    bool dropped;
    bool begun;                   /* the policy's answer has been applied */
    search_candidate *candidates; /* as answered, candidate_count */
    size_t candidate_count;
    search_candidate *tries; /* what was sent to the verifier, best first, try_count */
    size_t try_count;
    search_answer *answers; /* try_count */
    size_t missing;         /* outcomes that have not come */
    size_t applied;         /* outcomes that have been applied */
    pv_status failure;
    const char *failure_text;
    search_arena arena; /* everything above */
    struct search_expansion *next_free;
} search_expansion;

/* Expansions by ticket. Tickets count up from 1. */
typedef struct search_window {
    search_expansion **ring; /* ticket & (capacity - 1) -> expansion or NULL */
    size_t capacity;
    uint64_t oldest, next;   /* tickets alive are in [oldest, next) */
    search_expansion *spare; /* for reuse, with their memory */
} search_window;

void search_window_init(search_window *window);
void search_window_release(search_window *window); /* handles in stored answers must be gone */

/* A blank expansion under the next ticket; NULL when memory is short. */
search_expansion *search_window_push(search_window *window);

/* NULL when the ticket is unknown or its expansion is over. */
search_expansion *search_window_find(const search_window *window, uint64_t ticket);

/* Ends the expansion's life under its ticket. */
void search_window_remove(search_window *window, search_expansion *expansion);

/* Copies a policy's answer. Log-probabilities are brought into [-1e6, 0], and text that is not
 * UTF-8 becomes empty (which is never tried): no later step need care. False when memory is
 * short. */
bool search_expansion_store(search_expansion *expansion, const search_candidate *candidates,
                            size_t n);

/* Chooses what to try: candidates best first without repetitions, nor anything tried on the node
 * before. */
bool search_expansion_choose(search_expansion *expansion, const search_graph *graph,
                             pv_buf *scratch);

/* True when nothing is owed by either side. */
bool search_expansion_answered(const search_expansion *expansion);

#endif
