#include "model_policy.h"

#include "device.h"
#include "engine_detokenizer.h"
#include "engine_thread.h"
#include "fixed_policy.h"
#include "prompt.h"
#include "prover_json.h"
#include "pv_hash.h"
#include "pv_mem.h"
#include "search.h"

#include <string.h>

/* Of a closing tactic: less than any tactic that the model means. It ends a state or fails, so its weight orders nothing else. */
static const double CLOSER_LOGPROB = -30;

struct model_policy {
    const options *opt;
    char *header;
    prover_json format;
    engine_sampling sampling;
    uint32_t max_tokens;
    engine_model *model;
    engine_encoder *encoder;
    engine_thread *thread;
    uv_async_t *async; /* of its own: it is closed after the policy is gone */
    struct request *requests;
};

typedef struct sample {
    char *tactic;
    double logprob;
    uint32_t tokens;
} sample;

/* One question of the search, until all its samples are there. */
typedef struct request {
    struct request *next;
    model_policy *owner;
    search_run *run;
    uint64_t ticket, id;
    uint32_t missing;
    uint32_t wasted; /* tokens of samples that gave no tactic */
    sample *samples;
    size_t count;
    fixed_policy closers; /* tried behind the model's tactics; empty but for the mixed policy */
    pv_error failure;
} request;

/* ---- prompts ---- */

static void put_goals(const search_policy_request *q, pv_buf *out)
{
    for (size_t i = 0; i < q->goal_count; i++) {
        pv_buf_puts(out, i > 0 ? "\n\n" : "");
        pv_buf_puts(out, q->goals[i]);
    }
}

/* The statement up to its last `sorry`, and the path's tactics as lines of the proof. */
static void put_proof_so_far(const search_policy_request *q, pv_buf *out)
{
    const char *end = q->statement;
    for (const char *at = q->statement; (at = strstr(at, "sorry")) != NULL; at++) {
        end = at;
    }
    size_t n = end == q->statement ? strlen(q->statement) : (size_t)(end - q->statement);
    while (n > 0 && strchr(" \t\r\n", q->statement[n - 1]) != NULL) {
        n--;
    }
    pv_buf_append(out, q->statement, n);
    pv_buf_putc(out, '\n');
    for (size_t i = 0; i < q->path_count; i++) {
        for (const char *line = q->path[i]; *line != '\0';) {
            size_t k = strcspn(line, "\n");
            pv_buf_puts(out, "  ");
            pv_buf_append(out, line, k);
            pv_buf_putc(out, '\n');
            line += k + (line[k] == '\n');
        }
    }
}

static pv_status encode_text(model_policy *p, const pv_buf *text, engine_tokens *out, pv_error *err)
{
    if (!pv_buf_ok(text)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return engine_encode(p->encoder, pv_buf_text(text), text->len, 0, out, err);
}

static pv_status state_prompt(model_policy *p, const search_policy_request *q, engine_tokens *out,
                              pv_error *err)
{
    pv_buf text = {0};
    pv_buf_puts(&text, p->format.before);
    put_goals(q, &text);
    pv_buf_puts(&text, p->format.after);
    pv_status status = pv_buf_ok(&text) ? prompt_render(p->model, p->encoder, "raw",
                                                        pv_buf_text(&text), text.len, out, err)
                                        : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&text);
    return status;
}

/* The header; nothing when the statements bring theirs along. */
static void put_header(const model_policy *p, pv_buf *out)
{
    pv_buf_printf(out, "%s%s", p->header, p->header[0] == '\0' ? "" : "\n\n");
}

static pv_status proof_prompt(model_policy *p, const search_policy_request *q, engine_tokens *out,
                              pv_error *err)
{
    pv_buf text = {0}, answer = {0};
    put_header(p, &text);
    pv_buf_puts(&text, q->statement);
    pv_buf_puts(&answer, "```lean4\n");
    put_header(p, &answer);
    put_proof_so_far(q, &answer);
    pv_status status = pv_buf_ok(&text) ? prompt_render(p->model, p->encoder, "prover-v2-noncot",
                                                        pv_buf_text(&text), text.len, out, err)
                                        : pv_fail(err, PV_E_NOMEM, "out of memory");
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
    for (size_t i = 0; i < r->count; i++) {
        pv_free(r->samples[i].tactic);
    }
    pv_free(r->samples);
    fixed_policy_release(&r->closers);
    pv_free(r);
}

