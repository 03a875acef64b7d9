#include "lean_judge.h"

#include "lean_gate.h"
#include "lean_strings.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <stdio.h>
#include <string.h>

/* One request, copied. */
typedef struct job {
    struct job *next;
    char *header, *original, *candidate;
    char **names, **proofs;
    size_t name_count;
    uint64_t *fills;
    size_t fill_numbers;
    bool fill_data;
    uint64_t deadline_ms;
    bool skip_gate;
    lean_judge_cb *cb;
    void *user;
    uint64_t start_ns;
} job;

/* One Lean process. It is used for one job and then killed; until it has a job it is the spare.
 *
 *   STARTING --header imported--> READY --check sent--> CHECKING --answer--> RETIRED --pool closed--> freed
 *      \______________________________ any failure ____________________________/                        */
typedef enum { STARTING, READY, CHECKING, RETIRED } runner_state;

typedef struct runner {
    lean_judge *judge;
    lean_pool *pool;
    lean_env *env;
    char *header;
    job *job; /* owned; NULL: the spare, or answered already */
    runner_state state;
} runner;

struct lean_judge {
    uv_loop_t *loop;
    uv_timer_t tick; /* work is done from the loop, never inside a call of the user's */
    lean_pool_options options;
    lean_toolchain toolchain;
    lean_sandbox sandbox;
    bool warm;
    job *first, *last; /* those that wait */
    runner *runner;    /* works on a job, or is the spare */
    size_t pools;      /* not closed yet                  */
    char *header;      /* which one the spare shall have  */
    bool closing, tick_closed;
    void (*closed)(void *user);
    void *closed_user;
};

static const char *const ALLOWED_AXIOMS[] = {"propext", "Quot.sound", "Classical.choice"};

static void on_tick(uv_timer_t *timer);

const char *lean_level_name(lean_level level)
{
    static const char *const names[] = {"none", "stepped", "compiled", "audited", "replayed"};
    return (size_t)level < sizeof names / sizeof names[0] ? names[level] : "none";
}

static void schedule(lean_judge *judge)
{
    if (!judge->tick_closed) {
        uv_timer_start(&judge->tick, on_tick, 0, 0);
    }
}

/* ------------------------------------------------------------------------------------------------------- jobs */

static void job_free(job *j)
{
    if (j != NULL) {
        pv_free(j->header);
        pv_free(j->original);
        pv_free(j->candidate);
        lean_strings_free(j->names);
        lean_strings_free(j->proofs);
        pv_free(j->fills);
        pv_free(j);
    }
}

static char **copy_texts(const char *const *texts, size_t n)
{
    lean_strings list = {0};
    for (size_t i = 0; i < n; i++) {
        lean_strings_add(&list, texts[i]);
    }
    return lean_strings_detach(&list);
}

static uint64_t *copy_numbers(const uint64_t *numbers, size_t n)
{
    uint64_t *copy = pv_calloc(n + 1, sizeof *copy);
    if (copy != NULL && n > 0) {
        memcpy(copy, numbers, n * sizeof *copy);
    }
    return copy;
}

static job *job_new(const lean_judge_request *request, lean_judge_cb *cb, void *user)
{
    job *j = pv_calloc(1, sizeof *j);
    if (j == NULL) {
        return NULL;
    }
    j->header = pv_strdup(request->header == NULL ? "" : request->header);
    j->original = pv_strdup(request->original);
    j->candidate = pv_strdup(request->candidate);
    j->names = copy_texts(request->names, request->name_count);
    j->proofs = copy_texts(request->proofs, request->proof_count);
    j->name_count = request->name_count;
    j->fills = copy_numbers(request->fills, request->fill_numbers);
    j->fill_numbers = request->fill_numbers;
    j->fill_data = request->fill_data;
    j->deadline_ms = request->deadline_ms;
    j->skip_gate = request->skip_gate;
    j->cb = cb;
    j->user = user;
    if (j->header == NULL || j->original == NULL || j->candidate == NULL || j->names == NULL ||
        j->proofs == NULL || j->fills == NULL) {
        job_free(j);
        return NULL;
    }
    return j;
}

