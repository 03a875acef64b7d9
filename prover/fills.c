#include "fills.h"

#include "pv_mem.h"

#include <string.h>

void fill_list_release(fill_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_free((char *)list->items[i].proof);
    }
    pv_free(list->items);
    memset(list, 0, sizeof *list);
}

static source_fill fill_of(const hole *h, const char *proof, bool as_is)
{
    source_fill fill = {.start = h->start,
                        .end = h->end,
                        .term = h->term,
                        .proof = proof,
                        .as_is = as_is,
                        .form = h->form,
                        .outer = h->outer};
    return fill;
}

static void insert_fill(source_fill *fills, size_t count, source_fill fill)
{
    size_t at = count;
    while (at > 0 && fills[at - 1].start > fill.start) {
        fills[at] = fills[at - 1];
        at--;
    }
    fills[at] = fill;
}

pv_status fill_list_keep(fill_list *list, const theorem *t, char *const *proofs, bool as_is,
                         pv_error *err)
{
    if (pv_grow((void **)&list->items, &list->capacity, list->count + t->hole_count,
                sizeof *list->items) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < t->hole_count; i++) {
        char *proof = pv_strdup(proofs[i]);
        if (proof == NULL) {
            return pv_fail(err, PV_E_NOMEM, "out of memory");
        }
        insert_fill(list->items, list->count++, fill_of(&t->holes[i], proof, as_is));
    }
    return PV_OK;
}

source_fill *fill_list_with(const fill_list *list, const theorem *t, char *const *proofs,
                            bool as_is, size_t *count)
{
    source_fill *fills = pv_calloc(list->count + t->hole_count + 1, sizeof *fills);
    if (fills == NULL) {
        return NULL;
    }
    if (list->count > 0) {
        memcpy(fills, list->items, list->count * sizeof *fills);
    }
    *count = list->count;
    for (size_t i = 0; i < t->hole_count; i++) {
        if (proofs[i] != NULL) {
            insert_fill(fills, (*count)++, fill_of(&t->holes[i], proofs[i], as_is));
        }
    }
    return fills;
}

char *fill_declaration(const source *src, const theorem *t, char *const *proofs, bool as_is)
{
    fill_list none = {0};
    size_t count = 0;
    source_fill *fills = fill_list_with(&none, t, proofs, as_is, &count);
    pv_buf whole = {0};
    char *text = NULL;
    if (fills != NULL && source_splice(src, true, fills, count, &whole, NULL) == PV_OK) {
        size_t after = src->length - t->end;
        text = pv_strndup(whole.data + t->start, whole.len - after - t->start);
    }
    pv_buf_release(&whole);
    pv_free(fills);
    return text;
}
