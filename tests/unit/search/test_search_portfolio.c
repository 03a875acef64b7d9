/* The portfolio: reading goals as Lean displays them, and what it proposes for them. */
#include "pv_hash.h"
#include "pv_mem.h"
#include "search.h"
#include "search_portfolio.h"
#include "search_portfolio_internal.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static portfolio_goal goal;
static pv_buf scratch;

static void parse(const char *text)
{
    pv_buf_release(&scratch);
    portfolio_goal_parse(&goal, text, &scratch);
}

static void release(void)
{
    pv_buf_release(&scratch);
    cr_expect_eq(pv_mem_live(), 0);
}

TestSuite(search_portfolio, .fini = release);

static void expect_span(portfolio_span s, const char *text)
{
    cr_expect(portfolio_equal(s, text), "\"%.*s\" instead of \"%s\"", PORTFOLIO_FMT(s), text);
}

static void expect_hyp(size_t i, const char *name, const char *type, portfolio_kind kind)
{
    cr_assert_lt(i, goal.hyp_count);
    expect_span(goal.hyps[i].name, name);
    expect_span(goal.hyps[i].type, type);
    cr_expect_eq(goal.hyps[i].kind, kind, "%s: kind %d", name, goal.hyps[i].kind);
}

Test(search_portfolio, reads_names_types_and_target)
{
    parse("case succ.inl\nα β : Type\nf : α → β\np q : Prop\na b : Nat\nx : α\nl : List α\n"
          "h : p ∧ ¬q\nr : α → α → Prop\ninst✝ : DecidableEq α\n⊢ a + b = b + a");
    cr_assert_eq(goal.hyp_count, 12);
    expect_hyp(0, "α", "Type", PORTFOLIO_TYPE);
    expect_hyp(2, "f", "α → β", PORTFOLIO_FUNCTION);
    expect_hyp(4, "q", "Prop", PORTFOLIO_PROPOSITION);
    expect_hyp(6, "b", "Nat", PORTFOLIO_NAT);
    expect_hyp(7, "x", "α", PORTFOLIO_ELEMENT);
    expect_hyp(8, "l", "List α", PORTFOLIO_LIST);
    expect_hyp(9, "h", "p ∧ ¬q", PORTFOLIO_PROOF);
    expect_hyp(10, "r", "α → α → Prop", PORTFOLIO_FUNCTION);
    cr_expect(!goal.hyps[11].nameable);
    cr_expect_eq(goal.hyps[9].prop.head, PORTFOLIO_AND);
    expect_span(goal.hyps[9].prop.right, "¬q");
    cr_expect_eq(goal.target.head, PORTFOLIO_EQ);
    expect_span(goal.target.left, "a + b");
}

Test(search_portfolio, joins_the_lines_of_a_type)
{
    parse("h :\n  ∀ (n : Nat),\n    n > 0 →\n      n % 3 = 0 ∨\n        n % 3 = 1\nk : Nat := 5\n"
          "⊢ ∃ x,\n    x = k ∧\n      0 < x");
    cr_assert_eq(goal.hyp_count, 2);
    expect_hyp(0, "h", "∀ (n : Nat), n > 0 → n % 3 = 0 ∨ n % 3 = 1", PORTFOLIO_PROOF);
    expect_hyp(1, "k", "Nat", PORTFOLIO_NAT);
    cr_expect_eq(goal.target.head, PORTFOLIO_EXISTS);
    expect_span(goal.target.right, "x = k ∧ 0 < x");
}

Test(search_portfolio, knows_what_cannot_be_named)
{
    parse("h✝ : 0 < 1\na : Nat\nh : a = 1\nh : a = 2\n⊢ False");
    cr_assert_eq(goal.hyp_count, 4);
    cr_expect(!goal.hyps[0].nameable);
    cr_expect(!goal.hyps[2].nameable, "a later line shadows it");
    cr_expect(goal.hyps[3].nameable);
}

