/* Any bytes as a benchmark's file: an error with a place, or problems with names of their own and a hole in each. */
#include "problem_file.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const problem_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const problem *p = &list->items[i];
        if (strstr(p->text, "sorry") == NULL || strlen(p->text_hash) != 64 ||
            (i > 0 && strcmp(p->name, list->items[i - 1].name) == 0)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    for (int lean = 0; lean < 2; lean++) {
        problem_list list = {0};
        pv_error err = {0};
        pv_status status = lean == 0 ? problem_file_rows(&list, "f", "import A", text, size, &err)
                                     : problem_file_lean(&list, "f", "f", "", "", text, size, &err);
        if (status != PV_OK && err.msg[0] == '\0') {
            abort();
        }
        check(&list);
        problem_choice choice = {"valid", "a*", 0, 2};
        if (problem_list_choose(&list, &choice, NULL, NULL) == PV_OK) {
            check(&list);
        }
        problem_list_release(&list);
    }
    if (pv_mem_live() != 0) {
        abort();
    }
    return 0;
}
