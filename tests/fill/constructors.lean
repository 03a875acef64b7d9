theorem both (p q : Prop) (h : p) (k : q) : p ∧ q := ⟨sorry, sorry⟩

theorem nested (a : Nat) : (a = a ∧ 0 ≤ a) ∧ a < a + 1 := ⟨⟨by sorry, sorry⟩, sorry⟩

theorem witness : ∃ n : Nat, n * n = 49 ∧ n ≤ 7 := ⟨7, sorry, by sorry⟩
