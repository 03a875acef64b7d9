#include "engine_pages.h"

#include "pv_mem.h"

#include <assert.h>
#include <string.h>

pv_status engine_pages_init(engine_pages *pages, uint32_t count, pv_error *err)
{
    memset(pages, 0, sizeof *pages);
    pages->refs = pv_calloc(count, sizeof *pages->refs);
    pages->locks = pv_calloc(count, sizeof *pages->locks);
    pages->filled = pv_calloc(count, sizeof *pages->filled);
    pages->unused = pv_calloc(count, sizeof *pages->unused);
    if (pages->refs == NULL || pages->locks == NULL || pages->filled == NULL ||
        pages->unused == NULL) {
        engine_pages_release(pages);
        return pv_fail(err, PV_E_NOMEM, "no memory for the books of %u KV pages", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        pages->unused[i] = count - 1 - i; /* page 0 is taken first */
    }
    pages->count = pages->unused_count = count;
    return PV_OK;
}

void engine_pages_release(engine_pages *pages)
{
    pv_free(pages->refs);
    pv_free(pages->locks);
    pv_free(pages->filled);
    pv_free(pages->unused);
    memset(pages, 0, sizeof *pages);
}

uint32_t engine_pages_used(const engine_pages *pages)
{
    return pages->count - pages->unused_count;
}

uint32_t engine_pages_take(engine_pages *pages)
{
    if (pages->unused_count == 0) {
        return ENGINE_PAGE_NONE;
    }
    uint32_t page = pages->unused[--pages->unused_count];
    pages->refs[page] = 1;
    pages->filled[page] = 0;
    uint32_t used = engine_pages_used(pages);
    pages->peak = used > pages->peak ? used : pages->peak;
    return page;
}

void engine_pages_ref(engine_pages *pages, uint32_t page)
{
    assert(pages->refs[page] > 0);
    pages->refs[page]++;
}

void engine_pages_unref(engine_pages *pages, uint32_t page)
{
    assert(pages->refs[page] > 0);
    if (--pages->refs[page] == 0) {
        assert(pages->locks[page] == 0);
        pages->unused[pages->unused_count++] = page;
    }
}

void engine_pages_lock(engine_pages *pages, uint32_t page)
{
    assert(pages->refs[page] > 0);
    if (pages->locks[page]++ == 0) {
        pages->locked++;
    }
}

void engine_pages_unlock(engine_pages *pages, uint32_t page)
{
    assert(pages->locks[page] > 0);
    if (--pages->locks[page] == 0) {
        pages->locked--;
    }
}
