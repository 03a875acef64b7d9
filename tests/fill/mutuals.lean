mutual
theorem ping (n : Nat) : n ≤ n + 1 := by
  sorry

theorem pong (n : Nat) : n < n + 1 := by
  have h : n ≤ n + 1 := ping n
  sorry
end

mutual
def isEven : Nat → Bool
  | 0 => true
  | n + 1 => isOdd n

def isOdd : Nat → Bool
  | 0 => false
  | n + 1 => isEven n
end

theorem zero_is_even : isEven 0 = true := by sorry
