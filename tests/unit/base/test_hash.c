#include "pv_hash.h"

#include <criterion/criterion.h>
#include <string.h>

/* The first outputs of SplitMix64 from state 0: the mixer is its finaliser after one step of the
 * state. */
Test(pv_hash, the_mixer_is_that_of_splitmix64)
{
    cr_assert_eq(pv_mix64(0), 0xe220a8397b1dcdafu);
    cr_assert_eq(pv_mix64(0x9e3779b97f4a7c15u), 0x6e789e6aa1b965f4u);
    cr_assert_eq(pv_mix64(2 * 0x9e3779b97f4a7c15u), 0x06c45d188009454fu);
}

Test(pv_hash, length_seed_and_every_byte_count)
{
    char text[40] = {0};
    uint64_t seen[200];
    size_t n = 0;
    for (size_t length = 0; length <= 40; length++) {
        seen[n++] = pv_hash_bytes(text, length, 0);
    }
    for (size_t i = 0; i < 40; i++) {
        text[i] = 1;
        seen[n++] = pv_hash_bytes(text, 40, 0);
        text[i] = 0;
    }
    seen[n++] = pv_hash_bytes(text, 40, 1);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert_neq(seen[i], seen[k]);
        }
    }
    cr_assert_eq(pv_hash_bytes("abcdefghij", 10, 5), pv_hash_bytes("abcdefghij", 10, 5));
}

Test(pv_hash, keys_go_through_text)
{
    pv_key key = pv_key_of("goal", 4);
    char text[33];
    pv_key_format(key, text);
    cr_assert_eq(strlen(text), 32);
    pv_key back;
    cr_assert(pv_key_parse(text, &back));
    cr_assert(pv_key_equal(key, back));
    cr_assert(pv_key_parse("0123456789ABCDEFfedcba9876543210 and more", &back));
    cr_assert_eq(back.hi, 0x0123456789abcdefu);
    cr_assert_eq(back.lo, 0xfedcba9876543210u);
    cr_assert(!pv_key_parse("", &back));
    cr_assert(!pv_key_parse("0123", &back));
    cr_assert(!pv_key_parse("0123456789abcdef0123456789abcdeg", &back));
}