/* Answers and frees the job: with a judgement, or with the failure that prevented one. */
static void answer(lean_judge *judge, job *j, lean_judgement *judgement, const pv_error *failure)
{
    if (judgement != NULL) {
        judgement->sandboxed = judge->sandbox.active;
        judgement->seconds = (double)(pv_clock_ns() - j->start_ns) / 1e9;
        pv_log(PV_LOG_INFO, "judge: %s %s%s%s in %.2f s", j->name_count > 0 ? j->names[0] : "?",
               lean_level_name(judgement->level), judgement->reason == NULL ? "" : ": ",
               judgement->reason == NULL ? "" : judgement->reason, judgement->seconds);
    }
    j->cb(j->user, judgement, failure);
    job_free(j);
}

/* True when the gate refused the job, which is answered then. */
static bool refused_by_gate(lean_judge *judge, job *j)
{
    lean_gate_finding finding = {0};
    for (size_t i = 0; !j->skip_gate && j->proofs[i] != NULL; i++) {
        const char *proof = j->proofs[i];
        if (!lean_gate_pass(proof, strlen(proof), &finding)) {
            size_t line = 1;
            size_t column = 0;
            char message[512];
            pv_utf8_position(proof, pv_utf8_valid(proof, finding.at), &line, &column);
            snprintf(message, sizeof message, "line %zu of the proof, `%s`: %s", line, finding.rule,
                     finding.why);
            lean_judgement judgement = {.reason = "gate", .message = message, .error_at = SIZE_MAX};
            answer(judge, j, &judgement, NULL);
            return true;
        }
    }
    return false;
}

/* ----------------------------------------------------------------------------------------------------- runners */

static void maybe_free(lean_judge *judge);

static void on_pool_closed(void *user)
{
    runner *r = user;
    lean_judge *judge = r->judge;
    judge->pools--;
    pv_free(r->header);
    pv_free(r);
    schedule(judge);
    maybe_free(judge);
}

/* Kills the process. Its job must have been answered. */
static void runner_retire(runner *r)
{
    r->judge->runner = NULL;
    r->state = RETIRED;
    if (r->env != NULL) {
        lean_env_unref(r->env);
        r->env = NULL;
    }
    lean_pool_close(r->pool, on_pool_closed, r);
}

/* The end of the runner's job. The process is killed from the loop's next turn: this runs inside its callback. */
static void runner_answer(runner *r, lean_judgement *judgement, const pv_error *failure)
{
    job *j = r->job;
    r->job = NULL;
    r->state = RETIRED;
    if (j != NULL) {
        answer(r->judge, j, judgement, failure);
    }
    schedule(r->judge);
}

/* A failure while the check ran, seen as a refusal: the proof did it. NULL: it did not. */
static const char *refusal_of(const pv_error *failure)
{
    switch (failure->status) {
    case PV_E_TIMEOUT:
        return "timeout";
    case PV_E_LIMIT:
        return "memory";
    case PV_E_PROTOCOL:
        return "protocol";
    case PV_E_LOST:
        return "crash";
    default:
        return NULL;
    }
}

/* Lean was told which axioms are allowed. This side does not take its word for it. */
static const char *forbidden_axiom(const lean_checked *checked)
{
    for (size_t i = 0; i < checked->axiom_count; i++) {
        bool allowed = false;
        for (size_t k = 0; k < sizeof ALLOWED_AXIOMS / sizeof ALLOWED_AXIOMS[0]; k++) {
            allowed = allowed || strcmp(checked->axioms[i], ALLOWED_AXIOMS[k]) == 0;
        }
        if (!allowed) {
            return checked->axioms[i];
        }
    }
    return NULL;
}

/* The byte at which Lean's first error is; SIZE_MAX: none is told. */
static size_t first_error(const lean_checked *checked)
{
    for (size_t i = 0; i < checked->message_count; i++) {
        if (checked->messages[i].severity == LEAN_ERROR) {
            return checked->messages[i].start.byte;
        }
    }
    return SIZE_MAX;
}

static void judge_checked(const runner *r, const lean_checked *checked, lean_judgement *out)
{
    bool fills = r->job != NULL && r->job->fill_numbers > 0;
    const char *axiom =
        checked->verdict == LEAN_ACCEPTED && !fills ? forbidden_axiom(checked) : NULL;
    if (checked->verdict != LEAN_ACCEPTED) {
        out->reason = checked->reason == NULL ? "error" : checked->reason;
        out->message = checked->message == NULL ? "Lean refused the proof" : checked->message;
        out->error_at = first_error(checked);
    } else if (axiom != NULL) {
        out->reason = strcmp(axiom, "sorryAx") == 0 ? "sorry" : "axiom";
        out->message = axiom;
    } else {
        out->level = r->judge->toolchain.dialect == LEAN_DIALECT_PROVER ? LEAN_LEVEL_AUDITED
                                                                        : LEAN_LEVEL_COMPILED;
        out->axioms = checked->axioms;
        out->axiom_count = checked->axiom_count;
        out->decls = checked->decls;
        out->decl_count = checked->decl_count;
    }
}

