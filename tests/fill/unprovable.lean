theorem false_one (p q : Prop) : p → q := by sorry

theorem halfway (p q : Prop) (h : p) : p ∧ q := by
  constructor
  · sorry
  · sorry

axiom oracle : 1 = 1

theorem by_oracle : 1 = 1 ∧ 2 = 2 := ⟨oracle, sorry⟩
