/* Linear recurrences f n = c1 * f (n - 1) + ... whose solutions are all periodic: far values come back to near ones. */
#include "search_portfolio_internal.h"

#include <string.h>

enum { ORDER_MAX = 6, PERIOD_MAX = 24, FAR_MAX = 4, FACTOR_MAX = 1000 };

/* f (n + start) = sum of coefficient[i] * f (n + start - i), i = 1 ... order, for all n. */
typedef struct recurrence {
    portfolio_span f, n; /* names of the sequence and of the bound index            */
    bool from_start;     /* stated for n ≥ start with f n on the left               */
    int64_t start;
    int64_t order;
    int64_t coefficient[ORDER_MAX + 1];
} recurrence;

/* The offset k of an argument "n", "(n + k)", "(n - k)". */
static bool parse_offset(portfolio_span argument, portfolio_span n, int64_t *offset)
{
    portfolio_span left, right;
    argument = portfolio_unparen(argument);
    *offset = 0;
    if (portfolio_same(argument, n)) {
        return true;
    }
    bool plus = portfolio_split_last(argument, " + ", &left, &right);
    bool minus = !plus && portfolio_split_last(argument, " - ", &left, &right);
    if ((!plus && !minus) || !portfolio_same(left, n) || !portfolio_number(right, offset)) {
        return false;
    }
    *offset = minus ? -*offset : *offset;
    return true;
}

/* "f (n - i)" or "c * f (n - i)": the offset and the factor. */
static bool parse_term(const recurrence *r, portfolio_span term, int64_t *offset, int64_t *factor)
{
    portfolio_span c, rest, f, argument;
    term = portfolio_unparen(term);
    *factor = 1;
    if (portfolio_split_last(term, " * ", &c, &rest)) {
        if (!portfolio_number(c, factor) || *factor > FACTOR_MAX || *factor < -FACTOR_MAX) {
            return false;
        }
        term = rest;
    }
    size_t space = 0;
    while (space < term.len && term.at[space] != ' ') {
        space++;
    }
    f = (portfolio_span){term.at, space};
    argument = portfolio_trim((portfolio_span){term.at + space, term.len - space});
    return argument.len > 0 && portfolio_same(f, r->f) && parse_offset(argument, r->n, offset);
}

/* Takes the last term of the sum off; its sign. False: that was all. */
static bool take_last(portfolio_span *sum, portfolio_span *term, int64_t *sign)
{
    portfolio_span a, b, c, d;
    bool plus = portfolio_split_last(*sum, " + ", &a, &b);
    bool minus = portfolio_split_last(*sum, " - ", &c, &d);
    if (!plus && !minus) {
        *term = *sum;
        *sign = 1;
        return false;
    }
    bool use_minus = minus && (!plus || d.at > b.at);
    *term = use_minus ? d : b;
    *sum = use_minus ? c : a;
    *sign = use_minus ? -1 : 1;
    return true;
}

static bool parse_sum(recurrence *r, portfolio_span sum, int64_t top)
{
    bool more = true;
    while (more) {
        portfolio_span term;
        int64_t sign = 1, offset = 0, factor = 1;
        more = take_last(&sum, &term, &sign);
        if (!parse_term(r, term, &offset, &factor) || top - offset < 1 ||
            top - offset > ORDER_MAX) {
            return false;
        }
        r->coefficient[top - offset] += sign * factor;
        r->order = top - offset > r->order ? top - offset : r->order;
    }
    return true;
}

/* ∀ (n : Nat), n ≥ 5 → f n = ..., or ∀ (n : Nat), f (n + 2) = ... */
static bool parse_recurrence(const portfolio_hyp *hyp, recurrence *r)
{
    portfolio_span binders = hyp->prop.left, type;
    memset(r, 0, sizeof *r);
    if (hyp->prop.head != PORTFOLIO_FORALL || !portfolio_next_binder(&binders, &r->n, &type)) {
        return false;
    }
    portfolio_prop body = portfolio_prop_parse(hyp->prop.right);
    if (body.head == PORTFOLIO_IMPLIES) {
        portfolio_prop from = portfolio_prop_parse(body.left);
        bool above = from.head == PORTFOLIO_GE && portfolio_same(from.left, r->n) &&
                     portfolio_number(from.right, &r->start);
        if (!above) {
            return false;
        }
        r->from_start = true;
        body = portfolio_prop_parse(body.right);
    }
    size_t name = 0;
    while (name < body.left.len && body.left.at[name] != ' ') {
        name++;
    }
    r->f = (portfolio_span){body.left.at, name};
    int64_t top = 0, one = 1;
    if (body.head != PORTFOLIO_EQ || !parse_term(r, body.left, &top, &one) || one != 1 ||
        (r->from_start && top != 0) || !parse_sum(r, body.right, top)) {
        return false;
    }
    r->start = r->from_start ? r->start : top;
    return r->start >= r->order;
}

