import Prover.Judge

/-!
# Declarations as data

The process that elaborated a proof has run the proof's code, so what it says of the proof is not believed. It writes down
the declarations that it made, as text, and a process that never ran any of it reads them and gives each to the kernel.
`docs/protocol.md` describes the text. It holds no free variables, no metavariables, no unsafe or partial definitions, and
every reference points backwards, so that it can only describe a finite term, whoever wrote it.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean

/-! ## Writing -/

/-- Numbers for things that are equal. The library's hash maps cannot be compiled everywhere this source is. -/
structure Table (α : Type) where
  buckets : IO.Ref (Array (List (α × Nat)))
  count : IO.Ref Nat

/-- An empty table whose first number is `first`. -/
def Table.new {α : Type} (first : Nat) : IO (Table α) := do
  let buckets ← IO.mkRef (Array.replicate 16384 [])
  let count ← IO.mkRef first
  pure { buckets, count }

/-- The number of the first entry that `same` accepts. -/
def numberIn {α : Type} (same : α → Bool) : List (α × Nat) → Option Nat
  | [] => none
  | (a, n) :: rest => if same a then some n else numberIn same rest

/-- The bucket of a hash. -/
def bucketOf (h : UInt64) : Nat :=
  (h % 16384).toNat

/-- The number of `a`, which has the hash `h`. -/
def Table.find? {α : Type} (t : Table α) (h : UInt64) (same : α → Bool) : IO (Option Nat) := do
  let buckets ← t.buckets.get
  pure (numberIn same (buckets[bucketOf h]!))

/-- Gives `a` the next number. -/
def Table.put {α : Type} (t : Table α) (h : UInt64) (a : α) : IO Nat := do
  let n ← t.count.get
  t.buckets.modify (fun buckets => buckets.set! (bucketOf h) ((a, n) :: buckets[bucketOf h]!))
  t.count.set (n + 1)
  pure n

/-- An export that grows. -/
structure Writer where
  names : Table Name
  levels : Table Level
  exprs : Table Expr
  nameText : IO.Ref String
  levelText : IO.Ref String
  exprText : IO.Ref String
  declText : IO.Ref String

/-- An empty export. -/
def Writer.new : IO Writer := do
  let names ← Table.new 1
  let levels ← Table.new 1
  let exprs ← Table.new 0
  let nameText ← IO.mkRef ""
  let levelText ← IO.mkRef ""
  let exprText ← IO.mkRef ""
  let declText ← IO.mkRef ""
  pure { names, levels, exprs, nameText, levelText, exprText, declText }

/-- Appends an entry to one of the lists. -/
def addEntry (text : IO.Ref String) (entry : String) : IO Unit :=
  text.modify (fun s => if s.isEmpty then entry else s ++ "," ++ entry)

/-- A string as JSON. -/
def quoted (s : String) : String :=
  (Json.str s).compress

/-- Numbers as a JSON list. -/
def numberList : List Nat → String
  | [] => "[]"
  | n :: ns => "[" ++ go (toString n) ns ++ "]"
where
  /-- The numbers behind commas. -/
  go (acc : String) : List Nat → String
  | [] => acc
  | n :: ns => go (acc ++ "," ++ toString n) ns

/-- Texts as a JSON list. -/
def textList (texts : List String) : String :=
  match texts with
  | [] => "[]"
  | t :: ts => "[" ++ go t ts ++ "]"
where
  /-- The texts behind commas. -/
  go (acc : String) : List String → String
  | [] => acc
  | t :: ts => go (acc ++ "," ++ t) ts

/-- The number of a name. The anonymous one is 0. -/
partial def Writer.name (w : Writer) (n : Name) : IO Nat := do
  match n with
  | .anonymous => pure 0
  | .str p s => do
    match ← w.names.find? n.hash (· == n) with
    | some i => pure i
    | none => do
      let prefixNumber ← w.name p
      addEntry w.nameText (textList [toString prefixNumber, quoted s])
      w.names.put n.hash n
  | .num p k => do
    match ← w.names.find? n.hash (· == n) with
    | some i => pure i
    | none => do
      let prefixNumber ← w.name p
      addEntry w.nameText (numberList [prefixNumber, k])
      w.names.put n.hash n

