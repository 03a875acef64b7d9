/* engine: tokens in, samples and log-probabilities out, for many requests at once on one device.
 *
 * A request names a prefix and asks for samples of what follows (engine_submit), or for the log-probabilities of given
 * continuations (engine_score). Requests run together: every engine_step() makes one batch of decode rows and prompt
 * chunks over all of them, runs it, and reports what ended by callbacks. Prefixes live in a tree (engine_tree.h): what
 * one request computed, the next one finds, at any token. Results are a function of the model, the request and the
 * options that the backend was opened with: bit for bit the same whatever else is in the batch, whether the prefix
 * was cached, and after any interruption (docs/engine.md, "Determinism").
 *
 *     engine *e = NULL;
 *     status = engine_open(&e, model, engine_backend_cpu(), NULL, &err);
 *     engine_request r = {.prefix = ids.ids, .prefix_len = ids.len, .samples = 8, .max_tokens = 512,
 *                         .sampling = {.temperature = 1, .top_p = 0.95f}, .seed = 30, .on_done = on_done};
 *     status = engine_submit(e, &r, NULL, &err);
 *     for (bool busy = true; busy && status == PV_OK;) {
 *         status = engine_step(e, &busy, &err);             calls on_done 8 times in all
 *     }
 *     engine_close(e);
 *
 * Threads: an engine belongs to one thread at a time; engine_thread.h runs one on a thread of its own. Callbacks run
 * inside engine_step() and engine_close(); they may submit, score, cancel, pin and forget, but not step or close. */
#ifndef ENGINE_H
#define ENGINE_H

#include "engine_backend.h"
#include "engine_model.h"
#include "engine_sampler.h"
#include "engine_stop.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine engine;

typedef struct
    engine_options { /* zero = default for every field                                    */
    engine_backend_options
        backend;    /* kv_pages 0: what one sequence of max_positions needs, and one page */
    uint32_t pages; /* KV pages to use at most; 0: all that the device has                    */
    uint32_t
        max_sequences; /* samples that decode at one time; 0: the backend's max_logit_rows       */

    /* Steps under way at one time on a device with submit(), 1 .. ENGINE_STEPS_AHEAD; 0 = 2. Results do not depend on
     * it. */
    uint32_t steps_ahead;
} engine_options;

/* Opens the model on the backend. `model` is borrowed until close(); `options` may be NULL.
 * Fails: PV_E_INVALID (options), and as the backend's open(). *out is written on success only. */
PV_NODISCARD pv_status engine_open(engine **out, const engine_model *model,
                                   const engine_backend *backend, const engine_options *options,
                                   pv_error *err);

/* Samples that have not ended are reported as cancelled. NULL allowed. */
void engine_close(engine *e);

typedef enum engine_finish {
    ENGINE_FINISH_STOP, /* a stop string was complete                                            */
    ENGINE_FINISH_EOS,  /* the model ended it; the end token is the last of `tokens`             */
    ENGINE_FINISH_LENGTH, /* max_tokens, or the model's context, is used up                        */
    ENGINE_FINISH_SCORED, /* a continuation of engine_score()                                      */
    ENGINE_FINISH_CANCELLED, /* what there was by then                                                */
    ENGINE_FINISH_FAILED, /* `error` says why                                                      */
    ENGINE_FINISH_EXHAUSTED, /* `distinct`: every sequence that can be drawn has been drawn; no tokens */
} engine_finish;

const char *engine_finish_text(engine_finish finish); /* "stop", "eos", ... never NULL */

typedef struct
    engine_result {  /* borrowed for the callback                                           */
    uint64_t id;     /* of the request                                                      */
    uint32_t sample; /* engine_request.first_sample + 0, 1, ..; or the continuation's index */
    engine_finish finish;
    const uint32_t
        *tokens;           /* generated (or scored) tokens, as drawn: never encode the text again */
    const float *logprobs; /* of each under softmax(logits): before temperature and cuts          */
    size_t token_count;
    size_t
        tokens_new; /* of them, those that the model generated for it: token_count, but `distinct` samples
                        * share their beginnings, and a later one counts what no earlier one had         */
    const char *
        text; /* the tokens' bytes, special tokens left out, cut before the stop string. May end inside a
                       * UTF-8 sequence (engine_utf8_lossy). NUL-terminated; "" without a tokenizer   */
    size_t text_len;
    const pv_error
        *error; /* FAILED only, else NULL                                                  */
} engine_result;

typedef struct
    engine_token { /* one token of a sample, borrowed for the callback                     */
    uint64_t id;
    uint32_t sample;
    uint32_t
        index; /* 0: the first one generated                                                     */
    uint32_t token;
    float logprob;
    const char
        *text; /* bytes that are certain now and were not before; what may begin a stop string
                       * is held back. All of them together are the result's text                     */
    size_t text_len;
} engine_token;

typedef void engine_on_done(void *user, const engine_result *result);
typedef void engine_on_token(void *user, const engine_token *token);

