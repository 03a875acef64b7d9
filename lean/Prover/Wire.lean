import Lean.Data.Json
import Lean.Data.Position
import Lean.Message

/-!
# The wire: one JSON object a line, ASCII only

Reading fields of a request and building replies. Loops are written as plain recursion and records by hand because
this source is also run by Lean builds that lack the private half of the library, where code that specialises
library internals (`for`, `List.map`, derived instances) cannot be compiled.
-/

set_option compiler.small 0

public section
namespace Prover
open Lean

/-- A request that cannot be served: `kind` and `message` of an error reply, and the messages of a failed header. -/
structure Refusal where
  kind : String
  message : String
  messages : Option Json := none

/-- Work that may be refused. -/
abbrev Answer (α : Type) := ExceptT Refusal IO α

/-- Ends the work at hand with an error reply. -/
def refuse {α : Type} (kind message : String) : Answer α :=
  throw { kind, message }

/-- `List.map` in `IO`. -/
def mapIO {α β : Type} (f : α → IO β) : List α → IO (List β)
  | [] => pure []
  | a :: as => do
    let b ← f a
    let bs ← mapIO f as
    pure (b :: bs)

/-- `List.map`, without the library's tail-recursive implementation. -/
def mapList {α β : Type} (f : α → β) : List α → List β
  | [] => []
  | a :: as => f a :: mapList f as

/-- The length of a list. -/
def countOf {α : Type} : List α → Nat
  | [] => 0
  | _ :: as => countOf as + 1

/-- A JSON array of the items of a list. -/
def jsonList (items : List Json) : Json :=
  Json.arr items.toArray

/-- A JSON whole number. -/
def jsonNat (n : Nat) : Json :=
  Json.num (JsonNumber.fromNat n)

/-- The four hexadecimal digits of a UTF-16 code unit. -/
def hex4 (n : Nat) : String :=
  let digit (k : Nat) := (Nat.digitChar (k % 16)).toString
  digit (n / 4096) ++ digit (n / 256) ++ digit (n / 16) ++ digit n

/-- One character of a reply: itself if printable ASCII, else one or two `\u` escapes. Only characters inside JSON
strings can be outside ASCII, so escaping the finished line is enough. -/
def asciiChar (acc : String) (c : Char) : String :=
  let n := c.toNat
  if n < 0x7f then
    acc.push c
  else if n < 0x10000 then
    acc ++ "\\u" ++ hex4 n
  else
    let m := n - 0x10000
    acc ++ "\\u" ++ hex4 (0xd800 + m / 0x400) ++ "\\u" ++ hex4 (0xdc00 + m % 0x400)

/-- Escapes the characters of `cs` one after another. -/
def asciiChars (acc : String) : List Char → String
  | [] => acc
  | c :: cs => asciiChars (asciiChar acc c) cs

/-- The compact ASCII form of a JSON value. -/
def encode (j : Json) : String :=
  let s := j.compress
  if s.utf8ByteSize == s.length then s else asciiChars "" s.toList

/-- Sends one line and flushes, so that the client sees each streamed result when it is there. -/
def sendLine (out : IO.FS.Stream) (j : Json) : IO Unit := do
  out.putStr (encode j ++ "\n")
  out.flush

/-- A field that must be a string. -/
def strField (j : Json) (name : String) : Answer String :=
  match j.getObjVal? name with
  | .ok (Json.str s) => pure s
  | _ => refuse "bad_request" s!"field '{name}' must be a string"

/-- The whole number that a JSON number stands for, if it is one. -/
def natOf? (n : JsonNumber) : Option Nat :=
  if n.exponent == 0 && n.mantissa ≥ 0 then some n.mantissa.toNat else none

/-- A field that must be a whole number. -/
def natField (j : Json) (name : String) : Answer Nat :=
  match j.getObjVal? name with
  | .ok (Json.num n) =>
    match natOf? n with
    | some k => pure k
    | none => refuse "bad_request" s!"field '{name}' must be a whole number"
  | _ => refuse "bad_request" s!"field '{name}' must be a whole number"

