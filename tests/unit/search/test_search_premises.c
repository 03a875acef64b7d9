/* Lemmas by name: what is read of statements and goals, what is found, what is proposed. */
#include "pv_hash.h"
#include "pv_mem.h"
#include "search.h"
#include "search_premise_text.h"
#include "search_premises_policy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const char *const library[][2] = {
    {"Nat.add_comm", "theorem statement (n m : Nat) : n + m = m + n"},
    {"Nat.sub_mul", "theorem statement (n m k : Nat) : (n - m) * k = n * k - m * k"},
    {"Nat.mul_sub", "theorem statement (k m n : Nat) : k * (m - n) = k * m - k * n"},
    {"Int.mul_sub", "theorem statement (a b c : Int) : a * (b - c) = a * b - a * c"},
    {"List.length_append",
     "theorem statement {α : Type u} {as bs : List α} : (as ++ bs).length = as.length + bs.length"},
    {"List.length_reverse",
     "theorem statement {α : Type u} {as : List α} : as.reverse.length = as.length"},
    {"List.reverse_append",
     "theorem statement {α : Type u} {as bs : List α} : (as ++ bs).reverse = bs.reverse ++ "
     "as.reverse"},
    {"Array.length_append",
     "theorem statement {α : Type u} {as bs : Array α} : (as ++ bs).length = as.length + "
     "bs.length"},
    {"UInt8.toNat_inj", "theorem statement {a b : UInt8} : a.toNat = b.toNat ↔ a = b"},
    {"UInt8.toNat_and", "theorem statement (a b : UInt8) : (a &&& b).toNat = a.toNat &&& b.toNat"},
    {"Nat.and_comm", "theorem statement (x y : Nat) : x &&& y = y &&& x"},
    {"Nat.lt_irrefl", "theorem statement (n : Nat) : ¬n < n"},
    {"List.mem_append",
     "theorem statement {α : Type u} {a : α} {s t : List α} : a ∈ s ++ t ↔ a ∈ s ∨ a ∈ t"},
};

enum { LIBRARY_COUNT = sizeof library / sizeof *library, MAX = 8 };

static search_premises *set;

static pv_status make(search_premises **out)
{
    pv_status status = search_premises_new(out, NULL);
    for (size_t i = 0; i < LIBRARY_COUNT && status == PV_OK; i++) {
        status = search_premises_add(*out, library[i][0], library[i][1], NULL);
    }
    return status == PV_OK ? search_premises_seal(*out, NULL) : status;
}

static void open_library(void)
{
    cr_assert_eq(make(&set), PV_OK);
    cr_assert_eq(search_premises_count(set), LIBRARY_COUNT);
}

static void close_library(void)
{
    search_premises_free(set);
    cr_expect_eq(pv_mem_live(), 0);
}

TestSuite(search_premises, .init = open_library, .fini = close_library);

static size_t find(const char *goal, const char *skip, bool injective, search_premise_hit *hits)
{
    search_premises_query query = {.goal = goal, .skip = skip, .injective = injective};
    size_t n = 0;
    cr_assert_eq(search_premises_find(set, &query, hits, MAX, &n, NULL), PV_OK);
    cr_assert_leq(n, MAX);
    for (size_t i = 1; i < n; i++) {
        cr_expect(hits[i - 1].score >= hits[i].score);
    }
    return n;
}

static void expect_first(const char *goal, const char *name)
{
    search_premise_hit hits[MAX];
    size_t n = find(goal, NULL, false, hits);
    cr_assert_gt(n, 0, "nothing for %s", goal);
    cr_expect_str_eq(hits[0].name, name, "%s gives %s", goal, hits[0].name);
}

Test(search_premises, finds_a_lemma_by_what_it_says_not_by_the_names_of_variables)
{
    expect_first("x y : Nat\n⊢ y + x = x + y", "Nat.add_comm");
    expect_first("α : Type\nl r : List α\n⊢ (l ++ r).length = l.length + r.length",
                 "List.length_append");
    expect_first("z : UInt8\nw : UInt8\n⊢ (z &&& w).toNat = z.toNat &&& w.toNat",
                 "UInt8.toNat_and");
    expect_first("α : Type\nx : α\nl r : List α\n⊢ x ∈ l ++ r ↔ x ∈ l ∨ x ∈ r", "List.mem_append");
}

