#include "judge_queue.h"

#include "data_text.h"
#include "lean_source.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum { BATCH_DEADLINE_MS = 300000, ALONE_DEADLINE_MS = 60000 };

struct judge_batch {
    judge_batch *next;
    const session *s;
    judge_ask *asks[JUDGE_BATCH];
    size_t count;
    bool answered;
    lean_level level;
    char *reason, *message; /* refused */
    json_t *axioms;         /* accepted: name -> axioms */
    char *lean_version;
    bool sandboxed;
    double seconds;
    pv_error failure;
};

static void free_batch(judge_batch *batch)
{
    pv_free(batch->reason);
    pv_free(batch->message);
    pv_free(batch->lean_version);
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
    ask->next = NULL;
    if (q->last == NULL) {
        q->waiting = ask;
    } else {
        q->last->next = ask;
    }
    q->last = ask;
    q->count++;
}

/* ---- who is judged with whom ---- */

/* One theorem and nothing else: what stands beside it does not matter to it, nor it to that. */
static bool is_one_theorem(const char *text)
{
    lean_source commands;
    lean_command_span span;
    size_t theorems = 0, others = 0;
    lean_source_init(&commands, text);
    while (lean_source_next(&commands, &span)) {
        bool plain = strncmp(text + span.first, "theorem ", 8) == 0 ||
                     strncmp(text + span.first, "lemma ", 6) == 0;
        theorems += plain;
        others += !plain;
    }
    return theorems == 1 && others == 0;
}

static const char *header_of(const judge_queue *q, const judge_ask *ask)
{
    return ask->text == NULL ? q->header : ask->text->header;
}

static bool fits(const judge_queue *q, const judge_batch *batch, const judge_ask *ask)
{
    if (batch->count == 0) {
        return true;
    }
    const judge_ask *first = batch->asks[0];
    if ((first->text == NULL) != (ask->text == NULL) ||
        strcmp(header_of(q, first), header_of(q, ask)) != 0) {
        return false;
    }
    if (ask->text == NULL) {
        return true;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (strcmp(batch->asks[i]->text->name, ask->text->name) == 0) {
            return false;
        }
    }
    return is_one_theorem(first->text->original) && is_one_theorem(ask->text->original);
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
    batch->sandboxed = judgement->sandboxed;
    batch->seconds += judgement->seconds;
    if (batch->lean_version == NULL && judgement->lean_version != NULL) {
        batch->lean_version = pv_strdup(judgement->lean_version);
    }
    if (session_accepts(batch->s, judgement->level)) {
        batch->axioms = axioms_of(judgement);
    } else if (judgement->reason != NULL) {
        batch->reason = pv_strdup(judgement->reason);
        batch->message = pv_strdup(judgement->message == NULL ? "" : judgement->message);
    } else {
        pv_buf why = {0};
        session_explain_level(batch->s, judgement->level, &why);
        batch->reason = pv_strdup("level");
        batch->message = pv_buf_detach(&why);
    }
}

static void number(char out[24], size_t i)
{
    snprintf(out, 24, "d%zu", i);
}

/* What it is called in the batch's text. */
static const char *name_of(const judge_batch *batch, size_t i, char spare[24])
{
    if (batch->asks[i]->text != NULL) {
        return batch->asks[i]->text->name;
    }
    number(spare, i);
    return spare;
}

static void put_ask(const judge_ask *one, const char *name, pv_buf *original, pv_buf *candidate)
{
    if (one->text == NULL) {
        data_text_theorem(original, name, one->statement, "sorry");
        data_text_theorem(candidate, name, one->statement, one->proof);
        return;
    }
    const char *between = original->len == 0 ? "" : "\n\n"; /* alone, it is the user's text */
    pv_buf_printf(original, "%s%s", between, one->text->original);
    pv_buf_printf(candidate, "%s%s", between, one->text->candidate);
}

static size_t proofs_of(const judge_ask *one)
{
    return one->text == NULL ? 1 : one->text->proof_count;
}

/* All texts that the gate reads; the caller frees the array. */
static const char **gather_proofs(const judge_batch *batch, size_t *count)
{
    size_t n = 0;
    for (size_t i = 0; i < batch->count; i++) {
        n += proofs_of(batch->asks[i]);
    }
    const char **out = pv_calloc(n + 1, sizeof *out);
    *count = 0;
    for (size_t i = 0; i < batch->count && out != NULL; i++) {
        const judge_ask *one = batch->asks[i];
        for (size_t k = 0; k < proofs_of(one); k++) {
            out[(*count)++] = one->text == NULL ? one->proof : one->text->proofs[k];
        }
    }
    return out;
}

