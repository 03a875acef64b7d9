/* Configurations as comparator has them: what is read, and what is refused by name. */
#include "verify_config.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *wrong_with(const char *text)
{
    static pv_error err;
    verify_config config;
    memset(&err, 0, sizeof err);
    if (verify_config_parse(&config, "p", text, strlen(text), &err) == PV_OK) {
        verify_config_release(&config);
        return "";
    }
    return err.msg;
}

#define WITH(more)                                                                                 \
    "{\"challenge_module\":\"A.Challenge\",\"solution_module\":\"Solution\","                      \
    "\"permitted_axioms\":[\"propext\"]" more "}"

Test(verify_config, all_fields_are_read)
{
    verify_config c;
    const char *text = WITH(",\"theorem_names\":[\"t\",\"u\"],\"definition_names\":[\"d\"],"
                            "\"enable_nanoda\":true,\"external_kernels\":[\"k\"]");
    cr_assert_eq(verify_config_parse(&c, "p", text, strlen(text), NULL), PV_OK);
    cr_expect_str_eq(c.challenge, "p/A/Challenge.lean");
    cr_expect_str_eq(c.solution, "p/Solution.lean");
    cr_assert_eq(c.name_count, 3);
    cr_expect_eq(c.theorem_count, 2);
    cr_expect_str_eq(c.names[2], "d");
    cr_assert_eq(c.axiom_count, 1);
    cr_expect_str_eq(c.axioms[0], "propext");
    cr_assert_eq(c.kernel_count, 2);
    cr_expect_str_eq(c.kernels[0], "nanoda_bin");
    cr_expect_str_eq(c.kernels[1], "k");
    verify_config_release(&c);
}

Test(verify_config, what_is_wrong_is_named)
{
    const char *const texts[][2] = {
        {"", "no JSON object"},
        {"[]", "no JSON object"},
        {"{\"a\":1,\"a\":1}", "no JSON object"},
        {WITH(",\"theorem_names\":[\"t\"],\"theorem\":1"), "`theorem`"},
        {WITH(""), "theorem_names"},
        {WITH(",\"theorem_names\":\"t\""), "theorem_names"},
        {WITH(",\"theorem_names\":[1]"), "item 1"},
        {WITH(",\"theorem_names\":[\"t\"],\"enable_nanoda\":1"), "enable_nanoda"},
        {"{\"challenge_module\":\"..\"}", "challenge_module"},
        {"{\"challenge_module\":\"/etc/passwd\"}", "challenge_module"},
        {"{\"challenge_module\":\"A\"}", "solution_module"},
        {"{\"challenge_module\":\"A\",\"solution_module\":\"B\",\"theorem_names\":[\"t\"]}",
         "permitted_axioms"},
        {"{\"challenge_module\":\"A\",\"solution_module\":\"B\",\"theorem_names\":[\"t\"],"
         "\"permitted_axioms\":[\"Lean.ofReduceBool\"]}",
         "Lean.ofReduceBool"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *why = wrong_with(texts[i][0]);
        cr_expect(strstr(why, texts[i][1]) != NULL, "%s: %s", texts[i][0], why);
    }
}
