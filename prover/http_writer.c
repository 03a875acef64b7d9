#include "http_writer.h"

#include "engine_template.h"
#include "policy_prompt.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

enum { FAILURES_MAX = 4 }; /* requests in a row that may fail before the answers are failures */

struct http_writer {
    openai_server *server;
    const options *opt;
    engine_prompt prompt;
    unsigned failures; /* in a row */
    bool answered, warned_tokens;
    uint64_t tickets;
    struct writing *open;
};

/* Lives until its last part is answered. */
typedef struct writing {
    struct writing *next;
    http_writer *owner;
    uint64_t ticket;
    writer_on_text *on_text;
    void *user;
    struct part *parts;
    size_t part_count, missing;
} writing;

typedef struct part { /* one request to the server */
    writing *whole;
    openai_question *question; /* NULL once answered */
    uint32_t wanted;
} part;

/* ---- answers ---- */

static void writing_free(writing *w)
{
    for (writing **link = &w->owner->open; *link != NULL; link = &(*link)->next) {
        if (*link == w) {
            *link = w->next;
            break;
        }
    }
    pv_free(w->parts);
    pv_free(w);
}

static uint64_t scored_tokens(const openai_reply *reply)
{
    uint64_t scored = 0;
    for (uint32_t i = 0; i < reply->asked; i++) {
        scored += reply->choices[i].scored;
    }
    return scored;
}

/* What the answers cost beyond the tokens that have a log-probability; all of it counts with the first. */
static uint64_t unscored_tokens(http_writer *m, const openai_reply *reply)
{
    uint64_t scored = scored_tokens(reply);
    if (!reply->has_usage && scored == 0 && !m->warned_tokens) {
        m->warned_tokens = true;
        pv_log(PV_LOG_WARN, "the server does not say how many tokens its answers cost: a limit "
                            "on tokens cannot count them");
    }
    return reply->has_usage && reply->tokens > scored ? reply->tokens - scored : 0;
}

static void give_reply(const part *from, const openai_reply *reply)
{
    const writing *w = from->whole;
    uint64_t rest = unscored_tokens(w->owner, reply);
    for (uint32_t i = 0; i < from->wanted; i++) {
        const openai_choice *choice = i < reply->asked ? &reply->choices[i] : NULL;
        bool said = choice != NULL && choice->present && choice->finish != OPENAI_OTHER;
        uint64_t tokens = rest + (choice == NULL ? 0 : choice->scored);
        rest = 0;
        w->on_text(w->user, said ? pv_buf_text(&choice->text) : NULL, said ? choice->text.len : 0,
                   tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX, NULL);
    }
}

static void give_nothing(const part *from, const pv_error *failure)
{
    for (uint32_t i = 0; i < from->wanted; i++) {
        from->whole->on_text(from->whole->user, NULL, 0, 0, failure);
    }
}

/* A failure that may be this request's own is a warning, until too many came in a row. */
static void give_failure(http_writer *m, const part *from, const openai_answer *answer)
{
    m->failures += answer->status != PV_E_CANCELLED;
    if (answer->hopeless || m->failures >= FAILURES_MAX || !m->answered ||
        answer->status == PV_E_NOMEM || answer->status == PV_E_CANCELLED) {
        give_nothing(from, answer->err);
    } else {
        pv_log(PV_LOG_WARN, "a request for whole proofs failed, it goes on without them: %s",
               answer->err->msg);
        give_nothing(from, NULL);
    }
}

static void on_answer(void *user, const openai_answer *answer)
{
    part *from = user;
    writing *w = from->whole;
    http_writer *m = w->owner;
    from->question = NULL;
    if (answer->status == PV_OK) {
        m->failures = 0;
        m->answered = true;
        give_reply(from, answer->reply);
    } else {
        give_failure(m, from, answer);
    }
    if (--w->missing == 0) {
        writing_free(w);
    }
}

/* ---- prompts ---- */

typedef struct texts {
    pv_buf question, begun;
} texts;