/-- A field that may be missing, else must be a whole number. -/
def natFieldD (j : Json) (name : String) (default : Nat) : Answer Nat :=
  match j.getObjVal? name with
  | .ok _ => natField j name
  | .error _ => pure default

/-- The strings of a JSON list. -/
def strItems (name : String) : List Json → Answer (List String)
  | [] => pure []
  | Json.str s :: rest => do
    let ss ← strItems name rest
    pure (s :: ss)
  | _ => refuse "bad_request" s!"field '{name}' must be a list of strings"

/-- A field that must be a list of strings. -/
def strsField (j : Json) (name : String) : Answer (List String) :=
  match j.getObjVal? name with
  | .ok (Json.arr a) => strItems name a.toList
  | _ => refuse "bad_request" s!"field '{name}' must be a list of strings"

/-- The whole numbers of a JSON list. -/
def natItems (name : String) : List Json → Answer (List Nat)
  | [] => pure []
  | Json.num n :: rest =>
    match natOf? n with
    | some k => do
      let ks ← natItems name rest
      pure (k :: ks)
    | none => refuse "bad_request" s!"field '{name}' must be a list of whole numbers"
  | _ => refuse "bad_request" s!"field '{name}' must be a list of whole numbers"

/-- A field that is a list of whole numbers, or missing. -/
def natsFieldD (j : Json) (name : String) : Answer (List Nat) :=
  match j.getObjVal? name with
  | .ok (Json.arr a) => natItems name a.toList
  | .ok _ => refuse "bad_request" s!"field '{name}' must be a list of whole numbers"
  | .error _ => pure []

/-- Message texts are cut to this many bytes: a failing `simp` can print megabytes. -/
def messageBytesMax : Nat := 4096

/-- The longest prefix of `cs` that fits in `room` bytes. -/
def takeBytes (acc : String) (room : Nat) : List Char → String
  | [] => acc
  | c :: cs => if c.utf8Size ≤ room then takeBytes (acc.push c) (room - c.utf8Size) cs else acc ++ " [...]"

/-- Cuts a message text at a code point. -/
def cutText (s : String) : String :=
  if s.utf8ByteSize ≤ messageBytesMax then s else takeBytes "" messageBytesMax s.toList

/-- A byte offset of a text as a protocol position. -/
def jsonPos (map : FileMap) (pos : String.Pos.Raw) : Json :=
  let p := map.toPosition pos
  Json.mkObj [("line", jsonNat p.line), ("column", jsonNat p.column), ("byte", jsonNat pos.byteIdx)]

/-- A line and column of a text as a protocol position. -/
def jsonPosition (map : FileMap) (p : Position) : Json :=
  Json.mkObj [("line", jsonNat p.line), ("column", jsonNat p.column), ("byte", jsonNat (map.ofPosition p).byteIdx)]

/-- A name as Lean shows it, with the quotes that odd names need. -/
def nameText (n : Name) : IO String :=
  (MessageData.ofName n).toString

/-- The name of a severity in the protocol. -/
def severityName : MessageSeverity → String
  | .error => "error"
  | .warning => "warning"
  | .information => "info"

/-- A Lean message as a protocol message. -/
def jsonMessage (map : FileMap) (m : Message) : IO Json := do
  let text ← m.data.toString
  let text := if m.caption.isEmpty then text else m.caption ++ ":\n" ++ text
  let endPos := match m.endPos with
    | some p => jsonPosition map p
    | none => Json.null
  pure (Json.mkObj [("severity", Json.str (severityName m.severity)), ("pos", jsonPosition map m.pos),
    ("endPos", endPos), ("text", Json.str (cutText text))])

/-- Messages as JSON, silent ones left out. -/
def jsonMessages (map : FileMap) (messages : List Message) : IO Json := do
  let items ← go messages
  pure (jsonList items)
where
  /-- Converts one message after another. -/
  go : List Message → IO (List Json)
  | [] => pure []
  | m :: ms => do
    let rest ← go ms
    if m.isSilent then pure rest else do
      let j ← jsonMessage map m
      pure (j :: rest)

end Prover
