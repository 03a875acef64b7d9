/* Any bytes as Lean's displays of two goals, which are compared by the names in them, and as an error's place in a text that is shown. */
#include "pv_mem.h"
#include "repair_prompt.h"
#include "search_rename.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static void check_names(const char *a, const char *b)
{
    pv_buf out = {0};
    search_names names = search_rename(a, b, &out);
    check(strcmp(a, b) != 0 || names == SEARCH_NAMES_SAME);
    if (names == SEARCH_NAMES_RENAMED) {
        const char *revert = strstr(pv_buf_text(&out), "revert ");
        check(revert != NULL && strstr(revert, "\nintro ") != NULL);
        check(revert == out.data || strncmp(out.data, "rename_i ", 9) == 0);
    } else {
        check(out.len == 0);
    }
    pv_buf_release(&out);
}

static void check_turn(const char *text, char *message, const uint8_t *places)
{
    pv_buf out = {0};
    repair_error e = {places[0], places[0] + (size_t)places[1], message};
    repair_prompt_write(&out, 1, text, strlen(text), &e, 1, 1);
    check(pv_buf_ok(&out) && strstr(out.data, "<error>") != NULL &&
          strstr(out.data, "</error>") != NULL && out.len < strlen(text) + 3000);
    pv_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const uint8_t *rest = data + 2, *split = memchr(rest, 0xff, size - 2);
    size_t n = split == NULL ? size - 2 : (size_t)(split - rest);
    char *a = pv_strndup((const char *)rest, n);
    char *b = split == NULL ? pv_strdup("a b : p\n⊢ q")
                            : pv_strndup((const char *)split + 1, size - 2 - n - 1);
    check(a != NULL && b != NULL);
    check_names(a, b);
    check_names(b, a);
    check_names(a, a);
    check_turn(a, b, data);
    pv_free(a);
    pv_free(b);
    check(pv_mem_live() == 0);
    return 0;
}
