/* Bounded search, second half: the enumeration of values whose bounds are in the context. */
#include "search_portfolio_internal.h"

#include <stdio.h>

enum {
    LIST_MAX = 12,       /* cases listed one by one                    */
    HALVE_MAX = 2000,    /* longest interval that is halved            */
    DECIDE_QUICK = 2000, /* and that it goes through in about a second */
    DECIDE_MAX = 10000,  /* tuples that one evaluation goes through    */
    RANGES_MAX = 3,
    PAIRS_MAX = 16,
};

/* v = L ∨ ... ∨ v = U, each case with v replaced. */
static void add_listed(portfolio_list *list, const portfolio_range *r, double weight)
{
    pv_buf text = {0};
    pv_buf_puts(&text, "obtain ");
    for (int64_t v = r->low; v <= r->high; v++) {
        pv_buf_printf(&text, "%srfl", v > r->low ? " | " : "");
    }
    for (int64_t v = r->low; v <= r->high; v++) {
        pv_buf_printf(&text, "%s%.*s = %lld", v > r->low ? " ∨ " : " : ",
                      PORTFOLIO_FMT(r->value->name), (long long)v);
    }
    /* The brackets keep what follows out of the inner tactic block. */
    portfolio_add(list, weight, "%s := (by omega) <;> try (first | omega | simp_all)",
                  pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

/* The lower or the upper half: long intervals become short ones. */
static void add_halved(portfolio_list *list, const portfolio_range *r, double weight)
{
    char middle[24], next[24];
    int64_t half = r->low + (r->high - r->low) / 2;
    snprintf(middle, sizeof middle, "%lld", (long long)half);
    snprintf(next, sizeof next, "%lld", (long long)half + 1);
    const portfolio_binding bindings[] = {
        {'x', r->value->name}, {'m', portfolio_span_of(middle)}, {'n', portfolio_span_of(next)}};
    portfolio_add_template(list, weight, "rcases (show $x ≤ $m ∨ $n ≤ $x by omega) with $1 | $1",
                           bindings, 3);
}

/* Writes `form` once for each value of a tuple, with "$" its letter and "#" its upper-case letter. */
static void put_each(pv_buf *out, const char *form, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        for (const char *p = form; *p != '\0'; p++) {
            if (*p == '$' || *p == '#') {
                pv_buf_putc(out, "abcABC"[i + (*p == '#' ? 3 : 0)]);
            } else {
                pv_buf_putc(out, *p);
            }
        }
    }
}

/* "Evaluating p on a list of all tuples is enough", for one, two or three values. List.all goes through thousands of tuples
 * where the bounded quantifier of core Lean, whose predicate grows at each step, takes quadratic time. */
static void put_evaluation_lemma(pv_buf *out, size_t n)
{
    pv_buf_puts(out, "have hall : ∀ (A B C : Nat) (P : ");
    put_each(out, "Nat → ", 0, n);
    pv_buf_puts(out, "Prop) [d : ∀");
    put_each(out, " $", 0, n);
    pv_buf_puts(out, ", Decidable (P");
    put_each(out, " $", 0, n);
    pv_buf_puts(out, ")], ");
    put_each(out, "(List.range #).all (fun $ => ", 0, n);
    pv_buf_puts(out, "decide (P");
    put_each(out, " $", 0, n);
    pv_buf_puts(out, ")");
    put_each(out, ")", 0, n);
    pv_buf_puts(out, " = true → ");
    put_each(out, "∀ $, $ < # → ", 0, n);
    pv_buf_puts(out, "P");
    put_each(out, " $", 0, n);
    pv_buf_puts(out, " := fun A B C P d h");
    put_each(out, " $ h$", 0, n);
    pv_buf_puts(out, " => of_decide_eq_true (");
    put_each(out, "List.all_eq_true.mp (", 0, n);
    pv_buf_puts(out, "h");
    put_each(out, ") $ (List.mem_range.mpr h$)", 0, n);
    pv_buf_puts(out, ")\n");
}

/* A tuple of bounded values. */
typedef struct tuple {
    portfolio_range ranges[RANGES_MAX];
    size_t n;
    int64_t size; /* product of the ranges' sizes */
} tuple;

static bool is_enumerated(const tuple *t, const portfolio_hyp *hyp)
{
    for (size_t k = 0; k < t->n; k++) {
        if (t->ranges[k].value == hyp) {
            return true;
        }
    }
    return false;
}

/* What an evaluation can check: no quantifiers, only enumerated values. */
static bool is_evaluable(const portfolio_goal *goal, portfolio_span text, const tuple *t)
{
    if (portfolio_has(text, "∀") || portfolio_has(text, "∃") || portfolio_has(text, "fun ")) {
        return false;
    }
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (!is_enumerated(t, hyp) && hyp->kind != PORTFOLIO_PROOF &&
            portfolio_has_word(text, hyp->name)) {
            return false;
        }
    }
    return true;
}

