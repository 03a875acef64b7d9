/* search_extract: which edge to take at each node for the smallest proof. Internal to search/. */
#ifndef SEARCH_EXTRACT_H
#define SEARCH_EXTRACT_H

#include "search_graph.h"

typedef struct search_extract {
    uint32_t *edge; /* node -> its edge in the smallest proof; SEARCH_NONE where none is known */
    double *cost;   /* node -> tactics in that proof */
    bool *on_proof; /* node -> part of the root's proof */
} search_extract;

/* Chooses for every solved node. False when memory is short. */
bool search_extract_init(search_extract *extract, const search_graph *graph);
void search_extract_release(search_extract *extract);

#endif
