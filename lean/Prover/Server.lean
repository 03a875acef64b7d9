import Prover.Check
import Prover.Fill
import Prover.Library

/-!
# The server: requests in, replies out
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Elab

/-- The number of the protocol in `docs/protocol.md`. -/
def protocolVersion : Nat := 1

/-- Thousands of heartbeats for a command or tactic when the request does not say. -/
def defaultHeartbeats : Nat := 200000

/-- The error reply for a refusal. -/
def jsonRefusal (id : Nat) (r : Refusal) : Json :=
  let fields := [("kind", Json.str r.kind), ("message", Json.str r.message)]
  let fields := match r.messages with
    | some m => ("messages", m) :: fields
    | none => fields
  Json.mkObj [("id", jsonNat id), ("error", Json.mkObj fields)]

/-- The imported environment of a header, shared between headers with the same imports. -/
def sharedImport (s : Session) (imports : Array Import) : Answer Environment := do
  let names ← (importNames imports.toList : IO _)
  let name := (jsonList names).compress
  match (← (s.imported.get : IO _)).lookup name with
  | some env => pure env
  | none => do
    let env ← importEnv imports
    (s.imported.modify ((name, env) :: ·) : IO Unit)
    pure env

/-- `header` -/
def serveHeader (s : Session) (req : Json) : Answer Json := do
  let text ← strField req "text"
  match (← (s.headers.get : IO _)).lookup text with
  | some (handle, reply) =>
    match (← (s.envs.get : IO _))[handle]? with
    | some (some _) => pure reply
    | _ => make text
  | none => make text
where
  /-- Imports and elaborates a header that has no handle yet. -/
  make (text : String) : Answer Json := do
    let header ← parseHeader text
    let env ← sharedImport s header.imports
    let start := Command.mkState env {} {}
    let ran ← (runCommands header.input header.parser start : IO _)
    let messages ← (messagesOf header.input ran : IO _)
    match firstError? (allMessages ran.toList) with
    | some m => do
      let message ← (m.data.toString : IO String)
      throw { kind := "elaboration", message := cutText message, messages := some messages }
    | none => do
      let handle ← (s.addEnv (finalState start ran) : IO _)
      let imports ← (importNames header.imports.toList : IO _)
      let reply := Json.mkObj [("env", jsonNat handle), ("imports", jsonList imports), ("messages", messages)]
      (s.headers.modify ((text, handle, reply) :: ·) : IO Unit)
      pure reply

/-- The commands of a request's `text`, elaborated on its `env`. -/
def runRequest (s : Session) (req : Json) : Answer (Parser.InputContext × Command.State × Array Ran) := do
  let handle ← natField req "env"
  let text ← strField req "text"
  let heartbeats ← natFieldD req "heartbeats" defaultHeartbeats
  let start ← s.env handle
  let input := inputOf text
  let ran ← (runCommands input {} (withScopeOptions start (limited · heartbeats)) : IO _)
  pure (input, finalState start ran, ran)

