#include "theorem.h"

#include "pv_mem.h"

#include <string.h>

static bool copy_hole(hole *out, const lean_hole *from)
{
    out->start = from->start.byte;
    out->end = from->end.byte;
    out->line = from->start.line;
    out->column = from->start.column;
    out->term = from->kind == LEAN_HOLE_TERM;
    out->prop = from->prop;
    out->outer = from->outer;
    out->form = pv_strdup(from->form == NULL ? "" : from->form);
    out->key = from->part.key;
    out->state = lean_state_ref(from->part.state);
    out->goals = pv_calloc(from->part.goal_count + 1, sizeof *out->goals);
    if (out->goals == NULL || out->form == NULL) {
        return false;
    }
    for (size_t i = 0; i < from->part.goal_count; i++) {
        out->goals[i] = pv_strdup(from->part.goals[i]);
        if (out->goals[i] == NULL) {
            return false;
        }
        out->goal_count++;
    }
    return true;
}

static bool copy_theorem(theorem *out, const lean_decl *from)
{
    out->name = pv_strdup(from->name);
    out->kind = pv_strdup(from->kind);
    out->type = pv_strdup(from->type == NULL ? "" : from->type);
    out->start = from->start.byte;
    out->end = from->end.byte;
    out->line = from->start.line;
    out->prop = from->prop;
    out->holes = pv_calloc(from->hole_count + 1, sizeof *out->holes);
    if (out->name == NULL || out->kind == NULL || out->type == NULL || out->holes == NULL) {
        return false;
    }
    for (size_t i = 0; i < from->hole_count; i++) {
        out->hole_count++;
        if (!copy_hole(&out->holes[i], &from->holes[i])) {
            return false;
        }
    }
    return true;
}

const lean_message *theorem_first_error(const lean_opened *opened)
{
    for (size_t i = 0; i < opened->message_count; i++) {
        if (opened->messages[i].severity == LEAN_ERROR) {
            return &opened->messages[i];
        }
    }
    return NULL;
}

pv_status theorem_list_copy(theorem_list *out, const lean_opened *opened, pv_error *err)
{
    theorem_list list = {pv_calloc(opened->decl_count + 1, sizeof *list.items), 0};
    bool good = list.items != NULL;
    for (size_t i = 0; good && i < opened->decl_count; i++) {
        list.count++;
        good = copy_theorem(&list.items[i], &opened->decls[i]);
    }
    if (!good) {
        theorem_list_release(&list);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *out = list;
    return PV_OK;
}

static void hole_release(hole *h)
{
    for (size_t i = 0; i < h->goal_count; i++) {
        pv_free(h->goals[i]);
    }
    pv_free(h->goals);
    pv_free(h->form);
    if (h->state != NULL) {
        lean_state_unref(h->state);
    }
}

void theorem_list_release(theorem_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        theorem *t = &list->items[i];
        for (size_t j = 0; j < t->hole_count; j++) {
            hole_release(&t->holes[j]);
        }
        pv_free(t->holes);
        pv_free(t->name);
        pv_free(t->kind);
        pv_free(t->type);
    }
    pv_free(list->items);
    memset(list, 0, sizeof *list);
}
