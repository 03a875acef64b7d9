/* engine_scheduler: what is inside an engine. Not included outside this folder.
 *
 * A job is one request. WAITING jobs hold nothing. ACTIVE jobs hold a handle on their prefix's node, which is computed
 * chunk by chunk; whichever job comes first in a batch computes the next chunk for all that share the node. The logits
 * at the prefix's end give every sample its first token (or a continuation's first log-probability). Once that has been
 * asked for, a sample is its own: READY until there is room, RUNNING with a tip in the tree, DONE.
 *
 *     job:    WAITING -> ACTIVE -> (all samples DONE) retired        sample: NEW -> READY -> RUNNING -> DONE
 *                ^---------'  suspended: made room for an older one                   ^--------'  preempted
 *
 * A sample that is preempted loses its pages and keeps its tokens: they are computed again when it resumes, to the same
 * bits (engine_backend.h, the invariant), so nothing that was reported changes. Only younger samples make room for
 * older ones, so the oldest always advances.
 *
 * One step is plan (engine_scheduler.c), launch (engine_step.c), answer (engine_draw.c). The plan of a batch holds a draw
 * for each token or log-probability that it is to give. Without submit(), launch waits for the logits and the host's
 * sampler answers the draws at once. With submit(), the launch only enqueues: the batch's draws become a flight, and the
 * answers of the oldest flight are collected when `steps_ahead` of them are under way, or nothing else can be done.
 *
 * What holds while draws are in flight:
 * - A tip has all its tokens, those not known yet as ENGINE_TOKEN_FROM_ROW(). Such a token can be computed in the very
 *   next launch only (it is `fresh`), or after it has become known. At most the last token of a tip is both unknown and
 *   not computed.
 * - What was launched counts as computed. The device works in the order of the calls, so later batches may read it, and
 *   pages may be given away while older steps that write them are in flight.
 * - A sample that ends leaves its flights: the answers are dropped, the surplus tokens are cut off its tip. A sample that
 *   is preempted stays in them: the answers are its own, wherever its pages are. It starts again once they are there.
 *
 * A `distinct` job (engine_distinct.c) computes nothing itself. It is in engine.distinct, and for each prefix of its series
 * (engine_series.h) that is to be opened it has a row job: a request for the logits behind that prefix, which is admitted,
 * planned and suspended as any prefix is. Its one sample never starts; the answer opens the prefix, and that ends the row
 * job. The host reads these logits. So on a backend with submit() a batch is either of draws or of row jobs, and the latter
 * goes through forward(). */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include "engine.h"
#include "engine_random.h"
#include "engine_series.h"
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

#define ENGINEP_NO_LOGIT UINT32_MAX

typedef struct enginep_sample {
    enginep_link link; /* RUNNING: engine.running; DONE: engine.finished, then the outbox */
    enginep_job *job;
    uint32_t index; /* as reported                                                     */
    enginep_state state;
    bool cancelled;
    uint64_t planned; /* the last step in whose batch it is                            */
    uint64_t key;     /* engine_sample_key()                                           */
    uint32_t *tokens;
    size_t count;
    size_t token_capacity;
    float *logprobs;
    size_t known;      /* log-probabilities known; = count when sampling                    */
    size_t asked;      /* known, or in flight                                               */
    uint64_t asked_in; /* the last launch with a draw of it                           */
    uint32_t asked_as; /* that draw                                                   */
    size_t logprob_capacity;
    engine_node *tip; /* tokens[0 ..) in the tree                                      */
    pv_buf text;
    size_t streamed; /* bytes of it that on_token has seen                             */
    engine_stop_state stop;
    engine_finish finish;
    pv_error *error;   /* owned; NULL: none, or no memory for one                      */
    size_t tokens_new; /* of a distinct job's sample                                   */
} enginep_sample;

/* What a distinct job knows beside its samples. */
typedef struct enginep_distinct {
    engine_series *series;
    uint64_t seed, key;
    uint32_t first; /* number in the series of samples[0]                              */
    uint32_t total; /* sequences of the series that will be asked for                  */
    uint32_t rows;  /* row jobs                                                        */
    uint32_t next_row;
    bool dirty;       /* has something to go on with                                   */
    pv_error failure; /* of a row: all end so                                          */
} enginep_distinct;

struct enginep_job {
    enginep_link link; /* engine.waiting or engine.active                              */
    uint64_t id;       /* in order of submission: a smaller one is older               */
    bool scoring;
    bool active;
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
    uint32_t next_new;          /* no sample below this index is NEW                         */
    uint32_t next_ready;        /* no sample below this index is READY                       */
    uint32_t live;              /* samples not DONE                                          */
    uint32_t running;           /* samples RUNNING                                           */
    uint32_t undelivered;       /* samples whose on_done has not run; the last one frees it  */
    engine_node *base;          /* ACTIVE: ends at prefix_len                                */
    uint64_t planned;           /* the last step with an item for it                         */
    uint64_t prefixed;          /* the last step with an item for its prefix                 */
    enginep_distinct *distinct; /* owned; NULL: samples are independent                */
    enginep_job *row_of;        /* a row job's distinct job                            */
    uint32_t row;               /* number of a row job: a smaller one is older         */
    uint32_t row_node;          /* of the series                                       */
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
    uint32_t probe_page;      /* ENGINE_PAGE_NONE unless a probe                         */
    uint32_t start;
    uint32_t rows;
    uint32_t again; /* of them: run before                                               */
    uint32_t first_row;
    uint32_t last_logit; /* index of the last row's logits; ENGINEP_NO_LOGIT: not wanted */
    size_t table_at;
    uint32_t table_len;
} enginep_item;

