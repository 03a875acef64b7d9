import Prover.Mutate

/-!
# The theorems of an environment, as statements to prove

For making training data: what is there module by module, each theorem as text that can be proved anew, with mutations;
and what a proof used.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- Whether a theorem was written by a person: not made by the compiler of definitions, structures or attributes. -/
def isWritten (env : Environment) (n : Name) : Bool :=
  !n.isInternalDetail && !isPrivateName n && !madeBy n && !n.hasMacroScopes && !isReservedName env n
where
  /-- Names that Lean gives to what it makes. -/
  madeBy : Name → Bool
  | .str p s => s == "injEq" || s == "sizeOf_spec" || s == "noConfusion" || s == "congr_simp" || s == "inj" ||
      s == "eq_def" || s == "induct" || s == "induct_unfolding" || s == "fun_cases" || s.startsWith "eq_" &&
        (s.drop 3).toString.isNat || s.startsWith "match_" || s.startsWith "proof_" || madeBy p
  | .num p _ => madeBy p
  | .anonymous => false

/-- A theorem of the library: its name and what it states. -/
structure Entry where
  name : Name
  statement : Statement

/-- A constant as a theorem. An environment without proofs (the npm Lean's) has theorems, and definitions whose bodies
are not exported, as axioms. -/
def theorem? (env : Environment) (n : Name) : MetaM (Option Entry) :=
  match env.find? n with
  | some (.thmInfo v) => pure (some { name := n, statement := { levels := v.levelParams, type := v.type } })
  | some (.axiomInfo v) => do
    let prop ← isProp v.type
    pure (if prop then some { name := n, statement := { levels := v.levelParams, type := v.type } } else none)
  | _ => pure none

/-- The theorems among some constants, in their order. -/
def theoremsAmong (env : Environment) (p : Name → Bool) : List Name → MetaM (List Entry)
  | [] => pure []
  | n :: ns => do
    let rest ← theoremsAmong env p ns
    if !p n then pure rest else do
      let found ← theorem? env n
      match found with
      | some e => pure (e :: rest)
      | none => pure rest

/-- The theorems that people wrote, of some constants. -/
def writtenTheorems (start : Command.State) (names : List Name) : IO (List Entry) := do
  match ← runIn (freshScope start) "" 0 (theoremsAmong start.env (isWritten start.env) names) with
  | .ok found => pure found
  | .error _ => pure []

/-- The place of a module among those imported. -/
def moduleIndex? (env : Environment) (m : Name) : Option Nat :=
  let i := indexOf (· == m) env.header.moduleNames.toList
  if i < env.header.moduleNames.size then some i else none

/-- The constants of an imported module. -/
def constantsOf (env : Environment) (i : Nat) : List Name :=
  match env.header.moduleData[i]? with
  | some d => d.constNames.toList
  | none => []

/-- Each imported module with the number of its theorems; those without are left out. -/
def countModules (start : Command.State) (i : Nat) : List Name → IO (List Json)
  | [] => pure []
  | m :: ms => do
    let found ← writtenTheorems start (constantsOf start.env i)
    let n := countOf found
    let rest ← countModules start (i + 1) ms
    if n == 0 then pure rest else do
      let name ← nameText m
      pure (Json.mkObj [("module", Json.str name), ("theorems", jsonNat n)] :: rest)

/-- `modules` -/
def serveModules (s : Session) (req : Json) : Answer Json := do
  let handle ← natField req "env"
  let start ← s.env handle
  let found ← (countModules start 0 start.env.header.moduleNames.toList : IO _)
  pure (Json.mkObj [("modules", jsonList found)])

/-- The mutations of a request, by name. -/
def chosenMutations : List String → Answer (List Mutation)
  | [] => pure []
  | n :: ns => do
    let rest ← chosenMutations ns
    match named n mutations with
    | some m => pure (m :: rest)
    | none => refuse "bad_request" s!"unknown mutation '{n}'"
where
  /-- The mutation of a name. -/
  named (n : String) : List Mutation → Option Mutation
  | [] => none
  | m :: ms => if m.name == n then some m else named n ms

/-- A statement as JSON, with `absurd` or without; nothing when it cannot be written down. -/
def jsonStatement (start : Command.State) (absurd : Bool) (kind : String) (s : Statement) : IO (List Json) := do
  match ← s.text? start with
  | none => pure []
  | some text => do
    let hopeless ← if absurd then absurdText else pure none
    let fields := match hopeless with
      | some t => [("absurd", Json.str t)]
      | none => []
    pure [Json.mkObj (("kind", Json.str kind) :: ("statement", Json.str text) :: ("key", Json.str s.key) :: fields)]
where
  /-- The contradiction of the hypotheses as text. -/
  absurdText : IO (Option String) := do
    match ← runIn (freshScope start) "" 20000 (absurdOf s) with
    | .ok (some a) => a.text? start
    | _ => pure none

/-- Several statements as JSON. -/
def jsonStatements (start : Command.State) (absurd : Bool) (kind : String) : List Statement → IO (List Json)
  | [] => pure []
  | s :: ss => do
    let here ← jsonStatement start absurd kind s
    let rest ← jsonStatements start absurd kind ss
    pure (joinLists here rest)

/-- What several mutations make of a statement, as JSON. -/
def jsonMutants (start : Command.State) (absurd : Bool) (s : Statement) (others : List Statement) : List Mutation → IO (List Json)
  | [] => pure []
  | m :: ms => do
    let made ← m.apply (freshScope start) s others
    let here ← jsonStatements start absurd m.name made
    let rest ← jsonMutants start absurd s others ms
    pure (joinLists here rest)

/-- How many theorems behind a theorem `compose` looks at. -/
def composeReach : Nat := 12

/-- The statements of the first entries of a list. -/
def firstStatements : Nat → List Entry → List Statement
  | 0, _ => []
  | _ + 1, [] => []
  | n + 1, v :: vs => v.statement :: firstStatements n vs

/-- Theorems as JSON, each with its mutants; a theorem is composed with one of those behind it. -/
def jsonTheorems (start : Command.State) (absurd : Bool) (chosen : List Mutation) : List Entry → Nat → IO (List Json)
  | [], _ => pure []
  | _, 0 => pure []
  | v :: vs, limit + 1 => do
    let s := v.statement
    let others := firstStatements composeReach vs
    let name ← nameText v.name
    let itself ← jsonStatement start absurd "theorem" s
    let mutants ← jsonMutants start absurd s others chosen
    let rest ← jsonTheorems start absurd chosen vs limit
    pure (Json.mkObj [("name", Json.str name), ("statements", jsonList (joinLists itself mutants))] :: rest)

/-- A list without its first items. -/
def dropItems {α : Type} : Nat → List α → List α
  | 0, xs => xs
  | _ + 1, [] => []
  | n + 1, _ :: xs => dropItems n xs

/-- `statements` -/
def serveStatements (s : Session) (req : Json) : Answer Json := do
  let handle ← natField req "env"
  let start ← s.env handle
  let name ← strField req "module"
  let skip ← natFieldD req "skip" 0
  let limit ← natFieldD req "limit" 1000000
  let absurd ← natFieldD req "absurd" 1
  let chosen ← chosenMutations (← strsField req "mutations")
  match moduleIndex? start.env name.toName with
  | none => refuse "bad_request" s!"the environment has no module '{name}'"
  | some i => do
    let all ← (writtenTheorems start (constantsOf start.env i) : IO _)
    let found ← (jsonTheorems start (absurd != 0) chosen (dropItems skip all) limit : IO _)
    pure (Json.mkObj [("theorems", jsonList found), ("total", jsonNat (countOf all))])

/-- The theorem that a text states, and the environment behind it. -/
def statedBy (start : Command.State) (text name : String) : Answer (ConstantInfo × Environment) := do
  let start := withScopeOptions start (limited · 20000)
  let ran ← (runCommands (inputOf text) {} start : IO _)
  let final := finalState start ran
  match findDeclared? final.env name.toName with
  | some c => pure (c, final.env)
  | none =>
    match firstError? (allMessages ran.toList) with
    | some m => do
      let message ← (m.data.toString : IO String)
      refuse "elaboration" (cutText message)
    | none => refuse "bad_request" s!"the text declares no '{name}'"

/-- `mutate` -/
def serveMutate (s : Session) (req : Json) : Answer Json := do
  let handle ← natField req "env"
  let start ← s.env handle
  let text ← strField req "text"
  let name ← strField req "name"
  let absurd ← natFieldD req "absurd" 1
  let chosen ← chosenMutations (← strsField req "mutations")
  let (c, _) ← statedBy start text name
  let statement : Statement := { levels := c.levelParams, type := c.type }
  let itself ← (jsonStatement start (absurd != 0) "theorem" statement : IO _)
  let mutants ← (jsonMutants start (absurd != 0) statement [] chosen : IO _)
  pure (Json.mkObj [("statements", jsonList (joinLists itself mutants)), ("key", Json.str statement.key)])

/-- The binders of a proof, opened like those of a statement. -/
partial def openLambdas (lctx : LocalContext) (xs : List Expr) (e : Expr) : Opened :=
  match e with
  | .lam n t b bi =>
    let id : FVarId := ⟨.num `prover.binder (countOf xs)⟩
    openLambdas (lctx.mkLocalDecl id n t bi) (joinLists xs [.fvar id]) (b.instantiate1 (.fvar id))
  | _ => { lctx, xs, body := e }

/-- The names of hypotheses (binders that are proofs) that neither the proof nor a later binder mentions. -/
def unusedHypotheses (value : Expr) : MetaM (List String) := do
  let o := openLambdas {} [] value
  o.inside (go o o.xs)
where
  /-- Looks at one binder after another. -/
  go (o : Opened) : List Expr → MetaM (List String)
  | [] => pure []
  | x :: after => do
    let rest ← go o after
    let prop ← isHypothesis x
    let behind := o.lctx.mkLambda after.toArray o.body (usedLetOnly := false)
    if !prop || behind.containsFVar x.fvarId! then pure rest else
      match o.lctx.findFVar? x with
      | some d => do
        let name ← (nameText d.userName : IO _)
        pure (name :: rest)
      | none => pure rest

/-- Names as JSON. -/
def jsonNames : List Name → IO (List Json)
  | [] => pure []
  | n :: ns => do
    let name ← nameText n
    let rest ← jsonNames ns
    pure (Json.str name :: rest)

/-- The constants of `start` that an expression rests on. Lemmas that elaboration made on the way (`grind` puts its proofs into
such) are looked into; `seen` are the names met so far. -/
partial def restsOn (start final : Environment) (seen : NameSet) : List Name → NameSet × List Name
  | [] => (seen, [])
  | n :: ns =>
    if seen.contains n then restsOn start final seen ns else
      let seen := seen.insert n
      if start.contains n then
        let (seen, rest) := restsOn start final seen ns
        (seen, n :: rest)
      else
        match final.find? n with
        | some c => restsOn start final seen (joinLists c.getUsedConstantsAsSet.toList ns)
        | none => restsOn start final seen ns

/-- `usage` -/
def serveUsage (s : Session) (req : Json) : Answer Json := do
  let handle ← natField req "env"
  let start ← s.env handle
  let text ← strField req "text"
  let name ← strField req "name"
  let (c, final) ← statedBy start text name
  match c with
  | .thmInfo v => do
    let unused ← match ← (runIn (freshScope start) "" 0 (unusedHypotheses v.value) : IO _) with
      | .ok names => pure names
      | .error _ => pure []
    let (_, used) := restsOn start.env final {} v.value.getUsedConstants.toList
    let lemmas ← match ← (runIn (freshScope start) "" 0 (theoremsAmong start.env (fun _ => true) used) : IO _) with
      | .ok found => (jsonNames (mapList (fun e => e.name) found) : IO _)
      | .error _ => pure []
    pure (Json.mkObj [("unused", jsonList (mapList Json.str unused)), ("theorems", jsonList lemmas)])
  | _ => refuse "bad_request" s!"'{name}' is not a theorem"

end Prover
