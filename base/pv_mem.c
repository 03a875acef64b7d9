#include "pv_mem.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The size sits before the block; the header is as wide as the strictest alignment we promise. */
enum { HEADER = 16 };

static atomic_uint_least64_t live_bytes;
static atomic_uint_least64_t peak_bytes;
static atomic_int_least64_t fail_countdown = -1;

static bool must_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0) {
        return false;
    }
    return atomic_fetch_sub(&fail_countdown, 1) == 0;
}

static void account(uint64_t before, uint64_t after)
{
    uint64_t now = atomic_fetch_add_explicit(&live_bytes, after - before, memory_order_relaxed) +
                   after - before;
    uint64_t peak = atomic_load_explicit(&peak_bytes, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(
                             &peak_bytes, &peak, now, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static uint64_t *header_of(void *block)
{
    return (uint64_t *)(void *)((char *)block - HEADER);
}

static void *finish(uint64_t *header, uint64_t before, size_t size)
{
    *header = size;
    account(before, size);
    return (char *)header + HEADER;
}

void *pv_malloc(size_t size)
{
    if (size > SIZE_MAX - HEADER || must_fail()) {
        return NULL;
    }
    uint64_t *header = malloc(size + HEADER);
    return header == NULL ? NULL : finish(header, 0, size);
}

void *pv_calloc(size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX - HEADER) / size) {
        return NULL;
    }
    if (must_fail()) {
        return NULL;
    }
    uint64_t *header = calloc(1, count * size + HEADER);
    return header == NULL ? NULL : finish(header, 0, count * size);
}

void *pv_realloc(void *block, size_t size)
{
    if (block == NULL) {
        return pv_malloc(size);
    }
    if (size > SIZE_MAX - HEADER || must_fail()) {
        return NULL;
    }
    uint64_t before = *header_of(block);
    uint64_t *header = realloc(header_of(block), size + HEADER);
    return header == NULL ? NULL : finish(header, before, size);
}

void pv_free(void *block)
{
    if (block != NULL) {
        account(*header_of(block), 0);
        free(header_of(block));
    }
}

char *pv_strndup(const char *text, size_t n)
{
    char *copy = pv_malloc(n + 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

char *pv_strdup(const char *text)
{
    return pv_strndup(text, strlen(text));
}

int pv_grow(void **items, size_t *capacity, size_t need, size_t item_size)
{
    if (need <= *capacity) {
        return 0;
    }
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2) {
            return -1;
        }
        wanted *= 2;
    }
    if (wanted > SIZE_MAX / item_size) {
        return -1;
    }
    void *grown = pv_realloc(*items, wanted * item_size);
    if (grown == NULL) {
        return -1;
    }
    *items = grown;
    *capacity = wanted;
    return 0;
}

uint64_t pv_mem_live(void)
{
    return atomic_load(&live_bytes);
}

uint64_t pv_mem_peak(void)
{
    return atomic_load(&peak_bytes);
}

void pv_mem_fail_after(int64_t n)
{
    atomic_store(&fail_countdown, n);
}
