theorem if_then (p : Prop) [Decidable p] : p ∨ ¬p := if h : p then sorry else sorry

theorem from_show (p : Prop) (h : p) : p := show p from sorry

theorem ascribed (p : Prop) (h : p) : p := (sorry : p)

theorem argument (a b : Nat) (h : a = b) : b = a := Eq.symm sorry

theorem function : ∀ n : Nat, n < n + 1 := fun n => sorry

theorem let_have (a b : Nat) (h : a < b) : a ≤ b :=
  have k : a ≤ b := sorry
  k
