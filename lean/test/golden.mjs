// Golden tests of the protocol: sends what the files say and compares the replies.
//
// usage: node golden.mjs [--update] [--only NAME] -- SERVER-COMMAND...
//
// A file of tests/golden/protocol/ is a session with a fresh server. Its lines are, in order,
//   {"send": OBJECT}        a request            {"sendRaw": TEXT}   a line as it is, for malformed ones
//   {"expect": OBJECT}      the next line of the server that counts as a reply
// In an expected object the string "*" matches anything, and a string that ends in "*" matches what begins like it.
// --update writes what the server said into the files, volatile fields as "*".

import { spawn } from "node:child_process";
import { readFileSync, writeFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "../../tests/golden/protocol");
const volatileFields = new Set(["ms", "ready_ms", "lean"]);
const replyTimeoutMs = 120_000;

/** Splits the command line into options and the server's command. */
function parseArguments(argv) {
  const dashes = argv.indexOf("--");
  if (dashes < 0 || dashes === argv.length - 1) {
    console.error("usage: node golden.mjs [--update] [--only NAME] -- SERVER-COMMAND...");
    process.exit(2);
  }
  const options = argv.slice(0, dashes);
  const only = options.indexOf("--only");
  return {
    update: options.includes("--update"),
    only: only >= 0 ? options[only + 1] : null,
    server: argv.slice(dashes + 1),
  };
}

/** A server process whose reply lines can be awaited one by one. */
class Server {
  constructor(command) {
    this.replies = [];
    this.waiting = null;
    this.ended = false;
    this.child = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "ignore"] });
    this.child.stdin.on("error", () => {});
    let rest = "";
    this.child.stdout.on("data", (data) => {
      rest += data;
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("{")) this.replies.push(line);
      this.wake();
    });
    this.child.on("close", () => {
      this.ended = true;
      this.wake();
    });
  }

  wake() {
    const waiting = this.waiting;
    this.waiting = null;
    if (waiting) waiting();
  }

  send(line) {
    this.child.stdin.write(line + "\n");
  }

  /** The next reply line, or null when the server ended or is silent for too long. */
  async next() {
    const deadline = Date.now() + replyTimeoutMs;
    while (this.replies.length === 0 && !this.ended && Date.now() < deadline) {
      await new Promise((resolve) => {
        this.waiting = resolve;
        setTimeout(() => this.wake(), Math.max(1, deadline - Date.now())).unref();
      });
    }
    return this.replies.shift() ?? null;
  }

  stop() {
    this.child.stdin.end();
    this.child.kill("SIGKILL");
  }
}

/** Escapes everything outside ASCII, as the protocol asks for. */
function ascii(text) {
  return text.replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

/** The places where `actual` does not match `expected`. */
function differences(expected, actual, path = "") {
  if (expected === "*") return [];
  if (typeof expected === "string" && expected.endsWith("*") && typeof actual === "string") {
    return actual.startsWith(expected.slice(0, -1)) ? [] : [`${path}: expected ${expected}, got ${JSON.stringify(actual)}`];
  }
  const plain = (x) => typeof x !== "object" || x === null;
  if (plain(expected) || plain(actual) || Array.isArray(expected) !== Array.isArray(actual)) {
    return expected === actual ? [] : [`${path}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`];
  }
  const keys = new Set([...Object.keys(expected), ...Object.keys(actual)]);
  return [...keys].flatMap((k) =>
    k in expected && k in actual
      ? differences(expected[k], actual[k], `${path}/${k}`)
      : [`${path}/${k}: ${k in expected ? "missing" : "unexpected " + JSON.stringify(actual[k])}`]);
}

/** A reply with volatile fields as wildcards and long texts cut to their beginning. */
function recorded(value, key = "") {
  if (volatileFields.has(key)) return "*";
  if (typeof value === "string" && (key === "message" || (key === "text" && value.length > 120))) {
    const cut = value.split("\n")[0].slice(0, 60);
    return cut === value ? value : cut + "*";
  }
  if (Array.isArray(value)) return value.map((v) => recorded(v, key));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, recorded(v, k)]));
}

/** Whether a reply is the last one to its request. */
const isLast = (reply) => !("at" in reply);

/** Runs a file and returns what went right and wrong. */
async function runFile(path, command) {
  const server = new Server(command);
  let passed = 0;
  const failures = [];
  const lines = readFileSync(path, "utf8").split("\n");
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const step = JSON.parse(line);
    if ("send" in step) server.send(ascii(JSON.stringify(step.send)));
    else if ("sendRaw" in step) server.send(step.sendRaw);
    else {
      const reply = await server.next();
      const wrong = reply === null ? ["no reply"] : differences(step.expect, JSON.parse(reply));
      if (wrong.length === 0) passed++;
      else failures.push(`${path}:${i + 1}\n  ` + wrong.join("\n  "));
      if (reply === null) break;
    }
  }
  server.stop();
  return { passed, failures };
}

/** Writes the server's replies to the requests of a file into it. */
async function updateFile(path, command) {
  const server = new Server(command);
  const out = [];
  const expect = async () => {
    const reply = JSON.parse((await server.next()) ?? '{"noReply":true}');
    out.push(JSON.stringify({ expect: recorded(reply) }));
    return isLast(reply) || reply.noReply;
  };
  await expect();
  for (const line of readFileSync(path, "utf8").split("\n")) {
    if (line.trim() === "") continue;
    const step = JSON.parse(line);
    if ("expect" in step) continue;
    out.push(line);
    server.send("send" in step ? ascii(JSON.stringify(step.send)) : step.sendRaw);
    while (!(await expect()));
  }
  server.stop();
  writeFileSync(path, out.join("\n") + "\n");
}

const { update, only, server } = parseArguments(process.argv.slice(2));
const files = readdirSync(folder).filter((f) => f.endsWith(".jsonl") && (only === null || f.startsWith(only))).sort();
let passed = 0;
const failures = [];
for (const file of files) {
  const path = join(folder, file);
  if (update) await updateFile(path, server);
  else {
    const result = await runFile(path, server);
    passed += result.passed;
    failures.push(...result.failures);
    console.log(`${file}: ${result.passed} passed, ${result.failures.length} failed`);
  }
}
for (const failure of failures) console.log(failure);
if (!update) console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
