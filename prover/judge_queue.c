#include "judge_queue.h"

#include "data_text.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum { BATCH_DEADLINE_MS = 300000 };

struct judge_batch {
    judge_batch *next;
    judge_ask *asks[JUDGE_BATCH];
    size_t count;
    bool answered;
    lean_level level;
    char *reason, *message; /* refused */
    json_t *axioms;         /* accepted: name -> axioms */
    pv_error failure;
};

static void free_batch(judge_batch *batch)
{
    pv_free(batch->reason);
    pv_free(batch->message);
    json_decref(batch->axioms);
    pv_free(batch);
}

static void give_up(judge_queue *q, judge_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        q->on_answer(q->user, batch->asks[i], NULL);
    }
    free_batch(batch);
}

void judge_queue_add(judge_queue *q, judge_ask *ask)
{
    ask->next = q->waiting;
    q->waiting = ask;
    q->count++;
}

/* ---- asking ---- */

static json_t *axioms_of(const lean_judgement *judgement)
{
    json_t *all = json_object();
    for (size_t i = 0; i < judgement->decl_count; i++) {
        const lean_checked_decl *decl = &judgement->decls[i];
        json_t *axioms = json_array();
        for (size_t k = 0; k < decl->axiom_count; k++) {
            json_array_append_new(axioms, json_string(decl->axioms[k]));
        }
        json_object_set_new(all, decl->name, axioms);
    }
    return all;
}

static void on_judged(void *user, const lean_judgement *judgement, const pv_error *failure)
{
    judge_batch *batch = user;
    batch->answered = true;
    if (failure != NULL) {
        batch->failure = *failure;
        return;
    }
    batch->level = judgement->level;
    if (judgement->level >= LEAN_LEVEL_AUDITED) {
        batch->axioms = axioms_of(judgement);
    } else {
        batch->reason = pv_strdup(judgement->reason == NULL ? "level" : judgement->reason);
        batch->message = pv_strdup(judgement->message == NULL ? "" : judgement->message);
    }
}

static void number(char out[24], size_t i)
{
    snprintf(out, 24, "d%zu", i);
}

static pv_status ask(judge_queue *q, judge_batch *batch, pv_error *err)
{
    pv_buf original = {0}, candidate = {0};
    char numbers[JUDGE_BATCH][24];
    const char *names[JUDGE_BATCH], *proofs[JUDGE_BATCH];
    for (size_t i = 0; i < batch->count; i++) {
        const judge_ask *one = batch->asks[i];
        number(numbers[i], i);
        data_text_theorem(&original, numbers[i], one->statement, "sorry");
        data_text_theorem(&candidate, numbers[i], one->statement, one->proof);
        names[i] = numbers[i];
        proofs[i] = one->proof;
    }
    lean_judge_request request = {.header = q->header,
                                  .original = pv_buf_text(&original),
                                  .candidate = pv_buf_text(&candidate),
                                  .names = names,
                                  .name_count = batch->count,
                                  .proofs = proofs,
                                  .proof_count = batch->count,
                                  .deadline_ms = BATCH_DEADLINE_MS};
    pv_status status = pv_buf_ok(&original) && pv_buf_ok(&candidate)
                           ? lean_judge_ask(q->s->judge, &request, on_judged, batch, err)
                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&original);
    pv_buf_release(&candidate);
    return status;
}

static void start(judge_queue *q, judge_batch *batch)
{
    pv_error err = {0};
    q->batch = batch;
    if (ask(q, batch, &err) != PV_OK) {
        batch->answered = true;
        batch->failure = err;
    }
}

/* ---- answers ---- */

static void halve(judge_queue *q, judge_batch *batch)
{
    judge_batch *second = pv_calloc(1, sizeof *second);
    if (second == NULL) {
        pv_fail(&q->failure, PV_E_NOMEM, "out of memory");
        give_up(q, batch);
        return;
    }
    pv_log(PV_LOG_DEBUG, "judge: %s: %.200s: the halves of %zu are judged apart", batch->reason,
           batch->message, batch->count);
    size_t keep = batch->count / 2;
    for (size_t i = keep; i < batch->count; i++) {
        second->asks[second->count++] = batch->asks[i];
    }
    batch->count = keep;
    batch->answered = false;
    pv_free(batch->reason);
    pv_free(batch->message);
    batch->reason = batch->message = NULL;
    second->next = q->more;
    batch->next = second;
    q->more = batch;
}

static void settle(judge_queue *q, judge_batch *batch)
{
    if (batch->failure.status != PV_OK) {
        if (batch->failure.status != PV_E_CANCELLED) {
            q->failure = batch->failure;
        }
        give_up(q, batch);
        return;
    }
    if (batch->axioms == NULL && batch->count > 1) {
        halve(q, batch);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        char name[24];
        number(name, i);
        judge_answer answer = {.level = batch->level,
                               .axioms = json_object_get(batch->axioms, name),
                               .reason = batch->reason,
                               .message = batch->message};
        q->on_answer(q->user, batch->asks[i], &answer);
    }
    free_batch(batch);
}

/* ---- the owner's turn ---- */

static judge_batch *next_batch(judge_queue *q)
{
    judge_batch *batch = q->more;
    if (batch != NULL) {
        q->more = batch->next;
        batch->next = NULL;
        return batch;
    }
    batch = pv_calloc(1, sizeof *batch);
    while (batch != NULL && q->waiting != NULL && batch->count < JUDGE_BATCH) {
        judge_ask *one = q->waiting;
        q->waiting = one->next;
        one->next = NULL;
        q->count--;
        batch->asks[batch->count++] = one;
    }
    return batch;
}

bool judge_queue_turn(judge_queue *q, bool all)
{
    if (q->batch != NULL && q->batch->answered) {
        judge_batch *batch = q->batch;
        q->batch = NULL;
        settle(q, batch);
        return true;
    }
    bool due = q->more != NULL || q->count >= JUDGE_BATCH || (q->count > 0 && all);
    if (q->batch != NULL || !due) {
        return false;
    }
    judge_batch *batch = next_batch(q);
    if (batch == NULL) {
        pv_fail(&q->failure, PV_E_NOMEM, "out of memory");
        return false;
    }
    start(q, batch);
    return true;
}

bool judge_queue_over(const judge_queue *q)
{
    return q->batch == NULL && q->more == NULL && q->waiting == NULL;
}

void judge_queue_release(judge_queue *q)
{
    if (q->batch != NULL) {
        give_up(q, q->batch);
        q->batch = NULL;
    }
    while (q->more != NULL) {
        judge_batch *batch = q->more;
        q->more = batch->next;
        give_up(q, batch);
    }
    while (q->waiting != NULL) {
        judge_ask *one = q->waiting;
        q->waiting = one->next;
        q->on_answer(q->user, one, NULL);
    }
}
