#include "model_policy.h"

#include "device.h"
#include "engine_detokenizer.h"
#include "engine_thread.h"
#include "policy_prompt.h"
#include "prompt.h"
#include "prover_json.h"
#include "pv_hash.h"
#include "pv_mem.h"
#include "sample_set.h"
#include "search_portfolio.h"

#include <math.h>
#include <string.h>

/* What the portfolio's tactics lose beside a model's: they are tried behind what the model means, and before its unlikely words. */
static const double PORTFOLIO_BEHIND = 4;

enum { PORTFOLIO_WANTED = 48 };

/* A state is asked about so often. Independent draws are warmer each time. */
enum { ASKS = 8 };

static const double WARMER_EACH_TIME = 0.15, TEMPERATURE_MAX = 1.6;

struct model_policy {
    const options *opt;
    char *header;
    prover_json format;
    engine_sampling sampling;
    uint32_t max_tokens;
    bool distinct; /* no tactic twice, however often a state is asked about */
    engine_model *model;
    engine_encoder *encoder;
    engine_thread *thread;
    uv_async_t *async; /* of its own: it is closed after the policy is gone */
    struct request *requests;
};

/* One question of the search, until all its samples are there. */
typedef struct request {
    struct request *next;
    model_policy *owner;
    search_run *run;
    uint64_t ticket, id;
    uint32_t missing;
    sample_set samples;
    pv_error failure;
} request;

/* ---- prompts ---- */

