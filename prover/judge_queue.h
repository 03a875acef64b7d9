/* judge_queue: found proofs, judged many at once: one fresh Lean process gets a text of many theorems. When it refuses, the
 * halves are judged apart, until the one that is at fault stands alone. With several judges as many batches are looked at side by side.
 *
 *     judge_queue q = {.s = s, .header = header, .on_answer = take, .user = me};
 *     judge_queue_add(&q, &ask);                the ask and its texts stay until take(me, &ask, answer)
 *     while (judge_queue_turn(&q, all)) { }     on the session's loop; all: few are judged, too
 *     judge_queue_release(&q);                  after the judges are closed: take(me, &ask, NULL) for what has no answer
 * Threads: the loop's. */
#ifndef JUDGE_QUEUE_H
#define JUDGE_QUEUE_H

#include "session.h"

#include <jansson.h>

/* A text of the user's, byte for byte, with one declaration to be judged. Those that are one theorem and nothing else are put one after
 * the other into a batch; others, and a name that is in the batch already, are judged alone or in another batch. */
typedef struct judge_text { /* borrowed */
    const char *header, *original, *candidate, *name;
    const char *const *proofs; /* proof_count: what the gate reads */
    size_t proof_count;
} judge_text;

typedef struct judge_ask { /* embedded by its owner */
    struct judge_ask *next;
    const char *statement,
        *proof;             /* as data_text_theorem() takes them, on the queue's header; borrowed */
    const judge_text *text; /* or a text of its own; borrowed; NULL: statement and proof          */
} judge_ask;

typedef struct judge_answer { /* borrowed for the call */
    lean_level level;
    const json_t *axioms;         /* accepted: an array of names      */
    const char *reason, *message; /* refused; NULL when accepted */
    const char *lean_version;     /* may be NULL */
    bool sandboxed;
    double seconds; /* this one's share of the judge's time */
} judge_answer;

/* `answer` is NULL when there will be none. The ask is the owner's again. */
typedef void judge_queue_take(void *user, judge_ask *ask, const judge_answer *answer);

typedef struct judge_batch judge_batch;

typedef struct judge_queue {
    session *s;         /* borrowed */
    const char *header; /* borrowed; of asks without a text */
    judge_queue_take *on_answer;
    void *user;
    judge_ask *waiting, *last;                       /* in the order in which they came */
    size_t count;                                    /* of them */
    judge_batch *batches[SESSION_JUDGES_MAX], *more; /* with a judge now; halves of refused ones */
    pv_error failure;                                /* no judgement can be had: the owner ends */
} judge_queue;

enum {
    JUDGE_BATCH = 96
}; /* a fresh process costs seconds, and most of a judgement does not grow with the batch */

void judge_queue_add(judge_queue *q, judge_ask *ask);

/* Takes answers and asks. Starts a batch that is full, or with `all` whatever there is. True when something happened. */
bool judge_queue_turn(judge_queue *q, bool all);

bool judge_queue_over(const judge_queue *q);
void judge_queue_release(judge_queue *q);

#endif