/-- The numbers of names. -/
def Writer.nameList (w : Writer) : List Name → IO (List Nat)
  | [] => pure []
  | n :: ns => do
    let i ← w.name n
    let is ← w.nameList ns
    pure (i :: is)

/-- The number of a universe level. Zero is 0. -/
partial def Writer.level (w : Writer) (l : Level) : IO Nat := do
  match l with
  | .zero => pure 0
  | _ => do
    match ← w.levels.find? l.hash (· == l) with
    | some i => pure i
    | none => do
      let entry ← parts l
      addEntry w.levelText (numberList entry)
      w.levels.put l.hash l
where
  /-- The kind of a level and what it is made of. -/
  parts (l : Level) : IO (List Nat) := do
    match l with
    | .zero => pure []
    | .succ a => do
      let a ← w.level a
      pure [0, a]
    | .max a b => do
      let a ← w.level a
      let b ← w.level b
      pure [1, a, b]
    | .imax a b => do
      let a ← w.level a
      let b ← w.level b
      pure [2, a, b]
    | .param n => do
      let n ← w.name n
      pure [3, n]
    | .mvar _ => throw (IO.userError "a universe level is not determined")

/-- The numbers of levels. -/
def Writer.levelList (w : Writer) : List Level → IO (List Nat)
  | [] => pure []
  | l :: ls => do
    let i ← w.level l
    let is ← w.levelList ls
    pure (i :: is)

/-- What an expression is made of. -/
def childrenOf : Expr → List Expr
  | .app f a => [f, a]
  | .lam _ t b _ => [t, b]
  | .forallE _ t b _ => [t, b]
  | .letE _ t v b _ => [t, v, b]
  | .mdata _ b => [b]
  | .proj _ _ b => [b]
  | _ => []

/-- The number of an expression that was written. -/
def Writer.find? (w : Writer) (e : Expr) : IO (Option Nat) :=
  w.exprs.find? e.hash (· == e)

/-- The number of an expression that must have been written. -/
def Writer.known (w : Writer) (e : Expr) : IO Nat := do
  match ← w.find? e with
  | some i => pure i
  | none => throw (IO.userError "an expression was not written before its use")

/-- Those of the expressions that have no number yet. -/
def Writer.unknown (w : Writer) : List Expr → IO (List Expr)
  | [] => pure []
  | e :: es => do
    let rest ← w.unknown es
    match ← w.find? e with
    | some _ => pure rest
    | none => pure (e :: rest)

/-- The number of the way in which a binder is written. -/
def binderNumber : BinderInfo → Nat
  | .default => 0
  | .implicit => 1
  | .strictImplicit => 2
  | .instImplicit => 3

/-- The entry of an expression whose parts have numbers. -/
def Writer.entryOf (w : Writer) (e : Expr) : IO String := do
  match e with
  | .bvar i => pure (numberList [0, i])
  | .sort l => do
    let l ← w.level l
    pure (numberList [1, l])
  | .const n ls => do
    let n ← w.name n
    let ls ← w.levelList ls
    pure (numberList (2 :: n :: ls))
  | .app f a => do
    let f ← w.known f
    let a ← w.known a
    pure (numberList [3, f, a])
  | .lam n t b i => binder 4 n t b i
  | .forallE n t b i => binder 5 n t b i
  | .letE n t v b nondep => do
    let n ← w.name n
    let t ← w.known t
    let v ← w.known v
    let b ← w.known b
    pure (numberList [6, n, t, v, b, if nondep then 1 else 0])
  | .lit (.natVal k) => pure (textList ["7", quoted (toString k)])
  | .lit (.strVal s) => pure (textList ["8", quoted s])
  | .mdata _ b => do
    let b ← w.known b
    pure (numberList [9, b])
  | .proj s i b => do
    let s ← w.name s
    let b ← w.known b
    pure (numberList [10, s, i, b])
  | .fvar _ => throw (IO.userError "a declaration has a free variable")
  | .mvar _ => throw (IO.userError "a declaration has a metavariable")
