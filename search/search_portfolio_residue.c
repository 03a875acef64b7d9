/* Number theory modulo literals: residues of values, of nonlinear terms, of powers; divisors of combinations. */
#include "search_portfolio_internal.h"

#include <string.h>

enum {
    MODULI_MAX = 4,
    VALUES_MAX = 3,
    PAIRS_MAX = 16,
    RESIDUES_MAX = 20,    /* largest modulus whose residues are listed for one value  */
    RESIDUES_TWO_MAX = 5, /* the same for two values                                  */
    PERIOD_MAX = 24,
    POWERS_MAX = 3,
};

#define NAT_SET "Nat.dvd_iff_mod_eq_zero, Nat.pow_succ, Nat.mul_mod, Nat.add_mod, Nat.pow_mod"
#define INT_SET "Int.dvd_iff_emod_eq_zero, Int.pow_succ, Int.mul_emod, Int.add_emod, Int.sub_emod"

/* The values of one number type that stand in a nonlinear term, at most `max`. */
static size_t nonlinear_values(const portfolio_goal *goal, const portfolio_hyp **out, size_t max)
{
    static const char *const ops[] = {" ^ ", " * "};
    size_t n = 0;
    for (size_t k = 0; k < 2; k++) {
        portfolio_pair pairs[PAIRS_MAX];
        size_t count = portfolio_pairs(goal, ops[k], pairs, PAIRS_MAX);
        for (size_t i = 0; i < goal->hyp_count; i++) {
            const portfolio_hyp *hyp = &goal->hyps[i];
            bool wanted =
                hyp->nameable && (hyp->kind == PORTFOLIO_NAT || hyp->kind == PORTFOLIO_INT);
            for (size_t j = 0; j < n && wanted; j++) {
                wanted = out[j] != hyp;
            }
            bool found = false;
            for (size_t j = 0; j < count && wanted && !found; j++) {
                int64_t number = 0;
                bool literal = portfolio_number(pairs[j].left, &number) ||
                               (k == 1 && portfolio_number(pairs[j].right, &number));
                found = !literal && (portfolio_has_word(pairs[j].left, hyp->name) ||
                                     (k == 1 && portfolio_has_word(pairs[j].right, hyp->name)));
            }
            if (found && n < max && (n == 0 || out[0]->kind == hyp->kind)) {
                out[n++] = hyp;
            }
        }
    }
    return n;
}

/* Names of the hypotheses "a % m = r", each after a comma: what simp needs to know. */
static void put_known_residues(const portfolio_goal *goal, pv_buf *out)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (hyp->nameable && hyp->prop.head == PORTFOLIO_EQ && portfolio_has(hyp->type, " % ")) {
            pv_buf_printf(out, ", %.*s", PORTFOLIO_FMT(hyp->name));
        }
    }
}

/* "v % m = 0 ∨ v % m = 1 ∨ ..." */
static void put_residue_cases(pv_buf *out, portfolio_span v, int64_t m)
{
    for (int64_t r = 0; r < m; r++) {
        pv_buf_printf(out, "%s%.*s %% %lld = %lld", r > 0 ? " ∨ " : "", PORTFOLIO_FMT(v),
                      (long long)m, (long long)r);
    }
}

/* "h | h | ..." */
static void put_alternatives(pv_buf *out, const char *name, int64_t count)
{
    for (int64_t r = 0; r < count; r++) {
        pv_buf_printf(out, "%s%s", r > 0 ? " | " : "", name);
    }
}

/* One value, or two at once, modulo m: all residues, then simp with the arithmetic of remainders. */
static void add_residue_split(portfolio_list *list, const portfolio_hyp *const *values, size_t n,
                              int64_t m, double weight)
{
    static const char *const names[] = {"hr", "hs"};
    const char *set = values[0]->kind == PORTFOLIO_NAT ? NAT_SET : INT_SET;
    pv_buf known = {0}, text = {0};
    put_known_residues(list->goal, &known);
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(&text, "have %s : ", names[i]);
        put_residue_cases(&text, values[i]->name, m);
        pv_buf_puts(&text, " := by omega\n");
    }
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(&text, "%srcases %s with ", i > 0 ? " <;> " : "", names[i]);
        put_alternatives(&text, names[i], m);
    }
    pv_buf_printf(&text, " <;> try (first | omega | simp [%s, hr%s%s] | simp_all [%s])", set,
                  n > 1 ? ", hs" : "", pv_buf_text(&known), set);
    portfolio_add_text(list, weight, pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&known) || !pv_buf_ok(&text);
    pv_buf_release(&known);
    pv_buf_release(&text);
}

