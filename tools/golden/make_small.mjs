// node make_small.mjs OUT_DIR: a small tokenizer of our own with the pre-tokenizer of the deepseek-llm family
// (small.json), its goldens (small.jsonl), and variants for the options of the format (small_cases.json).
import { writeFileSync } from "node:fs";
import { Oracle } from "./oracle.mjs";
import { brokenBytes, corpus, makeRandom, texts } from "./texts.mjs";

const [out] = process.argv.slice(2);

// Cased letters of the family's second stage, as hexadecimal ranges.
const letters =
  "00B5 00C0-00D6 00D8-00F6 00F8-01BA 01BC-01BF 01C4-0293 0295-02AF 0370-0373 0376 0377 037B-037D 037F 0386 0388-038A " +
  "038C 038E-03A1 03A3-03F5 03F7-0481 048A-052F 0531-0556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B " +
  "1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC " +
  "1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 " +
  "2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 " +
  "A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F " +
  "104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943";
const chars = (hex) => hex.split("-").map((h) => String.fromCodePoint(parseInt(h, 16))).join("-");
const letterClass = "A-Za-z" + letters.split(" ").map(chars).join("");

const split = (Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
const family = {
  type: "Sequence",
  pretokenizers: [
    split("[\r\n]"),
    split(`\\s?[${letterClass}]+`),
    split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"),
    split("\\s+$"),
    split("[一-龥ࠀ-一가-퟿]+"),
    { type: "Digits", individual_digits: true },
    byteLevel,
  ],
};

function byteAlphabet() {
  const table = [];
  let extra = 0;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    table.push(String.fromCodePoint(printable ? b : 0x100 + extra++));
  }
  return table;
}

const specOf = (vocab, merges, pre, added = [], model = {}) => ({
  version: "1.0", truncation: null, padding: null, added_tokens: added, normalizer: null, pre_tokenizer: pre,
  post_processor: null, decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
    fuse_unk: false, byte_fallback: false, vocab, merges, ...model },
});

// Plain BPE training: again and again the most frequent pair, ties by text, until `count` merges are learnt.
function train(vocab, count) {
  const merges = [];
  const words = new Map();
  for (const piece of new Oracle(specOf(vocab, [], family)).pieces(corpus())) words.set(piece, (words.get(piece) ?? 0) + 1);
  const list = [...words].map(([word, n]) => ({ parts: [...word], n }));
  while (merges.length < count) {
    const pairs = new Map();
    for (const { parts, n } of list)
      for (let i = 0; i + 1 < parts.length; i++) pairs.set(`${parts[i]} ${parts[i + 1]}`, (pairs.get(`${parts[i]} ${parts[i + 1]}`) ?? 0) + n);
    const [best] = [...pairs].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    const [left, right] = best[0].split(" ");
    merges.push(best[0]);
    vocab[left + right] ??= Object.keys(vocab).length;
    for (const word of list) {
      const parts = [];
      for (let i = 0; i < word.parts.length; i++) {
        const hit = word.parts[i] === left && word.parts[i + 1] === right;
        parts.push(hit ? left + right : word.parts[i]);
        if (hit) i++;
      }
      word.parts = parts;
    }
  }
  return merges;
}

const vocab = Object.fromEntries(byteAlphabet().map((c, i) => [c, i]));
const merges = train(vocab, 600);
const size = Object.keys(vocab).length;
const control = (content, i, flags = {}) => {
  if (content in vocab) throw new Error(`${content} is a token already`);
  return { id: size + i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...flags };
};
const added = [control("<｜begin▁of▁sentence｜>", 0), control("<｜end▁of▁sentence｜>", 1), control("<｜User｜>", 2, { special: false, normalized: true }), control("<｜Assistant｜>", 3, { special: false, normalized: true })];
const small = specOf(vocab, merges, family, added);
writeFileSync(`${out}/small.json`, JSON.stringify(small) + "\n");

async function encodeAll(oracle, list) {
  const lines = [];
  for (const text of list) {
    const special = text.includes("<");
    lines.push({ text, special, ids: await oracle.ids(text, special) });
  }
  return lines;
}

const r = makeRandom(2);
const oracle = new Oracle(small);
const lines = await encodeAll(oracle, texts(r, 700));
for (let i = 0; i < 100; i++) {
  const bytes = brokenBytes(r);
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  lines.push({ hex: Buffer.from(bytes).toString("hex"), special: false, ids: await oracle.ids(text, false) });
}
writeFileSync(`${out}/small.jsonl`, lines.map((l) => JSON.stringify(l) + "\n").join(""));