where
  /-- The entry of a function or of a function type. -/
  binder (kind : Nat) (n : Name) (t b : Expr) (i : BinderInfo) : IO String := do
    let n ← w.name n
    let t ← w.known t
    let b ← w.known b
    pure (numberList [kind, n, t, b, binderNumber i])

/-- Writes expressions, their parts first. Terms are deep, so this keeps a list of what is to be done instead of calling
itself for each part. -/
partial def Writer.drain (w : Writer) : List Expr → IO Unit
  | [] => pure ()
  | e :: rest => do
    match ← w.find? e with
    | some _ => w.drain rest
    | none => do
      match ← w.unknown (childrenOf e) with
      | [] => do
        let entry ← w.entryOf e
        addEntry w.exprText entry
        let _ ← w.exprs.put e.hash e
        w.drain rest
      | parts => w.drain (joinLists parts (e :: rest))

/-- The number of an expression. -/
def Writer.expr (w : Writer) (e : Expr) : IO Nat := do
  w.drain [e]
  w.known e

/-- What all declarations have: kind, name, universe parameters and type. -/
def Writer.front (w : Writer) (kind : Nat) (v : ConstantVal) : IO (List String) := do
  let n ← w.name v.name
  let ls ← w.nameList v.levelParams
  let t ← w.expr v.type
  pure [toString kind, toString n, numberList ls, toString t]

/-- The number that stands for how readily a definition is unfolded. -/
def hintNumber : ReducibilityHints → Nat
  | .opaque => 0
  | .abbrev => 1
  | .regular h => h.toNat + 2

/-- Constructors as entries. -/
def Writer.constructors (w : Writer) : List Constructor → IO (List String)
  | [] => pure []
  | c :: cs => do
    let n ← w.name c.name
    let t ← w.expr c.type
    let rest ← w.constructors cs
    pure (numberList [n, t] :: rest)

/-- Inductive types as entries. -/
def Writer.types (w : Writer) : List InductiveType → IO (List String)
  | [] => pure []
  | i :: is => do
    let n ← w.name i.name
    let t ← w.expr i.type
    let cs ← w.constructors i.ctors
    let rest ← w.types is
    pure (textList [toString n, toString t, textList cs] :: rest)

/-- The entry of a declaration. -/
def Writer.declEntry (w : Writer) : Declaration → IO String
  | .thmDecl v => do
    let front ← w.front 0 v.toConstantVal
    let value ← w.expr v.value
    let all ← w.nameList v.all
    pure (textList (joinLists front [toString value, numberList all]))
  | .defnDecl v => do
    let front ← w.front 1 v.toConstantVal
    let value ← w.expr v.value
    let all ← w.nameList v.all
    pure (textList (joinLists front [toString value, toString (hintNumber v.hints), numberList all]))
  | .opaqueDecl v => do
    let front ← w.front 2 v.toConstantVal
    let value ← w.expr v.value
    let all ← w.nameList v.all
    pure (textList (joinLists front [toString value, numberList all]))
  | .axiomDecl v => do
    let front ← w.front 3 v.toConstantVal
    pure (textList front)
  | .inductDecl ls n types _ => do
    let ls ← w.nameList ls
    let types ← w.types types
    pure (textList ["4", numberList ls, toString n, textList types])
  | _ => throw (IO.userError "a declaration of this kind is not written")

/-- Writes declarations, in order. -/
def Writer.decls (w : Writer) : List Declaration → IO Unit
  | [] => pure ()
  | d :: ds => do
    let entry ← w.declEntry d
    addEntry w.declText entry
    w.decls ds

/-- Declarations as the text of an export. -/
def exportText (decls : List Declaration) : IO String := do
  let w ← Writer.new
  w.decls decls
  let names ← w.nameText.get
  let levels ← w.levelText.get
  let exprs ← w.exprText.get
  let all ← w.declText.get
  pure ("{\"format\":1,\"names\":[" ++ names ++ "],\"levels\":[" ++ levels ++ "],\"exprs\":[" ++ exprs ++
    "],\"decls\":[" ++ all ++ "]}")

