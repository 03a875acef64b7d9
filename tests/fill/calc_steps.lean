theorem chain (a b c : Nat) (h : a = b) (k : b = c) : a = c := by
  calc a = b := sorry
    _ = c := by sorry

theorem chain_term (a b c : Nat) (h : a ≤ b) (k : b < c) : a < c + 1 :=
  calc a ≤ b := sorry
    _ < c := sorry
    _ < c + 1 := by
      sorry
