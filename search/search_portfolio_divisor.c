/* Divisibility between terms: sums and multiples, and what a greatest common divisor must divide. */
#include "search_portfolio_internal.h"

#include <string.h>

enum { GCDS_MAX = 2 };

/* p * v + q as displayed: a sum of "v", "c * v", "v * c" and literals. */
typedef struct linear {
    int64_t p, q;
} linear;

static bool add_term(linear *sum, portfolio_span term, portfolio_span v, int64_t sign)
{
    int64_t c = 0;
    portfolio_span a, b;
    term = portfolio_unparen(term);
    if (portfolio_number(term, &c)) {
        sum->q += sign * c;
        return true;
    }
    if (portfolio_same(term, v)) {
        sum->p += sign;
        return true;
    }
    bool product = portfolio_split_last(term, " * ", &a, &b);
    bool fits = product && ((portfolio_number(a, &c) && portfolio_same(b, v)) ||
                            (portfolio_number(b, &c) && portfolio_same(a, v)));
    sum->p += fits ? sign * c : 0;
    return fits;
}

static bool linear_parse(linear *out, portfolio_span s, portfolio_span v)
{
    *out = (linear){0, 0};
    portfolio_span left, right;
    s = portfolio_unparen(s);
    while (portfolio_split_last(s, " + ", &left, &right)) {
        if (!add_term(out, right, v, 1)) {
            return false;
        }
        s = left;
    }
    return add_term(out, s, v, 1);
}

