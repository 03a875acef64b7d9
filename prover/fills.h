/* fills: proofs and the holes that they go into, in the order of the text. */
#ifndef FILLS_H
#define FILLS_H

#include "source.h"
#include "theorem.h"

/* The proofs accepted so far, ordered by position; grows with every proved theorem of the text. */
typedef struct fill_list {
    source_fill *items; /* proofs are owned by the list */
    size_t count, capacity;
} fill_list;

void fill_list_release(fill_list *list);

/* `as_is`: the proofs are what stands for the holes, byte for byte (source_fill). */

/* Adds copies of t's proofs (one for each hole, none NULL). Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status fill_list_keep(fill_list *list, const theorem *t, char *const *proofs,
                                      bool as_is, pv_error *err);

/* The list's fills and t's together, ordered; a NULL proof leaves its hole. Proofs are borrowed; the caller frees the array with
 * pv_free(). NULL when memory is short. */
source_fill *fill_list_with(const fill_list *list, const theorem *t, char *const *proofs,
                            bool as_is, size_t *count);

/* The text of declaration t alone, with its proofs, as people read it. The caller frees; NULL when memory is short. */
char *fill_declaration(const source *src, const theorem *t, char *const *proofs, bool as_is);

#endif
