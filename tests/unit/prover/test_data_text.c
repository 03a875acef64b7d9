/* Data rows as Lean text, and displays of states compared. */
#include "data_text.h"

#include <criterion/criterion.h>

Test(data_text, a_theorem_is_named_and_its_proof_indented)
{
    pv_buf text = {0};
    data_text_theorem(&text, "t1", "statement (p : Prop) : p → p", "intro h\nexact h");
    data_text_theorem(&text, "t2", "theorem statement : True", "sorry");
    cr_expect_str_eq(pv_buf_text(&text),
                     "theorem t1 (p : Prop) : p → p := by\n  intro h\n  exact h\n"
                     "theorem t2 : True := by\n  sorry\n");
    pv_buf_release(&text);
}

Test(data_text, names_of_cases_do_not_count_and_all_else_does)
{
    const char *two = "case left\np : Prop\n⊢ p\n\ncase right\np : Prop\n⊢ True";
    cr_expect(data_text_same_state(two, "p : Prop\n⊢ p\n\ncase b\np : Prop\n⊢ True"));
    cr_expect(data_text_same_state("case H\n⊢ 0 < n", "⊢ 0 < n"));
    cr_expect(data_text_same_state("⊢ 0 < n", "case H\n⊢ 0 < n"));
    cr_expect(data_text_same_state("", ""));
    static const char *const others[] = {"p : Prop\n⊢ p",
                                         "q : Prop\n⊢ p\n\np : Prop\n⊢ True",
                                         "p : Prop\n⊢ p\n\np : Prop\n⊢ True\n",
                                         "p : Prop\n⊢ p\np : Prop\n⊢ True",
                                         "p : Prop\n⊢ p\n\np : Prop\n⊢ Tru",
                                         "case a",
                                         ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cr_expect_not(data_text_same_state(two, others[i]), "%zu", i);
        cr_expect_not(data_text_same_state(others[i], two), "%zu", i);
    }
}