static void on_checked(void *user, lean_ticket t, const lean_checked *checked,
                       const pv_error *failure)
{
    runner *r = user;
    lean_judgement judgement = {.error_at = SIZE_MAX,
                                .lean_version = lean_pool_lean_version(r->pool)};
    (void)t;
    if (failure == NULL) {
        judge_checked(r, checked, &judgement);
        runner_answer(r, &judgement, NULL);
        return;
    }
    judgement.reason = refusal_of(failure);
    judgement.message = failure->msg;
    if (judgement.reason != NULL && !r->judge->closing) {
        runner_answer(r, &judgement, NULL);
    } else {
        runner_answer(r, NULL, failure);
    }
}

static void runner_check(runner *r)
{
    pv_error err = {0};
    lean_check_request request = {.original = r->job->original,
                                  .candidate = r->job->candidate,
                                  .names = (const char *const *)r->job->names,
                                  .name_count = r->job->name_count,
                                  .fills = r->job->fills,
                                  .fill_numbers = r->job->fill_numbers,
                                  .fill_data = r->job->fill_data,
                                  .deadline_ms = r->job->deadline_ms};
    r->state = CHECKING;
    if (lean_check(r->env, &request, NULL, on_checked, r, &err) != PV_OK) {
        runner_answer(r, NULL, &err);
    }
}

static void on_header(void *user, lean_ticket t, const lean_message *messages, size_t n,
                      const pv_error *failure)
{
    runner *r = user;
    (void)t;
    (void)messages;
    (void)n;
    if (r->state != STARTING) {
        return;
    }
    if (failure != NULL) {
        pv_free(r->judge->header); /* no spare for this one */
        r->judge->header = NULL;
        runner_answer(r, NULL, failure);
        return;
    }
    r->state = READY;
    schedule(r->judge);
}

/* Starts a process that imports `header`. */
static pv_status runner_start(lean_judge *judge, const char *header, pv_error *err)
{
    runner *r = pv_calloc(1, sizeof *r);
    char *copy = pv_strdup(header);
    if (r == NULL || copy == NULL) {
        pv_free(r);
        pv_free(copy);
        return pv_fail(err, PV_E_NOMEM, "out of memory while starting the judge");
    }
    *r = (runner){.judge = judge, .header = copy};
    pv_status status = lean_pool_open(&r->pool, judge->loop, &judge->options, err);
    if (status != PV_OK) {
        pv_free(copy);
        pv_free(r);
        return status;
    }
    judge->pools++;
    judge->runner = r;
    status = lean_env_new(r->pool, &r->env, header, on_header, r, err);
    if (status != PV_OK) {
        r->env = NULL;
        runner_retire(r);
    }
    return status;
}

/* ---------------------------------------------------------------------------------------------------- the loop */

static job *take_job(lean_judge *judge)
{
    job *j = judge->first;
    if (j != NULL) {
        judge->first = j->next;
        judge->last = j->next == NULL ? NULL : judge->last;
        j->next = NULL;
    }
    return j;
}

static void set_header(lean_judge *judge, const char *header)
{
    if (judge->header == NULL || strcmp(judge->header, header) != 0) {
        char *copy = pv_strdup(header); /* short of memory: no spare, which is only slower */
        pv_free(judge->header);
        judge->header = copy;
    }
}

/* Gives the next job to a process: the spare when it has the same header. */
static void start_job(lean_judge *judge, job *j)
{
    pv_error err = {0};
    j->start_ns = pv_clock_ns();
    if (refused_by_gate(judge, j)) {
        schedule(judge);
        return;
    }
    set_header(judge, j->header);
    if (judge->runner != NULL && strcmp(judge->runner->header, j->header) != 0) {
        runner_retire(judge->runner);
    }
    if (judge->runner == NULL && runner_start(judge, j->header, &err) != PV_OK) {
        answer(judge, j, NULL, &err);
        schedule(judge);
        return;
    }
    judge->runner->job = j;
    schedule(judge);
}

