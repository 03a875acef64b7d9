theorem «seltsamer Name» (α β : Prop) (hα : α) (hβ : β) : α ∧ β := by
  refine ⟨?_, ?_⟩
  · exact hα
  · /- ∀ ∃ λ 𝔸 ❤ -/ sorry

theorem größer (ñ : Nat) (ℓ : Nat) (h₁ : ñ < ℓ) : ñ + 1 ≤ ℓ := by
  show ñ + 1 ≤ ℓ; sorry

theorem «「x」» : «seltsamer Name» = «seltsamer Name» := sorry
