import Prover.Wire
import Lean.Meta.PPGoal
import Lean.Meta.CollectMVars
import Lean.Util.CollectLevelMVars

/-!
# Goals: closed form, key, independence

A goal's closed form is `∀ hypotheses, target`. Its hash is the goal's key: names of hypotheses and bound variables do
not enter an `Expr`'s hash, and the names that Lean makes up anew in every run (metavariables) are replaced by their
order of appearance.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta

/-- A goal with what is asked about it more than once. -/
structure OpenGoal where
  id : MVarId
  /-- Its hypotheses, with assigned metavariables instantiated. -/
  lctx : LocalContext
  /-- Hypotheses abstracted: `∀ hypotheses, target`. Unassigned metavariables are still there. -/
  closed : Expr
  /-- How many of the binders of `closed` are hypotheses: a goal before `intro` is not the goal after it. -/
  arity : Nat

/-- The free variables of a context in order, without the auxiliary declarations that stand for the theorem being
proved. -/
def hypotheses (lctx : LocalContext) : Array Expr :=
  go lctx.getFVars.toList #[]
where
  /-- Keeps what is not an auxiliary declaration. -/
  go : List Expr → Array Expr → Array Expr
  | [], acc => acc
  | x :: xs, acc => go xs (if isAux x then acc else acc.push x)
  /-- Whether a free variable is an auxiliary declaration. -/
  isAux (x : Expr) : Bool :=
    match lctx.findFVar? x with
    | some d => d.isAuxDecl
    | none => false

/-- The declaration of a metavariable. -/
def declOf (g : MVarId) : MetaM MetavarDecl := do
  let mctx ← getMCtx
  pure (mctx.getDecl g)

/-- Adds a hypothesis with its assigned metavariables instantiated. A `have` is stored as a definition that nothing
depends on: its value may mention what has been cleared since, so only its type is kept. -/
def addPlain (lctx : LocalContext) : LocalDecl → MetaM LocalContext
  | .cdecl _ id n t bi k => do
    let t ← instantiateMVars t
    pure (lctx.mkLocalDecl id n t bi k)
  | .ldecl _ id n t v nondep k => do
    let t ← instantiateMVars t
    if nondep then
      pure (lctx.mkLocalDecl id n t .default k)
    else
      let v ← instantiateMVars v
      pure (lctx.mkLetDecl id n t v nondep k)

/-- The hypotheses `xs` of `lctx` with assigned metavariables instantiated, added to `acc`. -/
def plainContext (lctx : LocalContext) (acc : LocalContext) : List Expr → MetaM LocalContext
  | [] => pure acc
  | x :: xs => do
    match lctx.findFVar? x with
    | some d => do
      let acc ← addPlain acc d
      plainContext lctx acc xs
    | none => plainContext lctx acc xs

/-- A goal with its closed form. -/
def closeGoal (g : MVarId) : MetaM OpenGoal := do
  let decl ← declOf g
  let xs := hypotheses decl.lctx
  let lctx ← plainContext decl.lctx {} xs.toList
  let target ← instantiateMVars decl.type
  pure { id := g, lctx, closed := lctx.mkForall xs target (usedLetOnly := false), arity := xs.size }

/-- `closeGoal` for each goal. -/
def closeGoals : List MVarId → MetaM (List OpenGoal)
  | [] => pure []
  | g :: gs => do
    let a ← closeGoal g
    let as ← closeGoals gs
    pure (a :: as)

/-! ## Keys

`Expr.hash` has 32 bits. A key joins four of them, taken of the expression with each leaf (constant, sort, literal,
bound variable, metavariable) applied to a salt, a different one each time: 128 bits that agree for different goals
only if four 32-bit hashes collide at once. Two given different goals share a key with a chance of about 2^-128 as long
as the hash mixes well, and among a billion goals the chance of any clash is about 2^-69. A clash could only make the
search merge two goals; every proof found is checked as a whole. (Lean hashes `fun` and `∀` alike; in well-typed terms
one cannot stand where the other stands.)
-/

/-- Metavariables met so far, in order of appearance. -/
structure Numbering where
  exprs : List Expr := []
  levels : List Level := []

/-- The place of the first item that satisfies `p`; the length if there is none. -/
def indexOf {α : Type} (p : α → Bool) : List α → Nat
  | [] => 0
  | x :: xs => if p x then 0 else indexOf p xs + 1

/-- Whether an item satisfies `p`. -/
def anyOf {α : Type} (p : α → Bool) : List α → Bool
  | [] => false
  | x :: xs => p x || anyOf p xs

