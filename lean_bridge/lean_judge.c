#include "lean_judge.h"

#include "lean_gate.h"
#include "lean_judge_job.h"
#include "lean_replay.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <stdio.h>
#include <string.h>

typedef lean_judge_job job;

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
    job *first, *last;   /* those that wait */
    runner *runner;      /* works on a job, or is the spare */
    lean_level level;    /* how far judgements go           */
    lean_replay *replay; /* NULL: not needed yet, or being closed */
    job *replaying;      /* has an export; its candidate's process is done for */
    bool replay_sent, replay_open;
    size_t pools; /* not closed yet                  */
    char *header; /* which one the spare shall have  */
    bool closing, tick_closed;
    void (*closed)(void *user);
    void *closed_user;
};

static void on_tick(uv_timer_t *timer);

static void schedule(lean_judge *judge)
{
    if (!judge->tick_closed) {
        uv_timer_start(&judge->tick, on_tick, 0, 0);
    }
}

/* ------------------------------------------------------------------------------------------------------- jobs */

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
    lean_judge_job_free(j);
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
        if (!lean_axiom_allowed(checked->axioms[i])) {
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

/* `reached`: the level of what is accepted. Of filled holes, axioms are Lean's matter: `sorry` may stay. */
static void judge_checked(const lean_checked *checked, bool fills, lean_level reached,
                          lean_judgement *out)
{
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
        out->level = reached;
        out->axioms = checked->axioms;
        out->axiom_count = checked->axiom_count;
        out->decls = checked->decls;
        out->decl_count = checked->decl_count;
    }
}

/* Whether a second process is to judge the job's declarations. */
static bool is_handed_on(const runner *r)
{
    return r->judge->level >= LEAN_LEVEL_REPLAYED && r->job->fill_numbers == 0;
}

static const char *why_not_replayed(const lean_judge *judge, const job *j)
{
    if (judge->level < LEAN_LEVEL_REPLAYED) {
        return NULL;
    }
    if (j->fill_numbers > 0) {
        return "a file whose holes were filled is judged in one process";
    }
    return judge->toolchain.dialect == LEAN_DIALECT_PROVER
               ? "what the proof declares is too long to be handed to a second process"
               : "this Lean server cannot hand a proof to a second process: use the one that "
                 "comes with the program";
}

/* Hands the job on to the second process. False: there is nothing to hand on. */
static bool keep_export(runner *r, const lean_checked *checked)
{
    lean_judge *judge = r->judge;
    job *j = r->job;
    if (!is_handed_on(r) || checked->verdict != LEAN_ACCEPTED || checked->exported == NULL ||
        j == NULL) {
        return false;
    }
    pv_error err = {0};
    j->exported = pv_strdup(checked->exported);
    if (j->exported == NULL) {
        pv_fail(&err, PV_E_NOMEM, "out of memory while a proof was handed on");
        runner_answer(r, NULL, &err);
        return true;
    }
    judge->replaying = j;
    judge->replay_sent = false;
    r->job = NULL;
    runner_answer(r, NULL, NULL); /* its process goes before the other one begins */
    return true;
}

