example (p : Prop) (h : p) : p := by sorry

example : 2 + 2 = 4 := sorry

set_option maxRecDepth 1000 in
example (a b : Nat) (h : a = b) : b = a := by
  have k : b = a := by sorry
  exact k
