// node make_v3.mjs TOKENIZER_JSON OUT_DIR: goldens of the DeepSeek-V3 tokenizer.
//   deepseek_v3.jsonl        {text | hex, special, ids} and {ids, skip, decode}
//   deepseek_v3_unicode.txt  a digest of the ids of every code point in context, 4096 code points a line
import { readFileSync, writeFileSync } from "node:fs";
import { Digest, Oracle } from "./oracle.mjs";
import { brokenBytes, makeRandom, texts } from "./texts.mjs";

const [source, out] = process.argv.slice(2);
const spec = JSON.parse(readFileSync(source, "utf8"));
const oracle = new Oracle(spec);
const r = makeRandom(1);
const lines = [];

for (const text of texts(r, 2200)) {
  const special = text.includes("<") ? [true, false] : [lines.length % 2 === 0];
  for (const mode of special) lines.push({ text, special: mode, ids: await oracle.ids(text, mode) });
}
for (let i = 0; i < 300; i++) {
  const bytes = brokenBytes(r);
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  lines.push({ hex: Buffer.from(bytes).toString("hex"), special: false, ids: await oracle.ids(text, false) });
}
for (let i = 0; i < 300; i++) {
  const ids = Array.from({ length: 1 + r.below(20) }, () => (r.below(3) ? r.below(128815) : r.below(300)));
  const skip = i % 2 === 0;
  lines.push({ ids, skip, decode: await oracle.decode(ids, skip) });
}
writeFileSync(`${out}/deepseek_v3.jsonl`, lines.map((l) => JSON.stringify(l) + "\n").join(""));

const digests = [];
for (let block = 0; block < 0x110000; block += 4096) {
  const digest = new Digest();
  let text = "";
  for (let c = block; c < block + 4096; c++) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    const s = String.fromCodePoint(c);
    text += `a${s}b ${s}1${s}${s}\n${s}'x${s} \n`;
    if (c % 256 === 255) {
      digest.add(await oracle.ids(text, false));
      text = "";
    }
  }
  digests.push(digest.text());
}
writeFileSync(`${out}/deepseek_v3_unicode.txt`, digests.join("\n") + "\n");
