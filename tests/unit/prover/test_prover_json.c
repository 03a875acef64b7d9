#include "prover_json.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[] = "/tmp/test_prover_json_XXXXXX";

static pv_status read_text(const char *text, prover_json *out, pv_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "%s/prover.json", folder);
    cr_assert_eq(pv_file_replace(path, text, strlen(text), NULL), PV_OK);
    memset(err, 0, sizeof *err);
    return prover_json_read(out, folder, false, err);
}

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(pv_mem_live(), 0);
}

TestSuite(prover_json, .init = make_folder, .fini = remove_folder);

Test(prover_json, says_how_a_model_is_asked)
{
    prover_json f;
    pv_error err;
    cr_assert_eq(read_text("{\"format\": \"state\", \"after\": \":::\", \"samples\": 24, "
                           "\"temperature\": 0.8, \"top_p\": 0.95, \"max_tokens\": 48}",
                           &f, &err),
                 PV_OK, "%s", err.msg);
    cr_expect_eq(f.kind, PROVER_JSON_STATE);
    cr_expect_str_eq(f.before, "");
    cr_expect_str_eq(f.after, ":::");
    cr_expect_str_eq(f.stop, "\n");
    cr_expect_eq(f.samples, 24);
    cr_expect_eq(f.temperature, 0.8);
    cr_expect_eq(f.max_tokens, 48);
    cr_expect_eq(f.top_k, -1, "it does not say");
    cr_expect_eq(f.min_p, -1);
    cr_expect_eq(f.draw, PROVER_JSON_UNSAID);
    prover_json_release(&f);
    cr_assert_eq(read_text("{\"format\": \"state\", \"draw\": \"independent\"}", &f, &err), PV_OK);
    cr_expect_eq(f.draw, PROVER_JSON_INDEPENDENT);
    prover_json_release(&f);
    cr_assert_eq(read_text("{\"format\": \"state\", \"draw\": \"distinct\"}", &f, &err), PV_OK);
    cr_expect_eq(f.draw, PROVER_JSON_DISTINCT);
    prover_json_release(&f);
}

Test(prover_json, wrong_fields_are_named)
{
    static const char *const wrong[][2] = {
        {"{\"format\": \"ode\"}", "format"},
        {"{\"format\": \"state\", \"stop\": \"\"}", "stop"},
        {"{\"format\": \"state\", \"before\": 3}", "before"},
        {"{\"format\": \"state\", \"samples\": 0}", "samples"},
        {"{\"format\": \"state\", \"samples\": 2.5}", "samples"},
        {"{\"format\": \"state\", \"temperature\": \"hot\"}", "temperature"},
        {"{\"format\": \"state\", \"top_p\": 2}", "top_p"},
        {"{\"format\": \"state\", \"draw\": \"twice\"}", "draw"},
        {"{\"format\": \"state\", \"draw\": 3}", "draw"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        prover_json f;
        pv_error err;
        cr_expect_eq(read_text(wrong[i][0], &f, &err), PV_E_INVALID, "%s", wrong[i][0]);
        cr_expect_not_null(strstr(err.msg, wrong[i][1]), "%s", err.msg);
    }
}
