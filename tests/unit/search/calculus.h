/* A toy calculus to search in: goals are numbers, a rule of a goal replaces it by other goals,
 * some of which may be coupled, as goals of Lean are that share a metavariable. Rules come from
 * a seed, so that every problem can be made again.
 *
 * The world is the policy and the verifier of a search in it. It answers from inside the calls,
 * or keeps the requests and answers one at a time in an order drawn from a seed. script.h runs
 * the scripts of this calculus. */
#ifndef CALCULUS_H
#define CALCULUS_H

#include "pv_buf.h"
#include "pv_mem.h"
#include "search.h"
#include "search_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOALS_MAX = 64, RULES_MAX = 6, SUBS_MAX = 4, LIST_MAX = 48 };

typedef struct toy_rule {
    uint32_t subs[SUBS_MAX];
    uint32_t sub_count;
    uint32_t coupled; /* bit i: sub i shares a metavariable with the other coupled goals */
    bool separates;   /* settles the metavariables: nothing is coupled afterwards */
    bool fails;
    double logprob;
} toy_rule;

typedef struct calculus {
    toy_rule rules[GOALS_MAX][RULES_MAX];
    uint32_t rule_count[GOALS_MAX];
    uint32_t goal_count;
} calculus;

/* The verifier's state: a part, which is a list of goals that are all coupled when there are
 * several. */
struct search_handle {
    uint32_t goals[LIST_MAX];
    uint32_t count;
};

typedef struct pending {
    bool policy;
    uint64_t ticket;
    uint32_t goal;       /* policy */
    uint64_t seed;       /* policy */
    size_t index;        /* verifier */
    char tactic[64];     /* verifier */
    search_handle state; /* verifier */
} pending;

typedef struct world {
    calculus c;
    bool deferred; /* keep requests until world_answer() */
    uint64_t rng;
    pending *queue;
    size_t queue_count, queue_capacity;
    search_run *run;
    size_t handles; /* alive */
    size_t cancels;
    size_t wakes;
    bool messy;  /* candidates come with repetitions in other spellings */
    bool silent; /* keep what is asked unanswered even when cancelled, until world_answer() */
    uint64_t
        lose_every; /* every so many outcomes are LOST or TIMED_OUT; 0 = none (depends on the request only) */
    uint64_t proposals, tries;
    uint64_t fail_proposal, fail_try; /* the call with this number fails; 0 = none */
    bool fail_later;                  /* the proposal fails by its answer, not by its call */
} world;

static inline uint64_t world_random(world *w)
{
    w->rng = pv_mix64(w->rng + 0x9e3779b97f4a7c15u);
    return w->rng;
}

/* ---- problems ---- */

/* `cycles`: rules may lead back; otherwise a goal only leads to goals with larger numbers. */
static inline void calculus_random(calculus *c, uint64_t seed, uint32_t goals, bool cycles,
                                   bool coupling)
{
    memset(c, 0, sizeof *c);
    c->goal_count = goals;
    uint64_t x = pv_mix64(seed);
    for (uint32_t g = 0; g < goals; g++) {
        c->rule_count[g] = (uint32_t)((x = pv_mix64(x)) % 4) + 1;
        for (uint32_t r = 0; r < c->rule_count[g]; r++) {
            toy_rule *rule = &c->rules[g][r];
            uint32_t room = goals - g - 1;
            rule->sub_count = (uint32_t)((x = pv_mix64(x)) % (SUBS_MAX + 1));
            rule->sub_count = room == 0 && !cycles ? 0 : rule->sub_count;
            rule->fails = (x = pv_mix64(x)) % 4 == 0;
            rule->coupled = coupling ? (uint32_t)((x = pv_mix64(x)) % 16) : 0;
            rule->separates = (x = pv_mix64(x)) % 3 == 0;
            rule->logprob = -(double)((x = pv_mix64(x)) % 1000) / 250.0;
            for (uint32_t i = 0; i < rule->sub_count; i++) {
                x = pv_mix64(x);
                bool back = cycles && x % 3 == 0;
                rule->subs[i] = back || room == 0 ? (uint32_t)((x >> 8) % goals)
                                                  : g + 1 + (uint32_t)((x >> 8) % room);
            }
        }
    }
}

/* A rule by hand: subs ends with -1. */
static inline void calculus_rule(calculus *c, uint32_t goal, double logprob, const int *subs)
{
    if (goal >= c->goal_count) {
        c->goal_count = goal + 1;
    }
    toy_rule *r = &c->rules[goal][c->rule_count[goal]++];
    r->logprob = logprob;
    while (*subs >= 0) {
        r->subs[r->sub_count++] = (uint32_t)*subs++;
    }
}