/* The draws of a launched batch whose answers are not there yet. */
typedef struct enginep_flight {
    uint64_t ticket;
    enginep_sample **askers; /* of each draw; NULL: nobody any more. max_rows            */
    uint32_t count;
} enginep_flight;

struct engine {
    const engine_model *model;
    const engine_backend *backend;
    engine_device *device;
    engine_backend_options limits; /* resolved */
    uint32_t max_sequences;
    uint32_t steps_ahead; /* 0: no submit()                                              */
    engine_tree *tree;
    engine_sampler sampler;
    enginep_sink sink;
    enginep_link waiting;  /* jobs, by id                                                */
    enginep_link active;   /* jobs, the one served last at the end                       */
    enginep_link running;  /* samples, the one served last at the end                    */
    enginep_link finished; /* samples to be delivered                                    */
    enginep_link distinct; /* jobs without repetition                                    */
    enginep_link spent;    /* row jobs that ended in this step                           */
    enginep_link kept;     /* series to be gone on with, the one used last at the end    */
    size_t kept_bytes;
    uint32_t row_count_active; /* row jobs among `active`                                */
    bool from_logits;          /* the batch's draws are answered from e->logits          */
    enginep_link *cursor;      /* of the walk over `active` or `running` that is under way   */
    uint32_t waiting_count;
    uint32_t active_count;
    uint32_t running_count;
    uint32_t pinned_count;
    uint64_t next_id;
    uint64_t step;
    uint64_t launches;
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
    engine_draw *draws;      /* max_rows                                                 */
    enginep_sample **askers; /* of each draw; max_rows                                   */
    uint32_t draw_count;
    float *logits;         /* max_logit_rows x vocab_size; with submit() not before a row job    */
    engine_drawn *answers; /* max_rows; NULL without submit()                            */
    enginep_flight flights[ENGINE_STEPS_AHEAD]; /* the oldest first                      */
    uint32_t flight_count;
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

/* A token was drawn for the sample: text, stop strings, on_token. *ended: with which finish. Callbacks of on_token may
 * submit and cancel, but jobs and samples stay where they are until enginep_deliver(). */
pv_status enginep_sample_push(engine *e, enginep_sample *s, engine_pick pick, bool *ended,
                              engine_finish *finish, pv_error *err);

/* The logits behind `prefix` and the path of a node of the distinct job's series. */
pv_status enginep_job_row(enginep_job *distinct, uint32_t node, enginep_job **out, pv_error *err);

/* engine_distinct.c */
void enginep_distinct_begin(engine *e, enginep_job *job);
void enginep_distinct_advance(engine *e); /* all that have something to go on with          */
void enginep_distinct_retire(engine *e, enginep_job *job);
void enginep_row_opened(engine *e, enginep_job *row); /* e->sampler holds its logits           */
void enginep_row_ended(engine *e, enginep_job *row, const pv_error *why); /* why NULL: no failure */
void enginep_distinct_close(engine *e);
void enginep_free_spent(engine *e);
pv_status enginep_logits_ready(engine *e, pv_error *err); /* what the host samples with is there */

/* Is `a` younger than `b`? */
static inline bool enginep_job_younger(const enginep_job *a, const enginep_job *b)
{
    return a->id > b->id || (a->id == b->id && a->row > b->row);
}

/* engine.c */
void enginep_insert_waiting(engine *e, enginep_job *job);
void enginep_enqueue(engine *e, enginep_job *job);
void enginep_sweep(engine *e);   /* ends what was cancelled                 */
void enginep_deliver(engine *e); /* hands what ended to the sink            */
void enginep_end_sample(engine *e, enginep_sample *s, engine_finish finish, const pv_error *why);
void enginep_end_job(engine *e, enginep_job *job, engine_finish finish, const pv_error *why);
void enginep_end_all(engine *e, engine_finish finish, const pv_error *why);

void enginep_leave(engine *e, enginep_link *link); /* out of its list, and from under the cursor */

/* engine_scheduler.c. Fills items, tokens, logit_rows, draws and tables. Requests that cannot go on end as failed; what
 * it returns is the device's failure. */
pv_status enginep_plan(engine *e, pv_error *err);

/* engine_draw.c */
static inline uint32_t enginep_in_flight(const enginep_sample *s)
{
    return (uint32_t)(s->asked - s->known);
}

/* Asks for what follows the sample's last asked one, of the logits `logit`. There is room (max_rows draws). */
void enginep_ask(engine *e, enginep_sample *s, uint32_t logit);
/* The batch's draws, by the host's sampler. */
void enginep_answer_from_logits(engine *e);
/* The answers of the oldest flight, which is over. */
void enginep_answer_from_device(engine *e, const engine_drawn *answers);
void enginep_leave_flights(engine *e, const enginep_sample *s);

#endif
