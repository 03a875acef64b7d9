#!/usr/bin/env python3
"""Makes what training reads: a tokenizer and the examples as ids. Runs on any machine; needs `regex` only.

usage: prepare.py --out DIR --rows FILE[@WEIGHT]... [--held-out FILE]... [--premises FILE]... [--vocab N] [--tokenizer DIR]

DIR gets tokenizer.json, tokenizer_config.json, stats.json, and for each of train, valid and premises NAME.bin.gz: ids of all
examples one after another (uint16), and NAME.json: lengths, where each answer begins, weights."""
import argparse
import array
import gzip
import json
import os
import time

import data
import prompt
import tokenizer


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--rows", nargs="+", required=True)
    p.add_argument("--held-out", nargs="*", default=[], help="rows with keys that must not be trained on")
    p.add_argument("--premises", nargs="*", default=[])
    p.add_argument("--vocab", type=int, default=4096)
    p.add_argument("--tokenizer", help="a folder with the tokenizer to use, such as an earlier round's")
    p.add_argument("--longest", type=int, default=1024, help="tokens of an example; longer ones are left out")
    for name, value in vars(data.Options()).items():
        p.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    return p.parse_args()


def training_texts(found, premises):
    """What the tokenizer learns from: each state once, tactics by their number, names and statements once."""
    for state in {e[0] for e in found.examples["train"]}:
        yield prompt.tactic_prompt(state), 1
    for _, tactic, weight in found.examples["train"]:
        yield tactic, 2
    for question, answer in premises:
        yield question, 1
        yield answer, 1


def write(folder, name, examples, tok, longest):
    """`examples`: (prompt, answer, weight). An example is bos, prompt, answer, eos."""
    ids, lengths, starts, weights = array.array("H"), [], [], []
    skipped = 0
    for question, answer, weight in examples:
        head = [tokenizer.BOS] + tok.encode(question)
        tail = tok.encode(answer) + [tokenizer.EOS]
        if len(head) + len(tail) > longest:
            skipped += 1
            continue
        ids.extend(head + tail)
        lengths.append(len(head) + len(tail))
        starts.append(len(head))
        weights.append(round(weight, 4))
    with gzip.open(os.path.join(folder, name + ".bin.gz"), "wb", 6) as file:
        file.write(ids.tobytes())
    with open(os.path.join(folder, name + ".json"), "w", encoding="utf8") as file:
        json.dump(dict(lengths=lengths, starts=starts, weights=weights), file)
    answers = sum(n - s for n, s in zip(lengths, starts))
    return dict(examples=len(lengths), tokens=len(ids), answer_tokens=answers, too_long=skipped,
                weight=round(sum(weights), 1), longest=max(lengths, default=0))


def main():
    args = arguments()
    began = time.time()
    os.makedirs(args.out, exist_ok=True)
    held_out = data.read_keys(args.held_out)
    options = data.Options(**{name: getattr(args, name) for name in vars(data.Options())})
    found = data.read(args.rows, held_out, options)
    premises = data.premise_texts(args.premises, held_out)
    if args.tokenizer:
        tok = tokenizer.Tokenizer.load(args.tokenizer)
    else:
        tok = tokenizer.train(tokenizer.count_pieces(training_texts(found, premises)), args.vocab)
    tok.save(args.out)
    stats = dict(counts=dict(sorted(found.counts.items())), vocab=len(tok.vocab), held_out_keys=len(held_out),
                 options=vars(options), rows=[os.path.basename(r) for r in args.rows])
    for split in ("train", "valid"):
        examples = [(prompt.tactic_prompt(s), t, w) for s, t, w in found.examples[split]]
        stats[split] = write(args.out, split, examples, tok, args.longest)
    stats["premises"] = write(args.out, "premises", [(q, a, 1.0) for q, a in premises], tok, args.longest)
    stats["seconds"] = round(time.time() - began, 1)
    with open(os.path.join(args.out, "stats.json"), "w", encoding="utf8") as file:
        json.dump(stats, file, indent=1)
    print(json.dumps(stats, indent=1))


if __name__ == "__main__":
    main()
