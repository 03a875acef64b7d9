#include "search_arena.h"

#include "pv_mem.h"

#include <string.h>

struct search_chunk {
    search_chunk *next;
    size_t size;
};

/* Chunks double up to a bound: a short search stays small, a long one makes few allocations. */
enum { CHUNK_MIN = 1 << 10, CHUNK_MAX = 1 << 18, ALIGNMENT = 8 };

void search_arena_release(search_arena *arena)
{
    search_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        search_chunk *next = chunk->next;
        pv_free(chunk);
        chunk = next;
    }
    memset(arena, 0, sizeof *arena);
}

void search_arena_reset(search_arena *arena)
{
    search_chunk *keep = arena->chunks;
    if (keep == NULL) {
        return;
    }
    arena->chunks = keep->next;
    search_arena_release(arena);
    keep->next = NULL;
    arena->chunks = keep;
    arena->at = (char *)(keep + 1);
    arena->left = keep->size;
}

static int add_chunk(search_arena *arena, size_t need)
{
    size_t size = arena->chunks == NULL ? CHUNK_MIN : arena->chunks->size * 2;
    if (size > CHUNK_MAX) {
        size = CHUNK_MAX;
    }
    if (size < need) {
        size = need;
    }
    if (size > SIZE_MAX - sizeof(search_chunk)) {
        return -1;
    }
    search_chunk *chunk = pv_malloc(sizeof *chunk + size);
    if (chunk == NULL) {
        return -1;
    }
    chunk->next = arena->chunks;
    chunk->size = size;
    arena->chunks = chunk;
    arena->at = (char *)(chunk + 1);
    arena->left = size;
    return 0;
}

static void *take(search_arena *arena, size_t n, size_t alignment)
{
    size_t pad = (size_t)(-(uintptr_t)arena->at) & (alignment - 1);
    if (arena->chunks == NULL || pad > arena->left || n > arena->left - pad) {
        if (add_chunk(arena, n) != 0) {
            return NULL;
        }
        pad = 0;
    }
    char *block = arena->at + pad;
    arena->at = block + n;
    arena->left -= pad + n;
    return block;
}

void *search_arena_alloc(search_arena *arena, size_t n)
{
    return take(arena, n, ALIGNMENT);
}

void *search_arena_zeroed(search_arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    void *block = take(arena, count * size, ALIGNMENT);
    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

char *search_arena_text(search_arena *arena, const char *text, size_t n)
{
    char *copy = n == SIZE_MAX ? NULL : take(arena, n + 1, 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

void search_pages_release(search_pages *pages)
{
    for (size_t i = 0; i < pages->page_count; i++) {
        pv_free(pages->pages[i]);
    }
    pv_free(pages->pages);
    size_t item_size = pages->item_size;
    memset(pages, 0, sizeof *pages);
    pages->item_size = item_size;
}

static int add_page(search_pages *pages)
{
    if (pv_grow((void **)&pages->pages, &pages->page_capacity, pages->page_count + 1,
                sizeof *pages->pages) != 0) {
        return -1;
    }
    char *page = pv_malloc(SEARCH_PAGE_ITEMS * pages->item_size);
    if (page == NULL) {
        return -1;
    }
    pages->pages[pages->page_count++] = page;
    return 0;
}

void *search_pages_push(search_pages *pages)
{
    /* The last index is kept free: it means "none" to the owners. */
    if (pages->count == UINT32_MAX - 1) {
        return NULL;
    }
    if (pages->count >> SEARCH_PAGE_SHIFT >= pages->page_count && add_page(pages) != 0) {
        return NULL;
    }
    void *item = search_pages_at(pages, pages->count++);
    memset(item, 0, pages->item_size);
    return item;
}
