/* wide_search: a search of any size without Lean: every state has some hypotheses, most tactics fail with a message of their own, and
 * the last state asked for is closed. For tests of what a search tree becomes. */
#ifndef TEST_WIDE_SEARCH_H
#define TEST_WIDE_SEARCH_H

#include "pv_mem.h"
#include "search.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { WIDE_TACTICS = 12, WIDE_OPENS = 4 };

typedef struct wide_search {
    uint64_t states, closes_at; /* made so far; the state (from 1) that a tactic closes, 0: none */
    const char *hostile;        /* stands in goals, tactics and messages; NULL: nothing          */
    search_run *run;
} wide_search;

static inline pv_status wide_propose(void *self, const search_policy_request *request,
                                     pv_error *err)
{
    static char texts[WIDE_TACTICS][160];
    search_candidate found[WIDE_TACTICS];
    const wide_search *w = self;
    (void)err;
    for (int i = 0; i < WIDE_TACTICS; i++) {
        snprintf(texts[i], sizeof texts[i], "nlinarith [sq_nonneg (x%d - y), mul_pos h₁ h₂]%s%s", i,
                 w->hostile == NULL ? "" : " -- ", w->hostile == NULL ? "" : w->hostile);
        found[i] = (search_candidate){texts[i], -0.25 * (i + 1), 7};
    }
    search_deliver_candidates(request->run, request->ticket, found, WIDE_TACTICS, NULL);
    return PV_OK;
}

static inline void wide_open(wide_search *w, search_outcome *out, search_part *part,
                             const char **goals, char *text, size_t n)
{
    uint64_t id = ++w->states;
    int at = snprintf(text, n, "x y z : Int\nn : Nat\n");
    for (int i = 0; i < 9; i++) {
        at += snprintf(text + at, n - (size_t)at, "h%d : %d * x + y ^ 2 ≤ z + %llu\n", i, i,
                       (unsigned long long)(id >> (2 * i)));
    }
    snprintf(text + at, n - (size_t)at, "⊢ x ^ 2 + %llu * y ≤ (z + n) ^ 2%s%s",
             (unsigned long long)id, w->hostile == NULL ? "" : " ",
             w->hostile == NULL ? "" : w->hostile);
    goals[0] = text;
    *part = (search_part){NULL, {id, id}, goals, 1};
    *out = (search_outcome){.kind = SEARCH_OPEN, .parts = part, .part_count = 1, .lean_ms = 1};
}

static inline pv_status wide_try(void *self, const search_try_request *request, pv_error *err)
{
    wide_search *w = self;
    (void)err;
    for (size_t i = 0; i < request->n; i++) {
        char text[1024];
        const char *goals[1];
        search_part part;
        search_outcome out;
        if (i % 3 == 0 && i / 3 < WIDE_OPENS) {
            wide_open(w, &out, &part, goals, text, sizeof text);
        } else if (w->closes_at != 0 && w->states >= w->closes_at) {
            out = (search_outcome){.kind = SEARCH_CLOSED};
        } else {
            snprintf(text, sizeof text, "linarith failed to find a contradiction\na : %llu < y\n%s",
                     (unsigned long long)(w->states * 16 + i),
                     w->hostile == NULL ? "" : w->hostile);
            out = (search_outcome){.kind = SEARCH_FAILED, .message = text, .lean_ms = 1};
        }
        search_deliver_outcome(request->run, request->ticket, i, &out);
    }
    return PV_OK;
}

static inline void wide_release(void *self, search_handle *handle)
{
    (void)self;
    (void)handle;
}

/* Searches to the end: `states` of them, or a proof. The caller frees w->run. */
static inline void wide_begin(wide_search *w, uint64_t states)
{
    static const search_policy_ops policy = {.name = "wide", .propose = wide_propose};
    static const search_verifier_ops verifier = {.try_tactics = wide_try, .release = wide_release};
    search_options options = {.nodes_max = states, .alpha = -1, .depth_max = 1000, .seed = 3};
    char text[1024];
    const char *goals[1];
    search_part part;
    search_outcome root;
    wide_open(w, &root, &part, goals, text, sizeof text);
    cr_assert_eq(search_run_new(&w->run, &options, (search_policy){&policy, w},
                                (search_verifier){&verifier, w}, &root, NULL),
                 PV_OK);
    while (search_pump(w->run) == SEARCH_RUNNING) {
    }
}

#endif
