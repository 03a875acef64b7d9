// node make_data.mjs TOKENIZER_JSON DATA_DIR OUT_DIR: digests of the ids of texts that are read in place, not copied.
// One line a record: file, line, tokens, digest.
import { readFileSync, writeFileSync } from "node:fs";
import { Digest, Oracle } from "./oracle.mjs";

const [source, data, out] = process.argv.slice(2);
const oracle = new Oracle(JSON.parse(readFileSync(source, "utf8")));
const files = { "minif2f_valid.jsonl": "formal_statement", "prover_v2_valid_solutions.jsonl": "code" };
let lines = "";
for (const [name, field] of Object.entries(files)) {
  const records = readFileSync(`${data}/${name}`, "utf8").trimEnd().split("\n");
  for (const [i, record] of records.entries()) {
    const ids = await oracle.ids(JSON.parse(record)[field], false);
    lines += `${name} ${i} ${ids.length} ${new Digest().add(ids).text()}\n`;
  }
}
writeFileSync(`${out}/shared_data.txt`, lines);
