#include "lean_verifier.h"

#include "lean_gate.h"
#include "pv_mem.h"
#include "search.h"

#include <string.h>

/* One request of the search. `index` maps the tactics sent to Lean to those of the search: the gate holds some back. */
typedef struct trial {
    struct trial *next;
    lean_verifier *owner;
    search_run *run;
    uint64_t ticket;
    lean_ticket lean;
    size_t count; /* tactics sent to Lean */
    size_t *index;
    bool *answered;
} trial;

void lean_verifier_init(lean_verifier *verifier, lean_pool *pool)
{
    memset(verifier, 0, sizeof *verifier);
    verifier->pool = pool;
}

bool lean_verifier_idle(const lean_verifier *verifier)
{
    return verifier->trials == NULL;
}

search_part lean_verifier_part(const lean_part *part)
{
    search_part out = {
        .handle = (search_handle *)lean_state_ref(part->state),
        .key = part->key,
        .goals = part->goals,
        .goal_count = part->goal_count,
    };
    return out;
}

static search_outcome_kind kind_of(lean_try_kind kind)
{
    switch (kind) {
    case LEAN_TRY_CLOSED:
        return SEARCH_CLOSED;
    case LEAN_TRY_OPEN:
        return SEARCH_OPEN;
    case LEAN_TRY_FAILED:
        return SEARCH_FAILED;
    case LEAN_TRY_TIMED_OUT:
        return SEARCH_TIMED_OUT;
    case LEAN_TRY_LOST:
        break;
    }
    return SEARCH_LOST;
}

static void deliver_lost(const trial *t, size_t index, const char *message)
{
    search_outcome lost = {.kind = SEARCH_LOST, .message = message};
    search_deliver_outcome(t->run, t->ticket, index, &lost);
}

static void deliver_tried(const trial *t, size_t index, const lean_tried *tried)
{
    search_outcome outcome = {
        .kind = kind_of(tried->kind),
        .part_count = tried->part_count,
        .order = tried->order,
        .goal_count = tried->goal_count,
        .message = tried->message,
        .lean_ms = tried->ms,
    };
    search_part *parts = pv_calloc(tried->part_count + 1, sizeof *parts);
    if (parts == NULL) {
        deliver_lost(t, index, "out of memory");
        return;
    }
    for (size_t i = 0; i < tried->part_count; i++) {
        parts[i] = lean_verifier_part(&tried->parts[i]);
    }
    outcome.parts = parts;
    search_deliver_outcome(t->run, t->ticket, index, &outcome);
    pv_free(parts);
}

static void trial_free(trial *t)
{
    for (trial **link = &t->owner->trials; *link != NULL; link = &(*link)->next) {
        if (*link == t) {
            *link = t->next;
            break;
        }
    }
    pv_free(t->index);
    pv_free(t->answered);
    pv_free(t);
}

static void finish_trial(trial *t, const pv_error *failure)
{
    if (failure != NULL && failure->status != PV_E_CANCELLED && failure->status != PV_E_LOST &&
        t->owner->failure.status == PV_OK) {
        t->owner->failure = *failure;
    }
    for (size_t i = 0; i < t->count; i++) {
        if (!t->answered[i]) {
            deliver_lost(t, t->index[i], failure != NULL ? failure->msg : "no answer");
        }
    }
    trial_free(t);
}

static void on_tried(void *user, lean_ticket ticket, size_t index, const lean_tried *tried,
                     const pv_error *failure)
{
    (void)ticket;
    trial *t = user;
    if (index >= t->count) {
        finish_trial(t, failure);
    } else if (tried != NULL && !t->answered[index]) {
        t->answered[index] = true;
        deliver_tried(t, t->index[index], tried);
    }
}

static trial *trial_new(lean_verifier *owner, const search_try_request *request)
{
    trial *t = pv_calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->owner = owner;
    t->run = request->run;
    t->ticket = request->ticket;
    t->index = pv_calloc(request->n + 1, sizeof *t->index);
    t->answered = pv_calloc(request->n + 1, sizeof *t->answered);
    t->next = owner->trials;
    owner->trials = t;
    return t;
}

/* What passes the gate goes to texts[], t->count of them; why[i] says what the gate holds against tactic i, or is NULL. */
static void sort_by_gate(trial *t, const search_try_request *request, const char **texts,
                         const char **why)
{
    for (size_t i = 0; i < request->n; i++) {
        lean_gate_finding finding;
        if (lean_gate_pass_tactic(request->tactics[i], &finding)) {
            texts[t->count] = request->tactics[i];
            t->index[t->count++] = i;
        } else {
            why[i] = finding.why;
        }
    }
}

static void answer_gated(lean_verifier *self, const search_try_request *request,
                         const char *const *why)
{
    for (size_t i = 0; i < request->n; i++) {
        if (why[i] != NULL) {
            search_outcome refused = {.kind = SEARCH_FAILED, .message = why[i]};
            self->gated++;
            search_deliver_outcome(request->run, request->ticket, i, &refused);
        }
    }
}

static pv_status try_tactics(void *self, const search_try_request *request, pv_error *err)
{
    lean_verifier *verifier = self;
    const char **texts = pv_calloc(2 * request->n + 1, sizeof *texts);
    const char **why = texts + request->n; /* the second half */
    trial *t = texts == NULL ? NULL : trial_new(verifier, request);
    pv_status status = PV_OK;
    if (t == NULL || t->index == NULL || t->answered == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    } else {
        sort_by_gate(t, request, texts, why);
        if (t->count > 0) {
            status =
                lean_try((lean_state *)request->state, texts, t->count, &t->lean, on_tried, t, err);
        }
    }
    if (t != NULL && (status != PV_OK || t->count == 0)) {
        trial_free(t);
    }
    if (status == PV_OK) {
        answer_gated(verifier, request, why);
    }
    pv_free(texts);
    return status;
}

static void cancel(void *self, uint64_t ticket)
{
    lean_verifier *verifier = self;
    for (trial *t = verifier->trials; t != NULL; t = t->next) {
        if (t->ticket == ticket) {
            lean_cancel(verifier->pool, t->lean);
            return;
        }
    }
}

static void release(void *self, search_handle *handle)
{
    (void)self;
    lean_state_unref((lean_state *)handle);
}

search_verifier lean_verifier_table(lean_verifier *verifier)
{
    static const search_verifier_ops ops = {try_tactics, cancel, release};
    search_verifier table = {&ops, verifier};
    return table;
}
