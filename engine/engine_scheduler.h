/* engine_scheduler: what is inside an engine. Not included outside this folder.
 *
 * A job is one request. WAITING jobs hold nothing. ACTIVE jobs hold a handle on their prefix's node, which is computed
 * chunk by chunk; whichever job comes first in a batch computes the next chunk for all that share the node. The logits
 * at the prefix's end give every sample its first token (or a continuation's first log-probability). From then on a
 * sample is its own: READY until there is room, RUNNING with a tip in the tree, DONE.
 *
 *     job:    WAITING -> ACTIVE -> (all samples DONE) retired        sample: NEW -> READY -> RUNNING -> DONE
 *                ^---------'  suspended: made room for an older one                   ^--------'  preempted
 *
 * A sample that is preempted loses its pages and keeps its tokens: they are computed again when it resumes, to the same
 * bits (engine_backend.h, the invariant), so nothing that was reported changes. Only younger samples make room for
 * older ones, so the oldest always advances.
 *
 * One step is plan (engine_scheduler.c), launch, absorb (engine_step.c). launch() is the only place that waits for the
 * device. For a device with submit() and collect(), absorb() would take engine_drawn in place of logits, for the step
 * before the one just launched, and plan() would put ENGINE_TOKEN_FROM_ROW() where a token is not known yet. */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include "engine.h"
#include "engine_random.h"
#include "engine_tree.h"
#include "pv_buf.h"

#include <stddef.h>

/* ---- Lists: a link is in one list at a time ---- */

typedef struct enginep_link {
    struct enginep_link *prev;
    struct enginep_link *next;
} enginep_link;

static inline void enginep_list_init(enginep_link *head)
{
    head->prev = head->next = head;
}

static inline bool enginep_list_empty(const enginep_link *head)
{
    return head->next == head;
}

static inline void enginep_list_insert(enginep_link *before, enginep_link *link)
{
    link->prev = before->prev;
    link->next = before;
    before->prev->next = link;
    before->prev = link;
}

static inline void enginep_list_remove(enginep_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = link;
}

/* ---- Jobs and samples ---- */

#define ENGINEP_SAMPLE(l) ((enginep_sample *)(void *)((char *)(l)-offsetof(enginep_sample, link)))
#define ENGINEP_JOB(l)    ((enginep_job *)(void *)((char *)(l)-offsetof(enginep_job, link)))

typedef struct enginep_job enginep_job;

typedef enum enginep_state {
    ENGINEP_NEW,     /* nothing known yet                                       */
    ENGINEP_READY,   /* waits for room: `tokens` are to be computed             */
    ENGINEP_RUNNING, /* has a tip                                               */
    ENGINEP_DONE,
} enginep_state;

#define ENGINEP_NO_ITEM UINT32_MAX

typedef struct enginep_sample {
    enginep_link link; /* RUNNING: engine.running; DONE: engine.finished, then the outbox */
    enginep_job *job;
    uint32_t index; /* as reported                                                     */
    enginep_state state;
    bool cancelled;
    uint32_t item; /* of the batch being made                                          */
    uint64_t key;  /* engine_sample_key()                                              */
    uint32_t *tokens;
    size_t count;
    size_t token_capacity;
    float *logprobs;
    size_t known; /* log-probabilities known; = count when sampling                    */
    size_t logprob_capacity;
    engine_node *tip; /* tokens[0 ..) in the tree                                      */
    pv_buf text;
    size_t streamed; /* bytes of it that on_token has seen                             */
    engine_stop_state stop;
    engine_finish finish;
    pv_error *error; /* owned; NULL: none, or no memory for one                        */
} enginep_sample;

struct enginep_job {
    enginep_link link; /* engine.waiting or engine.active                              */
    uint64_t id;       /* in order of submission: a smaller one is older               */
    bool scoring;
    bool active;
    bool drawn; /* the first tokens are drawn                                          */
    bool ignore_eos;
    bool cancelled; /* some sample is                                                  */
    uint32_t *prefix;
    uint32_t prefix_len;
    uint32_t max_tokens;
    engine_sampling sampling;
    engine_stops stops;
    engine_on_token *on_token;
    engine_on_done *on_done;
    void *user;
    enginep_sample *samples;
    uint32_t sample_count;
    uint32_t next_ready;  /* no sample below this index is READY                       */
    uint32_t live;        /* samples not DONE                                          */
    uint32_t running;     /* samples RUNNING                                           */
    uint32_t undelivered; /* samples whose on_done has not run; the last one frees it  */
    engine_node *base;    /* ACTIVE: ends at prefix_len                                */
    uint32_t item;        /* item of the batch whose logits are those of the prefix    */
    uint64_t planned;     /* the last step with an item for it                         */
};