/-- Two lists joined. -/
def joinLists {α : Type} : List α → List α → List α
  | [], ys => ys
  | x :: xs, ys => x :: joinLists xs ys

/-- Puts an item at the end of a list of found items unless it is there. -/
def note {α : Type} (same : α → α → Bool) (x : α) (found : List α) : List α :=
  if anyOf (same x) found then found else joinLists found [x]

/-- Whether two expressions are the same metavariable. -/
def sameMVar (a b : Expr) : Bool :=
  a.mvarId!.name == b.mvarId!.name

/-- Whether two universe levels are the same metavariable. -/
def sameLevelMVar (a b : Level) : Bool :=
  match a, b with
  | .mvar m, .mvar n => m.name == n.name
  | _, _ => false

/-- The salt stands here until it is replaced. -/
def saltMark : Expr := .fvar ⟨`prover.salt⟩

/-- Notes the metavariables of `e` in order of appearance. -/
partial def number (e : Expr) (n : Numbering) : Numbering :=
  if !e.hasMVar then n else
    match e with
    | .mvar _ => { n with exprs := note sameMVar e n.exprs }
    | .sort u => { n with levels := numberLevel u n.levels }
    | .const _ us => { n with levels := numberLevels us n.levels }
    | .app f a => number a (number f n)
    | .lam _ t b _ => number b (number t n)
    | .forallE _ t b _ => number b (number t n)
    | .letE _ t v b _ => number b (number v (number t n))
    | .mdata _ b => number b n
    | .proj _ _ b => number b n
    | _ => n
where
  /-- Notes the metavariables of a universe level. -/
  numberLevel (u : Level) (found : List Level) : List Level :=
    if !u.hasMVar then found else
      match u with
      | .mvar _ => note sameLevelMVar u found
      | .succ v => numberLevel v found
      | .max v w => numberLevel w (numberLevel v found)
      | .imax v w => numberLevel w (numberLevel v found)
      | _ => found
  /-- Notes the metavariables of universe levels. -/
  numberLevels : List Level → List Level → List Level
    | [], found => found
    | u :: us, found => numberLevels us (numberLevel u found)

/-- A universe level with its metavariables replaced by their numbers. -/
def plainLevel (n : Numbering) (u : Level) : Level :=
  if !u.hasMVar then u else
    match u with
    | .mvar _ => .param (.num `prover.level (indexOf (sameLevelMVar u) n.levels))
    | .succ v => .succ (plainLevel n v)
    | .max v w => .max (plainLevel n v) (plainLevel n w)
    | .imax v w => .imax (plainLevel n v) (plainLevel n w)
    | _ => u

/-- Replaces a leaf by the salt mark applied to it, with made-up names replaced by numbers. Annotations are dropped. -/
partial def saltLeaf (n : Numbering) (e : Expr) : Option Expr :=
  match e with
  | .mvar _ => some (.app saltMark (.const (.num `prover.mvar (indexOf (sameMVar e) n.exprs)) []))
  | .const c us => some (.app saltMark (if e.hasLevelMVar then .const c (mapList (plainLevel n) us) else e))
  | .sort u => some (.app saltMark (if e.hasLevelMVar then .sort (plainLevel n u) else e))
  | .lit _ => some (.app saltMark e)
  | .bvar _ => some (.app saltMark e)
  | .fvar _ => some (.app saltMark e)
  | .mdata _ b => some (b.replace (saltLeaf n))
  | _ => none

/-- The hash of a salted expression under one salt, as hexadecimal digits. -/
def saltedHash (salted : Expr) (salt : Nat) : String :=
  let h := (salted.replaceFVar saltMark (.const (.num `prover.salt salt) [])).hash.toNat
  hex4 (h / 65536) ++ hex4 h

/-- What the key of a goal is the hash of. -/
def OpenGoal.keyed (g : OpenGoal) : Expr :=
  .app (.lit (.natVal g.arity)) g.closed

/-- The key of a closed expression. -/
def keyOf (e : Expr) : String :=
  let salted := e.replace (saltLeaf (number e {}))
  saltedHash salted 1 ++ saltedHash salted 2 ++ saltedHash salted 3 ++ saltedHash salted 4