Test(search_premises, tells_apart_what_differs_by_order_or_type)
{
    expect_first("a b c : Nat\n⊢ a * (b - c) = a * b - a * c", "Nat.mul_sub");
    expect_first("a b c : Nat\n⊢ (a - b) * c = a * c - b * c", "Nat.sub_mul");
    expect_first("a b c : Int\n⊢ a * (b - c) = a * b - a * c", "Int.mul_sub");
    search_premise_hit hits[MAX];
    size_t n = find("a b c : Nat\n⊢ a * (b - c) = a * b - a * c", NULL, false, hits);
    for (size_t i = 0; i < n; i++) {
        cr_expect_eq(hits[i].foreign, strcmp(hits[i].name, "Int.mul_sub") == 0, "%s", hits[i].name);
    }
}

Test(search_premises, knows_when_a_side_is_there)
{
    search_premise_hit hits[MAX];
    size_t n = find("α : Type\nl r : List α\nh : l.length = 2\n⊢ (l ++ r).length = 2 + r.length",
                    NULL, false, hits);
    cr_assert_gt(n, 1);
    cr_expect_str_eq(hits[0].name, "List.length_append");
    cr_expect_gt(hits[0].left, 0.99);
    for (size_t i = 1; i < n; i++) {
        cr_expect(strcmp(hits[i].name, "List.reverse_append") != 0 || hits[i].left < 0.9);
    }
}

Test(search_premises, leaves_out_what_is_to_be_proved)
{
    search_premise_hit hits[MAX];
    const char *goal = "x y : Nat\n⊢ y + x = x + y";
    size_t n = find(goal, "Nat.add_comm", false, hits);
    for (size_t i = 0; i < n; i++) {
        cr_expect_str_neq(hits[i].name, "Nat.add_comm");
    }
    n = find(goal, "Nat.add", false, hits);
    cr_expect_str_eq(hits[0].name, "Nat.add_comm", "a prefix is another name");
}

Test(search_premises, finds_maps_that_are_injective_for_the_type)
{
    search_premise_hit hits[MAX];
    size_t n = find("a b : UInt8\n⊢ a &&& b = b &&& a", NULL, true, hits);
    cr_assert_eq(n, 1);
    cr_expect_str_eq(hits[0].name, "UInt8.toNat_inj");
    cr_expect(hits[0].injective);
    cr_expect_eq(find("a b : Nat\n⊢ a &&& b = b &&& a", NULL, true, hits), 0);
    cr_expect_eq(find("a b : UInt8\n⊢ a ≤ b", NULL, true, hits), 0);
}

Test(search_premises, needs_its_index)
{
    search_premises *open = NULL;
    size_t n = 0;
    search_premise_hit hit;
    search_premises_query query = {.goal = "⊢ True"};
    cr_assert_eq(search_premises_new(&open, NULL), PV_OK);
    cr_expect_eq(search_premises_find(open, &query, &hit, 1, &n, NULL), PV_E_MISUSE);
    cr_assert_eq(search_premises_seal(open, NULL), PV_OK);
    cr_assert_eq(search_premises_find(open, &query, &hit, 1, &n, NULL), PV_OK);
    cr_expect_eq(n, 0);
    cr_expect_eq(search_premises_add(open, "a", "theorem a : True", NULL), PV_E_MISUSE);
    search_premises_free(open);
}

/* Bytes dropped, doubled and replaced anywhere, also inside a character of several bytes. */
Test(search_premises, survives_broken_text, .timeout = 300)
{
    const char *text =
        "case a.b\nx✝ : α\nxs : List (Fin 3)\nh : ∀ (i : Nat), xs[i]? = some ⟨0, _⟩ → "
        "(xs.map fun y => -y).length ≤ 0x1F\n⊢ ∃ k, ¬k ∣ xs.length ∧ {x} = ∅";
    size_t n = strlen(text);
    char broken[1024];
    uint64_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        size_t len = 0;
        for (size_t i = 0; i < n && len < sizeof broken - 1; i++) {
            seed = pv_mix64(seed);
            unsigned dice = (unsigned)(seed % 30);
            if (dice != 0) {
                broken[len++] = dice == 1 ? "⊢()\n :∀.[]-"[seed / 64 % 13] : text[i];
            }
            i -= dice == 2 && i > 0;
        }
        broken[len] = '\0';
        premise_text goal, statement;
        premise_text_goal(&goal, broken);
        premise_text_statement(&statement, broken);
        cr_expect(!goal.failed && !statement.failed);
        premise_text_release(&goal);
        premise_text_release(&statement);
    }
}

