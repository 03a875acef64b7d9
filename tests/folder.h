/* folder: a temporary folder of a test program, and paths in it. Criterion runs each test in a process of its own. */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

#include "pv_file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[] = "/tmp/prover_test_XXXXXX";

/* The last eight paths stay as they are. */
static inline char *in_folder(const char *name)
{
    static char path[8][128];
    static int next;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static inline void write_file(const char *path, const char *text)
{
    cr_assert_eq(pv_file_replace(path, text, strlen(text), NULL), PV_OK);
}

static inline void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

static inline void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

#endif