/-! ## Reading -/

/-- What was read so far. -/
structure Read where
  names : Array Name
  levels : Array Level
  exprs : Array Expr

/-- Turns an export down that is not what `exportText` writes. -/
def illFormed {α : Type} (what : String) : Verdict α :=
  reject "export" ("the export is ill-formed: " ++ what)

/-- Digits of a number literal are read one after another, in time that grows with their square. -/
def digitsMax : Nat := 40000

/-- One more than the largest number of a bound variable: Lean itself keeps no larger one. -/
def boundMax : Nat := 1048575

/-- A whole number that is at most `most`. -/
def readNat (most : Nat) (j : Json) : Verdict Nat :=
  match j with
  | .num n =>
    match natOf? n with
    | some k => if k ≤ most then pure k else illFormed "a number is too large"
    | none => illFormed "a number is not whole"
  | _ => illFormed "a number is missing"

/-- A kind, a place in a list, a field number or a count of parameters: the kernel takes these for machine words. -/
def readSmall (j : Json) : Verdict Nat :=
  readNat 1000000000 j

/-- The items of a list. -/
def readArray (j : Json) : Verdict (Array Json) :=
  match j with
  | .arr a => pure a
  | _ => illFormed "a list is missing"

/-- A name by its number. -/
def Read.name (r : Read) (j : Json) : Verdict Name := do
  let i ← readSmall j
  match r.names[i]? with
  | some n => pure n
  | none => illFormed "a name is used before it is there"

/-- A level by its number. -/
def Read.level (r : Read) (j : Json) : Verdict Level := do
  let i ← readSmall j
  match r.levels[i]? with
  | some l => pure l
  | none => illFormed "a level is used before it is there"

/-- An expression by its number. -/
def Read.expr (r : Read) (j : Json) : Verdict Expr := do
  let i ← readSmall j
  match r.exprs[i]? with
  | some e => pure e
  | none => illFormed "an expression is used before it is there"

/-- Names by their numbers. -/
def Read.nameList (r : Read) : List Json → Verdict (List Name)
  | [] => pure []
  | j :: js => do
    let n ← r.name j
    let ns ← r.nameList js
    pure (n :: ns)

/-- The names in a list. -/
def Read.namesIn (r : Read) (j : Json) : Verdict (List Name) := do
  let a ← readArray j
  r.nameList a.toList

/-- Levels by their numbers. -/
def Read.levelList (r : Read) : List Json → Verdict (List Level)
  | [] => pure []
  | j :: js => do
    let l ← r.level j
    let ls ← r.levelList js
    pure (l :: ls)

