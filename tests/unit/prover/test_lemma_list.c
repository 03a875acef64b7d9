/* Lists of lemmas in tactics: found, cut, written. */
#include "lemma_list.h"

#include "pv_mem.h"

#include <criterion/criterion.h>
#include <string.h>

static void no_leak(void)
{
    cr_expect_eq(pv_mem_live(), 0);
}

TestSuite(lemma_list, .fini = no_leak);

/* Writes the tactic with the items whose digit in `keep` is 1. */
static void expect_kept(const char *tactic, const char *keep, const char *expected)
{
    lemma_list list;
    bool flags[LEMMA_LIST_MAX] = {false};
    pv_buf out = {0};
    cr_assert(lemma_list_find(&list, tactic), "%s", tactic);
    cr_assert_eq(list.count, strlen(keep), "%s", tactic);
    for (size_t i = 0; i < list.count; i++) {
        flags[i] = keep[i] == '1';
    }
    lemma_list_write(&list, flags, &out);
    cr_expect_str_eq(pv_buf_text(&out), expected);
    pv_buf_release(&out);
}

Test(lemma_list, keeps_what_it_is_told_to)
{
    expect_kept("simp [a.b, ← c]", "11", "simp [a.b, ← c]");
    expect_kept("simp [a.b, ← c]", "01", "simp [← c]");
    expect_kept("simp_all [a, b, c]", "101", "simp_all [a, c]");
    expect_kept("ext <;> simp [a] <;> omega", "0", "ext <;> simp <;> omega");
    expect_kept("grind [a, b]", "00", "grind");
    expect_kept("solve_by_elim [a, b]", "01", "solve_by_elim [b]");
    expect_kept("simp only [a] at *", "0", "simp only at *");
    expect_kept("rw [x]; simp [a]", "1", "rw [x]; simp [a]");
}

Test(lemma_list, leaves_other_brackets_alone)
{
    static const char *const others[] = {
        "rw [a, b]",
        "rw [← a]",
        "simp",
        "exact f [a, b]",
        "simp [(h : a = b)]",
        "simp [f x, g]",
        "simp [*]",
        "simp [-a, b]",
        "mysimp [a]",
        "cases l with | nil => simp\n| cons => simp [a]",
        "refine ⟨[a], b⟩",
        "simp []",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        lemma_list list;
        cr_expect(!lemma_list_find(&list, others[i]), "%s", others[i]);
    }
}

Test(lemma_list, knows_names_without_arrows)
{
    lemma_list list;
    cr_assert(lemma_list_find(&list, "simp [← Nat.add_comm, h]"));
    lemma_span name = lemma_list_name(list.items[0]);
    cr_expect_eq(name.len, strlen("Nat.add_comm"));
    cr_expect_eq(memcmp(name.at, "Nat.add_comm", name.len), 0);
}
