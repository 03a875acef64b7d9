/* What the context says about the range of a number. */
#include "search_portfolio_internal.h"

enum { PAIRS_MAX = 16 };

static void raise_low(portfolio_range *r, int64_t low)
{
    r->low = r->has_low && r->low > low ? r->low : low;
    r->has_low = true;
}

static void lower_high(portfolio_range *r, int64_t high)
{
    r->high = r->has_high && r->high < high ? r->high : high;
    r->has_high = true;
}

/* A side "v", "v + c", "v - c", "-v", "-(v + c)" as sign * v + offset. */
static bool parse_side(portfolio_span side, portfolio_span v, int64_t *sign, int64_t *offset)
{
    portfolio_span left, right;
    side = portfolio_unparen(side);
    *sign = portfolio_starts(side, "-") ? -1 : 1;
    if (*sign < 0) {
        side = portfolio_unparen((portfolio_span){side.at + 1, side.len - 1});
    }
    *offset = 0;
    if (!portfolio_same(side, v)) {
        bool plus = portfolio_split_last(side, " + ", &left, &right);
        bool minus = !plus && portfolio_split_last(side, " - ", &left, &right);
        if ((!plus && !minus) || !portfolio_same(left, v) || !portfolio_number(right, offset)) {
            return false;
        }
        *offset *= minus ? -*sign : *sign;
    }
    return true;
}

/* Takes in one hypothesis "v ≤ 9", "0 < v + 1", "¬v < 3", ... */
static void narrow(portfolio_range *r, portfolio_prop p, bool negated)
{
    int64_t number = 0, sign = 1, offset = 0;
    bool less = p.head == PORTFOLIO_LT || p.head == PORTFOLIO_LE;
    bool strict = p.head == PORTFOLIO_LT || p.head == PORTFOLIO_GT;
    if (!less && p.head != PORTFOLIO_GT && p.head != PORTFOLIO_GE) {
        return;
    }
    bool left = portfolio_number(p.right, &number);
    if ((!left && !portfolio_number(p.left, &number)) ||
        !parse_side(left ? p.left : p.right, r->value->name, &sign, &offset)) {
        return;
    }
    if (negated) {
        less = !less;
        strict = !strict;
    }
    /* sign * v is at most, or at least, the number without the offset. */
    bool at_most = less == left;
    int64_t bound = number - offset + (strict ? (at_most ? -1 : 1) : 0);
    if (at_most == (sign > 0)) {
        lower_high(r, sign * bound);
    } else {
        raise_low(r, sign * bound);
    }
}

portfolio_range portfolio_range_of(const portfolio_goal *goal, const portfolio_hyp *value)
{
    portfolio_range r = {.value = value, .has_low = value->kind == PORTFOLIO_NAT};
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_prop *p = &goal->hyps[i].prop;
        if (goal->hyps[i].kind != PORTFOLIO_PROOF) {
            continue;
        }
        if (p->head == PORTFOLIO_NOT) {
            narrow(&r, portfolio_prop_parse(p->right), true);
        } else {
            narrow(&r, *p, false);
        }
    }
    return r;
}

bool portfolio_is_number(const portfolio_hyp *hyp)
{
    return hyp->nameable && (hyp->kind == PORTFOLIO_NAT || hyp->kind == PORTFOLIO_INT);
}

bool portfolio_is_nonlinear(const portfolio_goal *goal, const portfolio_hyp *hyp)
{
    static const char *const ops[] = {" * ", " ^ ", " % ", " / "};
    portfolio_pair pairs[PAIRS_MAX];
    int64_t number = 0;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        size_t n = portfolio_pairs(goal, ops[k], pairs, PAIRS_MAX);
        for (size_t i = 0; i < n; i++) {
            bool left = portfolio_has_word(pairs[i].left, hyp->name);
            bool right = portfolio_has_word(pairs[i].right, hyp->name);
            bool by_literal = portfolio_number(pairs[i].left, &number) ||
                              portfolio_number(pairs[i].right, &number);
            if (k == 0 ? (left || right) && !by_literal : k == 1 ? left || right : right) {
                return true;
            }
        }
    }
    return false;
}
