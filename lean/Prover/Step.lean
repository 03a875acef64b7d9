import Prover.Goal
import Lean.Elab.Tactic.Basic
import Lean.Elab.SyntheticMVars
import Lean.Parser.Term
import Lean.Parser.Extension
import Lean.Util.CollectLevelParams
import Lean.Util.FoldConsts

/-!
# One tactic on one proof state

A proof state keeps what is needed to go on from it and nothing that can be computed again (no caches, messages or info
trees), so that thousands of them fit in memory.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- Where a tactic is tried: goals, their metavariables, the environment and the scope (options, namespace, opens). -/
structure ProofState where
  env : Environment
  options : Options
  currNamespace : Name
  openDecls : List OpenDecl
  levelNames : List Name
  mctx : MetavarContext
  ngen : NameGenerator
  auxDeclNGen : DeclNameGenerator
  nextMacroScope : MacroScope
  /-- The goals of this state; the first is the main one. -/
  goals : List MVarId

/-- A part of a proof, ready to be shown: its state, its goals as JSON, its key. -/
structure PartView where
  state : ProofState
  goals : List Json
  key : String

/-- What came of a tactic. -/
inductive Outcome where
  | closed
  | opened (parts : List PartView) (order : List Nat)
  | failed (message : String)
  | heartbeats (message : String)

/-- The characters of a text, a carriage return before a line feed as a space. -/
def blankReturns (acc : String) : List Char → String
  | [] => acc
  | '\r' :: '\n' :: cs => blankReturns (acc ++ " \n") cs
  | c :: cs => blankReturns (acc.push c) cs

/-- A text with the line ends that Lean wants, line feeds alone, and every offset as it was. -/
def plainLines (text : String) : String :=
  if text.crlfToLf.utf8ByteSize == text.utf8ByteSize then text else blankReturns "" text.toList

/-- An input for the parser. Written out because `mkInputContext` is not everywhere compilable. -/
def inputOf (text : String) : Parser.InputContext :=
  let text := plainLines text
  { inputString := text, fileName := "<input>", fileMap := FileMap.ofString text, endPos := text.rawEndPos,
    endPos_valid := by simp }

/-- Parses a text that must be a tactic sequence from its first to its last byte. -/
def parseTactics (s : ProofState) (text : String) : Except String Syntax :=
  let input := inputOf text
  let scope := { env := s.env, options := s.options, currNamespace := s.currNamespace, openDecls := s.openDecls }
  let fn := Parser.andthenFn Parser.whitespace Parser.Tactic.tacticSeq.fn
  let p := fn.run input scope (Parser.getTokenTable s.env) (Parser.mkParserState input.inputString)
  if p.errorMsg.isSome || p.recoveredErrors.size > 0 then
    .error (p.toErrorMsg input)
  else if p.pos.byteIdx < text.utf8ByteSize then
    .error ((p.mkError "end of tactic").toErrorMsg input)
  else
    .ok p.stxStack.back

/-- Runs tactics; a definition of its own because partial applications of library functions may lack boxed code. -/
def evalSyntax (stx : Syntax) : Tactic.TacticM Unit := do
  Tactic.evalTactic stx
  Term.synthesizeSyntheticMVarsNoPostponing

/-- The same without error recovery: a tactic that fails throws instead of logging the error and closing its goal. -/
def evalStrictly (goals : List MVarId) (stx : Syntax) : Tactic.TacticM Unit := do
  let start : Tactic.State := { goals }
  set start
  fun ctx => evalSyntax stx { ctx with recover := false }

/-- The text of the first error of a log. -/
def firstError? : List Message → Option Message
  | [] => none
  | m :: ms => if m.severity matches .error then some m else firstError? ms

