import Prover.Check
import Lean.Meta.Sorry

/-!
# The `fill` request: the judge of a text some of whose holes were filled

The candidate is the original with some `sorry`s replaced. Accepted when it has no error, its holes are exactly the
others, each at its shifted place with its goal unchanged, and every declaration still says what it said; what the filled
declarations rest on is audited as in `check`. Commands are compared one by one, so that nothing has to have a name.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- A hole that was filled: the bytes `start` to `stop` of the original became `length` bytes. -/
structure Span where
  start : Nat
  stop : Nat
  length : Nat

/-- What the judge is asked. -/
structure Refill where
  /-- `names` is not looked at. -/
  trial : Trial
  spans : List Span
  /-- Whether holes that are no propositions may be filled. -/
  data : Bool

/-- Numbers in threes as spans. -/
def readSpans : List Nat → Answer (List Span)
  | [] => pure []
  | start :: stop :: length :: rest => do
    let spans ← readSpans rest
    pure ({ start, stop, length } :: spans)
  | _ => refuse "bad_request" "field 'fills' must be start, end and new length of each filled hole"

/-- Where a byte of the original that is in no filled hole lies in the candidate. -/
def shifted (spans : List Span) (byte : Nat) : Nat :=
  go byte spans
where
  /-- Adds what each span before it grew by. -/
  go (at' : Nat) : List Span → Nat
  | [] => at'
  | s :: ss => if s.stop ≤ byte then go (at' + s.length - (s.stop - s.start)) ss else go at' ss

/-- Whether a hole of the original was filled. -/
def isFilled (spans : List Span) (start stop : Nat) : Bool :=
  anyOf (fun s => s.start == start && s.stop == stop) spans

/-- Whether a list has no item. -/
def isNil {α : Type} : List α → Bool
  | [] => true
  | _ :: _ => false

/-! ## Holes -/

/-- A hole by its place and its goal. -/
structure Site where
  start : Nat
  stop : Nat
  key : String
  prop : Bool

/-- The goal's key, in which all uses of `sorry` look alike: they carry the position they were written at. -/
def siteKey (h : RawHole) : TermElabM (String × Bool) := do
  let g ← freshGoal h
  let goal ← closeGoal g
  let prop ← isProp goal.closed
  pure (keyOf (.app (.lit (.natVal goal.arity)) (blankSorry goal.closed)), prop)

/-- The holes of a command, those at one place with one goal once. -/
def sitesOf (source : String) (r : Ran) : IO (List Site) :=
  go [] (sortHoles (aimsOfTrees isHole none [] (itemsOf r.after.infoState.trees)) [])
where
  /-- Adds one hole after another. -/
  go (acc : List Site) : List RawHole → IO (List Site)
  | [] => pure acc
  | h :: hs => do
    let (key, prop) ← match ← runIn { holeScope r h with env := r.after.env } source 0 (siteKey h) with
      | .ok found => pure found
      | .error _ => pure ("?", false)
    go (note same { start := startOf h.stx, stop := endOf h.stx, key, prop } acc) hs
  /-- Whether two sites are the same. -/
  same (a b : Site) : Bool :=
    a.start == b.start && a.stop == b.stop && a.key == b.key

/-- The holes that must be in the candidate. -/
def leftOver (spans : List Span) : List Site → List Site
  | [] => []
  | h :: hs =>
    if isFilled spans h.start h.stop then leftOver spans hs
    else { h with start := shifted spans h.start, stop := shifted spans h.stop } :: leftOver spans hs

/-- The holes that were filled. -/
def filledSites (spans : List Span) : List Site → List Site
  | [] => []
  | h :: hs => if isFilled spans h.start h.stop then h :: filledSites spans hs else filledSites spans hs

/-- Whether two lists of holes agree, whatever the order of those at one place. -/
def sameSites (expected found : List Site) : Bool :=
  allIn expected found && allIn found expected
where
  /-- Whether each of the first is among the second. -/
  allIn : List Site → List Site → Bool
  | [], _ => true
  | h :: hs, others =>
    anyOf (fun k => k.start == h.start && k.stop == h.stop && k.key == h.key) others && allIn hs others

/-! ## `sorry` in terms -/

/-- Whether a use of `sorry` was written at one of the places. -/
def isKnownSorry (map : FileMap) (sites : List Site) (e : Expr) : Bool :=
  match isLabeledSorry? e with
  | some label =>
    match label.module? with
    | some place =>
      anyOf (fun s => map.toPosition ⟨s.start⟩ == place.range.pos && map.toPosition ⟨s.stop⟩ == place.range.endPos) sites
    | none => false
  | none => false

/-- Whether an expression uses `sorry` other than at the places. -/
def hidesSorry (map : FileMap) (sites : List Site) (e : Expr) : Bool :=
  if !e.hasSorry then false else
    let rest := e.replace (fun a => if isKnownSorry map sites a then some (.const ``True []) else none)
    rest.hasSorry

/-! ## Commands -/

/-- A pair of commands in which holes were filled. -/
structure Pair where
  original : List ConstantInfo
  candidate : List ConstantInfo
  /-- The holes that the candidate still has. -/
  left : List Site
  /-- Whether one of the filled holes is no proposition. -/
  data : Bool

/-- What an `example` is called when it is looked at as a definition. -/
def exampleName : Name := `_prover_example

/-- Whether a constant is an `example` looked at as a definition. -/
def isExample : Name → Bool
  | .str _ s => s == "_prover_example"
  | _ => false

/-- Whether a declaration is an `example`. -/
def isExampleDecl (d : Syntax) : Bool :=
  d.getKind == `Lean.Parser.Command.declaration && d[1].getKind == `Lean.Parser.Command.example

mutual

/-- A command whose `example` is a definition of that name, so that there is a constant to be audited. -/
partial def nameExample (stx : Syntax) : Syntax :=
  if isExampleDecl stx then
    let id := mkNode `Lean.Parser.Command.declId #[mkIdent exampleName, mkNullNode]
    let named := mkNode `Lean.Parser.Command.definition #[mkAtom "def ", id, stx[1][1], stx[1][2], mkNullNode]
    mkNode `Lean.Parser.Command.declaration #[stx[0], named.raw]
  else
    match stx with
    | .node info kind args => .node info kind (nameExamples args.toList).toArray
    | _ => stx

/-- `nameExample` for all. -/
partial def nameExamples : List Syntax → List Syntax
  | [] => []
  | s :: ss => nameExample s :: nameExamples ss

end

/-- The `example` of a command as a definition. -/
def namedExample? (stx : Syntax) : Option Syntax :=
  match nodesOf isDeclaration stx with
  | [d] => if isExampleDecl d then some (nameExample stx) else none
  | _ => none

/-- The constants that a command adds; for an example those that it would add as a definition. -/
def commandConstants (who : String) (input : Parser.InputContext) (r : Ran) : Verdict (List ConstantInfo) := do
  match namedExample? r.stx with
  | none => pure (addedConstants r.before.env r.after.env)
  | some stx => do
    let after ← (elabOne input 0 stx r.before : IO _)
    match firstError? after.messages.toList with
    | some m => do
      let text ← (m.data.toString : IO String)
      reject "error" ("an example of " ++ who ++ " cannot be audited, make it a theorem: " ++ text)
    | none => pure (addedConstants r.before.env after.env)

/-- Compares two commands; what is to be audited of them, if holes of it were filled. -/
def comparePair (f : Refill) (o c : Ran) : Verdict (List Pair) := do
  let t := f.trial
  let before ← (sitesOf t.original.inputString o : IO _)
  let filled := filledSites f.spans before
  let expected := leftOver f.spans before
  let found ← (sitesOf t.candidate.inputString c : IO _)
  if !sameSites expected found then
    reject "holes" "the holes that were to stay are not all where they were, with the goals that they had"
  if anyOf (fun h => !h.prop) filled && !f.data then
    reject "data" "a hole that is no proposition was filled"
  if isNil filled then pure [] else do
    let original ← commandConstants "the original" t.original o
    let candidate ← commandConstants "the candidate" t.candidate c
    pure [{ original, candidate, left := found, data := anyOf (fun h => !h.prop) filled }]

/-- The commands that count. -/
def countedRans : List Ran → List Ran
  | [] => []
  | r :: rs => if isCounted r.stx then r :: countedRans rs else countedRans rs

/-- `comparePair` for all. -/
def comparePairs (f : Refill) : List Ran → List Ran → Verdict (List Pair)
  | o :: os, c :: cs => do
    let here ← comparePair f o c
    let rest ← comparePairs f os cs
    pure (joinLists here rest)
  | _, _ => pure []

/-- Every hole of a text. -/
def allSites (source : String) : List Ran → IO (List Site)
  | [] => pure []
  | r :: rs => do
    let here ← sitesOf source r
    let rest ← allSites source rs
    pure (joinLists here rest)

/-- Turns down fills that are not those of holes. -/
def requireHoles (sites : List Site) : List Span → Verdict Unit
  | [] => pure ()
  | s :: ss =>
    if anyOf (fun h => h.start == s.start && h.stop == s.stop) sites then requireHoles sites ss
    else reject "holes" ("there is no hole at byte " ++ toString s.start ++ " of the original")

/-! ## Constants -/

/-- Whether Lean made a name up: what such constants are called depends on the proofs beside them. -/
def isMadeUp (n : Name) : Bool :=
  match privateToUserName n with
  | .str _ s => s.startsWith "_" && !(isExample n) || s.startsWith "match_" || s.startsWith "eq_" || s.startsWith "proof_"
  | .num _ _ => true
  | .anonymous => false

/-- The constants that people know. -/
def knownOnes : List ConstantInfo → List ConstantInfo
  | [] => []
  | c :: cs => if isMadeUp c.name then knownOnes cs else c :: knownOnes cs

/-- The constants of the original in pairs. -/
def originalsOf : List Pair → List ConstantInfo
  | [] => []
  | p :: ps => joinLists p.original (originalsOf ps)

/-- The constants of the candidate in pairs. -/
def candidatesOf : List Pair → List ConstantInfo
  | [] => []
  | p :: ps => joinLists p.candidate (candidatesOf ps)

/-- Whether a theorem that Lean made up. -/
def isMadeUpTheorem : ConstantInfo → Bool
  | .thmInfo v => isMadeUp v.name
  | _ => false

/-- A value with the theorems that Lean made up for proofs within it written out. -/
partial def writtenOut (all : List ConstantInfo) (e : Expr) : Expr :=
  e.replace fun
    | .const n us =>
      match constNamed? n all with
      | some c =>
        if isMadeUpTheorem c then
          match valueOf? c with
          | some v => some (writtenOut all (v.instantiateLevelParams c.levelParams us))
          | none => none
        else none
      | none => none
    | _ => none

/-- Definitions must compute what they computed: equal values, proofs aside. `env` is what the kernel has made. -/
def compareValues (env : Environment) (all : List ConstantInfo) : List ConstantInfo → Verdict Unit
  | [] => pure ()
  | .defnInfo o :: os => do
    match env.toKernelEnv.find? o.name with
    | some (.defnInfo c) =>
      if o.value == c.value then compareValues env all os
      else match Kernel.isDefEq env {} (writtenOut all o.value) c.value with
        | .ok true => compareValues env all os
        | _ => do
          let name ← (nameText o.name : IO _)
          reject "redefined" (name ++ " has another value, proofs aside")
    | _ => compareValues env all os
  | _ :: os => compareValues env all os

/-- The constants that the texts share outside the commands with filled holes must be the same. -/
def untouched (filled : List ConstantInfo) : List ConstantInfo → List ConstantInfo
  | [] => []
  | c :: cs => if (constNamed? c.name filled).isSome then untouched filled cs else c :: untouched filled cs

/-! ## Axioms -/

/-- Turns down `sorry` in the constants of a command, apart from that of the holes which stay. -/
def auditSorry (map : FileMap) (left : List Site) : List ConstantInfo → Verdict Unit
  | [] => pure ()
  | c :: cs => do
    let inValue := match valueOf? c with
      | some v => hidesSorry map left v
      | none => false
    if inValue || hidesSorry map left c.type then do
      let name ← (nameText (privateToUserName c.name) : IO _)
      reject "sorry" ("a proof put into " ++ name ++ " uses `sorry`")
    else auditSorry map left cs

/-- What the constants of a command in the original rest on, its own `sorry`s aside. -/
def foundations (env : Environment) (own : List ConstantInfo) (acc : List Name) : List Name → List Name
  | [] => acc
  | n :: ns =>
    if (constNamed? n own).isSome || n == ``sorryAx then foundations env own acc ns
    else foundations env own (joinLists (axiomsOf env n) acc) ns

/-- The names that constants mention. -/
def allMentioned : List ConstantInfo → List Name
  | [] => []
  | c :: cs => joinLists (mentioned c) (allMentioned cs)

/-- A declaration of the candidate with the axioms that it rests on, as JSON. `allowed` are those it may. -/
def jsonFilled (shownIn env : Environment) (t : Trial) (allowed : List Name) (left : List Site) (n : Name) :
    Verdict Json := do
  let found := axiomsOf env n
  auditAxioms (if isNil left then allowed else ``sorryAx :: allowed) found
  let name ← (nameText (if isExample n then `example else privateToUserName n) : IO _)
  let names ← (mapIO nameText found : IO _)
  let shown ← match env.find? n with
    | some c => do
      let (text, _) ← (showType { freshScope t.base with env := shownIn } c.type : IO _)
      pure text
    | none => pure ""
  pure (Json.mkObj [("name", Json.str name), ("type", Json.str shown), ("axioms", jsonList (mapList Json.str names))])

/-- `jsonFilled` for each declaration. -/
def jsonAllFilled (shownIn env : Environment) (t : Trial) (allowed : List Name) (left : List Site) :
    List ConstantInfo → Verdict (List Json)
  | [] => pure []
  | c :: cs => do
    let j ← jsonFilled shownIn env t allowed left c.name
    let js ← jsonAllFilled shownIn env t allowed left cs
    pure (j :: js)

/-- The audit of one pair of commands: kinds, statements and values as they were, no `sorry` but that of the holes that
stay, no axiom that the original did not rest on but those allowed. Each is given to the kernel on its own, since two
examples are called the same. -/
def judgePair (f : Refill) (e : Evidence) (replayed : Replay) (p : Pair) : Verdict (List Json) := do
  let t := f.trial
  let targets := knownOnes p.original
  compareKinds p.candidate targets
  auditSorry t.candidate.fileMap p.left p.candidate
  let grown ← replayAll p.candidate t.heartbeats replayed (safeOnes p.candidate)
  compareStatements grown.env (safeOnes targets)
  if !p.data then compareValues grown.env (joinLists p.original e.original) (safeOnes targets)
  let rests := foundations e.originalEnv p.original [] (allMentioned p.original)
  jsonAllFilled e.originalEnv grown.env t (joinLists t.axioms rests) p.left (safeOnes targets)

/-- `judgePair` for all. -/
def judgePairs (f : Refill) (e : Evidence) (replayed : Replay) : List Pair → Verdict (List Json)
  | [] => pure []
  | p :: ps => do
    let here ← judgePair f e replayed p
    let rest ← judgePairs f e replayed ps
    pure (joinLists here rest)

/-- The candidate's commands. Their messages are noted whatever comes of them: the place of an error tells which proof
is at fault. -/
def elaborateFilled (t : Trial) (expected : List Syntax) (messages : IO.Ref Json) : Verdict (Array Ran) := do
  let start := withScopeOptions t.base (limited · t.heartbeats)
  let (ran, objection) ← (runWhile t.candidate (forbidden? expected) {} start #[] : IO _)
  let noted ← (messagesOf t.candidate ran : IO _)
  (messages.set noted : IO Unit)
  match firstError? (allMessages ran.toList), objection with
  | some m, _ => do
    let text ← (m.data.toString : IO String)
    reject "error" ("the candidate has an error: " ++ text)
  | none, some text => reject "commands" text
  | none, none =>
    if countOf (countedCommands ran.toList) == countOf expected then pure ran
    else reject "commands" "the candidate has fewer commands than the original"

/-- The whole judgement. -/
def tryFill (f : Refill) (messages : IO.Ref Json) : Verdict (List Json × Nat) := do
  let t := f.trial
  let original ← elaborate t "the original" t.original (fun _ _ => none)
  let candidate ← elaborateFilled t (countedCommands original.toList) messages
  let e : Evidence := {
    original := addedConstants t.base.env (envAfter t.base original)
    candidate := addedConstants t.base.env (envAfter t.base candidate)
    originalEnv := envAfter t.base original
    env := envAfter t.base candidate }
  let sites ← (allSites t.original.inputString original.toList : IO _)
  requireHoles sites f.spans
  let pairs ← comparePairs f (countedRans original.toList) (countedRans candidate.toList)
  let touched := originalsOf pairs
  let kept := untouched touched e.original
  let resting := restingOn e.original [] (statementNames (knownOnes touched))
  auditKept e.candidate (joinLists kept (untouched (knownOnes touched) resting))
  auditAdded t.base.env e.env (mapList privateToUserName (namesOf (knownOnes touched))) e.original e.candidate
  let replayed ← replayAll e.candidate t.heartbeats { env := t.base.env } (safeOnes e.candidate)
  let declarations ← judgePairs f e replayed pairs
  pure (declarations, countOf e.candidate)

/-- The reply to a `fill` request. -/
def jsonFillVerdict (f : Refill) : IO Json := do
  let messages ← IO.mkRef (jsonList [])
  let verdict ← (tryFill f messages).run
  let noted ← messages.get
  match verdict with
  | .ok (declarations, added) =>
    pure (Json.mkObj [("verdict", Json.str "accepted"), ("declarations", jsonList declarations),
      ("added", jsonNat added), ("messages", noted)])
  | .error r =>
    pure (Json.mkObj [("verdict", Json.str "rejected"), ("reason", Json.str r.reason),
      ("message", Json.str (cutText r.message)), ("messages", noted)])

end Prover