const sequence = (...stages) => ({ type: "Sequence", pretokenizers: [...stages, byteLevel] });
const behave = (Regex, behavior, invert = false) => sequence({ type: "Split", pattern: { Regex }, behavior, invert });
const variants = [];
for (const behavior of ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"])
  for (const invert of [false, true])
    for (const regex of ["\\d", "[ae]|x*", "\\s+|\\p{P}", "\\w+", "(?<=a)b?", "$|q"])
      variants.push({ pre_tokenizer: behave(regex, behavior, invert) });
for (const regex of ["\\s", "\\S+", "\\D+", "\\h+", "\\H", "\\P{L}+", "[^\\s\\d]+", "[\\S]+", "\\u0061{,2}b", "(?i:AB|c)+", "^a|b$", "[[:alpha:]]+", "a++b?", "(?>ab|a)c?", "\\p{Han}+|\\p{^L}"])
  variants.push({ pre_tokenizer: behave(regex, "Isolated") });
variants.push({ pre_tokenizer: sequence({ type: "Split", pattern: { String: "a.b" }, behavior: "Isolated", invert: false }) });
variants.push({ pre_tokenizer: sequence({ type: "Digits", individual_digits: false }) });
for (const add_prefix_space of [false, true])
  for (const use_regex of [false, true]) variants.push({ pre_tokenizer: { ...byteLevel, add_prefix_space, use_regex } });
variants.push({ pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex: "\\s+" }, behavior: "MergedWithNext", invert: false }, { ...byteLevel, add_prefix_space: true, use_regex: true }] } });
variants.push({ ignore_merges: true });
for (const flags of [{ lstrip: true }, { rstrip: true }, { lstrip: true, rstrip: true }, { single_word: true }, { normalized: true }, { single_word: true, rstrip: true }])
  variants.push({ added_tokens: [control("ab", 0, flags), control("abc", 1, flags), control("xa", 2, { normalized: true, special: false }), control("bc", 3)] });

const probes = ["", "a", "abc", "ab ab  abc abx xab", " ab\t ab\n", "the theorem, it's 12 345 x₁ ab12cd", "a.b aab.c a.ba", "x  y\n\n z\r\n", "qaqbq\nab\nb", "é½²Ⅷ٣ ab", "\u180eab\u00a0ab\u2003", "xxayxbbx", "  ", "∀ x ∈ S, 中文 ab一", "AbCcAB a1b2c3 DEADbeef", "ab_ab ab2 ab² abⅧ ab\u0301", "aaaaabaabb", "\n"];
const cases = [];
for (const v of variants) {
  const spec = specOf(vocab, merges, v.pre_tokenizer ?? family, v.added_tokens ?? [], v.ignore_merges ? { ignore_merges: true } : {});
  const o = new Oracle(spec);
  const ids = [];
  for (const text of probes) ids.push(await o.ids(text, true));
  cases.push({ ...v, ids });
}
writeFileSync(`${out}/small_cases.json`, JSON.stringify({ probes, cases }) + "\n");

// Some tokenizers of the family lack the 13 bytes that no UTF-8 has and list their letters as added tokens that are
// not special. Text that is not trusted still gets those, so the oracle for it keeps them and drops the rest.
// (The library numbers added tokens on from the vocabulary, so ids leave no hole and the letters come first.)
const kept = Object.keys(vocab).filter((token) => !/^[ÀÁõ-ÿ]$/u.test(token));
const bare = Object.fromEntries(kept.map((token, i) => [token, i]));
const next = (tokens, from, flags) => tokens.map((content, i) => ({ ...added[0], id: from + i, content, ...flags }));
const letters13 = next([..."ÀÁõö÷øùúûüýþÿ"], kept.length, { special: false, normalized: true });
const controls4 = next(added.map((t) => t.content), kept.length + 13, {});
const withLetters = specOf(bare, merges, family, [...letters13, ...controls4]);
writeFileSync(`${out}/small_letters.json`, JSON.stringify(withLetters) + "\n");
const trusted = new Oracle(withLetters);
const plain = new Oracle(specOf(bare, merges, family, letters13));
const named = ["Gödel", "Jordan–Hölder über Þór", "6 ÷ 2 = 3", "øøø", "naïve Ünïcödé ÿ", "À propos <｜User｜> ü", "Hölder's"];
const lettersLines = [];
for (const text of [...named, ...texts(r, 130)])
  for (const special of [true, false]) lettersLines.push({ text, special, ids: await (special ? trusted : plain).ids(text, true) });
writeFileSync(`${out}/small_letters.jsonl`, lettersLines.map((l) => JSON.stringify(l) + "\n").join(""));
