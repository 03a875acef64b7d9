/* lemma_list: the lemmas that a tactic names in brackets, `simp [a, ← b]`, `grind [a, b]`, and that it may not need.
 * Lists of `rw` are no such lists: there each lemma is a step. Threads: pure functions. */
#ifndef LEMMA_LIST_H
#define LEMMA_LIST_H

#include "pv_buf.h"

#include <stdbool.h>
#include <stddef.h>

enum { LEMMA_LIST_MAX = 32 };

typedef struct lemma_span {
    const char *at;
    size_t len;
} lemma_span;

typedef struct lemma_list {
    lemma_span before, after;         /* of the brackets, without them */
    lemma_span items[LEMMA_LIST_MAX]; /* as written, with their arrows */
    size_t count;
} lemma_list;

/* The last such list of the tactic, of one line; all spans point into it. False when there is none. */
bool lemma_list_find(lemma_list *out, const char *tactic);

/* The name of an item, without arrow and with nothing behind it. */
lemma_span lemma_list_name(lemma_span item);

/* Appends the tactic with the items that `keep` says; without any, without brackets. */
void lemma_list_write(const lemma_list *list, const bool *keep, pv_buf *out);

#endif
