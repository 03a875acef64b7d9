import Prover.Wire
import Prover.Step
import Lean.Elab.Frontend
import Lean.Elab.Import

/-!
# Commands, one after another

A text of commands is elaborated on a command state. The caller sees each command with the states before and after
it, which is all that `open` and `check` need.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Elab

/-- One command of a text. -/
structure Ran where
  stx : Syntax
  before : Command.State
  /-- Environment and scopes after the command; messages and info trees are those of this command alone. -/
  after : Command.State

/-- Whether a message of severity error is there. -/
def hasError : List Message → Bool
  | [] => false
  | m :: ms => (m.severity matches .error) || hasError ms

/-- Options with a heartbeat limit for each command. -/
def limited (opts : Options) (heartbeats : Nat) : Options :=
  maxHeartbeats.set opts heartbeats

/-- The innermost scope. -/
def scopeOf (s : Command.State) : Command.Scope :=
  match s.scopes with
  | scope :: _ => scope
  | [] => { header := "" }

/-- A command state with changed options in its innermost scope. -/
def withScopeOptions (s : Command.State) (f : Options → Options) : Command.State :=
  match s.scopes with
  | [] => s
  | scope :: scopes => { s with scopes := { scope with opts := f scope.opts } :: scopes }

/-- Elaborates one command. An exception that escapes the command elaborator becomes an error message. -/
def elabOne (input : Parser.InputContext) (pos : String.Pos.Raw) (stx : Syntax) (s : Command.State) :
    IO Command.State := do
  let ctx : Command.Context := {
    fileName := input.fileName, fileMap := input.fileMap, cmdPos := pos, snap? := none, cancelTk? := none }
  IO.setNumHeartbeats 0
  let r ← ((Command.elabCommandTopLevel stx ctx).run s).toIO'
  match r with
  | .ok (_, s) => pure s
  | .error ex => do
    let text ← ex.toMessageData.toString
    let message : Message := {
      fileName := input.fileName, pos := input.fileMap.toPosition pos, severity := .error, data := text }
    pure { s with messages := s.messages.add message }

/-- A command state as it is before a command: nothing left over from the one before, and everything elaborated at
once, whatever the text says, so that all errors are there when the command is done. -/
def cleared (s : Command.State) : Command.State :=
  let s := withScopeOptions s (Elab.async.set · false)
  { s with messages := {}, infoState := { enabled := true }, traceState := {}, snapshotTasks := #[] }

/-- Parses and elaborates commands to the end of the text, or to the first that `stop` (told how many came before)
objects to. The objection is returned. -/
partial def runWhile (input : Parser.InputContext) (stop : Nat → Syntax → Option String)
    (parser : Parser.ModuleParserState) (s : Command.State) (ran : Array Ran) : IO (Array Ran × Option String) := do
  let scope := scopeOf s
  let parsing : Parser.ParserModuleContext := {
    env := s.env, options := scope.opts, currNamespace := scope.currNamespace, openDecls := scope.openDecls }
  let before := cleared s
  let (stx, next, log) := Parser.parseCommand input parsing parser {}
  match stop ran.size stx with
  | some objection => pure (ran, some objection)
  | none => do
    let after ← elabOne input parser.pos stx before
    let after := { after with messages := log ++ after.messages }
    let isEnd := Parser.isTerminalCommand stx
    let ran := if isEnd && !hasError log.toList then ran else ran.push { stx, before, after }
    if isEnd then pure (ran, none) else runWhile input stop next after ran

/-- Parses and elaborates commands to the end of the text. -/
def runCommands (input : Parser.InputContext) (parser : Parser.ModuleParserState) (s : Command.State) :
    IO (Array Ran) := do
  let (ran, _) ← runWhile input (fun _ _ => none) parser s #[]
  pure ran

/-- The state after the last command, fit to be kept: no messages, info trees or traces. -/
def finalState (start : Command.State) (ran : Array Ran) : Command.State :=
  let s := match ran[ran.size - 1]? with
    | some r => r.after
    | none => start
  { cleared s with infoState := {} }

/-- All messages of a text, in order. -/
def allMessages : List Ran → List Message
  | [] => []
  | r :: rs => joinLists r.after.messages.toList (allMessages rs)

/-- The messages of a text as JSON. -/
def messagesOf (input : Parser.InputContext) (ran : Array Ran) : IO Json :=
  jsonMessages input.fileMap (allMessages ran.toList)

/-! ## Syntax -/

/-- The commands that count: not the end of the text. -/
def isCounted (stx : Syntax) : Bool :=
  !(stx.getKind == ``Parser.Command.eoi)

/-- The commands of a text without its end. -/
def countedCommands : List Ran → List Syntax
  | [] => []
  | r :: rs => if isCounted r.stx then r.stx :: countedCommands rs else countedCommands rs

mutual

/-- The outermost nodes of a syntax that satisfy `p`. -/
partial def nodesOf (p : SyntaxNodeKind → Bool) (stx : Syntax) : List Syntax :=
  if p stx.getKind then [stx] else nodesOfAll p stx.getArgs.toList

/-- The outermost nodes of syntaxes that satisfy `p`. -/
partial def nodesOfAll (p : SyntaxNodeKind → Bool) : List Syntax → List Syntax
  | [] => []
  | stx :: rest => joinLists (nodesOf p stx) (nodesOfAll p rest)

end

/-- Whether a syntax kind is that of a declaration. `lemma` is Mathlib's. -/
def isDeclaration (k : SyntaxNodeKind) : Bool :=
  k == `Lean.Parser.Command.declaration || k == `lemma

/-! ## Headers -/

/-- The names of imported modules. -/
def importNames : List Import → IO (List Json)
  | [] => pure []
  | i :: is => do
    let name ← nameText i.module
    let rest ← importNames is
    pure (Json.str name :: rest)

/-- The first module that the search path does not have. -/
def missingModule? : List Import → IO (Option Name)
  | [] => pure none
  | i :: is => do
    match ← (findOLean i.module).toBaseIO with
    | .error _ => pure (some i.module)
    | .ok path =>
      if ← path.pathExists then missingModule? is else pure (some i.module)

/-- The environment of imported modules. -/
def importEnv (imports : Array Import) : Answer Environment := do
  match ← missingModule? imports.toList with
  | some m => do
    let name ← (nameText m : IO _)
    refuse "import" ("unknown module " ++ name)
  | none =>
    match ← (importModules imports {} (loadExts := true)).toBaseIO with
    | .ok env => pure env
    | .error e => refuse "import" (cutText (toString e))

/-- A header: its imports, its input and where its commands begin. -/
structure Header where
  imports : Array Import
  input : Parser.InputContext
  parser : Parser.ModuleParserState

/-- Imports without repetitions: Lean adds `Init` even where it is written out. -/
def distinct : List Import → List Import → List Import
  | [], _ => []
  | i :: is, seen =>
    if anyOf (fun k => k.module == i.module) seen then distinct is seen else i :: distinct is (i :: seen)

/-- Parses the imports of a header. -/
def parseHeader (text : String) : Answer Header := do
  let input := inputOf text
  let (stx, parser, log) ← (Parser.parseHeader input : IO _)
  match firstError? log.toList with
  | some m => do
    let messages ← (jsonMessages input.fileMap log.toList : IO _)
    let message ← (m.data.toString : IO String)
    throw { kind := "elaboration", message, messages := some messages }
  | none => pure { imports := (distinct (headerToImports stx).toList []).toArray, input, parser }

end Prover
