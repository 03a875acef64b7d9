#include "pv_buf.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <string.h>

Test(pv_buf, grows_and_stays_a_string)
{
    pv_buf b = {0};
    cr_assert_str_eq(pv_buf_text(&b), "");
    pv_buf_puts(&b, "one");
    pv_buf_putc(&b, ' ');
    pv_buf_printf(&b, "%d-%s", 2, "three");
    pv_buf_append(&b, NULL, 0);
    cr_assert_str_eq(pv_buf_text(&b), "one 2-three");
    cr_assert_eq(b.len, 11);
    for (int i = 0; i < 5000; i++) {
        pv_buf_putc(&b, 'x');
        cr_assert_eq(b.data[b.len], '\0');
    }
    pv_buf_clear(&b);
    cr_assert_str_eq(pv_buf_text(&b), "");
    pv_buf_release(&b);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(pv_buf, bytes_may_be_anything)
{
    pv_buf b = {0};
    pv_buf_append(&b, "a\0b", 3);
    cr_assert_eq(b.len, 3);
    cr_assert_eq(memcmp(b.data, "a\0b", 4), 0);
    pv_buf_consume(&b, 1);
    cr_assert_eq(memcmp(b.data, "\0b", 3), 0);
    pv_buf_consume(&b, 2);
    cr_assert_eq(b.len, 0);
    pv_buf_release(&b);
}

Test(pv_buf, detach_hands_over)
{
    pv_buf b = {0};
    char *empty = pv_buf_detach(&b);
    cr_assert_str_eq(empty, "");
    pv_buf_puts(&b, "text");
    char *text = pv_buf_detach(&b);
    cr_assert_str_eq(text, "text");
    cr_assert_null(b.data);
    pv_free(empty);
    pv_free(text);
}

Test(pv_buf, remembers_that_memory_was_short)
{
    pv_buf b = {0};
    pv_buf_puts(&b, "kept");
    pv_mem_fail_after(0);
    pv_buf_printf(&b, "%0100d", 1);
    pv_buf_puts(&b, "dropped");
    cr_assert(!pv_buf_ok(&b));
    cr_assert_str_eq(pv_buf_text(&b), "kept");
    cr_assert_null(pv_buf_detach(&b));
    cr_assert_eq(pv_mem_live(), 0);
    cr_assert(!pv_buf_reserve(&b, SIZE_MAX));
    pv_buf_clear(&b);
    cr_assert(pv_buf_ok(&b));
}