Test(search_portfolio, finds_the_outermost_connective)
{
    static const struct {
        const char *text;
        portfolio_head head;
        const char *left, *right;
    } cases[] = {
        {"a = b → c ∨ d", PORTFOLIO_IMPLIES, "a = b", "c ∨ d"},
        {"p ∧ q ∧ r", PORTFOLIO_AND, "p", "q ∧ r"},
        {"p ∧ q ↔ q ∧ p", PORTFOLIO_IFF, "p ∧ q", "q ∧ p"},
        {"(p → q) ∨ ∀ x, r x → s", PORTFOLIO_OR, "(p → q)", "∀ x, r x → s"},
        {"∀ x, p x → q", PORTFOLIO_FORALL, "x", "p x → q"},
        {"∃ x y, x < y", PORTFOLIO_EXISTS, "x y", "x < y"},
        {"¬a = b", PORTFOLIO_NOT, "", "a = b"},
        {"¬(p ∨ q)", PORTFOLIO_NOT, "", "p ∨ q"},
        {"¬p ∧ q", PORTFOLIO_AND, "¬p", "q"},
        {"7 ∣ 2 ^ n - 1", PORTFOLIO_DVD, "7", "2 ^ n - 1"},
        {"(x ∈ l)", PORTFOLIO_MEM, "x", "l"},
        {"x ≠ y", PORTFOLIO_NE, "x", "y"},
        {"False", PORTFOLIO_FALSE, "", ""},
        {"p (a = b)", PORTFOLIO_ATOM, "", ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        portfolio_prop p = portfolio_prop_parse(portfolio_span_of(cases[i].text));
        cr_expect_eq(p.head, cases[i].head, "%s: head %d", cases[i].text, p.head);
        expect_span(p.left, cases[i].left);
        expect_span(p.right, cases[i].right);
    }
}

Test(search_portfolio, reads_binders_one_by_one)
{
    portfolio_span binders = portfolio_span_of("(a b : List (Nat × Nat)) {c : α} x"), name, type;
    static const char *const expected[][2] = {
        {"a", ""}, {"b", "List (Nat × Nat)"}, {"c", "α"}, {"x", ""}};
    for (size_t i = 0; i < 4; i++) {
        cr_assert(portfolio_next_binder(&binders, &name, &type));
        expect_span(name, expected[i][0]);
        if (i > 0) {
            expect_span(type, expected[i][1]);
        }
    }
    cr_expect(!portfolio_next_binder(&binders, &name, &type));
}

Test(search_portfolio, finds_literals_powers_and_moduli)
{
    parse("n : Nat\nh : 2 ^ (n + 1) % 7 = 1\nh1 : 12 ∣ x₁ ^ 3 * 5\n⊢ (n + 2) ^ 2 ≠ 40");
    int64_t numbers[8];
    cr_expect_eq(portfolio_literals(&goal, 2, 30, numbers, 8), 5);
    cr_expect_eq(numbers[0], 2);
    cr_expect_eq(numbers[4], 12);
    cr_expect_eq(portfolio_moduli(&goal, numbers, 8), 2);
    cr_expect_eq(numbers[0], 7);
    cr_expect_eq(numbers[1], 12);
    portfolio_pair pairs[8];
    cr_assert_eq(portfolio_pairs(&goal, " ^ ", pairs, 8), 3);
    expect_span(pairs[0].left, "2");
    expect_span(pairs[0].right, "(n + 1)");
    expect_span(pairs[1].left, "x₁");
    expect_span(pairs[2].left, "(n + 2)");
}

Test(search_portfolio, reads_ranges_from_the_context)
{
    parse("n m : Nat\nx : Int\nh : n ≤ 9\nh1 : ¬x < 3\nh2 : 10 > x\nh3 : 2 < n\n⊢ n * n ≠ 40");
    portfolio_range n = portfolio_range_of(&goal, &goal.hyps[0]);
    cr_expect(n.has_low && n.has_high && n.low == 3 && n.high == 9);
    portfolio_range m = portfolio_range_of(&goal, &goal.hyps[1]);
    cr_expect(m.has_low && !m.has_high && m.low == 0);
    portfolio_range x = portfolio_range_of(&goal, &goal.hyps[2]);
    cr_expect(x.has_low && x.has_high && x.low == 3 && x.high == 9);
    parse("x : Int\nh : x + 1 ≤ 720\nh1 : -(x + 1) ≤ 720\n⊢ x * x ≠ 40");
    x = portfolio_range_of(&goal, &goal.hyps[0]);
    cr_expect(x.has_low && x.has_high && x.low == -721 && x.high == 719);
    parse("n m : Nat\n⊢ n * n ≠ 40 + 2 * m");
    cr_expect(portfolio_is_nonlinear(&goal, &goal.hyps[0]));
    cr_expect(!portfolio_is_nonlinear(&goal, &goal.hyps[1]));
}

/* Whether one of the candidates for the goal begins with `start`. */
static bool proposes(const char *text, const char *start)
{
    portfolio_list list = {0};
    search_candidate *candidates = NULL;
    cr_assert_eq(portfolio_candidates(&list, text, 0, &candidates, NULL), PV_OK);
    bool found = false;
    for (size_t i = 0; i < list.count; i++) {
        found = found || strncmp(candidates[i].tactic, start, strlen(start)) == 0;
    }
    pv_free(candidates);
    portfolio_list_release(&list);
    return found;
}

Test(search_portfolio, answers_the_shape_of_the_goal)
{
    static const char *const table[][2] = {
        {"⊢ ∀ (a b : Nat), a = b → p a", "intro a b h"},
        {"a : Nat\n⊢ ∀ (a : Nat), a ≠ 5", "intro a1 h"},
        {"h : p ∧ q\n⊢ q", "obtain ⟨h1, h2⟩ := h"},
        {"h : ∃ x y, x < y\n⊢ False", "obtain ⟨x, y, h1⟩ := h"},
        {"h : p ∨ q\n⊢ q", "rcases h with h | h"},
        {"n : Nat\nh : n = 3\n⊢ n * n = 9", "subst h"},
        {"p q : Prop\n⊢ p ∧ q", "refine ⟨?_, ?_⟩"},
        {"p q : Prop\n⊢ p ↔ q", "refine Iff.intro (fun h => ?_) (fun h => ?_)"},
        {"n : Nat\n⊢ f n = n", "induction n with | zero => ?_ | succ n h => ?_"},
        {"l m : List Nat\n⊢ f l = g m", "induction l generalizing m with"},
        {"b : Bool\n⊢ f b = b", "cases b <;> simp_all"},
        {"α : Type\nf : α → α\ny : α\n⊢ ∃ (x : α), f x = y", "refine ⟨f y, ?_⟩"},
        {"n : Nat\n⊢ 7 ∣ 8 ^ n + 6", "have hp : ∀ n : Nat, 8 ^ (n + 0) % 7 = 8 ^ (n % 1 + 0) % 7"},
        {"n : Int\n⊢ 5 ∣ n ^ 5 - n", "have hr : n % 5 = 0 ∨ n % 5 = 1"},
        {"x : Nat\nh : x ≤ 3\n⊢ x * x ≤ 9", "obtain rfl | rfl | rfl | rfl : x = 0 ∨ x = 1"},
        {"x : Nat\nh : x ≤ 500\n⊢ x * x ≤ 250000", "rcases (show x ≤ 250 ∨ 251 ≤ x by omega)"},
        {"x y : Nat\nh : x * y = 12\n⊢ x ≤ 12", "have h1 : x ≤ 12 := Nat.le_of_dvd"},
        {"n : Nat\n⊢ (n + 7).gcd (2 * n + 1) ≤ 13", "have hg : ∀ d : Nat, d ∣ n + 7"},
        {"a b c : Nat\n⊢ a ∣ b + c", "refine Nat.dvd_add ?_ ?_"},
        {"x y : Int\n⊢ x - y ∣ x ^ 3 - y ^ 3", "exact ⟨x ^ 2 + x * y + y ^ 2, by grind⟩"},
        {"n : Nat\nh : ∀ (k : Nat), ∃ m, k < m\n⊢ p n", "grind (gen := 3) (ematch := 3)"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_expect(proposes(table[i][0], table[i][1]), "%s\n--> %s", table[i][0], table[i][1]);
    }
}

Test(search_portfolio, computes_the_period_of_a_recurrence)
{
    const char *text =
        "x : Nat → Int\nh0 : x 1 = 4\nh : ∀ (n : Nat), n ≥ 3 → x n = x (n - 1) - x (n - "
        "2)\n⊢ x 100 = 4";
    cr_expect(proposes(text, "have hs : ∀ n, x (n + 3) = 1 * x (n + 2) + -1 * x (n + 1)"));
    cr_expect(!proposes("x : Nat → Int\nh : ∀ (n : Nat), x (n + 2) = x (n + 1) + x n\n⊢ x 100 = 4",
                        "have hs"),
              "not periodic");
}

static const char *const samples[] = {
    "",
    "⊢ ",
    "⊢ True",
    "h : p\n",
    "case h\n⊢ a",
    "x✝ : Nat\n⊢ x✝ = x✝",
    "a b c : Nat\nx y : Int\nl m : List Nat\no : Option Nat\np q : Prop\nf : Nat → Nat\nd : Bool\n"
    "h : a ^ 2 + b * c = 40\nh1 : x * y % 7 = 3\nh2 : p ∨ q\nh3 : ∀ (n : Nat), f (n + 1) = f n\n"
    "h4 : 2 ^ a % 5 = 3\nh5 : a ≤ 20\nh6 : x < 9\nh7 : 0 < x\n"
    "⊢ ∃ k, a * b = 3 * k + (if d = true then 1 else 0) ∨ l ++ m = [] ∧ o = none",
};

static void check_candidates(const char *text)
{
    portfolio_list list = {0};
    search_candidate *c = NULL;
    cr_assert_eq(portfolio_candidates(&list, text, 64, &c, NULL), PV_OK);
    cr_assert_leq(list.count, 64);
    double sum = 0;
    for (size_t i = 0; i < list.count; i++) {
        cr_assert_leq(c[i].logprob, 0);
        cr_assert(i == 0 || c[i].logprob <= c[i - 1].logprob);
        cr_assert_eq(c[i].tokens, 0);
        sum += exp(c[i].logprob);
        static const char *const words[] = {"sorry",  "admit", "native_decide", "axiom",
                                            "unsafe", "#eval", "ofReduceBool",  "run_tac"};
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
            cr_assert_null(strstr(c[i].tactic, words[k]), "%s", c[i].tactic);
        }
        for (size_t k = 0; k < i; k++) {
            cr_assert_str_neq(c[i].tactic, c[k].tactic);
        }
        size_t length = strlen(c[i].tactic);
        cr_assert(length > 0 && c[i].tactic[length - 1] != '\n');
    }
    cr_assert(list.count == 0 || fabs(sum - 1) < 1e-9, "%s: the sum is %g", text, sum);
    pv_free(c);
    portfolio_list_release(&list);
}

Test(search_portfolio, gives_distinct_candidates_that_sum_to_one)
{
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        check_candidates(samples[i]);
    }
}

