#include "search_frontier.h"

#include "pv_hash.h"
#include "pv_mem.h"

#include <string.h>

void search_frontier_release(search_frontier *frontier)
{
    pv_free(frontier->heap);
    pv_free(frontier->place);
    memset(frontier, 0, sizeof *frontier);
}

bool search_frontier_reserve(search_frontier *frontier, size_t ids)
{
    if (ids <= frontier->ids) {
        return true;
    }
    if (pv_grow((void **)&frontier->heap, &frontier->capacity, ids, sizeof *frontier->heap) != 0 ||
        pv_grow((void **)&frontier->place, &frontier->place_capacity, ids,
                sizeof *frontier->place) != 0) {
        return false;
    }
    memset(frontier->place + frontier->ids, 0, (ids - frontier->ids) * sizeof *frontier->place);
    frontier->ids = ids;
    return true;
}

bool search_frontier_has(const search_frontier *frontier, uint32_t id)
{
    return id < frontier->ids && frontier->place[id] != 0;
}

static bool before(const search_entry *a, const search_entry *b)
{
    if (a->score > b->score || a->score < b->score) {
        return a->score > b->score;
    }
    return a->tie != b->tie ? a->tie < b->tie : a->id < b->id;
}

static void put_at(search_frontier *frontier, size_t at, search_entry entry)
{
    frontier->heap[at] = entry;
    frontier->place[entry.id] = (uint32_t)at + 1;
}

static void sift_up(search_frontier *frontier, size_t at, search_entry entry)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(&entry, &frontier->heap[parent])) {
            break;
        }
        put_at(frontier, at, frontier->heap[parent]);
        at = parent;
    }
    put_at(frontier, at, entry);
}

static void sift_down(search_frontier *frontier, size_t at, search_entry entry)
{
    for (size_t child; (child = 2 * at + 1) < frontier->len; at = child) {
        if (child + 1 < frontier->len &&
            before(&frontier->heap[child + 1], &frontier->heap[child])) {
            child++;
        }
        if (!before(&frontier->heap[child], &entry)) {
            break;
        }
        put_at(frontier, at, frontier->heap[child]);
    }
    put_at(frontier, at, entry);
}

/* Puts the entry where it belongs when the place `at` is free for it. */
static void settle_at(search_frontier *frontier, size_t at, search_entry entry)
{
    if (at > 0 && before(&entry, &frontier->heap[(at - 1) / 2])) {
        sift_up(frontier, at, entry);
    } else {
        sift_down(frontier, at, entry);
    }
}

void search_frontier_put(search_frontier *frontier, uint32_t id, double score)
{
    search_entry entry = {score, pv_mix64(frontier->seed ^ pv_mix64(id)), id};
    if (frontier->place[id] == 0) {
        sift_up(frontier, frontier->len++, entry);
    } else {
        settle_at(frontier, frontier->place[id] - 1, entry);
    }
}

void search_frontier_remove(search_frontier *frontier, uint32_t id)
{
    if (!search_frontier_has(frontier, id)) {
        return;
    }
    size_t at = frontier->place[id] - 1;
    frontier->place[id] = 0;
    search_entry last = frontier->heap[--frontier->len];
    if (at < frontier->len) {
        settle_at(frontier, at, last);
    }
}

const search_entry *search_frontier_top(const search_frontier *frontier)
{
    return frontier->len == 0 ? NULL : &frontier->heap[0];
}
