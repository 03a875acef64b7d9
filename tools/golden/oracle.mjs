// The Hugging Face tokenizers library, with and without added tokens, and the digest that the C tests compute too.
import { createRequire } from "node:module";
const { Tokenizer } = createRequire(import.meta.url)("@anush008/tokenizers");

export class Oracle {
  constructor(spec) {
    this.special = Tokenizer.fromString(JSON.stringify(spec));
    this.plain = Tokenizer.fromString(JSON.stringify({ ...spec, added_tokens: [] }));
  }
  async ids(text, special) {
    const t = special ? this.special : this.plain;
    return (await t.encode(text, null, { addSpecialTokens: false })).getIds();
  }
  decode(ids, skipSpecial) {
    return this.special.decode(ids, skipSpecial);
  }
  pieces(text) {
    return this.special.getPreTokenizer().preTokenizeString(text).map(([piece]) => piece);
  }
}

// FNV-1a, 64 bits, over the ids as little-endian 32-bit words.
export class Digest {
  constructor() {
    this.value = 0xcbf29ce484222325n;
  }
  add(ids) {
    for (const id of ids) {
      for (let shift = 0; shift < 32; shift += 8) {
        this.value = ((this.value ^ BigInt((id >>> shift) & 0xff)) * 0x100000001b3n) & 0xffffffffffffffffn;
      }
    }
    return this;
  }
  text() {
    return this.value.toString(16).padStart(16, "0");
  }
}
