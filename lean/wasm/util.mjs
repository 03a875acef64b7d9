// What the steps of prepare.mjs share.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

const STAMP = "stamp";
const LEFTOVER_MS = 3_600_000; // a younger one may belong to a run that is still going

// An error that explains itself: shown without a stack.
export class Failure extends Error {}

export function say(text) {
  process.stderr.write(`lean/wasm: ${text}\n`);
}

// Says what is going on, does it, and says how long it took.
export function step(what, action) {
  say(`${what} ...`);
  const start = process.hrtime.bigint();
  const result = action();
  say(`  ${(Number(process.hrtime.bigint() - start) / 1e9).toFixed(1)} s`);
  return result;
}

export function run(command, args, options) {
  const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 26, ...options });
  if (result.error) throw new Failure(`cannot run ${command}: ${result.error.message}`);
  return result;
}

export function hashOf(parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex");
}

export function isCurrent(folder, hash) {
  try {
    return fs.readFileSync(path.join(folder, STAMP), "utf8") === hash;
  } catch {
    return false;
  }
}

// What runs that were killed left beside `folder`.
function removeLeftovers(folder) {
  const parent = path.dirname(folder);
  for (const name of fs.readdirSync(parent)) {
    const other = path.join(parent, name);
    const isLeftover = name.startsWith(`${path.basename(folder)}.`);
    if (!isLeftover || Date.now() - fs.statSync(other).mtimeMs < LEFTOVER_MS) continue;
    fs.rmSync(other, { recursive: true, force: true });
  }
}

// Replaces `folder` by what `fill` writes into a new one, at once or not at all.
export function rebuild(folder, hash, fill) {
  removeLeftovers(folder);
  const fresh = fs.mkdtempSync(`${folder}.`);
  try {
    fs.chmodSync(fresh, 0o755);
    fill(fresh);
    fs.writeFileSync(path.join(fresh, STAMP), hash);
    // A rename does not replace a folder that has files in it: the old one moves aside first.
    const old = `${fresh}.old`;
    if (fs.existsSync(folder)) fs.renameSync(folder, old);
    fs.renameSync(fresh, folder);
    fs.rmSync(old, { recursive: true, force: true });
  } catch (error) {
    fs.rmSync(fresh, { recursive: true, force: true });
    throw error;
  }
}
