/-	A comment	with tabs:
	sorry	-/
def table : String := "a	b	sorry"

theorem beside (p : Prop) (h : p) : p := by
  sorry --	a tab	behind it

theorem below (p q : Prop) : p ∧ q → q ∧ p := by
  /-	tab	-/ intro h; sorry -- 	and	more
