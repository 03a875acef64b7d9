// Compiles the modules that the server's Main.lean imports, so that a start does not elaborate them again.

import fs from "node:fs";
import path from "node:path";

import { Failure, hashOf, isCurrent, rebuild, run, say, step } from "./util.mjs";

const IMPORT = /^\s*(?:public\s+)?(?:meta\s+)?import\s+(?:all\s+)?([\w.]+)/gm;
const COMPILE_TIMEOUT_MS = 600_000;

// The modules below `root` that `file` needs, each after those that it imports.
function localModules(root, file, found = new Map()) {
  for (const [, name] of fs.readFileSync(file, "utf8").matchAll(IMPORT)) {
    const source = path.join(root, `${name.replaceAll(".", "/")}.lean`);
    if (found.has(name) || !fs.existsSync(source)) continue;
    found.set(name, undefined); // seen; takes its place in the order below
    localModules(root, source, found);
    found.delete(name);
    found.set(name, source);
  }
  return found;
}

// The imports of each module stay in memory until the process ends, and the heap is 2 GB.
const MODULES_AT_ONCE = 6;

function compileSome(modules, command, compiler, folder) {
  const jobs = modules.flatMap(([name, source]) => {
    const out = path.join(folder, `${name.replaceAll(".", "/")}.olean`);
    fs.mkdirSync(path.dirname(out), { recursive: true });
    return [name, source, out];
  });
  const [program, ...args] = command.argv;
  const env = { ...process.env, LEAN_PATH: `${command.env.LEAN_PATH}:${folder}` };
  const result = run(program, [...args, compiler, ...jobs], { env, timeout: COMPILE_TIMEOUT_MS });
  const missing = jobs.filter((job) => job.endsWith(".olean") && !fs.existsSync(job));
  if (missing.length === 0) return;
  const said = result.stderr.trim() || `exit status ${result.status}, signal ${result.signal}`;
  throw new Failure(`compiling ${modules.map(([name]) => name).join(", ")} failed:\n${said}`);
}

function compile(modules, command, compiler, folder) {
  const all = [...modules];
  for (let i = 0; i < all.length; i += MODULES_AT_ONCE) {
    compileSome(all.slice(i, i + MODULES_AT_ONCE), command, compiler, folder);
  }
}

// `command` starts a Lean file; `folder` gets the compiled modules.
export function prepareServer({ root, main, command, compiler, folder, toolchainHash }) {
  if (!fs.existsSync(main)) {
    say(`no ${main}: nothing to compile`);
    return;
  }
  const modules = localModules(root, main);
  const sources = [compiler, ...modules.values()].map((file) => fs.readFileSync(file));
  const hash = hashOf([toolchainHash, ...modules.keys(), ...sources]);
  if (isCurrent(folder, hash)) return;
  const names = [...modules.keys()].join(" ") || "no modules";
  step(`compiling ${names}`, () => rebuild(folder, hash, (fresh) => compile(modules, command, compiler, fresh)));
}
