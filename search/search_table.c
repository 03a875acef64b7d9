#include "search_table.h"

#include "pv_mem.h"

#include <string.h>

/* Keys come from outside: mixing them keeps a weak hash from making long probes. */
static uint32_t tag_of(pv_key key)
{
    return (uint32_t)(pv_mix64(key.lo ^ key.hi) >> 32);
}

void search_table_release(search_table *table)
{
    pv_free(table->slots);
    memset(table, 0, sizeof *table);
}

static void place(search_slot *slots, size_t capacity, search_slot slot)
{
    size_t at = slot.tag & (capacity - 1);
    while (slots[at].index_plus_one != 0) {
        at = (at + 1) & (capacity - 1);
    }
    slots[at] = slot;
}

bool search_table_reserve(search_table *table)
{
    /* At most five slots in eight are used: short probes at 8 bytes a slot. */
    if ((table->count + 1) * 8 <= table->capacity * 5) {
        return true;
    }
    size_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
    search_slot *slots = pv_calloc(capacity, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].index_plus_one != 0) {
            place(slots, capacity, table->slots[i]);
        }
    }
    pv_free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return true;
}

bool search_table_find(const search_table *table, const search_pages *items, pv_key key,
                       uint32_t *index)
{
    if (table->capacity == 0) {
        return false;
    }
    uint32_t tag = tag_of(key);
    size_t at = tag & (table->capacity - 1);
    for (; table->slots[at].index_plus_one != 0; at = (at + 1) & (table->capacity - 1)) {
        if (table->slots[at].tag != tag) {
            continue;
        }
        uint32_t found = table->slots[at].index_plus_one - 1;
        const pv_key *other = search_pages_at(items, found);
        if (pv_key_equal(*other, key)) {
            *index = found;
            return true;
        }
    }
    return false;
}

void search_table_add(search_table *table, pv_key key, uint32_t index)
{
    search_slot slot = {tag_of(key), index + 1};
    place(table->slots, table->capacity, slot);
    table->count++;
}
