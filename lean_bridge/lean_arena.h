/* lean_arena: memory that is freed all at once. A decoded reply lives in one.
 *
 * `lean_arena a = {0};` is valid and empty. A failed allocation is remembered, so that a run of allocations is checked
 * once at its end with lean_arena_ok(). Threads: one at a time per arena. */
#ifndef LEAN_ARENA_H
#define LEAN_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lean_arena {
    struct lean_arena_block *blocks; /* the newest first */
    bool failed;
} lean_arena;

/* Zeroed memory for `count` items of `size` bytes, aligned for any type; NULL when memory is short. Zero items give a
 * pointer that must not be read. */
void *lean_arena_alloc(lean_arena *arena, size_t count, size_t size);

/* A copy of the n bytes with a NUL behind them. */
char *lean_arena_text(lean_arena *arena, const char *text, size_t n);

bool lean_arena_ok(const lean_arena *arena);

/* Frees everything that came from the arena and empties it. */
void lean_arena_release(lean_arena *arena);

#endif
