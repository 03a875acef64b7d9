#include "model_place.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char home[] = "/tmp/test_model_place_XXXXXX";

static void run(const char *format)
{
    char command[256];
    snprintf(command, sizeof command, format, home);
    cr_assert_eq(system(command), 0);
}

static void make_home(void)
{
    cr_assert_not_null(mkdtemp(home));
    cr_assert_eq(setenv("PROVER_HOME", home, 1), 0);
    cr_assert_eq(unsetenv("PROVER_MODEL"), 0);
    run("mkdir -p %s/models/prover-small");
}

static void remove_home(void)
{
    run("rm -rf %s");
    cr_assert_eq(pv_mem_live(), 0);
}

TestSuite(model_place, .init = make_home, .fini = remove_home);

static void expect(const char *given, const char *dir, const char *from)
{
    model_place place = {0};
    pv_error err = {0};
    cr_assert_eq(model_place_find(&place, given, &err), PV_OK, "%s", err.msg);
    if (dir == NULL) {
        cr_expect_null(place.dir);
    } else {
        cr_assert_not_null(place.dir);
        cr_expect_str_eq(place.dir, dir);
        cr_expect_str_eq(place.from, from);
    }
    cr_expect_eq(strncmp(place.shipped, home, strlen(home)), 0, "%s", place.shipped);
    model_place_release(&place);
}

Test(model_place, a_folder_without_a_checkpoint_is_no_model)
{
    expect("", NULL, NULL);
}

Test(model_place, the_command_line_goes_before_the_environment_and_that_before_what_is_shipped)
{
    char shipped[128];
    snprintf(shipped, sizeof shipped, "%s/models/prover-small", home);
    run("touch %s/models/prover-small/config.json");
    expect("", shipped, "shipped with prover");
    cr_assert_eq(setenv("PROVER_MODEL", "", 1), 0);
    expect("", shipped, "shipped with prover");
    cr_assert_eq(setenv("PROVER_MODEL", "/some/where", 1), 0);
    expect("", "/some/where", "PROVER_MODEL");
    expect("/else/where", "/else/where", "--model");
}
