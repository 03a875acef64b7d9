import Prover.Open
import Lean.PrettyPrinter
import Lean.Meta.Check

/-!
# Statements: closed propositions as text that Lean reads back

A statement taken from the library, or made by changing another one, is printed as the header of a theorem. The text
counts only when elaborating it gives the same proposition again.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- A closed proposition with its universe parameters. -/
structure Statement where
  levels : List Name
  type : Expr

/-- The level parameters of an expression, renamed to their order of appearance. -/
def plainParams (e : Expr) : Expr :=
  let params := (collectLevelParams {} e).params.toList
  e.instantiateLevelParams params (numbered 0 params)
where
  /-- Numbered parameters, one for each name. -/
  numbered (i : Nat) : List Name → List Level
  | [] => []
  | _ :: ns => .param (.num `prover.level i) :: numbered (i + 1) ns

/-- Equal for statements that are equal up to the names of bound variables and universes. -/
def Statement.key (s : Statement) : String :=
  keyOf (plainParams s.type)

/-- A statement over the universe parameters that its type mentions. -/
def statementOf (type : Expr) : Statement :=
  { levels := (collectLevelParams {} type).params.toList, type }

/-- Binder names that can be written: without macro scopes, and no two alike. Binders that nothing depends on keep
their names, which are not printed. -/
partial def writableBinders (used : List Name) (e : Expr) : Expr :=
  match e with
  | .forallE n t b bi =>
    let n := fresh used n.eraseMacroScopes (countOf used)
    .forallE n t (writableBinders (n :: used) b) bi
  | _ => e
where
  /-- The name, or with a number behind it when it is taken. -/
  fresh (used : List Name) (n : Name) : Nat → Name
  | 0 => n
  | k + 1 => if anyOf (· == n) used then fresh used (n.appendIndexAfter (k + 1)) k else n

/-- Ways of printing, the plainest first. -/
def printings (opts : Options) : List Options :=
  let plain := (opts.set `pp.maxSteps (20000 : Nat)).set `pp.deepTerms true
  let plain := plain.set `pp.funBinderTypes true
  let typed := (plain.set `pp.numericTypes true).set `pp.fieldNotation false
  let typed := typed.set `pp.coercions.types true
  [plain, typed]

/-- The name that printed statements carry. -/
def statementName : Name := `statement

/-- The scope with an axiom of that name and type, so that Lean prints its signature. -/
def withAxiom (scope : ProofState) (s : Statement) : Except String ProofState :=
  let decl := Declaration.axiomDecl { name := statementName, levelParams := s.levels, type := s.type, isUnsafe := false }
  match scope.env.addDeclCore 0 decl none with
  | .ok env => .ok { scope with env }
  | .error _ => .error "the statement is not well-typed"

/-- The signature of `statementName` as text. -/
def signatureText : TermElabM String := do
  let fmt ← PrettyPrinter.ppSignature statementName
  pure (fmt.fmt.pretty 10000)

/-- What elaborating a text as a theorem's header says, as a closed proposition. -/
def readBack (start : Command.State) (text : String) : IO (Option Statement) := do
  let ran ← runCommands (inputOf ("theorem " ++ text ++ " := by sorry")) {} start
  let final := finalState start ran
  match firstError? (allMessages ran.toList), final.env.find? statementName with
  | none, some c => pure (some { levels := c.levelParams, type := c.type })
  | _, _ => pure none

/-- The first printing that reads back as the same proposition. -/
def printAny (start : Command.State) (scope : ProofState) (key : String) : List Options → IO (Option String)
  | [] => pure none
  | opts :: rest => do
    match ← runIn { scope with options := opts } "" 0 signatureText with
    | .error _ => printAny start scope key rest
    | .ok text => do
      match ← readBack start text with
      | some s => if s.key == key then pure (some text) else printAny start scope key rest
      | none => printAny start scope key rest

/-- A statement as the text behind `theorem `, if Lean can read it back. -/
def Statement.text? (s : Statement) (start : Command.State) : IO (Option String) := do
  let s := { s with type := writableBinders [] s.type }
  let start := withScopeOptions start (limited · 20000)
  match withAxiom (freshScope start) s with
  | .error _ => pure none
  | .ok scope => printAny start scope s.key (printings scope.options)

/-- The proposition `∀ hypotheses, False` of a statement with hypotheses: provable exactly when they contradict one
another. Nothing when it has none. -/
def absurdOf (s : Statement) : MetaM (Option Statement) := do
  let (xs, _, _) ← forallMetaTelescope s.type
  let hyps ← countProofs xs.toList
  if hyps == 0 then pure none else do
    let type := falseBehind s.type
    pure (some (statementOf type))
where
  /-- How many binders are proofs. -/
  countProofs : List Expr → MetaM Nat
  | [] => pure 0
  | x :: xs => do
    let rest ← countProofs xs
    let t ← inferType x
    if ← isProp t then pure (rest + 1) else pure rest
  /-- The conclusion replaced by `False`. -/
  falseBehind : Expr → Expr
  | .forallE n t b bi => .forallE n t (falseBehind b) bi
  | _ => .const ``False []

end Prover
