#include "options.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <string.h>

static pv_status parse(options *opt, pv_error *err, int argc, char **argv)
{
    return options_parse(opt, FOR_PROVE, argc, argv, 2, err);
}

#define PARSE(opt, err, ...)                                                                       \
    parse(opt, err, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),                       \
          (char *[]){__VA_ARGS__})

Test(options, defaults_come_from_the_table)
{
    options opt;
    cr_assert_eq(PARSE(&opt, NULL, "prover", "prove", "theorem t : True"), PV_OK);
    cr_assert_eq(opt.argument_count, 1);
    cr_assert_float_eq(opt.timeout, 60, 0);
    cr_assert_eq(opt.nodes, 100000);
    cr_assert_eq(opt.window, 4);
    cr_assert_not(opt.json);
    cr_assert_str_eq(opt.policy, "");
    options_release(&opt);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(options, values_come_after_a_blank_or_an_equals_sign)
{
    options opt;
    cr_assert_eq(
        PARSE(&opt, NULL, "prover", "prove", "--nodes", "7", "--timeout=2.5", "--json", "x"),
        PV_OK);
    cr_assert_eq(opt.nodes, 7);
    cr_assert_float_eq(opt.timeout, 2.5, 0);
    cr_assert(opt.json);
    cr_assert(opt.nodes_given && opt.timeout_given && opt.json_given);
    cr_assert_not(opt.width_given, "it has its default");
    options_release(&opt);
}

Test(options, two_dashes_end_the_options)
{
    options opt;
    cr_assert_eq(PARSE(&opt, NULL, "prover", "prove", "--", "--json"), PV_OK);
    cr_assert_not(opt.json);
    cr_assert_str_eq(opt.arguments[0], "--json");
    options_release(&opt);
}

Test(options, unknown_option_names_the_nearest)
{
    options opt;
    pv_error err = {0};
    cr_assert_eq(PARSE(&opt, &err, "prover", "prove", "--worker=3"), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, "did you mean --workers"), "%s", err.msg);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(options, option_of_another_command_is_unknown)
{
    options opt;
    pv_error err = {0};
    cr_assert_eq(PARSE(&opt, &err, "prover", "prove", "--against", "x"), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, "unknown option --against"));
}

Test(options, numbers_out_of_bounds_or_malformed_are_refused)
{
    char *bad[][2] = {{"--nodes", "0"},   {"--nodes", "-1"},  {"--nodes", "1.5"},
                      {"--nodes", ""},    {"--alpha", "1.1"}, {"--timeout", "nan"},
                      {"--seed", "x"},    {"--seed", "1e3"},  {"--width", "99999999999999999999"},
                      {"--timeout", "5s"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options opt;
        pv_error err = {0};
        cr_assert_eq(PARSE(&opt, &err, "prover", "prove", bad[i][0], bad[i][1]), PV_E_INVALID,
                     "%s %s", bad[i][0], bad[i][1]);
        cr_assert_not_null(strstr(err.msg, bad[i][0]));
    }
}

Test(options, missing_argument_is_named)
{
    options opt;
    pv_error err = {0};
    cr_assert_eq(PARSE(&opt, &err, "prover", "prove", "--timeout"), PV_E_INVALID);
    cr_assert_not_null(strstr(err.msg, "SECONDS"));
}

Test(options, help_lists_every_option_of_the_command_once)
{
    pv_buf text = {0};
    options_help(FOR_VERIFY, &text);
    cr_assert_not_null(strstr(pv_buf_text(&text), "--against STATEMENT.lean"));
    cr_assert_null(strstr(pv_buf_text(&text), "--nodes"));
    pv_buf_release(&text);
}

Test(options, every_allocation_may_fail)
{
    pv_mem_fail_after(0);
    options opt;
    pv_error err = {0};
    cr_assert_eq(PARSE(&opt, &err, "prover", "prove", "x"), PV_E_NOMEM);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(options, a_list_is_given_several_times)
{
    options opt;
    char *argv[] = {"prover", "generate", "--library", "Init.Core", "--library=Std.A",
                    "-o",     "x.jsonl",  "--nodes",   "7"};
    cr_assert_eq(options_parse(&opt, FOR_GENERATE, sizeof argv / sizeof *argv, argv, 2, NULL),
                 PV_OK);
    cr_assert_eq(opt.library.count, 2);
    cr_assert_str_eq(opt.library.items[1], "Std.A");
    cr_assert_str_eq(opt.output, "x.jsonl");
    cr_assert_eq(opt.generate_nodes, 7, "the same flag of another command is another field");
    cr_assert_eq(opt.nodes, 100000);
    options_release(&opt);
}
