import Prover.Commands

/-!
# What stands around a hole

Seen in the syntax of its command: the form of the hole, for people and for whoever puts a proof there, and the column
that the lines of that proof must stay right of so that no block around the hole takes them for its own.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean

/-- What stands around a hole. -/
structure Stand where
  form : String
  /-- In code points: the rightmost of the items, of blocks around it, that the hole is in. -/
  outer : Nat

/-- Whether the bytes `start` to `stop` lie in a syntax. -/
def covers (stx : Syntax) (start stop : Nat) : Bool :=
  match stx.getPos?, stx.getTailPos? with
  | some a, some b => a.byteIdx ≤ start && stop ≤ b.byteIdx
  | _, _ => false

mutual

/-- The nodes from the first that `p` takes at the bytes `start` to `stop` up to `stx`; none when there is none. -/
partial def pathTo (p : SyntaxNodeKind → Bool) (start stop : Nat) (above : List Syntax) (stx : Syntax) :
    List Syntax :=
  if !covers stx start stop then []
  else if p stx.getKind then stx :: above
  else pathInto p start stop (stx :: above) stx.getArgs.toList

/-- `pathTo` through the first of the arguments that has one. -/
partial def pathInto (p : SyntaxNodeKind → Bool) (start stop : Nat) (above : List Syntax) :
    List Syntax → List Syntax
  | [] => []
  | stx :: rest =>
    match pathTo p start stop above stx with
    | [] => pathInto p start stop above rest
    | path => path

end

/-- Whether a node only groups others. -/
def isGrouping (k : SyntaxNodeKind) : Bool :=
  k == nullKind || k == groupKind || k == choiceKind

/-- Whether a node holds the tactics of a block. -/
def isTacticBlock (k : SyntaxNodeKind) : Bool :=
  k == `Lean.Parser.Tactic.tacticSeq1Indented || k == `Lean.Parser.Tactic.tacticSeqBracketed

/-- The nodes that do more than group. -/
def telling : List Syntax → List Syntax
  | [] => []
  | s :: above => if isGrouping s.getKind then telling above else s :: telling above

/-- Whether a node is an item of something whose items are told apart by their columns, apart from tactics. -/
def isItem (k : SyntaxNodeKind) : Bool :=
  k == `Lean.calcStep || k == `Lean.calcFirstStep || k == `Lean.Parser.Term.doSeqItem ||
  k == `Lean.Parser.Term.matchAlt || k == `Lean.Parser.Tactic.inductionAlt ||
  k == `Lean.Parser.Term.structInstField || k == `Lean.Parser.Term.letRecDecl || isDeclaration k

/-- The rightmost column at which an item that the hole is in begins. `path` begins above the hole. -/
def outerColumn (map : FileMap) (found : Nat) : List Syntax → Nat
  | [] => found
  | s :: above =>
    let inBlock := match telling above with
      | b :: _ => isTacticBlock b.getKind
      | [] => false
    let counts := !isGrouping s.getKind && (inBlock || isItem s.getKind)
    match s.getPos? with
    | some p =>
      let column := (map.toPosition p).column
      outerColumn map (if counts && found < column then column else found) above
    | none => outerColumn map found above

/-- The line on which a syntax begins. -/
def lineOf (map : FileMap) (stx : Syntax) : Nat :=
  match stx.getPos? with
  | some p => (map.toPosition p).line
  | none => 0

/-- Whether the tactics of a block are one only. -/
def isAlone (block : Syntax) : Bool :=
  match block.getArgs.toList with
  | [items] => items.getArgs.size ≤ 1
  | _ => false

/-- The form of a hole that is the only tactic of a block, by what the block belongs to. -/
def aloneForm (map : FileMap) (hole owner : Syntax) : String :=
  let k := owner.getKind
  if k == `Lean.Parser.Term.byTactic then
    if lineOf map owner == lineOf map hole then "by" else "block"
  else if k == `Lean.cdot then "bullet"
  else if k == `Lean.Parser.Tactic.inductionAlt || k == `Lean.Parser.Term.matchAlt then "alternative"
  else if k == `Lean.Parser.Tactic.case || k == `Lean.Parser.Tactic.case' ||
    k == `Lean.Parser.Tactic.«tacticNext_=>_» then "case"
  else "tactic"

/-- The form of a tactic hole: `above` are the telling nodes above it. -/
def tacticForm (map : FileMap) (hole : Syntax) : List Syntax → String
  | block :: above =>
    if !isTacticBlock block.getKind then "tactic" else
      match above with
      | seq :: owner :: _ =>
        if isAlone block then aloneForm map hole (if seq.getKind == `Lean.Parser.Tactic.tacticSeq then owner else seq)
        else "block"
      | _ => "block"
  | [] => "tactic"

/-- The form of a term hole: `above` are the telling nodes above it. -/
def termForm : List Syntax → String
  | s :: above =>
    let k := s.getKind
    if k == `Lean.Parser.Term.anonymousCtor then "constructor"
    else if k == `Lean.calcStep || k == `Lean.calcFirstStep then "calc"
    else if k == `Lean.Parser.Term.matchAlt || k == `Lean.Parser.Tactic.inductionAlt then "alternative"
    else if k == `Lean.Parser.Term.structInstFieldDef || k == `Lean.Parser.Term.structInstField then "field"
    else if k == `Lean.Parser.Term.letIdDecl || k == `Lean.Parser.Term.letDecl then bindingForm above
    else "term"
  | [] => "term"
where
  /-- The form of a hole that is what a name is bound to. -/
  bindingForm : List Syntax → String
  | s :: above =>
    if s.getKind == `Lean.Parser.Term.letDecl || s.getKind == `Lean.Parser.Term.letRecDecl then bindingForm above
    else if s.getKind == `Lean.Parser.Term.whereDecls then "where"
    else "term"
  | [] => "term"

/-- What stands around the hole at the bytes `start` to `stop` of a command. `p` takes the kinds of holes. A hole that
is not written there (a macro stands for it) has the form `macro`. -/
def standOf (map : FileMap) (p : SyntaxNodeKind → Bool) (command : Syntax) (start stop : Nat) (isTactic : Bool) :
    Stand :=
  match pathTo p start stop [] command with
  | [] => { form := "macro", outer := 0 }
  | hole :: above =>
    let form := if isTactic then tacticForm map hole (telling above) else termForm (telling above)
    { form, outer := outerColumn map 0 above }

end Prover
