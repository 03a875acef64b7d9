/* Bounded search, first half: facts that bound values. search_portfolio_cases.c enumerates what is bounded. */
#include "search_portfolio_internal.h"

#include <stdio.h>
#include <string.h>

enum { LITERALS_MAX = 6, LITERAL_MAX = 5000, PAIRS_MAX = 16, SIGNS_MAX = 3, SMALL_RANGE = 20 };

/* floor of the logarithm, floor of the root: bounds that a power of a value below a literal gives. */
static int64_t log_of(int64_t base, int64_t n)
{
    int64_t k = 0;
    for (int64_t power = base; power <= n; power *= base) {
        k++;
    }
    return k;
}

static int64_t root_of(int64_t n, int64_t k)
{
    int64_t r = 0;
    for (bool fits = true; fits; r += fits ? 1 : 0) {
        int64_t power = 1;
        for (int64_t i = 0; i < k && power <= n; i++) {
            power *= r + 1;
        }
        fits = power <= n;
    }
    return r;
}

/* A power that holds the value alone: v ^ k, or b ^ v. */
static bool find_power(const portfolio_goal *goal, const portfolio_hyp *hyp, int64_t *literal,
                       bool *as_exponent)
{
    portfolio_pair pairs[PAIRS_MAX];
    size_t n = portfolio_pairs(goal, " ^ ", pairs, PAIRS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (portfolio_same(pairs[i].right, hyp->name) && portfolio_number(pairs[i].left, literal) &&
            *literal >= 2) {
            *as_exponent = true;
            return true;
        }
        if (portfolio_same(pairs[i].left, hyp->name) && portfolio_number(pairs[i].right, literal) &&
            *literal >= 2 && *literal <= 12) {
            *as_exponent = false;
            return true;
        }
    }
    return false;
}

/* Ways to "name : v ≤ B", one after the other; the first that works stands. */
static void put_alternative(pv_buf *out, const char *name, portfolio_span v, long long bound)
{
    pv_buf_printf(out, "%shave %s : %.*s ≤ %lld := ", out->len > 0 ? " | " : "first | ", name,
                  PORTFOLIO_FMT(v), bound);
}

/* By contradiction: v > B makes v ^ k or b ^ v too large for linear arithmetic. B is the root or the logarithm of a literal. */
static void put_power_bounds(pv_buf *out, const portfolio_goal *goal, const portfolio_hyp *hyp,
                             const char *name, const int64_t *literals, size_t n)
{
    int64_t k = 0, last = -1;
    bool as_exponent = false;
    if (hyp->kind != PORTFOLIO_NAT || !find_power(goal, hyp, &k, &as_exponent)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        long long bound = as_exponent ? log_of(k, literals[i]) : root_of(literals[i], k);
        if (bound == last) {
            continue;
        }
        put_alternative(out, name, hyp->name, bound);
        pv_buf_puts(out, "Nat.le_of_not_lt fun hn => by have hm := ");
        if (as_exponent) {
            pv_buf_printf(out,
                          "Nat.pow_le_pow_right (n := %lld) (by decide) (show %lld ≤ %.*s from hn)",
                          (long long)k, bound + 1, PORTFOLIO_FMT(hyp->name));
        } else {
            pv_buf_printf(out, "Nat.pow_le_pow_left (show %lld ≤ %.*s from hn) %lld", bound + 1,
                          PORTFOLIO_FMT(hyp->name), (long long)k);
        }
        pv_buf_puts(out, "; omega");
        last = bound;
    }
}

/* By linear arithmetic: B is the least literal of the goal for which that works. */
static void put_linear_bounds(pv_buf *out, const portfolio_hyp *hyp, const char *name,
                              const int64_t *literals, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_alternative(out, name, hyp->name, literals[i]);
        pv_buf_puts(out, "by omega");
    }
}

/* "name : -B ≤ v", B zero or a literal of the goal. */
static void put_lower_bounds(pv_buf *out, const portfolio_hyp *hyp, const char *name,
                             const int64_t *literals, size_t n)
{
    pv_buf_printf(out, "first | have %s : 0 ≤ %.*s := by omega", name, PORTFOLIO_FMT(hyp->name));
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(out, " | have %s : -%lld ≤ %.*s := by omega", name, (long long)literals[i],
                      PORTFOLIO_FMT(hyp->name));
    }
}