static pv_status encode_text(model_policy *p, const pv_buf *text, engine_tokens *out, pv_error *err)
{
    if (!pv_buf_ok(text)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return engine_encode(p->encoder, pv_buf_text(text), text->len, 0, out, err);
}

static pv_status render(model_policy *p, const char *template_name, const pv_buf *text,
                        engine_tokens *out, pv_error *err)
{
    if (!pv_buf_ok(text)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return prompt_render(p->model, p->encoder, template_name, pv_buf_text(text), text->len, out,
                         err);
}

static pv_status state_prompt(model_policy *p, const search_policy_request *q, engine_tokens *out,
                              pv_error *err)
{
    pv_buf text = {0};
    policy_prompt_state(&p->format, q, &text);
    pv_status status = render(p, "raw", &text, out, err);
    pv_buf_release(&text);
    return status;
}

static pv_status proof_prompt(model_policy *p, const search_policy_request *q, engine_tokens *out,
                              pv_error *err)
{
    pv_buf text = {0}, answer = {0};
    policy_prompt_question(p->header, q, &text);
    policy_prompt_answer(p->header, q, &answer);
    pv_status status = render(p, "prover-v2-noncot", &text, out, err);
    if (status == PV_OK) {
        status = encode_text(p, &answer, out, err);
    }
    pv_buf_release(&text);
    pv_buf_release(&answer);
    return status;
}

/* ---- answers ---- */

static void request_free(request *r)
{
    for (request **link = &r->owner->requests; *link != NULL; link = &(*link)->next) {
        if (*link == r) {
            *link = r->next;
            break;
        }
    }
    sample_set_release(&r->samples);
    pv_free(r);
}

static void deliver(request *r)
{
    request taken = *r;
    r->samples = (sample_set){0};
    request_free(r);
    sample_set_deliver(&taken.samples, taken.run, taken.ticket, &taken.failure);
    sample_set_release(&taken.samples);
}

static void keep(request *r, const engine_result *result)
{
    double logprob = 0;
    for (size_t i = 0; i < result->token_count; i++) {
        logprob += (double)result->logprobs[i];
    }
    if (!sample_set_add(&r->samples, result->text, result->text_len, logprob,
                        (uint32_t)result->tokens_new)) {
        pv_fail(&r->failure, PV_E_NOMEM, "out of memory");
    }
}

static void on_done(void *user, const engine_result *result)
{
    request *r = user;
    if (result->finish == ENGINE_FINISH_FAILED) {
        pv_fail(&r->failure, result->error->status, "%s", result->error->msg);
    } else if (result->finish == ENGINE_FINISH_STOP || result->finish == ENGINE_FINISH_EOS) {
        keep(r, result);
    } else { /* cut at the length limit, cancelled, or there is no further one: no tactic */
        sample_set_waste(&r->samples, (uint32_t)result->tokens_new, true);
    }
    if (--r->missing == 0) {
        deliver(r);
    }
}

/* ---- the policy ---- */

static request *request_new(model_policy *owner, const search_policy_request *q)
{
    request *r = pv_calloc(1, sizeof *r);
    if (r == NULL) {
        return NULL;
    }
    r->owner = owner;
    r->run = q->run;
    r->ticket = q->ticket;
    r->missing = q->wanted;
    r->next = owner->requests;
    owner->requests = r;
    return r;
}

/* Asked about a state again, independent draws go wider: the likely words have been tried. Those without repetition go on. */
static engine_sampling sampling_of(const model_policy *p, const search_policy_request *q)
{
    engine_sampling sampling = p->sampling;
    if (p->distinct) {
        return sampling;
    }
    double warmer = (double)sampling.temperature * (1 + WARMER_EACH_TIME * q->asked);
    sampling.temperature = (float)fmin(warmer, fmax(TEMPERATURE_MAX, sampling.temperature));
    return sampling;
}

static pv_status submit(model_policy *p, const search_policy_request *q, request *r,
                        const engine_tokens *prompt, pv_error *err)
{
    engine_text stop = {p->format.stop, strlen(p->format.stop)};
    engine_request wanted = {
        .prefix = prompt->ids,
        .prefix_len = prompt->len,
        .samples = q->wanted,
        .max_tokens = p->max_tokens,
        .sampling = sampling_of(p, q),
        .seed = p->distinct ? q->state_seed : q->seed,
        .distinct = p->distinct,
        .first_sample = p->distinct ? q->asked * q->wanted : 0,
        .series_samples = q->asks * q->wanted,
        .key = pv_hash_bytes(prompt->ids, prompt->len * sizeof *prompt->ids, 0),
        .stops = &stop,
        .stop_count = 1,
        .on_done = on_done,
        .user = r,
    };
    return engine_thread_submit(p->thread, &wanted, &r->id, err);
}

/* Adds the portfolio's candidate to the samples; one that the model says too keeps the larger of the two log-probabilities. */
static void take_portfolio(void *user, const search_candidate *c)
{
    request *r = user;
    if (!sample_set_add(&r->samples, c->tactic, strlen(c->tactic), c->logprob - PORTFOLIO_BEHIND,
                        0)) {
        pv_fail(&r->failure, PV_E_NOMEM, "out of memory");
    }
}

static pv_status ask(model_policy *p, const search_policy_request *q, bool mixed, pv_error *err)
{
    engine_tokens prompt = {0};
    pv_status status = p->format.kind == PROVER_JSON_STATE ? state_prompt(p, q, &prompt, err)
                                                           : proof_prompt(p, q, &prompt, err);
    request *r = status == PV_OK ? request_new(p, q) : NULL;
    if (status == PV_OK && r == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    if (status == PV_OK && mixed) {
        const char *goal = q->goal_count > 0 ? q->goals[0] : "";
        status = search_portfolio_each(goal, PORTFOLIO_WANTED, take_portfolio, r, err);
    }
    if (status == PV_OK) {
        status = submit(p, q, r, &prompt, err);
    }
    if (status != PV_OK && r != NULL) {
        request_free(r);
    }
    engine_tokens_release(&prompt);
    return status;
}

static pv_status propose(void *self, const search_policy_request *q, pv_error *err)
{
    return ask(self, q, false, err);
}

static pv_status propose_mixed(void *self, const search_policy_request *q, pv_error *err)
{
    return ask(self, q, true, err);
}

static void cancel(void *self, search_run *run, uint64_t ticket)
{
    model_policy *p = self;
    for (request *r = p->requests; r != NULL; r = r->next) {
        if (r->run == run && r->ticket == ticket) {
            pv_status ignored = engine_thread_cancel(p->thread, r->id, ENGINE_ALL_SAMPLES, NULL);
            (void)ignored; /* not cancelled: it ends later, by itself */
            return;
        }
    }
}

const char *model_policy_prompt(const model_policy *p)
{
    return p->format.kind == PROVER_JSON_STATE ? "state" : "prover-v2-noncot, continued";
}

model_parts model_policy_parts(model_policy *p)
{
    model_parts parts = {p->model, p->encoder, p->thread};
    return parts;
}

search_policy model_policy_table(model_policy *policy)
{
    static const search_policy_ops ops = {
        .name = "model", .propose = propose, .cancel = cancel, .asks = ASKS};
    search_policy table = {&ops, policy};
    return table;
}

search_policy model_policy_mixed_table(model_policy *policy)
{
    static const search_policy_ops ops = {
        .name = "mixed", .propose = propose_mixed, .cancel = cancel, .asks = ASKS};
    search_policy table = {&ops, policy};
    return table;
}

/* ---- life ---- */

static void wake(void *user)
{
    uv_async_send(user);
}

static void on_async(uv_async_t *async)
{
    engine_thread_deliver(((model_policy *)async->data)->thread);
}

static void on_async_closed(uv_handle_t *handle)
{
    pv_free(handle);
}

static pv_status open_thread(model_policy *p, uv_loop_t *loop, pv_error *err)
{
    uv_async_t *async = pv_calloc(1, sizeof *async);
    int code = async == NULL ? UV_ENOMEM : uv_async_init(loop, async, on_async);
    if (code != 0) {
        pv_free(async);
        return pv_fail(err, PV_E_NOMEM, "cannot watch the engine: %s", uv_strerror(code));
    }
    async->data = p;
    p->async = async;
    device_plan plan;
    pv_status status = device_choose(&plan, p->opt, p->model, err);
    return status == PV_OK ? engine_thread_open(&p->thread, p->model, plan.backend, &plan.engine,
                                                wake, p->async, err)
                           : status;
}

/* The command line goes before prover.json, and that before the option's default. */
static double choose(bool given, double option, double said)
{
    return given || said < 0 ? option : said;
}

static pv_status choose_draw(model_policy *p, pv_error *err)
{
    bool independent = strcmp(p->opt->draw, "independent") == 0;
    if (!independent && p->opt->draw_given && strcmp(p->opt->draw, "distinct") != 0) {
        return pv_fail(err, PV_E_INVALID, "--draw %s: it is distinct or independent", p->opt->draw);
    }
    p->distinct = p->opt->draw_given ? !independent : p->format.draw != PROVER_JSON_INDEPENDENT;
    return PV_OK;
}

static void choose_sampling(model_policy *p)
{
    const options *opt = p->opt;
    const prover_json *said = &p->format;
    p->max_tokens =
        (uint32_t)choose(opt->max_tokens_given, (double)opt->max_tokens, said->max_tokens);
    p->sampling = (engine_sampling){
        .temperature = (float)choose(opt->temperature_given, opt->temperature, said->temperature),
        .top_k = (uint32_t)choose(opt->top_k_given, (double)opt->top_k, said->top_k),
        .top_p = (float)choose(opt->top_p_given, opt->top_p, said->top_p),
        .min_p = (float)choose(opt->min_p_given, opt->min_p, said->min_p),
    };
}

uint32_t model_policy_samples(const model_policy *policy)
{
    return policy->format.samples < 0 ? 0 : (uint32_t)policy->format.samples;
}

engine_sampling model_policy_sampling(const model_policy *policy)
{
    return policy->sampling;
}

void model_policy_stats(model_policy *policy, engine_stats *out)
{
    engine_thread_stats(policy->thread, out);
}

pv_status model_policy_open(model_policy **out, uv_loop_t *loop, const options *opt,
                            const char *dir, const char *header, pv_error *err)
{
    model_policy *p = pv_calloc(1, sizeof *p);
    if (p == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    p->opt = opt;
    p->header = pv_strdup(header);
    pv_status status = engine_model_open(&p->model, dir, 0, err);
    if (status == PV_OK) {
        status = prover_json_read(&p->format, dir, p->model->has_chat, err);
    }
    if (status == PV_OK) {
        choose_sampling(p);
        status = choose_draw(p, err);
    }
    if (status == PV_OK) {
        status = engine_encoder_new(&p->encoder, p->model->tokenizer, err);
    }
    if (status == PV_OK) {
        status = open_thread(p, loop, err);
    }
    if (status != PV_OK) {
        model_policy_close(p);
        return status;
    }
    *out = p;
    return PV_OK;
}

void model_policy_close(model_policy *p)
{
    if (p == NULL) {
        return;
    }
    engine_thread_close(p->thread);
    if (p->async != NULL) {
        uv_close((uv_handle_t *)p->async, on_async_closed);
    }
    engine_encoder_free(p->encoder);
    engine_model_close(p->model);
    prover_json_release(&p->format);
    pv_free(p->header);
    pv_free(p);
}
