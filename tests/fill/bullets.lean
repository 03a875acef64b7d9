theorem pair (p q : Prop) (h : p) (k : q) : p ∧ q ∧ p := by
  constructor
  · sorry
  · constructor
    · sorry
    · have r : p := by sorry
      exact r

theorem curried (p q r : Prop) : ((p ∧ q) → r) ↔ (p → q → r) := by
  constructor
  · sorry
  · sorry
