theorem last_of_several (p q : Prop) (h : p → q) (k : p) : q := by
  have r : q := h k
  sorry

theorem first_on_its_line (a b : Nat) (h : a ≤ b) : a < b + 1 := by
  sorry

theorem after_a_semicolon (p q : Prop) (h : p ∧ q) : q := by
  obtain ⟨_, k⟩ := h; sorry

theorem admitted (a b : Nat) : a + b = b + a := by
  admit
