/* search_arena: memory that lives as long as its owner. Internal to search/.
 *
 * An arena hands out bytes that are never freed one by one; pages are an array that grows
 * without moving its items, so that a graph of a million nodes is never copied and its peak is
 * its size. Both start as zeroed structs.
 * Threads: one at a time. */
#ifndef SEARCH_ARENA_H
#define SEARCH_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct search_chunk search_chunk;

typedef struct search_arena {
    search_chunk *chunks; /* newest first */
    char *at;             /* first free byte of the newest chunk */
    size_t left;
} search_arena;

void search_arena_release(search_arena *arena);

/* Forgets everything handed out and keeps one chunk for the next use. */
void search_arena_reset(search_arena *arena);

/* n bytes aligned to 8, not zeroed; NULL when memory is short. */
void *search_arena_alloc(search_arena *arena, size_t n);

/* `count` zeroed items of `size` bytes; NULL when memory is short or the product overflows. */
void *search_arena_zeroed(search_arena *arena, size_t count, size_t size);

/* A copy of n bytes and a NUL, unaligned; NULL when memory is short. */
char *search_arena_text(search_arena *arena, const char *text, size_t n);

enum { SEARCH_PAGE_SHIFT = 8, SEARCH_PAGE_ITEMS = 1 << SEARCH_PAGE_SHIFT };

typedef struct search_pages {
    char **pages; /* each holds SEARCH_PAGE_ITEMS items */
    size_t page_count, page_capacity;
    size_t item_size; /* set by the owner before the first push */
    uint32_t count;
} search_pages;

void search_pages_release(search_pages *pages);

/* Appends a zeroed item and returns it (its index is count - 1 afterwards); NULL when memory is
 * short. */
void *search_pages_push(search_pages *pages);

static inline void *search_pages_at(const search_pages *pages, uint32_t index)
{
    return pages->pages[index >> SEARCH_PAGE_SHIFT] +
           (size_t)(index & (SEARCH_PAGE_ITEMS - 1)) * pages->item_size;
}

#endif
