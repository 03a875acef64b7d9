#include "http_policy.h"

#include "engine_template.h"
#include "policy_prompt.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"
#include "sample_set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FAILURES_MAX = 4 }; /* requests in a row that may fail before the search breaks off */

struct http_policy {
    const options *opt;
    char *header;
    prover_json format;
    openai_server *server;
    unsigned failures; /* in a row                                */
    bool answered;     /* the server has answered a request well  */
    bool warned_choices, warned_scores, warned_tokens;
    struct request *requests;
};

/* One question of the search, until all its parts are there. */
typedef struct request {
    struct request *next;
    http_policy *owner;
    search_run *run;
    uint64_t ticket;
    struct part *parts;
    size_t part_count, missing;
    bool cancelled;
    sample_set samples;
    pv_error failure;
} request;

typedef struct part { /* one request to the server */
    request *whole;
    openai_question *question; /* NULL once answered */
    uint32_t wanted;
} part;

/* ---- prompts ---- */

typedef struct texts {
    pv_buf prompt, answer; /* answer: how it begins; chat only */
    bool has_answer;
} texts;

static void texts_release(texts *t)
{
    pv_buf_release(&t->prompt);
    pv_buf_release(&t->answer);
}

static pv_status join_turns(texts *t, pv_error *err)
{
    const char *turns[] = {pv_buf_text(&t->prompt)};
    pv_buf joined = {0};
    pv_status status = policy_prompt_turns(turns, 1, pv_buf_text(&t->answer), &joined, err);
    pv_buf_release(&t->prompt);
    t->prompt = joined;
    return status;
}

static pv_status write_texts(http_policy *p, openai_api api, const search_policy_request *q,
                             texts *t, pv_error *err)
{
    pv_status status = PV_OK;
    if (p->format.kind == PROVER_JSON_STATE) {
        policy_prompt_state(&p->format, q, &t->prompt);
    } else {
        pv_buf text = {0};
        policy_prompt_question(p->header, q, &text);
        engine_prompt_prover(ENGINE_PROMPT_PROVER, pv_buf_text(&text), text.len, &t->prompt);
        t->prompt.failed = t->prompt.failed || !pv_buf_ok(&text);
        pv_buf_release(&text);
        policy_prompt_answer(p->header, q, &t->answer);
        t->has_answer = api == OPENAI_CHAT;
        status = api == OPENAI_CHAT ? PV_OK : join_turns(t, err);
    }
    if (status == PV_OK && !(pv_buf_ok(&t->prompt) && pv_buf_ok(&t->answer))) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    }
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
    pv_free(r->parts);
    pv_free(r);
}

static void warn_once(bool *warned, const char *text)
{
    if (!*warned) {
        *warned = true;
        pv_log(PV_LOG_WARN, "%s", text);
    }
}

/* Tokens that the server counted beyond those it scored: a prefix of thought, a stop text, or answers without log-probabilities. */
static void add_usage(http_policy *p, request *r, const openai_reply *reply, uint64_t scored)
{
    if (reply->has_usage && reply->tokens > scored) {
        uint64_t rest = reply->tokens - scored;
        sample_set_waste(&r->samples, rest < UINT32_MAX ? (uint32_t)rest : UINT32_MAX, false);
    } else if (!reply->has_usage && scored == 0 && p->opt->tokens > 0) {
        warn_once(&p->warned_tokens, "the server does not say how many tokens its answers cost: "
                                     "--tokens cannot count them");
    }
}

static bool add_choice(request *r, const openai_choice *choice)
{
    double logprob = choice->scored > 0 && !choice->unscored ? choice->logprob : (double)NAN;
    if (choice->finish == OPENAI_LENGTH || choice->finish == OPENAI_OTHER) {
        sample_set_waste(&r->samples, choice->scored, true); /* cut: no tactic */
        return true;
    }
    return sample_set_add(&r->samples, pv_buf_text(&choice->text), choice->text.len, logprob,
                          choice->scored);
}

static void add_reply(http_policy *p, part *from, const openai_reply *reply)
{
    request *r = from->whole;
    uint32_t present = 0;
    uint64_t scored = 0;
    for (uint32_t i = 0; i < reply->asked; i++) {
        const openai_choice *choice = &reply->choices[i];
        present += choice->present;
        scored += choice->scored;
        if (choice->present && !add_choice(r, choice)) {
            pv_fail(&r->failure, PV_E_NOMEM, "out of memory");
        }
    }
    add_usage(p, r, reply, scored);
    if (present < from->wanted) {
        warn_once(&p->warned_choices, "the server gives fewer samples than a request asks for: "
                                      "--choices 1 asks for each on its own");
    }
    if (r->samples.unscored && !p->opt->no_logprobs) {
        warn_once(&p->warned_scores, "the server gives no log-probabilities: a candidate counts by "
                                     "its share of the samples");
    }
}

