/-- This theorem has no sorry in it; sorry is only a word here. -/
theorem no_sorry_here : "sorry" = "so" ++ "rry" := by decide

-- sorry
/- by sorry /- nested sorry -/ := sorry -/
def sorry_free : String := "by sorry -- sorry"

theorem not_sorry (sorry' : Prop) (h : sorry') : sorry' := by
  exact h -- sorry

theorem quoted («sorry» : Nat) : «sorry» = «sorry» := by
  sorry -- this sorry is one

theorem raw : r#"sorry "quoted" sorry"# = r#"sorry "quoted" sorry"# := /- sorry -/ sorry
