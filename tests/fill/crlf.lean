/- lines end with
   carriage returns -/
theorem one (p q : Prop) (h : p) (k : q) : p ∧ q := by
  constructor
  · sorry
  · sorry

theorem two (p q : Prop) : p ∧ q → q ∧ p := by sorry

theorem three (n : Nat) : n ≤ n := sorry
