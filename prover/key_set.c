#include "key_set.h"

#include "pv_mem.h"

#include <string.h>

static const pv_key EMPTY = {0, 0};

void key_set_release(key_set *set)
{
    pv_free(set->slots);
    memset(set, 0, sizeof *set);
}

/* The slot that holds the key, or where it belongs. The key {0, 0} is taken for another one. */
static pv_key *find(const key_set *set, pv_key *key)
{
    if (pv_key_equal(*key, EMPTY)) {
        key->lo = 1;
    }
    size_t at = (size_t)pv_mix64(key->lo ^ key->hi) & (set->capacity - 1);
    while (!pv_key_equal(set->slots[at], EMPTY) && !pv_key_equal(set->slots[at], *key)) {
        at = (at + 1) & (set->capacity - 1);
    }
    return &set->slots[at];
}

bool key_set_has(const key_set *set, pv_key key)
{
    if (set->capacity == 0) {
        return false;
    }
    const pv_key *slot = find(set, &key);
    return pv_key_equal(*slot, key);
}

static pv_status grow(key_set *set, pv_error *err)
{
    key_set larger = {.capacity = set->capacity == 0 ? 64 : set->capacity * 2};
    larger.slots = pv_calloc(larger.capacity, sizeof *larger.slots);
    if (larger.slots == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < set->capacity; i++) {
        pv_key key = set->slots[i];
        if (!pv_key_equal(key, EMPTY)) {
            *find(&larger, &key) = key;
        }
    }
    larger.count = set->count;
    pv_free(set->slots);
    *set = larger;
    return PV_OK;
}

pv_status key_set_add(key_set *set, pv_key key, pv_error *err)
{
    if (2 * (set->count + 1) > set->capacity) {
        pv_status status = grow(set, err);
        if (status != PV_OK) {
            return status;
        }
    }
    pv_key *slot = find(set, &key);
    set->count += pv_key_equal(*slot, EMPTY);
    *slot = key;
    return PV_OK;
}
