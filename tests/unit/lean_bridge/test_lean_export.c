/* What may be given to Lean as an export, before Lean reads it. */
#include "lean_export.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *wrong_with(const char *text)
{
    static pv_error err;
    memset(&err, 0, sizeof err);
    return lean_export_look(text, strlen(text), &err) == PV_OK ? "" : err.msg;
}

Test(lean_export, lists_numbers_and_strings_pass)
{
    cr_expect_str_eq(wrong_with("{\"format\":1,\"names\":[[0,\"a\"],[1,12]],\"exprs\":[]}"), "");
    cr_expect_str_eq(wrong_with("{\"a\":\"]]]1e9 \\\" \\\\\"}"), "", "a string says what it likes");
}

Test(lean_export, what_lean_would_choke_on_does_not)
{
    const char *const texts[][2] = {
        {"", "no object"},
        {"[1]", "no object"},
        {"{\"a\":1e999999999}", "no part"},
        {"{\"a\":1.5}", "no part"},
        {"{\"a\":-1}", "no part"},
        {"{\"a\":true}", "no part"},
        {"{\"a\": 1}", "no part"},
        {"{\"a\":123456789012345678901}", "too long"},
        {"{\"a\":[[[[[[[[1]]]]]]]]}", "too deep"},
        {"{\"a\":1}}", "closed twice"},
        {"{\"a\":[1", "cut off"},
        {"{\"a", "cut off"},
        {"{\"a\\", "cut off"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *why = wrong_with(texts[i][0]);
        cr_expect(strstr(why, texts[i][1]) != NULL, "%s: %s", texts[i][0], why);
    }
}

Test(lean_export, nul_is_no_part_of_one)
{
    pv_error err = {0};
    cr_expect_eq(lean_export_look("{\0}", 3, &err), PV_E_INVALID);
}
