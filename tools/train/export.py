#!/usr/bin/env python3
"""Export: a checkpoint folder in Hugging Face's layout, with FP8 blocks, the tokenizer, prover.json and a model card."""
import json
import os
import shutil

import checkpoint
import prompt
import shape
import tokenizer

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [lean4, theorem-proving]
---
# A small prover model

State in, tactic out, for Lean 4. Architecture `deepseek_v3`: latent attention, {experts} routed experts of which {per_token} serve a
token, {shared} shared, sigmoid router with a correction bias, FP8 blocks of 128 x 128. {parameters:.1f} M parameters, {active:.1f} M
used for a token, {bytes:.1f} MB.

The prompt is the begin token, the goals as Lean displays them, and `{after}`; the answer is a tactic and the end token
(`prover.json` says so to the engine). Made with `tools/train`, whose README has the commands.

## Data
Proofs that `prover generate` found for theorems of Lean's core library and mutations of them, checked by Lean's kernel; statements
of held-out tests are not among them ({held_out} keys were excluded, {held_out_rows} rows fell to that).

| | examples | tokens | of these answers |
|---|---|---|---|
{table}

{pairs} distinct (state, tactic) pairs of {statements} statements in the training split.

## Training
{steps} steps, {seconds} s, {tokens} tokens, {passes:.1f} passes over the tactics, seed {seed}. Best evaluation (weights rounded to FP8):

| | loss a token | first token right | whole tactic right |
|---|---|---|---|
{losses}

Arguments: `{arguments}`

## Limits
Trained on Lean's core library only: no Mathlib. Short states. Everything that it proposes is checked by Lean.

Licence: Apache-2.0.
"""


def card(s, stats, run):
    table = "\n".join(f"| {n} | {stats[n]['examples']} | {stats[n]['tokens']} | {stats[n]['answer_tokens']} |"
                      for n in ("train", "valid", "premises"))
    losses = "\n".join(f"| {n} | {v['loss']} | {v['first']:.1%} | {v['whole']:.1%} |"
                       for n, v in run["best"].items() if isinstance(v, dict))
    values = sum(max(r, 1) * c for _, r, c, _ in shape.tensors(s))
    hidden = ("data", "out", "init")
    arguments = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in run["arguments"].items() if v and k not in hidden)
    return CARD.format(experts=s.experts, per_token=s.per_token, shared=s.shared, parameters=values / 1e6,
                       active=shape.active(s) / 1e6, bytes=shape.stored_bytes(s) / 1e6, after=prompt.AFTER.replace("\n", "\\n"),
                       held_out=stats["held_out_keys"], held_out_rows=stats["counts"].get("held out", 0), table=table,
                       pairs=stats["counts"]["pairs train"], statements=stats["counts"]["statements train"], losses=losses,
                       steps=run["steps"], seconds=run["seconds"], tokens=run["tokens"], passes=run["passes"],
                       seed=run["arguments"]["seed"], arguments=arguments)


def dump(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write(folder, values, s, data, run):
    """`values`: float32 tensors by checkpoint name; `data`: the prepared folder; `run`: what the card tells."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(data, "stats.json"), encoding="utf8") as file:
        stats = json.load(file)
    checkpoint.save(os.path.join(folder, "model.safetensors"), checkpoint.stored(values, s))
    dump(folder, "config.json", shape.config(s, tokenizer.BOS, tokenizer.EOS, tokenizer.PAD))
    dump(folder, "generation_config.json", dict(bos_token_id=tokenizer.BOS, eos_token_id=tokenizer.EOS,
                                                pad_token_id=tokenizer.PAD, do_sample=True, temperature=1.0))
    dump(folder, "prover.json", prompt.PROVER_JSON)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(data, name), folder)
    with open(os.path.join(folder, "README.md"), "w", encoding="utf8") as file:
        file.write(card(s, stats, run))