/-- The number of warnings that a declaration uses `sorry`. -/
def countSorries : List Message → Nat
  | [] => 0
  | m :: ms => countSorries ms + (if m.data.kind == `hasSorry then 1 else 0)

/-- `command` -/
def serveCommand (s : Session) (req : Json) : Answer Json := do
  let (input, final, ran) ← runRequest s req
  let messages ← (messagesOf input ran : IO _)
  let handle ← (s.addEnv final : IO _)
  pure (Json.mkObj [("env", jsonNat handle), ("messages", messages),
    ("sorries", jsonNat (countSorries (allMessages ran.toList)))])

/-- `open` -/
def serveOpen (s : Session) (req : Json) : Answer Json := do
  let (input, final, ran) ← runRequest s req
  let messages ← (messagesOf input ran : IO _)
  let handle ← (s.addEnv final : IO _)
  let decls ← (jsonAllDecls s input.fileMap ran.toList : IO _)
  let commands ← (mapIO (jsonCommand input.fileMap) (countedCommands ran.toList) : IO _)
  pure (Json.mkObj [("env", jsonNat handle), ("messages", messages), ("decls", jsonList decls),
    ("commands", jsonList commands)])

/-- The JSON of what came of a tactic. -/
def jsonOutcome (s : Session) (ms : Nat) : Outcome → IO Json
  | .closed => pure (Json.mkObj [("status", Json.str "closed"), ("ms", jsonNat ms)])
  | .failed m => pure (withText "failed" m)
  | .heartbeats m => pure (withText "heartbeats" m)
  | .opened parts order => do
    let parts ← mapIO s.part parts
    pure (Json.mkObj [("status", Json.str "open"), ("parts", jsonList parts),
      ("order", jsonList (mapList jsonNat order)), ("ms", jsonNat ms)])
where
  /-- A result that says what went wrong. -/
  withText (status m : String) : Json :=
    Json.mkObj [("status", Json.str status), ("message", Json.str (cutText m)), ("ms", jsonNat ms)]

/-- Tries the tactics one after another on the same state and sends each result when it is there. -/
def tryEach (s : Session) (id : Nat) (p : ProofState) (heartbeats : Nat) (i : Nat) : List String → IO Nat
  | [] => pure i
  | t :: ts => do
    let start ← IO.monoMsNow
    let outcome ← tryTactic p t heartbeats
    let stop ← IO.monoMsNow
    let result ← jsonOutcome s (stop - start) outcome
    sendLine s.out (Json.mkObj [("id", jsonNat id), ("at", jsonNat i), ("result", result)])
    tryEach s id p heartbeats (i + 1) ts

/-- `try` -/
def serveTry (s : Session) (id : Nat) (req : Json) : Answer Json := do
  let handle ← natField req "state"
  let tactics ← strsField req "tactics"
  let heartbeats ← natFieldD req "heartbeats" defaultHeartbeats
  let p ← s.state handle
  let tried ← (tryEach s id p heartbeats 0 tactics : IO _)
  let live ← (s.liveStates.get : IO _)
  pure (Json.mkObj [("tried", jsonNat tried), ("states", jsonNat live)])

/-- What `check` and `replay` have in common. `candidate` is empty for the latter. -/
def readTrial (s : Session) (req : Json) (candidate : String) : Answer Trial := do
  let handle ← natField req "env"
  let original ← strField req "original"
  let names ← readNames (← strsField req "names")
  let axioms ← readNames (← strsField req "axioms")
  let heartbeats ← natFieldD req "heartbeats" defaultHeartbeats
  let exporting ← natFieldD req "export" 0
  let base ← s.env handle
  match names with
  | [] => refuse "bad_request" "field 'names' is empty: there is nothing to judge"
  | _ => pure ()
  pure {
    base, original := inputOf original, candidate := inputOf candidate, names, axioms, heartbeats
    exporting := exporting == 1 }

/-- `check` -/
def serveCheck (s : Session) (req : Json) : Answer Json := do
  let candidate ← strField req "candidate"
  let trial ← readTrial s req candidate
  (jsonVerdict trial : IO _)

/-- `replay` -/
def serveReplay (s : Session) (req : Json) : Answer Json := do
  let text ← strField req "declarations"
  let trial ← readTrial s req ""
  (jsonReplay trial text : IO _)

/-- `fill` -/
def serveFill (s : Session) (req : Json) : Answer Json := do
  let handle ← natField req "env"
  let original ← strField req "original"
  let candidate ← strField req "candidate"
  let spans ← readSpans (← natsFieldD req "fills")
  let axioms ← readNames (← strsField req "axioms")
  let data ← natFieldD req "data" 0
  let heartbeats ← natFieldD req "heartbeats" defaultHeartbeats
  let base ← s.env handle
  let trial : Trial := {
    base, original := inputOf original, candidate := inputOf candidate, names := [], axioms, heartbeats }
  match spans with
  | [] => refuse "bad_request" "field 'fills' is empty: there is nothing to judge"
  | _ => (jsonFillVerdict { trial, spans, data := data > 0 } : IO _)

/-- The live counts, as `free` and `memory` report them. -/
def jsonLive (s : Session) : IO (List (String × Json)) := do
  let states ← s.liveStates.get
  let envs ← s.liveEnvs.get
  pure [("states", jsonNat states), ("envs", jsonNat envs)]

/-- `free` -/
def serveFree (s : Session) (req : Json) : Answer Json := do
  let states ← natsFieldD req "states"
  let envs ← natsFieldD req "envs"
  (forget s.states s.liveStates states : IO Unit)
  (forget s.envs s.liveEnvs envs : IO Unit)
  let live ← (jsonLive s : IO _)
  pure (Json.mkObj live)

/-- `memory` -/
def serveMemory (s : Session) : Answer Json := do
  let live ← (jsonLive s : IO _)
  let requests ← (s.requests.get : IO _)
  pure (Json.mkObj (("requests", jsonNat requests) :: live))

/-- Serves one operation. -/
def serveOp (s : Session) (id : Nat) (op : String) (req : Json) : Answer Json :=
  match op with
  | "header" => serveHeader s req
  | "command" => serveCommand s req
  | "open" => serveOpen s req
  | "check" => serveCheck s req
  | "replay" => serveReplay s req
  | "fill" => serveFill s req
  | "try" => serveTry s id req
  | "free" => serveFree s req
  | "memory" => serveMemory s
  | "modules" => serveModules s req
  | "statements" => serveStatements s req
  | "mutate" => serveMutate s req
  | "usage" => serveUsage s req
  | _ => refuse "bad_request" s!"unknown op '{op}'"

/-- Serves one request line and sends its last reply. -/
def serveLine (s : Session) (line : String) : IO Unit := do
  s.requests.modify (· + 1)
  match Json.parse line with
  | .error e => sendLine s.out (jsonRefusal 0 { kind := "bad_request", message := e })
  | .ok req =>
    match req.getObjVal? "id" with
    | .ok (Json.num n) =>
      match natOf? n with
      | none => sendLine s.out (jsonRefusal 0 { kind := "bad_request", message := "id is not a whole number" })
      | some id => do
        match ← (answer id req).run.toBaseIO with
        | .ok (.ok reply) => sendLine s.out (Json.mkObj [("id", jsonNat id), ("ok", reply)])
        | .ok (.error r) => sendLine s.out (jsonRefusal id r)
        | .error e => sendLine s.out (jsonRefusal id { kind := "internal", message := cutText (toString e) })
    | _ => sendLine s.out (jsonRefusal 0 { kind := "bad_request", message := "no id" })
where
  /-- The reply to a request with an id. -/
  answer (id : Nat) (req : Json) : Answer Json := do
    let op ← strField req "op"
    serveOp s id op req

/-- Serves request lines until the end of the input. -/
partial def serveAll (s : Session) (input : IO.FS.Stream) : IO Unit := do
  let line ← input.getLine
  if line.isEmpty then pure () else do
    serveLine s line
    serveAll s input

/-- A stream that takes everything and gives nothing. -/
def nowhere : IO.FS.Stream where
  flush := pure ()
  read _ := pure ByteArray.empty
  write _ := pure ()
  getLine := pure ""
  putStr _ := pure ()
  isTty := pure false

/-- Finds the library and lets imported modules run their initializers. A program of its own has to ask for both; under
`lean --run` they are there. -/
unsafe def prepareImportsUnsafe : IO Unit := do
  match ← searchPathRef.get with
  | [] => do
    let sysroot ← findSysroot
    initSearchPath sysroot
    enableInitializersExecution
  | _ => pure ()

/-- `prepareImportsUnsafe`, as what the rest of the server may call. -/
@[implemented_by prepareImportsUnsafe]
opaque prepareImports : IO Unit

/-- The program: greets, then serves. What elaborated code prints goes nowhere. -/
def run : IO Unit := do
  let start ← IO.monoMsNow
  let input ← IO.getStdin
  let out ← IO.getStdout
  prepareImports
  let s ← Session.new out
  let _ ← IO.setStdout nowhere
  let _ ← IO.setStderr nowhere
  let _ ← IO.setStdin nowhere
  let _ ← (sharedImport s #[{ module := `Init }]).run
  let stop ← IO.monoMsNow
  sendLine out (Json.mkObj [("hello", Json.str "prover-lean"), ("protocol", jsonNat protocolVersion),
    ("lean", Json.str Lean.versionStringCore), ("ready_ms", jsonNat (stop - start))])
  serveAll s input

end Prover