/* The bounds of one value that the context does not show yet, a line for each. */
static void put_missing_bounds(pv_buf *out, const portfolio_goal *goal, const portfolio_hyp *hyp,
                               const int64_t *literals, size_t n)
{
    portfolio_range r = portfolio_range_of(goal, hyp);
    pv_buf high = {0}, low = {0}, ways = {0};
    unsigned nth = (unsigned)(hyp - goal->hyps); /* each value has names of its own */
    portfolio_fresh(goal, "hb", nth, &high);
    portfolio_fresh(goal, "hc", nth, &low);
    if (!r.has_high && n > 0) {
        put_power_bounds(&ways, goal, hyp, pv_buf_text(&high), literals, n);
        put_linear_bounds(&ways, hyp, pv_buf_text(&high), literals, n);
        pv_buf_printf(out, "try (%s)\n", pv_buf_text(&ways));
    }
    pv_buf_clear(&ways);
    if (!r.has_low) {
        put_lower_bounds(&ways, hyp, pv_buf_text(&low), literals, n);
        pv_buf_printf(out, "try (%s)\n", pv_buf_text(&ways));
    }
    out->failed = out->failed || high.failed || low.failed || ways.failed;
    pv_buf_release(&high);
    pv_buf_release(&low);
    pv_buf_release(&ways);
}

#define LAST_FACTOR                                                                                \
    "have $1 := Int.le_of_dvd (by decide) (show $c ∣ $n from ⟨_, by rw [Int.mul_comm]; exact " \
    "$h.symm⟩)\n"                                                                                \
    "have $2 := Int.le_of_dvd (by decide) (Int.neg_dvd.mpr (show $c ∣ $n from ⟨_, by rw "      \
    "[Int.mul_comm]; exact $h.symm⟩))"
#define FIRST_FACTOR                                                                               \
    "\nhave $3 := Int.le_of_dvd (by decide) (show $a ∣ $n from ⟨_, $h.symm⟩)\n"              \
    "have $4 := Int.le_of_dvd (by decide) (Int.neg_dvd.mpr (show $a ∣ $n from ⟨_, $h.symm⟩))"

/* h : a * c = N with a literal N > 0: both factors divide N, so they are at most N. */
static void add_factor_bounds(portfolio_list *list, const portfolio_hyp *hyp)
{
    portfolio_span a, c, product = hyp->prop.left;
    int64_t number = 0, ignored = 0;
    bool shaped = hyp->prop.head == PORTFOLIO_EQ && portfolio_number(hyp->prop.right, &number) &&
                  number > 0 && portfolio_split_last(product, " * ", &a, &c) &&
                  !portfolio_number(a, &ignored) && !portfolio_number(c, &ignored);
    portfolio_span x, y;
    if (!shaped || portfolio_split_last(product, " + ", &x, &y) ||
        portfolio_split_last(product, " - ", &x, &y)) {
        return;
    }
    const portfolio_binding bindings[] = {
        {'h', hyp->name}, {'a', a}, {'c', c}, {'n', hyp->prop.right}};
    if (portfolio_number_kind(list->goal, product) == PORTFOLIO_NAT) {
        portfolio_add_template(list, 2.8,
                               "have $1 : $a ≤ $n := Nat.le_of_dvd (by decide) ⟨_, $h.symm⟩\n"
                               "have $2 : $c ≤ $n := Nat.le_of_dvd (by decide) ⟨_, by rw "
                               "[Nat.mul_comm]; exact $h.symm⟩",
                               bindings, 4);
        portfolio_add_template(list, 2.0,
                               "have $1 : $c = $n / ($a) := by rw [← $h, Nat.mul_div_cancel_left _ "
                               "(Nat.pos_of_ne_zero (by intro h0; rw [h0] at $h; omega))]",
                               bindings, 4);
        return;
    }
    /* Both factors, or only the last one when the first is a product itself. */
    portfolio_span inner, outer;
    bool nested = portfolio_split_last(portfolio_unparen(a), " * ", &inner, &outer);
    portfolio_add_template(list, 2.8, nested ? LAST_FACTOR : LAST_FACTOR FIRST_FACTOR, bindings, 4);
}

/* The literal side of the first equation that holds the product, at most LITERAL_MAX. */
static bool find_total(const portfolio_goal *goal, portfolio_pair product, int64_t *total)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        bool equation = hyp->nameable && hyp->prop.head == PORTFOLIO_EQ &&
                        portfolio_has_word(hyp->prop.left, product.left) &&
                        portfolio_has_word(hyp->prop.left, product.right);
        if (equation && portfolio_number(hyp->prop.right, total) && *total > 0 &&
            *total <= LITERAL_MAX) {
            return true;
        }
    }
    return false;
}

