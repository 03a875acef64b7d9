#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(pv_mem, live_bytes_are_exact)
{
    uint64_t live = pv_mem_live();
    char *a = pv_malloc(100);
    char *b = pv_calloc(10, 7);
    cr_assert_eq(pv_mem_live(), live + 170);
    a = pv_realloc(a, 40);
    cr_assert_eq(pv_mem_live(), live + 110);
    cr_assert_geq(pv_mem_peak(), live + 170);
    pv_free(a);
    pv_free(b);
    pv_free(NULL);
    cr_assert_eq(pv_mem_live(), live);
}

Test(pv_mem, blocks_are_aligned_zeroed_and_kept)
{
    for (size_t n = 0; n < 70; n++) {
        unsigned char *block = pv_calloc(n, 1);
        cr_assert_not_null(block);
        cr_assert_eq((uintptr_t)block % 16, 0);
        for (size_t i = 0; i < n; i++) {
            cr_assert_eq(block[i], 0);
            block[i] = (unsigned char)i;
        }
        block = pv_realloc(block, n + 500);
        for (size_t i = 0; i < n; i++) {
            cr_assert_eq(block[i], i);
        }
        pv_free(block);
    }
}

Test(pv_mem, sizes_that_overflow_are_refused)
{
    cr_assert_null(pv_malloc(SIZE_MAX));
    cr_assert_null(pv_calloc(SIZE_MAX / 2, 3));
    char *block = pv_malloc(1);
    cr_assert_null(pv_realloc(block, SIZE_MAX));
    pv_free(block);
}

Test(pv_mem, one_allocation_fails_where_a_test_says_so)
{
    pv_mem_fail_after(1);
    char *a = pv_malloc(1);
    char *b = pv_malloc(1);
    char *c = pv_malloc(1);
    cr_assert(a != NULL && b == NULL && c != NULL);
    pv_mem_fail_after(0);
    cr_assert_null(pv_realloc(a, 1000));
    pv_mem_fail_after(-1);
    pv_free(a);
    pv_free(c);
}

Test(pv_mem, grow_doubles_and_keeps)
{
    int *items = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(pv_grow((void **)&items, &capacity, (size_t)i + 1, sizeof *items), 0);
        items[i] = i;
    }
    cr_assert_eq(capacity, 128);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(items[i], i);
    }
    cr_assert_eq(pv_grow((void **)&items, &capacity, SIZE_MAX / 2, sizeof *items), -1);
    pv_mem_fail_after(0);
    cr_assert_eq(pv_grow((void **)&items, &capacity, 129, sizeof *items), -1);
    cr_assert_eq(capacity, 128, "nothing changed");
    pv_free(items);
}

Test(pv_mem, copies_of_text)
{
    char *a = pv_strdup("hole");
    char *b = pv_strndup("hole", 2);
    cr_assert_str_eq(a, "hole");
    cr_assert_str_eq(b, "ho");
    pv_free(a);
    pv_free(b);
}