static int64_t gcd_of(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* gcd (p v + q) (r v + s) divides the combination in which v cancels; so it is at most that number. */
static void add_gcd(portfolio_list *list, portfolio_span a, portfolio_span b, portfolio_span v)
{
    linear x, y;
    if (!linear_parse(&x, a, v) || !linear_parse(&y, b, v) || x.p <= 0 || y.p <= 0 ||
        x.p > 1000000 || y.p > 1000000 || x.q > 1000000 || y.q > 1000000) {
        return;
    }
    int64_t g = gcd_of(x.p, y.p);
    long long k = y.p / g, l = x.p / g, rest = k * x.q - l * y.q;
    portfolio_span s = portfolio_unparen(a), t = portfolio_unparen(b);
    const char *first = rest >= 0 ? "h1" : "h2", *second = rest >= 0 ? "h2" : "h1";
    portfolio_add(
        list, 3.2,
        "have hg : ∀ d : Nat, d ∣ %.*s → d ∣ %.*s → d ≤ %lld := fun d h1 h2 => "
        "Nat.le_of_dvd (by omega) ((show %lld * (%.*s) - %lld * (%.*s) = %lld by omega) ▸ "
        "Nat.dvd_sub (Nat.dvd_mul_left_of_dvd %s %lld) (Nat.dvd_mul_left_of_dvd %s %lld))\n"
        "have hl := hg _ (Nat.gcd_dvd_left (%.*s) (%.*s)) (Nat.gcd_dvd_right _ _)\n"
        "have hp : 0 < Nat.gcd (%.*s) (%.*s) := Nat.pos_of_ne_zero fun h => by have := "
        "Nat.eq_zero_of_gcd_eq_zero_left h; have := Nat.eq_zero_of_gcd_eq_zero_right h; "
        "omega\ntry omega",
        PORTFOLIO_FMT(s), PORTFOLIO_FMT(t), rest >= 0 ? rest : -rest, rest >= 0 ? k : l,
        PORTFOLIO_FMT(rest >= 0 ? s : t), rest >= 0 ? l : k, PORTFOLIO_FMT(rest >= 0 ? t : s),
        rest >= 0 ? rest : -rest, first, rest >= 0 ? k : l, second, rest >= 0 ? l : k,
        PORTFOLIO_FMT(s), PORTFOLIO_FMT(t), PORTFOLIO_FMT(s), PORTFOLIO_FMT(t));
}

/* Every "Nat.gcd a b" and "a.gcd b" of the goal. */
static void add_gcds(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    portfolio_span text = goal->text;
    size_t given = 0;
    for (size_t i = 0; i + 5 < text.len && given < GCDS_MAX; i++) {
        portfolio_span here = {text.at + i, text.len - i};
        if (!portfolio_starts(here, ".gcd ")) {
            continue;
        }
        portfolio_span a = portfolio_operand_before(text, i);
        portfolio_span b = portfolio_operand_after(text, i + strlen(".gcd "));
        if (portfolio_equal(a, "Nat")) {
            a = b;
            b = portfolio_operand_after(text, (size_t)(a.at + a.len - text.at) + 1);
        }
        for (size_t k = 0; k < goal->hyp_count && a.len > 0 && b.len > 0; k++) {
            const portfolio_hyp *hyp = &goal->hyps[k];
            if (hyp->nameable && hyp->kind == PORTFOLIO_NAT && portfolio_has_word(a, hyp->name)) {
                add_gcd(list, a, b, hyp->name);
                given++;
                break;
            }
        }
    }
}

/* c ∣ a + b, c ∣ a * b: from the parts. */
static void add_divided_parts(portfolio_list *list)
{
    const portfolio_prop *target = &list->goal->target;
    portfolio_span a, b;
    int64_t modulus = 0;
    if (target->head != PORTFOLIO_DVD || portfolio_number(target->left, &modulus)) {
        return;
    }
    bool nat = portfolio_number_kind(list->goal, target->text) == PORTFOLIO_NAT;
    if (portfolio_split_last(target->right, " + ", &a, &b)) {
        portfolio_add_text(list, 2.5,
                           nat ? "refine Nat.dvd_add ?_ ?_" : "refine Int.dvd_add ?_ ?_");
    } else if (portfolio_split_last(target->right, " - ", &a, &b)) {
        portfolio_add_text(list, 2.5,
                           nat ? "refine Nat.dvd_sub ?_ ?_" : "refine Int.dvd_sub ?_ ?_");
    } else if (portfolio_split_last(target->right, " * ", &a, &b)) {
        portfolio_add_text(list, 2.0,
                           nat ? "refine Nat.dvd_mul_left_of_dvd ?_ _"
                               : "refine Int.dvd_mul_of_dvd_right ?_");
        portfolio_add_text(list, 2.0,
                           nat ? "refine Nat.dvd_mul_right_of_dvd ?_ _"
                               : "refine Int.dvd_mul_of_dvd_left ?_");
    }
    portfolio_add_text(list, 0.5,
                       nat ? "refine Nat.dvd_trans ‹_› ?_" : "refine Int.dvd_trans ‹_› ?_");
}

/* Cofactors that occur in identities of degree two and three, for two and for three values. */
static const char *const cofactors_two[] = {
    "$x ^ 2 - $x * $y + $y ^ 2", "$x ^ 2 + $x * $y + $y ^ 2", "$x - $y", "$x + $y",
    "$x ^ 2 + $y ^ 2",
};
static const char *const cofactors_three[] = {
    "$x ^ 2 + $y ^ 2 + $z ^ 2 - $x * $y - $y * $z - $z * $x",
    "$x ^ 2 + $y ^ 2 + $z ^ 2 + $x * $y + $y * $z + $z * $x",
    "$x + $y + $z",
};

/* a ∣ b between polynomials of integers: the quotient may be symmetric; grind checks the identity. */
static void add_cofactors(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    portfolio_binding bindings[3] = {{'x', {"", 0}}, {'y', {"", 0}}, {'z', {"", 0}}};
    int64_t modulus = 0;
    size_t n = 0;
    if (goal->target.head != PORTFOLIO_DVD || portfolio_number(goal->target.left, &modulus)) {
        return;
    }
    for (size_t i = 0; i < goal->hyp_count && n < 3; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (hyp->nameable && hyp->kind == PORTFOLIO_INT &&
            portfolio_has_word(goal->target.text, hyp->name)) {
            bindings[n++].value = hyp->name;
        }
    }
    const char *const *forms = n == 2 ? cofactors_two : cofactors_three;
    size_t count = n == 2   ? sizeof cofactors_two / sizeof *cofactors_two
                   : n == 3 ? sizeof cofactors_three / sizeof *cofactors_three
                            : 0;
    for (size_t k = 0; k < count; k++) {
        pv_buf text = {0};
        pv_buf_printf(&text, "exact ⟨%s, by grind⟩", forms[k]);
        portfolio_add_template(list, 1.6 - 0.1 * (double)k, pv_buf_text(&text), bindings, n);
        list->failed = list->failed || !pv_buf_ok(&text);
        pv_buf_release(&text);
    }
}

void portfolio_add_divisors(portfolio_list *list)
{
    add_gcds(list);
    add_divided_parts(list);
    add_cofactors(list);
}
