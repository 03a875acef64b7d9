/* Finding literals, powers, products and moduli in the text of a goal. */
#include "search_portfolio_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '\'' || c == '.' ||
           (unsigned char)c > 0x7f;
}

portfolio_span portfolio_operand_before(portfolio_span s, size_t at)
{
    size_t from = at;
    if (at > 0 && s.at[at - 1] == ')') {
        int depth = 0;
        do {
            from--;
            depth += s.at[from] == ')' ? 1 : s.at[from] == '(' ? -1 : 0;
        } while (from > 0 && depth > 0);
    }
    while (from > 0 && from == at && is_word_byte(s.at[from - 1])) {
        size_t to = from;
        while (to > 0 && is_word_byte(s.at[to - 1])) {
            to--;
        }
        return (portfolio_span){s.at + to, at - to};
    }
    return (portfolio_span){s.at + from, at - from};
}

portfolio_span portfolio_operand_after(portfolio_span s, size_t at)
{
    size_t to = at;
    if (to < s.len && s.at[to] == '(') {
        int depth = 0;
        do {
            depth += s.at[to] == '(' ? 1 : s.at[to] == ')' ? -1 : 0;
            to++;
        } while (to < s.len && depth > 0);
        return (portfolio_span){s.at + at, to - at};
    }
    while (to < s.len && is_word_byte(s.at[to])) {
        to++;
    }
    return (portfolio_span){s.at + at, to - at};
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Keeps `out` a set. */
static size_t insert(int64_t *out, size_t n, size_t max, int64_t value)
{
    for (size_t i = 0; i < n; i++) {
        if (out[i] == value) {
            return n;
        }
    }
    if (n < max) {
        out[n++] = value;
    }
    return n;
}

size_t portfolio_literals(const portfolio_goal *goal, int64_t low, int64_t high, int64_t *out,
                          size_t max)
{
    portfolio_span s = goal->text;
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        portfolio_span word = portfolio_operand_after(s, i);
        int64_t value = 0;
        if (word.len > 0 && word.at[0] != '(' && portfolio_number(word, &value) && value >= low &&
            value <= high) {
            n = insert(out, n, max, value);
        }
        i += word.len > 0 && word.at[0] != '(' ? word.len : 1;
    }
    qsort(out, n, sizeof *out, ascending);
    return n;
}

size_t portfolio_pairs(const portfolio_goal *goal, const char *op, portfolio_pair *out, size_t max)
{
    portfolio_span s = goal->text;
    size_t n = 0, width = strlen(op);
    for (size_t i = 0; i + width < s.len && n < max; i++) {
        if (memcmp(s.at + i, op, width) != 0) {
            continue;
        }
        portfolio_pair pair = {portfolio_operand_before(s, i),
                               portfolio_operand_after(s, i + width)};
        bool fresh = pair.left.len > 0 && pair.right.len > 0;
        for (size_t k = 0; k < n && fresh; k++) {
            fresh = !portfolio_same(out[k].left, pair.left) ||
                    !portfolio_same(out[k].right, pair.right);
        }
        if (fresh) {
            out[n++] = pair;
        }
    }
    return n;
}

size_t portfolio_moduli(const portfolio_goal *goal, int64_t *out, size_t max)
{
    portfolio_span s = goal->text;
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        portfolio_span here = {s.at + i, s.len - i}, operand = {s.at, 0};
        int64_t value = 0;
        if (portfolio_starts(here, " % ")) {
            operand = portfolio_operand_after(s, i + strlen(" % "));
        } else if (portfolio_starts(here, " ∣ ")) {
            operand = portfolio_operand_before(s, i);
        }
        if (operand.len > 0 && portfolio_number(operand, &value) && value >= 2) {
            n = insert(out, n, max, value);
        }
    }
    qsort(out, n, sizeof *out, ascending);
    return n;
}

const portfolio_hyp *portfolio_value(const portfolio_goal *goal, portfolio_span s)
{
    s = portfolio_unparen(s);
    if (portfolio_starts(s, "↑")) {
        s = (portfolio_span){s.at + strlen("↑"), s.len - strlen("↑")};
    }
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (hyp->nameable && hyp->kind != PORTFOLIO_PROOF && portfolio_same(hyp->name, s)) {
            return hyp;
        }
    }
    return NULL;
}

portfolio_kind portfolio_number_kind(const portfolio_goal *goal, portfolio_span text)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if ((hyp->kind == PORTFOLIO_NAT || hyp->kind == PORTFOLIO_INT) &&
            portfolio_has_word(text, hyp->name)) {
            bool coerced = hyp->kind == PORTFOLIO_NAT && portfolio_has(text, "↑");
            return coerced ? PORTFOLIO_INT : hyp->kind;
        }
    }
    return PORTFOLIO_PROOF;
}