/* Where tokens and results go: straight to the callbacks, or to another thread. */
typedef struct enginep_sink {
    pv_status (*token)(void *user, enginep_sample *sample, const engine_token *token,
                       pv_error *err);
    void (*done)(void *user, enginep_sample *sample); /* takes the sample over             */
    void *user;
} enginep_sink;

/* ---- The batch ---- */

typedef struct enginep_item { /* one sequence of the batch                               */
    engine_node *node;        /* whose next tokens these are; NULL for a probe           */
    enginep_sample *sample;   /* NULL: a prefix                                          */
    uint32_t probe_page;      /* ENGINE_PAGE_NONE unless a probe                         */
    uint32_t start;
    uint32_t rows;
    uint32_t first_row;
    uint32_t first_logit; /* the last `logit_count` rows have logits                     */
    uint32_t logit_count;
    size_t table_at;
    uint32_t table_len;
} enginep_item;

struct engine {
    const engine_model *model;
    const engine_backend *backend;
    engine_device *device;
    engine_backend_options limits; /* resolved */
    uint32_t max_sequences;
    engine_tree *tree;
    engine_sampler sampler;
    enginep_sink sink;
    enginep_link waiting;  /* jobs, by id                                                */
    enginep_link active;   /* jobs, the one served last at the end                       */
    enginep_link running;  /* samples, the one served last at the end                    */
    enginep_link finished; /* samples to be delivered                                    */
    enginep_link *cursor;  /* of the walk over `active` or `running` that is under way   */
    uint32_t waiting_count;
    uint32_t active_count;
    uint32_t running_count;
    uint32_t pinned_count;
    uint64_t next_id;
    uint64_t step;
    bool stepping;
    bool any_cancelled;
    bool dead;
    pv_error death;
    enginep_item *items; /* max_rows                                                     */
    uint32_t item_count;
    uint32_t *tokens; /* max_rows                                                        */
    uint32_t row_count;
    uint32_t *logit_rows; /* max_logit_rows                                              */
    uint32_t logit_count;
    float *logits;          /* max_logit_rows x vocab_size                                        */
    engine_batch_seq *seqs; /* max_rows                                                  */
    uint32_t *tables;
    size_t table_count;
    size_t table_capacity;
    engine_stats stats; /* the sums; the rest is filled in when asked                    */
};

struct engine_pinned {
    engine_node *node;
};

/* engine_job.c. Making one reads only what never changes in the engine: any thread. */
pv_status enginep_job_submit(const engine *e, const engine_request *r, enginep_job **out,
                             pv_error *err);
pv_status enginep_job_score(const engine *e, const engine_score_request *r, enginep_job **out,
                            pv_error *err);
void enginep_job_free(enginep_job *job);
void enginep_sample_deliver(
    enginep_sample *sample); /* calls on_done; the job is freed with its last sample */
pv_status enginep_tokens_check(const engine *e, const char *what, const uint32_t *tokens, size_t n,
                               pv_error *err);

/* A token was drawn for the sample: text, stop strings, on_token. *ended: with which finish. */
pv_status enginep_sample_push(engine *e, enginep_sample *s, engine_pick pick, bool *ended,
                              engine_finish *finish, pv_error *err);

/* engine.c */
void enginep_enqueue(engine *e, enginep_job *job);
void enginep_sweep(engine *e);   /* ends what was cancelled                 */
void enginep_deliver(engine *e); /* hands what ended to the sink            */
void enginep_end_sample(engine *e, enginep_sample *s, engine_finish finish, const pv_error *why);
void enginep_end_job(engine *e, enginep_job *job, engine_finish finish, const pv_error *why);
void enginep_end_all(engine *e, engine_finish finish, const pv_error *why);

void enginep_leave(engine *e, enginep_link *link); /* out of its list, and from under the cursor */

/* engine_scheduler.c. Fills items, tokens, logit_rows and tables. Requests that cannot go on end as failed; what it
 * returns is the device's failure. */
pv_status enginep_plan(engine *e, pv_error *err);

#endif
