#define _DEFAULT_SOURCE
#include "folder.h"
#include "project.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <sys/stat.h>

TestSuite(project, .init = make_folder, .fini = remove_folder);

static project open_of(const char *argument, const char *only)
{
    project p;
    pv_error err = {0};
    cr_assert_eq(project_open(&p, argument, only, &err), PV_OK, "%s", err.msg);
    return p;
}

static void refuse(const char *argument, const char *only, pv_status expected, const char *part)
{
    project p;
    pv_error err = {0};
    cr_assert_eq(project_open(&p, argument, only, &err), expected, "%s", err.msg);
    cr_assert_not_null(strstr(err.msg, part), "%s", err.msg);
    cr_assert_eq(pv_mem_live(), 0);
}

static void make_project(void)
{
    mkdir(in_folder("A"), 0755);
    mkdir(in_folder(".lake"), 0755);
    write_file(in_folder("lakefile.toml"), "name = \"a\"\n");
    write_file(in_folder("lakefile.lean"), "import Lake\n");
    write_file(in_folder("A.lean"), "-- import A.No\nimport A.Two\npublic import all A.One\n");
    write_file(in_folder("A/One.lean"), "module\nprelude\nmeta import Init\n");
    write_file(in_folder("A/Two.lean"),
               "import A.Zero import A.One\ntheorem import_no : True := x\n");
    write_file(in_folder("A/Zero.lean"), "");
    write_file(in_folder("Alone.lean"), "import Init\n");
    write_file(in_folder(".lake/x.lean"), "");
    write_file(in_folder("text.txt"), "");
}

Test(project, files_come_after_those_that_they_import)
{
    static const char *const shown[] = {"A/One.lean", "A/Zero.lean", "A/Two.lean", "A.lean",
                                        "Alone.lean"};
    make_project();
    project p = open_of(folder, NULL);
    cr_assert(p.lake);
    cr_assert_eq(p.count, 5);
    for (size_t i = 0; i < 5; i++) {
        cr_expect_str_eq(p.files[i].shown, shown[i]);
        cr_expect(p.files[i].chosen);
        cr_expect_eq(p.files[i].needed, i < 3);
    }
    cr_assert_str_eq(p.files[2].module, "A.Two");
    cr_assert_str_eq(p.files[3].imports[1], "A.One");
    cr_assert_null(p.files[3].imports[2]);
    project_release(&p);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(project, one_file_of_a_project_needs_what_it_imports)
{
    make_project();
    project p = open_of(in_folder("A/Two.lean"), NULL);
    size_t chosen = 0, needed = 0;
    for (size_t i = 0; i < p.count; i++) {
        chosen += p.files[i].chosen;
        needed += p.files[i].needed;
    }
    cr_assert_eq(chosen, 1);
    cr_assert_eq(needed, 2);
    project_release(&p);
    p = open_of(folder, "A/One.lean");
    cr_assert(p.files[0].chosen);
    cr_assert_not(p.files[1].chosen);
    project_release(&p);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(project, source_folder_of_the_lakefile_gives_the_names)
{
    mkdir(in_folder("src"), 0755);
    write_file(in_folder("lakefile.toml"), "name = \"a\"\nsrcDir = \"src/\"\n");
    write_file(in_folder("src/B.lean"), "");
    write_file(in_folder("other.lean"), "");
    project p = open_of(folder, NULL);
    cr_assert_str_eq(p.files[0].shown, "other.lean");
    cr_assert_null(p.files[0].module);
    cr_assert_str_eq(p.files[1].module, "B");
    project_release(&p);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(project, file_without_a_project_stands_alone)
{
    write_file(in_folder("x.lean"), "import A\n");
    project p = open_of(in_folder("x.lean"), NULL);
    cr_assert_null(p.root);
    cr_assert_eq(p.count, 1);
    cr_assert(p.files[0].chosen);
    project_release(&p);
    refuse(in_folder("x.lean"), "y.lean", PV_E_INVALID, "is no folder");
}

Test(project, what_is_wrong_is_said)
{
    refuse(in_folder("none"), NULL, PV_E_NOTFOUND, "none");
    refuse(folder, NULL, PV_E_INVALID, "no Lean file");
    write_file(in_folder("A.lean"), "import B\n");
    write_file(in_folder("B.lean"), "import A\n");
    refuse(folder, NULL, PV_E_INVALID, "circle");
    write_file(in_folder("B.lean"), "\n");
    refuse(folder, "C.lean", PV_E_NOTFOUND, "no such file");
}
