/* Schemas of general logic that need the binders: introductions, witnesses, instances of hypotheses, conditions to split on. */
#include "search_portfolio_internal.h"

#include <string.h>

enum {
    INTROS_MAX = 12,
    INSTANCES_MAX = 3, /* per hypothesis */
    PROPS_MAX = 5,
};

/* Whether the n-th name is among those before it. */
static bool seen_before(const portfolio_span *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (portfolio_same(names[i], names[n])) {
            return true;
        }
    }
    return false;
}

/* The name of a binder, or another one when the context or the names before it have it; "_" for unnameable ones. */
static void put_binder_name(const portfolio_goal *goal, const portfolio_span *names, size_t n,
                            pv_buf *out)
{
    char base[48] = "x";
    bool odd = names[n].len >= sizeof base || portfolio_has(names[n], "✝") ||
               portfolio_equal(names[n], "_");
    if (!odd) {
        memcpy(base, names[n].at, names[n].len);
        base[names[n].len] = '\0';
    }
    portfolio_fresh(goal, base, seen_before(names, n) ? 1 : 0, out);
}

/* Names for all that can be introduced at once: the binders, and one name for each premise. */
static size_t put_intro_names(const portfolio_goal *goal, pv_buf *out)
{
    portfolio_prop prop = goal->target;
    portfolio_span names[INTROS_MAX];
    size_t count = 0;
    unsigned premises = 0;
    while (count < INTROS_MAX &&
           (prop.head == PORTFOLIO_FORALL || prop.head == PORTFOLIO_IMPLIES)) {
        portfolio_span binders = prop.left, type;
        if (prop.head == PORTFOLIO_IMPLIES) {
            pv_buf_putc(out, ' ');
            portfolio_fresh(goal, "h", premises++, out);
            names[count++] = (portfolio_span){"", 0};
        }
        while (prop.head == PORTFOLIO_FORALL && count < INTROS_MAX &&
               portfolio_next_binder(&binders, &names[count], &type)) {
            pv_buf_putc(out, ' ');
            put_binder_name(goal, names, count++, out);
        }
        prop = portfolio_prop_parse(prop.right);
    }
    if (prop.head == PORTFOLIO_NOT || prop.head == PORTFOLIO_NE) {
        pv_buf_putc(out, ' ');
        portfolio_fresh(goal, "h", premises, out);
        count++;
    }
    return count;
}

bool portfolio_add_intros(portfolio_list *list)
{
    portfolio_head head = list->goal->target.head;
    if (head != PORTFOLIO_FORALL && head != PORTFOLIO_IMPLIES) {
        return false;
    }
    pv_buf names = {0};
    size_t count = put_intro_names(list->goal, &names);
    if (count > 0) {
        portfolio_add(list, 4.5, "intro%s", pv_buf_text(&names));
    }
    if (count > 1) {
        portfolio_span first = portfolio_trim(portfolio_span_of(pv_buf_text(&names)));
        portfolio_add(list, 1.0, "intro %.*s", (int)strcspn(first.at, " "), first.at);
    }
    list->failed = list->failed || !pv_buf_ok(&names);
    pv_buf_release(&names);
    return count > 0;
}

/* "∃ x, p" among the hypotheses: names the witness as the statement does. */
static void add_witness_taken(portfolio_list *list, const portfolio_hyp *hyp)
{
    portfolio_span binders = hyp->prop.left, name, type;
    pv_buf pattern = {0};
    size_t count = 0;
    while (count < INTROS_MAX && portfolio_next_binder(&binders, &name, &type)) {
        put_binder_name(list->goal, &name, 0, &pattern);
        pv_buf_puts(&pattern, ", ");
        count++;
    }
    portfolio_fresh(list->goal, "h", 0, &pattern);
    if (count > 0) {
        portfolio_add(list, 4.5, "obtain ⟨%s⟩ := %.*s", pv_buf_text(&pattern),
                      PORTFOLIO_FMT(hyp->name));
    }
    list->failed = list->failed || !pv_buf_ok(&pattern);
    pv_buf_release(&pattern);
}