/* Nonlinear atoms v ^ k, v * v: their residues follow from v's; omega does the rest. */
static void add_atom_residues(portfolio_list *list, const portfolio_hyp *const *values, size_t n,
                              int64_t m, double weight)
{
    portfolio_pair powers[PAIRS_MAX], products[PAIRS_MAX];
    size_t power_count = portfolio_pairs(list->goal, " ^ ", powers, PAIRS_MAX);
    size_t product_count = portfolio_pairs(list->goal, " * ", products, PAIRS_MAX);
    bool nat = values[0]->kind == PORTFOLIO_NAT;
    pv_buf facts = {0}, names = {0}, text = {0};
    for (size_t i = 0; i < n; i++) {
        portfolio_span v = values[i]->name;
        size_t made = 0;
        for (size_t k = 0; k < power_count && made < 3; k++) {
            int64_t e = 0;
            if (portfolio_same(powers[k].left, v) && portfolio_number(powers[k].right, &e)) {
                pv_buf_printf(&facts, "have hp%zu%zu := %s %.*s %lld %lld\n", i, made,
                              nat ? "Nat.pow_mod" : "Int.emod_pow", PORTFOLIO_FMT(v), (long long)e,
                              (long long)m);
                pv_buf_printf(&names, " hp%zu%zu", i, made++);
            }
        }
        for (size_t k = 0; k < product_count && made < 3; k++) {
            if (portfolio_value(list->goal, products[k].left) != NULL &&
                portfolio_value(list->goal, products[k].right) != NULL && i == 0) {
                pv_buf_printf(&facts, "have hp%zu%zu := %s %.*s %.*s %lld\n", i, made,
                              nat ? "Nat.mul_mod" : "Int.mul_emod", PORTFOLIO_FMT(products[k].left),
                              PORTFOLIO_FMT(products[k].right), (long long)m);
                pv_buf_printf(&names, " hp%zu%zu", i, made++);
            }
        }
    }
    pv_buf_puts(&text, pv_buf_text(&facts));
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(&text, "%srcases (show ", i > 0 ? " <;> " : "");
        put_residue_cases(&text, values[i]->name, m);
        pv_buf_printf(&text, " by omega) with ");
        put_alternatives(&text, i == 0 ? "hr" : "hs", m);
    }
    pv_buf_printf(&text, " <;> simp [hr%s] at%s <;> omega", n > 1 ? ", hs" : "",
                  pv_buf_text(&names));
    if (facts.len > 0) {
        portfolio_add_text(list, weight, pv_buf_text(&text));
    }
    list->failed = list->failed || !pv_buf_ok(&facts) || !pv_buf_ok(&names) || !pv_buf_ok(&text);
    pv_buf_release(&facts);
    pv_buf_release(&names);
    pv_buf_release(&text);
}

/* v ^ k, or v * v: what takes few values modulo a small number. */
static bool has_square(const portfolio_goal *goal)
{
    portfolio_pair pairs[PAIRS_MAX];
    int64_t number = 0;
    size_t n = portfolio_pairs(goal, " ^ ", pairs, PAIRS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (portfolio_value(goal, pairs[i].left) != NULL &&
            portfolio_number(pairs[i].right, &number)) {
            return true;
        }
    }
    n = portfolio_pairs(goal, " * ", pairs, PAIRS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (portfolio_same(pairs[i].left, pairs[i].right)) {
            return true;
        }
    }
    return false;
}

