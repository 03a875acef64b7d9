/* The commands that kernels are started with, and that memory which fails leaves nothing behind. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "lean_kernel.h"
#include "pv_buf.h"
#include "pv_mem.h"

#include "folder.h"

#include <criterion/criterion.h>
#include <sys/stat.h>

static const char *const AXIOMS[] = {"propext", "Quot.sound"};

static void make_programs(void)
{
    static const char *const names[] = {"lean", "leanchecker", "lean4export", "nanoda_bin", "k"};
    make_folder();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_file(in_folder(names[i]), "#!/bin/sh\n");
        cr_assert_eq(chmod(in_folder(names[i]), 0755), 0);
    }
}

TestSuite(lean_kernel, .init = make_programs, .fini = remove_folder, .timeout = 60);

static void describe(lean_toolchain *t)
{
    char path[128];
    cr_assert_eq(lean_toolchain_command(t, (const char *const[]){in_folder("lean"), NULL},
                                        LEAN_DIALECT_PROVER, NULL),
                 PV_OK);
    snprintf(path, sizeof path, "PATH=%s:/bin", folder);
    pv_free(t->env[0]);
    t->env[0] = pv_strdup(path);
    t->kind = LEAN_TOOLCHAIN_PATH;
}

static pv_status external(const char *command, lean_toolchain *out, bool *reads_input,
                          pv_error *err)
{
    lean_kernel_tools tools;
    lean_toolchain official;
    describe(&official);
    pv_status status = lean_kernel_find(&tools, &official, folder, true, true, err);
    if (status == PV_OK) {
        status = lean_kernel_external(out, reads_input, &tools, folder, command, folder,
                                      "/x/export", AXIOMS, 2, err);
        lean_kernel_release(&tools);
    }
    lean_toolchain_release(&official);
    return status;
}

Test(lean_kernel, words_are_split_and_the_file_is_put_in)
{
    lean_toolchain t;
    bool reads_input = true;
    cr_assert_eq(external("  k\t--in={}  -v ", &t, &reads_input, NULL), PV_OK);
    cr_expect_str_eq(t.argv[0], in_folder("k"));
    cr_expect_str_eq(t.argv[1], "--in=/x/export");
    cr_expect_str_eq(t.argv[2], "-v");
    cr_expect_null(t.argv[3]);
    cr_expect(!reads_input);
    lean_toolchain_release(&t);
    cr_assert_eq(external("k", &t, &reads_input, NULL), PV_OK);
    cr_expect(reads_input);
    lean_toolchain_release(&t);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(lean_kernel, nanoda_alone_gets_a_configuration)
{
    lean_toolchain t;
    pv_buf text = {0};
    bool reads_input = false;
    cr_assert_eq(external("nanoda_bin", &t, &reads_input, NULL), PV_OK);
    cr_expect(reads_input);
    cr_assert_str_eq(t.argv[1], in_folder("nanoda.json"));
    cr_assert_eq(pv_file_read(t.argv[1], 1000, &text, NULL), PV_OK);
    cr_expect_str_eq(pv_buf_text(&text),
                     "{\"use_stdin\":true,\"permitted_axioms\":[\"propext\",\"Quot.sound\"],"
                     "\"unpermitted_axiom_hard_error\":true,\"nat_extension\":true,"
                     "\"string_extension\":true}\n");
    pv_buf_release(&text);
    lean_toolchain_release(&t);
    cr_assert_eq(external("nanoda_bin own.json", &t, &reads_input, NULL), PV_OK);
    cr_expect_str_eq(t.argv[1], "own.json");
    lean_toolchain_release(&t);
    cr_expect_eq(pv_mem_live(), 0);
}

/* Everything that this file does, with the n-th allocation failing. True: all of it worked. */
static bool all_with_failure(int64_t n, const lean_toolchain *official)
{
    lean_kernel_tools tools;
    lean_toolchain t;
    bool reads_input = false, well = true;
    const char *const names[] = {"t"};
    pv_mem_fail_after(n);
    if (lean_kernel_find(&tools, official, folder, true, true, NULL) != PV_OK) {
        pv_mem_fail_after(-1);
        return false;
    }
    pv_status statuses[4];
    for (int i = 0; i < 4; i++) {
        statuses[i] = i == 0   ? lean_kernel_compile(&t, &tools, folder, NULL)
                      : i == 1 ? lean_kernel_check(&t, &tools, folder, NULL)
                      : i == 2 ? lean_kernel_export(&t, &tools, folder, names, 1, NULL)
                               : lean_kernel_external(&t, &reads_input, &tools, folder,
                                                      "nanoda_bin", folder, "/x", AXIOMS, 2, NULL);
        if (statuses[i] == PV_OK) {
            lean_toolchain_release(&t);
        }
        well = well && statuses[i] == PV_OK;
    }
    pv_mem_fail_after(-1);
    lean_kernel_release(&tools);
    return well;
}

Test(lean_kernel, memory_that_fails_anywhere_leaves_nothing)
{
    lean_toolchain official;
    describe(&official);
    uint64_t live = pv_mem_live();
    int64_t n = 0;
    while (!all_with_failure(n, &official)) {
        cr_assert_eq(pv_mem_live(), live, "after %lld allocations", (long long)n);
        cr_assert_lt(++n, 5000);
    }
    cr_expect_gt(n, 50);
    lean_toolchain_release(&official);
    cr_expect_eq(pv_mem_live(), 0);
}
