#include "search_outcome.h"

#include "pv_utf8.h"

#include <string.h>

enum { MESSAGE_MAX = 400 };

static size_t goals_of(const search_outcome *outcome)
{
    size_t total = 0;
    for (size_t i = 0; i < outcome->part_count; i++) {
        total += outcome->parts[i].goal_count;
    }
    return total;
}

static bool order_fits(const search_outcome *outcome)
{
    for (size_t p = 0; p < outcome->part_count; p++) {
        size_t seen = 0;
        for (size_t i = 0; i < outcome->goal_count; i++) {
            seen += outcome->order[i] == p;
        }
        if (seen != outcome->parts[p].goal_count) {
            return false;
        }
    }
    return goals_of(outcome) == outcome->goal_count;
}

static const char *parts_flaw(const search_outcome *outcome)
{
    size_t coupled = 0;
    if (outcome->part_count == 0 || outcome->parts == NULL) {
        return "an open outcome without parts";
    }
    for (size_t i = 0; i < outcome->part_count; i++) {
        if (outcome->parts[i].goal_count == 0 || outcome->parts[i].goals == NULL) {
            return "a part without goals";
        }
        coupled += outcome->parts[i].goal_count > 1;
    }
    /* A script can bring single goals to the front one by one, but not two lists of goals. */
    return coupled > 1 ? "more than one part of several goals" : NULL;
}

const char *search_outcome_flaw(const search_outcome *outcome)
{
    switch (outcome->kind) {
    case SEARCH_CLOSED:
    case SEARCH_FAILED:
    case SEARCH_TIMED_OUT:
    case SEARCH_LOST:
        return outcome->part_count == 0 ? NULL : "parts in an outcome that is not open";
    case SEARCH_OPEN: {
        const char *flaw = parts_flaw(outcome);
        if (flaw == NULL && outcome->goal_count > 0 &&
            (outcome->order == NULL || !order_fits(outcome))) {
            flaw = "an order that does not fit the parts";
        }
        return flaw;
    }
    }
    return "an unknown kind of outcome";
}

static bool copy_part(search_arena *arena, search_part *out, const search_part *in)
{
    const char **goals = search_arena_alloc(arena, in->goal_count * sizeof *goals);
    if (goals == NULL) {
        return false;
    }
    for (size_t i = 0; i < in->goal_count; i++) {
        goals[i] = search_arena_text(arena, in->goals[i], strlen(in->goals[i]));
        if (goals[i] == NULL) {
            return false;
        }
    }
    *out = *in;
    out->goals = goals;
    return true;
}

static bool copy_parts(search_arena *arena, search_outcome *out, const search_outcome *in)
{
    search_part *parts = search_arena_zeroed(arena, in->part_count, sizeof *parts);
    if (parts == NULL) {
        return false;
    }
    for (size_t i = 0; i < in->part_count; i++) {
        if (!copy_part(arena, &parts[i], &in->parts[i])) {
            return false;
        }
    }
    out->parts = parts;
    return true;
}

static bool copy_order(search_arena *arena, search_outcome *out, const search_outcome *in)
{
    uint32_t *order = search_arena_alloc(arena, in->goal_count * sizeof *order);
    if (order == NULL) {
        return false;
    }
    memcpy(order, in->order, in->goal_count * sizeof *order);
    out->order = order;
    return true;
}

bool search_outcome_copy(search_arena *arena, search_outcome *out, const search_outcome *in)
{
    search_outcome copy = *in;
    copy.parts = NULL;
    copy.order = NULL;
    copy.part_count = in->kind == SEARCH_OPEN ? in->part_count : 0;
    copy.goal_count = in->kind == SEARCH_OPEN ? in->goal_count : 0;
    if (copy.part_count > 0 && !copy_parts(arena, &copy, in)) {
        return false;
    }
    if (copy.goal_count > 0 && !copy_order(arena, &copy, in)) {
        return false;
    }
    if (in->message != NULL) {
        size_t n = strlen(in->message);
        copy.message =
            search_arena_text(arena, in->message, pv_utf8_clip(in->message, n, MESSAGE_MAX));
        if (copy.message == NULL) {
            return false;
        }
    }
    *out = copy;
    return true;
}

void search_handle_drop(const search_verifier *verifier, search_handle *handle)
{
    if (handle != NULL) {
        verifier->ops->release(verifier->self, handle);
    }
}

void search_outcome_drop(const search_verifier *verifier, const search_outcome *outcome)
{
    for (size_t i = 0; outcome->parts != NULL && i < outcome->part_count; i++) {
        search_handle_drop(verifier, outcome->parts[i].handle);
    }
}