/* A failure that may be this request's own is a warning, until too many came in a row. */
static void take_failure(http_policy *p, request *r, const openai_answer *answer)
{
    p->failures++;
    bool too_many = p->failures >= FAILURES_MAX || !p->answered;
    if (answer->hopeless || too_many || answer->status == PV_E_NOMEM) {
        pv_fail(&r->failure, answer->status, "%s%s", answer->err->msg,
                p->failures >= FAILURES_MAX ? "; so did the requests before it" : "");
    } else {
        pv_log(PV_LOG_WARN, "a request to the server failed, the search goes on without it: %s",
               answer->err->msg);
    }
}

static void deliver(request *r)
{
    request taken = *r;
    r->samples = (sample_set){0};
    request_free(r);
    sample_set_deliver(&taken.samples, taken.run, taken.ticket, &taken.failure);
    sample_set_release(&taken.samples);
}

static void on_answer(void *user, const openai_answer *answer)
{
    part *from = user;
    request *r = from->whole;
    http_policy *p = r->owner;
    from->question = NULL;
    if (answer->status == PV_OK) {
        p->failures = 0;
        p->answered = true;
        add_reply(p, from, answer->reply);
    } else if (answer->status != PV_E_CANCELLED) {
        take_failure(p, r, answer);
    }
    if (--r->missing == 0) {
        deliver(r);
    }
}

/* ---- the policy ---- */

static request *request_new(http_policy *owner, const search_policy_request *q, pv_error *err)
{
    request *r = pv_calloc(1, sizeof *r);
    size_t each = owner->opt->choices > 0 ? (size_t)owner->opt->choices : q->wanted;
    size_t count = q->wanted == 0 ? 0 : (q->wanted + each - 1) / each;
    part *parts = pv_calloc(count + 1, sizeof *parts);
    if (r == NULL || parts == NULL) {
        pv_free(r);
        pv_free(parts);
        pv_fail(err, PV_E_NOMEM, "out of memory");
        return NULL;
    }
    r->owner = owner;
    r->run = q->run;
    r->ticket = q->ticket;
    r->parts = parts;
    for (size_t i = 0, left = q->wanted; i < count; i++, left -= each) {
        parts[i] = (part){.whole = r, .wanted = (uint32_t)(left < each ? left : each)};
    }
    r->part_count = count;
    r->next = owner->requests;
    owner->requests = r;
    return r;
}

static void drop_parts(request *r)
{
    for (size_t i = 0; i < r->part_count; i++) {
        if (r->parts[i].question != NULL) {
            openai_server_cancel(r->owner->server, r->parts[i].question);
        }
    }
}

static pv_status ask(http_policy *p, request *r, const search_policy_request *q, const texts *t,
                     pv_error *err)
{
    const options *opt = p->opt;
    pv_status status = PV_OK;
    for (size_t i = 0; i < r->part_count && status == PV_OK; i++) {
        openai_ask wanted = {.prompt = pv_buf_text(&t->prompt),
                             .answer = t->has_answer ? pv_buf_text(&t->answer) : NULL,
                             .choices = r->parts[i].wanted,
                             .max_tokens = (uint32_t)opt->max_tokens,
                             .temperature = opt->temperature,
                             .top_p = opt->top_p,
                             .min_p = opt->min_p,
                             .top_k = opt->top_k,
                             .seed = pv_mix64(q->seed ^ pv_mix64(i)),
                             .stop = p->format.stop};
        status = openai_server_ask(p->server, &wanted, on_answer, &r->parts[i],
                                   &r->parts[i].question, err);
        r->missing += status == PV_OK;
    }
    return status;
}

/* A question of which a part is on its way must be answered by that part: the failure goes with it. */
static pv_status propose(void *self, const search_policy_request *q, pv_error *err)
{
    http_policy *p = self;
    bool chat = strcmp(p->opt->api, "chat") == 0;
    texts t = {0};
    pv_error why = {0};
    pv_status status = write_texts(p, chat ? OPENAI_CHAT : OPENAI_COMPLETIONS, q, &t, &why);
    request *r = status == PV_OK ? request_new(p, q, &why) : NULL;
    status = status == PV_OK && r == NULL ? PV_E_NOMEM : status;
    if (status == PV_OK) {
        status = ask(p, r, q, &t, &why);
    }
    texts_release(&t);
    if (status == PV_OK && r->missing == 0) { /* nothing was wanted */
        deliver(r);
    } else if (status != PV_OK && r != NULL && r->missing > 0) {
        pv_fail(&r->failure, status, "%s", why.msg);
        drop_parts(r);
        status = PV_OK;
    } else if (status != PV_OK && r != NULL) {
        request_free(r);
    }
    return status == PV_OK ? PV_OK : pv_fail(err, status, "%s", why.msg);
}

