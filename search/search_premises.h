/* search_premises: lemmas of a library, found again by what a goal speaks of.
 *
 * A set of (name, statement) pairs with an inverted index of their symbols. A query ranks them against a goal: how much the two
 * have in common (symbols that few lemmas have count more), and whether a side of the lemma occurs in the goal as a whole, so
 * that rewriting may work. Deterministic: equal scores keep the order in which the lemmas were added.
 *
 *     search_premises *p;
 *     search_premises_new(&p, err); search_premises_add(p, name, "theorem f (a : Nat) : ...", err) ...; search_premises_seal(p, err);
 *     search_premises_find(p, &(search_premises_query){.goal = text}, hits, 32, &n, err);
 * Threads: any number of queries at a time once it is sealed; before that one thread. */
#ifndef SEARCH_PREMISES_H
#define SEARCH_PREMISES_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct search_premises search_premises;

typedef enum search_premise_shape {
    SEARCH_PREMISE_FACT,     /* its conclusion is neither of the two others */
    SEARCH_PREMISE_EQUATION, /* l = r                                       */
    SEARCH_PREMISE_IFF,      /* l ↔ r                                       */
} search_premise_shape;

typedef struct search_premise_hit {
    const char *name; /* borrowed from the set                                           */
    search_premise_shape shape;
    bool foreign;       /* it speaks of values of a type that the goal does not mention    */
    bool injective;     /* f a = f b gives a = b, for the type of the goal's equation      */
    double score;       /* for the order of hits                                           */
    double whole;       /* likeness of the statements, 0 to 1                              */
    double left, right; /* how much of that side the goal has, 0 to 1; 0: no such side     */
} search_premise_hit;

/* An empty set. The caller frees. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status search_premises_new(search_premises **out, pv_error *err);
void search_premises_free(search_premises *set); /* NULL allowed */

/* Adds a lemma (copied). Fails: PV_E_NOMEM; PV_E_MISUSE after sealing. */
PV_NODISCARD pv_status search_premises_add(search_premises *set, const char *name,
                                           const char *statement, pv_error *err);

/* No more lemmas: makes the index. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status search_premises_seal(search_premises *set, pv_error *err);

size_t search_premises_count(const search_premises *set);

typedef struct search_premises_query {
    const char *goal; /* as Lean displays it                                             */
    const char *skip; /* this lemma, and those named `skip._...`, are not found; NULL    */
    bool injective;   /* only lemmas that are injective for a type the goal speaks of    */
} search_premises_query;

/* The best hits, best first, at most `max`; *count is their number. Fails: PV_E_NOMEM, PV_E_MISUSE (not sealed). */
PV_NODISCARD pv_status search_premises_find(const search_premises *set,
                                            const search_premises_query *query,
                                            search_premise_hit *hits, size_t max, size_t *count,
                                            pv_error *err);

#ifdef __cplusplus
}
#endif
#endif
