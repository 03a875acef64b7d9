/* Any bytes as a search tree from a store: refused, or right in every number; as JSON and as a compressed blob. */
#include "pv_mem.h"
#include "tree_blob.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void in_bounds(const json_t *number, long long low, size_t count)
{
    double value = json_number_value(number);
    if (!json_is_number(number) || value < (double)low || value >= (double)count) {
        abort();
    }
}

/* What tree_blob_check() accepted is read again by another reader. */
static void check_steps(const json_t *tree)
{
    size_t texts = json_array_size(json_object_get(tree, "texts")),
           states = json_array_size(json_object_get(tree, "states")), i, k;
    json_t *step, *part;
    json_array_foreach(json_object_get(tree, "steps"), i, step)
    {
        json_array_foreach(step, k, part)
        {
            if (k == 0) {
                in_bounds(part, 0, states);
            } else if (k == 3 || k == 4) {
                in_bounds(part, k == 3 ? 0 : -1, texts);
            } else if (k > 4) {
                in_bounds(part, -1, states);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tree_info info;
    pv_error err = {0};
    pv_buf json = {0};
    if (tree_blob_check((const char *)data, size, &info, &err) == PV_OK) {
        json_t *tree = json_loadb((const char *)data, size, 0, NULL);
        if (tree != NULL) { /* jansson is stricter about large numbers and NULs in keys */
            check_steps(tree);
        }
        json_decref(tree);
    } else if (err.msg[0] == '\0') {
        abort();
    }
    pv_error_clear(&err);
    if (tree_blob_read(data, size, &info, &json, &err) != PV_OK &&
        (err.msg[0] == '\0' || json.len != 0)) {
        abort();
    }
    pv_buf_release(&json);
    if (pv_mem_live() != 0) {
        abort();
    }
    return 0;
}