typedef struct
    engine_request {        /* all of it is copied                                                */
    const uint32_t *prefix; /* >= 1 ids below vocab_size                                          */
    size_t prefix_len;
    uint32_t
        samples; /* 0 = 1                                                                     */
    uint32_t
        max_tokens; /* for each sample; 0: up to the model's context                             */
    engine_sampling sampling;
    uint64_t seed; /* random numbers are keyed by (seed, key, sample index, position):        */
    uint64_t key;  /* the caller's name for the request, such as a hash of the search node    */
    uint32_t
        first_sample; /* index of the first sample: 8 more samples of a request that had 8       */
    bool ignore_eos;

    /* Samples are drawn without replacement: no two have the same tokens. Sample i is the i-th of a series that (seed, key,
     * prefix, sampling, max_tokens, ignore_eos, stops) name; see docs/engine.md, "Draws without repetition". They come in
     * that order, whole: on_token must be NULL. Those that there cannot be end as EXHAUSTED. */
    bool distinct;

    /* `distinct`: how many samples of the series will be asked for in all, first to last; 0: these. When there are more to
     * come, what is known of the series is kept for a while (ENGINE_SERIES_BYTES), so that a request for the next ones
     * need not begin again. Only the time it takes depends on that. */
    uint32_t series_samples;
    const engine_text
        *stops; /* matched on the bytes of the generated text                           */
    size_t stop_count;
    engine_on_token
        *on_token; /* may be NULL: no streaming                                           */
    engine_on_done
        *on_done; /* exactly once for each sample, unless submit failed                  */
    void *user;
} engine_request;

/* Series that are kept take this much memory at most, on the host; those that were used the longest time ago go first. */
enum { ENGINE_SERIES_BYTES = 64 << 20 };

typedef struct engine_span { /* borrowed */
    const uint32_t *ids;
    size_t len;
} engine_span;

typedef struct
    engine_score_request { /* all of it is copied                                          */
    const uint32_t *prefix;
    size_t prefix_len;
    const engine_span
        *continuations; /* each of >= 1 tokens                                          */
    size_t count;
    engine_on_done
        *on_done; /* once for each continuation                                            */
    void *user;
} engine_score_request;

/* Queues a request; nothing is computed yet. `id` may be NULL.
 * Fails: PV_E_INVALID (what is wrong with which field), PV_E_LIMIT (it could never fit into the context or into the
 * pages: figures in the message), PV_E_NOMEM, PV_E_DEVICE (the device had died). */
PV_NODISCARD pv_status engine_submit(engine *e, const engine_request *request, uint64_t *id,
                                     pv_error *err);
PV_NODISCARD pv_status engine_score(engine *e, const engine_score_request *request, uint64_t *id,
                                    pv_error *err);

#define ENGINE_ALL_SAMPLES UINT32_MAX

/* Ends a sample (its index as in the result), or all of the request. It is in no batch from now on; on_done follows
 * at the end of the current step or the start of the next. False: it had ended already. Where the device runs ahead,
 * the at most ENGINE_STEPS_AHEAD steps that are under way still run its rows, and nobody sees what they give. */
bool engine_cancel(engine *e, uint64_t id, uint32_t sample);

/* Runs one batch; on a backend with submit(), enqueues one and takes the results of the oldest one under way when there
 * are engine_options.steps_ahead of these, or nothing could be enqueued. *busy (may be NULL): is anything left to do?
 * Fails: PV_E_DEVICE and PV_E_NOMEM when the batch as a whole failed (all requests then end as failed, with the same
 * message; after PV_E_DEVICE the engine takes no more), PV_E_MISUSE (called from a callback). */
PV_NODISCARD pv_status engine_step(engine *e, bool *busy, pv_error *err);

/* ---- The prefix tree ---- */

typedef struct engine_pinned engine_pinned;

/* What is computed of this sequence, now or later, is not evicted until unpin. It computes nothing by itself.
 * Fails: PV_E_INVALID, PV_E_LIMIT (longer than the context), PV_E_NOMEM. */
PV_NODISCARD pv_status engine_pin(engine *e, const uint32_t *tokens, size_t n, engine_pinned **out,
                                  pv_error *err);
void engine_unpin(engine *e, engine_pinned *pinned); /* NULL allowed; before engine_close() */

/* Leading tokens of the sequence that are cached now. */
size_t engine_cached(const engine *e, const uint32_t *tokens, size_t n);

/* Frees what is cached behind tokens[0..n) and in use by nobody; n == 0: everything. */
void engine_forget(engine *e, const uint32_t *tokens, size_t n);

typedef struct engine_stats {
    uint64_t steps;
    uint64_t rows; /* through the model: computed + again + surplus                         */
    uint64_t
        tokens_computed; /* keys and values that were not cached before                          */
    uint64_t
        tokens_again; /* rows run again: for the logits at the end of a cached prefix, and    */
                      /* after a sample had to make room                                      */
    uint64_t tokens_surplus; /* rows that were under way when their sample ended: for nothing */
    uint64_t
        tokens_reused; /* prefix tokens that a request found cached, or being computed         */
    uint64_t
        tokens_sampled; /* of `distinct` samples: engine_result.tokens_new                     */
    uint64_t
        rows_distinct; /* logits computed to draw `distinct` samples: tokens_sampled and those of */
                       /* beginnings that led to none                                         */
    uint64_t tokens_evicted;
    uint64_t busy_ns; /* inside engine_step()                                                   */
    uint64_t copies;  /* partial pages                                                            */
    uint64_t
        preemptions; /* samples that had to make room for older ones                             */
    uint64_t
        finished;     /* samples                                                                  */
    uint32_t waiting; /* requests not begun                                                       */
    uint32_t active;  /* requests begun                                                           */
    uint32_t running; /* samples that hold pages                                                  */
    uint32_t pinned;  /* engine_pin() handles                                                     */
    uint32_t nodes;
    uint32_t pages_total;
    uint32_t pages_used;
    uint32_t
        pages_locked; /* not to be had by eviction                                               */
    uint32_t pages_peak;
} engine_stats;

void engine_stats_get(const engine *e, engine_stats *out);
void engine_memory_get(const engine *e, engine_memory *out);
const engine_model *engine_model_of(const engine *e);

#ifdef __cplusplus
}
#endif
#endif
