#!/usr/bin/env python3
"""Trains the model on prepared examples and writes the checkpoint folder.

usage: train.py --data DIR --out DIR [--seconds T | --steps N] [--shape NAME=VALUE,...] [--init DIR] ...

DIR/train.jsonl gets a line for each report. The result does not depend on the clock when --steps is given."""
import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import batches
import checkpoint
import export
import model as model_file
import shape


def arguments(given=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--shape", default="")
    p.add_argument("--init", help="an exported checkpoint to go on from")
    p.add_argument("--seconds", type=float, default=0, help="of training; the schedule follows the clock")
    p.add_argument("--steps", type=int, default=0, help="instead of --seconds")
    p.add_argument("--passes", type=float, default=0, help="most passes over the tactic examples; 0: no limit")
    p.add_argument("--batch", type=int, default=32768, help="padded tokens of a step")
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--warmup", type=float, default=0.03, help="part of the run")
    p.add_argument("--decay", type=float, default=0.5, help="part of the run in which the rate falls to zero")
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--state-weight", type=float, default=0.1, help="of a prompt's tokens in the loss")
    p.add_argument("--smoothing", type=float, default=0.0)
    p.add_argument("--premises-first", type=float, default=1.0, help="share of the premise texts in a pass at the start")
    p.add_argument("--premises-last", type=float, default=0.1, help="and at the end")
    p.add_argument("--balance", type=float, default=1e-2, help="step of the routers' biases")
    p.add_argument("--ema", type=float, default=0.998, help="0: none")
    p.add_argument("--qat", type=float, default=0.3, help="last part of the run with weights rounded to FP8 blocks")
    p.add_argument("--eval-every", type=float, default=0.1, help="part of the run between evaluations")
    p.add_argument("--eval-examples", type=int, default=1500, help="most examples of an evaluation")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--compile", action="store_true")
    return p.parse_args(given)


class Log:
    def __init__(self, path):
        self.file, self.began = open(path, "a", encoding="utf8"), time.time()

    def __call__(self, what, **fields):
        line = json.dumps(dict(what=what, at=round(time.time() - self.began, 2), **fields))
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


class Clock:
    """How far the run is, from 0 to 1: by steps, or by time."""

    def __init__(self, args):
        self.args, self.step, self.began = args, 0, time.time()

    def part(self):
        if self.args.steps:
            return self.step / self.args.steps
        return (time.time() - self.began) / self.args.seconds

    def rate(self, part):
        a = self.args
        return a.rate * min(1.0, (part + 1e-4) / max(a.warmup, 1e-9), max(0.0, 1 - part) / max(a.decay, 1e-9))


def mixed(device):
    return torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda")


def losses(model, ids, start, length, smoothing=0.0):
    """(loss at every target, whether it is part of the answer, of the prompt), and the logits."""
    column = torch.arange(ids.shape[1], device=ids.device)[None, :]
    real = column < length
    logits = model(ids, real)[:, :-1]
    loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none", label_smoothing=smoothing)
    target = column[:, 1:]
    answer = (target >= start) & (target < length)
    return loss.view(answer.shape), answer, (target < start), logits


@torch.no_grad()
def evaluate(model, examples, device, budget, most):
    """Loss a token of the answers, and how often the first token, and every token, is the likeliest."""
    model.eval()
    rng = np.random.default_rng(0)
    chosen = np.arange(len(examples)) if len(examples) <= most else rng.choice(len(examples), most, replace=False)
    total = torch.zeros(5, dtype=torch.float64)
    for group in batches.cut(examples, chosen, budget, rng):
        ids, start, length = examples.gather(group)
        with mixed(device):
            loss, answer, question, logits = losses(model, ids, start, length)
        right = logits.argmax(-1) == ids[:, 1:]
        first = torch.arange(1, ids.shape[1], device=ids.device)[None, :] == start
        whole = (right | ~answer).all(-1)
        total += torch.stack([(loss * answer).sum(), answer.sum(), (right & first).sum(), whole.sum(),
                              (loss * question).sum() / question.sum().clamp(min=1) * len(group)]).double().cpu()
    model.train()
    n = max(len(chosen), 1)
    return dict(loss=round(float(total[0] / total[1].clamp(min=1)), 4), first=round(float(total[2]) / n, 4),
                whole=round(float(total[3]) / n, 4), prompt_loss=round(float(total[4]) / n, 4), examples=n)


def make_optimizer(model, args, device):
    decayed = [p for p in model.parameters() if p.dim() > 1 and p is not model.embed_tokens.weight]
    others = [p for p in model.parameters() if p.dim() == 1 or p is model.embed_tokens.weight]
    groups = [dict(params=decayed, weight_decay=args.weight_decay), dict(params=others, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.95), eps=1e-8, **(dict(fused=True) if device == "cuda" else {}))


class Average:
    """The moving average of the parameters; the routers' biases are taken as they are."""

    def __init__(self, model, keep):
        self.keep, self.steps = keep, 0
        self.values = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        keep = min(self.keep, self.steps / (self.steps + 10))
        torch._foreach_mul_(self.values, keep)
        torch._foreach_add_(self.values, [p.detach() for p in model.parameters()], alpha=1 - keep)

    @torch.no_grad()
    def swap(self, model):
        for value, p in zip(self.values, model.parameters()):
            held = p.detach().clone()
            p.copy_(value)
            value.copy_(held)


class Run:
    def __init__(self, args):
        self.args = args
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda":
            # cuDNN's attention makes a plan for each new shape (seconds in all); the processor's cores may be busy with Lean.
            torch.backends.cuda.enable_cudnn_sdp(False)
            torch.set_num_threads(2)
        os.makedirs(args.out, exist_ok=True)
        self.log = Log(os.path.join(args.out, "train.jsonl"))
        self.rng = np.random.default_rng(args.seed)
        self.sets = {n: batches.Examples(args.data, n, self.device) for n in ("train", "valid", "premises")}
        self.shape = self.make_shape()
        self.model = model_file.Model(self.shape, args.dropout, args.seed)
        if args.init:
            model_file.load_tensors(self.model, checkpoint.load(os.path.join(args.init, "model.safetensors")))
        self.model.to(self.device).train()
        self.forward = torch.compile(self.model, dynamic=True) if args.compile else self.model
        self.optimizer = make_optimizer(self.model, args, self.device)
        self.average = Average(self.model, args.ema) if args.ema else None
        self.clock = Clock(args)
        self.seen = dict(tokens=0, padded=0, passes=0.0)
        self.best = None

    def make_shape(self):
        if self.args.init:
            return checkpoint.read_shape(self.args.init)
        with open(os.path.join(self.args.data, "stats.json"), encoding="utf8") as file:
            vocab = json.load(file)["vocab"]
        s = shape.Shape.parse(self.args.shape)
        s.vocab = -(-vocab // 128) * 128
        return s

    def order(self, part):
        """A pass over the tactics with a share of the premises: groups in random order."""
        a = self.args
        share = a.premises_first + (a.premises_last - a.premises_first) * min(part, 1)
        groups = []
        for name, share in (("train", 1.0), ("premises", share)):
            examples = self.sets[name]
            chosen = examples.draw(self.rng, share) if len(examples) else np.array([], dtype=np.int64)
            groups += [(name, g) for g in batches.cut(examples, chosen, a.batch, self.rng)]
        self.rng.shuffle(groups)
        return groups

    def step(self, name, group):
        a, part = self.args, self.clock.part()
        model_file.Matrix.fake = a.qat > 0 and part >= 1 - a.qat
        for g in self.optimizer.param_groups:
            g["lr"] = self.clock.rate(part)
        ids, start, length = self.sets[name].gather(group)
        with mixed(self.device):
            loss, answer, question, _ = losses(self.forward, ids, start, length, a.smoothing)
        weight = answer.float() + a.state_weight * question.float()
        loss = (loss * weight).sum() / weight.sum()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        worst = torch.stack([r.balance(a.balance) for r in self.model.routers()]).max()
        if self.average:
            self.average.update(self.model)
        self.clock.step += 1
        self.seen["tokens"] += int(self.sets[name].lengths[group].sum())
        self.seen["padded"] += ids.numel()
        return loss.detach(), norm.detach(), worst

    def evaluate(self):
        if self.average:
            self.average.swap(self.model)
        fake, model_file.Matrix.fake = model_file.Matrix.fake, True
        found = {n: evaluate(self.model, self.sets[n], self.device, self.args.batch, self.args.eval_examples) for n in ("valid", "train")
                 if len(self.sets[n])}
        model_file.Matrix.fake = fake
        loss = found["valid" if "valid" in found else "train"]["loss"]
        if self.best is None or loss <= self.best[0]:
            values = {n: t.detach().float().cpu().clone() for n, t in model_file.tensors(self.model).items()}
            self.best = (loss, values, dict(step=self.clock.step, **found))
        if self.average:
            self.average.swap(self.model)
        return found

    def report(self, part, results, seconds, tokens):
        loss, norm, worst = (float(x) for x in results)
        if not math.isfinite(loss):
            raise RuntimeError(f"the loss is {loss} at step {self.clock.step}")
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else 0
        self.log("step", step=self.clock.step, part=round(part, 3), loss=round(loss, 4), norm=round(norm, 3),
                 load=round(worst, 2), rate=round(self.clock.rate(part), 6), passes=round(self.seen["passes"], 2),
                 tokens=self.seen["tokens"], tokens_s=round(tokens / max(seconds, 1e-9)), gib=round(memory, 2))

    def done(self):
        passes = self.args.passes
        return self.clock.part() >= 1 or (passes and self.seen["passes"] >= passes)

    def loop(self):
        next_eval, mark = self.args.eval_every, (time.time(), 0)
        next_report = 0.0
        while not self.done():
            groups = self.order(self.clock.part())
            for name, group in groups:
                if self.done():
                    break
                results = self.step(name, group)
                part = self.clock.part()
                if part >= next_report:
                    self.report(part, results, time.time() - mark[0], self.seen["tokens"] - mark[1])
                    mark, next_report = (time.time(), self.seen["tokens"]), part + 0.02
                if part >= next_eval and part < 1:
                    self.log("eval", step=self.clock.step, **self.evaluate())
                    next_eval += self.args.eval_every
                if name == "train":
                    self.seen["passes"] += len(group) / max(self.sets["train"].weights.sum(), 1)
        self.log("eval", step=self.clock.step, last=True, **self.evaluate())

    def run(self):
        a = self.args
        self.log("start", device=torch.cuda.get_device_name() if self.device == "cuda" else "cpu", torch=torch.__version__,
                 shape=vars(self.shape), arguments=vars(a), parameters=sum(p.numel() for p in self.model.parameters()),
                 active=shape.active(self.shape), stored=shape.stored_bytes(self.shape),
                 examples={n: len(x) for n, x in self.sets.items()})
        self.clock.began = time.time()
        self.loop()
        seconds = time.time() - self.clock.began
        self.log("end", seconds=round(seconds, 1), steps=self.clock.step, **self.seen, best=self.best[2])
        export.write(os.path.join(a.out, "model"), self.best[1], self.shape, a.data,
                     dict(arguments=vars(a), steps=self.clock.step, seconds=round(seconds, 1), best=self.best[2], **self.seen))
        self.log("exported", bytes=os.path.getsize(os.path.join(a.out, "model", "model.safetensors")))


if __name__ == "__main__":
    Run(arguments()).run()