static pv_status write_texts(const http_writer *m, const writer_request *q, texts *t, pv_error *err)
{
    /* A plan belongs before the code, so an answer that has begun is asked for without one. */
    engine_prompt prompt = q->prefix == NULL ? m->prompt : ENGINE_PROMPT_PROVER;
    engine_prompt_prover(prompt, q->statement, strlen(q->statement), &t->question);
    if (q->prefix != NULL) {
        pv_buf_printf(&t->begun, "```lean4\n%s", q->prefix);
    }
    return pv_buf_ok(&t->question) && pv_buf_ok(&t->begun)
               ? PV_OK
               : pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* Completions: all turns are one text. */
static pv_status join_texts(const writer_request *q, texts *t, pv_error *err)
{
    const char *turns[] = {pv_buf_text(&t->question), q->repair == NULL ? "" : q->repair->answer,
                           q->repair == NULL ? "" : q->repair->turn};
    pv_buf joined = {0};
    pv_status status =
        policy_prompt_turns(turns, q->repair == NULL ? 1 : 3, pv_buf_text(&t->begun), &joined, err);
    pv_buf_release(&t->question);
    t->question = joined;
    return status;
}

/* ---- asking ---- */

static writing *writing_new(http_writer *m, const writer_request *q, pv_error *err)
{
    writing *w = pv_calloc(1, sizeof *w);
    size_t each = m->opt->choices > 0 ? (size_t)m->opt->choices : q->samples;
    size_t count = (q->samples + each - 1) / each;
    part *parts = pv_calloc(count, sizeof *parts);
    if (w == NULL || parts == NULL) {
        pv_free(w);
        pv_free(parts);
        pv_fail(err, PV_E_NOMEM, "out of memory");
        return NULL;
    }
    *w = (writing){.next = m->open,
                   .owner = m,
                   .ticket = ++m->tickets,
                   .on_text = q->on_text,
                   .user = q->user,
                   .parts = parts,
                   .part_count = count};
    for (size_t i = 0, left = q->samples; i < count; i++, left -= each) {
        parts[i] = (part){.whole = w, .wanted = (uint32_t)(left < each ? left : each)};
    }
    m->open = w;
    return w;
}

static void drop_parts(writing *w)
{
    for (size_t i = 0; i < w->part_count; i++) {
        if (w->parts[i].question != NULL) {
            openai_server_cancel(w->owner->server, w->parts[i].question);
        }
    }
}

static pv_status ask_part(http_writer *m, part *one, const writer_request *q, const texts *t,
                          uint64_t number, pv_error *err)
{
    const options *opt = m->opt;
    openai_ask wanted = {.prompt = pv_buf_text(&t->question),
                         .earlier = q->repair == NULL ? NULL : q->repair->answer,
                         .turn = q->repair == NULL ? NULL : q->repair->turn,
                         .answer = q->prefix == NULL ? NULL : pv_buf_text(&t->begun),
                         .choices = one->wanted,
                         .max_tokens = (uint32_t)opt->whole_tokens,
                         .temperature = opt->temperature,
                         .top_p = opt->top_p,
                         .min_p = opt->min_p,
                         .top_k = opt->top_k,
                         .seed = pv_mix64(q->seed ^ pv_mix64(q->first + number)),
                         .stop = engine_prompt_stop()};
    return openai_server_ask(m->server, &wanted, on_answer, one, &one->question, err);
}

/* The parts that could not be sent are answered by the failure at once, with those that were; none sent: the question fails. */
static pv_status ask_parts(http_writer *m, writing *w, const writer_request *q, const texts *t,
                           pv_error *err)
{
    pv_status status = PV_OK;
    size_t sent = 0;
    for (; sent < w->part_count && status == PV_OK; sent += status == PV_OK) {
        status = ask_part(m, &w->parts[sent], q, t, sent, err);
        w->missing += status == PV_OK;
    }
    if (status != PV_OK && sent > 0) {
        for (size_t i = sent; i < w->part_count; i++) {
            give_nothing(&w->parts[i], err);
        }
        drop_parts(w);
        status = PV_OK;
    }
    return status;
}

static pv_status write_proofs(void *self, const writer_request *q, uint64_t *ticket, pv_error *err)
{
    http_writer *m = self;
    texts t = {{0}, {0}};
    pv_error why = {0};
    pv_status status = write_texts(m, q, &t, &why);
    if (status == PV_OK && strcmp(m->opt->api, "chat") != 0) {
        status = join_texts(q, &t, &why);
    }
    writing *w = status == PV_OK ? writing_new(m, q, &why) : NULL;
    status = status == PV_OK && w == NULL ? PV_E_NOMEM : status;
    if (status == PV_OK) {
        *ticket = w->ticket;
        status = ask_parts(m, w, q, &t, &why);
    }
    if (status != PV_OK && w != NULL) {
        writing_free(w);
    }
    pv_buf_release(&t.question);
    pv_buf_release(&t.begun);
    return status == PV_OK ? PV_OK : pv_fail(err, status, "%s", why.msg);
}

static void cancel(void *self, uint64_t ticket)
{
    http_writer *m = self;
    for (writing *w = m->open; w != NULL; w = w->next) {
        if (w->ticket == ticket) {
            drop_parts(w);
            return;
        }
    }
}

/* ---- life ---- */

pv_status http_writer_new(http_writer **out, http_policy *policy, const options *opt,
                          const char *prompt, pv_error *err)
{
    http_writer *m = pv_calloc(1, sizeof *m);
    if (m == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    m->server = http_policy_server(policy);
    m->opt = opt;
    m->prompt =
        strcmp(prompt, "prover-v2-cot") == 0 ? ENGINE_PROMPT_PROVER_COT : ENGINE_PROMPT_PROVER;
    *out = m;
    return PV_OK;
}

void http_writer_free(http_writer *w)
{
    pv_free(w);
}

writer http_writer_table(http_writer *w)
{
    static const writer_ops ops = {"http", write_proofs, cancel};
    writer table = {&ops, w};
    return table;
}
