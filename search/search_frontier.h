/* search_frontier: the nodes that wait to be expanded, best score first. Internal to search/.
 *
 * A binary max-heap that knows where each id sits, so that a score can change in place and
 * nothing stale is kept. Equal scores are ordered by a hash of the seed and the id, then by id:
 * the same seed gives the same order on every machine, another seed another one. Scores are
 * never NaN. Starts as a zeroed struct (and a seed). */
#ifndef SEARCH_FRONTIER_H
#define SEARCH_FRONTIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct search_entry {
    double score;
    uint64_t tie;
    uint32_t id;
} search_entry;

typedef struct search_frontier {
    search_entry *heap;
    size_t len, capacity;
    uint32_t *place; /* id -> index in heap + 1, 0 when absent */
    size_t ids, place_capacity;
    uint64_t seed;
} search_frontier;

void search_frontier_release(search_frontier *frontier);

/* Makes room for the ids below `ids`: after it, no operation on them can fail. False when memory
 * is short. */
bool search_frontier_reserve(search_frontier *frontier, size_t ids);

bool search_frontier_has(const search_frontier *frontier, uint32_t id);

/* Inserts the id, or moves it to its new score. Requires: reserved. */
void search_frontier_put(search_frontier *frontier, uint32_t id, double score);

void search_frontier_remove(search_frontier *frontier, uint32_t id); /* absent: nothing */

/* The best entry; NULL when empty. Borrowed until the next change. */
const search_entry *search_frontier_top(const search_frontier *frontier);

#endif