/-- Whether a message says that a declaration, here an auxiliary lemma of the tactic, rests on `sorry`. -/
def anySorryWarning : List Message → Bool
  | [] => false
  | m :: ms => m.data.kind == `hasSorry || anySorryWarning ms

/-- What is wrong with the declarations that a step added to `before` and that the constants `names` rest on: an axiom,
or a lemma by `sorry`. -/
partial def addedFault? (before after : Environment) (seen : NameSet) : List Name → Option String
  | [] => none
  | n :: ns =>
    if seen.contains n || (before.find? n).isSome then addedFault? before after seen ns else
      let seen := seen.insert n
      match after.find? n with
      | some (.axiomInfo _) => some "the step adds an axiom"
      | some (.thmInfo v) => inValue seen v.value ns
      | some (.defnInfo v) => inValue seen v.value ns
      | some (.opaqueInfo v) => inValue seen v.value ns
      | _ => addedFault? before after seen ns
where
  /-- Looks at a value, then at the rest. -/
  inValue (seen : NameSet) (value : Expr) (ns : List Name) : Option String :=
    if value.hasSorry then some "the proof uses `sorry`"
    else addedFault? before after seen (joinLists value.getUsedConstants.toList ns)

/-- The first metavariable of `found` that is neither in `allowed` nor assigned: nothing could ever assign it. -/
def lostMVar? (allowed : List MVarId) : List MVarId → Option MVarId
  | [] => none
  | m :: ms => if hasMVarId allowed m then lostMVar? allowed ms else some m

/-- Whether a value mentions metavariables other than `allowed`, which nothing could ever assign. -/
def isLoose (allowed : List MVarId) (value : Expr) : MetaM Bool := do
  if !value.hasExprMVar then pure false else
    let found ← getMVarsNoDelayed value
    pure (lostMVar? allowed found.toList).isSome

/-- What is wrong with the value that a step gave to the goal `g`, if anything. `allowed` are the open goals and the
metavariables that they mention, `before` is the environment before the step. -/
def valueFault? (before : Environment) (allowed : List MVarId) (g : MVarId) : MetaM (Option String) := do
  if hasMVarId allowed g then pure none else
    let value ← instantiateMVars (mkMVar g)
    if value.hasSorry then pure (some "the proof uses `sorry`")
    else if ← isLoose allowed value then pure (some "the step leaves a metavariable that is not a goal")
    else
      let after ← getEnv
      pure (addedFault? before after {} value.getUsedConstants.toList)

/-- The first fault of the values given to goals. -/
def faultOf (before : Environment) (allowed : List MVarId) : List MVarId → MetaM (Option String)
  | [] => pure none
  | g :: gs => do
    match ← valueFault? before allowed g with
    | some fault => pure (some fault)
    | none => faultOf before allowed gs

/-- What all goals together depend on. -/
def allMVars : List OpenGoal → MetaM (List MVarId)
  | [] => pure []
  | g :: gs => do
    let ms ← goalMVars g
    let rest ← allMVars gs
    pure (joinLists ms rest)

/-- Universe metavariables that the proof left open, as parameters: a term that is right with them is right with any
level in their place. -/
def closeLevels (e : Expr) : Expr :=
  if e.hasLevelMVar then e.replaceLevel (closeLevel ·) else e
where
  /-- Replaces one universe metavariable. -/
  closeLevel : Level → Option Level
  | .mvar m => some (.param m.name)
  | _ => none

/-- Asks the kernel whether the value assigned to the goal `g` has the goal's type. -/
def kernelFault? (g : MVarId) : MetaM (Option String) := do
  let goal ← closeGoal g
  let value ← instantiateMVars (mkMVar g)
  let type := closeLevels goal.closed
  let value := closeLevels (goal.lctx.mkLambda (hypotheses goal.lctx) value (usedLetOnly := false))
  if value.hasExprMVar || type.hasExprMVar then pure (some "the proof leaves metavariables") else
    let params := (collectLevelParams (collectLevelParams {} type) value).params.toList
    let decl := Declaration.defnDecl {
      name := `prover.closed, levelParams := params, type := type, value := value, hints := .opaque, safety := .safe }
    match (← getEnv).addDeclCore (Core.getMaxHeartbeats (← getOptions)).toUSize decl none with
    | .ok _ => pure none
    | .error ex => do
      let text ← (ex.toMessageData (← getOptions)).toString
      pure (some ("the kernel refuses the proof: " ++ text))

/-- The first goal whose value the kernel refuses. -/
def kernelFaultOf : List MVarId → MetaM (Option String)
  | [] => pure none
  | g :: gs => do
    match ← kernelFault? g with
    | some fault => pure (some fault)
    | none => kernelFaultOf gs

