#!/usr/bin/env python3
"""Bench: how long a step of training takes, with different batches, rounding and compilation, and what it is made of.

usage: bench.py --data DIR [--steps N] [--batches 16384,32768,65536] [--shape ...] [--compile]"""
import argparse
import tempfile
import time
import traceback

import torch

import model as model_file
import train


def make(data, batch, extra=()):
    out = tempfile.mkdtemp()
    args = train.arguments(["--data", data, "--out", out, "--steps", "1000000", "--batch", str(batch), "--qat", "0", *extra])
    run = train.Run(args)
    groups = [g for g in run.order(0.0) if len(g[1]) * run.sets[g[0]].lengths[g[1]].max() > 0.6 * batch]
    return run, groups


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(what, run, groups, steps, fake=False):
    # step() sets Matrix.fake from the schedule: rounding is asked for by a schedule that is all rounding
    run.args.qat = 1.0 if fake else 0.0
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.time()
    for name, group in groups[:3]:
        run.step(name, group)
    wait()
    warm, began, seen = time.time() - began, time.time(), 0
    for i in range(steps):
        name, group = groups[i % len(groups)]
        run.step(name, group)
        seen += int(run.sets[name].lengths[group].sum())
    enqueued = time.time() - began
    wait()
    seconds = time.time() - began
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0
    print(f"{what:36s} warm-up {warm:6.2f} s, step {seconds / steps * 1e3:7.1f} ms (host {enqueued / steps * 1e3:.1f}), "
          f"{seen / seconds:10.0f} tokens/s, {6 * run.active * seen / seconds / 1e12:6.1f} TFLOP/s, {memory:.2f} GiB", flush=True)


def profile(run, groups):
    from torch.profiler import ProfilerActivity, profile as record

    with record(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as prof:
        for name, group in groups[:2]:
            run.step(name, group)
        wait()
    key = "self_device_time_total" if hasattr(prof.key_averages()[0], "self_device_time_total") else "self_cuda_time_total"
    print(prof.key_averages().table(sort_by=key, row_limit=22, max_name_column_width=60))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--steps", type=int, default=12)
    p.add_argument("--batches", default="16384,32768,65536")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--shape", default="")
    args = p.parse_args()
    for batch in [int(x) for x in args.batches.split(",")]:
        run, groups = make(args.data, batch, ["--shape", args.shape])
        run.active = sum(p.numel() for p in run.model.parameters())  # every expert is computed
        measure(f"eager, {batch}", run, groups, args.steps)
        if batch == int(args.batches.split(",")[-1]):
            measure(f"eager, {batch}, rounded weights", run, groups, args.steps, fake=True)
            model_file.Matrix.fake = False
            run.args.qat = 0.0
            profile(run, groups)
        del run
    if args.compile:
        run, groups = make(args.data, 32768, ["--compile", "--shape", args.shape])
        run.active = sum(p.numel() for p in run.model.parameters())
        measure("compiled, 32768", run, groups, args.steps)


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        raise
