theorem zero_plus (n : Nat) : 0 + n = n := by
  induction n with
  | zero => sorry
  | succ n ih => sorry

theorem or_swap (p q : Prop) (h : p ∨ q) : q ∨ p := by
  cases h with
  | inl a => sorry
  | inr b => exact Or.inl sorry

theorem or_swap_term : (p q : Prop) → p ∨ q → q ∨ p
  | _, _, .inl _ => sorry
  | _, _, .inr _ => sorry

theorem on_one_line (b : Bool) : (b && false) = false := by
  match b with | true => sorry | false => sorry

theorem named (p q : Prop) (h : p ∨ q) : q ∨ p := by
  cases h
  case inl a => sorry
  next => sorry
