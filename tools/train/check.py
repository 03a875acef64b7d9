#!/usr/bin/env python3
"""Checks an exported folder: against transformers, against the tokenizers library, and by eye. Writes golden logits.

usage: check.py --model DIR --data DIR [--golden DIR] [--only PHASE,...]

Each phase says what it found; a phase that raises is reported, the others go on, and the exit code is 1.
Golden: DIR/golden.json {"cases": [{"prompt": ids, "greedy": ids}]} and DIR/logits.f32, float32 [cases, vocab], the logits after
each prompt; made by transformers in float32 from the stored values."""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback

os.environ["TQDM_DISABLE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

import batches
import checkpoint
import model as model_file
import sample
import tokenizer


class Checker:
    def __init__(self, args):
        self.args = args
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tok = tokenizer.Tokenizer.load(args.model)
        self.shape = checkpoint.read_shape(args.model)
        self.values = checkpoint.load(os.path.join(args.model, "model.safetensors"))
        self.examples = batches.Examples(args.data, "valid", "cpu")
        self.model = model_file.Model(self.shape)
        model_file.load_tensors(self.model, self.values)
        self.model.to(self.device).eval()
        self.oracle = None

    def cases(self, count):
        """Prompts of the valid split, of different lengths."""
        order = sorted(range(len(self.examples)), key=lambda i: int(self.examples.starts[i]))
        chosen = [order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count)]
        return [self.examples.tokens(i)[:int(self.examples.starts[i])] for i in chosen]

    def phase_tokenizer(self):
        import tokenizers

        theirs = tokenizers.Tokenizer.from_file(os.path.join(self.args.model, "tokenizer.json"))
        texts = []
        for name in ("valid", "train", "premises"):
            examples = batches.Examples(self.args.data, name, "cpu")
            for i in range(0, len(examples), max(1, len(examples) // 1500)):
                ids = examples.tokens(i)
                start = int(examples.starts[i])
                texts += [self.tok.decode(ids[1:start]), self.tok.decode(ids[start:-1])]
        texts += ["ℝ → ℕ  x₁₂ 12345 αβγ\n\n  ⟨a, b⟩ <｜end▁of▁sentence｜ >", "日本語かな\r\n\t∀ ε > 0, ∃ δ", " 	 x", ""]
        different = sum(theirs.encode(t, add_special_tokens=False).ids != self.tok.encode(t) for t in texts)
        begins = theirs.encode("a").ids[:1] == [tokenizer.BOS]
        print(f"tokenizers {tokenizers.__version__}: {len(texts)} texts, {different} encoded differently; begin token added: {begins}")
        if different or not begins:
            raise AssertionError("the tokenizers library reads the file differently")

    def load_oracle(self):
        """transformers' model in float32, from a scratch checkpoint with the stored values widened."""
        import transformers

        transformers.logging.set_verbosity_error()
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("config.json", "generation_config.json"):
                shutil.copy(os.path.join(self.args.model, name), scratch)
            path = os.path.join(scratch, "config.json")
            with open(path, encoding="utf8") as file:
                config = json.load(file)
            config.pop("quantization_config", None)
            config["torch_dtype"] = "float32"
            with open(path, "w", encoding="utf8") as file:
                json.dump(config, file)
            checkpoint.save(os.path.join(scratch, "model.safetensors"), {n: (t, "F32") for n, t in self.values.items()})
            oracle, info = transformers.AutoModelForCausalLM.from_pretrained(
                scratch, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        print(f"transformers {transformers.__version__}: {type(oracle).__name__}, "
              f"{ {k: (sorted(v)[:4] if v else 0) for k, v in info.items()} }")
        self.oracle = oracle.to(self.device).eval()

    @torch.no_grad()
    def phase_logits(self):
        self.load_oracle()
        worst = 0.0
        for ids in self.cases(8):
            t = torch.tensor([ids], device=self.device)
            theirs, ours = self.oracle(t).logits[0].float(), self.model(t)[0].float()
            error = float((ours - theirs).norm() / theirs.norm())
            worst = max(worst, error)
            same = float((ours.argmax(-1) == theirs.argmax(-1)).float().mean())
            print(f"  {len(ids):4d} tokens: relative error {error:.2e}, same likeliest token {same:.1%}")
        print(f"transformers against model.py, float32: worst relative error {worst:.2e}")
        if worst > 1e-3:
            raise AssertionError("the two models disagree")

    @torch.no_grad()
    def phase_golden(self):
        if self.oracle is None:
            self.load_oracle()
        folder = self.args.golden or os.path.join(self.args.model, "golden")
        os.makedirs(folder, exist_ok=True)
        cases, rows = [], []
        for ids in self.cases(8):
            rows.append(self.oracle(torch.tensor([ids], device=self.device)).logits[0, -1].float().cpu())
            grown = list(ids)
            for _ in range(16):
                last = self.oracle(torch.tensor([grown], device=self.device)).logits[0, -1]
                grown.append(int(last.argmax()))
                if grown[-1] == tokenizer.EOS:
                    break
            cases.append(dict(prompt=ids, greedy=grown[len(ids):]))
        with open(os.path.join(folder, "golden.json"), "w", encoding="utf8") as file:
            json.dump(dict(cases=cases), file)
        torch.stack(rows).numpy().tofile(os.path.join(folder, "logits.f32"))
        print(f"golden: {len(cases)} cases in {folder}")

    def phase_folder(self):
        """The folder itself, FP8 and all, as a user of transformers would load it."""
        import transformers

        tok = transformers.AutoTokenizer.from_pretrained(self.args.model)
        print("AutoTokenizer:", type(tok).__name__, tok("a b")["input_ids"], [tokenizer.BOS] + self.tok.encode("a b"))
        for what, extra in (("dequantised", dict(quantization_config=transformers.FineGrainedFP8Config(dequantize=True))),
                            ("as stored", {})):
            try:
                model = transformers.AutoModelForCausalLM.from_pretrained(self.args.model, device_map=self.device, **extra)
                ids = self.cases(1)[0]
                t = torch.tensor([ids], device=self.device)
                with torch.no_grad():
                    theirs, ours = model(t).logits[0].float(), self.model(t)[0].float()
                print(f"transformers loads the FP8 folder {what}: relative error {float((theirs - ours).norm() / ours.norm()):.2e}")
            except Exception as error:
                print(f"transformers, FP8 folder {what}: {type(error).__name__}: {str(error)[:400]}")

    def phase_samples(self):
        order = sorted(range(len(self.examples)), key=lambda i: (i * 7919) % max(len(self.examples), 1))
        for i in order[:8]:
            ids, start = self.examples.tokens(i), int(self.examples.starts[i])
            greedy, _ = sample.sample(self.model, ids[:start], 1, 0)
            some, logprobs = sample.sample(self.model, ids[:start], 6, 1.0, seed=i)
            print("state:", repr(self.tok.decode(ids[1:start]))[:300])
            print("  data:", repr(self.tok.decode(ids[start:-1])), " greedy:", repr(self.tok.decode(greedy[0])))
            print("  samples:", [f"{self.tok.decode(x)} ({p:.1f})" for x, p in zip(some, logprobs)])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--golden")
    p.add_argument("--only", default="tokenizer,samples,logits,golden,folder")
    checker = Checker(p.parse_args())
    failed = 0
    for phase in checker.args.only.split(","):
        began = time.time()
        print(f"== {phase}", flush=True)
        try:
            getattr(checker, "phase_" + phase)()
        except Exception:
            traceback.print_exc(file=sys.stdout)
            failed = 1
        print(f"== {phase}: {time.time() - began:.1f} s", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
