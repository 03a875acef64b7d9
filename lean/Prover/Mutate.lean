import Prover.Statement

/-!
# Statements made of other statements

Each mutation changes one thing and gives propositions that are well-typed; whether they are true is for the search to
find out. They work on `∀ binders, conclusion` and never look inside proofs.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- A mutation's name and what it makes of a statement, given other statements to work with. -/
structure Mutation where
  name : String
  make : Statement → List Statement → MetaM (List Expr)

/-- Keeps the propositions that are well-typed, closed and differ from `old`. -/
def soundOnes (old : String) : List Expr → MetaM (List Statement)
  | [] => pure []
  | e :: es => do
    let rest ← soundOnes old es
    let e ← instantiateMVars e
    if e.hasMVar || e.hasFVar || e.hasLooseBVars then pure rest else do
      let good ← isTypeCorrect e
      if !good then pure rest else do
        let prop ← isProp e
        let s := statementOf e
        if prop && s.key != old then pure (s :: rest) else pure rest

/-- A statement with its binders opened. (The library's `forallTelescope` cannot be compiled everywhere.) -/
structure Opened where
  lctx : LocalContext
  xs : List Expr
  body : Expr

instance : Inhabited Opened := ⟨{ lctx := {}, xs := [], body := .const `none [] }⟩

/-- Opens the binders of `e`; `xs` are those opened so far, the last first. -/
partial def openBinders (lctx : LocalContext) (xs : List Expr) (e : Expr) : Opened :=
  match e with
  | .forallE n t b bi =>
    let id : FVarId := ⟨.num `prover.binder (countOf xs)⟩
    openBinders (lctx.mkLocalDecl id n t bi) (.fvar id :: xs) (b.instantiate1 (.fvar id))
  | _ => { lctx, xs := reversed [] xs, body := e }
where
  /-- A list back to front. -/
  reversed (acc : List Expr) : List Expr → List Expr
  | [] => acc
  | y :: ys => reversed (y :: acc) ys

/-- Runs with the opened binders in scope. -/
def Opened.inside {α : Type} (o : Opened) (act : MetaM α) : MetaM α := do
  let here : MetaM LocalInstances := instancesOf o.lctx o.xs
  let instances ← withTheReader Meta.Context (fun c => { c with lctx := o.lctx }) here
  withTheReader Meta.Context (fun c => { c with lctx := o.lctx, localInstances := instances }) act

/-- `∀ xs, e`. -/
def Opened.close (o : Opened) (xs : List Expr) (e : Expr) : Expr :=
  o.lctx.mkForall xs.toArray e (usedLetOnly := false)

/-- The type of an opened binder. A definition of its own because the library's may lack boxed code. -/
def typeOf (x : Expr) : MetaM Expr := do
  let t ← inferType x
  pure t

/-- Whether an opened binder is a proof. -/
def isHypothesis (x : Expr) : MetaM Bool := do
  let t ← inferType x
  isProp t

/-- Rebuilds the statement for each changed conclusion. -/
def underBinders (type : Expr) (f : Expr → MetaM (List Expr)) : MetaM (List Expr) := do
  let o := openBinders {} [] type
  let bodies ← o.inside (f o.body)
  pure (mapList (fun b => o.close o.xs b) bodies)

/-- Both sides exchanged: `a = b`, `a ↔ b`, `a ≠ b`, `a ∧ b`, `a ∨ b`. -/
def swapped (body : Expr) : MetaM (List Expr) :=
  match body with
  | .app (.app (.app (.const ``Eq us) t) a) b => pure [.app (.app (.app (.const ``Eq us) t) b) a]
  | .app (.app (.app (.const ``Ne us) t) a) b => pure [.app (.app (.app (.const ``Ne us) t) b) a]
  | .app (.app (.const ``Iff us) a) b => pure [.app (.app (.const ``Iff us) b) a]
  | .app (.app (.const ``And us) a) b => pure [.app (.app (.const ``And us) b) a]
  | .app (.app (.const ``Or us) a) b => pure [.app (.app (.const ``Or us) b) a]
  | _ => pure []

/-- Whether a type is one whose numbers are compared by `≤`. -/
def isOrdered (t : Expr) : Bool :=
  t.isConstOf ``Nat || t.isConstOf ``Int

/-- Weaker conclusions: a side of `∧`, a direction of `↔`, `≤` for `=` and `<`, `∨` with the conclusion's negation's
dual left out, `¬¬`. -/
def weakened (body : Expr) : MetaM (List Expr) :=
  match body with
  | .app (.app (.const ``And _) a) b => pure [a, b]
  | .app (.app (.const ``Iff _) a) b => pure [.forallE `h a b .default, .forallE `h b a .default]
  | .app (.app (.app (.const ``Eq _) t) a) b => do
    if isOrdered t then do
      let le ← mkAppM ``LE.le #[a, b]
      let ge ← mkAppM ``LE.le #[b, a]
      pure [le, ge]
    else pure []
  | .app (.app (.app (.app (.const ``LT.lt _) t) _) a) b => do
    if isOrdered t then do
      let le ← mkAppM ``LE.le #[a, b]
      let ne ← mkAppM ``Ne #[a, b]
      pure [le, ne]
    else pure []
  | _ => pure []

/-- A list without its last item, and that item. -/
def splitLast : List Expr → Option (List Expr × Expr)
  | [] => none
  | [x] => some ([], x)
  | x :: xs =>
    match splitLast xs with
    | some (ys, y) => some (x :: ys, y)
    | none => none

/-- The last hypothesis and the conclusion, negated and exchanged: `a → b` becomes `¬b → ¬a`. -/
def contraposed (type : Expr) : MetaM (List Expr) := do
  let o := openBinders {} [] type
  match splitLast o.xs with
  | none => pure []
  | some (xs, h) => do
    let prop ← o.inside (isHypothesis h)
    if !prop || o.body.containsFVar h.fvarId! then pure [] else do
      let t ← o.inside (typeOf h)
      pure [o.close xs (.forallE `h (mkNot o.body) (mkNot t) .default)]

/-- Each hypothesis left out: a more general statement, often false; then its negation is true. -/
def withoutHypothesis (type : Expr) : MetaM (List Expr) := do
  let o := openBinders {} [] type
  o.inside (go o [] o.xs)
where
  /-- Leaves out one hypothesis after another, where nothing depends on it. -/
  go (o : Opened) (before : List Expr) : List Expr → MetaM (List Expr)
  | [] => pure []
  | x :: after => do
    let rest ← go o (joinLists before [x]) after
    let prop ← isHypothesis x
    if !prop then pure rest else do
      let e := o.close (joinLists before after) o.body
      pure (if e.hasFVar then rest else e :: rest)

/-- The negations of the statements with a hypothesis less. -/
def negated (type : Expr) : MetaM (List Expr) := do
  let stronger ← withoutHypothesis type
  pure (mapList mkNot stronger)

/-- Closed values to put in place of variables of a type. -/
def samples (t : Expr) : MetaM (List Expr) :=
  if t.isConstOf ``Nat then pure [mkNatLit 0, mkNatLit 1, mkNatLit 2, mkNatLit 7]
  else if t.isConstOf ``Int then do
    let minus ← mkAppM ``Neg.neg #[.app (.const ``Int.ofNat []) (mkNatLit 1)]
    pure [.app (.const ``Int.ofNat []) (mkNatLit 2), minus]
  else if t.isConstOf ``Bool then pure [.const ``true [], .const ``false []]
  else match t with
    | .app (.const ``List us) a => pure [.app (.const ``List.nil us) a]
    | .app (.const ``Option us) a => pure [.app (.const ``Option.none us) a]
    | _ => pure []

/-- The statement with one variable given a value. -/
def instantiated (type : Expr) : MetaM (List Expr) := do
  let o := openBinders {} [] type
  o.inside (go o [] o.xs)
where
  /-- Gives each variable each of its values. -/
  go (o : Opened) (before : List Expr) : List Expr → MetaM (List Expr)
  | [] => pure []
  | x :: after => do
    let rest ← go o (joinLists before [x]) after
    let t ← inferType x
    let values ← samples t
    pure (joinLists (mapList (put o before x after) values) rest)
  /-- One statement: the binders behind the variable are generalised first. -/
  put (o : Opened) (before : List Expr) (x : Expr) (after : List Expr) (v : Expr) : Expr :=
    o.close before ((o.close after o.body).replaceFVar x v)

/-- The statement with its first type variable a concrete type; instances that the rest asks for are found anew. -/
def specialised (s : Statement) : MetaM (List Expr) := do
  let type := s.type.instantiateLevelParams s.levels (mapList (fun _ => Level.zero) s.levels)
  go type [.const ``Nat [], .const ``Int [], .const ``Bool []]
where
  /-- One statement a type. -/
  go (type : Expr) : List Expr → MetaM (List Expr)
  | [] => pure []
  | t :: ts => do
    let rest ← go type ts
    match type with
    | .forallE _ (.sort _) b _ => do
      match ← instances (b.instantiate1 t) 8 with
      | some e => pure (e :: rest)
      | none => pure rest
    | _ => pure rest
  /-- Fills the instance binders in front. -/
  instances (e : Expr) : Nat → MetaM (Option Expr)
  | 0 => pure none
  | k + 1 =>
    match e with
    | .forallE _ t b .instImplicit => do
      if t.hasLooseBVars then pure none else do
        match ← trySynthInstance t with
        | .some i => instances (b.instantiate1 i) k
        | _ => pure none
    | _ => pure (some e)

/-- Number literals of the conclusion turned into a variable. -/
def generalised (type : Expr) : MetaM (List Expr) := do
  match type.find? isLiteral with
  | none => pure []
  | some l => do
    let body ← kabstract type l
    pure [.forallE `k (.const ``Nat []) body .default]
where
  /-- `OfNat` literals of natural numbers greater than 1. -/
  isLiteral (e : Expr) : Bool :=
    match e with
    | .app (.app (.app (.const ``OfNat.ofNat _) (.const ``Nat _)) (.lit (.natVal n))) _ => n > 1
    | _ => false

/-- The conclusion rewritten by the first of the other statements that is an equation, or an equivalence, and applies. -/
def composed (type : Expr) : List Statement → MetaM (List Expr)
  | [] => pure []
  | other :: others => do
    let o := openBinders {} [] type
    let levels ← freshLevels other.levels
    let rule := other.type.instantiateLevelParams other.levels levels
    match ← o.inside (rewritten o.body rule) with
    | some e => pure [o.close o.xs e]
    | none => composed type others
where
  /-- New universe metavariables, one for each name. -/
  freshLevels : List Name → MetaM (List Level)
  | [] => pure []
  | _ :: ns => do
    let u ← mkFreshLevelMVar
    let us ← freshLevels ns
    pure (u :: us)
  /-- The body with the left side of the rule replaced by the right one; nothing when a part of the rule stays open. -/
  rewritten (body rule : Expr) : MetaM (Option Expr) := do
    let (parts, _, conclusion) ← forallMetaTelescope rule
    match sides? conclusion with
    | some (l, r) => do
      if l.getAppFn.isMVar then pure none else do
        let found ← kabstract body l
        if !found.hasLooseBVars then pure none else do
          let known ← allKnown parts.toList
          let e ← instantiateMVars (found.instantiate1 r)
          if known && !e.hasMVar then pure (some e) else pure none
    | none => pure none
  /-- Did the match determine every part of the rule? A hypothesis that it leaves open may be false. -/
  allKnown : List Expr → MetaM Bool
  | [] => pure true
  | p :: ps => do
    let e ← instantiateMVars p
    if e.hasMVar then pure false else allKnown ps
  /-- Both sides of an equation or an equivalence. -/
  sides? (e : Expr) : Option (Expr × Expr) :=
    match e with
    | .app (.app (.app (.const ``Eq _) _) l) r => some (l, r)
    | .app (.app (.const ``Iff _) l) r => some (l, r)
    | _ => none

/-- All mutations. -/
def mutations : List Mutation := [
  { name := "swap", make := fun s _ => underBinders s.type swapped },
  { name := "weaken", make := fun s _ => underBinders s.type weakened },
  { name := "contrapose", make := fun s _ => contraposed s.type },
  { name := "generalise", make := fun s _ => do
      let fewer ← withoutHypothesis s.type
      let wider ← generalised s.type
      pure (joinLists wider fewer) },
  { name := "negate", make := fun s _ => negated s.type },
  { name := "instantiate", make := fun s _ => instantiated s.type },
  { name := "specialise", make := fun s _ => specialised s },
  { name := "compose", make := fun s others => composed s.type others }]

/-- The statements that one mutation makes. What goes wrong on the way makes none. -/
def Mutation.apply (m : Mutation) (scope : ProofState) (s : Statement) (others : List Statement) :
    IO (List Statement) := do
  let act : TermElabM (List Statement) := do
    let made ← m.make s others
    soundOnes s.key made
  match ← runIn scope "" 20000 act with
  | .ok found => pure found
  | .error _ => pure []

end Prover