/* Tokens that gave no tactic are paid for too: they come as an empty candidate, which the search counts and does not try. */
static void deliver(request *r)
{
    search_candidate *candidates = pv_calloc(r->count + r->closers.count + 1, sizeof *candidates);
    size_t n = 0;
    if (candidates == NULL) {
        pv_fail(&r->failure, PV_E_NOMEM, "out of memory");
    } else {
        for (; n < r->count; n++) {
            const sample *s = &r->samples[n];
            candidates[n] = (search_candidate){s->tactic, s->logprob, s->tokens};
        }
        for (size_t i = 0; i < r->closers.count; i++) {
            candidates[n++] = (search_candidate){r->closers.tactics[i], CLOSER_LOGPROB, 0};
        }
        candidates[n++] = (search_candidate){"", 0, r->wasted};
    }
    search_run *run = r->run;
    uint64_t ticket = r->ticket;
    pv_error failure = r->failure;
    search_deliver_candidates(run, ticket, candidates, n,
                              failure.status == PV_OK ? NULL : &failure);
    pv_free(candidates);
    request_free(r);
}

/* The sample's text as a tactic: blanks around it go; NULL when nothing is left or memory is short. */
static char *tactic_of(const engine_result *result)
{
    const char *text = result->text;
    size_t n = result->text_len;
    while (n > 0 && strchr(" \t\r\n", text[0]) != NULL) {
        text++;
        n--;
    }
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL) {
        n--;
    }
    return n == 0 ? NULL : pv_strndup(text, n);
}

/* Keeps a sample; one that says what another said adds only its cost. */
static void keep(request *r, const engine_result *result)
{
    char *tactic = tactic_of(result);
    double logprob = 0;
    for (size_t i = 0; i < result->token_count; i++) {
        logprob += (double)result->logprobs[i];
    }
    for (size_t i = 0; tactic != NULL && i < r->count; i++) {
        if (strcmp(r->samples[i].tactic, tactic) == 0) {
            r->samples[i].tokens += (uint32_t)result->token_count;
            r->samples[i].logprob =
                logprob > r->samples[i].logprob ? logprob : r->samples[i].logprob;
            pv_free(tactic);
            return;
        }
    }
    if (tactic != NULL) {
        r->samples[r->count++] = (sample){tactic, logprob, (uint32_t)result->token_count};
    }
}

static void on_done(void *user, const engine_result *result)
{
    request *r = user;
    if (result->finish == ENGINE_FINISH_FAILED) {
        pv_fail(&r->failure, result->error->status, "%s", result->error->msg);
    } else if (result->finish != ENGINE_FINISH_CANCELLED &&
               result->finish != ENGINE_FINISH_LENGTH) {
        keep(r, result);
    } else {
        r->wasted += (uint32_t)result->token_count; /* cut at the length limit: no tactic */
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
    r->samples = pv_calloc(q->wanted + 1, sizeof *r->samples);
    if (r->samples == NULL) {
        pv_free(r);
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

static pv_status submit(model_policy *p, const search_policy_request *q, request *r,
                        const engine_tokens *prompt, pv_error *err)
{
    engine_text stop = {p->format.stop, strlen(p->format.stop)};
    engine_request wanted = {
        .prefix = prompt->ids,
        .prefix_len = prompt->len,
        .samples = q->wanted,
        .max_tokens = p->max_tokens,
        .sampling = p->sampling,
        .seed = q->seed,
        .key = pv_hash_bytes(prompt->ids, prompt->len * sizeof *prompt->ids, 0),
        .stops = &stop,
        .stop_count = 1,
        .on_done = on_done,
        .user = r,
    };
    return engine_thread_submit(p->thread, &wanted, &r->id, err);
}

static pv_status ask(model_policy *p, const search_policy_request *q, bool mixed, pv_error *err)
{
    engine_tokens prompt = {0};
    pv_status status = p->format.kind == PROVER_JSON_STATE ? state_prompt(p, q, &prompt, err)
                                                           : proof_prompt(p, q, &prompt, err);
    request *r = status == PV_OK ? request_new(p, q) : NULL;
    bool whole = r != NULL && (!mixed || fixed_policy_add_cheap(&r->closers, q->goals[0]));
    if (status == PV_OK && !whole) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
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

static void cancel(void *self, uint64_t ticket)
{
    model_policy *p = self;
    for (request *r = p->requests; r != NULL; r = r->next) {
        if (r->ticket == ticket) {
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
    static const search_policy_ops ops = {"model", propose, cancel};
    search_policy table = {&ops, policy};
    return table;
}

search_policy model_policy_mixed_table(model_policy *policy)
{
    static const search_policy_ops ops = {"mixed", propose_mixed, cancel};
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
