#include "model_writer.h"

#include "engine_template.h"
#include "prompt.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <string.h>

struct model_writer {
    model_policy *policy;
    model_parts parts;
    const options *opt;
    const char *prompt;
};

/* Lives until its last answer. */
typedef struct writing {
    writer_on_text *on_text;
    void *user;
    uint32_t missing;
} writing;

static void on_done(void *user, const engine_result *result)
{
    writing *w = user;
    pv_error cancelled = {0};
    const pv_error *failure = NULL;
    if (result->finish == ENGINE_FINISH_FAILED) {
        failure = result->error;
    } else if (result->finish == ENGINE_FINISH_CANCELLED) {
        pv_fail(&cancelled, PV_E_CANCELLED, "cancelled");
        failure = &cancelled;
    }
    w->on_text(w->user, result->text, result->text_len, (uint32_t)result->token_count, failure);
    if (--w->missing == 0) {
        pv_free(w);
    }
}

static pv_status submit(model_writer *m, const writer_request *q, const engine_tokens *prompt,
                        writing *w, uint64_t *ticket, pv_error *err)
{
    engine_text stop = {engine_prompt_stop(), strlen(engine_prompt_stop())};
    engine_request wanted = {
        .prefix = prompt->ids,
        .prefix_len = prompt->len,
        .samples = q->samples,
        .max_tokens = (uint32_t)m->opt->whole_tokens,
        .sampling = model_policy_sampling(m->policy),
        .seed = q->seed,
        .first_sample = (uint32_t)q->first,
        .key = pv_hash_bytes(prompt->ids, prompt->len * sizeof *prompt->ids, 1),
        .stops = &stop,
        .stop_count = 1,
        .on_done = on_done,
        .user = w,
    };
    return engine_thread_submit(m->parts.thread, &wanted, ticket, err);
}

/* The answer that has begun: a block of code with the prefix in it. */
static pv_status add_prefix(const model_writer *m, const char *prefix, engine_tokens *out,
                            pv_error *err)
{
    pv_buf text = {0};
    pv_buf_printf(&text, "```lean4\n%s", prefix);
    pv_status status = pv_buf_ok(&text) ? engine_encode(m->parts.encoder, pv_buf_text(&text),
                                                        text.len, 0, out, err)
                                        : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&text);
    return status;
}

/* A plan belongs before the code, so an answer that has begun is asked for without one. */
static pv_status make_prompt(const model_writer *m, const writer_request *q, engine_tokens *out,
                             pv_error *err)
{
    if (q->repair != NULL) {
        return prompt_render_turn(m->parts.model, m->parts.encoder, m->prompt, q->statement,
                                  q->repair->answer, q->repair->turn, out, err);
    }
    pv_status status = prompt_render(m->parts.model, m->parts.encoder,
                                     q->prefix == NULL ? m->prompt : "prover-v2-noncot",
                                     q->statement, strlen(q->statement), out, err);
    return status == PV_OK && q->prefix != NULL ? add_prefix(m, q->prefix, out, err) : status;
}

static pv_status write_proofs(void *self, const writer_request *q, uint64_t *ticket, pv_error *err)
{
    model_writer *m = self;
    engine_tokens prompt = {0};
    writing *w = pv_calloc(1, sizeof *w);
    if (w == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *w = (writing){q->on_text, q->user, q->samples};
    pv_status status = make_prompt(m, q, &prompt, err);
    if (status == PV_OK) {
        status = submit(m, q, &prompt, w, ticket, err);
    }
    if (status != PV_OK) {
        pv_free(w);
    }
    engine_tokens_release(&prompt);
    return status;
}

static void cancel(void *self, uint64_t ticket)
{
    model_writer *m = self;
    pv_status ignored = engine_thread_cancel(m->parts.thread, ticket, ENGINE_ALL_SAMPLES, NULL);
    (void)ignored; /* not cancelled: it ends later, by itself */
}

pv_status model_writer_new(model_writer **out, model_policy *policy, const options *opt,
                           const char *prompt, pv_error *err)
{
    model_writer *m = pv_calloc(1, sizeof *m);
    if (m == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    m->policy = policy;
    m->parts = model_policy_parts(policy);
    m->opt = opt;
    m->prompt = prompt;
    *out = m;
    return PV_OK;
}

void model_writer_free(model_writer *w)
{
    pv_free(w);
}

writer model_writer_table(model_writer *w)
{
    static const writer_ops ops = {"model", write_proofs, cancel};
    writer table = {&ops, w};
    return table;
}
