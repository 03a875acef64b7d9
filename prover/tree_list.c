#include "tree_list.h"

#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

enum { ROOM_MIN = 64 << 10 }; /* less is not worth the time that it takes to fit something in */

/* The first searches of an attempt leave room for those after them. */
static size_t room_of(const tree_list *list)
{
    size_t left = TREE_BLOB_MAX - list->bytes;
    return list->count == 0 ? left - left / 4 : left / 2;
}

void tree_list_add(tree_list *list, const search_run *run, const char *title)
{
    pv_buf blob = {0};
    pv_error err = {0};
    size_t room = room_of(list);
    pv_status status = room < ROOM_MIN ? pv_fail(&err, PV_E_LIMIT,
                                                 "its attempt has filled %d bytes", TREE_BLOB_MAX)
                                       : tree_blob_write(run, title, room, &blob, &err);
    if (status == PV_OK && pv_grow((void **)&list->items, &list->capacity, list->count + 1,
                                   sizeof *list->items) != 0) {
        status = pv_fail(&err, PV_E_NOMEM, "out of memory for the search tree");
    }
    if (status != PV_OK) {
        pv_log(PV_LOG_INFO, "%s: %s: the tree is not kept", title, err.msg);
        list->left_out++;
        pv_buf_release(&blob);
        return;
    }
    size_t len = blob.len;
    list->items[list->count++] = (store_blob){pv_buf_detach(&blob), len};
    list->bytes += len;
}

void tree_list_release(tree_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_free(list->items[i].bytes);
    }
    pv_free(list->items);
    memset(list, 0, sizeof *list);
}