/* hh: all evaluable proofs as one conjunction (instances for long chains of implications are not found); then they go. */
static void put_conjunction(pv_buf *out, const portfolio_goal *goal, const tuple *t)
{
    pv_buf close = {0}, clear = {0};
    pv_buf_puts(out, "have hh := ");
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (!hyp->nameable || hyp->kind != PORTFOLIO_PROOF) {
            continue;
        }
        pv_buf_printf(&clear, " %.*s", PORTFOLIO_FMT(hyp->name));
        if (is_evaluable(goal, hyp->type, t)) {
            pv_buf_printf(out, "And.intro %.*s (", PORTFOLIO_FMT(hyp->name));
            pv_buf_putc(&close, ')');
        }
    }
    pv_buf_printf(out, "True.intro%s\n", pv_buf_text(&close));
    if (clear.len > 0) {
        pv_buf_printf(out, "clear%s\n", pv_buf_text(&clear));
    }
    out->failed = out->failed || close.failed || clear.failed;
    pv_buf_release(&close);
    pv_buf_release(&clear);
}

/* hl: the value is below the size of its range. Integers become naturals counted from the lower bound. */
static void put_size(pv_buf *out, const portfolio_range *r, size_t i)
{
    portfolio_span v = r->value->name;
    long long low = r->low, size = r->high - r->low + 1;
    if (r->value->kind == PORTFOLIO_INT) {
        pv_buf_printf(
            out,
            "obtain ⟨k%zu, hk%zu⟩ : ∃ k : Nat, %.*s = %lld + k := ⟨(%.*s - %lld).toNat, by "
            "omega⟩\nhave hl%zu : k%zu < %lld := by omega\n",
            i, i, PORTFOLIO_FMT(v), low, PORTFOLIO_FMT(v), low, i, i, size);
    } else {
        pv_buf_printf(out, "have hl%zu : %.*s < %lld := by omega\n", i, PORTFOLIO_FMT(v),
                      (long long)r->high + 1);
    }
}

/* All tuples of the bounded values at once, by evaluation in the kernel. */
static void add_evaluated(portfolio_list *list, const tuple *t, double weight)
{
    if (t->n == 0 || t->size > DECIDE_MAX ||
        !is_evaluable(list->goal, list->goal->target.text, t)) {
        return;
    }
    pv_buf text = {0};
    put_evaluation_lemma(&text, t->n);
    for (size_t i = 0; i < t->n; i++) {
        put_size(&text, &t->ranges[i], i);
    }
    put_conjunction(&text, list->goal, t);
    for (size_t i = 0; i < t->n; i++) {
        if (t->ranges[i].value->kind == PORTFOLIO_INT) {
            pv_buf_printf(&text, "subst hk%zu\n", i);
        }
    }
    pv_buf_puts(&text, "revert hh\n");
    for (size_t i = t->n; i-- > 0;) {
        if (t->ranges[i].value->kind == PORTFOLIO_INT) {
            pv_buf_printf(&text, "revert hl%zu; revert k%zu\n", i, i);
        } else {
            pv_buf_printf(&text, "revert hl%zu; revert %.*s\n", i,
                          PORTFOLIO_FMT(t->ranges[i].value->name));
        }
    }
    pv_buf_printf(&text, "refine hall _ %s %s _ ?_\ndecide +kernel", t->n > 1 ? "_" : "0",
                  t->n > 2 ? "_" : "0");
    portfolio_add_text(list, weight, pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

/* "_ % v", "_ / v": linear arithmetic can do nothing before v is a literal. */
static bool is_divisor(const portfolio_goal *goal, const portfolio_hyp *hyp)
{
    static const char *const ops[] = {" % ", " / "};
    portfolio_pair pairs[PAIRS_MAX];
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        size_t n = portfolio_pairs(goal, ops[k], pairs, PAIRS_MAX);
        for (size_t i = 0; i < n; i++) {
            if (portfolio_has_word(pairs[i].right, hyp->name)) {
                return true;
            }
        }
    }
    return false;
}

/* One value at a time: listed when its range is short, halved when it is not. */
static void add_one_range(portfolio_list *list, const portfolio_range *r, int64_t size)
{
    bool nonlinear = portfolio_is_nonlinear(list->goal, r->value);
    if (size <= LIST_MAX) {
        add_listed(list, r, (nonlinear ? 3.4 : 0.8) - 0.05 * (double)size);
    } else if (size <= HALVE_MAX && nonlinear) {
        add_halved(list, r, is_divisor(list->goal, r->value) ? 3.2 : 1.6);
    }
}

void portfolio_add_cases(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    tuple t = {.size = 1};
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        portfolio_range r = portfolio_range_of(goal, hyp);
        int64_t size = r.has_low && r.has_high ? r.high - r.low + 1 : 0;
        if (!portfolio_is_number(hyp) || size <= 0 || size > DECIDE_MAX) {
            continue;
        }
        if (t.n < RANGES_MAX) {
            t.ranges[t.n++] = r;
            t.size = t.size > DECIDE_MAX ? t.size : t.size * size;
        }
        add_one_range(list, &r, size);
    }
    add_evaluated(list, &t, t.size <= DECIDE_QUICK ? 3.4 : 2.2);
}
