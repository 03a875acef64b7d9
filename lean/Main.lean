import Prover.Server

/-- Serves the protocol of `docs/protocol.md` on standard input and output. -/
public def main : IO Unit := Prover.run
