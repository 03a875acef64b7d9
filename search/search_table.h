/* search_table: finds items of a search_pages by their key. Internal to search/.
 *
 * Open addressing with linear probes. A slot holds 32 mixed bits of the key and the item's
 * index, so that a probe touches an item only when those bits agree, and growing touches none.
 * Items begin with their pv_key. */
#ifndef SEARCH_TABLE_H
#define SEARCH_TABLE_H

#include "pv_hash.h"
#include "search_arena.h"

#include <stdbool.h>

typedef struct search_slot {
    uint32_t tag;
    uint32_t index_plus_one; /* 0: empty */
} search_slot;

typedef struct search_table {
    search_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} search_table;

void search_table_release(search_table *table);

/* Makes room for one more item; false when memory is short. */
bool search_table_reserve(search_table *table);

/* True and *index when an item has the key. */
bool search_table_find(const search_table *table, const search_pages *items, pv_key key,
                       uint32_t *index);

/* Adds an item that is not there. Requires: a search_table_reserve() since the last add. */
void search_table_add(search_table *table, pv_key key, uint32_t index);

#endif