static pv_status ask(const judge_queue *q, size_t lane, judge_batch *batch, pv_error *err)
{
    pv_buf original = {0}, candidate = {0};
    char spare[JUDGE_BATCH][24];
    const char *names[JUDGE_BATCH];
    size_t proof_count = 0;
    const char **proofs = gather_proofs(batch, &proof_count);
    for (size_t i = 0; i < batch->count; i++) {
        names[i] = name_of(batch, i, spare[i]);
        put_ask(batch->asks[i], names[i], &original, &candidate);
    }
    bool alone = batch->count == 1 && batch->asks[0]->text != NULL;
    lean_judge_request request = {.header = header_of(q, batch->asks[0]),
                                  .original = pv_buf_text(&original),
                                  .candidate = pv_buf_text(&candidate),
                                  .names = names,
                                  .name_count = batch->count,
                                  .proofs = proofs,
                                  .proof_count = proof_count,
                                  .deadline_ms = alone ? ALONE_DEADLINE_MS : BATCH_DEADLINE_MS};
    pv_status status = proofs != NULL && pv_buf_ok(&original) && pv_buf_ok(&candidate)
                           ? lean_judge_ask(q->s->judges[lane], &request, on_judged, batch, err)
                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_free(proofs);
    pv_buf_release(&original);
    pv_buf_release(&candidate);
    return status;
}

static void start(judge_queue *q, size_t lane, judge_batch *batch)
{
    pv_error err = {0};
    q->batches[lane] = batch;
    if (ask(q, lane, batch, &err) != PV_OK) {
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
    second->s = batch->s;
    for (size_t i = keep; i < batch->count; i++) {
        second->asks[second->count++] = batch->asks[i];
    }
    batch->count = keep;
    batch->answered = false;
    batch->seconds = second->seconds = batch->seconds / 2;
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
        char spare[24];
        judge_answer answer = {.level = batch->level,
                               .axioms = json_object_get(batch->axioms, name_of(batch, i, spare)),
                               .reason = batch->reason,
                               .message = batch->message,
                               .lean_version = batch->lean_version,
                               .sandboxed = batch->sandboxed,
                               .seconds = batch->seconds / (double)batch->count};
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
    if (batch != NULL) {
        batch->s = q->s;
    }
    judge_ask *last = NULL;
    for (judge_ask **link = &q->waiting; batch != NULL && *link != NULL;) {
        judge_ask *one = *link;
        if (batch->count == JUDGE_BATCH || !fits(q, batch, one)) {
            last = one;
            link = &one->next;
            continue;
        }
        *link = one->next;
        one->next = NULL;
        q->count--;
        batch->asks[batch->count++] = one;
    }
    q->last = batch == NULL ? q->last : last;
    return batch;
}

/* One judge: takes its answer, or gives it something to do. */
static bool turn_lane(judge_queue *q, size_t lane, bool all)
{
    judge_batch *batch = q->batches[lane];
    if (batch != NULL && batch->answered) {
        q->batches[lane] = NULL;
        settle(q, batch);
        return true;
    }
    bool due = q->more != NULL || q->count >= JUDGE_BATCH || (q->count > 0 && all);
    if (batch != NULL || !due || q->failure.status != PV_OK) {
        return false;
    }
    batch = next_batch(q);
    if (batch == NULL) {
        pv_fail(&q->failure, PV_E_NOMEM, "out of memory");
        return false;
    }
    start(q, lane, batch);
    return true;
}

bool judge_queue_turn(judge_queue *q, bool all)
{
    bool moved = false;
    for (size_t lane = 0; lane < q->s->judge_count; lane++) {
        moved = turn_lane(q, lane, all) || moved;
    }
    return moved;
}

static bool any_judged(const judge_queue *q)
{
    for (size_t lane = 0; lane < SESSION_JUDGES_MAX; lane++) {
        if (q->batches[lane] != NULL) {
            return true;
        }
    }
    return false;
}

bool judge_queue_over(const judge_queue *q)
{
    return !any_judged(q) && q->more == NULL && q->waiting == NULL;
}

void judge_queue_release(judge_queue *q)
{
    for (size_t lane = 0; lane < SESSION_JUDGES_MAX; lane++) {
        if (q->batches[lane] != NULL) {
            give_up(q, q->batches[lane]);
            q->batches[lane] = NULL;
        }
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
    q->last = NULL;
    q->count = 0;
}
