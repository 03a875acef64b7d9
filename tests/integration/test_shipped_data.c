/* The rows that the shipped model was trained on, tried again by Lean: a small sample, or PROVER_DATA_ROWS of them (500 take some
 * minutes). */
#define _DEFAULT_SOURCE
#include "command.h"
#include "folder.h"

#define ROWS TEST_SOURCE_DIR "/models/prover-small/data/rows.jsonl.xz"

enum { SOME = 12 };

/* The rows without their compression. */
static void unpack(const char *to)
{
    pv_buf line = {0};
    pv_buf_printf(&line, "xz -dc '" ROWS "' > '%s'", to);
    command_result r = RUN(NULL, "/bin/sh", "-c", (char *)pv_buf_text(&line));
    cr_assert_eq(r.code, 0, "%s (is xz-utils installed?)", pv_buf_text(&r.err));
    command_release(&r);
    pv_buf_release(&line);
}

Test(shipped_data, a_fresh_lean_says_the_same, .timeout = 3600)
{
    const char *wanted = getenv("PROVER_DATA_ROWS");
    long rows = wanted == NULL ? SOME : strtol(wanted, NULL, 10);
    char count[24], says[40];
    snprintf(count, sizeof count, "%ld", rows);
    snprintf(says, sizeof says, " %s rows: ", count);
    make_folder();
    char *path = in_folder("rows.jsonl");
    unpack(path);
    command_result r = RUN(NULL, PROVER, "verify-data", path, "--sample", count, "--seed", "3");
    const char *out = pv_buf_text(&r.out);
    cr_expect_eq(r.code, 0, "exit code %d: %s %s", r.code, out, pv_buf_text(&r.err));
    cr_expect_not_null(strstr(out, says), "%s", out);
    cr_expect_not_null(strstr(out, " 0 faults"), "%s", out);
    printf("%s in %.0f s\n", out, r.seconds);
    command_release(&r);
    remove_folder();
}
