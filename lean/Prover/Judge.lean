import Prover.Session
import Lean.Util.CollectAxioms
import Lean.Util.FoldConsts
import Lean.Compiler.ImplementedByAttr

/-!
# The judge

Decides whether an untrusted text proves what a trusted text states. Nothing that the candidate's own environment says
about itself is believed: its constants are taken out of it one by one and given to the kernel anew, on the environment
that was there before, and only what the kernel then holds is compared and audited.

What a judge in the same process cannot see is code that the candidate runs while it is elaborated and that tampers
with this process. Syntax that runs code is therefore refused before it is elaborated, unless the trusted text has it;
and what the kernel shall accept can be written down for another process (`Export.lean`), which has the last word.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Meta Elab

/-- Why a candidate is turned down: the protocol's reason and a text. -/
structure Rejection where
  reason : String
  message : String

/-- Work that may end in a rejection. -/
abbrev Verdict (α : Type) := ExceptT Rejection IO α

/-- Turns the candidate down. -/
def reject {α : Type} (reason message : String) : Verdict α :=
  throw { reason, message }

/-! ## Commands -/

/-- Syntax kinds that run code of the text's own during elaboration, or attach code to a constant, apart from commands
(which are compared). -/
def runsCode (k : SyntaxNodeKind) : Bool :=
  k == `Lean.Parser.Term.unsafe || k == `Lean.Parser.Tactic.nativeDecide || k == `Lean.Parser.Term.attributes ||
  k == `Lean.Parser.Tactic.runTac || k == `Lean.runTac || k == `Lean.Elab.Tactic.runTac || k == `Lean.byElab ||
  k == `Lean.Parser.Term.byElab || k == `Lean.Elab.Term.byElab || k == `Lean.includeStr ||
  k == `Lean.Parser.Term.includeStr

/-- What is compared of a command: its kind and those of the declarations in it. -/
def outline (stx : Syntax) : List SyntaxNodeKind :=
  stx.getKind :: mapList (fun d => d[1].getKind) (nodesOf isDeclaration stx)

/-- Whether two lists of kinds are the same. -/
def sameKinds : List SyntaxNodeKind → List SyntaxNodeKind → Bool
  | [], [] => true
  | a :: as, b :: bs => a == b && sameKinds as bs
  | _, _ => false

/-- The command number `i`. -/
def commandAt? : List Syntax → Nat → Option Syntax
  | [], _ => none
  | c :: _, 0 => some c
  | _ :: cs, i + 1 => commandAt? cs i

/-- Whether the first list has more items. -/
def isLonger : List Syntax → List Syntax → Bool
  | _ :: _, [] => true
  | _ :: as, _ :: bs => isLonger as bs
  | [], _ => false

/-- What forbids to elaborate a command of the candidate where the original has `expected`. -/
def forbidden? (expected : List Syntax) (i : Nat) (stx : Syntax) : Option String :=
  match commandAt? expected i with
  | none => if isCounted stx then some "the candidate has more commands than the original" else none
  | some o =>
    if !sameKinds (outline o) (outline stx) then
      some "a command of the candidate is of another kind than the original's"
    else if isLonger (nodesOf runsCode stx) (nodesOf runsCode o) then
      some "the candidate runs code while it is elaborated, or attaches attributes"
    else none

/-! ## Constants -/

mutual

/-- The constants below a node of a persistent map, before those of `acc`. -/
partial def constsOfNode (acc : List ConstantInfo) :
    PersistentHashMap.Node Name ConstantInfo → List ConstantInfo
  | .entries es => constsOfEntries acc es.toList
  | .collision _ vs _ => joinLists vs.toList acc

/-- The constants of entries of a node. -/
partial def constsOfEntries (acc : List ConstantInfo) :
    List (PersistentHashMap.Entry Name ConstantInfo (PersistentHashMap.Node Name ConstantInfo)) →
    List ConstantInfo
  | [] => acc
  | .entry _ v :: es => constsOfEntries (v :: acc) es
  | .ref n :: es => constsOfEntries (constsOfNode acc n) es
  | .null :: es => constsOfEntries acc es

end

/-- The constants of an environment that are not imported. -/
def ownConstants (env : Environment) : List ConstantInfo :=
  constsOfNode [] env.toKernelEnv.constants.map₂.root

/-- The constants that `env` has over `base`. -/
def addedConstants (base env : Environment) : List ConstantInfo :=
  go [] (ownConstants env)
where
  /-- Keeps what the base does not have. -/
  go (acc : List ConstantInfo) : List ConstantInfo → List ConstantInfo
  | [] => acc
  | c :: cs => go (if (base.toKernelEnv.find? c.name).isSome then acc else c :: acc) cs

/-- A constant among others, by its name. -/
def constNamed? (n : Name) : List ConstantInfo → Option ConstantInfo
  | [] => none
  | c :: cs => if c.name == n then some c else constNamed? n cs

/-- Whether one of `roots` is a proper prefix of `n`: then `n` belongs to that declaration. -/
def below (roots : List Name) (n : Name) : Bool :=
  match privateToUserName n with
  | .str p _ => go p
  | .num p _ => go p
  | .anonymous => false
where
  /-- Looks at a prefix and the shorter ones. -/
  go : Name → Bool
  | .anonymous => false
  | p@(.str q _) => anyOf (· == p) roots || go q
  | p@(.num q _) => anyOf (· == p) roots || go q

/-- Whether a proper prefix of `n` is a constant that the candidate did not make: Lean names what it derives from a
definition on demand (equations, induction principles) so. -/
def derived (base : Environment) (original : List ConstantInfo) (n : Name) : Bool :=
  match privateToUserName n with
  | .str p _ => go p
  | .num p _ => go p
  | .anonymous => false
where
  /-- Looks at a prefix and the shorter ones. -/
  go : Name → Bool
  | .anonymous => false
  | p@(.str q _) => known p || go q
  | p@(.num q _) => known p || go q
  /-- Whether a name is that of a constant known before. -/
  known (p : Name) : Bool :=
    (base.toKernelEnv.find? p).isSome || anyOf (fun c => privateToUserName c.name == p) original

/-- An expression in which all uses of `sorry` look alike: they carry the position they were written at. -/
def blankSorry (e : Expr) : Expr :=
  if e.hasSorry then e.replace (fun a => if a.isAppOf ``sorryAx then some (.const ``sorryAx []) else none) else e

/-- An expression without the annotations in it, which mean nothing to the kernel and are not exported. -/
partial def bare (e : Expr) : Expr :=
  e.replace (fun a => match a with
    | .mdata _ b => some (bare b)
    | _ => none)

/-- Whether two expressions are equal but for the position of `sorry` and annotations. -/
def sameExpr (a b : Expr) : Bool :=
  a == b || bare (blankSorry a) == bare (blankSorry b)

/-- Whether two lists of names are the same. -/
def sameNames : List Name → List Name → Bool
  | [], [] => true
  | a :: as, b :: bs => a == b && sameNames as bs
  | _, _ => false

/-- Whether the candidate's version of a constant says the same as the original's. -/
def sameConstant (o c : ConstantInfo) : Bool :=
  sameNames o.levelParams c.levelParams && sameExpr o.type c.type &&
  match o, c with
  | .thmInfo _, .thmInfo _ => true
  | .axiomInfo a, .axiomInfo b => a.isUnsafe == b.isUnsafe
  | .defnInfo a, .defnInfo b => sameExpr a.value b.value && (a.safety == b.safety)
  | .opaqueInfo a, .opaqueInfo b => sameExpr a.value b.value && a.isUnsafe == b.isUnsafe
  | .inductInfo a, .inductInfo b =>
    a.numParams == b.numParams && sameNames a.ctors b.ctors && sameNames a.all b.all && a.isUnsafe == b.isUnsafe
  | .ctorInfo a, .ctorInfo b => a.induct == b.induct && a.cidx == b.cidx
  | .recInfo _, .recInfo _ => true
  | _, _ => false

/-- Whether two constants are of the same kind. -/
def sameKind : ConstantInfo → ConstantInfo → Bool
  | .thmInfo _, .thmInfo _ => true
  | .axiomInfo _, .axiomInfo _ => true
  | .defnInfo a, .defnInfo b => a.safety == b.safety
  | .opaqueInfo a, .opaqueInfo b => a.isUnsafe == b.isUnsafe
  | .inductInfo _, .inductInfo _ => true
  | _, _ => false

/-! ## Replay -/

/-- The constants that were given to the kernel, and the environment that grows. -/
structure Replay where
  done : NameSet := {}
  env : Environment
  /-- Set where the declarations are to be written down, in order, instead: then the environment does not grow. -/
  noted : Option (List Declaration) := none

/-- The value of a constant that has one. -/
def valueOf? : ConstantInfo → Option Expr
  | .defnInfo v => some v.value
  | .thmInfo v => some v.value
  | .opaqueInfo v => some v.value
  | _ => none

/-- The names of the constants that a constant mentions. -/
def mentioned (c : ConstantInfo) : List Name :=
  let inType := c.type.getUsedConstants.toList
  let inValue := match valueOf? c with
    | some v => v.getUsedConstants.toList
    | none => []
  match c with
  | .inductInfo v => joinLists v.ctors (joinLists inType inValue)
  | .ctorInfo v => v.induct :: joinLists inType inValue
  | .recInfo v => joinLists v.all (joinLists inType inValue)
  | _ => joinLists inType inValue

/-- The inductive types of a mutual block with their constructors. -/
def inductiveTypes (all : List ConstantInfo) : List Name → Verdict (List InductiveType)
  | [] => pure []
  | n :: ns => do
    match constNamed? n all with
    | some (.inductInfo v) => do
      let ctors ← constructors v.ctors
      let rest ← inductiveTypes all ns
      pure ({ name := n, type := v.type, ctors } :: rest)
    | _ => reject "kernel" "an inductive type is incomplete"
where
  /-- The constructors with their types. -/
  constructors : List Name → Verdict (List Constructor)
  | [] => pure []
  | n :: ns => do
    match constNamed? n all with
    | some (.ctorInfo v) => do
      let rest ← constructors ns
      pure ({ name := n, type := v.type } :: rest)
    | _ => reject "kernel" "an inductive type is incomplete"

/-- The declaration that makes a constant. Constructors and recursors are made by their inductive type. -/
def declarationOf? (all : List ConstantInfo) : ConstantInfo → Verdict (Option Declaration)
  | .thmInfo v => pure (some (.thmDecl v))
  | .defnInfo v => pure (some (.defnDecl v))
  | .opaqueInfo v => pure (some (.opaqueDecl v))
  | .axiomInfo v => pure (some (.axiomDecl v))
  | .inductInfo v => do
    let types ← inductiveTypes all v.all
    pure (some (.inductDecl v.levelParams v.numParams types v.isUnsafe))
  | .ctorInfo _ => pure none
  | .recInfo _ => pure none
  | .quotInfo _ => pure none

/-- Gives a declaration to the kernel. -/
def addChecked (env : Environment) (heartbeats : Nat) (d : Declaration) : Verdict Environment := do
  (IO.setNumHeartbeats 0 : IO Unit)
  match env.addDeclCore (heartbeats * 1000).toUSize d none with
  | .ok env => pure env
  | .error ex => do
    let text ← ((ex.toMessageData {}).toString : IO String)
    reject "kernel" text

/-- The names of inductive types. -/
def typeNames : List InductiveType → List Name
  | [] => []
  | t :: ts => t.name :: typeNames ts

/-- Names added to a set. -/
def markAll (done : NameSet) : List Name → NameSet
  | [] => done
  | n :: ns => markAll (done.insert n) ns

/-- Gives a declaration to the kernel, or notes it. -/
def giveOrNote (heartbeats : Nat) (r : Replay) (d : Declaration) : Verdict Replay := do
  match r.noted with
  | some ds => do
    let done := match d with
      | .inductDecl _ _ types _ => markAll r.done (typeNames types)
      | _ => r.done
    pure { r with done, noted := some (d :: ds) }
  | none => do
    let env ← addChecked r.env heartbeats d
    pure { r with env }

mutual

/-- Gives a constant to the kernel after those that it mentions. -/
partial def replayConst (all : List ConstantInfo) (heartbeats : Nat) (r : Replay) (c : ConstantInfo) :
    Verdict Replay := do
  if r.done.contains c.name then pure r else
    let r := { r with done := r.done.insert c.name }
    let r ← replayNames all heartbeats r (mentioned c)
    if (r.env.toKernelEnv.find? c.name).isSome then pure r else
      match ← declarationOf? all c with
      | none => pure r
      | some d => giveOrNote heartbeats r d

/-- Replays what is to be replayed among constants of these names. -/
partial def replayNames (all : List ConstantInfo) (heartbeats : Nat) (r : Replay) : List Name → Verdict Replay
  | [] => pure r
  | n :: ns => do
    match constNamed? n all with
    | some c => do
      let r ← replayConst all heartbeats r c
      replayNames all heartbeats r ns
    | none => replayNames all heartbeats r ns

end

/-- Gives all constants to the kernel. -/
def replayAll (all : List ConstantInfo) (heartbeats : Nat) (r : Replay) : List ConstantInfo → Verdict Replay
  | [] => pure r
  | c :: cs => do
    let r ← replayConst all heartbeats r c
    replayAll all heartbeats r cs

/-! ## Audits -/

/-- Compares every constant of the original that must stay as it is. `kept` are constants to be compared. -/
def auditKept (candidate : List ConstantInfo) : List ConstantInfo → Verdict Unit
  | [] => pure ()
  | o :: os => do
    match constNamed? o.name candidate with
    | some c =>
      if sameConstant o c then auditKept candidate os else do
        let name ← (nameText o.name : IO _)
        reject "redefined" (name ++ " is not what the original defines")
    | none => do
      let name ← (nameText o.name : IO _)
      reject "redefined" (name ++ " is missing")

/-- The constants of the original that statements rest on, so that they must stay although they belong to a
declaration that is being proved. -/
partial def restingOn (all : List ConstantInfo) (seen : List ConstantInfo) : List Name → List ConstantInfo
  | [] => seen
  | n :: ns =>
    match constNamed? n all with
    | none => restingOn all seen ns
    | some c =>
      if anyOf (fun k => k.name == n) seen then restingOn all seen ns
      else restingOn all (c :: seen) (joinLists (mentioned c) ns)

/-- The constants in the types of declarations. -/
def statementNames : List ConstantInfo → List Name
  | [] => []
  | c :: cs => joinLists c.type.getUsedConstants.toList (statementNames cs)

/-- Whether a name is that of the compiled form of a recursive definition, which the kernel does not see. -/
def isRunCode : Name → Bool
  | .str _ s => s == "_unsafe_rec"
  | _ => false

/-- Turns down constants that the candidate had no reason to add, and code that is not what the kernel sees. -/
def auditAdded (base : Environment) (env : Environment) (names : List Name) (original : List ConstantInfo) :
    List ConstantInfo → Verdict Unit
  | [] => pure ()
  | c :: cs => do
    let known := (constNamed? c.name original).isSome
    if !known then
      let name ← (nameText c.name : IO _)
      if !(below names c.name || derived base original c.name) then
        reject "added" ("the candidate adds " ++ name)
      if (c.isUnsafe || c.isPartial) && !isRunCode c.name then
        reject "unsafe" (name ++ " is unsafe or partial")
    if !known || anyOf (· == c.name) names then
      if isExtern env c.name || (Compiler.getImplementedBy? env c.name).isSome then
        let name ← (nameText c.name : IO _)
        reject "unsafe" (name ++ " has foreign code")
    auditAdded base env names original cs

/-- Axioms that a user could see in any Lean. -/
def coreAxioms : List Name :=
  [``sorryAx, ``Lean.ofReduceBool, ``Lean.ofReduceNat, ``Lean.trustCompiler, ``propext, ``Quot.sound,
   ``Classical.choice]

/-- Whether a module belongs to Lean itself. -/
def isCoreModule (m : Name) : Bool :=
  let root := m.getRoot
  root == `Init || root == `Std || root == `Lean || root == `Lake

/-- Whether an axiom counts: imported theorems of Lean's own modules may be stored as axioms. -/
def countsAsAxiom (env : Environment) (n : Name) : Bool :=
  anyOf (· == n) coreAxioms ||
    match env.getModuleIdxFor? n with
    | none => true
    | some i =>
      match env.header.modules[i.toNat]? with
      | some m => !isCoreModule m.module
      | none => true

/-- The axioms that count. -/
def countedAxioms (env : Environment) : List Name → List Name
  | [] => []
  | n :: ns => if countsAsAxiom env n then n :: countedAxioms env ns else countedAxioms env ns

/-- The axioms that a constant rests on. -/
def axiomsOf (env : Environment) (n : Name) : List Name :=
  let (_, s) := ((CollectAxioms.collect n).run env).run {}
  countedAxioms env s.axioms.toList

/-- Turns down axioms that are not allowed. -/
def auditAxioms (allowed : List Name) : List Name → Verdict Unit
  | [] => pure ()
  | a :: as => do
    if anyOf (· == a) allowed then auditAxioms allowed as else
      let name ← (nameText a : IO _)
      reject (if a == ``sorryAx then "sorry" else "axiom") ("the proof uses the axiom " ++ name)

end Prover
