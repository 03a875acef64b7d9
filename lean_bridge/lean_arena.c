#include "lean_arena.h"

#include "pv_mem.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

typedef struct lean_arena_block lean_arena_block;

struct lean_arena_block {
    lean_arena_block *next;
    size_t used, size; /* bytes of `data` */
    alignas(16) char data[];
};

/* Most replies are small: the first block is too, and later ones double. */
enum { FIRST_BLOCK = 1024, LARGEST_BLOCK = 1 << 18 };

static lean_arena_block *add_block(lean_arena *arena, size_t need)
{
    size_t size = arena->blocks == NULL ? FIRST_BLOCK : arena->blocks->size * 2;
    if (size > LARGEST_BLOCK) {
        size = LARGEST_BLOCK;
    }
    if (size < need) {
        size = need;
    }
    lean_arena_block *block = pv_malloc(sizeof *block + size);
    if (block == NULL) {
        arena->failed = true;
        return NULL;
    }
    block->next = arena->blocks;
    block->used = 0;
    block->size = size;
    arena->blocks = block;
    return block;
}

void *lean_arena_alloc(lean_arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX / 2) / size) {
        arena->failed = true;
        return NULL;
    }
    size_t need = (count * size + 15) & ~(size_t)15;
    lean_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < need) {
        block = add_block(arena, need);
    }
    if (block == NULL) {
        return NULL;
    }
    void *start = block->data + block->used;
    block->used += need;
    memset(start, 0, need);
    return start;
}

char *lean_arena_text(lean_arena *arena, const char *text, size_t n)
{
    char *copy = lean_arena_alloc(arena, n + 1, 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
    }
    return copy;
}

bool lean_arena_ok(const lean_arena *arena)
{
    return !arena->failed;
}

void lean_arena_release(lean_arena *arena)
{
    while (arena->blocks != NULL) {
        lean_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        pv_free(block);
    }
    arena->failed = false;
}