static void cancel(void *self, search_run *run, uint64_t ticket)
{
    http_policy *p = self;
    for (request *r = p->requests; r != NULL; r = r->next) {
        if (r->run == run && r->ticket == ticket && !r->cancelled) {
            r->cancelled = true;
            drop_parts(r);
            return;
        }
    }
}

openai_server *http_policy_server(http_policy *policy)
{
    return policy->server;
}

search_policy http_policy_table(http_policy *policy)
{
    static const search_policy_ops ops = {.name = "http", .propose = propose, .cancel = cancel};
    search_policy table = {&ops, policy};
    return table;
}

const char *http_policy_model(const http_policy *policy)
{
    return openai_server_model(policy->server);
}

/* ---- life ---- */

static pv_status find_key(const options *opt, const char **key, pv_error *err)
{
    *key = NULL;
    if (opt->key_env[0] == '\0') {
        return PV_OK;
    }
    *key = getenv(opt->key_env);
    return *key != NULL && (*key)[0] != '\0'
               ? PV_OK
               : pv_fail(
                     err, PV_E_INVALID,
                     "--key-env %s: there is no such variable in the environment, or it is empty",
                     opt->key_env);
}

pv_status http_policy_check(const options *opt, pv_error *err)
{
    bool loopback = false, secure = false;
    const char *key = NULL;
    if (opt->url[0] == '\0') {
        return pv_fail(err, PV_E_INVALID,
                       "--policy http needs --url, such as http://localhost:8000/v1");
    }
    if (strcmp(opt->api, "completions") != 0 && strcmp(opt->api, "chat") != 0) {
        return pv_fail(err, PV_E_INVALID, "--api %s: the interfaces are completions and chat",
                       opt->api);
    }
    pv_status status = http_client_check(opt->url, &loopback, &secure, err);
    if (status != PV_OK) {
        return pv_error_wrap(err, "--url");
    }
    return find_key(opt, &key, err);
}

static void warn_of_open_key(const options *opt)
{
    bool loopback = false, secure = false;
    pv_status status = http_client_check(opt->url, &loopback, &secure, NULL);
    if (status == PV_OK && !secure && !loopback) {
        pv_log(PV_LOG_WARN, "the key of %s goes over the network unencrypted: %s is not https",
               opt->key_env, opt->url);
    }
}

static pv_status open_server(http_policy *p, uv_loop_t *loop, pv_error *err)
{
    const options *opt = p->opt;
    const char *key = NULL;
    pv_status status = find_key(opt, &key, err);
    if (status != PV_OK) {
        return status;
    }
    if (key != NULL) {
        warn_of_open_key(opt);
    }
    openai_server_options wanted = {
        .url = opt->url,
        .model = opt->server_model,
        .api = strcmp(opt->api, "chat") == 0 ? OPENAI_CHAT : OPENAI_COMPLETIONS,
        .stream = opt->server_stream,
        .logprobs = !opt->no_logprobs,
        .extra = opt->body,
        .http = {.key = key,
                 .ca_file = opt->ca_file[0] == '\0' ? NULL : opt->ca_file,
                 .in_flight = (uint32_t)opt->in_flight,
                 .retries = (uint32_t)opt->retries,
                 .rate = opt->rate,
                 .timeout_s = opt->server_timeout},
    };
    status = openai_server_open(&p->server, loop, &wanted, err);
    if (status == PV_OK) {
        status = openai_server_hello(p->server, err);
    }
    if (status == PV_OK) {
        pv_log(PV_LOG_INFO, "%s: the model is %s", opt->url, openai_server_model(p->server));
    }
    return status;
}

pv_status http_policy_open(http_policy **out, uv_loop_t *loop, const options *opt,
                           const char *header, pv_error *err)
{
    pv_status status = http_policy_check(opt, err);
    if (status != PV_OK) {
        return status;
    }
    http_policy *p = pv_calloc(1, sizeof *p);
    if (p == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    p->opt = opt;
    p->header = pv_strdup(header);
    status = p->header == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                               : prover_json_named(&p->format, opt->prompt, err);
    if (status == PV_OK) {
        status = open_server(p, loop, err);
    }
    if (status != PV_OK) {
        http_policy_close(p);
        return status;
    }
    *out = p;
    return PV_OK;
}

void http_policy_close(http_policy *p)
{
    if (p == NULL) {
        return;
    }
    openai_server_close(p->server);
    prover_json_release(&p->format);
    pv_free(p->header);
    pv_free(p);
}