Test(search_portfolio, never_quotes_a_forbidden_word)
{
    check_candidates("sorry : p ∧ q\nh : sorry = native_decide\nadmit : Nat\n⊢ admit * admit = 4");
    cr_expect(!proposes("sorry : p ∧ q\n⊢ q", "obtain ⟨h1, h2⟩ := sorry"));
}

Test(search_portfolio, gives_the_same_answer_to_the_same_goal)
{
    const char *text = samples[sizeof samples / sizeof *samples - 1];
    portfolio_list first = {0}, second = {0};
    search_candidate *a = NULL, *b = NULL;
    cr_assert_eq(portfolio_candidates(&first, text, 0, &a, NULL), PV_OK);
    cr_assert_eq(portfolio_candidates(&second, text, 0, &b, NULL), PV_OK);
    cr_assert_eq(first.count, second.count);
    for (size_t i = 0; i < first.count; i++) {
        cr_assert_str_eq(a[i].tactic, b[i].tactic);
        cr_assert(a[i].logprob >= b[i].logprob && a[i].logprob <= b[i].logprob);
    }
    pv_free(a);
    pv_free(b);
    portfolio_list_release(&first);
    portfolio_list_release(&second);
}

/* Bytes dropped, doubled and replaced anywhere, also inside a character of several bytes. */
Test(search_portfolio, survives_broken_goals, .timeout = 300)
{
    const char *text = samples[sizeof samples / sizeof *samples - 1];
    size_t n = strlen(text);
    char *broken = pv_malloc(2 * n + 1);
    cr_assert_not_null(broken);
    uint64_t seed = 1;
    for (int round = 0; round < 400; round++) {
        size_t len = 0;
        for (size_t i = 0; i < n && len < 2 * n; i++) {
            seed = pv_mix64(seed);
            unsigned dice = (unsigned)(seed % 40);
            if (dice != 0) {
                broken[len++] = dice == 1 ? "⊢()\n :∀^%9"[seed / 64 % 12] : text[i];
            }
            if (dice == 2 && i > 0) {
                i--;
            }
        }
        broken[len] = '\0';
        portfolio_list list = {0};
        search_candidate *c = NULL;
        cr_assert_eq(portfolio_candidates(&list, broken, 64, &c, NULL), PV_OK);
        pv_free(c);
        portfolio_list_release(&list);
    }
    pv_free(broken);
}