/* Of two factors one is at most the root: otherwise the product would be too large. */
static void add_root_split(portfolio_list *list, portfolio_pair product, bool nat, double weight)
{
    int64_t total = 0;
    char root[24], next[24];
    if (!find_total(list->goal, product, &total)) {
        return;
    }
    snprintf(root, sizeof root, "%lld", (long long)root_of(total, 2));
    snprintf(next, sizeof next, "%lld", (long long)root_of(total, 2) + 1);
    const portfolio_binding bindings[] = {{'x', product.left},
                                          {'y', product.right},
                                          {'r', portfolio_span_of(root)},
                                          {'s', portfolio_span_of(next)}};
    portfolio_add_template(
        list, weight,
        nat ? "rcases (show $x ≤ $r ∨ $y ≤ $r from Classical.byContradiction fun hn => by have hm "
              ":= "
              "Nat.mul_le_mul (show $s ≤ $x by omega) (show $s ≤ $y by omega); omega) with $1 | $1"
            : "rcases (show $x ≤ $r ∨ $y ≤ $r from Classical.byContradiction fun hn => by have hm "
              ":= "
              "Int.mul_le_mul (show $s ≤ $x by omega) (show $s ≤ $y by omega) (by omega) (by "
              "omega); omega) with $1 | $1",
        bindings, 4);
}

/* Whether the context bounds a value from above already. */
static bool is_bounded(const portfolio_goal *goal, const portfolio_hyp *hyp)
{
    portfolio_range r = portfolio_range_of(goal, hyp);
    return r.has_low && r.has_high && r.high - r.low <= SMALL_RANGE;
}

/* x * y of values: positive or nonnegative when the factors are. */
static void add_product_signs(portfolio_list *list)
{
    portfolio_pair pairs[PAIRS_MAX];
    size_t n = portfolio_pairs(list->goal, " * ", pairs, PAIRS_MAX), given = 0;
    for (size_t i = 0; i < n && given < SIGNS_MAX; i++) {
        const portfolio_hyp *x = portfolio_value(list->goal, pairs[i].left);
        const portfolio_hyp *y = portfolio_value(list->goal, pairs[i].right);
        if (x == NULL || y == NULL || x->kind != y->kind || !portfolio_is_number(x)) {
            continue;
        }
        const portfolio_binding bindings[] = {{'x', x->name}, {'y', y->name}};
        bool nat = x->kind == PORTFOLIO_NAT;
        if (x != y && !is_bounded(list->goal, x) && !is_bounded(list->goal, y)) {
            add_root_split(list, (portfolio_pair){x->name, y->name}, nat, 2.7);
        }
        portfolio_add_template(list, 1.1 - 0.2 * (double)given,
                               nat ? "have $1 : 0 < $x * $y := Nat.mul_pos (by omega) (by omega)"
                                   : "first | have $1 : 0 < $x * $y := Int.mul_pos (by omega) (by "
                                     "omega) | have $1 : 0 ≤ $x * $y := Int.mul_nonneg (by omega) "
                                     "(by omega)",
                               bindings, 2);
        given++;
    }
}

/* Bounds of all values that need them, as they stand, and with the negated target as one more fact. */
static void add_missing_bounds(portfolio_list *list, const int64_t *literals, size_t n)
{
    const portfolio_goal *goal = list->goal;
    pv_buf text = {0};
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (portfolio_is_number(hyp) && portfolio_is_nonlinear(goal, hyp)) {
            put_missing_bounds(&text, goal, hyp, literals, n);
        }
    }
    if (text.len > 0) {
        text.data[--text.len] = '\0'; /* the last line break */
        portfolio_add(list, 2.7, "%s", pv_buf_text(&text));
        portfolio_head head = goal->target.head;
        bool compares = head == PORTFOLIO_LE || head == PORTFOLIO_LT || head == PORTFOLIO_GE ||
                        head == PORTFOLIO_GT;
        if (head != PORTFOLIO_FALSE) {
            portfolio_add(list, compares ? 2.3 : 1.2,
                          "refine Classical.byContradiction fun hn => ?_\n%s", pv_buf_text(&text));
        }
    }
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

void portfolio_add_bounds(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    int64_t literals[LITERALS_MAX];
    size_t n = portfolio_literals(goal, 2, LITERAL_MAX, literals, LITERALS_MAX);
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (hyp->nameable && hyp->kind == PORTFOLIO_PROOF) {
            add_factor_bounds(list, hyp);
        }
    }
    add_missing_bounds(list, literals, n);
    add_product_signs(list);
}
