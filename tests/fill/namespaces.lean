namespace Zoo
def legs : Nat := 4

namespace Bird
def legs : Nat := 2

theorem fewer : legs < Zoo.legs := by sorry
end Bird

open Bird in
theorem feathered : Bird.legs = 2 := by
  sorry

theorem _root_.outside (h : Zoo.legs = 4) : Zoo.legs = 4 := sorry

private theorem hidden (p : Prop) : p → p := by sorry
end Zoo

theorem Zoo.Bird.more : Zoo.Bird.legs + 2 = Zoo.legs := by
  sorry
