/* Parts that become the children of an edge: the node of each, and what brings its names there. */
#include "pv_mem.h"
#include "search_run.h"

#include <string.h>

bool search_run_reserve_children(search_run *run, size_t count)
{
    if (pv_grow((void **)&run->children, &run->children_capacity, count, sizeof *run->children) !=
            0 ||
        pv_grow((void **)&run->renames, &run->renames_capacity, count, sizeof *run->renames) != 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        run->renames[i] = NULL;
    }
    return true;
}

bool search_run_intern(search_run *run, const search_part *part, size_t at, bool *is_new)
{
    search_part named = *part;
    pv_buf_clear(&run->scratch);
    if (search_graph_arrive(&run->graph, part, &named.key, &run->scratch) ==
        SEARCH_ARRIVAL_RENAMED) {
        run->renames[at] = pv_strdup(pv_buf_text(&run->scratch));
        if (run->renames[at] == NULL) {
            return false;
        }
    }
    return search_graph_intern(&run->graph, &named, &run->children[at], is_new);
}

const char *const *search_run_renames(const search_run *run, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (run->renames[i] != NULL) {
            return (const char *const *)run->renames;
        }
    }
    return NULL;
}

void search_run_forget_renames(search_run *run, size_t count)
{
    for (size_t i = 0; i < count && i < run->renames_capacity; i++) {
        pv_free(run->renames[i]);
        run->renames[i] = NULL;
    }
}
