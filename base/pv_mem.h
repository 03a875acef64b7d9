/* pv_mem: the allocator of the whole program.
 *
 * Every block carries its size, so the bytes alive are known exactly: tests assert that they return to their start,
 * and budgets can be kept. Tests can make the n-th allocation fail (pv_mem_fail_after), to walk every error path.
 * Threads: all functions may be called from any thread. */
#ifndef PV_MEM_H
#define PV_MEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* malloc/calloc/realloc/free with accounting. NULL when memory is short (or a test says so); size 0 gives a
 * block that must be freed. Blocks are aligned to 16 bytes. pv_free(NULL) does nothing. */
void *pv_malloc(size_t size);
void *pv_calloc(size_t count, size_t size);
void *pv_realloc(void *block, size_t size);
void pv_free(void *block);

/* A copy of the string, or of its first n bytes plus a NUL. The caller frees it with pv_free(). */
char *pv_strdup(const char *text);
char *pv_strndup(const char *text, size_t n);

/* Grows *items (elements of `item_size` bytes) so that at least `need` fit; *capacity is in elements. Doubles.
 * Returns 0, or -1 with everything unchanged when memory is short or the size would overflow. */
int pv_grow(void **items, size_t *capacity, size_t need, size_t item_size);

/* Bytes asked for and not freed yet, and the largest value that ever had. */
uint64_t pv_mem_live(void);
uint64_t pv_mem_peak(void);

/* For tests: after `n` more successful allocations one allocation fails, then all succeed again. n < 0: never. */
void pv_mem_fail_after(int64_t n);

#ifdef __cplusplus
}
#endif
#endif