/-- The key of a list of goals: that of the one goal, or of all taken together, so that what they share counts. -/
def keyOfGoals : List OpenGoal → String
  | [g] => keyOf g.keyed
  | gs => keyOf (join (.const `prover.goals []) gs)
where
  /-- One expression that holds all goals, each with its own metavariable, which the others may mention. -/
  join (acc : Expr) : List OpenGoal → Expr
  | [] => acc
  | g :: gs => join (.app (.app acc g.keyed) (.mvar g.id)) gs

/-! ## Independence -/

/-- Whether a metavariable is in a list. -/
def hasMVarId (ms : List MVarId) (m : MVarId) : Bool :=
  anyOf (fun k => k.name == m.name) ms

/-- Whether a universe metavariable is in a list. -/
def hasLMVarId (ms : List LMVarId) (m : LMVarId) : Bool :=
  anyOf (fun k => k.name == m.name) ms

/-- The unassigned metavariables that a goal depends on, itself included; delayed assignments are looked through. -/
partial def goalMVars (g : OpenGoal) : MetaM (List MVarId) := do
  if !g.closed.hasExprMVar then pure [g.id] else
    let ms ← getMVarsNoDelayed g.closed
    close ms.toList [g.id]
where
  /-- Adds metavariables and those in their types. -/
  close : List MVarId → List MVarId → MetaM (List MVarId)
  | [], acc => pure acc
  | m :: ms, acc => do
    if hasMVarId acc m then close ms acc else
      let decl ← declOf m
      let type ← instantiateMVars decl.type
      if type.hasExprMVar then
        let more ← getMVarsNoDelayed type
        close (joinLists more.toList ms) (m :: acc)
      else
        close ms (m :: acc)

/-- The unassigned universe metavariables of a goal. -/
def goalLevelMVars (g : OpenGoal) : List LMVarId :=
  if g.closed.hasLevelMVar then (collectLevelMVars {} g.closed).result.toList else []

/-- What a goal shares with others. -/
structure Shared where
  exprs : List MVarId
  levels : List LMVarId

/-- Whether goal number `i` shares something with another one. -/
def isCoupled (all : List Shared) (i : Nat) (s : Shared) : Bool :=
  go 0 all
where
  /-- Compares with the goal number `j` and the rest. -/
  go (j : Nat) : List Shared → Bool
  | [] => false
  | t :: ts =>
    (i != j && (anyOf (hasMVarId t.exprs) s.exprs || anyOf (hasLMVarId t.levels) s.levels)) || go (j + 1) ts

/-- What each goal depends on. -/
def sharedOf : List OpenGoal → MetaM (List Shared)
  | [] => pure []
  | g :: gs => do
    let exprs ← goalMVars g
    let rest ← sharedOf gs
    pure ({ exprs, levels := goalLevelMVars g } :: rest)

/-- Open goals split into parts that can be worked on apart. `order` maps each goal to its part. -/
structure Split where
  parts : Array (List OpenGoal) := #[]
  order : Array Nat := #[]
  /-- The part of the goals that share something, once there is one. -/
  coupled : Option Nat := none

/-- A split with one more goal, in a part of its own. -/
def Split.addAlone (s : Split) (g : OpenGoal) : Split :=
  { s with parts := s.parts.push [g], order := s.order.push s.parts.size }

/-- A split with one more goal in the part of those that share something. -/
def Split.addCoupled (s : Split) (g : OpenGoal) : Split :=
  match s.coupled with
  | none => { s.addAlone g with coupled := some s.parts.size }
  | some p =>
    { s with parts := s.parts.set! p (joinLists (s.parts.getD p []) [g]), order := s.order.push p }

/-- Puts one goal after another into its part. -/
def splitFrom (all : List Shared) (i : Nat) : List OpenGoal → List Shared → Split → Split
  | g :: gs, s :: ss, acc =>
    splitFrom all (i + 1) gs ss (if isCoupled all i s then acc.addCoupled g else acc.addAlone g)
  | _, _, acc => acc

/-- Splits open goals: each that shares no unassigned metavariable with another is a part of its own, the others form
one more part. -/
def splitGoals : List OpenGoal → MetaM Split
  | [g] => pure { parts := #[[g]], order := #[0] }
  | gs => do
    let shared ← sharedOf gs
    pure (splitFrom shared 0 gs shared {})

/-! ## Display -/

/-- Lean's display of each goal, with its key. -/
def jsonGoals : List OpenGoal → MetaM (List Json)
  | [] => pure []
  | g :: gs => do
    let text ← ppGoal g.id
    let rest ← jsonGoals gs
    pure (Json.mkObj [("text", Json.str (toString text)), ("key", Json.str (keyOf g.keyed))] :: rest)

end Prover
