// What lean.js asks of the machine below it: standard input and output, files read without a detour over the main
// thread, the symbols that dlsym looks for, the environment and the folders that Lean sees.
// Copied beside the patched lean.js and loaded by every thread of the Lean process.
"use strict";

const fs = require("fs");
const path = require("path");
const { isMainThread } = require("worker_threads");

// Error numbers of Emscripten's C library.
const ERRNO = { EACCES: 2, EBADF: 8, EINVAL: 28, EIO: 29, EISDIR: 31, ELOOP: 32, ENOENT: 44, ENOTDIR: 54 };
const ERRNO_ENOTTY = 59;

// ------------------------------------------------------------------------------------------------------- memory
// Each thread has two stacks: V8's, which it checks, and one inside the heap, which nobody checks on the main thread.
// The second must not fill first. V8's stack of the main thread is set by the script `lean`.

const MIB = 1 << 20;
const STACK_BYTES = 32 * MIB;
const THREAD_STACK_MB = 64;
const INITIAL_HEAP_BYTES = 256 * MIB;
const TABLE_SLOTS = 1 << 18; // at least as many as the function table has
const MAX_FDS = 4096; // files open at one time

// What the threads have in common. The main thread makes it and hands it to the others.
let shared = isMainThread ? { positions: newPositions(), symbols: readSymbols() } : undefined;

// Where each open file stands: Node has no lseek.
function newPositions() {
  return new Float64Array(new SharedArrayBuffer(MAX_FDS * Float64Array.BYTES_PER_ELEMENT));
}

// Sorted lines "name address".
function readSymbols() {
  const fd = fs.openSync(path.join(__dirname, "lean.symbols"), "r");
  const bytes = new Uint8Array(new SharedArrayBuffer(fs.fstatSync(fd).size));
  for (let done = 0; done < bytes.length; ) done += fs.readSync(fd, bytes, done, bytes.length - done, null);
  fs.closeSync(fd);
  return bytes.buffer;
}

// ---------------------------------------------------------------------------------------------- standard streams

const STDIN = 0;
const RETRY_MS = 2;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms) => Atomics.wait(sleepCell, 0, 0, ms);

// Repeats an operation on a descriptor that another process may have made non-blocking.
function retry(operation) {
  for (;;) {
    try {
      return operation();
    } catch (error) {
      if (error.code !== "EAGAIN" && error.code !== "EINTR") throw error;
      sleep(RETRY_MS);
    }
  }
}

// As read(2): returns what is there, waits only when there is nothing. 0 is the end of the file.
function readStdin(heap, offset, length) {
  try {
    return retry(() => fs.readSync(STDIN, heap, offset, length, null));
  } catch {
    return 0; // a stdin that cannot be read any more is at its end
  }
}

// Writes all of it; false when the reader has gone.
function writeAll(fd, heap, offset, length) {
  try {
    for (let done = 0; done < length; ) {
      done += retry(() => fs.writeSync(fd, heap, offset + done, length - done));
    }
    return true;
  } catch {
    return false;
  }
}

// lean.js reports its own progress with console.log on stdout, the first lines of the input file among it.
const quietConsole = Object.create(console, {
  log: { value: process.env.LEAN_WASM_DEBUG ? console.error.bind(console) : () => {} },
});

// ---------------------------------------------------------------------------------------- files opened for reading
// Emscripten sends each file operation of a thread to the main thread, where it waits for its turn. Node's descriptors
// belong to the process, so any thread can read by itself. Descriptors from FIRST_FD on are ours: FIRST_FD + the real
// one. The operations return undefined where Emscripten's own file system should answer.

const FIRST_FD = 1 << 16;
const AT_FDCWD = -100;
const O_ACCMODE = 3;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_DIRECTORY = 0o200000;
const SEEK_CUR = 1;
const SEEK_END = 2;
const FILE_TYPE_REGULAR = 4;

const isOurs = (fd) => fd >= FIRST_FD;
const realFd = (fd) => fd - FIRST_FD;

// The host's path, or undefined for what Emscripten emulates itself (/dev, /proc) and for paths relative to a folder.
function hostPath(dirfd, name) {
  if (!name || (dirfd !== AT_FDCWD && !path.isAbsolute(name))) return undefined;
  const resolved = path.resolve(name);
  return /^\/(dev|proc)(\/|$)/.test(resolved) ? undefined : resolved;
}

function attempt(operation) {
  try {
    return operation();
  } catch (error) {
    const errno = ERRNO[error.code];
    return errno === undefined ? undefined : -errno;
  }
}

