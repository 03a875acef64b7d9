/* key_set: a set of 128-bit keys. Threads: one at a time per set. */
#ifndef KEY_SET_H
#define KEY_SET_H

#include "pv_error.h"
#include "pv_hash.h"

typedef struct key_set {
    pv_key *slots; /* {0, 0}: empty */
    size_t count, capacity;
} key_set;

void key_set_release(key_set *set);
bool key_set_has(const key_set *set, pv_key key);

/* Fails: PV_E_NOMEM, the set as it was. */
PV_NODISCARD pv_status key_set_add(key_set *set, pv_key key, pv_error *err);

#endif
