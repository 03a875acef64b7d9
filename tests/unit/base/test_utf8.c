#include "pv_utf8.h"

#include <criterion/criterion.h>
#include <string.h>

static void check(const char *bytes, size_t n, size_t valid)
{
    cr_expect_eq(pv_utf8_valid(bytes, n), valid, "of %zu bytes that begin with %02x", n,
                 (unsigned char)bytes[0]);
}

#define CHECK(literal, valid) check(literal, sizeof(literal) - 1, valid)

Test(pv_utf8, valid_text_is_valid_to_its_end)
{
    CHECK("", 0);
    CHECK("plain", 5);
    CHECK("∀ x ∈ ℝ, 𝔸", 19);
    CHECK("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 19);
    CHECK("a\0b", 3);
}

Test(pv_utf8, what_rfc_3629_forbids_is_refused)
{
    CHECK("ab\x80", 2);           /* a continuation alone       */
    CHECK("\xc0\xaf", 0);         /* overlong                   */
    CHECK("\xe0\x9f\xbf", 0);     /* overlong                   */
    CHECK("\xf0\x8f\xbf\xbf", 0); /* overlong                   */
    CHECK("\xed\xa0\x80", 0);     /* a surrogate                */
    CHECK("\xf4\x90\x80\x80", 0); /* above U+10FFFF             */
    CHECK("\xf8\x88\x80\x80", 0); /* no such lead               */
    CHECK("x\xe2\x88", 1);        /* cut                        */
    CHECK("x\xe2\x28\xa1", 1);    /* not a continuation         */
}

Test(pv_utf8, decodes_code_points)
{
    uint32_t c = 0;
    cr_assert_eq(pv_utf8_decode("∀", 3, &c), 3);
    cr_assert_eq(c, 0x2200);
    cr_assert_eq(pv_utf8_decode("𝔸", 4, &c), 4);
    cr_assert_eq(c, 0x1d538);
    cr_assert_eq(pv_utf8_decode("", 0, &c), 0);
}

Test(pv_utf8, positions_count_code_points)
{
    const char *text = "a∀b\nℝx";
    size_t line;
    size_t column;
    pv_utf8_position(text, 0, &line, &column);
    cr_assert(line == 1 && column == 0);
    pv_utf8_position(text, 4, &line, &column);
    cr_assert(line == 1 && column == 2);
    pv_utf8_position(text, 6, &line, &column);
    cr_assert(line == 2 && column == 0);
    pv_utf8_position(text, strlen(text), &line, &column);
    cr_assert(line == 2 && column == 2);
}

Test(pv_utf8, clipping_does_not_cut_a_code_point)
{
    const char *text = "a∀b";
    static const size_t expected[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t limit = 0; limit < 7; limit++) {
        cr_assert_eq(pv_utf8_clip(text, 5, limit), expected[limit]);
    }
}
