/* Which Lean is chosen, in folders made for the purpose: nothing real is started. */
#define _XOPEN_SOURCE 700 /* mkdtemp, nftw */
#include "lean_toolchain.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SERVER "share/lean/.lake/build/bin/prover-lean"

static char root[256]; /* of the test at hand; every test is a process of its own */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

/* Makes a file below the root with all folders above it. */
static void put(const char *name, const char *text, mode_t mode)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *c = path + strlen(root) + 1; *c != '\0'; c++) {
        if (*c == '/') {
            *c = '\0';
            mkdir(path, 0755);
            *c = '/';
        }
    }
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static const char *at(const char *name)
{
    static char paths[8][1024];
    static size_t next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void setup(void)
{
    char folder[] = "/var/tmp/prover-test-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    char *real = realpath(folder, NULL);
    snprintf(root, sizeof root, "%s", real);
    free(real);
    put("share/lean/Main.lean", "", 0644);
    put("share/lean/lean-toolchain", "leanprover/lean4:v4.28.0\n", 0644);
    cr_assert_eq(pv_mem_live(), 0);
}

static void teardown(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    cr_expect_eq(pv_mem_live(), 0, "memory is left over");
}

TestSuite(lean_toolchain, .init = setup, .fini = teardown);

static lean_toolchain_search where(void)
{
    return (lean_toolchain_search){
        .home = at("share"), .path = at("usr/bin"), .user_home = at("home")};
}

static lean_toolchain find(lean_toolchain_search search)
{
    lean_toolchain t;
    pv_error err = {0};
    cr_assert_eq(lean_toolchain_find(&t, &search, &err), PV_OK, "%s", err.msg);
    cr_assert_not_null(t.why);
    return t;
}

/* The message of a search that must fail. */
static const char *failure(lean_toolchain_search search, pv_status expected)
{
    static pv_error err;
    lean_toolchain t;
    pv_error_clear(&err);
    cr_assert_eq(lean_toolchain_find(&t, &search, &err), expected, "%s", err.msg);
    cr_expect_null(t.argv);
    return err.msg;
}

static void expect_argv(const lean_toolchain *t, const char *const *expected)
{
    size_t i = 0;
    for (; expected[i] != NULL; i++) {
        cr_assert_not_null(t->argv[i]);
        cr_expect_str_eq(t->argv[i], expected[i]);
    }
    cr_expect_null(t->argv[i]);
}

static const char *env_of(const lean_toolchain *t, const char *name)
{
    for (size_t i = 0; t->env[i] != NULL; i++) {
        if (strncmp(t->env[i], name, strlen(name)) == 0 && t->env[i][strlen(name)] == '=') {
            return t->env[i] + strlen(name) + 1;
        }
    }
    return NULL;
}

Test(lean_toolchain, without_any_says_what_was_looked_for)
{
    const char *text = failure(where(), PV_E_NOTFOUND);
    cr_expect_not_null(strstr(text, "PATH"), "%s", text);
    cr_expect_not_null(strstr(text, ".elan"), "%s", text);
    cr_expect_not_null(strstr(text, "lean/wasm/prepared"), "%s", text);
    cr_expect_not_null(strstr(text, "scripts/quickstart.sh"), "%s", text);
}

Test(lean_toolchain, path_comes_before_npm)
{
    put("usr/bin/lean", "", 0755);
    put(SERVER, "", 0755);
    put("share/lean/wasm/prepared/toolchain.json", "{}", 0644);
    lean_toolchain t = find(where());
    cr_expect_eq(t.kind, LEAN_TOOLCHAIN_PATH);
    expect_argv(&t, (const char *const[]){at(SERVER), NULL});
    cr_expect_str_eq(t.cwd, "/");
    cr_expect_not_null(strstr(env_of(&t, "PATH"), at("usr/bin")));
    lean_toolchain_release(&t);
}

Test(lean_toolchain, elan_s_pinned_toolchain_is_taken_directly)
{
    put("home/.elan/bin/lean", "", 0755);
    put("home/.elan/toolchains/leanprover--lean4---v4.28.0/bin/lean", "", 0755);
    put(SERVER, "", 0755);
    lean_toolchain t = find(where());
    expect_argv(&t, (const char *const[]){at(SERVER), NULL});
    cr_expect_str_eq(env_of(&t, "LEAN_SYSROOT"),
                     at("home/.elan/toolchains/leanprover--lean4---v4.28.0"));
    lean_toolchain_release(&t);
}

Test(lean_toolchain, elan_without_the_pinned_one_decides_by_itself)
{
    put("home/.elan/bin/lean", "", 0755);
    put(SERVER, "", 0755);
    lean_toolchain t = find(where());
    cr_expect_null(env_of(&t, "LEAN_SYSROOT"));
    cr_expect_not_null(strstr(env_of(&t, "PATH"), at("home/.elan/bin")));
    cr_expect_str_eq(t.cwd, at("share/lean"));
    lean_toolchain_release(&t);
}

static void put_npm(void)
{
    put("share/lean/wasm/prepared/node", "", 0755);
    pv_buf json = {0};
    pv_buf_printf(&json,
                  "{\"argv\":[\"%s\",\"lean.js\",\"--run\"],\"env\":{\"LEAN_PATH\":\"/lib\"}}",
                  at("share/lean/wasm/prepared/node"));
    put("share/lean/wasm/prepared/toolchain.json", pv_buf_text(&json), 0644);
    pv_buf_release(&json);
}

/* An official Lean that our server was not built for is of no use, and `why` says so. */
Test(lean_toolchain, official_lean_without_the_server_is_passed_over)
{
    put("usr/bin/lean", "", 0755);
    cr_expect_not_null(strstr(failure(where(), PV_E_NOTFOUND), "lake build"));
    put_npm();
    lean_toolchain t = find(where());
    cr_expect_eq(t.kind, LEAN_TOOLCHAIN_NPM);
    cr_expect_not_null(strstr(t.why, "passed over"));
    lean_toolchain_release(&t);
}

Test(lean_toolchain, npm_is_started_as_described)
{
    put_npm();
    lean_toolchain t = find(where());
    cr_expect_eq(t.kind, LEAN_TOOLCHAIN_NPM);
    cr_expect(t.wide_address_space);
    expect_argv(&t, (const char *const[]){at("share/lean/wasm/prepared/node"), "lean.js", "--run",
                                          at("share/lean/Main.lean"), NULL});
    cr_expect_str_eq(env_of(&t, "LEAN_PATH"), "/lib");
    cr_expect_null(env_of(&t, "HOME"), "the environment is what was described, no more");
    lean_toolchain copy;
    cr_assert_eq(lean_toolchain_copy(&copy, &t, NULL), PV_OK);
    cr_expect_str_eq(copy.argv[0], t.argv[0]);
    cr_expect_str_eq(copy.why, t.why);
    lean_toolchain_release(&copy);
    lean_toolchain_release(&t);
}

Test(lean_toolchain, npm_only_skips_the_others)
{
    put("usr/bin/lean", "", 0755);
    put(SERVER, "", 0755);
    lean_toolchain_search search = where();
    search.npm_only = true;
    failure(search, PV_E_NOTFOUND);
}

Test(lean_toolchain, damaged_description_is_an_error)
{
    const char *const texts[] = {"",
                                 "[]",
                                 "{\"argv\":[]}",
                                 "{\"argv\":[1]}",
                                 "{\"argv\":[\"x\"",
                                 "{\"argv\":[\"x\"],\"env\":{\"A\":1}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put("share/lean/wasm/prepared/toolchain.json", texts[i], 0644);
        cr_expect_not_null(strstr(failure(where(), PV_E_INVALID), "quickstart.sh"), "%s", texts[i]);
    }
    put("share/lean/wasm/prepared/toolchain.json", "{\"argv\":[\"/nowhere/node\"],\"env\":{}}",
        0644);
    cr_expect_not_null(strstr(failure(where(), PV_E_NOTFOUND), "/nowhere/node"));
}

Test(lean_toolchain, project_is_run_by_lake)
{
    put("project/lakefile.toml", "", 0644);
    put("project/lean-toolchain", "leanprover/lean4:v4.28.0", 0644);
    put("usr/bin/lake", "", 0755);
    put(SERVER, "", 0755);
    lean_toolchain_search search = where();
    search.project = at("project");
    lean_toolchain t = find(search);
    cr_expect_eq(t.kind, LEAN_TOOLCHAIN_PROJECT);
    expect_argv(&t, (const char *const[]){at("usr/bin/lake"), "env", at(SERVER), NULL});
    cr_expect_str_eq(t.cwd, at("project"));
    cr_expect_str_eq(t.private_home, at("home"));
    lean_toolchain_release(&t);
}

Test(lean_toolchain, project_needs_the_server_of_its_version_or_the_community_repl)
{
    put("project/lakefile.lean", "", 0644);
    put("project/lean-toolchain", "leanprover/lean4:v4.28.0", 0644);
    put("usr/bin/lake", "", 0755);
    lean_toolchain_search search = where();
    search.project = at("project");
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "lake build"));
    put("project/lean-toolchain", "leanprover/lean4:v4.27.0", 0644);
    put(SERVER, "", 0755);
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "--community-repl"));
    put("repl", "", 0755);
    search.community_repl = at("repl");
    lean_toolchain t = find(search);
    expect_argv(&t, (const char *const[]){at("usr/bin/lake"), "env", at("repl"), NULL});
    lean_toolchain_release(&t);
}

