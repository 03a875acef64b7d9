/* Facts that linear arithmetic lacks: squares, monotone products, values written as a bound and a rest. */
#include "search_portfolio_internal.h"

#include <stdio.h>
#include <string.h>

enum { VALUES_MAX = 3, PAIRS_MAX = 16, HINTS_MAX = 3 };

static size_t number_values(const portfolio_goal *goal, portfolio_kind kind,
                            const portfolio_hyp **out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < goal->hyp_count && n < max; i++) {
        if (goal->hyps[i].nameable && goal->hyps[i].kind == kind) {
            out[n++] = &goal->hyps[i];
        }
    }
    return n;
}

/* Squares of integers and of their sums and differences are not negative. */
static void add_squares(portfolio_list *list)
{
    const portfolio_hyp *v[VALUES_MAX];
    size_t n = number_values(list->goal, PORTFOLIO_INT, v, VALUES_MAX);
    portfolio_head head = list->goal->target.head;
    bool compares = head == PORTFOLIO_LE || head == PORTFOLIO_LT || head == PORTFOLIO_GE ||
                    head == PORTFOLIO_GT || head == PORTFOLIO_FALSE || head == PORTFOLIO_EQ;
    if (n == 0 || !compares) {
        return;
    }
    pv_buf text = {0};
    pv_buf_puts(&text,
                "have hq : ∀ z : Int, 0 ≤ z * z := fun z => (Int.le_total 0 z).elim (fun h "
                "=> Int.mul_nonneg h h) (fun h => Int.mul_nonneg_of_nonpos_of_nonpos h h)\n");
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(&text, "have hq%zu := hq %.*s\n", i, PORTFOLIO_FMT(v[i]->name));
        for (size_t k = 0; k < i; k++) {
            pv_buf_printf(&text,
                          "have hs%zu%zu := hq (%.*s - %.*s)\nhave ht%zu%zu := hq (%.*s + %.*s)\n",
                          k, i, PORTFOLIO_FMT(v[k]->name), PORTFOLIO_FMT(v[i]->name), k, i,
                          PORTFOLIO_FMT(v[k]->name), PORTFOLIO_FMT(v[i]->name));
        }
    }
    pv_buf_puts(&text, "clear hq\ngrind");
    portfolio_add_text(list, 1.0, pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

/* h : L ≤ v for naturals: v is L and a rest, about which one can go on by induction. */
static void add_shift(portfolio_list *list, const portfolio_hyp *hyp)
{
    const portfolio_hyp *v = portfolio_value(list->goal, hyp->prop.right);
    int64_t low = 0;
    bool fits = v != NULL && v->kind == PORTFOLIO_NAT && portfolio_number(hyp->prop.left, &low);
    const portfolio_binding bindings[] = {
        {'h', hyp->name}, {'x', fits ? v->name : hyp->name}, {'l', hyp->prop.left}};
    if (fits && hyp->prop.head == PORTFOLIO_LE && low > 0) {
        portfolio_add_template(list, 0.9, "obtain ⟨$x, rfl⟩ := Nat.exists_eq_add_of_le $h",
                               bindings, 3);
    } else if (fits && hyp->prop.head == PORTFOLIO_LT) {
        portfolio_add_template(list, 0.6, "obtain ⟨$x, rfl⟩ := Nat.exists_eq_add_of_lt $h",
                               bindings, 3);
    }
}

/* a ≤ b times a value of a product, a ≤ b times c ≤ d. */
static void add_monotone(portfolio_list *list, const portfolio_hyp *hyp, size_t *given)
{
    const portfolio_goal *goal = list->goal;
    bool nat = portfolio_number_kind(goal, hyp->type) == PORTFOLIO_NAT;
    if (!nat || (hyp->prop.head != PORTFOLIO_LE && hyp->prop.head != PORTFOLIO_LT)) {
        return;
    }
    const portfolio_hyp *v[VALUES_MAX];
    size_t n = number_values(goal, PORTFOLIO_NAT, v, VALUES_MAX);
    pv_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(&text,
                      "%shave hm%zu := Nat.mul_le_mul_left %.*s (Nat.le_of_lt_succ "
                      "(Nat.lt_succ_of_le %.*s))",
                      i > 0 ? "\n" : "", i, PORTFOLIO_FMT(v[i]->name), PORTFOLIO_FMT(hyp->name));
    }
    if (text.len > 0 && *given < HINTS_MAX) {
        portfolio_add(list, 0.7 - 0.2 * (double)*given,
                      "%s\nsimp only [Nat.mul_add, Nat.add_mul, Nat.pow_succ, Nat.pow_zero, "
                      "Nat.one_mul, Nat.mul_one, Nat.succ_eq_add_one] at * <;> omega",
                      pv_buf_text(&text));
        (*given)++;
    }
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

void portfolio_add_hints(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    bool nonlinear = portfolio_has(goal->text, " * ") || portfolio_has(goal->text, " ^ ");
    size_t given = 0;
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (hyp->nameable && hyp->kind == PORTFOLIO_PROOF && nonlinear) {
            add_shift(list, hyp);
            add_monotone(list, hyp, &given);
        }
    }
    if (nonlinear) {
        add_squares(list);
    }
}