/* Cases of v % m for a value of linear terms: "even or odd". */
static void add_plain_split(portfolio_list *list, int64_t m, double weight)
{
    const portfolio_goal *goal = list->goal;
    for (size_t i = 0, given = 0; i < goal->hyp_count && given < 2; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        bool number = hyp->kind == PORTFOLIO_NAT || hyp->kind == PORTFOLIO_INT;
        if (hyp->nameable && number && portfolio_has_word(goal->target.text, hyp->name)) {
            pv_buf text = {0};
            pv_buf_puts(&text, "rcases (show ");
            put_residue_cases(&text, hyp->name, m);
            pv_buf_puts(&text, " by omega) with ");
            put_alternatives(&text, "hr", m);
            portfolio_add_text(list, weight - 0.3 * (double)given++, pv_buf_text(&text));
            list->failed = list->failed || !pv_buf_ok(&text);
            pv_buf_release(&text);
        }
    }
}

void portfolio_add_residues(portfolio_list *list)
{
    const portfolio_goal *goal = list->goal;
    const portfolio_hyp *values[VALUES_MAX];
    int64_t moduli[MODULI_MAX];
    size_t count = portfolio_moduli(goal, moduli, MODULI_MAX);
    size_t n = nonlinear_values(goal, values, VALUES_MAX);
    pv_buf known = {0};
    put_known_residues(goal, &known);
    if (known.len > 0 && n > 0) {
        portfolio_add(list, 2.5, "simp [%s%s]",
                      values[0]->kind == PORTFOLIO_NAT ? NAT_SET : INT_SET, pv_buf_text(&known));
    }
    pv_buf_release(&known);
    /* A target that speaks of no remainder is likely to need something else first. */
    bool asked = portfolio_has(goal->target.text, " % ") ||
                 portfolio_has(goal->target.text, " ∣ ") || goal->target.head == PORTFOLIO_FALSE;
    double base = asked ? 0 : -1.2;
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; i < n && moduli[k] <= RESIDUES_MAX; i++) {
            add_residue_split(list, &values[i], 1, moduli[k], base + 2.4 - 0.1 * (double)(i + k));
        }
        if (n >= 1 && moduli[k] <= RESIDUES_MAX) {
            add_atom_residues(list, values, 1, moduli[k], base + 2.0);
        }
        if (n >= 2 && moduli[k] <= RESIDUES_TWO_MAX) {
            add_residue_split(list, values, 2, moduli[k], base + 1.8);
            add_atom_residues(list, values, 2, moduli[k], base + 1.7);
        }
    }
    bool refutes = goal->target.head == PORTFOLIO_FALSE && n > 0 && n <= 2 && has_square(goal);
    int64_t factors[2];
    bool chooses = goal->target.head == PORTFOLIO_OR || goal->target.head == PORTFOLIO_EXISTS;
    size_t factor_count = chooses ? portfolio_literals(goal, 2, 6, factors, 2) : 0;
    for (size_t k = 0; k < factor_count; k++) {
        add_plain_split(list, factors[k], 1.3 - 0.3 * (double)k);
    }
    static const int64_t squares[] = {4, 3, 8, 5, 7}; /* where squares or cubes take few values */
    for (size_t k = 0; refutes && k < sizeof squares / sizeof *squares; k++) {
        if (n == 1 || squares[k] <= RESIDUES_TWO_MAX) {
            add_atom_residues(list, values, n, squares[k], 0.6 - 0.1 * (double)k);
        }
    }
}

/* The least q and p with b ^ (n + p) ≡ b ^ n (mod m) for all n ≥ q; false when they are large. */
static bool find_period(int64_t b, int64_t m, int64_t *q, int64_t *p)
{
    int64_t seen[PERIOD_MAX + 1], value = 1 % m;
    for (int64_t n = 0; n <= PERIOD_MAX; n++) {
        for (int64_t k = 0; k < n; k++) {
            if (seen[k] == value) {
                *q = k;
                *p = n - k;
                return true;
            }
        }
        seen[n] = value;
        value = value * (b % m) % m;
    }
    return false;
}

