import Prover.Session
import Prover.Form
import Lean.Meta.Match.MatcherInfo

/-!
# Opening declarations with holes

The holes of a text are found in the info trees that elaboration leaves: a tactic node for each `sorry` (or `admit`)
run as a tactic, a term node for each `sorry` elaborated as a term. Each becomes a proof state of its own.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- A `sorry` met during elaboration, or another place whose goal is asked for. -/
structure RawHole where
  stx : Syntax
  isTactic : Bool
  ctx : ContextInfo
  lctx : LocalContext
  /-- The goal closed by a tactic, or the type expected of a term. -/
  goal : MVarId ⊕ Expr
  /-- Nothing was expected of the term (an operand, elaborated before its operator): the expression is what it became,
  and its type is meant. -/
  byValue : Bool := false

/-- Whether a syntax kind is that of a tactic that gives up on a goal. -/
def isHoleTactic (k : SyntaxNodeKind) : Bool :=
  k == `Lean.Parser.Tactic.tacticSorry || k == `Lean.Parser.Tactic.tacticAdmit

/-- What a node of an info tree aims at: the main goal of a tactic, the type expected of a term. `p` chooses nodes by
their syntax and whether they are tactics. -/
def aimOf? (p : Syntax → Bool → Bool) (ctx : ContextInfo) : Info → Option RawHole
  | .ofTacticInfo i =>
    if p i.stx true then
      match i.goalsBefore with
      | g :: _ =>
        some { stx := i.stx, isTactic := true, ctx := { ctx with mctx := i.mctxBefore }, lctx := {}, goal := .inl g }
      | [] => none
    else none
  | .ofTermInfo i =>
    if p i.stx false then
      match i.expectedType? with
      | some t => some { stx := i.stx, isTactic := false, ctx, lctx := i.lctx, goal := .inr t }
      | none =>
        if i.stx.getKind == `Lean.Parser.Term.sorry then
          some { stx := i.stx, isTactic := false, ctx, lctx := i.lctx, goal := .inr i.expr, byValue := true }
        else none
    else none
  | _ => none

/-- Whether a syntax kind is that of a hole, tactic or term. -/
def isHoleKind (k : SyntaxNodeKind) : Bool :=
  isHoleTactic k || k == `Lean.Parser.Term.sorry