/* Which goals have a proof: rules do not look at other goals, so a list is provable when all its
 * goals are. */
static inline void calculus_provable(const calculus *c, bool *out)
{
    memset(out, 0, GOALS_MAX * sizeof *out);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t g = 0; g < c->goal_count; g++) {
            for (uint32_t r = 0; r < c->rule_count[g] && !out[g]; r++) {
                const toy_rule *rule = &c->rules[g][r];
                bool all = !rule->fails;
                for (uint32_t i = 0; i < rule->sub_count; i++) {
                    all = all && out[rule->subs[i]];
                }
                out[g] = all;
                changed = changed || all;
            }
        }
    }
}

/* ---- tactics ---- */

/* "g3r1"; for odd rules a second line, to see that blocks are kept together. */
static inline void tactic_text(char out[64], uint32_t goal, uint32_t rule)
{
    snprintf(out, 64, rule % 2 == 1 ? "g%ur%u at\n  here" : "g%ur%u", goal, rule);
}

static inline const toy_rule *find_rule(const calculus *c, const char *tactic, uint32_t goal)
{
    unsigned g;
    unsigned r;
    if (sscanf(tactic, " g%ur%u", &g, &r) != 2 || g != goal || g >= c->goal_count ||
        r >= c->rule_count[g] || c->rules[g][r].fails) {
        return NULL;
    }
    return &c->rules[g][r];
}

/* ---- outcomes ---- */

typedef struct made_outcome { /* an outcome with the memory behind it */
    search_outcome outcome;
    search_part parts[LIST_MAX];
    const char *goals[LIST_MAX];
    char texts[LIST_MAX][16];
    uint32_t order[LIST_MAX];
} made_outcome;

static inline search_handle *world_handle(world *w)
{
    search_handle *handle = pv_calloc(1, sizeof *handle);
    w->handles += handle != NULL;
    return handle;
}

static inline void finish_part(made_outcome *m, size_t p, size_t first_goal)
{
    search_part *part = &m->parts[p];
    part->key = pv_key_of(part->handle->goals, part->handle->count * sizeof(uint32_t));
    part->goals = &m->goals[first_goal];
    part->goal_count = part->handle->count;
    for (uint32_t i = 0; i < part->handle->count; i++) {
        snprintf(m->texts[first_goal + i], sizeof m->texts[0], "goal %u", part->handle->goals[i]);
        m->goals[first_goal + i] = m->texts[first_goal + i];
    }
}

/* Splits a list of goals into parts: the coupled ones together when there are several, every
 * other alone. */
static inline void make_open(world *w, made_outcome *m, const uint32_t *goals, const bool *coupled,
                             uint32_t n)
{
    uint32_t together = 0;
    for (uint32_t i = 0; i < n; i++) {
        together += coupled[i];
    }
    size_t shared = SIZE_MAX;
    size_t parts = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool joins = coupled[i] && together > 1;
        if (!joins || shared == SIZE_MAX) {
            m->parts[parts].handle = world_handle(w);
            if (joins) {
                shared = parts;
            }
            m->order[i] = (uint32_t)parts++;
        } else {
            m->order[i] = (uint32_t)shared;
        }
        search_handle *h = m->parts[m->order[i]].handle;
        if (h != NULL) {
            h->goals[h->count++] = goals[i];
        }
    }
    size_t first = 0;
    for (size_t p = 0; p < parts; p++) {
        if (m->parts[p].handle == NULL) { /* out of memory in a test of just that */
            continue;
        }
        finish_part(m, p, first);
        first += m->parts[p].goal_count;
    }
    m->outcome.kind = n == 0 ? SEARCH_CLOSED : SEARCH_OPEN;
    m->outcome.parts = parts == 0 ? NULL : m->parts;
    m->outcome.part_count = parts;
    m->outcome.order = m->order;
    m->outcome.goal_count = n;
}

/* False, with every handle gone, when memory was short for one of them. */
static inline bool made_whole(world *w, made_outcome *m)
{
    bool whole = true;
    for (size_t i = 0; i < m->outcome.part_count; i++) {
        whole = whole && m->parts[i].handle != NULL;
    }
    for (size_t i = 0; i < m->outcome.part_count && !whole; i++) {
        if (m->parts[i].handle != NULL) {
            w->handles--;
            pv_free(m->parts[i].handle);
        }
    }
    return whole;
}