/-- The state that goes on from here with some of the goals. -/
def saveState (s : ProofState) (goals : List MVarId) : TermElabM ProofState := do
  let core ← getThe Core.State
  let term ← getThe Term.State
  let mctx ← getMCtx
  pure { s with
    env := core.env, ngen := core.ngen, auxDeclNGen := core.auxDeclNGen, nextMacroScope := core.nextMacroScope,
    levelNames := term.levelNames, mctx, goals }

/-- The identities of goals. -/
def goalIds (gs : List OpenGoal) : List MVarId :=
  mapList (fun g => g.id) gs

/-- The part that some of the goals at hand make up. -/
def viewPart (s : ProofState) (goals : List OpenGoal) : TermElabM PartView := do
  let state ← saveState s (goalIds goals)
  let shown ← jsonGoals goals
  pure { state, goals := shown, key := keyOfGoals goals }

/-- The parts of a split. -/
def viewParts (s : ProofState) : List (List OpenGoal) → TermElabM (List PartView)
  | [] => pure []
  | goals :: rest => do
    let part ← viewPart s goals
    let parts ← viewParts s rest
    pure (part :: parts)

/-- Judges the goals that a tactic left. -/
def assess (s : ProofState) (remaining : List MVarId) : TermElabM Outcome := do
  let log := (← getThe Core.State).messages.toList
  match firstError? log with
  | some m => do
    let text ← m.data.toString
    pure (.failed text)
  | none =>
    if anySorryWarning log then pure (.failed "the proof uses `sorry`") else do
    let goals ← closeGoals remaining
    let allowed ← allMVars goals
    match ← faultOf s.env allowed s.goals with
    | some fault => pure (.failed fault)
    | none =>
      match goals with
      | [] => do
        match ← kernelFaultOf s.goals with
        | some fault => pure (.failed fault)
        | none => pure .closed
      | _ => do
        let split ← splitGoals goals
        let parts ← viewParts s split.parts.toList
        pure (.opened parts split.order.toList)

/-- Goals before a tactic, tried on the first of them, and what it leaves. -/
def stepWith (s : ProofState) (stx : Syntax) : TermElabM Outcome := do
  match s.goals with
  | [] => pure (.failed "no goals")
  | g :: _ => do
    let remaining ← Tactic.run g (evalStrictly s.goals stx)
    assess s remaining

/-- A `TermElabM` action in the scope of a proof state. Heartbeats are counted from the
start of the thread, by the kernel too, so the count is set back. -/
def runIn {α : Type} (s : ProofState) (text : String) (heartbeats : Nat) (act : TermElabM α) :
    IO (Except Exception α) := do
  IO.setNumHeartbeats 0
  let coreCtx : Core.Context := {
    fileName := "<input>", fileMap := FileMap.ofString text, options := s.options,
    maxRecDepth := maxRecDepth.get s.options, currNamespace := s.currNamespace, openDecls := s.openDecls,
    initHeartbeats := 0, maxHeartbeats := heartbeats * 1000 }
  let coreState : Core.State := {
    env := s.env, ngen := s.ngen, auxDeclNGen := s.auxDeclNGen, nextMacroScope := s.nextMacroScope,
    infoState := { enabled := false } }
  let termCtx : Term.Context := { errToSorry := false }
  let termState : Term.State := { levelNames := s.levelNames }
  let r ← (((act termCtx).run termState).run {} { mctx := s.mctx } |>.run coreCtx coreState).toIO'
  match r with
  | .ok (((a, _), _), _) => pure (.ok a)
  | .error ex => pure (.error ex)

/-- The outcome for an exception. The kernel's timeout is not marked as one. -/
def outcomeOf (ex : Exception) : IO Outcome := do
  let message ← ex.toMessageData.toString
  let isTimeout := ex.isMaxHeartbeat || message == "(kernel) deterministic timeout"
  pure (if isTimeout then .heartbeats message else .failed message)

/-- Tries one tactic text. Whatever goes wrong is an outcome; the state itself is a value and cannot change. -/
def tryTactic (s : ProofState) (text : String) (heartbeats : Nat) : IO Outcome := do
  match parseTactics s text with
  | .error e => pure (.failed e)
  | .ok stx => do
    match ← runIn s text heartbeats (stepWith s stx) with
    | .ok outcome => pure outcome
    | .error ex => outcomeOf ex

end Prover