/-- Chooses the nodes of holes. -/
def isHole (stx : Syntax) (isTactic : Bool) : Bool :=
  stx.getPos?.isSome && if isTactic then isHoleTactic stx.getKind else stx.getKind == `Lean.Parser.Term.sorry

mutual

/-- The trees below a node of a persistent array, in order, before those of `acc`. -/
partial def itemsOfNode (acc : List InfoTree) : PersistentArrayNode InfoTree → List InfoTree
  | .leaf ts => joinLists ts.toList acc
  | .node ns => itemsOfNodes acc ns.toList

/-- The trees below several nodes. -/
partial def itemsOfNodes (acc : List InfoTree) : List (PersistentArrayNode InfoTree) → List InfoTree
  | [] => acc
  | n :: ns => itemsOfNode (itemsOfNodes acc ns) n

end

/-- The trees of a persistent array. -/
def itemsOf (ts : PersistentArray InfoTree) : List InfoTree :=
  itemsOfNode ts.tail.toList ts.root

mutual

/-- Collects the chosen nodes of a tree, outermost only: a tactic `sorry` runs a term `sorry` at the same place. -/
partial def aimsOfTree (p : Syntax → Bool → Bool) (ctx? : Option ContextInfo) (acc : List RawHole) :
    InfoTree → List RawHole
  | .context c t => aimsOfTree p (c.mergeIntoOuter? ctx?) acc t
  | .hole _ => acc
  | .node i ts =>
    match ctx? with
    | none => aimsOfTrees p ctx? acc (itemsOf ts)
    | some ctx =>
      match aimOf? p ctx i with
      | some h => h :: acc
      | none => aimsOfTrees p (i.updateContext? ctx?) acc (itemsOf ts)

/-- Collects the chosen nodes of trees, the last first. -/
partial def aimsOfTrees (p : Syntax → Bool → Bool) (ctx? : Option ContextInfo) (acc : List RawHole) :
    List InfoTree → List RawHole
  | [] => acc
  | t :: ts => aimsOfTrees p ctx? (aimsOfTree p ctx? acc t) ts

end

/-- The byte offset at which a syntax begins. -/
def startOf (stx : Syntax) : Nat :=
  match stx.getPos? with
  | some p => p.byteIdx
  | none => 0

/-- The byte offset at which a syntax ends. -/
def endOf (stx : Syntax) : Nat :=
  match stx.getTailPos? with
  | some p => p.byteIdx
  | none => startOf stx

/-- Where a syntax begins and ends, as fields. -/
def jsonRange (map : FileMap) (stx : Syntax) : List (String × Json) :=
  [("pos", jsonPos map ⟨startOf stx⟩), ("endPos", jsonPos map ⟨endOf stx⟩)]

/-- Sorts holes by position; `holes` has the last first. Holes of several goals at one place (`all_goals sorry`) are
all kept. -/
def sortHoles (holes : List RawHole) (acc : List RawHole) : List RawHole :=
  match holes with
  | [] => acc
  | h :: hs => sortHoles hs (insertBefore h acc)
where
  /-- Inserts a hole before the first that does not begin earlier. -/
  insertBefore (h : RawHole) : List RawHole → List RawHole
  | [] => [h]
  | k :: ks => if startOf k.stx < startOf h.stx then k :: insertBefore h ks else h :: k :: ks

/-! ## Holes as states -/

/-- The class instances among hypotheses. -/
def instancesOf (lctx : LocalContext) : List Expr → MetaM LocalInstances
  | [] => pure #[]
  | x :: xs => do
    let rest ← instancesOf lctx xs
    match lctx.findFVar? x with
    | none => pure rest
    | some d =>
      match ← isClass? d.type with
      | some c => pure (insertFirst { className := c, fvar := x } rest.toList)
      | none => pure rest
where
  /-- Puts an instance before others. -/
  insertFirst (i : LocalInstance) (is : List LocalInstance) : LocalInstances :=
    (i :: is).toArray

/-- The type of an expression. -/
def typeIn (lctx : LocalContext) (e : Expr) : MetaM Expr :=
  withTheReader Meta.Context (fun c => { c with lctx }) (inferType e)

/-- A new goal for a hole, in a context without auxiliary declarations: the theorem itself is not at hand. -/
def freshGoal (h : RawHole) : MetaM MVarId := do
  let (lctx, type, tag) ← match h.goal with
    | .inl g => do
      let decl ← declOf g
      pure (decl.lctx, decl.type, decl.userName)
    | .inr t => do
      let t ← if h.byValue then typeIn h.lctx t else pure t
      pure (h.lctx, t, Name.anonymous)
  let lctx ← plainContext lctx {} (hypotheses lctx).toList
  let type ← instantiateMVars type
  let closed := lctx.mkForall (hypotheses lctx) type (usedLetOnly := false)
  if !closed.hasExprMVar && !closed.hasLevelMVar then
    modifyThe Meta.State (fun s => { s with mctx := {} })
  let instances ← withTheReader Meta.Context (fun c => { c with lctx }) (instancesOf lctx (hypotheses lctx).toList)
  let goal ← mkFreshExprMVarAt lctx instances type .syntheticOpaque tag
  pure goal.mvarId!

/-- A scope without goals on a command state. -/
def freshScope (c : Command.State) : ProofState :=
  let scope := scopeOf c
  { env := c.env, options := scope.opts, currNamespace := scope.currNamespace, openDecls := scope.openDecls,
    levelNames := scope.levelNames, mctx := {}, ngen := { namePrefix := `_prover }, auxDeclNGen := .ofPrefix `_prover,
    nextMacroScope := c.nextMacroScope, goals := [] }

/-- The scope in which a hole was elaborated, on the environment before its command. Names made up from here on have a
prefix of their own, so that they cannot clash with those in the hole's metavariable context. -/
def holeScope (r : Ran) (h : RawHole) : ProofState :=
  { freshScope r.before with
    options := h.ctx.options, currNamespace := h.ctx.currNamespace, openDecls := h.ctx.openDecls, mctx := h.ctx.mctx,
    nextMacroScope := r.after.nextMacroScope }

/-! A statement may rest on constants made by its own command, such as the matcher `t.match_1` of a `match` in the
statement of `t`. They are not in the environment before the command, so they are added to it. -/

/-- The definitions that `n` is, or rests on, in the environment after a command and not in `env`, each before those
that mention it. -/
partial def missingDefs (after env : Environment) (acc : List ConstantInfo) (n : Name) : List ConstantInfo :=
  if (env.find? n).isSome || anyOf (fun c => c.name == n) acc then acc else
    match after.find? n with
    | some c@(.defnInfo v) => addAll acc c (joinLists v.type.getUsedConstants.toList v.value.getUsedConstants.toList)
    | some c@(.thmInfo v) => addAll acc c (joinLists v.type.getUsedConstants.toList v.value.getUsedConstants.toList)
    | _ => acc
where
  /-- Adds what `c` mentions, then `c` itself at the end. -/
  addAll (acc : List ConstantInfo) (c : ConstantInfo) : List Name → List ConstantInfo
  | [] => joinLists acc [c]
  | n :: ns => addAll (missingDefs after env acc n) c ns

/-- Adds a definition to `env`, and what is known of it as a matcher. The kernel has checked it before. -/
def addMissing (after env : Environment) (c : ConstantInfo) : Environment :=
  let decl? := match c with
    | .defnInfo v => some (Declaration.defnDecl v)
    | .thmInfo v => some (Declaration.thmDecl v)
    | _ => none
  match decl? with
  | none => env
  | some d =>
    match env.addDeclCore 0 d none with
    | .error _ => env
    | .ok env =>
      match Match.Extension.getMatcherInfo? after c.name with
      | some info => Match.Extension.addMatcherInfo env c.name info
      | none => env

/-- `missingDefs` for several names. -/
def missingOf (after env : Environment) (acc : List ConstantInfo) : List Name → List ConstantInfo
  | [] => acc
  | n :: ns => missingOf after env (missingDefs after env acc n) ns

/-- `addMissing` for several definitions. -/
def addAllMissing (after env : Environment) : List ConstantInfo → Environment
  | [] => env
  | c :: cs => addAllMissing after (addMissing after env c) cs

/-- Adds to the environment at hand what a goal mentions and only the environment `after` has. -/
def completeEnv (after : Environment) (goal : OpenGoal) : TermElabM Unit := do
  let env ← getEnv
  let missing := missingOf after env [] goal.closed.getUsedConstants.toList
  setEnv (addAllMissing after env missing)

/-- A hole as a part, and whether it is a proof. -/
def openHole (scope : ProofState) (after : Environment) (h : RawHole) : TermElabM (PartView × Bool) := do
  let g ← freshGoal h
  let goal ← closeGoal g
  completeEnv after goal
  let isProof ← isProp goal.closed
  let view ← viewPart scope [goal]
  pure (view, isProof)

/-- A hole as JSON, its state kept. A hole whose goal cannot be shown is left out. -/
def jsonHole (s : Session) (map : FileMap) (r : Ran) (h : RawHole) : IO (List Json) := do
  let scope := holeScope r h
  match ← runIn scope map.source 0 (openHole scope r.after.env h) with
  | .error _ => pure []
  | .ok (view, isProof) => do
    let part ← s.part view
    let kind := if h.isTactic then "tactic" else "term"
    let stand := standOf map isHoleKind r.stx (startOf h.stx) (endOf h.stx) h.isTactic
    pure [Json.mkObj (("kind", Json.str kind) :: ("form", Json.str stand.form) :: ("outer", jsonNat stand.outer) ::
      ("prop", Json.bool isProof) :: ("part", part) :: jsonRange map h.stx)]

/-- The holes between two byte offsets as JSON. -/
def jsonHoles (s : Session) (map : FileMap) (r : Ran) (start stop : Nat) : List RawHole → IO (List Json)
  | [] => pure []
  | h :: hs => do
    let here ← if start ≤ startOf h.stx && startOf h.stx < stop then jsonHole s map r h else pure []
    let rest ← jsonHoles s map r start stop hs
    pure (joinLists here rest)

/-! ## Declarations -/

/-- The protocol's name for the kind of a declaration. -/
def declKind (stx : Syntax) : String :=
  if stx.getKind == `lemma then "lemma" else
    match stx[1].getKind with
    | `Lean.Parser.Command.theorem => "theorem"
    | `Lean.Parser.Command.definition => "def"
    | `Lean.Parser.Command.abbrev => "abbrev"
    | `Lean.Parser.Command.example => "example"
    | `Lean.Parser.Command.instance => "instance"
    | _ => "other"

/-- The name that a declaration is written with, in its namespace. -/
def writtenName (ns : Name) (stx : Syntax) : Name :=
  match nodesOf (· == `Lean.Parser.Command.declId) stx with
  | id :: _ => inNamespace id[0].getId
  | [] => .anonymous
