import Prover.Open
import Prover.Export

/-!
# The `check` and `replay` requests: the judge's conditions in order

`check` elaborates the candidate. `replay` never does: it gets what another process made of it, as data.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- What the judge is asked. -/
structure Trial where
  base : Command.State
  original : Parser.InputContext
  candidate : Parser.InputContext
  names : List Name
  axioms : List Name
  heartbeats : Nat
  /-- What the candidate declares is to be written down for `replay`, which then gives it to the kernel. -/
  exporting : Bool := false

/-- The two texts elaborated. -/
structure Evidence where
  /-- The constants that each adds to the base. -/
  original : List ConstantInfo
  candidate : List ConstantInfo
  /-- The original's environment, to show types in. -/
  originalEnv : Environment
  /-- The candidate's environment, asked only about attributes. -/
  env : Environment

/-- A name as it is written in Lean, with quotes where needed. -/
def readName (text : String) : Answer Name :=
  match Syntax.decodeNameLit ("`" ++ text) with
  | some n => pure n
  | none => refuse "bad_request" s!"'{text}' is not a name"

/-- Names as they are written in Lean. -/
def readNames : List String → Answer (List Name)
  | [] => pure []
  | t :: ts => do
    let n ← readName t
    let ns ← readNames ts
    pure (n :: ns)

/-- The environment after the last command, or the one before the first. -/
def envAfter (start : Command.State) (ran : Array Ran) : Environment :=
  match ran[ran.size - 1]? with
  | some r => r.after.env
  | none => start.env