/* h : ∀ x, p with each value of the type bound; h : p → q with a proof of p at hand. */
static void add_instances(portfolio_list *list, const portfolio_hyp *hyp)
{
    const portfolio_goal *goal = list->goal;
    bool all = hyp->prop.head == PORTFOLIO_FORALL;
    portfolio_span binders = hyp->prop.left, name, type = hyp->prop.left;
    bool readable = !all || portfolio_next_binder(&binders, &name, &type);
    size_t given = 0;
    for (size_t i = 0; readable && i < goal->hyp_count && given < INSTANCES_MAX; i++) {
        const portfolio_hyp *arg = &goal->hyps[i];
        if (arg->nameable && arg != hyp && portfolio_same(portfolio_unparen(arg->type), type)) {
            const portfolio_binding bindings[] = {{'h', hyp->name}, {'x', arg->name}};
            portfolio_add_template(list, all ? 0.5 - 0.2 * (double)given : 2.6,
                                   all ? "have $1 := $h $x" : "have $1 := $h $x; clear $h",
                                   bindings, 2);
            given++;
        }
    }
    bool counts = portfolio_equal(type, "Nat") || portfolio_equal(type, "Int");
    for (int k = 0; all && counts && k < 2; k++) {
        const portfolio_binding bindings[] = {{'h', hyp->name},
                                              {'x', portfolio_span_of(k == 0 ? "0" : "1")}};
        portfolio_add_template(list, 0.0 - 0.3 * k, "have $1 := $h $x", bindings, 2);
    }
}

/* All propositional letters at once: decides what is true by truth tables. */
static void add_truth_table(portfolio_list *list)
{
    pv_buf tactic = {0};
    size_t count = 0;
    for (size_t i = 0; i < list->goal->hyp_count && count < PROPS_MAX; i++) {
        const portfolio_hyp *hyp = &list->goal->hyps[i];
        if (hyp->nameable && hyp->kind == PORTFOLIO_PROPOSITION) {
            pv_buf_printf(&tactic, "%sby_cases h%.*s : %.*s", count > 0 ? " <;> " : "",
                          PORTFOLIO_FMT(hyp->name), PORTFOLIO_FMT(hyp->name));
            count++;
        }
    }
    if (count > 0) {
        portfolio_add(list, 0.9, "%s <;> simp_all", pv_buf_text(&tactic));
    }
    list->failed = list->failed || !pv_buf_ok(&tactic);
    pv_buf_release(&tactic);
}

/* All Boolean values, and the two values of each function between Booleans. */
static void add_bool_table(portfolio_list *list)
{
    pv_buf tactic = {0};
    size_t count = 0;
    for (size_t i = 0; i < list->goal->hyp_count && count < PROPS_MAX; i++) {
        const portfolio_hyp *hyp = &list->goal->hyps[i];
        if (!hyp->nameable) {
            continue;
        }
        if (hyp->kind == PORTFOLIO_BOOL) {
            pv_buf_printf(&tactic, "%scases %.*s", count++ > 0 ? " <;> " : "",
                          PORTFOLIO_FMT(hyp->name));
        } else if (portfolio_starts(hyp->type, "Bool → ")) {
            pv_buf_printf(&tactic, "%scases ht%zu : %.*s true <;> cases hf%zu : %.*s false",
                          count > 0 ? " <;> " : "", i, PORTFOLIO_FMT(hyp->name), i,
                          PORTFOLIO_FMT(hyp->name));
            count++;
        }
    }
    if (count > 0) {
        portfolio_add(list, 2.2, "%s <;> simp_all", pv_buf_text(&tactic));
    }
    list->failed = list->failed || !pv_buf_ok(&tactic);
    pv_buf_release(&tactic);
}

/* "if c then": splits on c, wherever it stands. */
static void add_conditions(portfolio_list *list)
{
    portfolio_span text = list->goal->text;
    size_t given = 0;
    for (size_t i = 0; i + 3 < text.len && given < 2; i++) {
        portfolio_span here = {text.at + i, text.len - i};
        if (!portfolio_starts(here, "if ")) {
            continue;
        }
        for (size_t k = 3; k < here.len && here.at[k] != '\n'; k++) {
            portfolio_span then = {here.at + k, here.len - k};
            if (portfolio_starts(then, " then ")) {
                const portfolio_binding bindings[] = {{'c', {here.at + 3, k - 3}}};
                portfolio_add_template(list, 1.4 - 0.3 * (double)given,
                                       "by_cases $1 : $c <;> simp_all", bindings, 1);
                portfolio_add_template(list, 0.8 - 0.3 * (double)given, "by_cases $1 : $c",
                                       bindings, 1);
                given++;
                break;
            }
        }
    }
}

bool portfolio_add_taken(portfolio_list *list)
{
    for (size_t i = 0; i < list->goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &list->goal->hyps[i];
        if (hyp->nameable && hyp->kind == PORTFOLIO_PROOF && hyp->prop.head == PORTFOLIO_EXISTS) {
            add_witness_taken(list, hyp);
            return true;
        }
    }
    return false;
}

void portfolio_add_logic(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (!hyp->nameable || hyp->kind != PORTFOLIO_PROOF) {
            continue;
        }
        if (hyp->prop.head == PORTFOLIO_FORALL || hyp->prop.head == PORTFOLIO_IMPLIES) {
            add_instances(list, hyp);
        }
    }
    add_truth_table(list);
    add_bool_table(list);
    add_conditions(list);
}
