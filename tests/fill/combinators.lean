theorem both_at_once (p q : Prop) (h : p) (k : q) : p ∧ q := by
  constructor <;> sorry

theorem all_of_them (p q : Prop) (h : p ∧ q) : q ∧ p := by
  constructor
  all_goals sorry

theorem in_brackets (p : Prop) (h : p) : p := by
  (sorry)

theorem in_braces (p : Prop) (h : p) : p := by { sorry }

theorem first_that_works (n : Nat) : n = n + 0 := by
  first
  | fail
  | sorry
