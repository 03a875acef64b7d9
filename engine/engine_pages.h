/* engine_pages: who holds which KV page of a device's pool.
 *
 * A page holds ENGINE_PAGE_TOKENS tokens over all layers. It is counted by its holders (tree nodes, probes), knows how
 * many of its leading slots are spoken for, and is `locked` while a holder that is in use needs it; pages that are used
 * and not locked can be had by eviction.
 * Embedded: `engine_pages p = {0}; ... engine_pages_release(&p);`. Threads: the scheduler's. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H

#include "engine_backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ENGINE_PAGE_NONE UINT32_MAX

typedef struct engine_pages {
    uint32_t *refs;   /* holders of each page; 0: free                                        */
    uint32_t *locks;  /* of them, those in use                                                */
    uint32_t *filled; /* leading slots written or promised to one writer, 0 .. 64             */
    uint32_t *unused; /* a stack of free page numbers                                         */
    uint32_t unused_count;
    uint32_t locked; /* pages with locks > 0                                                  */
    uint32_t count;  /* the budget: page numbers 0 .. count - 1 are used                      */
    uint32_t peak;   /* most pages used at one time                                           */
} engine_pages;

/* Fails: PV_E_NOMEM; *pages is then empty. */
PV_NODISCARD pv_status engine_pages_init(engine_pages *pages, uint32_t count, pv_error *err);
void engine_pages_release(engine_pages *pages);

uint32_t engine_pages_used(const engine_pages *pages);

/* A free page with one holder and nothing filled, or ENGINE_PAGE_NONE. */
uint32_t engine_pages_take(engine_pages *pages);

void engine_pages_ref(engine_pages *pages, uint32_t page);
void engine_pages_unref(engine_pages *pages, uint32_t page); /* the last holder frees it */

void engine_pages_lock(engine_pages *pages, uint32_t page);
void engine_pages_unlock(engine_pages *pages, uint32_t page);

#ifdef __cplusplus
}
#endif
#endif
