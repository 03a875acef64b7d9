#include "budget.h"
#include "options.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <string.h>

Test(budget, limits_what_is_named)
{
    budget b;
    search_options how = {0};
    cr_assert_eq(budget_parse(&b, "nodes=400,lean=1.5,tokens=2e6", NULL), PV_OK);
    budget_apply(&b, &how);
    cr_expect_eq(how.nodes_max, 400);
    cr_expect_eq(how.tokens_max, 2000000);
    cr_expect_float_eq(how.lean_seconds_max, 1.5, 0);
    cr_expect_float_eq(how.wall_seconds_max, 0, 0);
}

static void refuses(const char *text, const char *says)
{
    budget b;
    pv_error err = {0};
    cr_expect_eq(budget_parse(&b, text, &err), PV_E_INVALID, "%s", text);
    cr_expect_not_null(strstr(err.msg, says), "%s", err.msg);
}

Test(budget, says_what_is_wrong)
{
    refuses("", "may never end");
    refuses("nodes", "\"nodes\"");
    refuses("nodes=", "NAME=NUMBER");
    refuses("nodes=-3", "above 0");
    refuses("wall=1h", "\"wall=1h\"");
    refuses("wall=60,hours=2", "the limits are");
    refuses("nodes=0.5", "whole numbers");
    refuses("nodes=inf", "above 0");
}

typedef struct values {
    options copy;
    char text[128][64];
    size_t count, given, of_process;
    bool failed, decisive;
} values;

/* Puts every value into another set of options. */
static void on_value(void *user, const char *flag, const char *value, bool given, bool of_process)
{
    values *v = user;
    v->of_process += of_process;
    v->decisive = v->decisive || (of_process && strcmp(flag, "--seed") == 0);
    strncpy(v->text[v->count], value, sizeof v->text[0] - 1);
    v->failed = v->failed || options_set(&v->copy, flag, v->text[v->count++], given, NULL) != PV_OK;
    v->given += given;
}

static void same(void *user, const char *flag, const char *value, bool given, bool of_process)
{
    values *v = user;
    (void)given;
    (void)of_process;
    cr_expect_str_eq(value, v->text[v->count++], "%s", flag);
}

Test(options, values_go_through_text_and_back)
{
    options opt;
    char *argv[] = {"prover", "bench",     "f",       "--json", "--alpha",
                    "0.3",    "--seed=11", "--model", "d"};
    cr_assert_eq(options_parse(&opt, FOR_BENCH, 9, argv, 2, NULL), PV_OK);
    values v = {.copy = {.command = FOR_BENCH}};
    options_visit(&opt, on_value, &v);
    cr_expect_not(v.failed);
    cr_expect_eq(v.given, 4);
    cr_expect(v.of_process > 20 && v.of_process < v.count && !v.decisive);
    cr_expect(v.copy.json_given && v.copy.alpha_given && !v.copy.width_given);
    cr_expect(v.copy.json && v.copy.seed == 11 && strcmp(v.copy.model, "d") == 0);
    cr_expect(v.copy.alpha == opt.alpha && v.copy.passes == 1 && !v.copy.resume);
    v.count = 0;
    options_visit(&v.copy, same, &v);
    cr_expect_eq(options_set(&opt, "--nothing", "1", true, NULL), PV_E_INVALID);
    cr_expect_eq(options_set(&opt, "--pass", "0", true, NULL), PV_E_INVALID);
    options_release(&opt);
    cr_expect_eq(pv_mem_live(), 0);
}
