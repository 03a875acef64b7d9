structure Pointed (α : Type) where
  point : α
  refl : point = point

def pointedNat : Pointed Nat where
  point := 3
  refl := sorry

def pointedBool : Pointed Bool := { point := true, refl := sorry }

class Small (n : Nat) : Prop where
  small : n < 100
  positive : 0 < n

instance : Small 7 where
  small := sorry
  positive := by sorry

instance small_eight : Small 8 := ⟨sorry, by
  sorry⟩
