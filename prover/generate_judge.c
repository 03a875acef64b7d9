/* Found proofs are judged many at once: one fresh Lean process gets a text of many theorems. When it refuses, the halves are
 * judged apart, until the one that is at fault stands alone. */
#include "data_text.h"
#include "generate.h"

#include "pv_log.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum {
    BATCH_MAX =
        96, /* a fresh process costs seconds, and most of a judgement does not grow with the batch */
    BATCH_DEADLINE_MS = 300000,
};

struct generate_batch {
    generate_batch *next;
    generate_finished *items[BATCH_MAX];
    size_t count;
    bool answered;
    lean_level level;
    char *reason, *message; /* refused */
    json_t *axioms;         /* accepted: name -> axioms */
    pv_error failure;
};

static void free_finished(generate_finished *f)
{
    json_decref(f->row);
    pv_free(f->statement);
    pv_free(f->proof);
    if (f->origin != NULL) {
        generate_statement_free(f->origin);
    }
    pv_free(f);
}

static void free_batch(generate_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        free_finished(batch->items[i]);
    }
    pv_free(batch->reason);
    pv_free(batch->message);
    json_decref(batch->axioms);
    pv_free(batch);
}

void generate_judge_add(generator *g, generate_finished *f)
{
    f->next = g->finished;
    g->finished = f;
    g->finished_count++;
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
    generate_batch *batch = user;
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

static pv_status ask(generator *g, generate_batch *batch, pv_error *err)
{
    pv_buf original = {0}, candidate = {0};
    char numbers[BATCH_MAX][24];
    const char *names[BATCH_MAX], *proofs[BATCH_MAX];
    for (size_t i = 0; i < batch->count; i++) {
        const generate_finished *f = batch->items[i];
        snprintf(numbers[i], sizeof numbers[i], "d%zu", i);
        data_text_theorem(&original, numbers[i], f->statement, "sorry");
        data_text_theorem(&candidate, numbers[i], f->statement, f->proof);
        names[i] = numbers[i];
        proofs[i] = batch->items[i]->proof;
    }
    lean_judge_request request = {.header = g->header,
                                  .original = pv_buf_text(&original),
                                  .candidate = pv_buf_text(&candidate),
                                  .names = names,
                                  .name_count = batch->count,
                                  .proofs = proofs,
                                  .proof_count = batch->count,
                                  .deadline_ms = BATCH_DEADLINE_MS};
    pv_status status = pv_buf_ok(&original) && pv_buf_ok(&candidate)
                           ? lean_judge_ask(g->s.judge, &request, on_judged, batch, err)
                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&original);
    pv_buf_release(&candidate);
    return status;
}

static void start(generator *g, generate_batch *batch)
{
    pv_error err = {0};
    g->batch = batch;
    if (ask(g, batch, &err) != PV_OK) {
        batch->answered = true;
        batch->failure = err;
    }
}

/* ---- answers ---- */

static void accept_proof(generator *g, generate_finished *f, const json_t *axioms, size_t n,
                         lean_level level)
{
    char name[24];
    snprintf(name, sizeof name, "d%zu", n);
    json_t *provenance = json_object_get(f->row, "provenance");
    json_t *own = json_object_get(axioms, name);
    json_object_set_new(provenance, "level", json_string(lean_level_name(level)));
    json_object_set(provenance, "axioms", own);
    generate_write(g, json_incref(f->row), f->origin);
    generate_settle(g, f->origin);
    f->origin = NULL;
}

static void refuse_proof(generator *g, generate_finished *f, const generate_batch *batch)
{
    pv_buf why = {0};
    pv_buf_printf(&why, "%s: %.300s", batch->reason, batch->message);
    generate_drop(g, f->origin, "judge", pv_buf_text(&why));
    pv_buf_release(&why);
    generate_settle(g, f->origin);
    f->origin = NULL;
}

static void halve(generator *g, generate_batch *batch)
{
    generate_batch *second = pv_calloc(1, sizeof *second);
    if (second == NULL) {
        pv_fail(&batch->failure, PV_E_NOMEM, "out of memory");
        generate_fail(g, &batch->failure);
        free_batch(batch);
        return;
    }
    pv_log(PV_LOG_DEBUG, "judge: %s: %.200s: the halves of %zu are judged apart", batch->reason,
           batch->message, batch->count);
    size_t keep = batch->count / 2;
    for (size_t i = keep; i < batch->count; i++) {
        second->items[second->count++] = batch->items[i];
    }
    batch->count = keep;
    batch->answered = false;
    pv_free(batch->reason);
    pv_free(batch->message);
    batch->reason = batch->message = NULL;
    second->next = g->more;
    batch->next = second;
    g->more = batch;
}

static void settle(generator *g, generate_batch *batch)
{
    if (batch->failure.status != PV_OK) {
        if (batch->failure.status != PV_E_CANCELLED) {
            generate_fail(g, &batch->failure);
        }
        free_batch(batch);
        return;
    }
    if (batch->axioms == NULL && batch->count > 1) {
        halve(g, batch);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->axioms != NULL) {
            accept_proof(g, batch->items[i], batch->axioms, i, batch->level);
        } else {
            refuse_proof(g, batch->items[i], batch);
        }
    }
    free_batch(batch);
}

/* ---- the owner's turn ---- */

static generate_batch *next_batch(generator *g)
{
    generate_batch *batch = g->more;
    if (batch != NULL) {
        g->more = batch->next;
        batch->next = NULL;
        return batch;
    }
    batch = pv_calloc(1, sizeof *batch);
    while (batch != NULL && g->finished != NULL && batch->count < BATCH_MAX) {
        generate_finished *f = g->finished;
        g->finished = f->next;
        f->next = NULL;
        g->finished_count--;
        batch->items[batch->count++] = f;
    }
    return batch;
}

/* All statements are through: what is left is judged, however little it is. */
static bool is_last(const generator *g)
{
    bool over = generate_source_over(g);
    for (size_t i = 0; i < g->item_count; i++) {
        over = over && g->items[i].stage == GENERATE_IDLE;
    }
    return over;
}

bool generate_judge_turn(generator *g)
{
    if (g->batch != NULL && g->batch->answered) {
        generate_batch *batch = g->batch;
        g->batch = NULL;
        settle(g, batch);
        return true;
    }
    bool due =
        g->more != NULL || g->finished_count >= BATCH_MAX || (g->finished_count > 0 && is_last(g));
    if (g->batch != NULL || !due) {
        return false;
    }
    generate_batch *batch = next_batch(g);
    if (batch == NULL) {
        pv_error err = {0};
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        generate_fail(g, &err);
        return false;
    }
    start(g, batch);
    return true;
}

bool generate_judge_over(const generator *g)
{
    return g->batch == NULL && g->more == NULL && g->finished == NULL;
}

void generate_judge_release(generator *g)
{
    if (g->batch != NULL) {
        free_batch(g->batch);
    }
    while (g->more != NULL) {
        generate_batch *next = g->more->next;
        free_batch(g->more);
        g->more = next;
    }
    while (g->finished != NULL) {
        generate_finished *next = g->finished->next;
        free_finished(g->finished);
        g->finished = next;
    }
}