/* What the tactic makes of the state. */
static inline void world_outcome(world *w, made_outcome *m, const search_handle *state,
                                 const char *tactic)
{
    memset(m, 0, sizeof *m);
    m->outcome.lean_ms = 1.5;
    const toy_rule *rule = find_rule(&w->c, tactic, state->goals[0]);
    uint64_t lot = pv_hash_bytes(tactic, strlen(tactic), state->count);
    if (w->lose_every > 0 && lot % w->lose_every == 0) {
        m->outcome.kind = lot % 2 == 0 ? SEARCH_LOST : SEARCH_TIMED_OUT;
        m->outcome.message = "no answer";
        return;
    }
    if (rule == NULL || rule->sub_count + state->count - 1 > LIST_MAX) {
        m->outcome.kind = SEARCH_FAILED;
        m->outcome.message = "this rule does not apply";
        return;
    }
    uint32_t goals[LIST_MAX];
    bool coupled[LIST_MAX];
    uint32_t n = 0;
    bool rest = state->count > 1;
    for (uint32_t i = 0; i < rule->sub_count; i++, n++) {
        goals[n] = rule->subs[i];
        coupled[n] = !rule->separates && (rule->coupled >> i & 1);
    }
    for (uint32_t i = 1; i < state->count; i++, n++) {
        goals[n] = state->goals[i];
        coupled[n] = rest && !rule->separates;
    }
    make_open(w, m, goals, coupled, n);
}

/* ---- policy and verifier ---- */

static inline void world_deliver_candidates(world *w, uint64_t ticket, uint32_t goal, uint64_t seed)
{
    search_candidate candidates[3 * RULES_MAX + 2];
    char texts[3 * RULES_MAX + 2][96];
    size_t n = 0;
    (void)seed;
    for (uint32_t r = 0; r < w->c.rule_count[goal]; r++) {
        char text[64];
        tactic_text(text, goal, r);
        snprintf(texts[n], sizeof texts[n], "%s", text);
        candidates[n] = (search_candidate){texts[n], w->c.rules[goal][r].logprob, 3};
        n++;
        if (w->messy) {
            snprintf(texts[n], sizeof texts[n], "/- same -/ %s -- again", text);
            candidates[n] = (search_candidate){texts[n], w->c.rules[goal][r].logprob - 1, 3};
            n++;
        }
    }
    if (w->messy) {
        candidates[n++] = (search_candidate){"/- nothing -/", -0.1, 2};
        candidates[n++] = (search_candidate){"nonsense", -9, 2};
    }
    search_deliver_candidates(w->run, ticket, candidates, n, NULL);
}

static inline pending *world_keep(world *w)
{
    if (pv_grow((void **)&w->queue, &w->queue_capacity, w->queue_count + 1, sizeof *w->queue) !=
        0) {
        return NULL;
    }
    pending *p = &w->queue[w->queue_count++];
    memset(p, 0, sizeof *p);
    return p;
}

static inline uint32_t goal_number(const char *text)
{
    return (uint32_t)strtoul(text + strlen("goal "), NULL, 10);
}

