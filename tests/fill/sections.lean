section Orders
variable (a b c : Nat) (hab : a ≤ b)
include hab

theorem weaken : a ≤ b + c := by
  sorry

variable (hbc : b ≤ c)
include hbc in
theorem trans' : a ≤ c := by sorry
end Orders

section
variable {α : Type} (xs ys : List α)

theorem same_length : (xs ++ ys).length = xs.length + ys.length := by
  sorry

theorem no_more : xs ++ [] = xs := sorry
end
