def halve (n : Nat) : Nat := if h : n = 0 then 0 else halve (n / 2) + 1
termination_by n
decreasing_by sorry

def countDown : Nat → List Nat
  | 0 => []
  | n + 1 => n :: countDown n

theorem counts (n : Nat) : (countDown n).length = n := by
  induction n with
  | zero => sorry
  | succ n ih =>
    sorry