static inline pv_status world_propose(void *self, const search_policy_request *request,
                                      pv_error *err)
{
    world *w = self;
    w->run = request->run;
    if (++w->proposals == w->fail_proposal) {
        if (!w->fail_later) {
            return pv_fail(err, PV_E_DEVICE, "the model is gone");
        }
        pv_error failure = {.status = PV_E_DEVICE, .msg = "the model is gone"};
        search_deliver_candidates(w->run, request->ticket, NULL, 0, &failure);
        return PV_OK;
    }
    uint32_t goal = goal_number(request->goals[0]);
    if (!w->deferred) {
        world_deliver_candidates(w, request->ticket, goal, request->seed);
        return PV_OK;
    }
    pending *p = world_keep(w);
    if (p == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    p->policy = true;
    p->ticket = request->ticket;
    p->goal = goal;
    p->seed = request->seed;
    return PV_OK;
}

static inline void world_deliver_outcome(world *w, uint64_t ticket, size_t index,
                                         const search_handle *state, const char *tactic)
{
    static const search_outcome lost = {.kind = SEARCH_LOST, .message = "out of memory"};
    made_outcome m;
    world_outcome(w, &m, state, tactic);
    bool whole = made_whole(w, &m);
    search_deliver_outcome(w->run, ticket, index, whole ? &m.outcome : &lost);
}

static inline pv_status world_try(void *self, const search_try_request *request, pv_error *err)
{
    world *w = self;
    if (++w->tries == w->fail_try) {
        return pv_fail(err, PV_E_SPAWN, "Lean does not start");
    }
    if (w->deferred && pv_grow((void **)&w->queue, &w->queue_capacity, w->queue_count + request->n,
                               sizeof *w->queue) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    search_handle state =
        *request->state; /* as the run may be told to release it by the last answer */
    for (size_t i = 0; i < request->n; i++) {
        if (!w->deferred) {
            world_deliver_outcome(w, request->ticket, i, &state, request->tactics[i]);
            continue;
        }
        pending *p = world_keep(w);
        p->ticket = request->ticket;
        p->index = i;
        p->state = state;
        snprintf(p->tactic, sizeof p->tactic, "%s", request->tactics[i]);
    }
    return PV_OK;
}

static inline pending world_take(world *w, size_t i)
{
    pending p = w->queue[i];
    w->queue_count--;
    memmove(w->queue + i, w->queue + i + 1, (w->queue_count - i) * sizeof *w->queue);
    return p;
}

/* Cancelled requests are answered at once, from inside the call, unless the world is silent. */
static inline void world_cancel(world *w, uint64_t ticket, bool policy)
{
    static const search_outcome lost = {.kind = SEARCH_LOST, .message = "cancelled"};
    w->cancels++;
    for (size_t i = 0; i < w->queue_count && !w->silent;) {
        pending p = w->queue[i];
        if (p.ticket != ticket || p.policy != policy) {
            i++;
            continue;
        }
        world_take(w, i);
        if (policy) {
            search_deliver_candidates(w->run, ticket, NULL, 0, NULL);
        } else {
            search_deliver_outcome(w->run, ticket, p.index, &lost);
        }
    }
}

static inline void world_cancel_policy(void *self, search_run *run, uint64_t ticket)
{
    (void)run;
    world_cancel(self, ticket, true);
}

static inline void world_cancel_try(void *self, uint64_t ticket)
{
    world_cancel(self, ticket, false);
}

static inline void world_release(void *self, search_handle *handle)
{
    world *w = self;
    w->handles--;
    pv_free(handle);
}

static inline void world_wake(void *user)
{
    ((world *)user)->wakes++;
}

static inline bool world_answer_at(world *w, size_t i)
{
    if (i >= w->queue_count) {
        return false;
    }
    pending p = world_take(w, i);
    if (p.policy) {
        world_deliver_candidates(w, p.ticket, p.goal, p.seed);
    } else {
        world_deliver_outcome(w, p.ticket, p.index, &p.state, p.tactic);
    }
    return true;
}

/* Answers one of the requests kept, drawn at random. False when there is none. */
static inline bool world_answer(world *w)
{
    return w->queue_count > 0 && world_answer_at(w, (size_t)(world_random(w) % w->queue_count));
}

static inline search_policy world_policy(world *w)
{
    static const search_policy_ops ops = {"toy", world_propose, world_cancel_policy};
    return (search_policy){&ops, w};
}

static inline search_verifier world_verifier(world *w)
{
    static const search_verifier_ops ops = {world_try, world_cancel_try, world_release};
    return (search_verifier){&ops, w};
}

/* Starts a search for the goals (count of them, all apart unless coupled). */
static inline pv_status world_start(world *w, search_run **run, const search_options *options,
                                    const uint32_t *goals, uint32_t count, bool together,
                                    pv_error *err)
{
    made_outcome m;
    bool coupled[LIST_MAX];
    for (uint32_t i = 0; i < count; i++) {
        coupled[i] = together;
    }
    memset(&m, 0, sizeof m);
    make_open(w, &m, goals, coupled, count);
    if (!made_whole(w, &m)) {
        return PV_E_NOMEM;
    }
    pv_status status =
        search_run_new(run, options, world_policy(w), world_verifier(w), &m.outcome, err);
    if (status != PV_OK) {
        for (size_t i = 0; i < m.outcome.part_count; i++) {
            world_release(w, m.parts[i].handle);
        }
    } else {
        w->run = *run;
    }
    return status;
}

/* Pumps to the end, answering kept requests between pumps. */
static inline search_state world_finish(world *w, search_run *run)
{
    while (search_pump(run) == SEARCH_RUNNING) {
        if (!search_wants_pump(run) && !world_answer(w)) {
            break;
        }
        while (world_random(w) % 2 == 0 && world_answer(w)) {
        }
    }
    return search_state_of(run);
}

/* Stops the search, answers what is open, frees it and the world's queue. */
static inline void world_close(world *w, search_run *run)
{
    search_cancel(run);
    while (search_in_flight(run) > 0 && world_answer(w)) {
    }
    search_pump(run);
    search_run_free(run);
    pv_free(w->queue);
    w->queue = NULL;
    w->queue_count = w->queue_capacity = 0;
}

#endif