Test(search_portfolio, reports_lack_of_memory, .timeout = 300)
{
    const char *text = samples[sizeof samples / sizeof *samples - 1];
    pv_status status = PV_E_NOMEM;
    for (int64_t n = 0; status != PV_OK; n++) {
        portfolio_list list = {0};
        search_candidate *c = NULL;
        pv_mem_fail_after(n);
        status = portfolio_candidates(&list, text, 64, &c, NULL);
        pv_mem_fail_after(-1);
        cr_assert(status == PV_OK || status == PV_E_NOMEM);
        pv_free(c);
        portfolio_list_release(&list);
        cr_assert_eq(pv_mem_live(), 0);
    }
}

/* A verifier that refuses everything and counts. */
typedef struct refusal {
    size_t tried;
} refusal;

static pv_status refuse(void *self, const search_try_request *request, pv_error *err)
{
    (void)err;
    refusal *r = self;
    for (size_t i = 0; i < request->n; i++) {
        search_outcome outcome = {.kind = SEARCH_FAILED, .message = "no"};
        search_deliver_outcome(request->run, request->ticket, i, &outcome);
        r->tried++;
    }
    return PV_OK;
}

static void forget(void *self, search_handle *handle)
{
    (void)self;
    (void)handle;
}

Test(search_portfolio, drives_a_search)
{
    static const search_verifier_ops ops = {.try_tactics = refuse, .release = forget};
    refusal r = {0};
    const char *text = "n : Nat\n⊢ f n = n";
    search_part part = {.key = pv_key_of(text, strlen(text)), .goals = &text, .goal_count = 1};
    uint32_t order = 0;
    search_outcome root = {
        .kind = SEARCH_OPEN, .parts = &part, .part_count = 1, .order = &order, .goal_count = 1};
    search_options options = {.width = 16};
    search_run *run = NULL;
    cr_assert_eq(search_run_new(&run, &options, search_portfolio(), (search_verifier){&ops, &r},
                                &root, NULL),
                 PV_OK);
    while (search_pump(run) == SEARCH_RUNNING) {
    }
    cr_expect_eq(search_state_of(run), SEARCH_EXHAUSTED);
    cr_expect_eq(r.tried, 16);
    search_run_free(run);
}

Test(search_portfolio, lists_its_closers)
{
    size_t count = 0;
    const char *const *closers = search_portfolio_closers(&count);
    cr_assert_geq(count, 8);
    for (size_t i = 0; i < count; i++) {
        cr_expect(strlen(closers[i]) > 0);
        cr_expect_null(strstr(closers[i], "?_"));
    }
}