static void cancel_jobs(lean_judge *judge)
{
    pv_error err = {0};
    pv_fail(&err, PV_E_CANCELLED, "the judge was closed");
    for (job *j = take_job(judge); j != NULL; j = take_job(judge)) {
        answer(judge, j, NULL, &err);
    }
    if (judge->runner != NULL) {
        runner *r = judge->runner;
        job *j = r->job;
        r->job = NULL;
        runner_retire(r);
        if (j != NULL) {
            answer(judge, j, NULL, &err);
        }
    }
}

static void on_tick_closed(uv_handle_t *handle)
{
    lean_judge *judge = handle->data;
    judge->tick_closed = true;
    maybe_free(judge);
}

static void maybe_free(lean_judge *judge)
{
    if (!judge->closing || !judge->tick_closed || judge->pools > 0) {
        return;
    }
    void (*closed)(void *user) = judge->closed;
    void *user = judge->closed_user;
    lean_toolchain_release(&judge->toolchain);
    lean_sandbox_release(&judge->sandbox);
    pv_free(judge->header);
    pv_free(judge);
    if (closed != NULL) {
        closed(user);
    }
}

static void start_spare(lean_judge *judge)
{
    pv_error err = {0};
    if (runner_start(judge, judge->header, &err) != PV_OK) {
        pv_log(PV_LOG_WARN, "judge: no spare process: %s", err.msg);
        pv_free(judge->header); /* not again until somebody asks */
        judge->header = NULL;
    }
}

/* One step: what is over goes, what waits begins, what is idle gets ready. */
static void on_tick(uv_timer_t *timer)
{
    lean_judge *judge = timer->data;
    runner *r = judge->runner;
    if (judge->closing) {
        cancel_jobs(judge);
        uv_close((uv_handle_t *)&judge->tick, on_tick_closed);
        return;
    }
    if (r != NULL && r->state == RETIRED) {
        runner_retire(r); /* on_pool_closed comes back here */
    } else if (r != NULL && r->job != NULL) {
        if (r->state == READY) {
            runner_check(r);
        }
    } else if (judge->first != NULL) {
        start_job(judge, take_job(judge));
    } else if (r == NULL && judge->warm && judge->header != NULL && judge->pools == 0) {
        start_spare(judge);
    }
}

/* ------------------------------------------------------------------------------------------------ public face */

pv_status lean_judge_open(lean_judge **out, uv_loop_t *loop, const lean_pool_options *options,
                          bool warm, pv_error *err)
{
    lean_judge *judge = pv_calloc(1, sizeof *judge);
    if (judge == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while opening the judge");
    }
    pv_status status = lean_toolchain_copy(&judge->toolchain, options->toolchain, err);
    if (status == PV_OK) {
        status = lean_sandbox_copy(&judge->sandbox, options->sandbox, err);
    }
    if (status != PV_OK) {
        lean_toolchain_release(&judge->toolchain);
        pv_free(judge);
        return status;
    }
    judge->loop = loop;
    judge->warm = warm;
    judge->options = *options;
    judge->options.toolchain = &judge->toolchain;
    judge->options.sandbox = &judge->sandbox;
    judge->options.workers = 1;
    uv_timer_init(loop, &judge->tick); /* cannot fail */
    judge->tick.data = judge;
    *out = judge;
    return PV_OK;
}

void lean_judge_close(lean_judge *judge, void (*closed)(void *user), void *user)
{
    if (!judge->closing) {
        judge->closing = true;
        judge->closed = closed;
        judge->closed_user = user;
        schedule(judge);
    }
}

void lean_judge_prepare(lean_judge *judge, const char *header)
{
    set_header(judge, header);
    runner *r = judge->runner;
    if (judge->warm && r != NULL && r->job == NULL && strcmp(r->header, header) != 0) {
        r->state = RETIRED; /* a spare with another header */
    }
    schedule(judge);
}

pv_status lean_judge_ask(lean_judge *judge, const lean_judge_request *request, lean_judge_cb *cb,
                         void *user, pv_error *err)
{
    if (judge->closing || request->original == NULL || request->candidate == NULL ||
        (request->name_count == 0 && request->fill_numbers == 0)) {
        return pv_fail(
            err, PV_E_MISUSE,
            "lean_judge_ask: needs an open judge, both texts and at least one name or fill");
    }
    job *j = job_new(request, cb, user);
    if (j == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while asking the judge");
    }
    if (judge->last == NULL) {
        judge->first = j;
    } else {
        judge->last->next = j;
    }
    judge->last = j;
    schedule(judge);
    return PV_OK;
}
