import Lean.Elab.Frontend

/-!
# Compiles Lean files to .olean files whose code the interpreter can run

`lean -o` of the npm Lean writes the code of a module to files that its own importer does not read. Here a file is
elaborated as an ordinary file, not as a `module`, and saved in one piece, code and all.

usage: lean --run compile.lean [MODULE SOURCE OUT]...   (a module after those that it imports)

Loops are plain recursion, since this program is itself compiled without the private half of the library.
-/

open Lean Elab
set_option compiler.small 0

def report : List Message → IO Unit
  | [] => pure ()
  | m :: ms => do
    let text ← m.toString
    (← IO.getStderr).putStrLn text
    report ms

/--
The importer forgets to which module an auxiliary declaration of the compiler belongs (`_lam_0`, `_closed_4`, ...), and
the interpreter then does not find its code. It remembers constants: so each of these names becomes one, a harmless
axiom of type `True`. Nothing but the compiled program itself imports these files.
-/
def nameCode : List Name → ModuleData → ModuleData
  | [], data => data
  | name :: names, data =>
    let info := .axiomInfo { name, levelParams := [], type := .const ``True [], isUnsafe := false }
    nameCode names { data with constNames := data.constNames.push name, constants := data.constants.push info }

/-- Elaborates and saves one file; false when it has errors. -/
def compileFile (mod : Name) (source out : String) : IO Bool := do
  let text ← IO.FS.readFile source
  let input : Parser.InputContext :=
    { inputString := text, fileName := source, fileMap := FileMap.ofString text, endPos := text.rawEndPos,
      endPos_valid := by simp }
  let (header, parser, messages) ← Parser.parseHeader input
  let env ← importModules (headerToImports header) {} 0 (loadExts := true)
  let state ← IO.processCommands input parser (Command.mkState (env.setMainModule mod) messages {})
  report state.commandState.messages.toList
  if state.commandState.messages.hasErrors then
    return false
  let data ← mkModuleData state.commandState.env
  saveModuleData out mod { nameCode data.extraConstNames.toList data with isModule := true }
  return true

def compileAll : List String → IO UInt32
  | mod :: source :: out :: rest => do
    let done ← compileFile mod.toName source out
    if done then compileAll rest else return 1
  | _ => return 0

public def main (args : List String) : IO UInt32 := compileAll args