where
  /-- `_root_` takes a name out of its namespace. -/
  inNamespace (n : Name) : Name :=
    if n.getRoot == `_root_ then n.replacePrefix `_root_ .anonymous else joinNames ns n
  /-- The name `n` below `ns`. -/
  joinNames (ns : Name) : Name → Name
  | .anonymous => ns
  | .str p s => .str (joinNames ns p) s
  | .num p i => .num (joinNames ns p) i

/-- The constant that a declaration of this name made: itself, or the private version of it. -/
def findDeclared? (env : Environment) (n : Name) : Option ConstantInfo :=
  match env.find? n with
  | some c => some c
  | none => env.find? (mkPrivateName env n)

/-- What is shown of a declaration's type, and whether it is a proposition. -/
def showType (scope : ProofState) (type : Expr) : IO (String × Bool) := do
  let act : TermElabM (String × Bool) := do
    let shown ← ppExpr type
    let prop ← isProp type
    pure (toString shown, prop)
  match ← runIn scope "" 0 act with
  | .ok r => pure r
  | .error _ => pure ("", false)

/-- The body of a declaration: what stands behind its `:=`. -/
def bodyOf? (stx : Syntax) : Option Syntax :=
  match nodesOf (· == `Lean.Parser.Command.declValSimple) stx with
  | v :: _ => some v[1]
  | [] => none

/-- What the body of a declaration aims at, for declarations that leave no constant: examples and faulty ones. -/
def showAim (r : Ran) (stx : Syntax) : IO (String × Bool) := do
  let place := match bodyOf? stx with
    | some body => startOf body
    | none => 0
  let found := aimsOfTrees (fun s _ => s.getPos?.isSome && startOf s == place) none []
    (itemsOf r.after.infoState.trees)
  match found with
  | [] => pure ("", false)
  | h :: _ => do
    let act : TermElabM Expr := do
      let g ← freshGoal h
      let goal ← closeGoal g
      pure goal.closed
    match ← runIn (holeScope r h) "" 0 act with
    | .ok type => showType { holeScope r h with env := r.after.env } type
    | .error _ => pure ("", false)

/-- A declaration with its holes as JSON. -/
def jsonDecl (s : Session) (map : FileMap) (r : Ran) (holes : List RawHole) (stx : Syntax) : IO Json := do
  let scope := scopeOf r.before
  let name := writtenName scope.currNamespace stx
  let (type, prop) ← match findDeclared? r.after.env name with
    | some c => showType { freshScope r.before with env := r.after.env } c.type
    | none => showAim r stx
  let shownName ← if name.isAnonymous then pure "" else nameText name
  let items ← jsonHoles s map r (startOf stx) (endOf stx) holes
  pure (Json.mkObj (("name", Json.str shownName) :: ("kind", Json.str (declKind stx)) :: ("prop", Json.bool prop) ::
    ("type", Json.str type) :: ("holes", jsonList items) :: jsonRange map stx))

/-- The declarations of a command as JSON. -/
def jsonDecls (s : Session) (map : FileMap) (r : Ran) : IO (List Json) := do
  let holes := sortHoles (aimsOfTrees isHole none [] (itemsOf r.after.infoState.trees)) []
  mapIO (jsonDecl s map r holes) (nodesOf isDeclaration r.stx)

/-- The declarations of commands as JSON. -/
def jsonAllDecls (s : Session) (map : FileMap) : List Ran → IO (List Json)
  | [] => pure []
  | r :: rs => do
    let here ← jsonDecls s map r
    let rest ← jsonAllDecls s map rs
    pure (joinLists here rest)

/-- A command's place and kind as JSON. -/
def jsonCommand (map : FileMap) (stx : Syntax) : IO Json := do
  let kind ← nameText stx.getKind
  pure (Json.mkObj (("kind", Json.str kind) :: jsonRange map stx))

end Prover
