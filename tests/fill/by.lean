theorem one_line (p : Prop) (h : p) : p := by sorry

theorem swap (p q : Prop) : p ∧ q → q ∧ p := by sorry

theorem inner (a b : Nat) (h : a = b) : b = a ∧ b + 0 = a := by
  have k : b = a := by sorry
  exact ⟨k, by sorry⟩
