/* Lists of lemmas made shorter. Which lemmas a proof names is known from its usage; what the term does not name is left out
 * first. Where Lean refuses that (a lemma may be used without a trace there: one by definition, or by grind, which puts its proof
 * into a theorem of its own), halves and single lemmas. */
#include "generate.h"

#include "data_row.h"
#include "lemma_list.h"

#include <string.h>

enum { TRIES_MAX = 12 };

/* The lemma itself, or one that Lean made of it. */
static bool is_used(const json_t *used, lemma_span name)
{
    for (size_t i = 0; i < json_array_size(used); i++) {
        const char *text = json_string_value(json_array_get(used, i));
        bool same = strncmp(text, name.at, name.len) == 0;
        if (same && (text[name.len] == '\0' || strncmp(text + name.len, "._", 2) == 0)) {
            return true;
        }
    }
    return false;
}

typedef struct reduction {
    const generate_item *item;
    fixed_policy *out;
    lemma_list list;
    size_t tries;
} reduction;

static void add_variant(reduction *r, const bool *keep)
{
    pv_buf text = {0};
    lemma_list_write(&r->list, keep, &text);
    if (pv_buf_ok(&text) && r->tries < TRIES_MAX && fixed_policy_add(r->out, pv_buf_text(&text))) {
        r->tries++;
    }
    pv_buf_release(&text);
}

/* All of the list but the items from `from` to `to`. */
static void add_without(reduction *r, size_t from, size_t to)
{
    bool keep[LEMMA_LIST_MAX];
    for (size_t i = 0; i < r->list.count; i++) {
        keep[i] = i < from || i >= to;
    }
    add_variant(r, keep);
}

static void add_variants(reduction *r)
{
    bool keep[LEMMA_LIST_MAX];
    size_t n = r->list.count;
    for (size_t i = 0; i < n; i++) {
        keep[i] = is_used(r->item->usage.used, lemma_list_name(r->list.items[i]));
    }
    add_variant(r, keep);
    if (n >= 3) {
        add_without(r, n / 2, n);
        add_without(r, 0, n / 2);
    }
    for (size_t i = n; i-- > 0;) {
        add_without(r, i, i + 1);
    }
}

static bool has_unused(const generate_item *item, const lemma_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (!is_used(item->usage.used, lemma_list_name(list->items[i]))) {
            return true;
        }
    }
    return false;
}

bool generate_reduce_gather(const generate_item *item, fixed_policy *out)
{
    json_t *steps = data_row_steps(item->proved->run);
    reduction r = {.item = item, .out = out};
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const char *tactic = json_string_value(json_object_get(json_array_get(steps, i), "tactic"));
        if (lemma_list_find(&r.list, tactic) && has_unused(item, &r.list)) {
            add_variants(&r);
        }
    }
    bool ok = r.tries > 0;
    for (size_t i = 0; i < json_array_size(steps) && ok; i++) {
        ok = fixed_policy_add(
            out, json_string_value(json_object_get(json_array_get(steps, i), "tactic")));
    }
    json_decref(steps);
    return ok;
}
