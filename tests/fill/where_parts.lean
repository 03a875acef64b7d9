theorem outer (n : Nat) : n + 0 = n ∧ 0 ≤ n := ⟨first n, second n⟩
where
  first (m : Nat) : m + 0 = m := sorry
  second (m : Nat) : 0 ≤ m := by
    sorry

def double (n : Nat) : { m : Nat // m = n + n } := ⟨n + n, same n⟩
where
  same (k : Nat) : k + k = k + k := by sorry