Test(lean_toolchain, project_that_is_none_is_an_error)
{
    put("usr/bin/lake", "", 0755);
    put("usr/bin/lean", "", 0755);
    lean_toolchain_search search = where();
    search.project = at("project");
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "no folder"));
    put("project/readme", "", 0644);
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "lakefile"));
    put("project/lakefile.toml", "", 0644);
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "lean-toolchain"));
    put("project/lean-toolchain", "leanprover/lean4:v4.28.0", 0644);
    put(SERVER, "", 0755);
    search.path = NULL;
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "lake"));
}

Test(lean_toolchain, community_repl_needs_an_official_lean)
{
    put("repl", "", 0755);
    lean_toolchain_search search = where();
    search.community_repl = at("repl");
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "community REPL"));
    put("usr/bin/lean", "", 0755);
    lean_toolchain t = find(search);
    cr_expect_eq(t.dialect, LEAN_DIALECT_COMMUNITY);
    expect_argv(&t, (const char *const[]){at("repl"), NULL});
    lean_toolchain_release(&t);
    search.community_repl = at("no-repl");
    cr_expect_not_null(strstr(failure(search, PV_E_NOTFOUND), "no-repl"));
}

Test(lean_toolchain, command_is_taken_as_it_is)
{
    lean_toolchain t;
    cr_assert_eq(lean_toolchain_command(&t, (const char *const[]){"/bin/echo", "a", NULL},
                                        LEAN_DIALECT_PROVER, NULL),
                 PV_OK);
    cr_expect_eq(t.kind, LEAN_TOOLCHAIN_COMMAND);
    expect_argv(&t, (const char *const[]){"/bin/echo", "a", NULL});
    lean_toolchain_release(&t);
    cr_expect_eq(
        lean_toolchain_command(&t, (const char *const[]){"echo", NULL}, LEAN_DIALECT_PROVER, NULL),
        PV_E_MISUSE);
}

/* Every allocation fails once: an error or the right answer, never a crash or a leak. */
Test(lean_toolchain, survives_want_of_memory)
{
    put("project/lakefile.toml", "", 0644);
    put("project/lean-toolchain", "leanprover/lean4:v4.28.0", 0644);
    put("home/.elan/toolchains/leanprover--lean4---v4.28.0/bin/lake", "", 0755);
    put(SERVER, "", 0755);
    lean_toolchain_search search = where();
    search.project = at("project");
    for (int64_t n = 0; n < 80; n++) {
        lean_toolchain t;
        pv_error err = {0};
        pv_mem_fail_after(n);
        pv_status status = lean_toolchain_find(&t, &search, &err);
        pv_mem_fail_after(-1);
        if (status == PV_OK) {
            lean_toolchain_release(&t);
        }
        cr_assert_eq(pv_mem_live(), 0, "allocation %d", (int)n);
    }
}
