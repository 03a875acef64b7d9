/* Goal displays are untrusted: a statement may carry any name and any notation. */
#include "pv_mem.h"
#include "search_portfolio_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = pv_strndup((const char *)data, size);
    portfolio_list list = {0};
    search_candidate *candidates = NULL;
    if (text != NULL && portfolio_candidates(&list, text, 64, &candidates, NULL) == PV_OK) {
        for (size_t i = 0; i < list.count; i++) {
            if (strstr(candidates[i].tactic, "sorry") != NULL || !(candidates[i].logprob <= 0)) {
                abort();
            }
        }
    }
    pv_free(candidates);
    portfolio_list_release(&list);
    pv_free(text);
    if (pv_mem_live() != 0) {
        abort();
    }
    return 0;
}
