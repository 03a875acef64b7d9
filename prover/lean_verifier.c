#include "lean_verifier.h"

#include "lean_gate.h"
#include "pv_log.h"
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
    lean_state *state;         /* borrowed until the last answer */
    char **texts;              /* count tactics for Lean */
    size_t count, sent, first; /* those sent so far; the first of those that Lean has now */
    bool cancelled;
    bool closed; /* one of them closed the state: the search uses none of those behind it */
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
        .lean_ms =
            tried->kind == LEAN_TRY_TIMED_OUT && tried->ms <= 0 ? t->owner->killed_ms : tried->ms,
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
    for (size_t i = 0; t->texts != NULL && i < t->count; i++) {
        pv_free(t->texts[i]);
    }
    pv_free(t->texts);
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
                     const pv_error *failure);

/* Sends the next tactics. */
static pv_status send_chunk(trial *t, pv_error *err)
{
    size_t n = t->count - t->sent, chunk = t->owner->chunk;
    n = chunk > 0 && n > chunk ? chunk : n;
    t->first = t->sent;
    t->sent += n;
    return lean_try(t->state, (const char *const *)t->texts + t->first, n, &t->lean, on_tried, t,
                    err);
}

/* A chunk is over: the next one, or the end. */
static void end_chunk(trial *t, const pv_error *failure)
{
    pv_error err = {0};
    if (failure == NULL && t->sent < t->count && !t->cancelled && !t->closed) {
        if (send_chunk(t, &err) == PV_OK) {
            return;
        }
        failure = &err;
    }
    if (failure == NULL && t->cancelled) {
        pv_fail(&err, PV_E_CANCELLED, "cancelled");
        failure = &err;
    }
    finish_trial(t, failure);
}

static void on_tried(void *user, lean_ticket ticket, size_t index, const lean_tried *tried,
                     const pv_error *failure)
{
    (void)ticket;
    trial *t = user;
    size_t at = t->first + index;
    if (at >= t->sent) {
        end_chunk(t, failure);
    } else if (tried != NULL && !t->answered[at]) {
        t->answered[at] = true;
        if (tried->kind == LEAN_TRY_TIMED_OUT) {
            pv_log(PV_LOG_DEBUG, "a tactic took too long (%.0f ms): %s", tried->ms, t->texts[at]);
        }
        t->closed = t->closed || tried->kind == LEAN_TRY_CLOSED;
        deliver_tried(t, t->index[at], tried);
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
    t->state = (lean_state *)request->state;
    t->texts = pv_calloc(request->n + 1, sizeof *t->texts);
    t->index = pv_calloc(request->n + 1, sizeof *t->index);
    t->answered = pv_calloc(request->n + 1, sizeof *t->answered);
    t->next = owner->trials;
    owner->trials = t;
    return t;
}

/* Why the tactic need not be tried; NULL: it must be. */
static const char *known_failure(const lean_verifier *self, const trial *t, const char *tactic)
{
    for (size_t i = 0; self->known_state == t->state && i < self->known_count; i++) {
        if (strcmp(self->known[i].tactic, tactic) == 0) {
            return self->known[i].message;
        }
    }
    return NULL;
}

/* What passes the gate goes to t->texts; why[i] says what is held against tactic i, or is NULL. False when memory is short. */
static bool sort_by_gate(trial *t, const search_try_request *request, const char **why)
{
    for (size_t i = 0; i < request->n; i++) {
        lean_gate_finding finding;
        why[i] = known_failure(t->owner, t, request->tactics[i]);
        if (why[i] != NULL) {
            continue;
        }
        if (lean_gate_pass_tactic(request->tactics[i], &finding)) {
            t->texts[t->count] = pv_strdup(request->tactics[i]);
            t->index[t->count] = i;
            if (t->texts[t->count++] == NULL) {
                return false;
            }
        } else {
            why[i] = finding.why;
            t->owner->gated++;
        }
    }
    return true;
}

static void answer_gated(const search_try_request *request, const char *const *why)
{
    for (size_t i = 0; i < request->n; i++) {
        if (why[i] != NULL) {
            search_outcome refused = {.kind = SEARCH_FAILED, .message = why[i]};
            search_deliver_outcome(request->run, request->ticket, i, &refused);
        }
    }
}

static pv_status try_tactics(void *self, const search_try_request *request, pv_error *err)
{
    lean_verifier *verifier = self;
    const char **why = pv_calloc(request->n + 1, sizeof *why);
    trial *t = why == NULL ? NULL : trial_new(verifier, request);
    pv_status status = PV_OK;
    if (t == NULL || t->index == NULL || t->answered == NULL || t->texts == NULL ||
        !sort_by_gate(t, request, why)) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    } else if (t->count > 0) {
        status = send_chunk(t, err);
    }
    if (t != NULL && (status != PV_OK || t->count == 0)) {
        trial_free(t);
    }
    if (status == PV_OK) {
        answer_gated(request, why);
    }
    pv_free(why);
    return status;
}

static void cancel(void *self, uint64_t ticket)
{
    lean_verifier *verifier = self;
    for (trial *t = verifier->trials; t != NULL; t = t->next) {
        if (t->ticket == ticket) {
            t->cancelled = true;
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