/* The least p such that every solution has period p: the recurrence brings each unit vector back to itself. */
static int64_t find_period(const recurrence *r)
{
    for (int64_t p = 1; p <= PERIOD_MAX; p++) {
        bool returns = true;
        for (int64_t unit = 0; unit < r->order && returns; unit++) {
            int64_t s[PERIOD_MAX + ORDER_MAX + 1] = {0};
            s[unit] = 1;
            for (int64_t n = r->order; n < p + r->order; n++) {
                for (int64_t i = 1; i <= r->order; i++) {
                    s[n] += r->coefficient[i] * s[n - i];
                }
                if (s[n] > 1000000 || s[n] < -1000000) {
                    return 0;
                }
            }
            for (int64_t k = 0; k < r->order; k++) {
                returns = returns && s[p + k] == s[k];
            }
        }
        if (returns) {
            return p;
        }
    }
    return 0;
}

/* hs: the recurrence in the form that needs no subtraction of indices. */
static void put_step(pv_buf *out, const recurrence *r, const portfolio_hyp *hyp)
{
    pv_buf_printf(out, "have hs : ∀ n, %.*s (n + %lld) = ", PORTFOLIO_FMT(r->f),
                  (long long)r->start);
    bool first = true;
    for (int64_t i = 1; i <= r->order; i++) {
        if (r->coefficient[i] != 0) {
            pv_buf_printf(out, "%s%lld * %.*s (n + %lld)", first ? "" : " + ",
                          (long long)r->coefficient[i], PORTFOLIO_FMT(r->f),
                          (long long)(r->start - i));
            first = false;
        }
    }
    pv_buf_printf(out, " := fun n => by have h := %.*s ", PORTFOLIO_FMT(hyp->name));
    if (r->from_start) {
        pv_buf_printf(out,
                      "(n + %lld) (by omega); simp only [Nat.add_sub_cancel, Nat.reduceSubDiff] at "
                      "h; omega\n",
                      (long long)r->start);
    } else {
        pv_buf_puts(out, "n; omega\n");
    }
}

/* hp: one period, from as many instances of hs as it takes; hq: any number of periods. */
static void put_periods(pv_buf *out, const recurrence *r, const portfolio_hyp *hyp, long long p)
{
    long long b = r->start - r->order;
    pv_buf_printf(out,
                  "have hp : ∀ n, %.*s (n + %lld) = %.*s (n + %lld) := fun n => by have a0 := hs n",
                  PORTFOLIO_FMT(r->f), b + p, PORTFOLIO_FMT(r->f), b);
    for (long long i = 1; i <= p - r->order; i++) {
        pv_buf_printf(out, "; have a%lld := hs (n + %lld)", i, i);
    }
    pv_buf_printf(out, "; clear hs %.*s; simp only [Nat.add_assoc, Nat.reduceAdd] at *; omega\n",
                  PORTFOLIO_FMT(hyp->name));
    pv_buf_printf(
        out,
        "have hq : ∀ q r, %.*s (r + %lld + %lld * q) = %.*s (r + %lld) := fun q r => by "
        "induction q with | zero => rfl | succ q ih => rw [show r + %lld + %lld * (q + 1) = "
        "r + %lld * q + %lld by omega, hp, show r + %lld * q + %lld = r + %lld + %lld * q "
        "by omega, ih]\n",
        PORTFOLIO_FMT(r->f), b, p, PORTFOLIO_FMT(r->f), b, b, p, p, b + p, p, b, b, p);
}

/* The arguments N of f N with a large literal N in the target. */
static size_t far_arguments(const portfolio_goal *goal, const recurrence *r, int64_t *out)
{
    portfolio_span t = goal->target.text;
    size_t n = 0;
    for (size_t i = 0; i + r->f.len + 1 < t.len && n < FAR_MAX; i++) {
        bool here = memcmp(t.at + i, r->f.at, r->f.len) == 0 && t.at[i + r->f.len] == ' ';
        int64_t value = 0;
        if (here && portfolio_number(portfolio_operand_after(t, i + r->f.len + 1), &value) &&
            value > r->start) {
            out[n++] = value;
        }
    }
    return n;
}

static void add_periodic(portfolio_list *list, const portfolio_hyp *hyp, const recurrence *r)
{
    int64_t far[FAR_MAX], p = find_period(r), b = r->start - r->order, near = 0;
    size_t count = far_arguments(list->goal, r, far);
    if (p == 0 || count == 0) {
        return;
    }
    pv_buf text = {0};
    put_step(&text, r, hyp);
    put_periods(&text, r, hyp, p);
    for (size_t i = 0; i < count; i++) {
        int64_t rest = (far[i] - b) % p;
        near = rest > near ? rest : near;
        pv_buf_printf(&text, "have e%zu := hq %lld %lld\n", i, (long long)((far[i] - b) / p),
                      (long long)rest);
    }
    for (int64_t i = 0; i + r->order <= near; i++) {
        pv_buf_printf(&text, "have s%lld := hs %lld\n", (long long)i, (long long)i);
    }
    pv_buf_printf(&text,
                  "clear hs hp hq %.*s\nsimp only [Nat.reduceAdd, Nat.reduceMul] at *\ntry omega",
                  PORTFOLIO_FMT(hyp->name));
    portfolio_add_text(list, 3.2, pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

void portfolio_add_recurrences(portfolio_list *list)
{
    for (size_t i = 0; i < list->goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &list->goal->hyps[i];
        recurrence r;
        if (hyp->nameable && hyp->kind == PORTFOLIO_PROOF && parse_recurrence(hyp, &r)) {
            add_periodic(list, hyp, &r);
        }
    }
}