Test(search_premises, reports_lack_of_memory, .timeout = 300)
{
    uint64_t before = pv_mem_live();
    pv_status status = PV_E_NOMEM;
    for (int64_t n = 0; status != PV_OK; n++) {
        search_premises *other = NULL;
        pv_mem_fail_after(n);
        status = make(&other);
        pv_mem_fail_after(-1);
        cr_assert(status == PV_OK || status == PV_E_NOMEM);
        search_premises_free(other);
        cr_assert_eq(pv_mem_live(), before);
    }
    status = PV_E_NOMEM;
    for (int64_t n = 0; status != PV_OK; n++) {
        search_premise_hit hits[MAX];
        size_t count;
        search_premises_query query = {.goal = "a b : UInt8\n⊢ a &&& b = b &&& a"};
        pv_mem_fail_after(n);
        status = search_premises_find(set, &query, hits, MAX, &count, NULL);
        pv_mem_fail_after(-1);
        cr_assert(status == PV_OK || status == PV_E_NOMEM);
        cr_assert_eq(pv_mem_live(), before);
    }
}

/* ---- the policy, in a search that refuses everything and writes down what it was given ---- */

typedef struct refusal {
    pv_buf tried; /* a line each */
} refusal;

static pv_status refuse(void *self, const search_try_request *request, pv_error *err)
{
    (void)err;
    refusal *r = self;
    for (size_t i = 0; i < request->n; i++) {
        pv_buf_printf(&r->tried, "%s\n", request->tactics[i]);
        search_outcome no = {.kind = SEARCH_FAILED, .message = "no"};
        search_deliver_outcome(request->run, request->ticket, i, &no);
    }
    return PV_OK;
}

static void keep_handle(void *self, search_handle *handle)
{
    (void)self;
    (void)handle;
}

static void search_one(const char *goal, const char *skip, refusal *r)
{
    static const search_verifier_ops ops = {.try_tactics = refuse, .release = keep_handle};
    search_part part = {.key = {1, 2}, .goals = &goal, .goal_count = 1};
    uint32_t order = 0;
    search_outcome root = {
        .kind = SEARCH_OPEN, .parts = &part, .part_count = 1, .order = &order, .goal_count = 1};
    search_premises_policy policy = {.set = set, .skip = skip};
    search_options how = {.width = 200, .window = 1};
    search_run *run = NULL;
    search_verifier verifier = {&ops, r};
    cr_assert_eq(
        search_run_new(&run, &how, search_premises_policy_table(&policy), verifier, &root, NULL),
        PV_OK);
    while (search_pump(run) == SEARCH_RUNNING) {
    }
    cr_expect_eq(search_state_of(run), SEARCH_EXHAUSTED);
    search_run_free(run);
}

static bool tried(const refusal *r, const char *tactic)
{
    size_t n = strlen(tactic);
    for (const char *line = pv_buf_text(&r->tried); *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (len == n && memcmp(line, tactic, n) == 0) {
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

Test(search_premises, proposes_lemmas_beside_the_portfolio)
{
    refusal r = {0};
    search_one("a b c : Nat\n⊢ a * (b - c) = a * b - a * c", NULL, &r);
    cr_expect(tried(&r, "apply Nat.mul_sub"));
    cr_expect(tried(&r, "rw [Nat.mul_sub]"));
    cr_expect(tried(&r, "omega"));
    cr_expect(!tried(&r, "rw [Int.mul_sub]"), "another type");
    pv_buf_release(&r.tried);
    search_one("a b c : Nat\n⊢ a * (b - c) = a * b - a * c", "Nat.mul_sub", &r);
    cr_expect_null(strstr(pv_buf_text(&r.tried), "Nat.mul_sub"));
    pv_buf_release(&r.tried);
}

Test(search_premises, goes_over_to_images)
{
    refusal r = {0};
    search_one("a b : UInt8\n⊢ a &&& b = b &&& a", NULL, &r);
    cr_expect(tried(&r, "rw [← UInt8.toNat_inj]"));
    pv_buf_release(&r.tried);
}

Test(search_premises, introduces_first)
{
    refusal r = {0};
    search_one("⊢ ∀ (a b : Nat), a + b = b + a", NULL, &r);
    cr_expect_null(strstr(pv_buf_text(&r.tried), "Nat.add_comm"));
    pv_buf_release(&r.tried);
}