static void on_checked(void *user, lean_ticket t, const lean_checked *checked,
                       const pv_error *failure)
{
    runner *r = user;
    lean_judgement judgement = {.error_at = SIZE_MAX,
                                .lean_version = lean_pool_lean_version(r->pool)};
    (void)t;
    if (failure == NULL) {
        if (!keep_export(r, checked)) {
            judge_checked(checked, r->job->fill_numbers > 0,
                          r->judge->toolchain.dialect == LEAN_DIALECT_PROVER ? LEAN_LEVEL_AUDITED
                                                                             : LEAN_LEVEL_COMPILED,
                          &judgement);
            judgement.shortfall =
                judgement.level == LEAN_LEVEL_NONE ? NULL : why_not_replayed(r->judge, r->job);
            runner_answer(r, &judgement, NULL);
        }
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
                                  .deadline_ms = r->job->deadline_ms,
                                  .exporting = is_handed_on(r)};
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

/* ------------------------------------------------------------------------------------------- the second process */

static void replay_answer(lean_judge *judge, lean_judgement *judgement, const pv_error *failure)
{
    job *j = judge->replaying;
    judge->replaying = NULL;
    if (judgement != NULL) {
        judgement->export_bytes = strlen(j->exported);
        judgement->replay_seconds = (double)(pv_clock_ns() - j->replay_ns) / 1e9;
    }
    answer(judge, j, judgement, failure);
    schedule(judge);
}

static void on_replayed(void *user, lean_ticket t, const lean_checked *checked,
                        const pv_error *failure)
{
    lean_judge *judge = user;
    (void)t;
    if (judge->replaying == NULL) {
        return; /* answered already: the judge is being closed */
    }
    lean_judgement judgement = {.lean_version = lean_replay_lean_version(judge->replay)};
    char message[PV_ERROR_MSG_MAX + 64];
    if (failure == NULL) {
        judge_checked(checked, false, LEAN_LEVEL_REPLAYED, &judgement);
    } else {
        judgement.reason = refusal_of(failure);
        judgement.message = failure->msg;
    }
    if (judge->closing || (failure != NULL && judgement.reason == NULL)) {
        replay_answer(judge, NULL, failure);
        return;
    }
    if (judgement.reason != NULL) {
        snprintf(message, sizeof message, "in the second process: %s", judgement.message);
        judgement.message = message;
    }
    replay_answer(judge, &judgement, NULL);
}

static pv_status replay_ready(lean_judge *judge, pv_error *err)
{
    if (judge->replay != NULL) {
        return PV_OK;
    }
    pv_status status = lean_replay_open(&judge->replay, judge->loop, &judge->options, err);
    judge->replay_open = status == PV_OK;
    return status;
}

static void send_replay(lean_judge *judge)
{
    job *j = judge->replaying;
    pv_error err = {0};
    lean_check_request request = {.original = j->original,
                                  .declarations = j->exported,
                                  .names = (const char *const *)j->names,
                                  .name_count = j->name_count,
                                  .deadline_ms = j->deadline_ms};
    judge->replay_sent = true;
    j->replay_ns = pv_clock_ns();
    pv_status status = replay_ready(judge, &err);
    if (status == PV_OK) {
        status = lean_replay_ask(judge->replay, j->header, &request, on_replayed, judge, &err);
    }
    if (status == PV_E_INVALID) {
        lean_judgement judgement = {.reason = "export", .message = err.msg};
        replay_answer(judge, &judgement, NULL);
    } else if (status != PV_OK) {
        replay_answer(judge, NULL, &err);
    }
}

/* So that it imports the header while the first process still works. Short of anything: it is told when it matters. */
static void prepare_replay(lean_judge *judge, const char *header)
{
    pv_error err = {0};
    if (judge->level >= LEAN_LEVEL_REPLAYED && !judge->closing &&
        judge->toolchain.dialect == LEAN_DIALECT_PROVER &&
        (replay_ready(judge, &err) != PV_OK ||
         lean_replay_prepare(judge->replay, header, &err) != PV_OK)) {
        pv_log(PV_LOG_WARN, "judge: %s", err.msg);
    }
}

static void on_replay_closed(void *user)
{
    lean_judge *judge = user;
    judge->replay_open = false;
    maybe_free(judge);
}

static void close_replay(lean_judge *judge)
{
    if (judge->replay != NULL) {
        lean_replay *replay = judge->replay;
        lean_replay_close(replay, on_replay_closed, judge);
        judge->replay = NULL;
    }
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
    prepare_replay(judge, j->header);
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
    if (judge->replaying != NULL) {
        replay_answer(judge, NULL, &err);
    }
    close_replay(judge);
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
    if (!judge->closing || !judge->tick_closed || judge->pools > 0 || judge->replay_open) {
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
    } else if (judge->replaying != NULL && !judge->replay_sent) {
        send_replay(judge);
    } else if (r != NULL && r->job != NULL) {
        if (r->state == READY) {
            runner_check(r);
        }
    } else if (judge->first != NULL && judge->replaying == NULL) {
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
    judge->level = LEAN_LEVEL_AUDITED;
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

void lean_judge_demand(lean_judge *judge, lean_level level)
{
    judge->level = level;
}

void lean_judge_prepare(lean_judge *judge, const char *header)
{
    set_header(judge, header);
    prepare_replay(judge, header);
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
    job *j = lean_judge_job_new(request, cb, user);
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
