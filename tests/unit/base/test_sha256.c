#include "pv_sha256.h"

#include <criterion/criterion.h>
#include <string.h>

static void is(const char *text, const char *expected)
{
    char hex[PV_SHA256_TEXT];
    pv_sha256_of(text, strlen(text), hex);
    cr_expect_str_eq(hex, expected, "%s", text);
}

/* The examples of FIPS 180-2, appendix B, and the empty text. */
Test(sha256, gives_the_values_of_the_standard)
{
    is("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    is("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    char hex[PV_SHA256_TEXT];
    pv_sha256 sha;
    pv_sha256_init(&sha);
    for (int i = 0; i < 1000000; i++) {
        pv_sha256_add(&sha, "a", 1);
    }
    pv_sha256_end(&sha, hex);
    cr_expect_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Every length around the block's end, in one piece and in two. */
Test(sha256, pieces_do_not_matter)
{
    char text[200], whole[PV_SHA256_TEXT], parts[PV_SHA256_TEXT];
    for (size_t n = 0; n < sizeof text; n++) {
        text[n] = (char)(n * 7);
        pv_sha256_of(text, n, whole);
        for (size_t cut = 0; cut <= n; cut += 13) {
            pv_sha256 sha;
            pv_sha256_init(&sha);
            pv_sha256_add(&sha, text, cut);
            pv_sha256_add(&sha, text + cut, n - cut);
            pv_sha256_end(&sha, parts);
            cr_expect_str_eq(parts, whole, "%zu of %zu", cut, n);
        }
    }
}
