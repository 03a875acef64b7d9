import Prover.Commands

/-!
# The session: what the handles of a client stand for
-/

set_option compiler.small 0

public section
namespace Prover
open Lean Elab

/-- Everything the server keeps between requests. Handles are indices: never used again, and freed entries cost a
pointer. -/
structure Session where
  out : IO.FS.Stream
  envs : IO.Ref (Array (Option Command.State))
  states : IO.Ref (Array (Option ProofState))
  liveEnvs : IO.Ref Nat
  liveStates : IO.Ref Nat
  requests : IO.Ref Nat
  /-- Imported environments by the list of imports, so that headers with the same imports share one. -/
  imported : IO.Ref (List (String × Environment))
  /-- Headers served so far: text, handle and reply. -/
  headers : IO.Ref (List (String × Nat × Json))

/-- A session without handles. Handle 0 stays unused. -/
def Session.new (out : IO.FS.Stream) : IO Session := do
  let envs ← IO.mkRef #[none]
  let states ← IO.mkRef #[none]
  let liveEnvs ← IO.mkRef 0
  let liveStates ← IO.mkRef 0
  let requests ← IO.mkRef 0
  let imported ← IO.mkRef []
  let headers ← IO.mkRef []
  pure { out, envs, states, liveEnvs, liveStates, requests, imported, headers }

/-- Keeps a command state. -/
def Session.addEnv (s : Session) (e : Command.State) : IO Nat := do
  let all ← s.envs.get
  s.envs.set (all.push (some e))
  s.liveEnvs.modify (· + 1)
  pure all.size

/-- Keeps a proof state. -/
def Session.addState (s : Session) (p : ProofState) : IO Nat := do
  let all ← s.states.get
  s.states.set (all.push (some p))
  s.liveStates.modify (· + 1)
  pure all.size

/-- The command state behind a handle. -/
def Session.env (s : Session) (handle : Nat) : Answer Command.State := do
  let all ← (s.envs.get : IO _)
  match all[handle]? with
  | some (some e) => pure e
  | _ => refuse "unknown_env" s!"no environment {handle}"

/-- The proof state behind a handle. -/
def Session.state (s : Session) (handle : Nat) : Answer ProofState := do
  let all ← (s.states.get : IO _)
  match all[handle]? with
  | some (some p) => pure p
  | _ => refuse "unknown_state" s!"no state {handle}"

/-- Forgets entries; handles that stand for nothing are ignored. -/
def forget {α : Type} (all : IO.Ref (Array (Option α))) (live : IO.Ref Nat) : List Nat → IO Unit
  | [] => pure ()
  | handle :: rest => do
    let a ← all.get
    match a[handle]? with
    | some (some _) => do
      all.set (a.set! handle none)
      live.modify (· - 1)
    | _ => pure ()
    forget all live rest

/-- A part of a proof as JSON, its state kept. -/
def Session.part (s : Session) (p : PartView) : IO Json := do
  let handle ← s.addState p.state
  pure (Json.mkObj [("state", jsonNat handle), ("goals", jsonList p.goals), ("key", Json.str p.key)])

end Prover