/-- Elaborates a text; an error in it is a rejection. -/
def elaborate (t : Trial) (who : String) (input : Parser.InputContext) (stop : Nat → Syntax → Option String) :
    Verdict (Array Ran) := do
  let start := withScopeOptions t.base (limited · t.heartbeats)
  let (ran, objection) ← (runWhile input stop {} start #[] : IO _)
  match firstError? (allMessages ran.toList) with
  | some m => do
    let text ← (m.data.toString : IO String)
    reject "error" (who ++ " has an error: " ++ text)
  | none =>
    match objection with
    | some text => reject "commands" text
    | none => pure ran

/-- The candidate's commands, compared with the original's and elaborated one by one. -/
def elaborateCandidate (t : Trial) (expected : List Syntax) : Verdict (Array Ran) := do
  let ran ← elaborate t "the candidate" t.candidate (forbidden? expected)
  if countOf (countedCommands ran.toList) == countOf expected then pure ran
  else reject "commands" "the candidate has fewer commands than the original"

/-- The constants that names stand for among those added by a text. -/
def declared (env : Environment) (reason who : String) (all : List ConstantInfo) :
    List Name → Verdict (List ConstantInfo)
  | [] => pure []
  | n :: ns => do
    let found := match constNamed? n all with
      | some c => some c
      | none => constNamed? (mkPrivateName env n) all
    match found with
    | some c => do
      let rest ← declared env reason who all ns
      pure (c :: rest)
    | none => do
      let name ← (nameText n : IO _)
      reject reason (who ++ " does not declare " ++ name)

/-- Compares the declarations to be proved with what `env` has of them: the candidate's environment before the replay,
for the plain reason, and after it the environment that the kernel has made, for the truth. -/
def compareStatements (env : Environment) : List ConstantInfo → Verdict Unit
  | [] => pure ()
  | o :: os => do
    let name ← (nameText o.name : IO _)
    match env.toKernelEnv.find? o.name with
    | none => reject "missing" ("the candidate does not declare " ++ name)
    | some c =>
      if !sameKind o c then reject "kind" (name ++ " is declared in another way")
      else if !sameNames o.levelParams c.levelParams then
        reject "statement" (name ++ " has other universe parameters")
      else if o.type == c.type then compareStatements env os
      else match Kernel.isDefEq env {} o.type c.type with
        | .ok true => compareStatements env os
        | _ => reject "statement" (name ++ " states something else")

/-- The kinds of declarations compared before anything is replayed, so that the reason given is the plain one. -/
def compareKinds (candidate : List ConstantInfo) : List ConstantInfo → Verdict Unit
  | [] => pure ()
  | o :: os => do
    match constNamed? o.name candidate with
    | some c =>
      if sameKind o c then compareKinds candidate os else
        let name ← (nameText o.name : IO _)
        reject "kind" (name ++ " is declared in another way")
    | none => do
      let name ← (nameText o.name : IO _)
      reject "missing" ("the candidate does not declare " ++ name)

/-- The constants of the original that must stay: all but the declarations to be proved and what belongs to them. -/
def mustStay (names : List Name) : List ConstantInfo → List ConstantInfo
  | [] => []
  | c :: cs =>
    if anyOf (· == c.name) names || below names c.name then mustStay names cs else c :: mustStay names cs

/-- `mustStay` without the declarations to be proved. -/
def without (names : List Name) : List ConstantInfo → List ConstantInfo
  | [] => []
  | c :: cs => if anyOf (· == c.name) names then without names cs else c :: without names cs

/-- Constants that are to be replayed: those that a proof can rest on. The kernel lets no safe constant mention an
unsafe or partial one. -/
def safeOnes : List ConstantInfo → List ConstantInfo
  | [] => []
  | c :: cs => if c.isUnsafe || c.isPartial then safeOnes cs else c :: safeOnes cs

/-- A declaration that was accepted, with the axioms it rests on, as JSON. Its type is shown as the original's
environment shows it. -/
def jsonAccepted (t : Trial) (shownIn env : Environment) (n : Name) : Verdict Json := do
  let found := axiomsOf env n
  auditAxioms t.axioms found
  let name ← (nameText (privateToUserName n) : IO _)
  let names ← (mapIO nameText found : IO _)
  let scope := scopeOf t.base
  let shown ← match env.find? n with
    | some c => do
      let (text, _) ← (showType { freshScope t.base with env := shownIn, options := scope.opts } c.type : IO _)
      pure text
    | none => pure ""
  pure (Json.mkObj [("name", Json.str name), ("type", Json.str shown), ("axioms", jsonList (mapList Json.str names))])

/-- Turns down axioms of the candidate before the replay, so that the reason given is the plain one: the kernel cannot
evaluate what `native_decide` compiled. -/
def auditEarly (t : Trial) (env : Environment) : List ConstantInfo → Verdict Unit
  | [] => pure ()
  | o :: os => do
    auditAxioms t.axioms (axiomsOf env o.name)
    auditEarly t env os

/-- `jsonAccepted` for each declaration. -/
def jsonAcceptedAll (t : Trial) (shownIn env : Environment) : List ConstantInfo → Verdict (List Json)
  | [] => pure []
  | o :: os => do
    let j ← jsonAccepted t shownIn env o.name
    let js ← jsonAcceptedAll t shownIn env os
    pure (j :: js)

/-- The names of constants. -/
def namesOf (cs : List ConstantInfo) : List Name :=
  mapList (fun c => c.toConstantVal.name) cs

/-- What `judge` found: the declarations, and the export where one was asked for. -/
structure Finding where
  declarations : List Json
  exported : Option String := none

/-- The longest export that is handed on: it must fit into a request, where its quotes are escaped. -/
def exportBytesMax : Nat := 12000000

/-- Conditions 3 and 4: what must stay, and what may be added. `env` is asked about attributes alone. -/
def auditConstants (t : Trial) (env : Environment) (original candidate targets : List ConstantInfo) : Verdict Unit := do
  let names := namesOf targets
  let resting := without names (restingOn original [] (statementNames targets))
  auditKept candidate (safeOnes (joinLists resting (mustStay (mapList privateToUserName names) original)))
  auditAdded t.base.env env (mapList privateToUserName names) original candidate

/-- Condition 6 in this process: the kernel accepts everything anew. -/
def replayHere (t : Trial) (e : Evidence) (targets : List ConstantInfo) : Verdict Finding := do
  let replayed ← replayAll e.candidate t.heartbeats { env := t.base.env } (safeOnes e.candidate)
  compareStatements replayed.env targets
  let declarations ← jsonAcceptedAll t e.originalEnv replayed.env targets
  pure { declarations }

/-- A list from its end, put before `acc`. -/
def backwards {α : Type} (acc : List α) : List α → List α
  | [] => acc
  | a :: as => backwards (a :: acc) as

/-- Condition 6 left to another process: the declarations as text, in the order in which the kernel can take them. -/
def exportThem (t : Trial) (e : Evidence) (targets : List ConstantInfo) : Verdict Finding := do
  let noted ← replayAll e.candidate t.heartbeats { env := t.base.env, noted := some [] } (safeOnes e.candidate)
  let decls := match noted.noted with
    | some ds => backwards [] ds
    | none => []
  match ← (exportText decls : IO String).toBaseIO with
  | .error error => reject "kernel" (toString error)
  | .ok text =>
    if text.utf8ByteSize > exportBytesMax then replayHere t e targets else do
      let declarations ← jsonAcceptedAll t e.originalEnv e.env targets
      pure { declarations, exported := some text }

/-- Conditions 2 to 6 for two texts that are elaborated. -/
def judge (t : Trial) (e : Evidence) : Verdict Finding := do
  let targets ← declared t.base.env "missing" "the original" e.original t.names
  compareKinds e.candidate targets
  let names := namesOf targets
  let resting := without names (restingOn e.original [] (statementNames targets))
  auditKept e.candidate (joinLists resting (mustStay (mapList privateToUserName names) e.original))
  auditAdded t.base.env e.env (mapList privateToUserName names) e.original e.candidate
  compareStatements e.env targets
  auditEarly t e.env targets
  if t.exporting then exportThem t e targets else replayHere t e targets

/-- All six conditions. The messages of the candidate are reported in any case. -/
def tryCase (t : Trial) (messages : IO.Ref Json) : Verdict (Finding × Nat) := do
  let original ← elaborate t "the original" t.original (fun _ _ => none)
  let candidate ← elaborateCandidate' original
  let e : Evidence := {
    original := addedConstants t.base.env (envAfter t.base original)
    candidate := addedConstants t.base.env (envAfter t.base candidate)
    originalEnv := envAfter t.base original
    env := envAfter t.base candidate }
  let finding ← judge t e
  pure (finding, countOf e.candidate)
where
  /-- Elaborates the candidate and notes its messages. -/
  elaborateCandidate' (original : Array Ran) : Verdict (Array Ran) := do
    let ran ← elaborateCandidate t (countedCommands original.toList)
    let noted ← (messagesOf t.candidate ran : IO _)
    (messages.set noted : IO Unit)
    pure ran

/-- A verdict as JSON. -/
def jsonOf (messages : Json) : Except Rejection (Finding × Nat) → Json
  | .ok (finding, added) =>
    let fields := [("verdict", Json.str "accepted"), ("declarations", jsonList finding.declarations),
      ("added", jsonNat added), ("messages", messages)]
    match finding.exported with
    | some text => Json.mkObj (("export", Json.str text) :: fields)
    | none => Json.mkObj fields
  | .error r =>
    Json.mkObj [("verdict", Json.str "rejected"), ("reason", Json.str r.reason),
      ("message", Json.str (cutText r.message)), ("messages", messages)]

/-- The reply to a `check` request. -/
def jsonVerdict (t : Trial) : IO Json := do
  let messages ← IO.mkRef (jsonList [])
  let verdict ← (tryCase t messages).run
  let noted ← messages.get
  pure (jsonOf noted verdict)

/-! ## Replay of an export -/

/-- The conditions for an export: what the kernel made of it states what the original states, leaves the rest of it as
it is, adds nothing that is not needed, and rests on the allowed axioms. No code of the candidate runs. -/
def replayCase (t : Trial) (text : String) : Verdict (Finding × Nat) := do
  let ran ← elaborate t "the original" t.original (fun _ _ => none)
  let originalEnv := envAfter t.base ran
  let original := addedConstants t.base.env originalEnv
  let targets ← declared t.base.env "missing" "the original" original t.names
  let env ← readExport t.base.env t.heartbeats text
  let candidate := addedConstants t.base.env env
  compareKinds candidate targets
  auditConstants t env original candidate targets
  compareStatements env targets
  let declarations ← jsonAcceptedAll t originalEnv env targets
  pure ({ declarations }, countOf candidate)

/-- The reply to a `replay` request. -/
def jsonReplay (t : Trial) (text : String) : IO Json := do
  let verdict ← (replayCase t text).run
  pure (jsonOf (jsonList []) verdict)

end Prover
