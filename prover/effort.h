/* effort: one theorem's way from its holes to a proof that the judge accepts: whole proofs first where there is a writer (whole_run.h),
 * then the search of the beginnings that they left, the longest first, and of the user's own text at last; all of it in one budget.
 *
 *     effort_start(&e, &plan);
 *     for (;;) {
 *         switch (e.state) {
 *         case EFFORT_WORKING: if (!effort_turn(&e)) { session_round(s); } continue;
 *         case EFFORT_FOUND:   ... the judge looks at e.candidate ...; effort_judged(&e, accepted, why); continue;
 *         default: break;
 *         }
 *         break;
 *     }
 *     while (!effort_end(&e)) { session_round(s); }
 *     ... e.proofs, e.stats ...
 *     effort_release(&e);
 * Passive: everything happens in the owner's turns, so that many run side by side on one loop. The struct stays where it is.
 * Threads: the loop's. */
#ifndef EFFORT_H
#define EFFORT_H

#include "budget.h"
#include "fills.h"
#include "quest.h"
#include "whole_run.h"

typedef enum effort_state {
    EFFORT_WORKING,
    EFFORT_FOUND,   /* `candidate` waits for the judge                                 */
    EFFORT_PROVED,  /* the judge accepted it                                           */
    EFFORT_OVER,    /* no proof: `why`; `refused` when the judge had the last word     */
    EFFORT_FAILED,  /* `failure`; `is_machine`: not this theorem's fault               */
    EFFORT_STOPPED, /* the user interrupted                                           */
} effort_state;

typedef struct effort effort;

typedef struct effort_plan { /* borrowed until effort_release() */
    /* The theorem and everything around it, also for the search. writer.ops NULL: no whole proofs are wanted. The limits in it are set by
     * the effort; with several holes, there are no whole proofs. */
    whole_plan whole;
    const char *step_statement; /* what the search's policy is shown; NULL: whole.statement */
    bool steps;                 /* what is not proved whole is searched */
    search_policy policy;
    search_options how;    /* of each search; statement, budgets and trace are the effort's */
    budget limit;          /* of all of it together */
    size_t chunk;          /* tactics sent to Lean at once; 0: all */
    const fill_list *done; /* proofs of other theorems of the text; NULL: none */
    /* Before and after each search; may be NULL. begins: *trace may be set. A failure ends the effort. */
    pv_status (*search_begins)(void *user, search_trace **trace, pv_error *err);
    void (*search_ends)(void *user, const search_run *run); /* before it is freed */
    void (*search_freed)(void *user);                       /* its trace may be closed */
    void *user;
} effort_plan;

typedef enum effort_way { EFFORT_STEP, EFFORT_CUT, EFFORT_WHOLE, EFFORT_REPAIR } effort_way;

enum {
    EFFORT_REFUSALS_MAX = 3
}; /* proofs of one text that the judge may refuse before it is given up */

struct effort {
    effort_plan plan;
    effort_state state;
    pv_buf candidate; /* the user's body with the proofs in it, and those of plan.done */
    char **proofs;    /* proof_count, one for each hole of the user's; NULL where there is none */
    size_t proof_count;
    bool as_is;     /* proofs are bytes that stand for the holes; else tactic blocks */
    effort_way way; /* of the candidate */
    char *why;
    bool refused, is_machine;
    pv_error failure;
    search_stats
        stats; /* all searches, and the tokens of whole proofs; until it is over without the search under way */
    whole_run whole;
    /* internal */
    unsigned stage;
    bool own_tried, counted,
        running;           /* running: `search` is not freed; counted: its stats are in */
    uint64_t whole_tokens; /* of whole.tokens, those in stats */
    char *last_refusal;
    whole_text *now; /* what is searched; NULL: the user's own text */
    size_t hole;
    quest search;
    char **parts; /* part_count proofs of the holes of what is searched */
    size_t part_count;
    unsigned refusals;
    uint64_t started_ms, found_ms; /* the time that the judge takes does not count */
};

/* Starts; whatever fails shows in the state. The theorem has been looked at (attempt_why_skip). */
void effort_start(effort *e, const effort_plan *plan);

/* Goes on with what has come; true when something happened. WORKING only. */
bool effort_turn(effort *e);

/* The judge's word on the candidate: PROVED, or WORKING again, or OVER for `why` (a sentence) after too many. */
void effort_judged(effort *e, bool accepted, const char *why);

/* The search under way, for those who show progress; NULL. */
const search_run *effort_search(const effort *e);

/* What that search searches, for people: "the statement, hole 2 of 3". Within search_ends, too. */
void effort_search_title(const effort *e, pv_buf *out);

/* Cancels; true once nothing is out and every search is freed. Idempotent; {0} is over. */
bool effort_end(effort *e);
void effort_release(effort *e);

const char *effort_way_name(effort_way way); /* "step", "cut", "whole", "repair"; static */

#endif