function open(dirfd, name, flags) {
  if (flags & (O_ACCMODE | O_CREAT | O_TRUNC | O_DIRECTORY)) return undefined;
  const file = hostPath(dirfd, name);
  if (file === undefined) return undefined;
  return attempt(() => {
    const stat = fs.statSync(file, { throwIfNoEntry: false });
    if (!stat) return -ERRNO.ENOENT;
    if (!stat.isFile()) return undefined;
    const fd = fs.openSync(file, "r");
    if (fd >= MAX_FDS) {
      fs.closeSync(fd);
      return undefined;
    }
    shared.positions[fd] = 0;
    return FIRST_FD + fd;
  });
}

function close(fd) {
  return attempt(() => {
    fs.closeSync(realFd(fd));
    return 0;
  });
}

// `iov` points at pairs (address, length). With `offset` as pread(2), without as read(2).
function readVector(fd, heap, heap32, iov, count, offset) {
  return attempt(() => {
    let position = offset ?? shared.positions[realFd(fd)];
    let total = 0;
    for (let i = 0; i < count; i++) {
      const address = heap32[(iov >> 2) + 2 * i];
      const length = heap32[(iov >> 2) + 2 * i + 1];
      const got = length ? fs.readSync(realFd(fd), heap, address, length, position) : 0;
      total += got;
      position += got;
      if (got < length) break;
    }
    if (offset === undefined) shared.positions[realFd(fd)] = position;
    return total;
  });
}

function seekBase(real, whence) {
  if (whence === SEEK_CUR) return shared.positions[real];
  return whence === SEEK_END ? fs.fstatSync(real).size : 0;
}

// Returns the new position, or a negative error.
function seek(fd, offset, whence) {
  return attempt(() => {
    const position = seekBase(realFd(fd), whence) + offset;
    if (position < 0) return -ERRNO.EINVAL;
    shared.positions[realFd(fd)] = position;
    return position;
  });
}

const fstat = (fd) => fs.fstatSync(realFd(fd));

// A stat object, a negative error, or undefined.
function stat(dirfd, name, follow) {
  const file = hostPath(dirfd, name);
  if (file === undefined) return undefined;
  return attempt(() => (follow ? fs.statSync : fs.lstatSync)(file, { throwIfNoEntry: false }) ?? -ERRNO.ENOENT);
}

function readlink(dirfd, name) {
  const file = hostPath(dirfd, name);
  return file === undefined ? undefined : attempt(() => fs.readlinkSync(file));
}

// ------------------------------------------------------------------------------------------------ symbols for dlsym

const NEWLINE = 10;

// The address of a function (its slot in the function table) or variable of lean.wasm; 0 when there is none.
function symbol(name) {
  const symbolTable = Buffer.from(shared.symbols);
  const key = Buffer.from(`${name} `);
  let low = 0;
  let high = symbolTable.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const lineStart = middle === 0 ? 0 : symbolTable.lastIndexOf(NEWLINE, middle - 1) + 1;
    const lineEnd = symbolTable.indexOf(NEWLINE, lineStart);
    const order = key.compare(symbolTable, lineStart, Math.min(lineStart + key.length, lineEnd));
    if (order === 0) return Number(symbolTable.toString("latin1", lineStart + key.length, lineEnd));
    if (order < 0) high = lineStart;
    else low = lineEnd + 1;
  }
  return 0;
}

// --------------------------------------------------------------------------------------------- what Lean's world is

function isFolder(file) {
  try {
    return fs.statSync(file).isDirectory();
  } catch {
    return false; // a dangling link, or a folder that we may not look into
  }
}

// Lean sees the host's folders where they are. /dev and /proc are Emscripten's own.
function mountFolders(FS, NODEFS) {
  for (const name of fs.readdirSync("/")) {
    const folder = `/${name}`;
    if (["dev", "proc", "sys"].includes(name) || !isFolder(folder)) continue;
    if (!FS.analyzePath(folder).exists) FS.mkdir(folder);
    FS.mount(NODEFS, { root: folder }, folder);
  }
}

// Only Lean's own variables: proofs are untrusted code, and the environment is none of their business.
function environment() {
  const own = Object.entries(process.env).filter(([name]) => name.startsWith("LEAN_"));
  // The module was built for profiling; without this it leaves a file default.profraw behind.
  return { ...Object.fromEntries(own), LLVM_PROFILE_FILE: "/dev/null" };
}

module.exports = {
  ERRNO,
  ERRNO_ENOTTY,
  FILE_TYPE_REGULAR,
  INITIAL_HEAP_BYTES,
  STACK_BYTES,
  TABLE_SLOTS,
  THREAD_STACK_MB,
  close,
  environment,
  fstat,
  isOurs,
  mountFolders,
  open,
  quietConsole,
  readStdin,
  readVector,
  readlink,
  seek,
  stat,
  symbol,
  writeAll,
  get shared() {
    return shared;
  },
  set shared(received) {
    shared = received;
  },
};
