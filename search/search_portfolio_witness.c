/* Witnesses for "∃ x, p": values at hand, terms made of them, small numbers, a grid of small numbers. */
#include "search_portfolio_internal.h"

#include <string.h>

enum {
    WITNESSES_MAX = 6,
    GRID_ONE = 25, /* numbers tried for one binder             */
    GRID_TWO = 9,  /* numbers tried for each of two binders    */
};

/* Terms over a number that often witness something, with $v the number, $m a literal of the goal's products or moduli. */
static const struct numeric_form {
    double weight;
    const char *form;
} numeric_forms[] = {
    {0.9, "$v + 1"},
    {0.3, "$v + 2"},
    {0.3, "2 * $v"},
    {0.2, "$v - 1"},
    {0.2, "($v + 1) * ($v + 1)"},
};

/* The type bound first, and how many binders of that type follow in a row. */
static size_t bound_type(portfolio_prop target, portfolio_span *type)
{
    size_t count = 0;
    *type = (portfolio_span){target.text.at, 0};
    while (target.head == PORTFOLIO_EXISTS) {
        portfolio_span binders = target.left, name, t = *type;
        while (portfolio_next_binder(&binders, &name, &t)) {
            *type = count == 0 ? t : *type;
            count++;
        }
        target = portfolio_prop_parse(target.right);
    }
    return count;
}

static void add_form(portfolio_list *list, double weight, const char *form, portfolio_span v,
                     portfolio_span m)
{
    const portfolio_binding bindings[] = {{'v', v}, {'m', m}};
    pv_buf text = {0};
    pv_buf_printf(&text, "refine ⟨%s, ?_⟩ <;> try omega", form);
    portfolio_add_template(list, weight, pv_buf_text(&text), bindings, 2);
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

/* v / m and m * v + r for the literals m < 20 of the goal. */
static void add_modular_forms(portfolio_list *list, portfolio_span v)
{
    int64_t literals[4], residues[4];
    size_t n = portfolio_literals(list->goal, 2, 20, literals, 4);
    size_t k = portfolio_literals(list->goal, 0, 20, residues, 4);
    for (size_t i = 0; i < n; i++) {
        portfolio_add(list, 0.9, "refine ⟨%.*s / %lld, ?_⟩ <;> try omega", PORTFOLIO_FMT(v),
                      (long long)literals[i]);
        for (size_t r = 0; r < k; r++) {
            if (residues[r] < literals[i]) {
                portfolio_add(list, 0.2, "refine ⟨%lld * %.*s + %lld, ?_⟩ <;> try omega",
                              (long long)literals[i], PORTFOLIO_FMT(v), (long long)residues[r]);
            }
        }
    }
}

static void add_numeric(portfolio_list *list, portfolio_span type)
{
    const portfolio_goal *goal = list->goal;
    bool integer = portfolio_equal(type, "Int");
    if (!integer && !portfolio_equal(type, "Nat") && type.len > 0) {
        return;
    }
    for (size_t i = 0, given = 0; i < goal->hyp_count && given < 2; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        bool number = hyp->kind == (integer ? PORTFOLIO_INT : PORTFOLIO_NAT);
        if (!hyp->nameable || !number) {
            continue;
        }
        for (size_t k = 0; k < sizeof numeric_forms / sizeof *numeric_forms; k++) {
            add_form(list, numeric_forms[k].weight - 0.3 * (double)given, numeric_forms[k].form,
                     hyp->name, hyp->name);
        }
        add_modular_forms(list, hyp->name);
        given++;
    }
    for (int k = integer ? -1 : 0; k <= 2; k++) {
        portfolio_add(list, 0.3 - 0.1 * k, "refine ⟨%d, ?_⟩", k);
    }
}

/* One tactic that tries a grid of small numbers; each try is decided by evaluation. */
static void add_grid(portfolio_list *list, size_t binders, bool integer)
{
    pv_buf text = {0};
    int low = integer ? -(binders == 1 ? GRID_ONE : GRID_TWO) / 2 : 0;
    int size = binders == 1 ? GRID_ONE : GRID_TWO;
    for (int a = low; a < low + size; a++) {
        for (int b = low; b < low + (binders == 1 ? 1 : size); b++) {
            pv_buf_printf(&text, "%sexact ⟨%d, ", text.len > 0 ? " | " : "first | ", a);
            if (binders == 2) {
                pv_buf_printf(&text, "%d, ", b);
            }
            pv_buf_puts(&text, "by decide⟩");
        }
    }
    portfolio_add_text(list, integer ? 1.4 : 1.5, pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

/* Values of the type, and functions into it applied to values. */
static void add_at_hand(portfolio_list *list, portfolio_span type)
{
    const portfolio_goal *goal = list->goal;
    size_t given = 0;
    for (size_t i = goal->hyp_count; i-- > 0 && given < WITNESSES_MAX;) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        portfolio_span from, to;
        bool fits = type.len > 0 ? portfolio_same(type, hyp->type)
                                 : hyp->kind != PORTFOLIO_TYPE && hyp->kind != PORTFOLIO_FUNCTION;
        if (!hyp->nameable || hyp->kind == PORTFOLIO_PROOF) {
            continue;
        }
        if (fits) {
            portfolio_add(list, 1.2 - 0.1 * (double)given++, "refine ⟨%.*s, ?_⟩",
                          PORTFOLIO_FMT(hyp->name));
        }
        bool maps = hyp->kind == PORTFOLIO_FUNCTION &&
                    portfolio_split_last(hyp->type, " → ", &from, &to) &&
                    (type.len == 0 || portfolio_same(to, type));
        for (size_t k = 0; maps && k < goal->hyp_count && given < WITNESSES_MAX; k++) {
            if (goal->hyps[k].nameable && portfolio_same(goal->hyps[k].type, from)) {
                portfolio_add(list, 1.0 - 0.1 * (double)given++, "refine ⟨%.*s %.*s, ?_⟩",
                              PORTFOLIO_FMT(hyp->name), PORTFOLIO_FMT(goal->hyps[k].name));
            }
        }
    }
}

void portfolio_add_witnesses(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    if (goal->target.head != PORTFOLIO_EXISTS) {
        return;
    }
    portfolio_span type;
    size_t binders = bound_type(goal->target, &type);
    bool closed = true;
    for (size_t i = 0; i < goal->hyp_count; i++) {
        closed = closed && !portfolio_has_word(goal->target.text, goal->hyps[i].name);
    }
    add_at_hand(list, type);
    add_numeric(list, type);
    if (closed && (binders == 1 || binders == 2)) {
        /* Lean rarely displays the type bound; a grid of the wrong sign only fails. */
        if (!portfolio_equal(type, "Int")) {
            add_grid(list, binders, false);
        }
        if (!portfolio_equal(type, "Nat")) {
            add_grid(list, binders, true);
        }
    }
    static const char *const constants[] = {"[]", "none", "True", "False", "true", "false"};
    for (size_t k = 0; k < sizeof constants / sizeof *constants; k++) {
        portfolio_add(list, -0.8, "refine ⟨%s, ?_⟩", constants[k]);
    }
    portfolio_add_text(list, 1.2, "refine ⟨_, rfl⟩");
    portfolio_add_text(list, 0.4, "refine ⟨_, ?_⟩");
    portfolio_add_text(list, 0.8, "refine ⟨_, ‹_›⟩");
}