/* b ^ e % m by the residue of e modulo the period: proves the period once, splits on e, generalises the power. */
static void add_power_period(portfolio_list *list, portfolio_span exponent, int64_t b, int64_t m,
                             double weight)
{
    int64_t q = 0, p = 0;
    if (m > 100000 || !find_period(b, m, &q, &p)) {
        return;
    }
    long long B = b, M = m, Q = q, P = p;
    portfolio_span e = portfolio_unparen(exponent);
    pv_buf text = {0};
    pv_buf_printf(&text,
                  "have hp : ∀ n : Nat, %lld ^ (n + %lld) %% %lld = %lld ^ (n %% %lld + %lld) %% "
                  "%lld := fun n => by induction n using Nat.strongRecOn with | ind n ih => exact "
                  "if h : n < %lld then by rw [Nat.mod_eq_of_lt h] else by have e := ih (n - %lld) "
                  "(by omega); rw [← Nat.mod_eq_sub_mod (Nat.le_of_not_lt h)] at e; rw [show n + "
                  "%lld = n - %lld + %lld + %lld by omega, Nat.pow_add, ← e]; omega\n",
                  B, Q, M, B, P, Q, M, P, P, Q, P, Q, P);
    pv_buf_printf(&text, "have hr : ");
    for (int64_t k = 0; k < q; k++) {
        pv_buf_printf(&text, "%.*s = %lld ∨ ", PORTFOLIO_FMT(e), (long long)k);
    }
    for (int64_t r = 0; r < p; r++) {
        pv_buf_printf(&text, "%s(%lld ≤ %.*s ∧ (%.*s - %lld) %% %lld = %lld)", r > 0 ? " ∨ " : "",
                      Q, PORTFOLIO_FMT(e), PORTFOLIO_FMT(e), Q, P, (long long)r);
    }
    pv_buf_printf(&text, " := by omega\nrcases hr with ");
    for (int64_t k = 0; k < q + p; k++) {
        pv_buf_printf(&text, "%s%s", k > 0 ? " | " : "", k < q ? "hr" : "⟨hq, hr⟩");
    }
    pv_buf_printf(
        &text,
        " <;> first | omega | (simp [hr] at *; done) | (simp only [hr] at *; omega) | "
        "(have hv := hp (%.*s - %lld); rw [hr, Nat.sub_add_cancel hq] at hv; simp only "
        "[Nat.reducePow, Nat.reduceMod, Nat.reduceAdd, Nat.zero_add] at hv; clear hp; try "
        "(generalize %lld ^ (%.*s) = w at *; omega))",
        PORTFOLIO_FMT(e), Q, B, PORTFOLIO_FMT(e));
    portfolio_add_text(list, weight, pv_buf_text(&text));
    list->failed = list->failed || !pv_buf_ok(&text);
    pv_buf_release(&text);
}

void portfolio_add_powers(portfolio_list *list)
{
    portfolio_pair pairs[PAIRS_MAX];
    int64_t moduli[MODULI_MAX], b = 0, e = 0;
    size_t count = portfolio_moduli(list->goal, moduli, MODULI_MAX), given = 0;
    size_t n = portfolio_pairs(list->goal, " ^ ", pairs, PAIRS_MAX);
    for (size_t i = 0; i < n && given < POWERS_MAX; i++) {
        bool open = portfolio_number(pairs[i].left, &b) && b >= 2 && b <= 100000 &&
                    !portfolio_number(pairs[i].right, &e) &&
                    portfolio_number_kind(list->goal, pairs[i].right) == PORTFOLIO_NAT;
        if (!open) {
            continue;
        }
        portfolio_span exponent = portfolio_unparen(pairs[i].right);
        for (size_t k = 0; k < count; k++) {
            add_power_period(list, exponent, b, moduli[k], 2.9 - 0.2 * (double)(given + k));
        }
        const portfolio_binding bindings[] = {{'b', pairs[i].left}, {'e', exponent}};
        portfolio_add_template(list, 1.2, "have $1 : $e < $b ^ ($e) := Nat.lt_pow_self (by decide)",
                               bindings, 2);
        given++;
    }
}