/-- The names of an export. -/
def readNameTable (names : Array Name) : List Json → Verdict (Array Name)
  | [] => pure names
  | j :: js => do
    let r : Read := { names, levels := #[], exprs := #[] }
    match ← readArray j with
    | #[p, .str s] => do
      let p ← r.name p
      readNameTable (names.push (.str p s)) js
    | #[p, k] => do
      let p ← r.name p
      let k ← readNat 18446744073709551615 k
      readNameTable (names.push (.num p k)) js
    | _ => illFormed "a name has the wrong number of parts"

/-- One level. -/
def readLevel (r : Read) (j : Json) : Verdict Level := do
  match ← readArray j with
  | #[k, a] =>
    match ← readSmall k with
    | 0 => do
      let a ← r.level a
      pure (.succ a)
    | 3 => do
      let n ← r.name a
      pure (.param n)
    | _ => illFormed "a level is of no known kind"
  | #[k, a, b] => do
    let k ← readSmall k
    let a ← r.level a
    let b ← r.level b
    match k with
    | 1 => pure (.max a b)
    | 2 => pure (.imax a b)
    | _ => illFormed "a level is of no known kind"
  | _ => illFormed "a level has the wrong number of parts"

/-- Levels nest as deep as there are entries, and Lean's own code calls itself for each: real ones are shallow. -/
def levelsMax : Nat := 10000

/-- The levels of an export. -/
def readLevelTable (names : Array Name) (levels : Array Level) : List Json → Verdict (Array Level)
  | [] => pure levels
  | j :: js => do
    if levels.size > levelsMax then illFormed "there are too many levels" else
      let l ← readLevel { names, levels, exprs := #[] } j
      readLevelTable names (levels.push l) js

/-- How a binder is written. -/
def readBinder (j : Json) : Verdict BinderInfo := do
  match ← readSmall j with
  | 0 => pure .default
  | 1 => pure .implicit
  | 2 => pure .strictImplicit
  | 3 => pure .instImplicit
  | _ => illFormed "a binder is of no known kind"

/-- A number literal. -/
def readLiteral (s : String) : Verdict Nat :=
  if s.utf8ByteSize > digitsMax then illFormed "a number literal is too long" else
    match s.toNat? with
    | some n => pure n
    | none => illFormed "a number literal is no number"

/-- One expression. -/
def readExpr (r : Read) (j : Json) : Verdict Expr := do
  let a ← readArray j
  match a with
  | #[] => illFormed "an expression is empty"
  | _ => do
    let k ← readSmall a[0]!
    match k, a.size with
    | 0, 2 => do
      let i ← readSmall a[1]!
      if i < boundMax then pure (.bvar i) else illFormed "a bound variable is too large"
    | 1, 2 => do
      let l ← r.level a[1]!
      pure (.sort l)
    | 3, 3 => do
      let f ← r.expr a[1]!
      let x ← r.expr a[2]!
      pure (.app f x)
    | 4, 5 => do
      let n ← r.name a[1]!
      let t ← r.expr a[2]!
      let b ← r.expr a[3]!
      let i ← readBinder a[4]!
      pure (.lam n t b i)
    | 5, 5 => do
      let n ← r.name a[1]!
      let t ← r.expr a[2]!
      let b ← r.expr a[3]!
      let i ← readBinder a[4]!
      pure (.forallE n t b i)
    | 6, 6 => do
      let n ← r.name a[1]!
      let t ← r.expr a[2]!
      let v ← r.expr a[3]!
      let b ← r.expr a[4]!
      let nondep ← readSmall a[5]!
      pure (.letE n t v b (nondep == 1))
    | 7, 2 =>
      match a[1]! with
      | .str s => do
        let n ← readLiteral s
        pure (.lit (.natVal n))
      | _ => illFormed "a number literal is missing"
    | 8, 2 =>
      match a[1]! with
      | .str s => pure (.lit (.strVal s))
      | _ => illFormed "a string literal is missing"
    | 9, 2 => do
      let b ← r.expr a[1]!
      pure (.mdata {} b)
    | 10, 4 => do
      let n ← r.name a[1]!
      let i ← readSmall a[2]!
      let b ← r.expr a[3]!
      pure (.proj n i b)
    | 2, _ => do
      match a.toList with
      | _ :: n :: ls => do
        let n ← r.name n
        let ls ← r.levelList ls
        pure (.const n ls)
      | _ => illFormed "a constant has no name"
    | _, _ => illFormed "an expression is of no known kind"

/-- The expressions of an export. -/
def readExprTable (r : Read) : List Json → Verdict Read
  | [] => pure r
  | j :: js => do
    let e ← readExpr r j
    let { names, levels, exprs } := r
    readExprTable { names, levels, exprs := exprs.push e } js

/-- A type or value: nothing in it is bound outside. -/
def Read.closed (r : Read) (j : Json) : Verdict Expr := do
  let e ← r.expr j
  if e.hasLooseBVars then illFormed "a declaration mentions a variable that nothing binds" else pure e

/-- What all declarations have. -/
def Read.front (r : Read) (n ls t : Json) : Verdict ConstantVal := do
  let name ← r.name n
  let levelParams ← r.namesIn ls
  let type ← r.closed t
  pure { name, levelParams, type }

/-- How readily a definition is unfolded. -/
def readHint (j : Json) : Verdict ReducibilityHints := do
  match ← readNat 4294967297 j with
  | 0 => pure .opaque
  | 1 => pure .abbrev
  | k => pure (.regular (k - 2).toUInt32)

/-- The constructors of an inductive type. -/
def Read.constructors (r : Read) : List Json → Verdict (List Constructor)
  | [] => pure []
  | j :: js => do
    match ← readArray j with
    | #[n, t] => do
      let name ← r.name n
      let type ← r.closed t
      let rest ← r.constructors js
      pure ({ name, type } :: rest)
    | _ => illFormed "a constructor has the wrong number of parts"

/-- Inductive types that are declared together. -/
def Read.types (r : Read) : List Json → Verdict (List InductiveType)
  | [] => pure []
  | j :: js => do
    match ← readArray j with
    | #[n, t, cs] => do
      let name ← r.name n
      let type ← r.closed t
      let list ← readArray cs
      let ctors ← r.constructors list.toList
      let rest ← r.types js
      pure ({ name, type, ctors } :: rest)
    | _ => illFormed "an inductive type has the wrong number of parts"

/-- One declaration. -/
def Read.decl (r : Read) (j : Json) : Verdict Declaration := do
  let a ← readArray j
  match a with
  | #[k, n, ls, t, v, all] => do
    let c ← r.front n ls t
    let value ← r.closed v
    let all ← r.namesIn all
    match ← readSmall k with
    | 0 => pure (.thmDecl { toConstantVal := c, value, all })
    | 2 => pure (.opaqueDecl { toConstantVal := c, value, isUnsafe := false, all })
    | _ => illFormed "a declaration is of no known kind"
  | #[k, n, ls, t, v, hint, all] => do
    let c ← r.front n ls t
    let value ← r.closed v
    let hints ← readHint hint
    let all ← r.namesIn all
    match ← readSmall k with
    | 1 => pure (.defnDecl { toConstantVal := c, value, hints, safety := .safe, all })
    | _ => illFormed "a declaration is of no known kind"
  | #[k, x, y, z] =>
    match ← readSmall k with
    | 3 => do
      let c ← r.front x y z
      pure (.axiomDecl { toConstantVal := c, isUnsafe := false })
    | 4 => do
      let levels ← r.namesIn x
      let params ← readSmall y
      let list ← readArray z
      let types ← r.types list.toList
      match types with
      | [] => illFormed "a declaration declares nothing"
      | _ => pure (.inductDecl levels params types false)
    | _ => illFormed "a declaration is of no known kind"
  | _ => illFormed "a declaration has the wrong number of parts"

/-- Reads declarations one after another and gives each to the kernel before the next is read. -/
def addDecls (r : Read) (heartbeats : Nat) (env : Environment) : List Json → Verdict Environment
  | [] => pure env
  | j :: js => do
    let d ← r.decl j
    let env ← addChecked env heartbeats d
    addDecls r heartbeats env js

/-- A list of the export's object. -/
def listOf (j : Json) (field : String) : Verdict (List Json) :=
  match j.getObjVal? field with
  | .ok (.arr a) => pure a.toList
  | _ => illFormed ("it has no list '" ++ field ++ "'")

/-- `base` with the declarations of an export, each accepted by the kernel. -/
def readExport (base : Environment) (heartbeats : Nat) (text : String) : Verdict Environment := do
  match Json.parse text with
  | .error _ => illFormed "it is no JSON"
  | .ok j => do
    match j.getObjVal? "format" with
    | .ok (.num n) => if natOf? n == some 1 then pure () else illFormed "it is of another format"
    | _ => illFormed "it does not say its format"
    let nameList ← listOf j "names"
    let levelList ← listOf j "levels"
    let exprList ← listOf j "exprs"
    let declList ← listOf j "decls"
    let names ← readNameTable #[.anonymous] nameList
    let levels ← readLevelTable names #[.zero] levelList
    let r ← readExprTable { names, levels, exprs := #[] } exprList
    addDecls r heartbeats base declList

end Prover
