/* tried: what a search gave to a verifier of the test's own, with the log-probabilities that its edges have. */
#ifndef TEST_TRIED_H
#define TEST_TRIED_H

#include "search.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { TRIED_MAX = 64 };

typedef struct tried_list {
    char tactics[TRIED_MAX][32];
    double logprobs[TRIED_MAX];
    size_t count;
} tried_list;

static inline void tried_add(tried_list *list, const char *tactic)
{
    if (list->count < TRIED_MAX) {
        snprintf(list->tactics[list->count++], sizeof list->tactics[0], "%s", tactic);
    }
}

static inline void tried_edge(void *user, const search_edge_view *edge)
{
    tried_list *list = user;
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->tactics[i], edge->tactic) == 0) {
            list->logprobs[i] = edge->logprob;
        }
    }
}

static inline void tried_node(void *user, const search_node_view *node)
{
    (void)user;
    (void)node;
}

/* Reads the log-probabilities of the run's edges. */
static inline void tried_visit(tried_list *list, const search_run *run)
{
    search_visit(run, tried_node, tried_edge, list);
}

/* The tests' handles own nothing. */
static inline void tried_release(void *self, search_handle *handle)
{
    (void)self;
    (void)handle;
}

#endif
